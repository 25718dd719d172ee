"""scripts/compare.py on made run folders: means, spreads and paired differences computed by hand, and what is missing."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compare.py"


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name) / "a sweep"

    def run_folder(self, variant, seed, scores, evaluation="protocol"):
        run = self.root / "maze" / variant / f"seed_{seed}"
        (run / "eval").mkdir(parents=True, exist_ok=True)
        results = [{"rule": rule, "episodes": [{"normalised_score": value} for value in values]}
                   for rule, values in scores.items()]
        (run / "eval" / f"{evaluation}.json").write_text(json.dumps({"results": results}))
        (run / "metrics.csv").write_text("step,wall_time_s,name,value\n"
                                         f"100,1,conservative/gap,99\n200,2,conservative/gap,{-2 * seed}\n")

    def compare(self, *arguments, status=0):
        result = subprocess.run([sys.executable, str(SCRIPT), str(self.root), *arguments], capture_output=True, text=True)
        self.assertEqual(result.returncode, status, result.stderr)
        return result.stdout if status == 0 else result.stderr

    def test_means_spreads_and_paired_differences(self):
        for seed, base, other in ((0, 10.0, 13.0), (1, 20.0, 23.2), (2, 30.0, 32.8)):
            self.run_folder("base", seed, {"best": [base - 1, base + 1]})
            self.run_folder("other", seed, {"best": [other]})
        lines = self.compare("--base", "base").splitlines()
        self.assertEqual(lines[0], "### maze")
        self.assertEqual(lines[2], "| variant | seeds | best | C | lambda | distance | saturated |")
        # mean 20, sample deviation 10; the gaps of the last row are 0, -2, -4
        self.assertEqual(lines[4], "| base | 3 | 20.0 +- 10.0 | -2 | - | - | - |")
        # differences 3, 3.2, 2.8: mean 3, standard error 0.2 / sqrt(3) = 0.115, far beyond 4.3 of them
        self.assertEqual(lines[5], r"| other | 3 | 23.0 +- 9.9 (+3.0 +- 0.1\*) | -2 | - | - | - |")

    def test_three_seeds_need_more_than_two_standard_errors(self):
        for seed, difference in enumerate((1.0, 3.0, 5.0)):  # mean 3, standard error 1.15: 2.6 of them
            self.run_folder("base", seed, {"grad": [10.0]})
            self.run_folder("other", seed, {"grad": [10.0 + difference]})
        self.assertIn("(+3.0 +- 1.2)", self.compare("--base", "base"))

    def test_evaluations_become_rows_in_their_natural_order(self):
        for steps in (100, 5, 20):
            self.run_folder("base", 0, {"grad": [float(steps)]}, f"k_{steps}")
        self.run_folder("base", 0, {"grad": [1.0]}, "other")
        lines = self.compare("--evaluation", "k_*").splitlines()[4:]
        self.assertEqual([line.split(" | ")[1] for line in lines], ["k_5", "k_20", "k_100"])

    def test_one_evaluation_may_be_the_base_of_all(self):
        for seed in range(2):
            for steps in (5, 20):
                self.run_folder("base", seed, {"grad": [float(steps + seed)]}, f"k_{steps}")
        lines = self.compare("--evaluation", "k_*", "--base", "base/k_5").splitlines()[4:]
        self.assertNotIn("(", lines[0])
        self.assertIn(r"(+15.0 +- 0.0\*)", lines[1])

    def test_what_is_missing_is_named(self):
        self.run_folder("base", 0, {"best": [1.0]})
        self.run_folder("base", 1, {"best": [1.0]})
        (self.root / "maze" / "base" / "seed_1" / "eval" / "protocol.json").write_text("{")
        found = self.compare()
        self.assertIn("| base | 1 | 1.0 |", found)
        self.assertIn("seed_1: eval/protocol.json cannot be read (", found)
        self.assertIn("no such variant", self.compare("--base", "bass", status=2))
        self.assertIn("no evaluation", self.compare("--evaluation", "x", status=3))

    def missing(self, *arguments):
        """What is named as missing, paths from the sweep's folder."""
        return [line.removeprefix("Missing: ").replace(f"{self.root}/", "")
                for line in self.compare(*arguments).splitlines() if line.startswith("Missing: ")]

    def test_runs_that_the_sweep_lists_and_that_are_not_there_are_named(self):
        for variant, seeds in (("base", (0, 1, 2)), ("new", (0, 1)), ("unk", (0,))):
            for seed in seeds:
                self.run_folder(variant, seed, {"best": [1.0]})
        # without a sweep.json: the same seeds everywhere
        self.assertEqual(self.missing(), ["maze/new/seed_2: no run", "maze/unk/seed_1: no run", "maze/unk/seed_2: no run"])
        runs = [{"dataset": "maze", "variant": variant, "seed": seed, "skipped": ""}
                for variant in ("base", "new", "unk", "gone") for seed in (0, 1, 2)]
        runs.append({"dataset": "hopper", "variant": "base", "seed": 0, "skipped": "there is no file x"})
        (self.root / "sweep.json").write_text(json.dumps({"runs": runs}))
        lost = ["maze/new/seed_2: no run", "maze/unk/seed_1: no run", "maze/unk/seed_2: no run",
                "maze/gone/seed_0: no run", "maze/gone/seed_1: no run", "maze/gone/seed_2: no run"]
        self.assertEqual(self.missing(), ["hopper/base/seed_0: no run (there is no file x)", *lost])
        self.assertEqual(self.missing("--variant", "n*"), lost[:1])
        # another number of seeds than those that are there
        (self.root / "sweep.json").write_text(json.dumps({"runs": [run | {"seed": 9} for run in runs[:1]]}))
        self.assertEqual(self.missing(), ["maze/base/seed_9: no run"])

    def test_no_file_no_json_and_no_scores_are_told_apart(self):
        for seed in range(7):
            self.run_folder("base", seed, {"best": [1.0]})
        self.run_folder("none", 0, {"best": [1.0]}, "other")
        contents = {1: '{"results": [{"rule": "best", "episodes": [{"normalised_score": null}]}]}', 2: "[" * 100_000,
                    3: '{"results": null}', 4: '{"results": [{"rule": "best", "episodes": [4]}]}', 5: '{"results": [{}]}'}
        for seed, content in contents.items():
            (self.root / f"maze/base/seed_{seed}/eval/protocol.json").write_text(content)
        (self.root / "maze/base/seed_6/eval/protocol.json").unlink()
        name = "eval/protocol.json"
        found = [line for line in self.missing() if not line.endswith("no run")]
        self.assertEqual(found, [
            f"maze/base/seed_1: {name} has no normalised scores",
            f"maze/base/seed_2: {name} cannot be read (too many brackets within each other)",
            f"maze/base/seed_3: {name} has no normalised scores",
            f"maze/base/seed_4: {name} is no evaluation, or not a whole one",
            f"maze/base/seed_5: {name} is no evaluation, or not a whole one",
            f"maze/base/seed_6: no {name}", f"maze/none/seed_0: no {name}"])

    def test_a_broken_sweep_json_is_said(self):
        self.run_folder("base", 0, {"best": [1.0]})
        for content, words in (("[1]", "sweep.json: found no list of runs"), ("{", "sweep.json cannot be read"),
                               ('{"runs": [{}]}', "sweep.json: 1 runs without dataset, variant; left out"),
                               ('{"runs": [{"dataset": "maze", "variant": "base"}]}', "maze/base without its seed")):
            (self.root / "sweep.json").write_text(content)
            self.assertIn(words, "\n".join(self.missing()))

    def test_standard_output_that_takes_nothing_gives_1_and_one_line(self):
        for steps in range(300):  # more than a buffer
            self.run_folder("base", 0, {"best": [1.0]}, f"k_{steps}")
        reading, writing = os.pipe()
        os.close(reading)
        self.addCleanup(os.close, writing)
        for form, reason in (("> /dev/full", "No space left on device"), (">&-", "it is closed"),
                             (f">&{writing}", "Broken pipe")):
            done = subprocess.run(["bash", "-c", f'"$@" {form}', "bash", sys.executable, SCRIPT, self.root, "--evaluation",
                                   "k_*"], capture_output=True, text=True, check=False, pass_fds=[writing])
            self.assertEqual((done.returncode, done.stderr),
                             (1, f"compare.py: error: standard output: cannot be written ({reason})\n"))

    def test_no_sweep_is_said(self):
        self.root.mkdir()
        self.assertIn("found no <data set>", self.compare(status=3))


if __name__ == "__main__":
    unittest.main()
