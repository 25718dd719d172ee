"""scripts/torture.sh: its checks are able to fail, and its short form loses nothing.

The programs are those of $DROP_BUILD_DIR or build/release; without them only the checks themselves are tested.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import torture  # noqa: E402  (found through the line above)
import torture_bench as bench  # noqa: E402

BUILD = Path(os.environ.get("DROP_BUILD_DIR") or ROOT / "build" / "release")
HAVE_PROGRAMS = os.access(BUILD / "bin" / "drop_train", os.X_OK)


def tensor_bytes(values, **metadata):
    """A safetensors file as the programs write it."""
    payload = values
    header = {"__metadata__": {**metadata, "header_sha256": "0" * 64, "payload_sha256": hashlib.sha256(payload).hexdigest()},
              "weight": {"dtype": "F32", "shape": [len(values) // 4], "data_offsets": [0, len(values)]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return head.replace(b"0" * 64, hashlib.sha256(head).hexdigest().encode(), 1) + payload


class ChecksTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix=bench.FOLDER_PREFIX)
        self.addCleanup(temporary.cleanup)
        self.run_folder = Path(temporary.name) / "run"
        (self.run_folder / "checkpoints").mkdir(parents=True)
        checkpoint = tensor_bytes(b"\0" * 64)
        half = tensor_bytes(b"\1\0" * 32, checkpoint_payload_sha256=hashlib.sha256(b"\0" * 64).hexdigest())
        self.write("checkpoints/step_000000020.safetensors", checkpoint)
        self.write("checkpoints/step_000000020.training.safetensors", half)
        self.write("metrics.csv", b"step,wall_time_s,name,value\n20,0.5,loss/td,1e-09\n20,0.5,speed/x,3\n")
        self.write("status.json", b'{"state": "finished", "step": 20, "eta_s": 0.5}')
        self.write("config.yaml", b"train:\n  steps: 20\n")
        self.write("run.lock", b"")

    def write(self, name, content):
        (self.run_folder / name).write_bytes(content)

    def content(self, name):
        return (self.run_folder / name).read_bytes()

    def assert_lost(self, words):
        with self.assertRaisesRegex(bench.Lost, words):
            bench.check_folder(self.run_folder)

    def test_a_whole_folder_passes_and_what_a_kill_leaves_too(self):
        bench.check_folder(self.run_folder)
        self.write("status.json.tmp.123", b'{"st')
        self.write("metrics.csv", self.content("metrics.csv") + b"30,0.6,lo")
        self.write("checkpoints/step_000000030.training.safetensors", tensor_bytes(b"\0" * 8))
        bench.check_folder(self.run_folder)

    def test_every_single_damage_is_seen(self):
        for name in ("checkpoints/step_000000020.safetensors", "checkpoints/step_000000020.training.safetensors"):
            whole = self.content(name)
            for bit in (0, 100, 8 * len(whole) - 1, 4 * len(whole)):
                damaged = bytearray(whole)
                damaged[bit // 8] ^= 1 << bit % 8
                self.write(name, bytes(damaged))
                self.assert_lost(name)
            for size in (0, 7, len(whole) // 2, len(whole) - 1):
                self.write(name, whole[:size])
                self.assert_lost(name)
            self.write(name, whole)
        for name, torn in (("status.json", b'{"state": "fin'), ("config.yaml", b"train: [1"), ("config.yaml", b""),
                           ("metrics.csv", b"20,0.5,loss/td,1\n"), ("a stranger", b"")):
            before = self.content(name) if (self.run_folder / name).exists() else None
            self.write(name, torn)
            self.assert_lost(name)
            if before is None:
                (self.run_folder / name).unlink()
            else:
                self.write(name, before)
        self.write("metrics.csv", self.content("metrics.csv") + b"30,0.6\n40,0.7,loss/td,1\n")
        self.assert_lost("metrics.csv:4: no row")

    def test_numbers_that_are_not_finite_are_seen(self):
        self.write("checkpoints/step_000000020.safetensors", tensor_bytes(b"\0\0\x80\x7f" * 16))
        self.assert_lost("not finite")

    def test_a_checkpoint_without_its_half_or_with_another_is_seen(self):
        half = self.run_folder / "checkpoints/step_000000020.training.safetensors"
        half.write_bytes(tensor_bytes(b"\0" * 8, checkpoint_payload_sha256="another"))
        self.assert_lost("another checkpoint")
        half.unlink()
        self.assert_lost("missing")

    def test_outcomes_leave_speeds_out_and_nothing_else(self):
        expected = bench.outcome_of(self.run_folder)
        self.write("status.json", b'{"state": "finished", "step": 20, "eta_s": 7}')
        self.write("metrics.csv", self.content("metrics.csv").replace(b"0.5", b"9").replace(b",3", b",4"))
        bench.require_same(bench.outcome_of(self.run_folder), expected)
        for name, content in (("status.json", b'{"state": "failed", "step": 20}'), ("eval.json", b"{}"),
                              ("metrics.csv", self.content("metrics.csv").replace(b"1e-09", b"1e-08")),
                              ("metrics.csv.tmp.5", b""),
                              ("checkpoints/step_000000020.safetensors", tensor_bytes(b"\0" * 60 + b"\0\0\x80\x3f"))):
            before = self.content(name) if (self.run_folder / name).exists() else None
            self.write(name, content)
            with self.assertRaisesRegex(bench.Lost, re.escape(name)):
                bench.require_same(bench.outcome_of(self.run_folder), expected)
            if before is None:
                (self.run_folder / name).unlink()
            else:
                self.write(name, before)
        (self.run_folder / "status.json").unlink()
        with self.assertRaisesRegex(bench.Lost, "status.json: is missing"):
            bench.require_same(bench.outcome_of(self.run_folder), expected)

    def test_a_refusal_is_one_line_with_that_status(self):
        good = bench.Ended(1, "", "drop_train: error: a: writing failed (No space left on device); free space\n")
        bench.require_refusal(good, 1, "No space")
        bench.require_refusal(bench.Ended(1, "", "DROP_FAULT=open:1 is set\n" + good.err), 1)
        for status, err in ((0, good.err), (1, ""), (1, "terminate called\n"), (1, "one\n" + good.err), (1, "x: error: y\n")):
            with self.assertRaises(bench.Lost):
                bench.require_refusal(bench.Ended(status, "", err), 1, "No space")


class TableTest(unittest.TestCase):
    def test_rows_count_what_survived(self):
        row = torture.Row("a fault", "by | hand")
        self.assertTrue(row.trial("good", lambda: None))

        def unreached():
            raise bench.Unreached

        def lost():
            bench.require(False, "a file\nis gone")
        self.assertFalse(row.trial("past the end", unreached))
        self.assertTrue(row.trial("bad", lost))
        self.assertTrue(row.trial("broken", lambda: {}["x"]))
        self.assertEqual((row.tries, row.survived), (3, 1))
        skipped = torture.Row("another", "cannot")
        skipped.skipped = "no root"
        lines = torture.table_of([row, skipped]).splitlines()
        self.assertEqual(lines[2], "| a fault | by \\| hand | 3 | 1 | **2**: bad: a file is gone |")
        self.assertEqual(lines[3], "| another | cannot | - | - | not run: no root |")

    def test_the_document_keeps_what_is_around_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            document = Path(folder) / "a document.md"
            document.write_text(f"before\n{torture.BEGIN}\nold\n{torture.END}\nbehind\n", encoding="utf-8")
            torture.write_document(document, "new")
            self.assertEqual(document.read_text(encoding="utf-8"), f"before\n{torture.BEGIN}\nnew\n{torture.END}\nbehind\n")
            for text in ("", torture.BEGIN, torture.END + torture.BEGIN):
                document.write_text(text, encoding="utf-8")
                with self.assertRaisesRegex(torture.TortureError, "a document.md"):
                    torture.write_document(document, "new")
        torture.parts_of_document(torture.DOCUMENT)


class CommandTest(unittest.TestCase):
    def torture(self, *arguments, seconds=60):
        return subprocess.run([ROOT / "scripts" / "torture.sh", *arguments], capture_output=True, text=True, check=False,
                              timeout=seconds, cwd="/")

    def test_usage(self):
        self.assertIn("--minutes M", self.torture("--help").stdout)
        for arguments, words in ((["--shrt"], "--shrt"), (["--minutes", "-1"], "--minutes"), (["--jobs", "0"], "--jobs"),
                                 (["--only", "all"], "--only all"), (["--document", "/nowhere"], "/nowhere"),
                                 (["--bin", "/nowhere"], "/nowhere")):
            ended = self.torture(*arguments)
            self.assertEqual(ended.returncode, 2, arguments)
            self.assertRegex(ended.stderr, r"^torture.sh: error: [^\n]*\n$")
            self.assertIn(words, ended.stderr)

    @unittest.skipUnless(HAVE_PROGRAMS, f"the programs are not built in {BUILD}")
    def test_sigterm_ends_it_in_the_background_too(self):
        with tempfile.TemporaryDirectory() as folder:
            # a shell without job control starts what it puts in the background with SIGINT ignored
            command = 'trap "" INT; exec "$@"'
            process = subprocess.Popen(["bash", "-c", command, "-", ROOT / "scripts" / "torture.sh", "--only", "soak", "--bin",
                                        BUILD / "bin", "--no-document"], stderr=subprocess.PIPE, text=True,
                                       env={**os.environ, "TMPDIR": folder})
            self.addCleanup(process.stderr.close)
            self.addCleanup(process.kill)
            end = time.monotonic() + 60
            while not os.listdir(folder) and time.monotonic() < end:
                time.sleep(0.05)
            process.terminate()
            self.assertEqual(process.wait(60), 130)
            self.assertIn("interrupted", process.stderr.read())
            self.assertEqual(os.listdir(folder), [])

    @unittest.skipUnless(HAVE_PROGRAMS, f"the programs are not built in {BUILD}")
    def test_the_short_form_loses_nothing(self):
        ended = self.torture("--short", "--bin", BUILD / "bin", seconds=900)
        self.assertEqual(ended.returncode, 0, ended.stderr + ended.stdout)
        rows = [line.split(" | ") for line in ended.stdout.splitlines() if line.startswith("| ")][1:]
        self.assertGreater(len(rows), 15)
        for row in rows:
            self.assertEqual(row[2], row[3], row)
        print(ended.stdout)  # ctest keeps it


if __name__ == "__main__":
    unittest.main()
