"""scripts/bench_scaling.py with a stand-in for drop_bench."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_scaling.py"
# the share rises with the batch; the reference engine comes along and must not be shown
STAND_IN = """#!{python}
import json, sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
batch = int(options.get("--batch-size", 1024))
for engine in ["eager", "fused"]:
    share = batch / (batch + 128)
    print(json.dumps({{"engine": engine, "precision": "fp32", "threads": int(options["--threads"]),
                      "flops": 1e9, "peak_flops_per_s": 1e11, "share_of_peak": share,
                      "median_s": 0.01 / share}}))
"""


class Scaling(unittest.TestCase):
    def run_script(self, *options, stand_in=STAND_IN.format(python=sys.executable)):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "drop_bench"
            program.write_text(stand_in)
            program.chmod(0o755)
            return subprocess.run([sys.executable, str(SCRIPT), "--program", str(program),
                                   *options], capture_output=True, text=True)

    def test_table(self):
        done = self.run_script("--benchmarks", "step")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| batch | fused fp32, 1 thread | fused fp32, 2 threads |", done.stdout)
        self.assertNotIn("eager", done.stdout)
        rows = {line.split(" | ")[0].strip("| "): line for line in done.stdout.split("###")[1].splitlines()}
        self.assertIn("15 / 10 (67%)", rows["256"])
        # from 2,048 on: 0.941 is at least 0.9 of 0.992, 0.889 is not
        self.assertNotIn("**", rows["1,024"])
        self.assertEqual(rows["2,048"].count("**10.6 / 10 (94%)**"), 2)
        self.assertNotIn("**", rows["4,096"])

    def test_the_programs_error_is_passed_on(self):
        done = self.run_script(stand_in="#!/bin/sh\necho 'drop_bench: error: no' >&2; exit 2\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("drop_bench: error: no", done.stderr)


if __name__ == "__main__":
    unittest.main()
