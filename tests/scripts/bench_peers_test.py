"""scripts/bench_peers.py: its arithmetic, its refusals and, where torch is there, a tiny comparison."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_peers.py"
specification = importlib.util.spec_from_file_location("bench_peers", SCRIPT)
bench_peers = importlib.util.module_from_spec(specification)
specification.loader.exec_module(bench_peers)

try:
    import torch  # noqa: F401
    has_torch = True
except ImportError:
    has_torch = False

STAND_IN = """#!{python}
import json, sys
print(json.dumps({{"engine": "fused", "precision": "fp32", "median_s": 1e-9, "flops": 1.0,
                  "peak_flops_per_s": 1e12}}))
"""


class Arithmetic(unittest.TestCase):
    def test_papers_sizes_word_by_word(self):
        self.assertAlmostEqual(bench_peers.eager_step_flops(1024, 512) / 1e9, 34.3, delta=0.05)
        self.assertAlmostEqual(bench_peers.eager_ascent_flops(100, 100, 512) / 1e9, 79.8, delta=0.05)


class Script(unittest.TestCase):
    def run_script(self, *options):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "drop_bench"
            program.write_text(STAND_IN.format(python=sys.executable))
            program.chmod(0o755)
            rows = Path(folder) / "rows.jsonl"
            done = subprocess.run([sys.executable, str(SCRIPT), "--program", str(program), "--json",
                                   str(rows), *options], capture_output=True, text=True)
            found = [json.loads(line) for line in rows.read_text().splitlines()] \
                if rows.exists() else []
        return done, found

    def test_refusals(self):
        for options, word in [(["--benchmarks", "env"], "known: step, ascent"),
                              (["--peers", "jax"], "known: eager"), (["--rounds", "0"], "positive")]:
            done, _ = self.run_script(*options)
            self.assertEqual(done.returncode, 2, options)
            self.assertIn(word, done.stderr)

    @unittest.skipUnless(has_torch, "this Python has no torch")
    def test_tiny_comparison(self):
        done, rows = self.run_script(
            "--device", "cpu", "--threads", "1", "--hidden-width", "16", "--batch-size", "32",
            "--num-starts", "4", "--ascent-steps", "3", "--peers", "eager,fused", "--rounds", "2",
            "--seconds", "0.01")
        self.assertEqual(done.returncode, 0, done.stderr)
        names = {(row["benchmark"], row["by"], row["engine"], row["precision"]) for row in rows}
        peers = {("step_peers", "torch", form, precision)
                 for form in ("eager", "fused") for precision in ("fp32", "bf16")}
        peers |= {("ascent_peers", "torch", "eager", precision) for precision in ("fp32", "bf16")}
        ours = {(kind, "drop", "fused", "fp32") for kind in ("step_peers", "ascent_peers")}
        self.assertEqual(names, peers | ours)
        for row in rows:
            if (row["by"], row["precision"]) == ("torch", "fp32"):
                self.assertAlmostEqual(row["ours_faster_by"], row["median_s"] / 1e-9)
                self.assertGreater(row["share_of_peak"], 0)
            if row["engine"] == "eager" and row["precision"] == "fp32":
                self.assertEqual(row["faster_than_eager"], 1)

    @unittest.skipIf(has_torch, "this Python has torch")
    def test_without_torch_it_says_so(self):
        done, _ = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("no torch", done.stderr)


if __name__ == "__main__":
    unittest.main()
