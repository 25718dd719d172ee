"""scripts/plot.py on made-up runs: whole, with pieces missing, and no runs at all."""

import contextlib
import importlib.util
import io
import json
import math
import random
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

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
