"""scripts/drop_policy.py against drop_infer, an independent forward pass and central differences.

DROP_BUILD_DIR names the build whose programs train and infer; without it those tests are skipped.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc
import unittest
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "drop_policy.py"
specification = importlib.util.spec_from_file_location("drop_policy", SCRIPT)
drop_policy = importlib.util.module_from_spec(specification)
specification.loader.exec_module(drop_policy)
DropPolicy, DataError, UsageError = (
    drop_policy.DropPolicy, drop_policy.DataError, drop_policy.UsageError)

BUILD = os.environ.get("DROP_BUILD_DIR", "")
RULES = ["best", "grad", "best-ada", "grad-ada"]
STATE, ACTION, WIDTH, COUNT, DIM = 3, 2, 12, 6, 4

CONFIG = """
physics: d4rl
model:
  embedding: table
  hidden_width: 12
  policy_std: fixed
search:
  rules: [best, grad]
  ascent_steps: 8
  ascent_step_size: 0.5
  clip: on
  normalise_gradient: off
  keep_best_iterate: off
  sample: off
"""
# what the search can be told
VARIANTS = [{}, {"normalise_gradient": "on"}, {"keep_best_iterate": "on"}, {"clip": "off"},
            {"normalise_gradient": "on", "keep_best_iterate": "on"}, {"ascent_steps": "0"}]
# steps of full length would take all starts to one corner, where float32's last digit decides
INFER_VARIANTS = [variant | {"ascent_step_size": "0.02"} if "normalise_gradient" in variant else variant
                  for variant in VARIANTS]


# ---- made-up checkpoints, and an independent forward pass in float64 --------------------------------


def make_tensors(seed=0, box=1.0):
    """Networks of random weights, large enough that ascents go far."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def add(prefix, *sizes):
        for i, (before, after) in enumerate(zip(sizes, sizes[1:])):
            tensors[f"{prefix}.{i}.weight"] = rng.normal(0, 1.2 / before**0.5, (after, before))
            tensors[f"{prefix}.{i}.bias"] = rng.normal(0, 0.3, after)

    add("policy.state_encoder", STATE, WIDTH, WIDTH)
    add("policy.action_encoder", WIDTH + DIM, WIDTH, WIDTH, WIDTH, ACTION)
    add("score.state_action_encoder", STATE + ACTION, WIDTH, WIDTH)
    add("score.score_encoder", WIDTH + DIM, WIDTH, WIDTH, WIDTH, 1)
    tensors["policy.log_std"] = np.array([-3.0, -9.0])  # the second is clamped to -5
    tensors["normaliser.state_mean"] = rng.normal(0, 1, STATE)
    tensors["normaliser.state_std"] = rng.uniform(0.5, 2, STATE)
    tensors["embeddings"] = rng.uniform(-box, box, (COUNT, DIM))
    tensors["selftest.states"] = rng.normal(0, 1, (4, STATE))
    return {name: values.astype(np.float32) for name, values in tensors.items()}


def stack(tensors, prefix, x):
    """All layers of an encoder, one after the other, ReLU between them."""
    for i in range(8):
        if f"{prefix}.{i}.weight" not in tensors:
            return x
        x = np.maximum(x, 0) if i else x
        x = tensors[f"{prefix}.{i}.weight"].astype(float) @ x + tensors[f"{prefix}.{i}.bias"]


def action_at(tensors, raw, z):
    state = (raw - tensors["normaliser.state_mean"].astype(float)) / tensors["normaliser.state_std"]
    hidden = np.maximum(stack(tensors, "policy.state_encoder", state), 0)
    return state, np.tanh(stack(tensors, "policy.action_encoder", np.concatenate([hidden, z])))


def score_at(tensors, raw, z):
    state, action = action_at(tensors, raw, z)
    g = np.maximum(stack(tensors, "score.state_action_encoder", np.concatenate([state, action])), 0)
    return stack(tensors, "score.score_encoder", np.concatenate([g, z]))[0]


def gradient_at(tensors, raw, z, step=1e-6):
    return np.array([(score_at(tensors, raw, z + e) - score_at(tensors, raw, z - e)) / (2 * step)
                     for e in step * np.eye(len(z))])


def search_at(tensors, rule, raw, settings, box):
    """(embedding, subtask, score): the paper's Algorithm 2 word by word."""

    def ascend(z):
        iterates = [z]
        for _ in range(int(settings["ascent_steps"])):
            gradient = gradient_at(tensors, raw, z)
            norm = np.linalg.norm(gradient)
            if settings["normalise_gradient"] == "on":
                gradient = gradient / norm if norm > 0 else 0 * gradient
            z = z + float(settings["ascent_step_size"]) * gradient
            z = np.clip(z, -box, box) if settings["clip"] == "on" else z
            iterates.append(z)
        if settings["keep_best_iterate"] == "on":
            return max(iterates, key=lambda one: score_at(tensors, raw, one))  # the first of equals
        return z

    starts = list(tensors["embeddings"].astype(float))
    if rule == "grad-ada":
        starts = [ascend(z) for z in starts]
    subtask = max(range(len(starts)), key=lambda n: score_at(tensors, raw, starts[n]))
    z = ascend(starts[subtask]) if rule == "grad" else starts[subtask]
    return z, subtask, score_at(tensors, raw, z)


def with_selftest(tensors):
    """The tensors and what rule `best` answers at the self-test's states."""
    answers = [search_at(tensors, "best", raw, {}, 1) for raw in tensors["selftest.states"]]
    actions = [action_at(tensors, raw, z)[1] for raw, (z, _, _) in
               zip(tensors["selftest.states"], answers)]
    return tensors | {"selftest.actions": np.array(actions, np.float32),
                      "selftest.scores": np.array([score for *_, score in answers], np.float32)}


def configured(text, settings):
    """A config's YAML with other values of some keys."""
    for key, value in settings.items():
        text, count = re.subn(rf"(?m)^  {key}: .*$", f"  {key}: {value}", text)
        assert count == 1, key
    return text


def write_checkpoint(path, tensors, config=CONFIG, **metadata):
    """A checkpoint file whose hashes are right, whatever it holds."""
    payload, header = b"", {}
    for name, values in tensors.items():
        data = values.tobytes()
        header[name] = {"dtype": {"float32": "F32", "float64": "F64"}[str(values.dtype)],
                        "shape": list(values.shape),
                        "data_offsets": [len(payload), len(payload) + len(data)]}
        payload += data
    return write_file(path, {"format_version": "1", "task": "hopper", "reward_scale": "0.25",
                             "config": config} | metadata, header, payload)


def write_file(path, metadata, header, payload):
    metadata = {**metadata, "header_sha256": "0" * 64,
                "payload_sha256": hashlib.sha256(payload).hexdigest()}
    text = json.dumps({"__metadata__": metadata} | header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(head).hexdigest().encode()
    path.write_bytes(head.replace(b'"header_sha256":"' + b"0" * 64, b'"header_sha256":"' + digest)
                     + payload)
    return path


def with_config(path, out, settings):
    """A copy of a checkpoint with other search settings."""
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:length])
    metadata = header.pop("__metadata__")
    return write_file(out, metadata | {"config": configured(metadata["config"], settings)}, header,
                      data[length:])


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="drop policy ")  # with a blank in its path
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def checkpoint(self, change=None, config=CONFIG, **metadata):
        """A made-up checkpoint; `change` edits its tensors after the self-test was computed."""
        tensors = with_selftest(make_tensors())
        if change:
            change(tensors)
        return write_checkpoint(self.folder / "made_up.safetensors", tensors, config, **metadata)

    def program(self, *words):
        """Exit status, standard output and standard error of the program."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = drop_policy.main([str(word) for word in words])
            except SystemExit as stop:
                status = stop.code
        return status, out.getvalue(), err.getvalue()

    def refused(self, status, part, *words):
        found, out, err = self.program(*words)
        self.assertEqual((found, out), (status, ""), err)
        self.assertRegex(err, r"\Adrop_policy\.py: error: [^\n]*\n\Z")
        self.assertIn(part, err)

    def write_states(self, values, key="states"):
        path = self.folder / "S.h5"
        with h5py.File(path, "w") as file:
            file[key] = values
        return path


# ---- the arithmetic ---------------------------------------------------------------------------------


class Search(InFolder):
    def test_gradient_is_that_of_central_differences(self):
        tensors = make_tensors()
        policy = DropPolicy.load(self.checkpoint(), dtype=np.float64)
        rng = np.random.default_rng(1)
        for raw in rng.normal(0, 2, (5, STATE)):
            z = rng.uniform(-1, 1, (4, DIM))
            scores, gradient = policy.score_and_gradient(policy._encode(raw), z)
            expected = np.array([gradient_at(tensors, raw, one) for one in z])
            self.assertGreater(abs(expected).max(), 0.01)
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(scores, [score_at(tensors, raw, one) for one in z], rtol=1e-12)

    def test_every_rule_and_setting_is_the_papers_algorithm(self):
        raw_states = np.random.default_rng(2).normal(0, 2, (4, STATE))
        for kind, box in [("table", 1.0), ("cvae", 2.0)]:
            tensors = with_selftest(make_tensors(seed=int(box), box=box))
            reached = 0.0
            for variant in VARIANTS:
                config = configured(CONFIG, {**variant, "embedding": kind})
                path = write_checkpoint(self.folder / "c.safetensors", tensors, config)
                settings = dict(re.findall(r"(?m)^  (\w+): (\S+)$", config))
                for rule in RULES:
                    found = DropPolicy.load(path, rule, dtype=np.float64).infer(raw_states)
                    for i, raw in enumerate(raw_states):
                        with self.subTest(kind=kind, variant=variant, rule=rule, state=i):
                            z, subtask, score = search_at(tensors, rule, raw, settings, box)
                            np.testing.assert_allclose(found["embedding"][i], z, atol=1e-6)
                            self.assertEqual(found["subtask"][i], subtask)
                            self.assertAlmostEqual(found["score"][i], score / 0.25, delta=1e-5)
                            action = action_at(tensors, raw, z)[1]
                            np.testing.assert_allclose(found["action"][i], action, atol=1e-6)
                    if "clip" not in variant:
                        reached = max(reached, abs(found["embedding"]).max())
            self.assertEqual(reached, box)  # some ascents went as far as the box lets them

    def test_a_constant_score_ties_everywhere_and_moves_nothing(self):
        def flat(tensors):
            tensors["score.score_encoder.3.weight"][:] = 0
            tensors["selftest.scores"][:] = tensors["score.score_encoder.3.bias"]
        path = self.checkpoint(flat)
        for rule in RULES:
            for settings in [{}, {"normalise_gradient": True}, {"keep_best_iterate": True}]:
                with np.errstate(all="raise"):
                    found = DropPolicy.load(path, rule, **settings).infer(np.ones((2, STATE)))
                self.assertEqual(found["subtask"].tolist(), [0, 0])
                np.testing.assert_array_equal(found["embedding"], [make_tensors()["embeddings"][0]] * 2)

    def test_float32_as_the_library(self):
        found = DropPolicy.load(self.checkpoint()).infer(np.ones((1, STATE)))
        self.assertEqual({name: str(values.dtype) for name, values in found.items()},
                         {"embedding": "float32", "subtask": "int64", "score": "float32",
                          "action": "float32"})


class Acting(InFolder):
    def test_adaptive_rules_choose_anew_the_others_keep_their_choice(self):
        path = self.checkpoint()
        first, second = np.random.default_rng(5).normal(0, 3, (2, STATE))
        for rule in RULES:
            policy = DropPolicy.load(path, rule)
            at_first = policy.infer([first])["embedding"][0]
            at_second = policy.infer([second])["embedding"][0]
            self.assertFalse(np.array_equal(at_first, at_second))
            np.testing.assert_array_equal(policy.act(first), policy.infer([first])["action"][0])
            policy.act(second)
            expected = at_second if rule.endswith("-ada") else at_first
            np.testing.assert_array_equal(policy.choice.embedding, expected)
            policy.reset()
            policy.act(second)
            np.testing.assert_array_equal(policy.choice.embedding, at_second)

    def test_sampled_actions_follow_the_seed_and_the_standard_deviation(self):
        for form, deviation in [("learned", [np.exp(-3), np.exp(-5)]), ("fixed", [1, 1])]:
            path = self.checkpoint(config=configured(CONFIG, {"policy_std": form}))
            policy = DropPolicy.load(path, "best", sample="on")
            mean = policy.infer(np.ones((1, STATE)))["action"][0]
            actions = np.array([policy.act(np.ones(STATE)) for _ in range(400)])
            self.assertLessEqual(abs(actions).max(), 1)
            if form == "learned":
                np.testing.assert_allclose(actions.std(axis=0), deviation, rtol=0.15)
                np.testing.assert_allclose(actions.mean(axis=0), mean, atol=0.01)
            else:
                self.assertEqual(abs(actions).max(), 1)  # clipped
            policy.reset(seed=0)
            np.testing.assert_array_equal(policy.act(np.ones(STATE)), actions[0])
            policy.reset()
            self.assertFalse(np.array_equal(policy.act(np.ones(STATE)), actions[0]))

    def test_newest_checkpoint_of_a_run(self):
        folder = self.folder / "run" / "checkpoints"
        folder.mkdir(parents=True)
        for name, task in [("step_000000000", "old"), ("step_000000900", "old"),
                           ("step_1000000000", "new"), ("step_2000000000.training", "training")]:
            self.checkpoint(task=task).rename(folder / f"{name}.safetensors")
        self.assertEqual(DropPolicy.load(self.folder / "run").task, "new")


# ---- refusals -----------------------------------------------------------------------------------------


class Refusals(InFolder):
    def refused_to_load(self, kind, part, path, *words, **settings):
        with self.assertRaises(kind) as caught:
            DropPolicy.load(path, *words, **settings)
        self.assertIn(part, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_a_damaged_file(self):
        path = self.checkpoint()
        whole = path.read_bytes()
        length = 8 + int.from_bytes(whole[:8], "little")
        for where, part in [(length + 5, "payload_sha256"), (len(whole) - 1, "payload_sha256"),
                            (whole.index(b"0.25"), "header_sha256"), (7, "checkpoint")]:
            path.write_bytes(whole[:where] + bytes([whole[where] ^ 1]) + whole[where + 1:])
            self.refused_to_load(DataError, part, path)
        for size in [0, 5, 8, 100, length, len(whole) - 1]:
            path.write_bytes(whole[:size])
            self.refused_to_load(DataError, "damaged", path)
        path.write_bytes(whole + b"\0")
        self.refused_to_load(DataError, "payload_sha256", path)

    def test_what_might_never_end_is_not_read(self):
        os.mkfifo(self.folder / "pipe.safetensors")
        for path in ("/dev/zero", self.folder / "pipe.safetensors"):
            self.refused_to_load(DataError, "no regular file; give a .safetensors file", path)
        path = self.checkpoint()
        with mock.patch.object(drop_policy, "machine_memory", return_value=100):
            self.refused_to_load(DataError, "more than this machine's memory", path)
        # nothing but its head is read of a large file that is no checkpoint
        for claimed in (2**62, 2**40, 2**20):
            path.write_bytes(claimed.to_bytes(8, "little"))
            os.truncate(path, 2**33)
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            with mock.patch.object(drop_policy, "machine_memory", return_value=2**50):
                self.refused_to_load(DataError, "damaged", path)
            self.assertLess(tracemalloc.get_traced_memory()[1], 2**26)
            tracemalloc.stop()

    def test_a_file_that_is_whole_but_wrong(self):
        def setter(name, values):
            return lambda tensors: tensors.update({name: values})

        def action_of_the_worst(tensors):
            for i, raw in enumerate(tensors["selftest.states"]):
                worst = min(tensors["embeddings"], key=lambda z: score_at(tensors, raw, z))
                tensors["selftest.actions"][i] = action_at(tensors, raw, worst)[1]

        wrong = [
            (action_of_the_worst, "self-test"),
            (setter("policy.action_encoder.1.weight", np.ones((3, 3), np.float32)),
             "policy.action_encoder.1.weight: found float32 [3, 3]"),
            (setter("embeddings", np.ones(5, np.float32)), "embeddings"),
            (setter("embeddings", np.ones((0, DIM), np.float32)), "embeddings: found float32 [0, 4]"),
            (setter("embeddings", np.ones((COUNT, DIM))), "found float64"),
            (lambda tensors: tensors.pop("score.score_encoder.3.bias"), "found nothing"),
            (setter("score.score_encoder.3.bias", np.array([np.nan], np.float32)), "not finite"),
            (setter("normaliser.state_std", np.zeros(STATE, np.float32)), "positive"),
            (setter("score.score_encoder.3.bias", np.array([9], np.float32)), "self-test"),
            (setter("policy.action_encoder.3.bias", np.array([0, 1], np.float32)), "self-test"),
            (setter("selftest.actions", np.zeros((4, ACTION), np.float32)), "self-test"),
        ]
        for change, part in wrong:
            self.refused_to_load(DataError, part, self.checkpoint(change))
        for metadata, part in [({"format_version": "2"}, "format_version: found 2, allowed: 1"),
                               ({"reward_scale": "0"}, "reward_scale"),
                               ({"reward_scale": "nan"}, "reward_scale"),
                               ({"reward_scale": "much"}, "metadata"),
                               ({"config": "model: ["}, "metadata"),
                               ({"config": "a list"}, "metadata"),
                               ({"config": configured(CONFIG, {"embedding": "other"})}, "other"),
                               ({"config": configured(CONFIG, {"clip": "2"})}, "search.clip"),
                               ({"config": configured(CONFIG, {"hidden_width": "13"})}, "[13")]:
            self.refused_to_load(DataError, part, self.checkpoint(**metadata))

    def test_rules_settings_and_paths(self):
        path = self.checkpoint()
        self.refused_to_load(UsageError, "allowed: best, grad", path, "greedy")
        for settings, part in [({"steps": 3}, "search.steps"), ({"ascent_steps": 1.5}, "0, 1, 2"),
                               ({"ascent_steps": -1}, "0, 1, 2"), ({"ascent_steps": True}, "0, 1"),
                               ({"ascent_step_size": "inf"}, "number"), ({"clip": "yes!"}, "off")]:
            self.refused_to_load(UsageError, part, path, "best", **settings)
        self.assertEqual(DropPolicy.load(path, ascent_steps="1e1").search.ascent_steps, 10)
        self.refused_to_load(DataError, "No such file", self.folder / "none.safetensors")
        self.refused_to_load(DataError, "step_*.safetensors", self.folder)

    def test_observations(self):
        policy = DropPolicy.load(self.checkpoint())
        for bad, part in [(np.ones(4), "found shape [4], the checkpoint asks for [3]"),
                          (np.ones((1, 3)), "[1, 3]"), ([0, np.inf, 0], "finite")]:
            with self.assertRaisesRegex(ValueError, re.escape(part)):
                policy.act(bad)


# ---- the program ----------------------------------------------------------------------------------------

GYMNASIUM = '''
import types
import numpy as np

class Error(Exception):
    pass

error = types.SimpleNamespace(Error=Error)
made = []

class Line:
    """Starts at the seed, rewards add up to it; three steps an episode."""
    def __init__(self, states=3, low=-1, high=1):
        self.observation_space = types.SimpleNamespace(shape=(states,))
        self.action_space = types.SimpleNamespace(shape=(2,), low=np.full(2, low), high=np.full(2, high))
        self.actions = []
    def reset(self, seed):
        self.seed, self.steps = seed, 0
        return np.full(3, float(seed)), {}
    def step(self, action):
        self.steps += 1
        self.actions.append(action)
        end = self.steps == 3
        return np.ones(3) * self.steps, self.seed / 3, end and self.seed % 2 == 0, end, {}
    def close(self):
        pass

def make(name):
    forms = {"Line-v0": {}, "Long-v0": {"states": 4}, "Narrow-v0": {"low": -0.4}, "Weak-v0": {"high": 0.4}}
    if name not in forms:
        raise Error(f"no {name}\\nat all")
    made.append(Line(**forms[name]))
    return made[-1]
'''


class Program(InFolder):
    def stand_in(self):
        """A gymnasium of our own in place of the real one."""
        path = self.folder / "gymnasium.py"
        path.write_text(GYMNASIUM)
        found = importlib.util.spec_from_file_location("gymnasium", path)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    def test_episodes_in_an_environment(self):
        gymnasium = self.stand_in()
        with mock.patch.dict(sys.modules, gymnasium=gymnasium):
            path = self.checkpoint()
            status, out, err = self.program("--checkpoint", path, "--env", "Line-v0", "--episodes", 3,
                                            "--seed", 1, "--rule", "grad,grad-ada")
        self.assertEqual(status, 0, err)
        lines = out.splitlines()
        self.assertEqual(lines[0].split(), ["rule", "episodes", "return", "std", "normalised"])
        # returns 1, 2, 3 of hopper
        score = f"{100 * (2 + 20.272305) / (3234.3 + 20.272305):.1f}"
        self.assertEqual([line.split() for line in lines[1:]],
                         [["grad", "3", "2.0", "0.8", score], ["grad-ada", "3", "2.0", "0.8", score]])
        self.assertIn("physics: d4rl", err)
        # every episode begins with a choice of its own
        actions = np.reshape(gymnasium.made[0].actions, (2, 3, 3, ACTION))
        for rule, found in zip(["grad", "grad-ada"], actions[:, :, 0]):
            starts = np.repeat([[1.0], [2.0], [3.0]], STATE, axis=1)
            np.testing.assert_array_equal(found, DropPolicy.load(path, rule).infer(starts)["action"])

    def test_an_unknown_task_has_no_normalised_score(self):
        with mock.patch.dict(sys.modules, gymnasium=self.stand_in()):
            status, out, err = self.program(
                "--checkpoint", self.checkpoint(task="mine", config=CONFIG.replace("d4rl", "modern")),
                "--env", "Line-v0", "--episodes", 1, "--rule", "best")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.splitlines()[1].split(), ["best", "1", "0.0", "0.0", "-"])

    def test_environments_that_do_not_fit(self):
        path = self.checkpoint()
        with mock.patch.dict(sys.modules, gymnasium=self.stand_in()):
            for name, part in [("Long-v0", "(4,)"), ("Narrow-v0", "RescaleAction"),
                               ("Weak-v0", "RescaleAction"), ("x", "no x")]:
                self.refused(2, part, "--checkpoint", path, "--env", name)
        with mock.patch.dict(sys.modules, gymnasium=None):
            self.refused(2, "pip install 'gymnasium[mujoco]'", "--checkpoint", path, "--env", "Line-v0")

    def test_states_in_a_file(self):
        path, out = self.checkpoint(), self.folder / "R.h5"
        states = np.random.default_rng(3).normal(0, 1, (5, STATE))
        words = ["--checkpoint", path, "--states", self.write_states(states), "--out", out]
        self.assertEqual(self.program(*words, "--set", "search.ascent_steps=3"),
                         (0, f"{out}: 5 states, 2 rules\n", ""))
        with h5py.File(out) as file:
            self.assertEqual(dict(file.attrs), {"checkpoint": str(path), "precision": "fp32"})
            self.assertEqual(sorted(file), ["best", "grad"])  # the config's search.rules
            for rule in file:
                expected = DropPolicy.load(path, rule, ascent_steps=3).infer(states)
                self.assertEqual(sorted(file[rule]), sorted(expected))
                for name, values in expected.items():
                    np.testing.assert_array_equal(file[rule][name], values)
        self.assertEqual([name.name for name in self.folder.glob("R.h5*")], ["R.h5"])

    def test_states_that_do_not_fit(self):
        path, out = self.checkpoint(), self.folder / "R.h5"
        for values, key, part in [(np.ones((2, 4)), "states", "[2, 4]"), (np.ones(3), "states", "[3]"),
                                  (np.ones((0, 3)), "states", "[0, 3]"),
                                  (np.ones((2, 3)), "other", "states"),
                                  ([[0, 0, 0], [0, np.nan, 0]], "states", "row 1")]:
            states = self.write_states(values, key)
            self.refused(3, part, "--checkpoint", path, "--states", states, "--out", out)
        # a link to a pipe, which would be waited for, and more than the file can hold
        os.mkfifo(self.folder / "pipe.h5")
        linked, hollow = self.folder / "linked.h5", self.folder / "hollow.h5"
        with h5py.File(linked, "w") as file:
            file["states"] = h5py.ExternalLink("pipe.h5", "/states")
        with h5py.File(hollow, "w") as file:
            file.create_dataset("states", (2**40, 3), np.float32, chunks=(1024, 3))
        self.refused(3, "none of its own", "--checkpoint", path, "--states", linked, "--out", out)
        self.refused(3, "cannot hold", "--checkpoint", path, "--states", hollow, "--out", out)
        self.refused(3, "none.h5", "--checkpoint", path, "--states", self.folder / "none.h5",
                     "--out", out)
        self.assertFalse(out.exists())

    def test_inputs_are_not_overwritten(self):
        path, states = self.checkpoint(), self.write_states(np.ones((1, 3)))
        linked = self.folder / "linked.h5"
        linked.hardlink_to(states)
        unfinished = self.folder / "R.h5.tmp"
        unfinished.symlink_to(states)
        before = path.read_bytes(), states.read_bytes()
        for out in (states, self.folder / ".." / self.folder.name / "S.h5", linked, path, self.folder / "R.h5"):
            self.refused(2, "would overwrite", "--checkpoint", path, "--states", states, "--out", out)
        self.assertEqual((path.read_bytes(), states.read_bytes()), before)
        os.mkfifo(self.folder / "pipe.h5")
        self.refused(3, "no regular file", "--checkpoint", path, "--states", self.folder / "pipe.h5", "--out",
                     self.folder / "other.h5")

    def test_standard_output_that_takes_nothing(self):
        command = [sys.executable, SCRIPT, "--checkpoint", self.checkpoint(), "--states",
                   self.write_states(np.ones((1, 3))), "--out", self.folder / "R.h5"]
        for form, reason in (("> /dev/full", "No space left on device"), (">&-", "it is closed")):
            done = subprocess.run(["bash", "-c", f'"$@" {form}', "bash", *command], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr),
                             (1, f"drop_policy.py: error: standard output: cannot be written ({reason})\n"))

    def test_words_of_the_command_line(self):
        path = self.checkpoint()
        there = ["--checkpoint", path, "--states", self.write_states(np.ones((1, 3))), "--out",
                 self.folder / "R.h5"]
        self.refused(2, "greedy", *there, "--rule", "best,greedy")
        self.refused(2, "twice", *there, "--rule", "best,best")
        self.refused(2, "search.KEY=VALUE", *there, "--set", "train.steps=3")
        self.refused(2, "search.clip", *there, "--set", "search.clip=maybe")
        self.refused(3, "none", "--checkpoint", self.folder / "none", *there[2:])
        self.refused(1, "", *there[:-1], self.folder / "no" / "R.h5")
        for words in [[], there[:2], there[:4], [*there, "--env", "Line-v0"], [*there, "--episodes", 0]]:
            status, out, err = self.program(*words)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("drop_policy.py: error: ", err)
        status, out, _ = self.program("--help")
        self.assertEqual(status, 0)
        self.assertIn("physics: modern", out)

    def test_reference_returns_are_the_librarys(self):
        source = (ROOT / "src/env/reference_scores.cc").read_text()
        known = {task: (float(low), float(high)) for task, low, high in
                 re.findall(r'\{"([a-z0-9]+)", "", ([-\d.]+), ([-\d.]+), kInfos\}', source)}
        for task, returns in drop_policy.REFERENCE_RETURNS.items():
            self.assertEqual(returns, known[task], task)


# ---- against the library ----------------------------------------------------------------------------------


@unittest.skipUnless(BUILD and os.path.exists(f"{BUILD}/bin/drop_infer"), "DROP_BUILD_DIR names no build")
class AgainstDropInfer(InFolder):
    CONFIG = textwrap.dedent("""
        dataset: {fixture}
        device: cpu
        threads: 1
        decomposition: {{num_subtasks: 4, trajectories_per_subtask: 1, keep_unfinished: on}}
        model: {{hidden_width: 32, embedding: {embedding}, policy_std: learned}}
        train: {{steps: 60, batch_size: 16, target_rate: 0.5, discount: 0.8, log_every: 20}}
        checkpoint: {{every: 60}}
        search: {{ascent_steps: 20, ascent_step_size: 0.3}}
        eval: {{every: 0}}
        """)

    def run_program(self, name, *words):
        done = subprocess.run([f"{BUILD}/bin/{name}", *map(str, words)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{name} {words}\n{done.stdout}\n{done.stderr}")

    def decided(self, path, rule):
        """The states, most of all, where the best sub-task is ahead by more than float32's digits."""
        policy = DropPolicy.load(path, rule, dtype=np.float64)
        ahead = []
        with h5py.File(self.folder / "S.h5") as file:
            for raw in file["states"][:]:
                encoded = policy._encode(raw)
                scores = policy._ascend(encoded, policy.embeddings)[1] if rule == "grad-ada" \
                    else policy._score(encoded, policy.embeddings)[0]
                second, first = np.sort(scores)[-2:]
                ahead.append(first - second > 1e-5 * max(1, abs(first)))
        self.assertGreater(np.mean(ahead), 0.8, (path, rule))
        return np.flatnonzero(ahead)

    def compare(self, embedding, variants):
        """Trains for a moment, then asks both programs under each of some search settings."""
        fixture = ROOT / "tests/fixtures/maze2d-umaze-sparse-v1.hdf5"
        (self.folder / "c.yaml").write_text(self.CONFIG.format(fixture=fixture, embedding=embedding))
        run, infer = self.folder / "run", ["--states", self.folder / "S.h5", "--rule", ",".join(RULES)]
        self.run_program("drop_train", "--config", self.folder / "c.yaml", "--out", run, "--quiet")
        with h5py.File(fixture) as file:
            self.write_states(file["observations"][:])
        for variant in variants:
            path = with_config(drop_policy.newest_checkpoint(run), self.folder / "v.safetensors", variant)
            ours, theirs = self.folder / "ours.h5", self.folder / "theirs.h5"
            self.run_program("drop_infer", "--checkpoint", path, *infer, "--out", theirs,
                             "--precision", "fp32")
            self.assertEqual(self.program("--checkpoint", path, *infer, "--out", ours)[0], 0)
            with h5py.File(ours) as ours, h5py.File(theirs) as theirs:
                for rule in RULES:
                    rows = self.decided(path, rule)
                    for name in ["embedding", "subtask", "score", "action"]:
                        with self.subTest(embedding=embedding, variant=variant, rule=rule, name=name):
                            found, expected = ours[rule][name][rows], theirs[rule][name][rows]
                            self.assertEqual(found.dtype, expected.dtype)
                            np.testing.assert_allclose(found, expected, rtol=0,
                                                       atol=2e-6 * max(1, abs(expected).max()))
                # the ascents went somewhere
                moved = abs(ours["grad/embedding"][:] - ours["best/embedding"][:]).max()
                self.assertEqual(moved > 0.1, "ascent_steps" not in variant, variant)

    def test_table(self):
        self.compare("table", INFER_VARIANTS)

    def test_cvae(self):
        self.compare("cvae", [{}, INFER_VARIANTS[-2]])


if __name__ == "__main__":
    unittest.main()
