"""The reader of sweep files against nonsense: nothing but a SweepError of one line comes out, in bounded time and memory."""

import os
import random
import resource
import signal
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import sweep_file  # noqa: E402

CASES = 1500
LONGER_S = int(os.environ.get("DROP_SWEEP_FUZZ_SECONDS", "0"))  # scripts/fuzz.sh asks for more
SECONDS = 20      # for one file
MEBIBYTES = 300   # more than before

# every key, in few bytes: PyYAML reads a hundred bytes in a millisecond
SEED = """\
name: small
set: {train.steps: 20, dataset: data.hdf5}
generate:
- {out: data.hdf5, task: hopper, transitions: 1e3, seed: 1}
datasets:
- {name: a, config: CONFIG}
- {name: b, config: CONFIG, set: {search.rules: [best, grad]}}
variants:
- {name: base}
- {name: naive, set: {train.conservative: off}, datasets: [a], program: drop_coms}
seeds: [0, 1]
evaluations:
- {name: p, rules: [best, grad-ada], episodes: 2, last: 1, trace: on, variants: [base]}
finetune:
- {level: embedding, rule: best, trial_episodes: 3, datasets: [b]}
report: on
slurm: {partition: "${NO_SUCH_VARIABLE}", time: "1:00:00"}
tiny:
  set: {train.steps: 5}
  seeds: [0]
  evaluations: {episodes: 1}
"""

TOKENS = [
    b": ", b"- ", b"? ", b"[", b"]", b"{", b"}", b",", b"\n", b"\n  ", b"\t", b"#", b"&a ", b"*a", b"!!python/object:os.system ",
    b"!x ", b"%YAML 1.1\n", b"---\n", b"...\n", b"|\n", b">-\n", b"'", b'"', b'"\\UFFFFFFFF"', b'"\\ud800"', b'"\\0"', b'"\\e[31m"',
    b"\xff", b"\xc2\x85", b"\xef\xbb\xbf", b"\x00", b"\x1b", b"~", b"null", b"on", b"1e400", b"-1", b"0x10", b"9" * 30, b"<<: ",
    b"../../", b"/dev/zero", b"${HOME}", b"${", b"a" * 300, b"seeds: ", b"name: ", b"datasets: "]


class Hang(BaseException):
    """Not caught by anybody on the way."""


def mutated(data, rng):
    """`data` with one to four changes."""
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(6)
        begin = rng.randrange(len(data) + 1)
        end = min(len(data), begin + rng.choice([1, 1, 4, 16, 64]))
        if kind == 0:
            data = data[:begin] + rng.choice(TOKENS) + data[begin:]
        elif kind == 1:
            data = data[:begin] + rng.choice(TOKENS) + data[end:]
        elif kind == 2:
            data = data[:begin] + data[end:]
        elif kind == 3:
            data = data[:begin] + data[begin:end] * rng.choice([2, 3, 50]) + data[end:]
        elif kind == 4 and begin < len(data):
            data = data[:begin] + bytes([data[begin] ^ 1 << rng.randrange(8)]) + data[begin + 1:]
        else:
            lines = data.splitlines(keepends=True)
            rng.shuffle(lines)
            data = b"".join(lines[:rng.randint(1, max(1, len(lines)))])
    return data


class SweepFuzzTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="drop sweep ")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.file = self.folder / "fuzzed.yaml"
        (self.folder / "config.yaml").write_text("dataset: hopper-medium-v2\ntrain: {steps: 10}\n")
        self.seed = SEED.replace("CONFIG", f'"{self.folder}/config.yaml"').encode()

        def stop(*_):
            raise Hang

        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, stop))
        self.addCleanup(signal.alarm, 0)

    def read(self, data, tiny=False):
        """"" when the file is accepted, else the refusal; fails for everything else."""
        self.file.write_bytes(data)
        signal.alarm(SECONDS)
        try:
            sweep_file.read_sweep(self.file, tiny=tiny)
        except sweep_file.SweepError as problem:
            message = str(problem)
            self.assertIn("fuzzed.yaml", message)
            self.assertTrue(message.isprintable(), f"not one plain line: {message!r}, from {data[:2000]!r}")
            return message
        except Hang:
            self.fail(f"more than {SECONDS} s for {data[:2000]!r}")
        except Exception as problem:  # pylint: disable=broad-except
            self.fail(f"{type(problem).__name__}: {problem}, from {data[:2000]!r}")
        finally:
            signal.alarm(0)
        return ""

    def test_the_seed_is_a_sweep(self):
        self.assertEqual(self.read(self.seed), "")
        self.assertEqual(self.read(self.seed, tiny=True), "")

    def test_nothing_but_a_refusal_comes_out(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rng = random.Random(7)
        accepted = cases = 0
        end = time.monotonic() + LONGER_S
        while cases < CASES or time.monotonic() < end:
            accepted += self.read(mutated(self.seed, rng), tiny=cases % 4 == 0) == ""
            cases += 1
        print(f"sweep files: {cases}, accepted: {accepted}")
        # both outcomes are tried
        self.assertGreater(accepted, cases // 200)
        self.assertLess(accepted, cases)
        self.assertLess(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, MEBIBYTES << 10)

    def test_files_made_to_hurt(self):
        many = ", ".join(str(seed) for seed in range(3000))
        files = {
            "no YAML": [b"[" * 5000, b"{a: " * 5000, b'name: "\\UFFFFFFFF"', b'name: "\\U00110000"', b"%YAML " + b"9" * 5000 + b".1\n---\na"],
            "found": [
                self.seed.replace(b"small", b'"\\ud800"'), self.seed.replace(b"small", b'"a\\0b"'),
                self.seed.replace(b"small", b'"a\\e[31mb"'), self.seed.replace(b"small", b"../../etc"),
                self.seed.replace(b"config.yaml", b"c" * 5000), self.seed.replace(b"seeds: [0, 1]", b"seeds: &a [*a]"),
                self.seed.replace(f'"{self.folder}/config.yaml"'.encode(), b"/dev/zero"),
                # 3000 seeds on 2 + 1 pairs, with 2 results each
                self.seed.replace(b"seeds: [0, 1]", f"seeds: [{many}]".encode()).replace(
                    b"- {name: base}", b"\n".join(b"- {name: v%d}" % i for i in range(20))).replace(b", variants: [base]", b"")],
            "cannot be read": [b"#" * (sweep_file.MOST_BYTES + 1), b"\xff\xfe"],
        }
        for expected, contents in files.items():
            for data in contents:
                with self.subTest(data=data[:60]):
                    self.assertIn(expected, self.read(data))

    def test_much_is_read_in_a_time_that_grows_with_it_alone(self):
        many = ", ".join(str(seed) for seed in range(35000))
        self.assertIn("jobs; allowed", self.read(self.seed.replace(b"[0, 1]", f"[{many}]".encode())))

    def test_a_config_that_multiplies_itself_is_refused(self):
        lines = ["a0: &a0 {k0: 1}"] + [f"a{i}: &a{i} {{k{i}: 1, <<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
        (self.folder / "config.yaml").write_text("\n".join(lines) + "\n")
        self.assertIn("no YAML with keys and values", self.read(self.seed))

    def test_a_device_is_not_read(self):
        with self.assertRaisesRegex(sweep_file.SweepError, "no regular file|cannot be read"):
            sweep_file.read_sweep("/dev/zero")

    def test_a_data_file_of_an_impossible_name_is_skipped(self):
        data = self.seed.replace(b"dataset: data.hdf5", b"dataset: " + b"d" * 5000 + b".hdf5")
        self.assertEqual(self.read(data), "")


if __name__ == "__main__":
    unittest.main()
