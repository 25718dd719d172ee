"""configs/sweeps/mini.yaml in its small form with the real programs, killed twice on the way: every kind of job of the paper
once, nothing lost, nothing run twice, a report at the end."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("DROP_BUILD_DIR") or ROOT / "build" / "release")
PROGRAMS = ["drop_train", "drop_eval", "drop_finetune", "drop_coms", "drop_data"]
PATIENCE_S = 300


@unittest.skipUnless(all(os.access(BUILD / "bin" / name, os.X_OK) for name in PROGRAMS), f"no programs in {BUILD}/bin")
class Mini(unittest.TestCase):
    def start(self):
        environment = {key: value for key, value in os.environ.items() if key != "DROP_DATA"}
        return subprocess.Popen(
            [str(ROOT / "scripts" / "sweep.sh"), "configs/sweeps/mini.yaml", "--tiny", "--out", str(self.out), "--program-dir",
             str(BUILD / "bin")], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True)

    def outputs(self):
        """{output: time of writing} of the evaluations and fine-tunings that are done."""
        return {path: path.stat().st_mtime_ns for pattern in ("eval/*.json", "finetune/*.json")
                for path in self.out.glob(f"*/*/seed_*/{pattern}")}

    def test_is_killed_twice_and_ends_with_a_report(self):
        with tempfile.TemporaryDirectory() as folder:
            self.out = Path(folder) / "a sweep"
            before = {}
            for wanted in (3, 10):
                sweep = self.start()
                until = time.monotonic() + PATIENCE_S
                while len(self.outputs()) < wanted and sweep.poll() is None and time.monotonic() < until:
                    time.sleep(0.05)
                self.assertIsNone(sweep.poll(), "it ended before it could be killed")
                # the whole session as a machine that loses its power, not the sweep alone
                children = subprocess.run(["pgrep", "-P", str(sweep.pid)], capture_output=True, text=True).stdout.split()
                os.kill(sweep.pid, signal.SIGKILL)
                for child in children:
                    try:
                        os.kill(int(child), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                sweep.communicate()
                for path, written in before.items():
                    self.assertEqual(path.stat().st_mtime_ns, written, f"{path} was made twice")
                before = self.outputs()
                self.assertGreaterEqual(len(before), wanted)
            sweep = self.start()
            printed, _ = sweep.communicate(timeout=PATIENCE_S)
            self.assertEqual(sweep.returncode, 0, printed)
            for path, written in before.items():
                self.assertEqual(path.stat().st_mtime_ns, written, f"{path} was made twice")

            jobs = json.loads((self.out / "sweep.json").read_text())["jobs"]
            self.assertEqual({job["state"] for job in jobs}, {"done", "skipped"})
            self.assertEqual({job["run"].split("/")[0] for job in jobs if job["state"] == "skipped"}, {"hopper"})
            # a job that was under way when it was killed needed a second attempt, no other did
            self.assertLessEqual(sum(job["attempts"] - 1 for job in jobs if job["state"] == "done"), 4)
            variants = {job["run"].split("/")[1] for job in jobs if job["run"]}
            self.assertLessEqual({"drop", "drop-naive", "drop-random", "drop-quantization", "drop-cvae", "bc", "f-bc", "coms"},
                                 variants)
            report = (self.out / "report" / "report.md").read_text()
            for number in (2, 3, 4, 5, 6, 10, 11):
                self.assertIn(f"Table {number}", report)
            self.assertGreaterEqual(len(list((self.out / "report").rglob("*.png"))), 8)


if __name__ == "__main__":
    unittest.main()
