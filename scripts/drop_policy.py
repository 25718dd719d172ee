#!/usr/bin/env python3
"""Acts with a trained checkpoint from Python: one file to copy, no build, no LibTorch.

In your own program, with numpy, safetensors and pyyaml:

    from drop_policy import DropPolicy

    policy = DropPolicy.load("runs/hopper", rule="grad-ada", ascent_steps=20)
    policy.reset()                              # at every episode's beginning
    action = policy.act(observation)            # [state_dim] raw -> [action_dim] in [-1, 1]

As a program, in a gymnasium environment or at states of your own:

    drop_policy.py --checkpoint runs/hopper --env Hopper-v4 --rule best,grad-ada --episodes 10
    drop_policy.py --checkpoint runs/hopper --states S.h5 --out R.h5

--env needs gymnasium as well (pip install 'gymnasium[mujoco]'); 'package:ID' imports a package that
registers the ID, e.g. gymnasium_robotics:AdroitHandDoor-v1. --states and --out need h5py and have
the layout of drop_infer.

Physics: gymnasium's environments (v4, v5) move as today's MuJoCo computes these robots, which this
project calls `physics: modern`. D4RL's data were recorded with other body inertias, the default
`physics: d4rl` of drop_train and drop_eval, so a policy that learned from them meets a slightly
different robot here. Whether it still walks can be seen here; scores to report come from drop_eval.
Hopper, HalfCheetah and Walker2d observe what D4RL's tasks do; v5 differs from v4 in the reward of
the last step and in walker2d's right foot.

Speed: an action of grad-ada takes ascent_steps gradients at every sub-task's embedding: one to two
seconds on two cores for the paper's 100 steps, 100 sub-tasks and width 512. To be faster take fewer
steps, `best-ada` (milliseconds) or the C++ library.

Exit status: 0 done, 1 failed at run time, 2 wrong usage, 3 bad or missing checkpoint or states.
"""

import argparse
import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple

try:
    import numpy as np
    import yaml
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors
except ImportError as problem:
    if __name__ != "__main__":
        raise
    sys.exit(f"drop_policy.py: error: {problem}; pip install numpy safetensors pyyaml")

RULES = ["best", "grad", "best-ada", "grad-ada"]
FORMAT_VERSION = "1"
MOST_HEADER = 100_000_000  # bytes, as safetensors itself allows
SELFTEST_TOLERANCE = 1e-4  # other machines sum in another order; a wrong weight is off by far more

# D4RL's returns of a random policy and of an expert, for tasks that gymnasium knows (d4rl/infos.py)
REFERENCE_RETURNS = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "pen": (96.262799, 3076.8331017826877),
    "hammer": (-274.856578, 12794.134825156867),
    "door": (-56.512833, 2880.5693087298737),
    "relocate": (-6.425911, 4233.877797728884),
}


class DataError(ValueError):
    """A checkpoint or states that cannot be used: one line (exit status 3)."""


class UsageError(ValueError):
    """A rule, setting or environment that cannot be used: one line (exit status 2)."""


@dataclasses.dataclass(frozen=True)
class Search:
    """How embeddings are searched: the config's `search` section."""

    ascent_steps: int  # K
    ascent_step_size: float  # alpha, on the gradient of the scaled score
    clip: bool  # keep z in the box
    normalise_gradient: bool  # unit-norm gradients; a zero gradient leaves z where it is
    keep_best_iterate: bool  # the best of all K + 1 iterates, the earliest on ties; else the last
    sample: bool  # draw actions from the policy; else its mean acts

    @classmethod
    def parse(cls, values):
        """From values as YAML or a command line has them."""
        fields = dataclasses.fields(cls)
        for name in values:
            if name not in [field.name for field in fields]:
                raise UsageError(f"search.{name}: no setting of this script; allowed: "
                                 f"{', '.join(field.name for field in fields)}")
        return cls(**{field.name: parse_setting(field.name, field.type, values[field.name])
                      for field in fields})


def parse_setting(name, kind, value):
    """A bool, a whole number or a number, none of them negative."""
    found, text = None, str(value).lower()
    if kind is bool:
        found = {"on": True, "true": True, "off": False, "false": False}.get(text)
    else:
        with contextlib.suppress(ValueError):
            found = float(text)  # YAML 1.1 reads 1e-3 as a word
            found = kind(found) if 0 <= found < math.inf and kind(found) == found else None
    if found is None:
        allowed = {bool: "on, off", int: "0, 1, 2, ...", float: "a number from 0"}[kind]
        raise UsageError(f"search.{name}: found {value!r}, allowed: {allowed}")
    return found


class Choice(NamedTuple):
    """What a rule chose at a state."""

    embedding: np.ndarray  # z, [d]
    subtask: int  # that its search started from
    score: float  # of acting with z at this state, in raw reward units


class Encoded(NamedTuple):
    """What the networks compute from a state alone, once for all embeddings and ascent steps."""

    policy: np.ndarray  # the state's share of the policy's action encoder, [width]
    score: np.ndarray  # the state's share of the score's state-action encoder, [width]


class JoinedEncoder:
    """Linear layers with ReLU between them; the first sees [x, y], each by its own weights."""

    def __init__(self, layers, x_dim):
        (weight, self.bias), *self.rest = layers
        self.x_weight, self.y_weight = np.split(weight, [x_dim], axis=1)

    def project(self, x):
        """x's share of the first layer, bias included."""
        return x @ self.x_weight.T + self.bias

    def forward(self, projected, y):
        """The last layer's output [rows, out], and which units were alive before each layer."""
        x, alive = projected + y @ self.y_weight.T, []
        for weight, bias in self.rest:
            alive.append(x > 0)
            x = np.maximum(x, 0) @ weight.T + bias
        return x, alive

    def backward(self, gradient, alive):
        """Gradient at the first layer's output: times x_weight or y_weight it is that of x or y."""
        for (weight, _), units in zip(reversed(self.rest), reversed(alive)):
            gradient = (gradient @ weight) * units
        return gradient


def newest_checkpoint(path):
    """The checkpoint itself, or the newest one in a run's folder."""
    path = Path(path)
    if not path.is_dir():
        return path
    steps = {int(match[1]): file for file in (path / "checkpoints").glob("step_*.safetensors")
             if (match := re.fullmatch(r"step_(\d+)\.safetensors", file.name))}
    if not steps:
        raise DataError(f"{path}: found no checkpoint, looked for checkpoints/step_*.safetensors; "
                        "give a .safetensors file or a run's folder")
    return steps[max(steps)]


def machine_memory():
    """In bytes; where the system does not tell, more than any checkpoint has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**36


def size_of(path):
    """Of a regular file; OSError for others, which might never end."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file")
    return status.st_size


def read_checkpoint(path):
    """Tensors and metadata of a checkpoint that is as it was written: both hashes are checked."""
    damaged = "the file is damaged or no checkpoint of this project; use another one of the run"
    try:
        size = size_of(path)
        if size > machine_memory():
            raise OSError(errno.EFBIG, f"{size} bytes are more than this machine's memory")
        with open(path, "rb") as file:
            # the header first: what is no checkpoint is not read any further
            head = file.read(8)
            length = int.from_bytes(head, "little")
            head += file.read(length) if length <= min(size, MOST_HEADER) else b""
            metadata = json.loads(head[8:])["__metadata__"]
            claimed = metadata["header_sha256"]
            whole = head.replace(claimed.encode(), b"0" * len(claimed))
            if hashlib.sha256(whole).hexdigest() != claimed:
                raise DataError(f"{path}: header_sha256 does not match the header; {damaged}")
            payload = file.read(size - len(head))
        if hashlib.sha256(payload).hexdigest() != metadata["payload_sha256"]:
            raise DataError(f"{path}: payload_sha256 does not match the data; {damaged}")
        return load_tensors(head + payload), metadata
    except DataError:
        raise
    except OSError as problem:
        raise DataError(f"{path}: {problem.strerror}; give a .safetensors file or a run's folder") \
            from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DataError(f"{path}: not readable as a checkpoint ({reason}); {damaged}") from None


class DropPolicy:
    """A trained model that acts by one inference rule: pi*(a|s) = beta(a|s, z*).

    Public: rule, task, search, config (of the training run), state_dim, action_dim,
    embeddings [N, d] (where searches start), choice (what acted last).
    """

    @classmethod
    def load(cls, path, rule="grad-ada", *, dtype=np.float32, **settings):
        """Reads a checkpoint, or a run folder's newest one, and verifies it.

        settings override the stored config's search section: ascent_steps=20, sample=True, ...
        Raises DataError for what cannot be read or fails its self-test, UsageError for a rule or a
        setting that is unknown; both are ValueErrors of one line.
        """
        path = newest_checkpoint(path)
        return cls(*read_checkpoint(path), rule, dtype=dtype, source=str(path), **settings)

    def __init__(self, tensors, metadata, rule, *, dtype=np.float32, source="", **settings):
        if rule not in RULES:
            raise UsageError(f"inference rule: found {rule!r}, allowed: {', '.join(RULES)}")
        self.rule = rule
        self.source = source
        self._adapts = rule.endswith("-ada")
        self._read_metadata(metadata, settings)
        self._read_tensors(tensors, dtype)
        self._run_selftest(tensors)
        self.reset(0)

    def reset(self, seed=None):
        """Begins an episode; a seed restarts the noise of `sample`."""
        self.choice = None
        if seed is not None:
            self._noise = np.random.default_rng(seed)

    def act(self, observation):
        """The action [action_dim] in [-1, 1] at a raw observation [state_dim]."""
        encoded = self._encode(self._checked(observation))
        # adaptive rules choose at every state, the others at an episode's first one
        if self._adapts or self.choice is None:
            self.choice = self._choose(encoded)
        action = self._actions(encoded, self.choice.embedding[None])[0]
        if self.search.sample:
            noise = self._noise.standard_normal(self.action_dim).astype(self._dtype)
            action = np.clip(action + self._std * noise, -1, 1)
        return action

    def infer(self, states):
        """The rule's answer at each of some raw states [S, state_dim], each taken as a first state.

        Returns embedding [S, d], subtask [S], score [S] in raw reward units and action
        [S, action_dim], the mean.
        """
        encoded = [self._encode(self._checked(state)) for state in states]
        choices = [self._choose(one) for one in encoded]
        return {
            "embedding": np.array([choice.embedding for choice in choices]),
            "subtask": np.array([choice.subtask for choice in choices], np.int64),
            "score": np.array([choice.score for choice in choices], self._dtype),
            "action": np.array([self._actions(one, choice.embedding[None])[0]
                                for one, choice in zip(encoded, choices)]),
        }

    # ---- the search (paper, Algorithm 2) ---------------------------------------------------------

    def _choose(self, encoded):
        z = self.embeddings
        if self.rule == "grad-ada":
            z, scores = self._ascend(encoded, z)
        else:
            scores, _ = self._score(encoded, z)
        subtask = int(scores.argmax())  # the lowest on ties
        z, scores = z[[subtask]], scores[[subtask]]
        if self.rule == "grad":
            z, scores = self._ascend(encoded, z)
        return Choice(z[0], subtask, float(scores[0] / self._reward_scale))

    def _ascend(self, encoded, z):
        """K steps z <- clip(z + alpha * gradient) from starts [R, d]: ends and their scores."""
        iterates = []
        for _ in range(self.search.ascent_steps):
            scores, gradient = self.score_and_gradient(encoded, z)
            iterates.append((z, scores))
            if self.search.normalise_gradient:
                norm = np.linalg.norm(gradient, axis=1, keepdims=True)
                gradient = np.divide(gradient, norm, out=np.zeros_like(gradient), where=norm > 0)
            z = z + self.search.ascent_step_size * gradient
            if self.search.clip:
                z = np.clip(z, -self._box, self._box)
        iterates.append((z, self._score(encoded, z)[0]))
        if not self.search.keep_best_iterate:
            return iterates[-1]
        all_z, all_scores = (np.array(values) for values in zip(*iterates))
        earliest = all_scores.argmax(axis=0), np.arange(len(z))
        return all_z[earliest], all_scores[earliest]

    # ---- the networks (paper, Figure 9) ----------------------------------------------------------

    def _encode(self, state):
        state = (state - self._state_mean) / self._state_std
        hidden = state
        for weight, bias in self._state_encoder:
            hidden = np.maximum(hidden @ weight.T + bias, 0)
        return Encoded(self._action_encoder.project(hidden),
                       self._state_action_encoder.project(state))

    def _actions(self, encoded, z):
        """beta's mean at embeddings [R, d]: [R, action_dim]."""
        return np.tanh(self._action_encoder.forward(encoded.policy, z)[0])

    def _score(self, encoded, z):
        """f(s, beta(s,z), z) in scaled units at embeddings [R, d]: [R]; and what backward needs."""
        u, u_alive = self._action_encoder.forward(encoded.policy, z)
        action = np.tanh(u)
        g, g_alive = self._state_action_encoder.forward(encoded.score, action)
        projected = self._score_encoder.project(np.maximum(g, 0))
        score, alive = self._score_encoder.forward(projected, z)
        return score[:, 0], (action, u_alive, g > 0, g_alive, alive)

    def score_and_gradient(self, encoded, z):
        """Scores [R] and their gradients [R, d] with respect to z, through beta's mean as well."""
        scores, (action, u_alive, g_units, g_alive, alive) = self._score(encoded, z)
        # score -> [g, z]
        gradient = self._score_encoder.backward(np.ones((len(z), 1), self._dtype), alive)
        by_z = gradient @ self._score_encoder.y_weight
        # g -> [s, a] -> tanh -> [h, z]
        gradient = (gradient @ self._score_encoder.x_weight) * g_units
        gradient = self._state_action_encoder.backward(gradient, g_alive)
        gradient = (gradient @ self._state_action_encoder.y_weight) * (1 - action * action)
        gradient = self._action_encoder.backward(gradient, u_alive)
        return scores, by_z + gradient @ self._action_encoder.y_weight

    # ---- loading ---------------------------------------------------------------------------------

    def _read_metadata(self, metadata, settings):
        if metadata.get("format_version") != FORMAT_VERSION:
            raise DataError(f"{self.source}: format_version: found "
                            f"{metadata.get('format_version')}, allowed: {FORMAT_VERSION}; use the "
                            "version of this script that fits")
        try:
            self.config = yaml.safe_load(metadata["config"])
            self.task = metadata["task"]
            self._reward_scale = float(metadata["reward_scale"])
            # Z: where a table's tanh ends; without one as with a CVAE, two standard deviations of its prior
            model = self.config["model"]
            self._width = int(model["hidden_width"])
            self._box = {"table": 1.0 if model.get("bounded_embedding", True) else 2.0, "cvae": 2.0}[model["embedding"]]
            self._learned_std = model["policy_std"] == "learned"
            stored = {field.name: self.config["search"][field.name]
                      for field in dataclasses.fields(Search)}
            Search.parse(stored)
        except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as problem:
            raise DataError(f"{self.source}: metadata: {type(problem).__name__} "
                            f"{str(problem).splitlines()[0]}; no config of this project") from None
        if not (math.isfinite(self._reward_scale) and self._reward_scale > 0):
            raise DataError(f"{self.source}: metadata reward_scale must be positive")
        self.search = Search.parse({**stored, **settings})

    def _read_tensors(self, tensors, dtype):
        self._dtype = np.dtype(dtype)

        def take(name, *shape):
            found = tensors.get(name)
            if found is None or found.shape != shape or found.dtype != np.float32 or 0 in shape:
                what = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
                raise DataError(f"{self.source}: tensor {name}: found {what}, allowed: float32 "
                                f"{list(shape)}; no checkpoint of this project")
            if not np.isfinite(found).all():
                raise DataError(f"{self.source}: tensor {name} is not finite; use an earlier one")
            return found.astype(dtype)

        def layers(prefix, *sizes):
            return [(take(f"{prefix}.{i}.weight", after, before), take(f"{prefix}.{i}.bias", after))
                    for i, (before, after) in enumerate(zip(sizes, sizes[1:]))]

        def extents(name, rank):
            found = tensors.get(name)
            return found.shape if found is not None and found.ndim == rank else [1] * rank

        # these tensors and the config's width fix all shapes
        (self.state_dim,) = extents("normaliser.state_mean", 1)
        (self.action_dim,) = extents("policy.action_encoder.3.bias", 1)
        count, dim = extents("embeddings", 2)
        width = self._width
        self.embeddings = take("embeddings", count, dim)
        self._state_mean = take("normaliser.state_mean", self.state_dim)
        self._state_std = take("normaliser.state_std", self.state_dim)
        self._state_encoder = layers("policy.state_encoder", self.state_dim, width, width)
        self._action_encoder = JoinedEncoder(
            layers("policy.action_encoder", width + dim, width, width, width, self.action_dim),
            width)
        self._state_action_encoder = JoinedEncoder(
            layers("score.state_action_encoder", self.state_dim + self.action_dim, width, width),
            self.state_dim)
        self._score_encoder = JoinedEncoder(
            layers("score.score_encoder", width + dim, width, width, width, 1), width)
        self._std = np.ones(self.action_dim, dtype)
        if self._learned_std:
            self._std = np.exp(np.clip(take("policy.log_std", self.action_dim), -5, 2))
        if not (self._state_std > 0).all():
            raise DataError(f"{self.source}: normaliser.state_std must be positive")
        for name, *shape in [("states", self.state_dim), ("actions", self.action_dim), ("scores",)]:
            take(f"selftest.{name}", 4, *shape)

    def _run_selftest(self, tensors):
        """Rule `best` at the four stored states must give the stored actions and scores."""
        for state, action, score in zip(*(tensors[f"selftest.{name}"].astype(self._dtype)
                                          for name in ["states", "actions", "scores"])):
            encoded = self._encode(state)
            scores, _ = self._score(encoded, self.embeddings)
            allowed = (abs(score) + 1) * SELFTEST_TOLERANCE
            # embeddings that tie within the tolerance may change places: any one's action will do
            tied = scores >= scores.max() - allowed
            deviation = abs(self._actions(encoded, self.embeddings) - action).max(axis=1)
            same_action = (tied & (deviation <= SELFTEST_TOLERANCE)).any()
            if not (abs(scores.max() - score) <= allowed and same_action):
                raise DataError(f"{self.source}: the self-test inside gives other actions or "
                                "scores here than where it was written; another program made it")

    def _checked(self, observation):
        state = np.asarray(observation, self._dtype)
        if state.shape != (self.state_dim,):
            raise DataError(f"observation: found shape {list(state.shape)}, the checkpoint asks "
                            f"for [{self.state_dim}]")
        if not np.isfinite(state).all():
            raise DataError(f"observation: found {state.tolist()}, allowed: finite numbers")
        return state


# ---- the program ---------------------------------------------------------------------------------


def say(text):
    """Prints; OSError where standard output takes nothing (full, closed)."""
    reason = "it is closed"
    if sys.stdout is not None:
        try:
            print(text, flush=True)
            return
        except OSError as problem:
            reason = problem.strerror
            # what is left would be tried again at the end, and complained about
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise OSError(f"standard output: cannot be written ({reason})")


def run_episodes(policy, environment, episodes, seed):
    """Returns of whole episodes; episode i starts from seed + i."""
    returns = []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=seed + episode)
        policy.reset(seed + episode)
        total, ended = 0.0, False
        while not ended:
            action = policy.act(observation)
            observation, reward, terminated, truncated, _ = environment.step(action)
            total += float(reward)
            ended = terminated or truncated
        returns.append(total)
    return returns


def make_environment(name, policy):
    """A gymnasium environment whose states and actions are the checkpoint's."""
    try:
        import gymnasium
    except ImportError:
        raise UsageError("--env: gymnasium is not installed; pip install 'gymnasium[mujoco]'") \
            from None
    try:
        environment = gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as problem:
        raise UsageError(f"--env {name}: {str(problem).splitlines()[0]}") from None
    states, actions = environment.observation_space, environment.action_space
    if states.shape != (policy.state_dim,) or actions.shape != (policy.action_dim,):
        raise UsageError(f"--env {name}: found observations {states.shape} and actions "
                         f"{actions.shape}, the checkpoint asks for {(policy.state_dim,)} and "
                         f"{(policy.action_dim,)}")
    if (actions.low > -1).any() or (actions.high < 1).any():
        raise UsageError(f"--env {name}: found actions narrower than [-1, 1]; act in a program of "
                         "your own, through gymnasium.wrappers.RescaleAction(environment, -1, 1)")
    return environment


def act_in_environment(policies, arguments):
    environment = make_environment(arguments.env, policies[0])
    if policies[0].config.get("physics") == "d4rl":
        print("drop_policy.py: note: trained for physics: d4rl; gymnasium's robots have today's "
              "inertias (see --help)", file=sys.stderr)
    reference = REFERENCE_RETURNS.get(policies[0].task)
    say(f"{'rule':<10} {'episodes':>8} {'return':>10} {'std':>8} {'normalised':>11}")
    for policy in policies:
        returns = np.array(run_episodes(policy, environment, arguments.episodes, arguments.seed))
        normalised = "-"
        if reference:
            random, expert = reference
            normalised = f"{100 * (returns.mean() - random) / (expert - random):.1f}"
        say(f"{policy.rule:<10} {len(returns):>8} {returns.mean():>10.1f} {returns.std():>8.1f} "
            f"{normalised:>11}")
    environment.close()


def largest_claim(size):
    """Values that an HDF5 file of so many bytes can hold: gzip packs at most about 1032 to 1."""
    return 2**24 + 1100 * size


def require_other_files(out, written, inputs):
    """UsageError where one of the files that will be written is one of those that are read."""
    for path in inputs:
        for one in written:
            with contextlib.suppress(OSError):
                if os.path.samefile(one, path):
                    raise UsageError(f"--out {out}: would overwrite {path}, which is read; give another name")


def act_at_states(policies, arguments):
    try:
        import h5py
    except ImportError:
        raise UsageError("--states: h5py is not installed; pip install h5py") from None
    source = arguments.states
    unfinished = f"{arguments.out}.tmp"
    require_other_files(arguments.out, [arguments.out, unfinished], [source, policies[0].source])
    try:
        size = size_of(source)
        with h5py.File(source) as file:
            # before anything is followed, or memory is taken for what is claimed
            if not isinstance(file.get("states", getlink=True), h5py.HardLink):
                raise ValueError("it has none of its own; copy the values into this file")
            array = file["states"]
            if array.is_virtual or array.external:
                raise ValueError("its values lie in another file; copy them into this one")
            if array.size > largest_claim(size):
                raise ValueError(f"it claims {array.size} values, which so small a file cannot hold")
            states = np.asarray(array, np.float32)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as problem:
        reason = str(problem).splitlines()[0]
        raise DataError(f"{source}: no HDF5 file with an array `states` ({reason})") from None
    dim = policies[0].state_dim
    if states.ndim != 2 or states.shape[1] != dim or len(states) == 0:
        raise DataError(f"{source}: states: found shape {list(states.shape)}, the checkpoint asks "
                        f"for [rows, {dim}]")
    bad = np.flatnonzero(~np.isfinite(states).all(axis=1))
    if len(bad) > 0:
        raise DataError(f"{source}: states: row {bad[0]} is not finite; remove it")
    # whole or not at all
    try:
        with h5py.File(unfinished, "w") as file:
            for policy in policies:
                for name, values in policy.infer(states).items():
                    file[f"{policy.rule}/{name}"] = values
            file.attrs["checkpoint"] = policies[0].source
            file.attrs["precision"] = "fp32"
        os.replace(unfinished, arguments.out)
    finally:
        Path(unfinished).unlink(missing_ok=True)
    say(f"{arguments.out}: {len(states)} states, {len(policies)} rules")


def settings_of(overrides):
    """["search.clip=off"] -> {"clip": "off"}."""
    settings = {}
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key.startswith("search."):
            raise UsageError(f"--set {text}: allowed: search.KEY=VALUE (the rest is fixed)")
        settings[key.removeprefix("search.")] = value
    return settings


def parse(words):
    parser = argparse.ArgumentParser(prog="drop_policy.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True,
                        help="a .safetensors file, or a run's folder (its newest)")
    parser.add_argument("--rule", help="comma-separated: best,grad,best-ada,grad-ada (default: the "
                                       "config's search.rules)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--env", metavar="ID", help="gymnasium environment, e.g. Hopper-v4")
    where.add_argument("--states", metavar="S.h5",
                       help="HDF5 file with `states` [rows, state_dim], raw")
    parser.add_argument("--out", metavar="R.h5",
                        help="HDF5 file to write for --states: a group for each rule with "
                             "embedding, subtask, score, action")
    parser.add_argument("--episodes", type=int, default=10, help="of each rule (default: 10)")
    parser.add_argument("--seed", type=int, default=0,
                        help="episode i starts from seed + i (default: 0)")
    parser.add_argument("--set", action="append", default=[], metavar="search.KEY=VALUE",
                        help="override a search setting, e.g. --set search.ascent_steps=20")
    arguments = parser.parse_args(words)
    if (arguments.states is None) != (arguments.out is None):
        parser.error("--states and --out go together")
    if arguments.episodes < 1 or arguments.seed < 0:
        parser.error("--episodes must be at least 1 and --seed at least 0")
    return arguments


def main(words=None):
    arguments = parse(words)
    try:
        settings = settings_of(arguments.set)
        path = newest_checkpoint(arguments.checkpoint)
        rules = arguments.rule.split(",") if arguments.rule else \
            DropPolicy.load(path, **settings).config["search"]["rules"]
        if len(set(rules)) < len(rules):
            raise UsageError(f"--rule {arguments.rule}: a rule is named twice")
        policies = [DropPolicy.load(path, rule, **settings) for rule in rules]
        (act_in_environment if arguments.env else act_at_states)(policies, arguments)
    except (DataError, UsageError, OSError) as problem:
        print(f"drop_policy.py: error: {problem}", file=sys.stderr)
        return 3 if isinstance(problem, DataError) else 2 if isinstance(problem, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
