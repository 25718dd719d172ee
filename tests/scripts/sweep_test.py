"""scripts/sweep.sh with stand-ins for the programs: what is run, skipped, tried again, picked up and refused.

One test runs the real programs (of $DROP_BUILD_DIR or build/release), one a real SLURM on this machine; both are
skipped where these are not there.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from sweep_file import read_sweep  # noqa: E402  (found through the line above)

BUILD = Path(os.environ.get("DROP_BUILD_DIR") or ROOT / "build" / "release")
PATIENCE_S = 60

# drop_train saves a checkpoint at each step and refuses to make one twice; all programs write what they
# did into $CALLS, fail where $FAIL says so, and stop at SIGTERM with exit status 130
STAND_IN = '''#!{python}
import json, os, signal, sys, time
from pathlib import Path

name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
stop = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: os._exit(130) if stop else stop.append(1))

def option(key, default=None):
    return arguments[arguments.index(key) + 1] if key in arguments else default

def log(*words):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(" ".join(map(str, words)) + "\\n")

def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)

def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop:
        time.sleep(0.01)

settings = dict(text.split("=", 1) for flag, text in zip(arguments, arguments[1:]) if flag == "--set")
config = "".join(f"{{key}}: {{value}}\\n" for key, value in {{**settings, "seed": option("--seed")}}.items())
if "--dry-run" in arguments:
    if settings.get("train.steps") == "0":
        sys.exit("train.steps: found 0")
    print(config)
    sys.exit(0)
out = Path(option("--out") or option("--json"))
what = "/".join(out.parts[-3:]) if name in ("drop_train", "drop_coms") else "/".join(out.parts[-5:])
fails = [part for part in os.environ.get("FAIL", "").split(",") if part and part in f"{{name}} {{what}}"]
if fails:
    log("fail", name, what)
    if Path(os.environ["CALLS"]).read_text().count(f"fail {{name}} {{what}}") <= int(os.environ.get("TIMES", 99)):
        print("boom: a stand-in fails")
        sys.exit(int(os.environ.get("STATUS", 1)))
pace = float(os.environ.get("PACE", 0.01))
if name == "drop_train":
    steps = int(settings["train.steps"])
    out.mkdir(parents=True, exist_ok=True)
    write(out / "config.yaml", config)
    checkpoints = out / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    step = len(list(checkpoints.glob("step_*.safetensors")))
    log("train", what, step)
    while step < steps and not stop:
        wait(pace)
        if stop:
            time.sleep(0.3)  # saving takes a while
        step += 1
        with open(checkpoints / f"step_{{step:09}}.safetensors", "x") as file:
            file.write(f"seed {{option('--seed')}} step {{step}} {{settings}}")
    write(out / "status.json", json.dumps({{"state": "finished" if step == steps else "interrupted", "step": step}}))
    log("finished" if step == steps else "saved", what, step)
elif name == "drop_coms":
    log("coms", what)
    wait(pace)
    if not stop:
        write(out / "eval" / "protocol.json", json.dumps(arguments))
        write(out / "status.json", '{{"state": "finished", "step": 3}}')
else:
    log("begin", name, what)
    wait(3 * float(os.environ.get("RESULT_PACE", pace)))
    if not stop:
        write(out, json.dumps(arguments))
        log("made", name, what)
sys.exit(130 if stop else 0)
'''

REPORT = '''
import os, sys
from pathlib import Path
Path(sys.argv[1], "report").mkdir(exist_ok=True)
Path(sys.argv[1], "report", "report.md").write_text("a report")
with open(os.environ["CALLS"], "a") as calls:
    calls.write("report\\n")
'''

SWEEP = '''
name: small
set: {train.steps: 4}
generate:
  - {out: data/maze.hdf5, task: maze2d-umaze, transitions: 1e3, seed: 7}
datasets:
  - {name: maze, config: configs/a config.yaml, set: {dataset: data/maze.hdf5}}
  - {name: hopper, config: configs/a config.yaml, set: {dataset: "${DROP_DATA}/it's hopper.hdf5"}}
variants:
  - {name: drop}
  - {name: drop-naive, set: {train.conservative: off, search.rules: [best, grad]}, datasets: [hopper]}
seeds: [0, 1]
evaluations:
  - {name: protocol, rules: [best, grad-ada], episodes: 3, last: 2}
  - {name: steps-0, rules: [grad], set: {search.ascent_steps: 0}, variants: [drop], seed: 5}
finetune:
  - {level: checkpoint, rule: best, variants: [drop], env_steps: 2e3}
report: true
tiny:
  set: {train.steps: 2}
  seeds: [3]
  datasets: [maze]
  evaluations: {episodes: 1, last: 1}
'''
# of SWEEP: 1 data set made, 6 runs, 6 + 4 evaluations, 4 fine-tunings, 1 report
JOBS = 1 + 6 + 6 + 4 + 4 + 1


class Tree(unittest.TestCase):
    """A copy of the scripts with stand-ins, in a folder whose name has blanks and quotes."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="drop's \"sweep\" $x ", ignore_cleanup_errors=True)
        self.addCleanup(temporary.cleanup)
        self.tree = Path(temporary.name) / "a tree"
        (self.tree / "scripts").mkdir(parents=True)
        for name in ("sweep*", "common.*", "run_settings.py"):
            for script in ROOT.glob(f"scripts/{name}"):
                shutil.copy(script, self.tree / "scripts")
        (self.tree / "scripts" / "report.py").write_text(REPORT)
        (self.tree / ".venv").symlink_to(sys.prefix)
        self.programs = self.tree / "build" / "release" / "bin"
        self.programs.mkdir(parents=True)
        for name in ("drop_data", "drop_train", "drop_coms", "drop_eval", "drop_finetune"):
            self.program(name, STAND_IN.format(python=sys.executable))
        (self.tree / "configs").mkdir()
        (self.tree / "configs" / "a config.yaml").write_text("name: x\ntrain: {steps: 9}\n")
        (self.tree / "given").mkdir()
        (self.tree / "given" / "it's hopper.hdf5").write_text("data")
        self.file = self.tree / "the sweep.yaml"
        self.file.write_text(SWEEP)
        self.root = self.tree / "runs" / "small"
        self.calls_file = self.tree / "calls.txt"

    def program(self, name, text):
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def environment(self, **more):
        base = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "DROP", "CUDA"))}
        return {**base, "CALLS": str(self.calls_file), "DROP_DATA": str(self.tree / "given"), **more}

    def command(self, *arguments):
        return [str(self.tree / "scripts" / "sweep.sh"), str(self.file), *map(str, arguments)]

    def sweep(self, *arguments, **environment):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
                              cwd="/", env=self.environment(**environment))
        return done.returncode, done.stdout, done.stderr

    def begin(self, *arguments, **environment):
        process = subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   cwd="/", env=self.environment(**environment))
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def calls(self):
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def wait_for(self, condition, what):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), end, f"no {what}; calls: {self.calls()}")
            time.sleep(0.01)

    def states(self, root=None):
        found = json.loads(((root or self.root) / "sweep.json").read_text())
        return {job["id"]: job["state"] for job in found["jobs"]}

    def assert_each_thing_was_done_once(self):
        made = Counter(call for call in self.calls() if call.startswith(("made", "finished")))
        self.assertEqual([call for call, count in made.items() if count > 1], [])
        self.assert_each_thing_is_there()

    def assert_each_thing_is_there(self):
        self.assertEqual(set(self.states().values()), {"done"})
        for run in self.root.glob("*/*/seed_*"):
            self.assertEqual(json.loads((run / "status.json").read_text()), {"state": "finished", "step": 4})
        self.assertEqual(len(list(self.root.glob("*/*/seed_*/eval/*.json"))), 10)
        self.assertEqual(len(list(self.root.glob("*/*/seed_*/finetune/*.json"))), 4)


class SweepTest(Tree):
    def test_everything_is_run_and_a_second_call_runs_nothing(self):
        status, output, errors = self.sweep("--jobs", 2)
        self.assertEqual(status, 0, errors)
        self.assert_each_thing_was_done_once()
        self.assertEqual(len(self.states()), JOBS)
        self.assertIn(f"{JOBS} jobs: {JOBS} done", output)
        self.assertRegex(output, r"maze/drop/seed_1 +done +4/4 +2/2 +1/1 ")
        self.assertRegex(output, r"hopper/drop-naive/seed_0 +done +4/4 +1/1 +- ")
        calls = self.calls()
        self.assertEqual(calls.count("report"), 1)
        self.assertEqual(calls[-1], "report")
        # data come before the training on them, a training before its evaluations
        data, = (i for i, call in enumerate(calls) if call.startswith("made drop_data data/maze.hdf5."))
        self.assertLess(data, calls.index("train maze/drop/seed_0 0"))
        self.assertLess(calls.index("finished maze/drop/seed_0 4"),
                        calls.index("made drop_eval maze/drop/seed_0/eval/protocol.json"))
        # again
        self.assertEqual(self.sweep()[0], 0)
        self.assertEqual(self.calls(), calls)

    def test_commands_are_those_of_the_contract(self):
        self.assertEqual(self.sweep(DROP_DATA=str(self.tree / "given"))[0], 0)
        jobs = {job["id"]: job for job in json.loads((self.root / "sweep.json").read_text())["jobs"]}
        given = str(self.tree / "given")
        self.assertEqual(jobs["hopper/drop-naive/seed_1/train"]["command"], [
            "build/release/bin/drop_train", "--config", "configs/a config.yaml", "--set", "train.steps=4",
            "--set", f"dataset={given}/it's hopper.hdf5", "--set", "train.conservative=off",
            "--set", "search.rules=[best, grad]", "--seed", "1", "--out", "runs/small/hopper/drop-naive/seed_1", "--resume"])
        self.assertEqual(jobs["maze/drop/seed_0/evaluate-steps-0"]["command"], [
            "build/release/bin/drop_eval", "--checkpoint", "runs/small/maze/drop/seed_0", "--rule", "grad", "--last", "1",
            "--episodes", "10", "--set", "search.ascent_steps=0", "--seed", "5",
            "--json", "runs/small/maze/drop/seed_0/eval/steps-0.json"])
        self.assertEqual(jobs["maze/drop/seed_0/finetune-checkpoint-best"]["command"], [
            "build/release/bin/drop_finetune", "--run", "runs/small/maze/drop/seed_0", "--level", "checkpoint", "--rule",
            "best", "--env-steps", "2000", "--seed", "0",
            "--json", "runs/small/maze/drop/seed_0/finetune/checkpoint-best.json"])
        self.assertEqual(jobs["generate/0"]["command"], [
            "build/release/bin/drop_data", "generate", "--task", "maze2d-umaze", "--steps", "1000", "--seed", "7",
            "--out", "data/maze.hdf5"])
        log = Path(jobs["maze/drop/seed_0/train"]["log"]).read_text()
        self.assertRegex(log, r"^### .* attempt 1: build/release/bin/drop_train --config 'configs/a config.yaml'")

    def test_several_jobs_get_one_thread_each(self):
        cores = len(os.sched_getaffinity(0))
        self.assertEqual(self.sweep("--jobs", cores + 1)[0], 0)
        log = (self.root / "jobs" / "maze/drop/seed_0/train.log").read_text()
        self.assertIn("--set threads=1", log)
        log = (self.root / "jobs" / "maze/drop/seed_0/evaluate-protocol.log").read_text()
        self.assertIn("--threads 1 --network-threads 1", log)
        # the number of threads changes no result
        calls = self.calls()
        self.assertEqual(self.sweep("--jobs", 1)[0], 0)
        self.assertEqual(self.calls(), calls)

    def test_fine_tunings_of_a_run_follow_each_other_and_traces_are_asked_for(self):
        self.file.write_text(SWEEP.replace("report: true", "  - {level: parametric, rule: grad, saves: 2, variants: [drop]}")
                             .replace("rules: [grad],", "rules: [grad], trace: true,"))
        self.assertEqual(self.sweep("--jobs", 4)[0], 0)
        calls = self.calls()
        self.assertLess(calls.index("made drop_finetune hopper/drop/seed_1/finetune/checkpoint-best.json"),
                        calls.index("begin drop_finetune hopper/drop/seed_1/finetune/parametric-grad.json"))
        run = "runs/small/hopper/drop/seed_1"
        arguments = json.loads((self.tree / run / "finetune/parametric-grad.json").read_text())
        self.assertEqual(arguments[arguments.index("--saves") + 1], "2")
        arguments = json.loads((self.tree / run / "eval/steps-0.json").read_text())
        self.assertEqual(arguments[arguments.index("--trace") + 1], f"{run}/eval/steps-0.h5")

    def test_a_variant_of_drop_coms_is_trained_and_evaluated_by_it_alone(self):
        coms = "  - {name: coms, program: drop_coms, set: {train.steps: 3}}\nseeds:"
        self.file.write_text(SWEEP.replace("seeds:", coms, 1))
        status, output, errors = self.sweep("--jobs", 2)
        self.assertEqual(status, 0, errors)
        self.assertEqual({job for job in self.states() if "/coms/" in job}, {
            f"{dataset}/coms/seed_{seed}/train" for dataset in ("maze", "hopper") for seed in (0, 1)})
        self.assertEqual(set(self.states().values()), {"done"})
        self.assertRegex(output, r"hopper/coms/seed_1 +done +3/3 +- +- ")
        run = "runs/small/maze/coms/seed_1"
        self.assertEqual(json.loads((self.tree / run / "eval/protocol.json").read_text())[2:], [
            "--set", "train.steps=4", "--set", "dataset=data/maze.hdf5", "--set", "train.steps=3", "--seed", "1",
            "--out", run, "--resume", *self.threads_of(run)])
        # again, and again after one was lost
        calls = self.calls()
        self.assertEqual(self.sweep()[0], 0)
        self.assertEqual(self.calls(), calls)
        (self.tree / run / "status.json").unlink()
        self.assertEqual(self.sweep()[0], 0)
        self.assertEqual(self.calls(), [*calls, "coms maze/coms/seed_1", "report"])
        # with another setting it begins anew, which drop_coms must be told
        self.file.write_text(SWEEP.replace("seeds:", coms.replace("steps: 3}", "steps: 3, search.ascent_steps: 7}"), 1))
        self.assertEqual(self.sweep("--jobs", 2)[0], 0)
        words = json.loads((self.tree / run / "eval/protocol.json").read_text())
        self.assertIn("search.ascent_steps=7", words)
        self.assertIn("--force", words)
        self.assertNotIn("--resume", words)

    def threads_of(self, run):
        """What the sweep added to a training's command for the number of threads."""
        log = (self.root / "jobs" / run.removeprefix("runs/small/") / "train.log").read_text()
        return re.findall(r"--set|threads=\d+", log.splitlines()[0].split("--resume")[1])

    def test_each_slot_has_its_gpu(self):
        self.program("drop_eval", "#!/bin/sh\necho \"gpu $CUDA_VISIBLE_DEVICES\"\nexit 2\n")
        self.sweep(CUDA_VISIBLE_DEVICES="4,6", PACE="0.05")
        logs = [log.read_text() for log in self.root.glob("jobs/*/*/*/evaluate-*.log")]
        self.assertEqual({line for log in logs for line in log.splitlines() if line.startswith("gpu")}, {"gpu 4", "gpu 6"})

    def test_dry_run_prints_a_line_for_each_run_and_starts_nothing(self):
        status, output, errors = self.sweep("--dry-run")
        self.assertEqual(status, 0, errors)
        lines = output.splitlines()
        self.assertEqual([line.split()[0] for line in lines], [
            "maze/drop/seed_0", "maze/drop/seed_1", "hopper/drop/seed_0", "hopper/drop/seed_1", "hopper/drop-naive/seed_0",
            "hopper/drop-naive/seed_1"])
        self.assertEqual(lines[0], "maze/drop/seed_0  left: train, evaluate-protocol, evaluate-steps-0, "
                                   "finetune-checkpoint-best (step 0 of 4)")
        self.assertEqual(self.calls(), [])
        self.assertFalse((self.tree / "runs").exists())
        self.sweep(FAIL="seed_1/eval/protocol")
        lines = self.sweep("--dry-run")[1].splitlines()
        self.assertEqual(lines[:2], ["maze/drop/seed_0  done", "maze/drop/seed_1  left: evaluate-protocol"])

    def test_tiny_is_a_smaller_sweep_beside_the_other(self):
        status, _, errors = self.sweep("--tiny")
        self.assertEqual(status, 0, errors)
        root = self.tree / "runs" / "small-tiny"
        self.assertEqual(set(self.states(root)), {
            "generate/0", "report"} | {f"maze/drop/seed_3/{job}" for job in (
                "train", "evaluate-protocol", "evaluate-steps-0", "finetune-checkpoint-best")})
        self.assertEqual(json.loads((root / "maze/drop/seed_3/status.json").read_text())["step"], 2)
        arguments = json.loads((root / "maze/drop/seed_3/eval/protocol.json").read_text())
        self.assertEqual(arguments[arguments.index("--episodes") + 1], "1")
        self.assertEqual(arguments[arguments.index("--last") + 1], "1")

    def test_out_is_relative_to_where_the_caller_is(self):
        status, _, errors = self.sweep("--tiny", "--out", str(self.tree / "else where" / "..") + "/my $out%a")
        self.assertEqual(status, 0, errors)
        self.assertTrue((self.tree / "my $out%a" / "maze/drop/seed_3/eval/protocol.json").exists())

    def test_data_that_are_not_there_are_skipped_visibly(self):
        for data, reason in (("", "the environment variable DROP_DATA is not set"), ("/none", "there is no file /none/it's hopper.hdf5")):
            with self.subTest(reason):
                status, output, errors = self.sweep(DROP_DATA=data)
                self.assertEqual(status, 0, errors)
                self.assertIn(f"skipped, {reason}: 4 runs, hopper/drop/seed_0 ...", output)
                self.assertRegex(output, r"maze/drop/seed_0 +done")
                self.assertRegex(self.sweep("--dry-run", DROP_DATA=data)[1], f"hopper/drop/seed_0  skipped: {reason}")
                self.assertEqual(self.states()["hopper/drop/seed_0/train"], "skipped")

    def test_without_the_program_fine_tunings_and_without_the_script_the_report_are_skipped(self):
        (self.programs / "drop_finetune").unlink()
        (self.tree / "scripts" / "report.py").unlink()
        status, output, errors = self.sweep()
        self.assertEqual(status, 0, errors)
        self.assertIn("skipped, there is no build/release/bin/drop_finetune: 4 jobs, ", output)
        self.assertIn("skipped, there is no scripts/report.py: 1 jobs, report", output)
        (self.programs / "drop_eval").unlink()
        status, _, errors = self.sweep()
        self.assertEqual(status, 1)
        self.assertRegex(errors, r"drop_eval: there is no such program; build it")

    def test_what_fails_is_tried_three_times_and_the_rest_goes_on(self):
        status, output, _ = self.sweep(FAIL="drop_train maze/drop/seed_1")
        self.assertEqual(status, 1)
        self.assertEqual(self.calls().count("fail drop_train maze/drop/seed_1"), 3)
        states = self.states()
        self.assertEqual(states["maze/drop/seed_1/train"], "failed")
        self.assertEqual(states["maze/drop/seed_1/evaluate-protocol"], "blocked")
        self.assertEqual(Counter(states.values()), {"done": JOBS - 4, "failed": 1, "blocked": 3})
        self.assertIn("failed: maze/drop/seed_1/train: boom: a stand-in fails; log: ", output)
        self.assertEqual(self.calls()[-1], "report")
        # the next call tries what failed, and the report is renewed
        self.assertEqual(self.sweep()[0], 0)
        self.assert_each_thing_was_done_once()
        self.assertEqual(self.calls().count("report"), 2)

    def test_one_good_attempt_is_enough(self):
        status, _, errors = self.sweep(FAIL="seed_0/eval/protocol,drop_data", TIMES="2")
        self.assertEqual(status, 0, errors)
        self.assert_each_thing_was_done_once()
        self.assertIn("hopper/drop/seed_0/evaluate-protocol: waiting to be tried again (exit 1)", errors)
        self.assertEqual(self.calls().count("fail drop_eval hopper/drop/seed_0/eval/protocol.json"), 3)

    def test_wrong_usage_is_not_tried_again(self):
        self.assertEqual(self.sweep(FAIL="drop_eval", STATUS="2")[0], 1)
        self.assertEqual(max(Counter(call for call in self.calls() if call.startswith("fail")).values()), 1)

    def test_a_training_that_ends_without_finishing_has_failed(self):
        self.program("drop_train", "#!/bin/sh\nexit 0\n")
        status, output, _ = self.sweep()
        self.assertEqual(status, 1)
        self.assertIn("maze/drop/seed_0/train: it ended well but left no finished runs/small/maze/drop/seed_0/status.json", output)

    def test_another_evaluation_is_made_anew_and_nothing_else(self):
        self.sweep()
        before = self.calls()
        self.file.write_text(SWEEP.replace("episodes: 3", "episodes: 4"))
        self.assertEqual(self.sweep()[0], 0)
        made = [call for call in self.calls()[len(before):] if call.startswith(("made", "train"))]
        self.assertEqual(len(made), 6)
        self.assertTrue(all("protocol.json" in call for call in made))

    def test_longer_training_goes_on_and_is_evaluated_anew(self):
        self.sweep()
        before = self.calls()
        self.file.write_text(SWEEP.replace("train.steps: 4", "train.steps: 6"))
        self.assertRegex(self.sweep("--status")[1], r"maze/drop/seed_0 +waiting +4/6 +0/2 +0/1")
        self.assertEqual(self.sweep()[0], 0)
        calls = self.calls()[len(before):]
        self.assertEqual(sum(call.startswith("train") and call.endswith(" 4") for call in calls), 6)
        self.assertEqual(sum(call.startswith("made drop_eval") for call in calls), 10)

    def test_a_setting_that_stored_runs_were_not_made_with_is_refused(self):
        given = SWEEP.replace("set: {train.steps: 4}", "set: {train.steps: 4, search.ascent_steps: 1, eval.every: 0}")
        self.file.write_text(given)
        self.assertEqual(self.sweep()[0], 0)
        calls = self.calls()
        stored = {path: path.read_bytes() for path in self.root.glob("*/*/seed_*/**/*") if path.is_file()}
        for old, new, key in (("search.ascent_steps: 1", "search.ascent_steps: 40", "search.ascent_steps"),
                              ("eval.every: 0", "eval.every: 2", "eval.every"),
                              ("train.steps: 4", "train.steps: 3", "train.steps"),
                              ("train.steps: 4,", "train.steps: 0,", "train.steps")):
            with self.subTest(new):
                self.file.write_text(given.replace(old, new, 1))
                status, output, errors = self.sweep()
                self.assertEqual(status, 1, errors)
                states = self.states()
                self.assertEqual(states["maze/drop/seed_0/train"], "failed")
                self.assertEqual(states["maze/drop/seed_0/evaluate-protocol"], "blocked")
                self.assertRegex(output, f"failed: maze/drop/seed_0/train: [^\n]*{key}[^\n]*; log: ")
                self.assertEqual(self.sweep("--status")[1], output)
                # nothing was run or touched
                self.assertEqual([call for call in self.calls() if call != "report"],
                                 [call for call in calls if call != "report"])
                self.assertEqual({path: path.read_bytes() for path in stored}, stored)
        self.file.write_text(given.replace("search.ascent_steps: 1", "search.ascent_steps: 40"))
        self.assertIn("runs/small/maze/drop/seed_0/config.yaml: search.ascent_steps: this run was made with 1, now 40 is "
                      "asked for; set it back, choose another name or folder, or remove this run", self.sweep()[2])
        # set back, all is as it was; a run that is removed is made anew
        self.file.write_text(given)
        self.assertIn(f"{JOBS} jobs: {JOBS} done", self.sweep()[1])
        self.assertEqual([call for call in self.calls() if call != "report"], [call for call in calls if call != "report"])
        self.file.write_text(given.replace("search.ascent_steps: 1", "search.ascent_steps: 40"))
        for run in self.root.glob("*/*/seed_*"):
            shutil.rmtree(run)
        self.assertEqual(self.sweep()[0], 0)
        self.assert_each_thing_is_there()

    def test_changed_data_are_looked_at_by_the_program(self):
        self.sweep()
        before = self.calls()
        (self.tree / "given" / "it's hopper.hdf5").write_text("other data")
        self.assertEqual(self.sweep()[0], 0)
        # it finds the run finished; the checkpoints are the same, so nothing is evaluated again
        self.assertEqual(Counter(call.split()[0] for call in self.calls()[len(before):]), {"train": 4, "finished": 4, "report": 1})

    def test_killed_twice_nothing_is_lost_or_done_twice(self):
        for kill_children, enough in ((False, 6), (True, 22)):
            process = self.begin("--jobs", 2, PACE="0.05")
            self.wait_for(lambda n=enough: len(self.calls()) >= n, f"{enough} calls")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            self.assertTrue(children)
            process.kill()
            for child in children if kill_children else []:
                os.kill(int(child), signal.SIGKILL)
            self.assertNotIn("done", self.states().get("report", ""))
        status, _, errors = self.sweep("--jobs", 2, PACE="0.05")
        self.assertEqual(status, 0, errors)
        self.assert_each_thing_was_done_once()
        # some training went on from where it stood
        self.assertTrue(any(call.startswith("train") and not call.endswith(" 0") for call in self.calls()))

    def test_an_evaluation_that_outlives_its_sweep_counts(self):
        # ignores SIGTERM, as one that is just writing its result
        text = STAND_IN.replace("lambda *_: os._exit(130) if stop else stop.append(1)", "signal.SIG_IGN")
        self.program("drop_eval", text.format(python=sys.executable))
        # long enough for a busy machine to start the next sweep and to look for a second
        process = self.begin("--jobs", 1, RESULT_PACE="3")
        begun = "begin drop_eval maze/drop/seed_0/eval/protocol.json"
        self.wait_for(lambda: begun in self.calls(), "evaluation")
        process.kill()
        status, _, errors = self.sweep("--jobs", 2)
        self.assertEqual(status, 0, errors)
        self.assertIn("maze/drop/seed_0/evaluate-protocol: another process still runs it", errors)
        self.assertEqual(self.calls().count(begun), 1)
        self.assert_each_thing_was_done_once()

    def test_ctrl_c_lets_jobs_save_and_the_next_call_goes_on(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.begin("--jobs", 2, PACE="0.2")
            count = len(self.calls())
            self.wait_for(lambda n=count: len(self.calls()) >= n + 2, "jobs")
            process.send_signal(number)
            output = process.communicate(timeout=PATIENCE_S)[0]
            self.assertEqual(process.returncode, 130)
            self.assertIn("stopping: ", output)
            self.assertRegex(output, r"/train: interrupted in ")
        self.assertRegex(self.sweep("--status")[1], r"\d+ interrupted")
        self.assertEqual(self.sweep()[0], 0)
        self.assert_each_thing_was_done_once()
        self.assertFalse(any(call.startswith("fail") for call in self.calls()))

    def test_a_second_signal_kills(self):
        text = STAND_IN.replace("lambda *_: os._exit(130) if stop else stop.append(1)", "signal.SIG_IGN")
        self.program("drop_train", text.format(python=sys.executable))
        (self.tree / "data").mkdir()
        (self.tree / "data" / "maze.hdf5").write_text("there already")
        process = self.begin("--jobs", 1, PACE="30")
        self.wait_for(lambda: "train maze/drop/seed_0 0" in self.calls(), "training")
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130)

    def test_a_second_sweep_in_one_folder_is_refused(self):
        process = self.begin("--jobs", 1, PACE="0.3")
        self.wait_for(lambda: self.calls(), "job")
        status, _, errors = self.sweep()
        self.assertEqual(status, 2)
        self.assertEqual(errors, f"sweep.sh: error: {self.root}: another sweep runs in this folder; wait for its end, "
                                 "or choose another --out\n")
        # looking is allowed
        self.assertRegex(self.sweep("--status")[1], r"1 running")
        self.assertEqual(self.sweep("--dry-run")[0], 0)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)

    def test_wrong_files_are_refused_with_one_line(self):
        for old, new, message in (
                ("name: small", "nmae: small", "line 2: nmae: found an unknown key; allowed: name, set, .*did you mean name?"),
                ("name: small", "name: small\nname: big", "line 3: name: found this key twice"),
                ("name: small", "", "found no key name"),
                ("name: small", "name: a/b", "line 2: name: found 'a/b'; allowed: a name of letters"),
                ("name: small", "name: [a]", "line 2: name: found a list; allowed: a text"),
                ("name: small", "name:", "line 2: name: found nothing; allowed: a text"),
                ("name: small", "name: 'small", "line [0-9]+: no YAML: "),
                (SWEEP, "", "found nothing; allowed: a sweep"),
                (SWEEP, "[1, 2]", "found a list; allowed: keys and values"),
                ("seeds: [0, 1]", "seeds: [0, 0]", r"seeds\[1\]: found 0 twice"),
                ("seeds: [0, 1]", "seeds: [-1]", r"seeds\[0\]: found '-1'; allowed: an integer from 0 on"),
                ("seeds: [0, 1]", "seeds: [1.5]", r"seeds\[0\]: found '1.5'; allowed: an integer"),
                ("seeds: [0, 1]", "seeds: 3", "seeds: found '3'; allowed: a list"),
                ("seeds: [0, 1]", "seeds: []", "seeds: found an empty list"),
                ("{name: drop}", "{name: drop-naive}", r"variants\[1\].name: found drop-naive twice"),
                ("name: maze,", "name: hopper,", r"datasets\[1\].name: found hopper twice"),
                ("name: maze,", "name: jobs,", r"datasets\[0\].name: found 'jobs'"),
                ("name: steps-0", "name: protocol", r"evaluations\[1\]: found a second one of this name for maze/drop/seed_"),
                ("name: steps-0", "name: step_0", r"evaluations\[1\].name: found 'step_0'"),
                ("datasets: [hopper]", "datasets: [hoper]", r"found 'hoper'; allowed: maze, hopper"),
                ("variants: [drop], seed", "variants: [drp], seed", r"evaluations\[1\].variants: found 'drp'; allowed: drop, drop-naive"),
                ("rules: [grad]", "rules: [gard]", r"rules\[0\]: found 'gard'; allowed: best, grad"),
                ("level: checkpoint", "level: check", "found 'check'; allowed: checkpoint, embedding, parametric"),
                ("last: 2}", "last: 2, trace: true}", "found a trace of the last 2 checkpoints"),
                ("env_steps: 2e3", "env_steps: 0", "env_steps: found '0'; allowed: an integer from 1 on"),
                ("search.ascent_steps: 0", "train.steps: 1", "allowed: search.KEY"),
                ("{train.steps: 4}", "{train: {steps: 4}}", "set.train: found keys and values; allowed: a text"),
                ("{train.steps: 4}", "{train steps: 4}", "found this name; allowed: a config's key"),
                ("a config.yaml, set: {dataset: data", "none.yaml, set: {dataset: data", "found configs/none.yaml, which cannot be read"),
                ("task: maze2d-umaze,", "", r"generate\[0\]: found no key task"),
                ("report: true", "report: 1", "report: found '1'; allowed: true, false"),
                ("report: true", "slurm: {array: 0-3}", "slurm.array: found this name"),
                ("{name: drop}", "{name: drop, program: drop_eval}", "found 'drop_eval'; allowed: drop_train, drop_coms"),
                ("{name: drop}", "{name: drop, program: drop_coms}", r"evaluations\[1\].variants: found 'drop'; allowed: drop-naive"),
                ("datasets: [maze]", "datasets: [it]", r"found 'it'; allowed: maze, hopper")):
            with self.subTest(new or "empty"):
                self.assertIn(old, SWEEP)
                self.file.write_text(SWEEP.replace(old, new, 1))
                status, output, errors = self.sweep()
                self.assertEqual(status, 2)
                self.assertEqual(output, "")
                self.assertRegex(errors, "^sweep.sh: error: .*the sweep.yaml: .*" + message)
                self.assertEqual(errors.count("\n"), 1)
                self.assertFalse((self.tree / "runs").exists())

    def test_wrong_usage_is_refused(self):
        for arguments, message in (
                (["--jobs", "0"], "--jobs 0: allowed: an integer from 1 on"), (["--jobs", "x"], "argument --jobs: invalid int"),
                (["--dry-run", "--status"], "not allowed with argument"), (["--nonsense"], "unknown option '--nonsense'; known: ")):
            status, _, errors = self.sweep(*arguments)
            self.assertEqual(status, 2)
            self.assertRegex(errors, "^sweep.sh: error: .*" + message)
        self.file.unlink()
        status, _, errors = self.sweep()
        self.assertEqual(status, 2)
        self.assertIn("cannot be read (No such file or directory)", errors)
        self.file.write_text(SWEEP.split("tiny:")[0])
        status, _, errors = self.sweep("--tiny")
        self.assertEqual(status, 2)
        self.assertIn("--tiny: found no key tiny", errors)
        done = subprocess.run([self.command()[0], "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("./scripts/sweep.sh FILE", done.stdout)

    def test_standard_output_that_takes_nothing_gives_1_and_one_line(self):
        for form, reason in (("> /dev/full", "No space left on device"), (">&-", "it is closed")):
            done = subprocess.run(["bash", "-c", f'"$@" {form}', "bash", *self.command("--dry-run")], capture_output=True,
                                  text=True, check=False, cwd="/", env=self.environment())
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rf"^sweep.sh: error: [^\n]*{reason}[^\n]*\n$")

    def test_slurm_is_refused_where_it_is_not(self):
        status, _, errors = self.sweep("--slurm", PATH="/bin/none:" + str(self.tools("bash", "env", "dirname", "basename")))
        self.assertEqual(status, 2, errors)
        self.assertIn("--slurm: found no sbatch", errors)

    def tools(self, *names):
        folder = self.tree / "tools"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name))
        return folder


class SlurmTest(Tree):
    """A real SLURM of one node."""

    def setUp(self):
        super().setUp()
        # sockets need short paths
        folder = tempfile.TemporaryDirectory(prefix="dslurm", dir="/tmp", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        helper = str(Path(__file__).with_name("slurm_localhost.sh"))
        begun = subprocess.run([helper, "start", folder.name], capture_output=True, text=True, check=False)
        if begun.returncode == 77:
            self.skipTest(begun.stderr.strip())
        self.assertEqual(begun.returncode, 0, begun.stderr)
        self.addCleanup(subprocess.run, [helper, "stop", folder.name], check=False)
        os.environ["SLURM_CONF"] = str(Path(folder.name) / "slurm.conf")
        self.addCleanup(os.environ.pop, "SLURM_CONF")
        self.file.write_text(SWEEP + "slurm: {cpus-per-task: 1, comment: a 'small' one}\n")

    def environment(self, **more):
        return super().environment(SLURM_CONF=os.environ["SLURM_CONF"], **more)

    def slurm(self, *command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def queue(self):
        return self.slurm("squeue", "--noheader", "--array", "--format=%j|%i|%T").splitlines()

    def wait_until_empty(self):
        self.wait_for(lambda: not self.queue(), "empty queue")

    def states(self, root=None):
        self.sweep("--status")
        return super().states(root)

    def test_arrays_run_and_a_second_call_submits_only_what_is_left(self):
        status, _, errors = self.sweep("--slurm", PACE="0.1", FAIL="drop_train maze/drop/seed_1")
        self.assertEqual(status, 0, errors)
        self.assertIn("6 runs submitted, 0 are still in the queue, 0 are done or skipped", errors)
        # all is in the queue: nothing more is submitted, and no local sweep starts
        self.assertIn("0 runs submitted, 6 are still in the queue", self.sweep("--slurm")[2])
        status, _, errors = self.sweep()
        self.assertEqual(status, 2)
        self.assertIn("6 runs of this sweep are in SLURM's queue", errors)
        self.assertRegex(self.sweep("--status")[1], r"queued")

        # a training is killed, which goes on in its own task; another one is cancelled
        self.wait_for(lambda: any(call.startswith("train ") for call in self.calls()), "training")
        pids = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self.trains(pid)]
        os.kill(pids[0], signal.SIGKILL)
        last, = (line.split("|")[1] for line in self.queue() if "train" in line and "_5|" in line)
        self.slurm("scancel", last)
        self.wait_until_empty()
        self.assertEqual(self.sweep("--status")[0], 0)
        states = self.states()
        self.assertEqual(states["maze/drop/seed_1/train"], "failed")
        self.assertEqual(states["hopper/drop-naive/seed_1/evaluate-protocol"], "waiting")
        self.assertEqual(states["hopper/drop/seed_0/evaluate-protocol"], "done")
        self.assertIn("report", self.calls())

        status, _, errors = self.sweep("--slurm")
        self.assertIn("2 runs submitted, 0 are still in the queue, 4 are done or skipped", errors)
        self.wait_until_empty()
        self.assert_each_thing_was_done_once()
        self.assertIn("0 runs submitted, 0 are still in the queue, 6 are done", self.sweep("--slurm")[2])
        self.assertEqual(self.queue(), [])

    def trains(self, pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            return False
        return len(command) > 1 and command[1].endswith("drop_train") and str(self.tree) in os.readlink(f"/proc/{pid}/cwd")

    def test_a_task_saves_when_its_time_is_over_and_when_it_is_cancelled(self):
        self.file.write_text(SWEEP.replace("train.steps: 2", "train.steps: 20"))
        self.assertEqual(self.sweep("--tiny", "--slurm", PACE="0.2")[0], 0)
        run = self.tree / "runs" / "small-tiny" / "maze" / "drop" / "seed_3"
        steps = []
        for signals in (["--batch", "--signal=USR1"], []):
            self.wait_for(lambda: f"train maze/drop/seed_3 {steps[-1] if steps else 0}" in self.calls(), "training")
            task, = (line.split("|")[1] for line in self.queue() if "train" in line)
            self.slurm("scancel", *signals, task)
            self.wait_for(lambda: sum(call.startswith("saved") for call in self.calls()) > len(steps), "saved training")
            steps.append(json.loads((run / "status.json").read_text())["step"])
        # the first time it went back into the queue, the second time all that depends on it was cancelled, too
        self.wait_until_empty()
        self.assertFalse((run / "eval").exists())
        self.assertIn("1 runs submitted", self.sweep("--tiny", "--slurm")[2])
        self.wait_until_empty()
        self.assertEqual(json.loads((run / "status.json").read_text()), {"state": "finished", "step": 20})
        self.assertTrue((run / "eval" / "protocol.json").exists())
        self.assertEqual([call.split()[-1] for call in self.calls() if call.startswith("train")], ["0", *map(str, steps)])


@unittest.skipUnless((BUILD / "bin" / "drop_train").exists(), "there are no programs in DROP_BUILD_DIR or build/release")
class RealTest(unittest.TestCase):
    def test_shipped_sweeps_ask_for_what_the_program_knows(self):
        files = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
        self.assertTrue(files)
        for file in files:
            sweep = read_sweep(file, program_dir=BUILD / "bin")
            seen = set()
            for job in sweep.jobs:
                dataset, variant = job.run.split("/")[:2] if job.kind == "train" else (None, None)
                if {dataset, variant} <= seen | {None}:
                    continue  # each data set and each variant once
                seen |= {dataset, variant}
                with self.subTest(file.name, run=job.run):
                    done = subprocess.run([*job.command, "--dry-run"], capture_output=True, text=True, check=False, cwd=ROOT)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_real_programs_run_a_small_sweep(self):
        with tempfile.TemporaryDirectory(prefix="drop sweep ") as name:
            folder = Path(name)
            config = folder / "small.yaml"
            config.write_text(textwrap.dedent('''
                task: maze2d-umaze
                decomposition: {num_subtasks: 3, trajectories_per_subtask: 2}
                model: {hidden_width: 16}
                train: {batch_size: 16, target_rate: 0.5, discount: 0.8, log_every: 10}
                checkpoint: {every: 10}
                search: {ascent_steps: 2}
                eval: {every: 0}
                '''))
            file = folder / "real.yaml"
            file.write_text(textwrap.dedent(f'''
                name: real
                set: {{train.steps: 40}}
                generate:
                  - {{out: "{folder}/maze2d-umaze.hdf5", task: maze2d-umaze, transitions: 2000}}
                datasets:
                  - {{name: maze2d-umaze, config: "{config}", set: {{dataset: "{folder}/maze2d-umaze.hdf5"}}}}
                  - {{name: given, config: "{config}", set: {{dataset: "{ROOT}/tests/fixtures/maze2d-umaze-sparse-v1.hdf5"}}}}
                variants:
                  - {{name: drop}}
                  - {{name: drop-naive, set: {{train.conservative: off}}, datasets: [given]}}
                seeds: [0]
                evaluations:
                  - {{name: protocol, rules: [best, grad-ada], episodes: 2, last: 2}}
                '''))
            command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), str(file), "--out", str(folder / "out"),
                       "--program-dir", str(BUILD / "bin")]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("7 jobs: 7 done", done.stdout)
            for run in ("maze2d-umaze/drop", "given/drop", "given/drop-naive"):
                result = json.loads((folder / "out" / run / "seed_0" / "eval" / "protocol.json").read_text())
                self.assertEqual([(entry["step"], entry["rule"]) for entry in result["results"]],
                                 [(30, "best"), (30, "grad-ada"), (40, "best"), (40, "grad-ada")])
            again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertNotIn("running", again.stderr)
            # what the programs themselves wrote is compared with what they are asked for
            asked = file.read_text()
            evaluation = folder / "out" / "given/drop/seed_0/eval/protocol.json"
            for old, new, words in (("train.steps: 40", "train.steps: 40, search.ascent_steps: 3",
                                     "search.ascent_steps: this run was made with 2, now 3 is asked for"),
                                    ("train.conservative: off", "train.conservative: off, physics: modern",
                                     "physics: this run was made with d4rl, now modern is asked for")):
                made = evaluation.read_bytes()
                file.write_text(asked.replace(old, new))
                refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
                self.assertEqual(refused.returncode, 1, refused.stderr)
                self.assertIn(words, refused.stdout)
                self.assertEqual(evaluation.read_bytes(), made)
            file.write_text(asked)
            again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            self.assertEqual(again.returncode, 0, again.stdout + again.stderr)
            self.assertNotIn("running", again.stderr)


if __name__ == "__main__":
    unittest.main()
