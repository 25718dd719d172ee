#!/usr/bin/env python3
"""Injects faults into the programs and counts what survives; scripts/torture.sh is the front and explains the options.

Each fault is a row of a table, each try one program that meets it. A try survives when every file on disk is whole,
old or new, and when going on ends exactly as an undisturbed run does. torture_bench.py has the checks.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import h5py

from torture_bench import (FOLDER_PREFIX, ROOT, TASK, Bench, Lost, Process, Unreached, check_folder, content_hashes,
                           files_of, metric_rows, outcome_of, require, require_done, require_old_or_new,
                           require_refusal, require_same, run, without_volatile)

WRITE_POINTS = ("open", "half-written", "before-sync", "before-rename", "after-rename")
APPEND_POINTS = ("before-append", "half-appended")
KILLED = -signal.SIGKILL
INTERRUPTED = 130
BEGIN, END = "<!-- torture: begin -->", "<!-- torture: end -->"
DOCUMENT = ROOT / "docs" / "reliability.md"
PARTS = ("writes", "space", "others", "signals", "sweeps", "corruption", "fuzzing", "soak")
GRACE_S = 20  # between SIGTERM and SIGKILL, as a cluster's
MEBIBYTE = 1 << 20


class TortureError(Exception):
    """Wrong usage, or nothing to run: one line for the user (exit status 2)."""


def say(message):
    print(f"torture.sh: {message}", file=sys.stderr, flush=True)


# ---- the table ----

class Row:
    """One fault: how it is injected, how often, and how often nothing was lost."""

    def __init__(self, fault, how):
        self.fault, self.how, self.tries, self.survived, self.skipped, self.problems = fault, how, 0, 0, "", []
        self.lock = threading.Lock()

    def trial(self, label, attempt):
        """Runs one try; false when the program ended before its fault."""
        try:
            attempt()
        except Unreached:
            return False
        except Exception as problem:  # whatever it is, this try has not survived
            if Process.stopped:  # by the user
                return False
            expected = isinstance(problem, (Lost, OSError))
            what = str(problem) if expected else traceback.format_exc().strip().replace("\n", " | ")
            self.count(1, 0, f"{label}: {what}")
            return True
        self.count(1, 1)
        return True

    def count(self, tries, survived, problem=""):
        with self.lock:
            self.tries += tries
            self.survived += survived
            if problem:
                self.problems.append(problem)
                say(f"LOST: {self.fault}: {problem}")

    def cells(self):
        if self.skipped:
            return [self.fault, self.how, "-", "-", f"not run: {self.skipped}"]
        lost = self.tries - self.survived
        return [self.fault, self.how, str(self.tries), str(self.survived),
                "nothing" if lost == 0 else f"**{lost}**: {self.problems[0][:200]}"]


def table_of(rows):
    lines = ["| fault | how it is injected | tries | survived | lost |", "|---|---|--:|--:|---|"]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row.cells()) + " |")
    return "\n".join(lines)


def machine_line(short, minutes):
    def of(command):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    commit = of(["git", "rev-parse", "--short", "HEAD"]) or "unknown"
    if of(["git", "status", "--porcelain", "--untracked-files=no"]):
        commit += " with changes"
    return (f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit}, {model.group(1) if model else 'unknown CPU'}, "
            f"{len(os.sched_getaffinity(0))} cores, {'short' if short else 'long'} form, {minutes:.0f} minutes.")


def parts_of_document(path):
    """What stands before and behind the table, markers included."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise TortureError(f"{path}: cannot be read ({problem}); give a text file with the markers of "
                           "docs/reliability.md") from problem
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise TortureError(f"{path}: found no pair of lines '{BEGIN}' and '{END}'; the table goes between them")
    return text[:text.index(BEGIN) + len(BEGIN)], text[text.index(END):]


def write_document(path, text):
    """Puts the text between the two markers; the file is replaced in one step."""
    before, behind = parts_of_document(path)
    new = f"{before}\n{text}\n{behind}"
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    temporary.write_text(new, encoding="utf-8")
    os.replace(temporary, path)


# ---- what is killed at its write points ----

class Work:
    """A program whose writes fail: what it needs, its call, the call that goes on, and what must come out.

    typical: the number of the write that the short form tries.
    """

    def __init__(self, bench, name, first, again=None, start=None, points=WRITE_POINTS, typical=1):
        self.bench, self.name, self.points, self.typical = bench, name, points, typical
        self.first, self.again, self.start = first, again or first, start or (lambda folder: None)
        self.expected = None
        self.lock = threading.Lock()

    def outcome(self, folder):
        return outcome_of(folder)

    def undisturbed(self):
        with self.lock:
            if self.expected is None:
                with self.bench.scratch(f"{self.name} undisturbed") as folder:
                    self.start(folder)
                    require_done(run(self.first(folder)))
                    self.expected = self.outcome(folder)
            return self.expected

    def attempt(self, fault, status):
        expected = self.undisturbed()
        with self.bench.scratch(f"{self.name} {fault.replace(':', ' ')}") as folder:
            self.start(folder)
            ended = run(self.first(folder), {"DROP_FAULT": fault})
            if ended.status == 0:  # past the last write, or a fault that was swallowed
                check_folder(folder)
                require_same(self.outcome(folder), expected)
                raise Unreached
            if status == KILLED:
                require(ended.status == KILLED, f"exit {ended.status}, expected SIGKILL: {ended.err.strip()}")
            else:
                require_refusal(ended, status)
            check_folder(folder)
            require_old_or_new(outcome_of(folder), expected)
            require_done(run(self.again(folder)))
            check_folder(folder)
            require_same(self.outcome(folder), expected)


class ResultWork(Work):
    """Of which only results count: nobody removes the temporary file of a killed process."""

    def outcome(self, folder):
        return {name: content for name, content in outcome_of(folder).items()
                if "cache/" not in name and ".tmp." not in name}


def works_of(bench):
    """{what is said of it: Work}"""
    def copy_of_run(folder):
        shutil.copytree(bench.short_run, folder / "run")

    def finetune(*more):
        return lambda folder: bench.program("drop_finetune", "--run", folder / "run", "--episodes", 2, "--threads", 1,
                                            "--network-threads", 1, "--quiet", *more)

    def coms(*more):
        return lambda folder: bench.program("drop_coms", "--config", bench.short_config, "--out", folder / "run",
                                            "--quiet", *more)

    def generate(*more):
        return lambda folder: bench.program("drop_data", "generate", "--task", TASK, "--steps", 500, "--out",
                                            folder / "made.hdf5", "--quiet", *more)

    def evaluate(folder):
        return bench.program("drop_eval", "--checkpoint", bench.short_run, "--rule", "best,best-ada", "--last", 2,
                             "--episodes", 2, "--threads", 1, "--network-threads", 1, "--quiet",
                             "--cache", folder / "cache", "--json", folder / "scores.json")

    def trace(folder):
        return bench.program("drop_eval", "--checkpoint", bench.newest_checkpoint(), "--rule", "best-ada", "--episodes", 1,
                             "--threads", 1, "--network-threads", 1, "--quiet", "--trace", folder / "trace.hdf5")

    def infer(folder):
        return bench.program("drop_infer", "--checkpoint", bench.newest_checkpoint(), "--states", bench.states,
                             "--out", folder / "answers.hdf5", "--quiet")

    def decompose(folder):
        return bench.program("drop_data", "decompose", bench.data, "--force", "--task", TASK, "--num-subtasks", 4,
                             "--trajectories-per-subtask", 3, "--out", folder / "decomposition.json", "--quiet")

    return {
        "drop_train": Work(bench, "train", lambda folder: bench.train_command(folder / "run"),
                           lambda folder: bench.train_command(folder / "run", "--resume"),
                           points=WRITE_POINTS + APPEND_POINTS),
        "drop_finetune --level checkpoint": Work(bench, "finetune", finetune("--level", "checkpoint"),
                                                 start=copy_of_run, typical=2),
        "drop_finetune --level embedding": Work(
            bench, "finetune the embedding", finetune("--level", "embedding", "--max-ascent-steps", 3, "--last", 2),
            start=copy_of_run, typical=2),
        "drop_finetune --level parametric": Work(
            bench, "train online", finetune("--level", "parametric", "--rule", "best", "--env-steps", 600, "--saves", 2),
            start=copy_of_run, typical=5),
        "drop_coms": Work(bench, "coms", coms(), coms("--resume"), points=WRITE_POINTS + APPEND_POINTS, typical=6),
        "drop_eval --cache": ResultWork(bench, "evaluate", evaluate, typical=2),
        "drop_eval --trace": ResultWork(bench, "trace", trace),
        "drop_infer": ResultWork(bench, "infer", infer),
        "drop_data generate": ResultWork(bench, "generate", generate(), generate("--force")),
        "drop_data decompose": ResultWork(bench, "decompose", decompose),
    }


CLOCK_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
/* the time of day is off by TORTURE_CLOCK seconds, forth and back at every second call */
static long shift(void) {
  static __thread long calls;
  const char* text = getenv("TORTURE_CLOCK");
  const long seconds = text ? atol(text) : 0;
  return ++calls % 2 ? seconds : -seconds;
}
int clock_gettime(clockid_t id, struct timespec* now) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const int result = real(id, now);
  if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
  return result;
}
int gettimeofday(struct timeval* now, void* zone) {
  struct timespec time;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &time) != 0) return -1;
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}
time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""

SWEEP = """
name: torture
set: {{train.steps: 2000, checkpoint.every: 500, eval.every: 0}}
generate:
  - {{out: {data}, task: {task}, transitions: 3000, seed: 0}}
datasets:
  - {{name: maze, config: {config}, set: {{dataset: {data}}}}}
variants:
  - {{name: drop}}
seeds: [0, 1]
evaluations:
  - {{name: protocol, rules: [best, best-ada], episodes: 2, last: 2}}
finetune:
  - {{level: checkpoint, rule: best, last: 2, episodes: 2}}
"""


class Torture:
    """All faults, as tasks for a pool of threads; each thread waits for one program at a time."""

    def __init__(self, bench, short, seed, jobs):
        self.bench, self.short, self.seed, self.jobs = bench, short, seed, jobs
        self.rows, self.tasks = [], []
        self.long_seconds = 1.0  # of the longer undisturbed run

    def row(self, fault, how):
        self.rows.append(Row(fault, how))
        return self.rows[-1]

    def submit(self, task, *arguments):
        self.tasks.append((task, arguments))

    def random(self, label):
        return random.Random(f"{self.seed} {label}")

    def run_tasks(self):
        # two at least: the soak watches one run while it disturbs another
        pool = ThreadPoolExecutor(max(2, self.jobs))
        futures = [pool.submit(self.guarded, task, arguments) for task, arguments in self.tasks]
        self.tasks = []
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            Process.kill_all()
            raise
        pool.shutdown()

    def guarded(self, task, arguments):
        """What goes wrong in a task itself must not take the table along."""
        try:
            task(*arguments)
        except Exception:  # whatever it is, this has not survived
            if not Process.stopped:
                self.row("a task of this script", "-").count(1, 0, traceback.format_exc().strip().replace("\n", " | "))

    # ---- writes ----

    def writes(self):
        """Every write point of every program; in the short form a few of drop_train, one or two of each other."""
        for number, (name, work) in enumerate(works_of(self.bench).items()):
            training = name == "drop_train"
            row = self.row(f"`kill -9` while `{name}` writes", "`DROP_FAULT=POINT:N`: "
                           + (f"{len(work.points)} points, every N" if not self.short else "some points, some N"))
            for i, point in enumerate(work.points):
                counts = range(1, 1 << 20)
                if self.short and training:
                    counts = range(1 + i, 1 << 20, 6)
                elif self.short:
                    counts = [work.typical] if i in (number % 5, (number + 3) % 5) else []
                self.submit(self.all_counts, row, work, point, "kill", KILLED, counts)
            if not training and (self.short or "parametric" not in name):
                continue
            for error in ("ENOSPC", "EIO"):
                row = self.row(f"writing fails while `{name}` writes", f"`DROP_FAULT=POINT:N:{error}`")
                for i, point in enumerate(work.points):
                    # a folder that cannot be synced is no error
                    if point != "after-rename" and not (self.short and (i + len(error)) % 2):
                        self.submit(self.all_counts, row, work, point, error, 1,
                                    [2 + 2 * i] if self.short else range(1, 1 << 20))

    @staticmethod
    def all_counts(row, work, point, what, status, counts):
        """Tries until the program ends before its fault, or nothing survives any more."""
        lost_in_a_row = 0
        for count in counts:
            fault = f"{point}:{count}:{what}"
            survived = row.survived
            if not row.trial(fault, lambda f=fault: work.attempt(f, status)):
                return
            lost_in_a_row = 0 if row.survived > survived else lost_in_a_row + 1
            if lost_in_a_row == 3:
                return

    # ---- space and permissions ----

    def space(self):
        """In a mount namespace of its own, so that no mount can outlive it; else what goes without."""
        limit = self.row("a file may not grow further", "`ulimit -f`, at several sizes")
        largest = max(path.stat().st_size for path in files_of(self.bench.short_run))
        if not shutil.which("prlimit"):
            limit.skipped = "there is no prlimit"
        for k in range(1, 1 if limit.skipped else 3 if self.short else 9):
            self.submit(limit.trial, f"size {k}", lambda k=k: self.file_limit(largest * k // 9))
        wrapper = next((words for words in (["unshare", "-m"], ["unshare", "-r", "-m"]) if self.can_mount(words)), None)
        if wrapper:
            self.submit(self.space_inside, wrapper, self.full_disk_row(), self.read_only_row("a read-only bind mount"))
            return
        self.full_disk_row().skipped = "mounting is not allowed here"
        row = self.read_only_row("`chmod`")
        if os.geteuid() == 0:
            row.skipped = "mounting is not allowed here, and permissions do not hold root back"
        else:
            self.submit(self.read_only, row, lambda folder: self.chmod(folder, 0o555), lambda folder: self.chmod(folder, 0o755))

    def full_disk_row(self):
        return self.row("a full disk", "a small tmpfs with a ballast file, at several sizes")

    def read_only_row(self, how):
        return self.row("a read-only folder", f"{how}, in the middle of a run and before one")

    def can_mount(self, wrapper):
        if not shutil.which("unshare"):
            return False
        with self.bench.scratch("mount") as folder:
            mounts = 'mount -t tmpfs torture "$0" && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'
            return run([*wrapper, "sh", "-c", mounts, folder]).status == 0

    @staticmethod
    def chmod(folder, mode):
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            path.chmod(mode)

    def file_limit(self, size):
        with self.bench.scratch("file limit") as folder:
            # below the size of the largest file
            require_refusal(self.bench.train(folder / "run", file_limit=size), 1, one_line=False)
            check_folder(folder / "run", self.bench.short_run)
            self.bench.resume(folder / "run")

    def space_inside(self, wrapper, *rows):
        """Calls this script inside of that namespace and takes its rows over."""
        command = [*wrapper, sys.executable, "-B", Path(__file__).resolve(), "--inside", self.bench.folder, "--bin",
                   self.bench.programs, "--seed", self.seed]
        ended = run(command + (["--short"] if self.short else []))
        try:
            found = json.loads(ended.out)
        except ValueError:
            found = [{"tries": 1, "survived": 0, "problems": [f"exit {ended.status}: {ended.err.strip()}"]}]
        for row, inside in zip(rows, found):
            row.count(inside["tries"], inside["survived"])
            for problem in inside["problems"]:
                row.count(0, 0, problem)

    def inside(self):
        """What space_inside calls; prints JSON."""
        self.bench.find()
        self.full_disk(self.full_disk_row())

        def mount(*arguments):
            require_done(run(["mount", *arguments]))
        self.read_only(self.read_only_row("a bind mount"),
                       lambda folder: (mount("--bind", folder, folder), mount("-o", "remount,bind,ro", folder)),
                       lambda folder: require_done(run(["umount", folder])))
        print(json.dumps([{"tries": row.tries, "survived": row.survived, "problems": row.problems} for row in self.rows]))

    def full_disk(self, row):
        need = sum(path.stat().st_size + 4096 for path in files_of(self.bench.short_run))
        disk = self.bench.folder / "a small disk"
        disk.mkdir()
        require_done(run(["mount", "-t", "tmpfs", "-o", f"size={4 * need}", "torture", disk]))
        many = 3 if self.short else 16

        def attempt(free):
            space = os.statvfs(disk)
            ballast = disk / "ballast"
            with open(ballast, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - free))
            try:
                ended = self.bench.train(disk / "run")
                if ended.status == 0:  # there was room enough
                    require_same(outcome_of(disk / "run"), self.bench.short_outcome)
                    raise Unreached
                require_refusal(ended, 1, one_line=False)
                if (disk / "run").exists():
                    check_folder(disk / "run", self.bench.short_run)
                ballast.unlink()
                self.bench.resume(disk / "run")
            finally:
                ballast.unlink(missing_ok=True)
                shutil.rmtree(disk / "run", ignore_errors=True)
        for k in range(many):
            row.trial(f"{k} of {many} free", lambda k=k: attempt(need * k // many))

    def read_only(self, row, freeze, thaw):
        bench = self.bench

        def frozen(folder, attempt):
            freeze(folder)
            try:
                attempt()
            finally:
                thaw(folder)

        def interrupted():
            with bench.scratch("read only") as folder:
                path = folder / "run"
                require_done(bench.train(path, "--set", "train.steps=30"))
                before = content_hashes(path)
                frozen(path, lambda: require_refusal(bench.train(path, "--resume"), 1, str(path)))
                require(content_hashes(path) == before, f"{path}: has changed")
                bench.resume(path)

        def fresh():
            with bench.scratch("read only") as folder:
                frozen(folder, lambda: require_refusal(bench.train(folder / "run"), 1, str(folder)))
                require(not files_of(folder), f"{folder}: has files")
                require_done(bench.train(folder / "run"))
                bench.resume(folder / "run")

        def results():
            with bench.scratch("read only") as folder:
                path = folder / "run"
                shutil.copytree(bench.short_run, path)
                evaluate = bench.program("drop_eval", "--checkpoint", path, "--rule", "best", "--episodes", 1, "--quiet")

                def attempt():
                    require_done(run(evaluate))  # reading is enough for it
                    require_refusal(run([*evaluate, "--json", path / "scores.json"]), 1, "scores.json")
                    require_refusal(run(bench.program("drop_finetune", "--run", path, "--level", "checkpoint", "--quiet")), 1)
                frozen(path, attempt)
                require_same(outcome_of(path), bench.short_outcome)
        for attempt in (interrupted, fresh, results):
            row.trial(attempt.__name__, attempt)

    # ---- one folder, clocks, numbers ----

    def others(self):
        row = self.row("two trainers on one run folder", "a second `drop_train`, with and without `--resume`")
        self.submit(row.trial, "lock", self.two_trainers)
        row = self.row("the clock jumps", "`LD_PRELOAD`: ten years forth and back, at every second look; between sessions")
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler:
            self.submit(row.trial, "clock", lambda: self.clock(compiler))
        else:
            row.skipped = "no C compiler"
        row = self.row("NaN in the data", "one value in each array of a copy, by h5py")
        for array in ("observations", "actions", "rewards"):
            self.submit(row.trial, array, lambda array=array: self.not_finite(array))
        row = self.row("numbers that overflow", "rewards of 1e30 in a few rows and in all, learning rate 1")
        for label, rewards, more in (("few", "few", ["train.reward_scale=1"]), ("all", "all", ["train.reward_scale=1"]),
                                     ("scaled", "all", ["train.reward_scale=auto"]),
                                     ("rate", "none", ["train.learning_rate=1"])):
            self.submit(row.trial, label, lambda rewards=rewards, more=more: self.overflow(rewards, more))

    def two_trainers(self):
        bench = self.bench
        with bench.scratch("two trainers") as folder:
            path = folder / "run"
            with Process(bench.train_command(path, "--set", "train.steps=100000000", "--set", "eval.every=0")) as first:
                self.wait_for(lambda: list(path.glob("checkpoints/step_*.safetensors")), first)
                require_refusal(bench.train(path), 2, str(path))
                require_refusal(bench.train(path, "--resume"), 2, "another process")
                first.require_running()
                first.send(signal.SIGTERM)
                require(first.wait().status == INTERRUPTED, "the first trainer did not save")
            check_folder(path)

    @staticmethod
    def wait_for(condition, process, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            process.require_running()
            require(time.monotonic() < end, "nothing happened")
            time.sleep(0.005)

    def clock(self, compiler):
        bench = self.bench
        with bench.scratch("clock") as folder:
            source, library, path = folder / "clock.c", folder / "clock.so", folder / "run"
            source.write_text(CLOCK_SHIM, encoding="utf-8")
            require_done(run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]))
            # LD_PRELOAD takes neither blanks nor colons
            with tempfile.TemporaryDirectory(prefix="drop_torture_") as plain:
                shutil.copy(library, plain)

                def at(seconds):
                    return {"LD_PRELOAD": f"{plain}/clock.so", "TORTURE_CLOCK": str(seconds)}
                # where an evaluation is due anyway
                for quarters, seconds in ((2, 315360000), (3, -315360000)):
                    require_done(bench.train(path, "--resume", "--set", f"train.steps={bench.long_steps * quarters // 4}",
                                             config=bench.long_config, more_environment=at(seconds)))
            # the shim did what it should: the log is of years to come and of years gone by
            now = time.gmtime().tm_year
            years = [int(year) for year in re.findall(r"\b(\d{4})-\d\d-\d\d", (path / "train.log").read_text(encoding="utf-8"))]
            require(max(years) >= now + 9 and min(years) <= now - 9, f"the clock stood still: years {sorted(set(years))}")
            bench.resume(path, bench.long_config)
            events = sorted(path.glob("events.out.tfevents.*"), key=lambda file: file.name)
            require(len(events) == 3, f"{len(events)} event files of three sessions")
            # TensorBoard reads them by name: they must stand in the order of the sessions
            times = [file.stat().st_mtime_ns for file in events]
            require(times == sorted(times), "the event files' names are out of order")

    def changed_data(self, folder, change):
        path = folder / "changed.hdf5"
        shutil.copy(self.bench.data, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def not_finite(self, array):
        with self.bench.scratch("not finite") as folder:
            def change(file):
                values = file[array][:]
                values[17] = float("nan")
                file[array][...] = values
            path = self.changed_data(folder, change)
            require_refusal(self.bench.train(folder / "run", "--set", f"dataset={path}"), 3, path.name)
            require(not (folder / "run").exists(), "something was written")

    def overflow(self, rewards, more):
        with self.bench.scratch("overflow") as folder:
            def change(file):
                values = file["rewards"][:]
                if rewards == "few":
                    values[::500] = 1e30
                elif rewards == "all":
                    values[:] = 1e30
                file["rewards"][...] = values
            path = self.changed_data(folder, change)
            settings = [f"dataset={path}", "train.steps=1000", "checkpoint.every=5", "eval.every=0", *more]
            ended = self.bench.train(folder / "run", *(word for text in settings for word in ("--set", text)))
            # it may end well, be refused or stop at a loss that is not finite; what stands on disk is good
            if ended.status != 0:
                require_refusal(ended, ended.status if ended.status in (1, 2, 3) else 1)
            if rewards == "few":
                require(ended.status == 1 and list((folder / "run").glob("failure_step_*.json")), "no loss overflowed")
            if not (folder / "run").exists():
                return
            check_folder(folder / "run")
            require_done(run(self.bench.program("drop_eval", "--checkpoint", folder / "run", "--rule", "best", "--episodes", 1,
                                                "--quiet")))

    # ---- signals ----

    def signals(self):
        tries = 2 if self.short else 20
        moments = "at random moments of a run"
        kinds = {
            "`kill -9`": ("SIGKILL", [(signal.SIGKILL, 0.0)]),
            "Ctrl-C": ("SIGINT", [(signal.SIGINT, 0.0)]),
            "pre-emption on a cluster": (f"SIGTERM, SIGKILL after {GRACE_S} s", [(signal.SIGTERM, 0.0)]),
            "an impatient stop": ("SIGTERM twice within 50 ms", [(signal.SIGTERM, 0.0), (signal.SIGTERM, 0.05)]),
        }
        for fault, (how, signals) in kinds.items():
            row = self.row(fault, f"{how}, {moments}")
            for number in range(tries):
                self.submit(row.trial, f"{how} {number}", lambda s=signals, label=f"{fault} {number}": self.signalled(s, label))
        row = self.row("Ctrl-C during an evaluation", "SIGINT while `drop_train` evaluates")
        for number in range(1 if self.short else 5):
            self.submit(row.trial, str(number), lambda delay=0.05 * number: self.during_evaluation(delay))

    def signalled(self, signals, label):
        """Sends them at a random moment; then the run goes on to its end."""
        random_numbers = self.random(label)
        share = random_numbers.uniform(0.02, 0.8)
        for _ in range(4):  # the run that was timed may have been slowed down by other programs
            try:
                self.signalled_at(share * self.long_seconds, signals, random_numbers)
                return
            except Unreached:
                share /= 2
        raise Unreached

    def signalled_at(self, moment, signals, random_numbers):
        with self.bench.scratch("signal") as folder:
            path = folder / "run"
            with Process(self.bench.train_command(path, config=self.bench.long_config)) as process:
                time.sleep(moment)
                for number, delay in signals:
                    time.sleep(random_numbers.uniform(0, delay))
                    process.send(number)
                last = signals[-1][0]
                ended = process.wait(GRACE_S)
            if ended.status == 0:
                raise Unreached
            # before it has set its handlers up a signal simply ends it
            require(ended.status in ((KILLED,) if last == signal.SIGKILL else (INTERRUPTED, -last)),
                    f"exit {ended.status}: {ended.err.strip()}")
            if path.exists():
                check_folder(path, self.bench.long_run)
            self.bench.resume(path, self.bench.long_config)

    def during_evaluation(self, delay):
        with self.bench.scratch("evaluation") as folder:
            path = folder / "run"
            with Process(self.bench.train_command(path, "--set", "eval.episodes=1000")) as process:
                self.wait_for((path / "checkpoints" / "step_000000030.safetensors").exists, process)
                time.sleep(delay)
                process.send(signal.SIGINT)
                ended = process.wait(GRACE_S)
            if ended.status == 0 or list(path.glob("eval/*.json")):
                raise Unreached  # the evaluation was faster
            require(ended.status == INTERRUPTED, f"exit {ended.status}: {ended.err.strip()}")
            check_folder(path, self.bench.short_run)
            self.bench.resume(path)

    # ---- sweeps ----

    def sweeps(self):
        row = self.row("`kill -9` of `scripts/sweep.sh`", "SIGKILL at random moments, called again until it is done")
        self.submit(self.sweep, row)

    def sweep_command(self, folder):
        def quoted(path):
            return json.dumps(str(path))
        file = folder / "sweep.yaml"
        file.write_text(SWEEP.format(data=quoted(folder / "maze.hdf5"), task=TASK, config=quoted(self.bench.short_config)),
                        encoding="utf-8")
        return [ROOT / "scripts" / "sweep.sh", file, "--out", folder / "root", "--jobs", 2, "--program-dir",
                self.bench.programs]

    @staticmethod
    def sweep_outcome(folder):
        found = {}
        for path in (folder / "root").glob("*/*/seed_*"):
            found.update({f"{path.relative_to(folder)}/{name}": without_volatile(content, folder)
                          for name, content in outcome_of(path).items() if "cache/" not in name})
        return found

    def sweep(self, row):
        with self.bench.scratch("sweep") as home:
            folder = home / "try"  # always the same one: checkpoints, and so their hashes, hold the data's path
            expected, seconds = {}, 0.0

            def undisturbed():
                nonlocal expected, seconds
                start = time.monotonic()
                require_done(run(self.sweep_command(folder)))
                expected, seconds = self.sweep_outcome(folder), time.monotonic() - start
                require(expected, "the sweep left no run")
                raise Unreached

            def killed(number):
                random_numbers = self.random(f"sweep {number}")
                kills = 0
                for _ in range(1 if self.short else 3):
                    with Process(self.sweep_command(folder)) as process:
                        time.sleep(random_numbers.uniform(0.1, 0.6) * seconds)
                        process.send(signal.SIGKILL)
                        kills += process.wait().status == KILLED
                if kills == 0:
                    raise Unreached
                require_done(run(self.sweep_command(folder)))
                require_same(self.sweep_outcome(folder), expected)

            for number in range(-1, 1 if self.short else 5):
                folder.mkdir()
                if number < 0 and row.trial("undisturbed", undisturbed):
                    return
                if number >= 0:
                    row.trial(str(number), lambda number=number: killed(number))
                shutil.rmtree(folder)

    # ---- soak ----

    def soak(self, minutes):
        form = f"{minutes:g} minutes"
        faults = self.row("soak: one fault after the other", f"{form} of resumed sessions, each with a random fault")
        rounds = self.row("soak: the run at the end", "final weights, metrics and evaluations against an undisturbed run's")
        memory = self.row("soak: memory, handles and threads", f"/proc, {form} of training, evaluation and checkpoints")
        end = time.monotonic() + 60 * minutes
        self.submit(memory.trial, "flat", lambda: self.flat(end))
        self.submit(self.soak_rounds, faults, rounds, end)

    def soak_rounds(self, faults, rounds, end):
        random_numbers = self.random("soak")
        number = lost_in_a_row = 0  # nothing survives any more: no use to go on
        while (number == 0 or time.monotonic() < end) and lost_in_a_row < 3:
            number += 1
            survived = rounds.survived
            rounds.trial(f"round {number}", lambda: self.soak_round(faults, random_numbers, end))
            lost_in_a_row = 0 if rounds.survived > survived else lost_in_a_row + 1

    def soak_round(self, faults, random_numbers, end):
        bench = self.bench
        with bench.scratch("soak") as folder:
            path = folder / "run"
            for session in range(15):
                if session > 2 and time.monotonic() > end:
                    break
                kind = random_numbers.choice(list(self.DISTURBANCES))
                label = f"seed {self.seed}, session {session}: {kind}"
                faults.trial(label, lambda kind=kind: self.DISTURBANCES[kind](self, path, random_numbers))
            bench.resume(path, bench.long_config)

    def session(self, path, **process):
        return run(self.bench.train_command(path, "--resume", config=self.bench.long_config), **process)

    def judge(self, path, ended, *allowed):
        if ended.status == 0:  # the run ended before the fault
            require_same(outcome_of(path), self.bench.long_outcome)
            raise Unreached
        require(ended.status in allowed, f"exit {ended.status}: {ended.err.strip()}")
        if path.exists():
            check_folder(path, self.bench.long_run)

    def killed_at_a_write(self, path, random_numbers):
        self.judge(path, self.session(path, more_environment={"DROP_FAULT": f"any:{random_numbers.randint(1, 120)}"}), KILLED)

    def failing_write(self, path, random_numbers):
        fault = f"any:{random_numbers.randint(1, 120)}:{random_numbers.choice(['ENOSPC', 'EIO'])}"
        self.judge(path, self.session(path, more_environment={"DROP_FAULT": fault}), 1)

    def small_limit(self, path, random_numbers):
        largest = max(file.stat().st_size for file in files_of(self.bench.long_run))
        self.judge(path, self.session(path, file_limit=random_numbers.randint(1, largest)), 1)

    def signal_in_a_session(self, path, random_numbers):
        number = random_numbers.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        with Process(self.bench.train_command(path, "--resume", config=self.bench.long_config)) as process:
            time.sleep(random_numbers.uniform(0, 1) * self.long_seconds)
            process.send(number)
            if random_numbers.random() < 0.3:  # the grace was too short
                time.sleep(random_numbers.uniform(0, 0.1))
                process.send(signal.SIGKILL)
            ended = process.wait(GRACE_S)
        self.judge(path, ended, INTERRUPTED, KILLED, -number)

    @staticmethod
    def pairs(path):
        """Complete pairs, newest first, when there is another one to fall back to."""
        found = [(half.with_name(half.name.replace(".training", "")), half)
                 for half in sorted(path.glob("checkpoints/step_*.training.safetensors"), reverse=True)]
        found = [(checkpoint, half) for checkpoint, half in found if checkpoint.exists()]
        if len(found) < 2:
            raise Unreached
        return found

    def damaged_checkpoint(self, path, random_numbers):
        file = random_numbers.choice(self.pairs(path)[0])
        content = bytearray(file.read_bytes())
        if random_numbers.random() < 0.3:
            del content[random_numbers.randrange(len(content)):]
        else:
            bit = random_numbers.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        self.one_step_back(path)

    def removed_half(self, path, _):
        self.pairs(path)[0][1].unlink()
        self.one_step_back(path)

    def one_step_back(self, path):
        """A session that starts from the pair before, and is killed soon."""
        ended = self.session(path, more_environment={"DROP_FAULT": "before-rename:1"})
        require(ended.status == KILLED, f"exit {ended.status}: {ended.err.strip()}")
        require("is set aside as *.bad" in ended.err, f"nothing was said of it: {ended.err.strip()}")
        check_folder(path, self.bench.long_run)

    DISTURBANCES = {
        "kill -9 at a random write": killed_at_a_write, "a write that fails": failing_write,
        "a small file limit": small_limit, "a signal": signal_in_a_session,
        "a damaged newest checkpoint": damaged_checkpoint, "a removed training half": removed_half,
    }

    def flat(self, end):
        """One long run: its memory, file handles and threads in the last third are those of the first."""
        samples = []
        with self.bench.scratch("flat") as folder:
            path = folder / "run"
            every = ["train.steps=1000000000", "checkpoint.every=500", "eval.every=2500", "train.log_every=100"]
            with Process(self.bench.train_command(path, *(word for text in every for word in ("--set", text)))) as process:
                proc = Path("/proc") / str(process.child.pid)
                self.wait_for((path / "checkpoints" / "step_000002500.safetensors").exists, process)
                while time.monotonic() < end or len(samples) < 30:
                    process.require_running()
                    status = (proc / "status").read_text(encoding="utf-8")
                    resident = 1024 * int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE).group(1))
                    threads = int(re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE).group(1))
                    samples.append((resident, len(os.listdir(proc / "fd")), threads))
                    time.sleep(min(1.0, max(0.05, (end - time.monotonic()) / 100)))
                process.send(signal.SIGTERM)
                require(process.wait(GRACE_S).status == INTERRUPTED, "it did not save")
            check_folder(path)
            require(metric_rows(path / "metrics.csv"), "no metrics")
        third = len(samples) // 3
        first, last = samples[:third], samples[-third:]
        growth = median([sample[0] for sample in last]) - median([sample[0] for sample in first])
        allowed = max(8 * MEBIBYTE, 0.05 * median([sample[0] for sample in first]))
        say(f"soak: {len(samples)} samples, memory {median([s[0] for s in first]) / MEBIBYTE:.1f} MiB, "
            f"growth {growth / MEBIBYTE:+.2f} MiB, handles {max(s[1] for s in last)}, threads {max(s[2] for s in last)}")
        require(growth <= allowed, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
        # a file that is being written is one handle more for a moment
        for index, what in ((1, "file handles"), (2, "threads")):
            require(median([s[index] for s in last]) <= median([s[index] for s in first]), f"more {what} than at first")

    # ---- what other tools count ----

    def corruption(self):
        """The C++ tests named Corruption count their cases as properties NAME_cases."""
        for fault, how, floors in (
                ("damaged checkpoints and training halves", "bits, cuts, swaps (`Corruption` tests)", ("train",)),
                ("damaged data files", "bits, cuts, other files (`Corruption` tests)", ("data",))):
            row = self.row(fault, how)
            tests = [self.bench.programs.parent / "tests" / f"{floor}_test" for floor in floors]
            tests = [test for test in tests if test.exists()]
            if not tests:
                row.skipped = "the tests are not built"
            for test in tests:
                self.submit(self.corruption_of, row, test)

    def corruption_of(self, row, test):
        with self.bench.scratch("corruption") as folder:
            report = folder / "report.xml"
            long_tests = {} if self.short else {"DROP_LONG_TESTS": "1"}
            with Process([test, "--gtest_filter=*Corruption*", f"--gtest_output=xml:{report}"], long_tests) as process:
                ended = process.wait(3600)
            tests = list(xml.etree.ElementTree.parse(report).iter("testcase")) if report.exists() else []
            failed = 0
            unseen = 0  # HDF5 has no hash: a value that a flipped bit changed is told by the file's SHA-256 alone
            for case in tests:
                if case.find("skipped") is not None:
                    continue
                counts = {element.get("name"): int(element.get("value")) for element in case.iter("property")}
                cases = sum(count for name, count in counts.items() if name.endswith("_cases")) or 1
                unseen += sum(count for name, count in counts.items() if name.endswith(("_one_value", "_by_sha256_only")))
                bad = case.find("failure") is not None
                failed += bad
                row.count(cases, 0 if bad else cases, f"{test.name}: {case.get('name')} fails" if bad else "")
            if ended.status != 0 and not failed:
                row.count(1, 0, f"{test.name}: exit {ended.status}: {ended.err.strip()[-200:]}")
            if unseen:
                row.how += f"; {unseen} changed values that only the file's SHA-256 tells"

    def fuzzing(self):
        script = ROOT / "scripts" / "fuzz.sh"
        if self.short or not script.exists():
            return
        self.submit(self.fuzz, self.row("made-up input files", "libFuzzer (`scripts/fuzz.sh`)"), script)

    @staticmethod
    def fuzz(row, script):
        with Process([script]) as process:
            ended = process.wait(7200)
        inputs = sum(int(count) for count in re.findall(r"\bDone (\d+) runs", ended.out))
        last = (ended.err.strip().splitlines() or [""])[-1]
        if "skipped:" in last:
            row.skipped = last.split("skipped:")[1].strip()
        elif ended.status == 0:
            row.count(inputs, inputs)
        else:
            findings = max(1, sum(int(count) for count in re.findall(r"(\d+) findings", ended.out)))
            row.count(max(inputs, findings), max(inputs, findings) - findings, f"exit {ended.status}: {last}")


# ---- the command ----

class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise TortureError(f"{message} (see torture.sh --help)")


def parse(arguments):
    parser = Parser(prog="torture.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "release" / "bin")
    parser.add_argument("--only", default="")
    parser.add_argument("--document", type=Path)
    parser.add_argument("--no-document", action="store_true")
    parser.add_argument("--inside", type=Path)  # the call of space_inside
    options = parser.parse_args(arguments)
    if options.minutes is None:
        options.minutes = 0.25 if options.short else 45.0
    if not 0 <= options.minutes < 1e5:
        raise TortureError(f"--minutes {options.minutes:g}: allowed: minutes from 0 on")
    if options.jobs is not None and options.jobs < 1:
        raise TortureError(f"--jobs {options.jobs}: allowed: an integer from 1 on")
    for name in filter(None, options.only.split(",")):
        if name not in PARTS:
            raise TortureError(f"--only {name}: allowed: {', '.join(PARTS)}")
    # a table of everything, made at length, is worth keeping
    if options.document is None and not (options.short or options.only or options.no_document):
        options.document = DOCUMENT
    if options.document:
        parts_of_document(options.document)  # before hours of work
    options.bin = options.bin.resolve()
    for program in ("drop_train", "drop_eval", "drop_infer", "drop_finetune", "drop_coms", "drop_data"):
        if not os.access(options.bin / program, os.X_OK):
            raise TortureError(f"{options.bin / program}: there is no such program; build it with cmake --preset release && "
                               "cmake --build --preset release, or give --bin")
    return options


def torture(options, folder):
    """Everything; returns whether nothing was lost."""
    start = time.monotonic()
    bench = Bench(folder, options.bin)
    bench.make(2000 if options.short else 20000)
    everything = Torture(bench, options.short, options.seed, options.jobs or len(os.sched_getaffinity(0)))
    with bench.scratch("speed") as scratch:
        began = time.monotonic()
        require_done(bench.train(scratch / "run", config=bench.long_config))
        everything.long_seconds = time.monotonic() - began

    for part in PARTS:
        if options.only and part not in options.only.split(","):
            continue
        if part != "soak":
            getattr(everything, part)()
        elif options.minutes > 0:
            everything.run_tasks()  # what measures memory has the machine to itself
            everything.soak(options.minutes)
    everything.run_tasks()

    rows = [row for row in everything.rows if row.tries or row.skipped]
    if not rows:
        raise TortureError("nothing of what was asked for is in this form; see torture.sh --help")
    text = table_of(rows) + "\n\n" + machine_line(options.short, (time.monotonic() - start) / 60)
    print(text)
    if options.document:
        write_document(options.document, text)
    tries, lost = sum(row.tries for row in rows), sum(row.tries - row.survived for row in rows)
    unmet = [row.fault for row in everything.rows if not row.tries and not row.skipped]
    for fault in unmet:
        say(f"no try of: {fault}")
    say(f"{tries} tries, {lost or 'nothing'} lost")
    return not lost and not unmet


def main(arguments):
    # no core file for each of many killed programs
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    folder = None
    try:
        options = parse(arguments)
        if options.inside:
            Torture(Bench(options.inside, options.bin), options.short, options.seed, 1).inside()
            return 0
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        if torture(options, folder):
            shutil.rmtree(folder)
            return 0
        say(f"error: something was lost or never met (lines above); what is left is in {folder}")
        return 1
    except TortureError as problem:
        say(f"error: {problem}")
        return 2
    except KeyboardInterrupt:
        Process.kill_all()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        say("interrupted")
        os._exit(INTERRUPTED)  # threads may still wait for what was killed
    except (Lost, OSError) as problem:
        say(f"error: {problem}")
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT itself may be ignored, in the background
    sys.exit(main(sys.argv[1:]))
