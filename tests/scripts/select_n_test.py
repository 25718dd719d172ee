"""scripts/select_n.py with stand-ins for drop_train and drop_eval: what it runs, resumes and chooses."""

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "select_n.py"
specification = importlib.util.spec_from_file_location("select_n", SCRIPT)
select_n = importlib.util.module_from_spec(specification)
specification.loader.exec_module(select_n)

# both programs as far as select_n.py looks at them: the loss falls with N, the return is RETURNS[N]
PROGRAM = """#!{python}
import json, os, pathlib, sys, time
words, options = sys.argv[1:], {{}}
sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
for name, value in zip(words, words[1:]):
    if name.startswith("--"):
        options[name] = value
keys = dict(one.split("=", 1) for one in sets)
if "--dry-run" in words:
    if not pathlib.Path(options["--config"]).exists():
        print("no such config", file=sys.stderr)
        sys.exit(2)
if "drop_train" in sys.argv[0]:
    config = open(options["--config"]).read() + "".join(f"{{key}}: {{value}}\\n" for key, value in keys.items())
if "--dry-run" in words:
    print(config)
    sys.exit(0)
with open(os.environ["CALLS"], "a") as calls:
    calls.write(" ".join([os.path.basename(sys.argv[0]), *words]) + "\\n")
run = pathlib.Path(options.get("--out") or options["--checkpoint"])
count = int(run.parent.name.split("-n")[1])
if run.parent.name == os.environ.get("FAIL"):
    sys.exit(int(os.environ["STATUS"]))
if run.parent.name == os.environ.get("WAIT"):
    print("waiting", file=sys.stderr, flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5)
        (run.parent.parent / "saved").touch()
        sys.exit(130)
if "drop_train" in sys.argv[0]:
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(config)
    steps = int(keys.get("train.steps", 1000))
    for step in (0, steps // 2, steps):
        (run / f"checkpoints/step_{{step:09d}}.safetensors").touch()
        (run / f"checkpoints/step_{{step:09d}}.training.safetensors").touch()
    (run / "metrics.csv").write_text("step,wall_time_s,name,value\\n" + "".join(
        f"{{step}},1,loss/behaviour,{{(9 if step < 19 else 1) - count / 1000}}\\n" for step in range(1, 21)))
    (run / "decomposition.json").write_text(json.dumps({{"num_subtasks": min(count, 120)}}))
else:
    returns = json.loads(os.environ["RETURNS"])
    rule, episodes = options["--rule"], int(options["--episodes"])
    steps = sorted(int(path.stem[5:]) for path in run.glob("checkpoints/step_?????????.safetensors"))[1:]
    results = [{{"search": {{"ascent_steps": 9}}, "physics": "d4rl", "rule": rule, "step": step, "mean": returns[str(count)] + step / 1000,
                "normalised_score": returns[str(count)] / 10,
                "episodes": [{{"return": 1.0}}] * episodes}} for step in steps[-int(options["--last"]):]]
    path = pathlib.Path(options["--json"])
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({{"results": results}}))
"""
CONFIG = ("task: {task}\ndataset: {dataset}\nphysics: d4rl\ntrain: {{steps: 1000}}\nsearch: {{ascent_steps: 9, rules: [best]}}\n"
          "decomposition: {{rule: {rule}}}\n")


class SelectNTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="drop select ")
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        for name in ("drop_train", "drop_eval"):
            (self.bin / name).write_text(PROGRAM.format(python=sys.executable))
            (self.bin / name).chmod(0o755)
        self.out = self.root / "out put"
        self.write_config()
        self.environment = {"CALLS": str(self.root / "calls.txt"), "RETURNS": json.dumps(
            {"10": 900, "20": 1, "50": 5, "100": 30, "200": 20})}

    def write_config(self, task="hopper", dataset="data/hopper toy.hdf5", rule="rank"):
        (self.root / "c.yaml").write_text(CONFIG.format(task=task, dataset=dataset, rule=rule))

    def command(self, *arguments):
        return ["--config", str(self.root / "c.yaml"), "--bin", str(self.bin), "--out", str(self.out),
                *map(str, arguments)]

    def call(self, *arguments, **environment):
        """Exit status, standard output and standard error."""
        kept = dict(os.environ)
        os.environ.update(self.environment | environment)
        output, errors = io.StringIO(), io.StringIO()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                status = select_n.main(self.command(*arguments))
        except SystemExit as end:
            status = end.code
        finally:
            signal.signal(signal.SIGTERM, handler)
            os.environ.clear()
            os.environ.update(kept)
        return status, output.getvalue(), errors.getvalue()

    def calls(self):
        """Program and variant of what was called since the last look."""
        path = self.root / "calls.txt"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        path.unlink()
        return [(line.split()[0], line.split("/seed_")[0].split("/")[-1]) for line in lines]

    def evidence(self):
        return json.loads((self.out / "hopper toy" / "select_n.json").read_text())

    def test_the_four_best_fits_are_trained_and_the_best_return_is_chosen(self):
        status, output, _ = self.call()
        self.assertEqual(status, 0)
        # the data have trajectories for 120 sub-tasks only: 500, 800 and 1000 would be 200 again
        fits = [("drop_train", f"fit-n{n}") for n in (10, 20, 50, 100, 200)]
        full = [(program, f"full-n{n}") for n in (200, 100, 50, 20) for program in ("drop_train", "drop_eval")]
        self.assertEqual(self.calls(), fits + full)
        evidence = self.evidence()
        self.assertEqual(evidence["values"], [10, 20, 50, 100, 200, 500, 800, 1000])
        self.assertEqual((evidence["values_from"], evidence["family"]), ("Table 8", "gym-mujoco"))
        self.assertEqual(evidence["kept"], [200, 100, 50, 20])
        self.assertEqual(evidence["chosen"], 100)
        by_count = {fit["num_subtasks"]: fit for fit in evidence["fits"]}
        # the last tenth of 20 rows: steps 19 and 20, not the high values before
        self.assertAlmostEqual(by_count[50]["loss"], 0.95)
        self.assertEqual((by_count[50]["loss_from_step"], by_count[50]["step"]), (19, 20))
        self.assertEqual((by_count[200]["subtasks"], by_count[100]["subtasks"]), (120, 100))
        self.assertEqual(by_count[800], {"num_subtasks": 800, "left_out": "cuts the data as N = 200 does"})
        found = {one["num_subtasks"]: one for one in evidence["evaluations"]}[100]
        self.assertEqual((found["return"], found["normalised_score"], found["checkpoints"]), (30.75, 3.0, 2))
        self.assertIn("chosen: N = 100", output)
        self.assertRegex(output, r"\n +100 +100 +0.9000 +30.8 +3.0\n")
        self.assertRegex(output, r"\n +800 +- +- +- +-\n")

    def test_commands_are_those_of_the_two_steps(self):
        status, output, _ = self.call("--dry-run", "--values", "50,5", "--keep", 1, "--seed", 3,
                                      "--set", "device=cpu", "--rule", "best", "--episodes", 2, "--last", 1)
        self.assertEqual((status, self.calls(), self.out.exists()), (0, [], False))
        lines = output.splitlines()
        self.assertEqual(lines[0], "# step 1: 2 fits of 100 steps")
        self.assertTrue(lines[1].endswith(
            "--set device=cpu --set train.score=off --set train.steps=100 --set eval.every=0 --set "
            "'seeds=[]' --set decomposition.num_subtasks=5 --seed 3 --out "
            f"'{self.out}/hopper toy/fit-n5/seed_3' --resume"), lines[1])
        self.assertIn("fit-n50/", lines[2])
        self.assertEqual(lines[3], "# step 2: the 1 N with the lowest loss, 1,000 steps each")
        self.assertNotIn("train.", lines[4])
        self.assertTrue(lines[5].endswith(
            f"--checkpoint '{self.out}/hopper toy/full-nN/seed_3' --rule best --episodes 2 --last 1 --json "
            f"'{self.out}/hopper toy/full-nN/seed_3/eval/protocol.json'"), lines[5])

    def test_a_failure_stops_and_the_next_call_goes_on(self):
        for status in (3, 130, 139):
            done = self.call(FAIL="fit-n50", STATUS=str(status))
            self.assertEqual(done[0], status if status < 139 else 1)
            self.assertRegex(done[2], r"\nselect_n.py: error: drop_train ended with status \d+ [^\n]*\n$")
        self.assertIsNone(self.evidence()["chosen"])
        self.assertEqual([fit["num_subtasks"] for fit in self.evidence()["fits"]], [10, 20])
        self.assertEqual(self.call()[0], 0)
        self.calls()
        # evaluated before: not again, unless something else is asked for
        first = self.evidence()
        self.assertEqual(self.call()[0], 0)
        self.assertNotIn("drop_eval", [program for program, _ in self.calls()])
        self.assertEqual(self.evidence(), first)
        (self.out / "hopper toy/full-n50/seed_0/eval/protocol.json").unlink()
        self.call()
        self.assertEqual([one for one in self.calls() if one[0] == "drop_eval"], [("drop_eval", "full-n50")])
        for change in (("--episodes", 3), ("--rule", "best"), ("--last", 1)):
            self.call(*change)
            self.assertEqual([one for one in self.calls() if one[0] == "drop_eval"],
                             [("drop_eval", f"full-n{n}") for n in (200, 100, 50, 20)], change)

    def test_runs_that_were_made_with_other_settings_are_refused(self):
        words = ["--values", "20,50", "--set", "train.target_rate=0.5", "--set", "checkpoint.every=5"]
        self.assertEqual(self.call(*words)[0], 0)
        evidence, _ = self.evidence(), self.calls()
        for change, line in (
                ("train.target_rate=0.7", r"fit-n20/seed_0/config.yaml: train.target_rate: this run was made with 0.5, now 0.7 "),
                ("search.ascent_steps=50", r"fit-n20/seed_0/config.yaml: search.ascent_steps: this run was made with 9, now 50 "),
                ("train.steps=400", r"full-n20/seed_0/config.yaml: train.steps: this run stands at step 1000, now 400 ")):
            status, output, errors = self.call(*words, "--fit-steps", 100, "--set", change)
            self.assertEqual((status, output, self.calls()), (2, "", []), change)
            self.assertRegex(errors, r"^select_n.py: error: [^\n]*" + line + r"[^\n]*; set it back, [^\n]*\n$")
            self.assertEqual(self.evidence(), evidence)
        # a longer training may save more often
        self.assertEqual(self.call(*words, "--set", "checkpoint.every=7")[0], 2)
        self.assertEqual(self.call(*words, "--set", "checkpoint.every=7", "--set", "train.steps=2000",
                                   "--fit-steps", 200)[0], 0)
        self.assertEqual(self.calls()[-2:], [("drop_train", "full-n20"), ("drop_eval", "full-n20")])

    def test_an_evaluation_under_another_search_is_made_anew(self):
        self.call("--values", "20,50")
        self.calls()
        path = self.out / "hopper toy/full-n50/seed_0/eval/protocol.json"
        first, last = json.loads(path.read_text())["results"]
        for results in ([first, last | {"search": {"ascent_steps": 0}}], [first | {"physics": "modern"}, last], None, [3]):
            path.write_text(json.dumps({"results": results}))
            self.assertEqual(self.call("--values", "20,50")[0], 0)
            self.assertEqual([one for one in self.calls() if one[0] == "drop_eval"], [("drop_eval", "full-n50")])
        for one in (first, last):  # as an older version wrote it
            del one["search"], one["physics"]
        path.write_text(json.dumps({"results": [first, last]}))
        self.assertEqual(self.call("--values", "20,50")[0], 0)
        self.assertNotIn("drop_eval", [program for program, _ in self.calls()])

    def test_standard_output_that_takes_nothing_gives_1_and_one_line(self):
        for form, reason in (("> /dev/full", "No space left on device"), (">&-", "it is closed")):
            done = subprocess.run(["bash", "-c", f'"$@" {form}', "bash", sys.executable, SCRIPT, *self.command("--dry-run")],
                                  capture_output=True, text=True, check=False, env=os.environ | self.environment)
            self.assertEqual((done.returncode, done.stderr),
                             (1, f"select_n.py: error: standard output: cannot be written ({reason})\n"))

    def test_an_interrupt_waits_for_the_program_to_save(self):
        process = subprocess.Popen([sys.executable, SCRIPT, *self.command()], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True,
                                   env=os.environ | self.environment | {"WAIT": "fit-n20"})
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        while process.stderr.readline() != "waiting\n":
            self.assertIsNone(process.poll())
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(timeout=20), 130)
        self.assertTrue((self.out / "hopper toy" / "saved").exists())

    def test_families_have_their_sets(self):
        for task, dataset, family, values in (
                ("hopper", "x", "gym-mujoco", 8), ("", "halfcheetah-medium-v2", "gym-mujoco", 8),
                ("door", "door-human-v0", "adroit", 8), ("antmaze-umaze", "antmaze-umaze-v0", "antmaze-v0", 1),
                ("antmaze-large-play", "antmaze-large-play-v2", "antmaze-v2", 1),
                ("maze2d-umaze", "maze2d-umaze-v1", None, None), ("", "mine", None, None)):
            with self.subTest(dataset):
                self.assertEqual(select_n.family_of(task, dataset), family)
                found = select_n.table_8(family)
                self.assertEqual(len(found) if found else None, values)
        self.assertEqual(select_n.table_8("antmaze-v0") + select_n.table_8("antmaze-v2"), [500, 150])

    def test_a_set_of_one_needs_no_runs(self):
        self.write_config("antmaze-umaze", "antmaze-umaze-v2")
        status, output, _ = self.call()
        self.assertEqual((status, self.calls()), (0, []))
        self.assertIn("chosen: N = 150", output)

    def test_a_family_without_a_set_needs_values(self):
        self.write_config("maze2d-umaze", "maze2d-umaze-v1")
        status, _, errors = self.call()
        self.assertEqual(status, 2)
        self.assertRegex(errors, r"^select_n.py: error: maze2d-umaze-v1: Table 8 has no set [^\n]*--values[^\n]*\n$")
        self.assertEqual(self.call("--values", "20,50")[0], 0)
        self.assertEqual([variant for program, variant in self.calls() if program == "drop_train"],
                         ["fit-n20", "fit-n50", "full-n50", "full-n20"])

    def test_other_rules_than_rank_leave_nothing_out(self):
        self.write_config(rule="quantization")
        self.call("--values", "200,500", "--keep", 1, RETURNS='{"500": 1}')
        self.assertEqual([variant for program, variant in self.calls() if program == "drop_train"],
                         ["fit-n200", "fit-n500", "full-n500"])

    def test_a_run_without_losses_is_refused(self):
        self.call()
        metrics = self.out / "hopper toy" / "fit-n10" / "seed_0" / "metrics.csv"
        (self.bin / "drop_train").write_text(
            (self.bin / "drop_train").read_text().replace("loss/behaviour", "loss/td"))
        status, _, errors = self.call()
        self.assertEqual(status, 3)
        self.assertIn("no loss/behaviour in metrics.csv", errors)
        self.assertTrue(metrics.exists())

    def test_wrong_calls_have_their_status(self):
        for arguments in (("--values", "0"), ("--values", "5,5"), ("--values", "x"), ("--keep", 0),
                          ("--rule", "worst"), ("--seed", -1), ("--episodes", 0)):
            with self.subTest(arguments):
                self.assertEqual(self.call(*arguments)[0], 2)
        (self.root / "c.yaml").unlink()
        status, _, errors = self.call()
        self.assertEqual((status, errors), (2, "select_n.py: error: no such config\n"))
        self.write_config()
        self.bin = self.root / "nowhere"
        status, _, errors = self.call()
        self.assertEqual(status, 1)
        self.assertIn("cannot be started", errors)


if __name__ == "__main__":
    unittest.main()
