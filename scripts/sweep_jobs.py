"""Runs the jobs of a sweep so that nothing is run twice or lost, whatever is killed when.

What lies on disk decides. Before a job starts, the hash of all that its result depends on goes into
its record and an output of another hash is removed; programs write their output in one step at the
end (training: its status). So a job is done exactly when its record has the right hash and its
output is there, whoever was alive to see it end. While a job runs, its process holds a lock on its
log: two never run at once, be they of two sweeps or left over from one that was killed.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import common
from run_settings import Refused, other_settings
from sweep_file import PROGRAMS, ROOT

ATTEMPTS = 3
NOT_WORTH_ANOTHER = (2, 3)  # exit statuses for wrong usage and bad data
POLL_S = 0.05
BUSY_S = 1.0  # --status holds a lock for a moment, too
SUMMARY_S = 1.0  # sweep.json is renewed at most so often
ENDED = ("done", "failed", "blocked", "skipped")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
STOP = signal.SIGINT  # tells a program to save and stop


def say(message):
    print(f"sweep.sh: {message}", file=sys.stderr, flush=True)


def write_atomically(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path):
    """An object, empty where there is none that can be read."""
    try:
        found = common.read_json(path, common.MOST_SWEEP_BYTES)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ---- what a result depends on ----

def hash_of_file(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hash_of_checkpoint(path):
    """Of a safetensors file's header, which holds the hash of the rest; else of the whole file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 0 < length < min(path.stat().st_size, 1 << 24):
            return hashlib.sha256(file.read(length)).hexdigest()
    return hash_of_file(path)


def identity(how, name):
    path = ROOT / name
    try:
        if how == "content":
            return hash_of_file(path)
        if how == "stat":
            status = path.stat()
            return [status.st_size, status.st_mtime_ns]
        if how == "checkpoints":
            return [[file.name, hash_of_checkpoint(file)]
                    for file in sorted((path / "checkpoints").glob("step_*.safetensors"))
                    if ".training." not in file.name]
        if how == "records":
            return [[str(file.relative_to(path)), hash_of_file(file)]
                    for file in sorted(path.rglob("*.json")) if file != path / "report.json"]
        raise ValueError(how)
    except FileNotFoundError:
        return "missing"


def hash_of(job, known=None):
    """`known`: identities that were found a moment ago, to be used and added to."""
    known = {} if known is None else known
    for how, name in job.inputs:
        if (how, name) not in known:
            known[how, name] = identity(how, name)
    parts = [Path(job.command[0]).name, job.command[1:], [[how, known[how, name]] for how, name in job.inputs]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# ---- what is on disk ----

def record_path(root, job):
    return root / "jobs" / f"{job.id}.json"


def log_path(root, job):
    return root / "jobs" / f"{job.id}.log"


def is_done(root, job, known=None):
    output = ROOT / job.output
    if job.kind == "generate":
        return output.exists()
    record = read_json(record_path(root, job))
    if not output.exists() or record.get("hash") != hash_of(job, known):
        return False
    if job.kind == "report":  # its files have not all come in one step
        return record["state"] == "done"
    if job.kind != "train":
        return True
    status = read_json(output)
    return status.get("state") == "finished" and job.steps in (None, status.get("step"))


def is_running(root, job):
    """Whether some process on this machine holds the job's lock."""
    try:
        with open(log_path(root, job), "rb") as log:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        return True
    return False


def states_on_disk(root, jobs):
    """{id: state}: done, running, interrupted, failed, blocked, skipped or waiting."""
    states, known = {}, {}
    for job in jobs:
        needed = [states.get(need, "waiting") for need in job.needs]
        record = read_json(record_path(root, job))
        if job.skip:
            state = "skipped"
        elif is_running(root, job):
            state = "running"
        elif all(state == "done" for state in needed) and is_done(root, job, known):
            state = "done"
        elif any(state in ("failed", "blocked", "skipped") for state in needed):
            state = "blocked"
        elif record.get("state") == "running":
            state = "interrupted"
        elif record.get("state") in ("failed", "interrupted") and hash_of(job, known) == record.get(
                "refused", record.get("hash")):
            state = record["state"]
        else:
            state = "waiting"
        states[job.id] = state
    return states


def summary(sweep, states):
    """What sweep.json holds."""
    jobs = []
    for job in sweep.jobs:
        record = read_json(record_path(sweep.root, job))
        jobs.append({"id": job.id, "kind": job.kind, "run": job.run, "state": states[job.id],
                     "reason": job.skip or record.get("reason", ""), "attempts": record.get("attempts", 0),
                     "exit": record.get("exit"), "wall_s": record.get("wall_s"), "output": job.output,
                     "log": str(log_path(sweep.root, job)), "command": job.command})
    runs = [{"name": run.name, "dataset": run.dataset, "variant": run.variant, "seed": run.seed,
             "folder": run.folder, "steps": run.steps, "skipped": run.skip} for run in sweep.runs]
    return {"name": sweep.name, "file": sweep.file, "runs": runs, "jobs": jobs}


def write_summary(sweep, states):
    write_atomically(sweep.root / "sweep.json", json.dumps(summary(sweep, states), indent=1) + "\n")


# ---- running ----

def begins_anew(job):
    """drop_coms has nothing to go on from: with other settings it starts over."""
    return job.kind == "train" and Path(job.command[0]).name == PROGRAMS[1]


def refusal(job):
    """Why a stored run cannot go on with what its job asks for now; "" where it can, or begins anew."""
    if job.kind != "train" or begins_anew(job):
        return ""
    try:
        return other_settings(job.folder, job.command, ROOT)
    except OSError:
        return ""  # the program cannot be started, as starting it for good will tell
    except Refused as problem:
        return str(problem).splitlines()[-1]


def prepare_child(parent, in_slurm):
    """In a new process: is stopped, and saves, when the sweep is killed. SLURM sends SIGTERM to all processes
    of a task, the sweep passes its own on, and a second one would end a program before it has saved."""
    if in_slurm:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    LIBC.prctl(PR_SET_PDEATHSIG, STOP, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), STOP)


def other_arguments(job, threads):
    """What a job's result does not depend on: threads, and where an evaluation keeps its parts."""
    arguments = []
    if job.kind == "evaluate" and "--trace" not in job.command:
        arguments += ["--cache", f"{job.folder}/eval/cache"]
    if threads == 0 or job.kind in ("generate", "report"):
        return arguments
    if job.kind == "train":
        return [] if any(part.startswith("threads=") for part in job.command) else ["--set", f"threads={threads}"]
    return arguments + ["--threads", str(threads), "--network-threads", str(threads)]


def last_line(path):
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")


class Process:
    """A job's process, its log (and with it its lock) and its slot."""

    def __init__(self, job, slot, log, child, record):
        self.job, self.slot, self.log, self.child, self.record = job, slot, log, child, record
        self.start = time.monotonic()


class Runner:
    """Runs jobs in their order, as many at once as there are slots, until all have ended.

    threads: of each program, 0 = its own choice; gpus: CUDA_VISIBLE_DEVICES of each slot, or none;
    in_slurm: as a task among others, which all leave sweep.json alone.
    A first SIGINT, SIGTERM, SIGHUP or SIGUSR1 lets the running jobs save and stop, a second kills them.
    """

    def __init__(self, sweep, jobs, slots, threads=0, gpus=(), in_slurm=False):
        self.sweep, self.root, self.jobs, self.in_slurm = sweep, sweep.root, jobs, in_slurm
        self.free = list(range(slots))
        self.threads, self.gpus = threads, gpus
        self.states = {job.id: "waiting" for job in sweep.jobs}
        self.states.update({job.id: "skipped" if job.skip else "waiting" for job in jobs})
        self.attempts = {}
        self.ready = set()   # looked at: not done, and all that they need is
        self.busy = {}       # run by another process: since when
        self.running = []
        self.signals = []    # received
        self.changed = True  # some job may have become ready
        self.summary_time = 0.0

    def run(self):
        """Exit status: 0 all done or skipped, 1 something failed, 130 stopped by a signal."""
        handlers = {number: signal.signal(number, lambda number, frame: self.signals.append(number))
                    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
        try:
            told = 0
            while True:
                if len(self.signals) > told:
                    self.stop(first=told == 0)
                    told = len(self.signals)
                self.reap()
                if not self.signals and (self.changed or self.busy):
                    self.changed = False
                    self.start_ready()
                if not self.running and (self.signals or not self.waiting()):
                    break
                self.summarise()
                time.sleep(POLL_S)
            self.summarise(now=True)
        finally:
            # only an error of our own leaves some
            for process in self.running:
                os.killpg(process.child.pid, STOP)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        mine = [self.states[job.id] for job in self.jobs]
        if self.signals:
            return 130
        return 1 if "failed" in mine or "blocked" in mine else 0

    def waiting(self):
        return [job for job in self.jobs if self.states[job.id] == "waiting"]

    def summarise(self, now=False):
        if not self.in_slurm and (now or time.monotonic() - self.summary_time > SUMMARY_S):
            write_summary(self.sweep, self.states)
            self.summary_time = time.monotonic()

    def enter(self, job, state, note=""):
        self.states[job.id] = state
        ended = sum(self.states[other.id] in ENDED for other in self.jobs)
        say(f"[{ended}/{len(self.jobs)}] {job.id}: {state}{note}")

    def stop(self, first):
        if self.running:
            say(f"stopping: {len(self.running)} jobs save what they have (a second signal kills them)"
                if first else "killing what still runs")
        for process in self.running:
            os.killpg(process.child.pid, STOP if first else signal.SIGKILL)

    def start_ready(self):
        for job in self.waiting():
            needed = [self.states[need] for need in job.needs]
            if any(state in ("failed", "blocked", "skipped") for state in needed):
                self.states[job.id] = "blocked"
            elif job.kind == "report" and any(self.states[other.id] not in ENDED for other in self.jobs
                                              if other.kind != "report"):
                continue
            elif all(state == "done" for state in needed):
                if job.id not in self.ready and is_done(self.root, job):
                    self.states[job.id] = "done"
                    continue
                self.ready.add(job.id)
                if self.free:
                    self.start(job)

    def start(self, job):
        path = log_path(self.root, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = open(path, "ab")
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            since = self.busy.setdefault(job.id, time.monotonic())
            if time.monotonic() - since > BUSY_S:
                self.busy[job.id] = float("inf")  # said once
                say(f"{job.id}: another process still runs it; waiting for its end")
            return
        if self.busy.pop(job.id, None) and is_done(self.root, job):  # that process has done it
            log.close()
            self.states[job.id] = "done"
            return

        # before anything of the run is touched: with the old settings it is still done
        before = read_json(record_path(self.root, job))
        reason = refusal(job)
        if reason:
            log.write(f"{reason}\n".encode())
            write_atomically(record_path(self.root, job), json.dumps(
                before | {"state": "failed", "reason": reason, "refused": hash_of(job)}) + "\n")
            log.close()
            self.changed = True
            self.enter(job, "failed", f": {reason}")
            return

        # the record first: see the top of this file
        record = {"state": "running", "hash": hash_of(job), "attempts": before.get("attempts", 0) + 1,
                  "exit": None, "wall_s": 0.0, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        if before.get("hash") == record["hash"]:
            record["wall_s"] = before.get("wall_s", 0.0)
        else:
            record["attempts"] = 1
        if job.kind in ("evaluate", "finetune") or (job.kind == "train" and before.get("hash") != record["hash"]):
            (ROOT / job.output).unlink(missing_ok=True)
        write_atomically(record_path(self.root, job), json.dumps(record) + "\n")

        command = [*job.command, *other_arguments(job, self.threads)]
        if begins_anew(job) and before.get("hash") not in (None, record["hash"]):
            command = ["--force" if word == "--resume" else word for word in command]
        if job.kind == "generate":
            command[command.index("--out") + 1] = self.part_of(job)
            command.append("--force")
            (ROOT / job.output).parent.mkdir(parents=True, exist_ok=True)
        elif job.kind == "report":
            command = [sys.executable, *command]
            self.summarise(now=True)
        elif job.kind in ("evaluate", "finetune"):
            (ROOT / job.output).parent.mkdir(parents=True, exist_ok=True)
        slot = self.free.pop(0)
        environment = dict(os.environ)
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        log.write(f"### {record['started']} attempt {record['attempts']}: {shlex.join(command)}\n".encode())
        log.flush()
        parent = os.getpid()
        try:
            child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     env=environment, start_new_session=True,
                                     preexec_fn=lambda: prepare_child(parent, self.in_slurm))
        except OSError as problem:
            child = None
            log.write(f"{command[0]}: cannot be started ({problem.strerror})\n".encode())
            log.flush()
        self.attempts[job.id] = self.attempts.get(job.id, 0) + 1
        self.states[job.id] = "running"
        process = Process(job, slot, log, child, record)
        if child is None:
            self.ended(process, 127)
            return
        self.running.append(process)
        self.enter(job, "running", f" (attempt {self.attempts[job.id]})" if self.attempts[job.id] > 1 else "")

    def part_of(self, job):
        """The data file while it is being made; its own for each sweep."""
        return f"{job.output}.{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}.part"

    def reap(self):
        for process in list(self.running):
            status = process.child.poll()
            if status is not None:
                self.running.remove(process)
                self.ended(process, status)

    def ended(self, process, status):
        job, record = process.job, process.record
        if job.kind == "generate" and status == 0:
            os.replace(ROOT / self.part_of(job), ROOT / job.output)
        done = status == 0 if job.kind == "report" else is_done(self.root, job)
        seconds = time.monotonic() - process.start
        record.update(exit=status, wall_s=round(record["wall_s"] + seconds, 3))
        how = f"exit {status}" if status >= 0 else signal.Signals(-status).name
        again = (not done and not self.signals and status not in NOT_WORTH_ANOTHER
                 and self.attempts[job.id] < ATTEMPTS)
        if done:
            record["state"] = "done"
        elif self.signals:
            record["state"] = "interrupted"
        else:
            record.update(state="failed", reason=last_line(log_path(self.root, job)) if status
                          else f"it ended well but left no finished {job.output}")
        write_atomically(record_path(self.root, job), json.dumps(record) + "\n")
        process.log.close()  # lets the lock go
        self.free.append(process.slot)
        self.free.sort()
        self.ready.discard(job.id)
        self.changed = True
        if again:
            self.enter(job, "waiting", f" to be tried again ({how})")
        else:
            note = "" if done or record["state"] == "interrupted" else f" ({how}): {record['reason']}"
            self.enter(job, record["state"], f" in {seconds:.1f} s{note}")
