"""scripts/plot.py on made-up runs and traces: whole, with pieces missing, and what is neither."""

import contextlib
import importlib.util
import io
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import h5py
import numpy as np

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "plot.py"
specification = importlib.util.spec_from_file_location("plot", SCRIPT)
plot = importlib.util.module_from_spec(specification)
specification.loader.exec_module(plot)

RULES = ["best", "grad", "best-ada", "grad-ada"]
REFERENCE = {"random": -20.272305, "expert": 3234.3, "source": "made up"}


def write_run(folder, seed=0, steps=6000, every=50, evaluations=True, on_the_way=True):
    """A run's folder as drop_train and drop_eval leave it."""
    rng = random.Random(seed)
    (folder / "eval").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"dataset: data/hopper-toy.hdf5\nseed: {seed}\n"
        "decomposition:\n  rule: rank\n  num_subtasks: 50\n  trajectories_per_subtask: 8\n"
        "train:\n  conservative_threshold: 2.0\n")
    (folder / "provenance.json").write_text(json.dumps(
        {"data": {"return_mean": 1395.7, "return_max": 3281.2, "return_mean_normalised": 43.5}}))
    with (folder / "metrics.csv").open("w") as file:
        file.write("step,wall_time_s,name,value\n")
        for step in range(every, steps + 1, every):
            t = step / steps
            row = {
                "loss/behaviour": 0.9 * math.exp(-3 * t) + 0.25 + rng.gauss(0, 0.01),
                "loss/td": 0.02 * math.exp(-2 * t) + 0.002 * rng.random() + 0.001,
                "conservative/gap": 3 * math.exp(-4 * t) - 1 + rng.gauss(0, 0.2),
                "conservative/multiplier": max(0.0, 1 + 0.2 * t - t * t),
                "score/mean": t,
                "embedding/nearest_distance": 0.05 + 0.15 * t + rng.gauss(0, 0.004),
                "embedding/saturated_share": max(0.0, 0.01 * t + rng.gauss(0, 0.002)),
                "speed/steps_per_second": 180 + rng.gauss(0, 5),
            }
            for name, value in row.items():
                file.write(f"{step},{step / 180:.3f},{name},{value:.9g}\n")
            if on_the_way and step % (steps // 6) == 0:
                for k, rule in enumerate(RULES):
                    score = (45 + 8 * k) * (1 - math.exp(-4 * t)) + rng.gauss(0, 4)
                    file.write(f"{step},{step / 180:.3f},eval/{rule}/normalised_score,{score}\n")
    if evaluations:
        for k, rule in enumerate(RULES):
            write_evaluation(folder / "eval" / f"step_{steps:09d}_{rule}.json", rule, steps,
                             [rng.gauss(1800 + 350 * k, 300) for _ in range(10)])
    return folder


def write_evaluation(path, rule, step, returns, reference=REFERENCE):
    path.write_text(json.dumps({
        "task": "hopper", "dataset": "hopper-toy", "checkpoint": "x", "step": step, "rule": rule,
        "seed": 0, "reference": reference,
        "episodes": [{"return": r, "length": 1000, "terminated": False} for r in returns]}))


def add_search(path, physics="d4rl", **search):
    """Says what an evaluation was made with, as drop_eval does."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"search": search, "physics": physics, "commit": "x"}))


def write_trace(path, subtasks=20, dimension=5, steps=30, rules=RULES, episodes=1, maze=False):
    """A trace as drop_eval --trace leaves it."""
    rng = np.random.default_rng(0)
    embeddings = np.tanh(rng.normal(size=(subtasks, dimension)))
    with h5py.File(path, "w") as file:
        file.attrs.update({"task": "maze2d-umaze" if maze else "hopper", "dataset": "toy-v1",
                           "checkpoint": "x", "step": "6000", "seed": "0", "format_version": "1",
                           "commit": "x"})
        file["embeddings"] = embeddings
        file["subtask_return_mean"] = rng.permutation(subtasks).astype(float)
        if maze:
            file["maze_walls"] = [[0.0, y, 0.5, 0.5] for y in range(4)]
            file["goal"] = [2.0, 2.0]
        for rule in rules:
            for episode in range(episodes):
                chosen = rng.integers(subtasks, size=steps)
                visited = embeddings[chosen] + (0.1 if rule.startswith("grad") else 0.0)
                group = file.create_group(f"{rule}/episode_{episode:03d}")
                group["states"] = rng.normal(size=(steps + 1, 4))
                group["qpos"] = rng.normal(size=(steps + 1, 2)) + 1.5
                group["qvel"] = rng.normal(size=(steps + 1, 2))
                group["actions"] = rng.normal(size=(steps, 2))
                group["rewards"] = np.full(steps, 2.0 + episode)
                group["embeddings"] = visited
                group["subtasks"] = chosen
                group["scores"] = rng.normal(size=steps)
    return path


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n", "is no PNG"
    return struct.unpack(">II", head[16:24])


class PlotTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="drop plot ")
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def plot(self, *arguments):
        """Exit status, standard output and standard error of a call."""
        plot.note.cache_clear()
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = plot.main([str(argument) for argument in arguments])
            except SystemExit as end:
                status = end.code
        return status, output.getvalue().strip(), errors.getvalue()

    def test_a_whole_run_is_drawn_without_a_remark(self):
        run = write_run(self.root / "run")
        status, output, errors = self.plot(run)
        self.assertEqual((status, output, errors), (0, str(run / "plot.png"), ""))
        self.assertGreater(min(png_size(run / "plot.png")), 500)
        self.assertEqual([p.name for p in run.glob("*plot*")] + [p.name for p in run.glob(".*")],
                         ["plot.png"])

    def test_several_seeds_go_beside_the_first_or_where_out_says(self):
        runs = [write_run(self.root / f"seed_{s}", seed=s) for s in range(3)]
        status, output, _ = self.plot(*runs)
        self.assertEqual((status, output), (0, str((self.root / "plot.png").resolve())))
        status, output, _ = self.plot(*runs, "--out", self.root / "all.svg")
        self.assertEqual(status, 0)
        picture = (self.root / "all.svg").read_text()
        self.assertIn("<svg", picture)
        # texts are stored as comments: the bars count seeds, not episodes
        self.assertIn("3 runs", picture)
        self.assertNotIn("episodes", picture)

    def test_bars_show_the_newest_evaluation_and_the_data(self):
        run = write_run(self.root / "run", on_the_way=False, evaluations=False)
        write_evaluation(run / "eval" / "step_000001000_best.json", "best", 1000, [100.0] * 5)
        write_evaluation(run / "eval" / "step_000002000_best.json", "best", 2000,
                         [REFERENCE["expert"]] * 4)
        status, _, errors = self.plot(run, "--out", self.root / "a.svg")
        self.assertEqual(status, 0)
        picture = (self.root / "a.svg").read_text()
        for text in ("100.0 ± 0.0", "evaluation at step 2,000, 4 episodes", "data, mean",
                     "data, best", "threshold 2", "normalised score, mean ± std"):
            self.assertIn(f"<!-- {text} -->", picture)
        self.assertIn("no evaluation during training", errors)

    def test_several_results_in_one_file_are_read(self):
        run = write_run(self.root / "run", evaluations=False)
        results = []
        for rule in RULES:
            write_evaluation(run / "one.json", rule, 6000, [1000.0, 1200.0], reference=None)
            results.append(json.loads((run / "one.json").read_text()))
        (run / "evaluations.json").write_text(json.dumps({"results": results, "summary": []}))
        status, _, errors = self.plot(run, "--out", self.root / "a.svg")
        self.assertEqual((status, errors), (0, ""))
        # without a reference the bars are raw returns
        picture = (self.root / "a.svg").read_text()
        self.assertEqual(picture.count("<!-- 1100.0 ± 100.0 -->"), 4)
        self.assertIn("<!-- return, mean ± std -->", picture)

    def test_missing_and_broken_pieces_are_said_and_the_rest_is_drawn(self):
        run = write_run(self.root / "run")
        (run / "config.yaml").write_text("train: [")
        (run / "provenance.json").write_text("{")
        (run / "eval" / "step_000006000_best.json").write_text('{"rule": "best"')
        (run / "eval" / "step_000006000_grad.json").write_text("[]")
        with (run / "metrics.csv").open("a") as file:
            file.write("6050,34.1,loss/td,nan\n6050,34.1,loss/beh")
        status, _, errors = self.plot(run)
        self.assertEqual(status, 0)
        for text in ("config.yaml: left out", "provenance.json: left out",
                     "step_000006000_best.json: left out", "1 rows are not", "1 values are not finite",
                     "no train.conservative_threshold", "has the data's own returns"):
            self.assertIn(text, errors)
        self.assertEqual(errors.count("1 rows are not"), 1)

    def test_an_evaluation_under_another_search_is_left_out_and_named(self):
        run = write_run(self.root / "run", evaluations=False, on_the_way=False)
        config = (run / "config.yaml").read_text()
        names = ["protocol", "steps-0", "steps-20", "hot", "tiny", "other-physics"]
        paths = {name: run / "eval" / f"{name}.json" for name in names}
        for k, path in enumerate(paths.values()):
            # the last of them ties with protocol.json; all have as many episodes
            write_evaluation(path, "grad-ada", 6000, [100.0 * (k + 1)] * 4, reference=None)
        same = {"rules": ["best"], "ascent_steps": 20, "ascent_step_size": 1e-05, "clip": "on", "engine": "cpu"}
        add_search(paths["protocol"], **same)
        add_search(paths["steps-0"], **same | {"ascent_steps": 0})
        add_search(paths["steps-20"], **same)
        for name in ("protocol", "steps-0"):
            paths[name].write_text(json.dumps({"results": [json.loads(paths[name].read_text())] * 2, "summary": []}))
        add_search(paths["hot"], **same | {"clip": "off"})
        add_search(paths["tiny"], **same | {"ascent_step_size": 1e-06})
        add_search(paths["other-physics"], physics="modern", **same)
        # by the run's config, or where that does not say, by protocol.json's own
        for search in ("physics: d4rl\nsearch: {rules: [best, grad], ascent_steps: 20, ascent_step_size: 1e-05, clip: on, "
                       "engine: auto}\n", ""):
            with self.subTest(search):
                (run / "config.yaml").write_text(config + search)
                status, _, errors = self.plot(run, "--out", self.root / "a.svg")
                self.assertEqual(status, 0)
                self.assertIn("<!-- 100.0 ± 0.0 -->", (self.root / "a.svg").read_text().replace("grad-ada\n", ""))
                self.assertEqual([line for line in errors.splitlines() if "left out" in line], [
                    f"plot.py: {paths['hot']}: left out, its search.clip is off, the run's is on",
                    f"plot.py: {paths['other-physics']}: left out, its physics is modern, the run's is d4rl",
                    f"plot.py: {paths['steps-0']}: left out, its search.ascent_steps is 0, the run's is 20",
                    f"plot.py: {paths['tiny']}: left out, its search.ascent_step_size is 1e-06, the run's is 1e-05"])

    def test_evaluations_that_do_not_tell_their_search_give_way_to_the_run_s_own(self):
        run = write_run(self.root / "run", evaluations=False, on_the_way=False)
        write_evaluation(run / "eval" / "steps-0.json", "grad-ada", 6000, [500.0] * 9, reference=None)
        status, _, errors = self.plot(run, "--out", self.root / "a.svg")
        self.assertIn("500.0 ± 0.0", (self.root / "a.svg").read_text())
        self.assertIn("steps-0.json: does not say its search settings; drawn, for want of an eval/protocol.json", errors)
        for name in ("step_000002000_grad-ada", "protocol"):
            write_evaluation(run / "eval" / f"{name}.json", "grad-ada", 2000, [100.0] * 2, reference=None)
            status, _, errors = self.plot(run, "--out", self.root / "a.svg")
            self.assertIn("100.0 ± 0.0", (self.root / "a.svg").read_text())
            self.assertNotIn("steps-0", errors)

    def test_files_that_hold_anything_are_left_out_with_a_line(self):
        run = write_run(self.root / "run")
        write_evaluation(run / "eval" / "b.json", "best", 1, [1.0])
        whole = json.loads((run / "eval" / "b.json").read_text())
        for name, content in {"a": "[" * 100_000, "b": json.dumps(whole | {"episodes": [{"return": 1.0}, 7]}),
                              "c": '{"results": null}', "d": "[]", "e": '{"results": [3]}', "f": "\xff", "g": "9" * 5000,
                              "h": json.dumps(whole | {"episodes": [{"return": int("9" * 400)}]})}.items():
            (run / "eval" / f"{name}.json").write_text(content, encoding="latin-1")
        os.mkfifo(run / "eval" / "pipe.json")
        with (run / "eval" / "vast.json").open("w") as file:
            os.truncate(file.fileno(), 2**40)
        (run / "config.yaml").write_text("a: " + "[" * 10_000)
        with (run / "metrics.csv").open("a") as file:
            file.write(f"{10**29},1,loss/td,1\n-3,1,loss/td,1\n7,1,loss/td,1e300\n")
        status, _, errors = self.plot(run)
        self.assertEqual(status, 0)
        for name in ("a", "b", "c", "d", "e", "f", "g", "h", "pipe", "vast"):
            self.assertEqual(errors.count(f"/eval/{name}.json: "), 1, name)
        self.assertIn("config.yaml: left out", errors)
        self.assertIn(f"metrics.csv: 2 rows have a step that is not from 0 to {2**53}; left out", errors)
        self.assertIn("metrics.csv: 1 values are not finite or beyond 1e+100; left out", errors)

    def test_nothing_that_is_read_is_overwritten(self):
        trace = write_trace(self.root / ".a.part.png", rules=["best"])
        (self.root / "b.png").hardlink_to(trace)
        (self.root / "folder").mkdir()
        run = write_run(self.root / "run")
        (run / "eval" / "step_000006000_best.json").replace(self.root / "c.png")
        (run / "eval" / "step_000006000_best.json").symlink_to(self.root / "c.png")
        before = trace.read_bytes(), (self.root / "c.png").read_bytes()
        for arguments in (("--trace", trace, "--out", trace), ("--trace", trace, "--out", self.root / "a.png"),
                          ("--trace", trace, "--out", self.root / "folder" / ".." / ".a.part.png"),
                          ("--trace", trace, "--out", self.root / "b.png"), (run, "--out", self.root / "c.png")):
            with self.subTest(arguments):
                status, output, errors = self.plot(*arguments)
                self.assertEqual((status, output), (2, ""))
                self.assertRegex(errors, r": error: --out [^\n]*: would overwrite [^\n]*\n$")
        self.assertEqual((trace.read_bytes(), (self.root / "c.png").read_bytes()), before)

    def test_standard_output_that_takes_nothing_gives_1_and_one_line(self):
        run = write_run(self.root / "run")
        for form, reason in (("> /dev/full", "No space left on device"), (">&-", "it is closed")):
            done = subprocess.run(["bash", "-c", f'"$@" {form}', "bash", sys.executable, SCRIPT, run],
                                  capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr),
                             (1, f"plot.py: error: standard output: cannot be written ({reason})\n"))

    def test_evaluations_tell_the_data_s_returns_where_provenance_does_not(self):
        run = write_run(self.root / "run")
        (run / "provenance.json").write_text("{}")
        path = run / "eval" / "step_000006000_best.json"
        result = json.loads(path.read_text())
        result["data_return"] = {"mean": 1395.7, "max": 3281.2}
        path.write_text(json.dumps(result))
        status, _, errors = self.plot(run, "--out", self.root / "a.svg")
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("<!-- data, best -->", (self.root / "a.svg").read_text())

    def test_a_run_without_evaluation_and_one_without_metrics_are_drawn(self):
        run = write_run(self.root / "a", evaluations=False, on_the_way=False)
        status, _, errors = self.plot(run)
        self.assertEqual(status, 0)
        self.assertIn("no readable eval/*.json", errors)
        run = write_run(self.root / "b")
        (run / "metrics.csv").unlink()
        status, _, errors = self.plot(run)
        self.assertEqual(status, 0)
        self.assertIn("metrics.csv: not there", errors)

    def test_negative_losses_keep_a_linear_axis(self):
        run = write_run(self.root / "run")
        with (run / "metrics.csv").open("a") as file:
            file.write("6050,34,loss/behaviour,-1.5\n")
        self.assertEqual(self.plot(run)[0], 0)

    def test_what_is_no_run_gives_3_and_one_line(self):
        (self.root / "empty").mkdir()
        (self.root / "file").write_text("")
        bare = self.root / "bare"
        bare.mkdir()
        (bare / "config.yaml").write_text("seed: 1\n")
        for folder, text in (("empty", "is no run"), ("gone", "no such folder"),
                             ("file", "no such folder"), ("bare", "nothing to draw")):
            with self.subTest(folder):
                status, output, errors = self.plot(self.root / folder)
                self.assertEqual((status, output), (3, ""))
                self.assertEqual(errors.count("plot.py: error:"), 1)
                self.assertIn(text, errors)

    def test_a_trace_is_drawn_beside_itself(self):
        trace = write_trace(self.root / "trace.h5")
        status, output, errors = self.plot("--trace", trace)
        self.assertEqual((status, output, errors), (0, str(self.root / "trace.png"), ""))
        self.assertGreater(min(png_size(self.root / "trace.png")), 500)
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["trace.h5", "trace.png"])

    def test_a_trace_shows_every_rule_the_chosen_episode_and_the_maze(self):
        trace = write_trace(self.root / "trace.h5", episodes=2, maze=True)
        with h5py.File(trace, "a") as file:
            group = file["best/episode_001"]
            group["embeddings"][...] = group["embeddings"][0]
            del file["grad-ada/episode_001"]
        status, _, errors = self.plot("--trace", trace, "--episode", 1, "--out", self.root / "a.svg")
        self.assertEqual(status, 0)
        self.assertIn("grad-ada has 1 episodes, none is 1; left out", errors)
        picture = (self.root / "a.svg").read_text()
        for text in ("best", "grad", "best-ada", "return 90 in 30 steps", "kept throughout", "start",
                     "end", "ascent", "goal", "x", "y", "score f(s, a, z)", "return so far",
                     "sub-task by return, 0 = best",
                     "toy-v1  ·  step 6,000  ·  seed 0  ·  episode 1"):
            self.assertIn(f"<!-- {text} -->", picture)
        self.assertNotIn("<!-- grad-ada -->", picture)

    def test_small_traces_are_drawn(self):
        for sizes in ({"subtasks": 1}, {"subtasks": 2}, {"dimension": 1}, {"steps": 1, "maze": True},
                      {"subtasks": 1, "dimension": 1, "steps": 1}):
            with self.subTest(sizes):
                trace = write_trace(self.root / "trace.h5", rules=["grad-ada"], **sizes)
                with h5py.File(trace, "a") as file:
                    del file["subtask_return_mean"], file.attrs["seed"]
                status, _, errors = self.plot("--trace", trace, "--out", self.root / "a.svg")
                self.assertEqual((status, errors), (0, ""))
                picture = (self.root / "a.svg").read_text()
                self.assertIn("<!-- sub-task -->", picture)
                self.assertEqual("<!-- goal -->" in picture, "maze" in sizes)

    def test_components_are_those_of_the_largest_variance(self):
        rng = np.random.default_rng(1)
        points = rng.normal(size=(200, 4)) * [0.1, 3.0, 0.2, 1.0] + 5.0
        mean, directions, shares = plot.principal_components(points)
        np.testing.assert_allclose(mean, points.mean(axis=0))
        # the covariance in the new axes is diagonal, and its shares are those of numpy's own
        sizes = np.linalg.svd(points - mean, compute_uv=False) ** 2
        np.testing.assert_allclose(shares, sizes[:2] / sizes.sum())
        np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
        projected = (points - mean) @ directions.T
        np.testing.assert_allclose((projected**2).sum(axis=0), sizes[:2])
        self.assertGreater(directions[0, 1], 0.9)
        self.assertGreater(directions[1, 3], 0.9)
        # one point and one dimension have no variance to share
        np.testing.assert_array_equal(plot.principal_components(np.ones((1, 3)))[2], [0, 0])
        mean, directions, shares = plot.principal_components(np.array([[0.0], [2.0]]))
        np.testing.assert_allclose(directions, [[1.0], [0.0]])
        np.testing.assert_allclose(shares, [1.0, 0.0])

    def test_an_episode_s_own_goal_comes_before_the_maze_s(self):
        trace = write_trace(self.root / "trace.h5", maze=True)
        with h5py.File(trace, "a") as file:
            file["grad/episode_000/task_state"] = [3.0, 4.0]
        episodes = plot.Trace(trace, 0).episodes
        self.assertEqual(episodes["best"]["goal"].tolist(), [2.0, 2.0])
        self.assertEqual(episodes["grad"]["goal"].tolist(), [3.0, 4.0])

    def test_titles_name_the_data_set_not_its_path(self):
        trace = write_trace(self.root / "trace.h5")
        for dataset, title in (("data/my.set.hdf5", "my.set"), ("hopper-medium-v2", "hopper-medium-v2"),
                               ("", "hopper")):
            with h5py.File(trace, "a") as file:
                file.attrs["dataset"] = np.bytes_(dataset)
                file.attrs["step"] = 6000
            self.assertEqual(plot.Trace(trace, 0).title,
                             f"{title}  ·  step 6,000  ·  seed 0  ·  episode 0")

    def test_sub_tasks_are_ranked_by_their_returns(self):
        trace = write_trace(self.root / "trace.h5", subtasks=3)
        with h5py.File(trace, "a") as file:
            file["subtask_return_mean"][...] = [5.0, 9.0, 7.0]
        self.assertEqual(plot.Trace(trace, 0).ranks.tolist(), [2, 0, 1])

    def test_what_is_no_trace_gives_3_and_one_line(self):
        def changed(name, change):
            def make(path):
                write_trace(path, maze=True)
                with h5py.File(path, "a") as file:
                    if change is None:
                        del file[name]
                    elif callable(change):
                        values = file[name][()]
                        del file[name]
                        file[name] = change(values)
                    else:
                        file.attrs[name] = change
            return make

        def poison(value):
            def change(values):
                values = values.astype(float)
                values.flat[3] = value
                return values
            return change

        def cut(path):
            write_trace(path)
            path.write_bytes(path.read_bytes()[:-100])

        def other(path):
            with h5py.File(path, "w") as file:
                file["observations"] = [1.0]

        def linked(name):
            def make(path):
                write_trace(path)
                os.mkfifo(path.with_name(f"{path.name}.pipe"))
                with h5py.File(path, "a") as file:
                    del file[name]
                    file[name] = h5py.ExternalLink(f"{path.name}.pipe", f"/{name}")
            return make

        def hollow(path):
            write_trace(path)
            with h5py.File(path, "a") as file:
                del file["embeddings"]
                file.create_dataset("embeddings", (2**40, 2), float, chunks=(1024, 2))

        cases = {
            "hollow": (hollow, "cannot hold"),
            "linked": (linked("embeddings"), "no data set embeddings of its own"),
            "gone": (lambda path: None, "no such file"),
            "folder": (Path.mkdir, "no such file"),
            "empty": (Path.touch, "can be read"),
            "text": (lambda path: path.write_text("step,name\n"), "can be read"),
            "cut": (cut, "can be read"),
            "other": (other, "format_version is missing"),
            "newer": (changed("format_version", "2"), "format_version is 2, a trace has 1"),
            "bare": (changed("embeddings", None), "has no data set embeddings"),
            "nan": (changed("embeddings", poison(np.nan)), "embeddings[0, 3] is nan"),
            "inf": (changed("grad/episode_000/scores", poison(-np.inf)), "scores[3] is -inf"),
            "unranked": (changed("subtask_return_mean", poison(np.nan)), "mean[3] is nan"),
            "lost": (changed("best/episode_000/qpos", poison(np.nan)), "qpos[1, 1] is nan"),
            "flat": (changed("embeddings", lambda v: v[:, 0]), "float64 [20], a trace has numbers"),
            "none": (changed("embeddings", lambda v: v[:0]), "[0, 5], a trace has numbers [any, any]"),
            "words": (changed("best/episode_000/rewards", lambda v: [b"x"] * 30), "has numbers [30]"),
            "short": (changed("best/episode_000/rewards", lambda v: v[1:]), "has numbers [30]"),
            "narrow": (changed("best/episode_000/embeddings", lambda v: v[:, 1:]),
                       "numbers [any, 5]"),
            "still": (changed("best/episode_000/embeddings", lambda v: v[:0]), "numbers [any, 5]"),
            "beyond": (changed("best/episode_000/subtasks", lambda v: v + 20), "allowed are 0 to 19"),
            "line": (changed("best/episode_000/qpos", lambda v: v[:, :1]), "2 are needed"),
        }
        for name, (make, text) in cases.items():
            with self.subTest(name):
                path = self.root / f"{name}.h5"
                make(path)
                status, output, errors = self.plot("--trace", path)
                self.assertEqual((status, output), (3, ""))
                self.assertRegex(errors, r"^plot.py: error: [^\n]*" + name + r"\.h5: [^\n]*\n$")
                self.assertIn(text, errors)
                self.assertFalse((self.root / f"{name}.png").exists())

    def test_an_episode_that_no_rule_has_gives_3(self):
        trace = write_trace(self.root / "trace.h5", rules=["best"])
        status, _, errors = self.plot("--trace", trace, "--episode", 1)
        self.assertEqual(status, 3)
        self.assertIn("has an episode 1", errors)
        trace = write_trace(self.root / "trace.h5", rules=[])
        self.assertEqual(self.plot("--trace", trace)[0], 3)

    def test_wrong_usage_of_traces_gives_2_and_an_unwritable_picture_1(self):
        trace = write_trace(self.root / "trace.png")
        for arguments in (("--trace",), ("--trace", trace, self.root), ("--trace", trace),
                          ("--trace", trace, "--episode", -1), ("--trace", trace, "--episode", "x")):
            with self.subTest(arguments):
                self.assertEqual(self.plot(*arguments)[0], 2)
        self.assertTrue(h5py.is_hdf5(trace))
        status, _, errors = self.plot("--trace", trace, "--out", self.root / "no" / "a.png")
        self.assertEqual(status, 1)
        self.assertIn("cannot be written", errors)

    def test_as_a_program_it_ends_with_the_documented_status(self):
        done = subprocess.run([sys.executable, SCRIPT, self.root / "gone"], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertRegex(done.stderr, r"^plot.py: error: .*gone: no such folder[^\n]*\n$")

    def test_wrong_usage_gives_2_and_an_unwritable_picture_1(self):
        run = write_run(self.root / "run")
        self.assertEqual(self.plot()[0], 2)
        self.assertEqual(self.plot(run, "--out", self.root / "a.txt")[0], 2)
        status, _, errors = self.plot(run, "--out", self.root / "no" / "such" / "a.png")
        self.assertEqual(status, 1)
        self.assertIn("cannot be written", errors)


if __name__ == "__main__":
    unittest.main()
