"""scripts/compare.py on made run folders: means, spreads and paired differences computed by hand, and what is missing."""

import json
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
        self.assertIn("seed_1: no eval/protocol.json", found)
        self.assertIn("no such variant", self.compare("--base", "bass", status=2))
        self.assertIn("no evaluation", self.compare("--evaluation", "x", status=3))

    def test_no_sweep_is_said(self):
        self.root.mkdir()
        self.assertIn("found no <data set>", self.compare(status=3))


if __name__ == "__main__":
    unittest.main()
