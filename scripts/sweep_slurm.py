"""A sweep as SLURM job arrays.

Each submission gets a folder <root>/slurm/0001/, 0002/, ...: tasks.json (the sweep as it was then, and which
run is which task of the arrays), train.sh, evaluate.sh and report.sh. A task runs its jobs as the local
runner does, so that it skips what is done and tries again what fails. What is still in the queue is known
by the jobs' names, <sweep>-<hash of the root>-0001-train: a later call submits only what is neither done nor queued.
"""

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from sweep_file import ROOT, Job, Run, Sweep, SweepError
from sweep_jobs import Runner, read_json, say, states_on_disk, write_atomically, write_summary

MAX_ARRAY = 1000     # SLURM's default limit (MaxArraySize)
WARNING_S = 120      # SIGUSR1 comes so long before a job's time is over
SCRIPT = """#!/bin/sh
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{warning}
# SLURM's SIGUSR1 before the time limit: the training saves, and the task goes back into the queue;
# its SIGTERM (scancel, pre-emption): the training saves and stops
exec {python} {script} --task {task} {tasks}
"""


def prefix(root):
    return f"drop-{hashlib.sha256(os.path.realpath(root).encode()).hexdigest()[:8]}-"


def queue(root):
    """[(number of the submission, kind, job id, array index or None)] of what has not ended."""
    if not (root / "slurm").exists() or shutil.which("squeue") is None:
        return []
    done = subprocess.run(["squeue", "--noheader", "--array", "--me", "--format=%j|%F|%K"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"squeue: {done.stderr.strip() or 'failed'}; this sweep may have jobs in SLURM")
    found = []
    for line in done.stdout.splitlines():
        name, job, index = line.strip().split("|")
        if name.startswith(prefix(root)):
            number, kind = name.removeprefix(prefix(root)).split("-")
            found.append((number, kind, job, int(index) if index.isdecimal() else None))
    return found


def queued_runs(root):
    tasks = {}
    names = {}
    for number, kind, _, index in queue(root):
        if number not in tasks:
            tasks[number] = read_json(root / "slurm" / number / "tasks.json")["tasks"]
        if kind != "report":
            names[tasks[number][index]] = True
    return list(names)


def submit(sweep, at_once):
    """Submits what is neither done nor queued; exit status 0."""
    if shutil.which("sbatch") is None:
        raise SweepError("--slurm: found no sbatch; allowed: a machine that submits to SLURM; install slurm-client, or "
                         "leave --slurm away")
    active = queue(sweep.root)
    queued = set(queued_runs(sweep.root))
    states = states_on_disk(sweep.root, sweep.jobs)
    write_summary(sweep, states)
    # runs with something left, those to be trained apart from those that only lack results
    left = {"train": [], "evaluate": []}
    for run in sweep.runs:
        undone = {job.kind for job in sweep.jobs if job.run == run.name and states[job.id] not in ("done", "skipped")}
        if run.name not in queued and undone:
            left["train" if "train" in undone else "evaluate"].append(run.name)
    waited_for = [job for _, kind, job, _ in active if kind != "report"]
    for first, names in left.items():
        for begin in range(0, len(names), MAX_ARRAY):
            waited_for += submit_arrays(sweep, names[begin:begin + MAX_ARRAY], first == "train", at_once)
    report = [job for job in sweep.jobs if job.kind == "report" and not job.skip]
    if report and (left["train"] or left["evaluate"] or (states["report"] != "done" and not active)):
        folder = new_folder(sweep, [])
        after = ["--dependency=afterany:" + ":".join(dict.fromkeys(waited_for))] if waited_for else []
        sbatch(sweep, folder, "report", after)
    count = len(left["train"]) + len(left["evaluate"])
    say(f"{count} runs submitted, {len(queued)} are still in the queue, {len(sweep.runs) - count - len(queued)} are done "
        f"or skipped; sweep.sh FILE --status shows where they stand")
    return 0


def submit_arrays(sweep, names, with_training, at_once):
    """Ids of the arrays."""
    folder = new_folder(sweep, names)
    array = [f"--array=0-{len(names) - 1}" + (f"%{at_once}" if at_once else "")]
    ids = []
    if with_training:
        ids.append(sbatch(sweep, folder, "train", array))
    if any(job.kind in ("evaluate", "finetune") and job.run in names for job in sweep.jobs):
        ids.append(sbatch(sweep, folder, "evaluate", array + [f"--dependency=aftercorr:{job}" for job in ids]))
    return ids


def new_folder(sweep, names):
    slurm = sweep.root / "slurm"
    slurm.mkdir(exist_ok=True)
    number = 1 + max((int(path.name) for path in slurm.iterdir() if path.name.isdecimal()), default=0)
    folder = slurm / f"{number:04d}"
    content = {"tasks": names, "sweep": dataclasses.asdict(sweep) | {"root": str(sweep.root)}}
    write_atomically(folder / "tasks.json", json.dumps(content, indent=1) + "\n")
    return folder


def sbatch(sweep, folder, kind, options):
    """Writes the script and submits it; the job's id."""
    script = folder / f"{kind}.sh"
    task = kind if kind == "report" else f'{kind}:"$SLURM_ARRAY_TASK_ID"'
    script.write_text(SCRIPT.format(
        warning=WARNING_S, task=task, python=shlex.quote(sys.executable), tasks=shlex.quote(str(folder / "tasks.json")),
        script=shlex.quote(str(Path(__file__).with_name("sweep.py")))), encoding="utf-8")
    # '%' in a path would stand for something else
    output = str(folder / kind).replace("%", "%%") + ("-%j.log" if kind == "report" else "-%A_%a.log")
    command = ["sbatch", "--parsable", f"--job-name={prefix(sweep.root)}{folder.name}-{kind}", f"--output={output}",
               f"--chdir={ROOT}", "--kill-on-invalid-dep=yes", *options,
               *(f"--{name}={value}" for name, value in sweep.slurm.items()), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"sbatch: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'} "
                           f"(called as: {shlex.join(command)})")
    job = done.stdout.strip().split(";")[0]
    say(f"submitted {script} as job {job}")
    return job


def run_task(path, task):
    """What a task of an array does; the exit status tells SLURM whether tasks that depend on it may start."""
    content = read_json(path)
    if not content:
        raise SweepError(f"{path}: found no tasks; allowed: a tasks.json that sweep.sh --slurm wrote")
    stored = content["sweep"]
    sweep = Sweep(**stored | {"root": Path(stored["root"]), "runs": [Run(**run) for run in stored["runs"]],
                              "jobs": [Job(**job) for job in stored["jobs"]]})
    kind, _, index = task.partition(":")
    if kind == "report":
        wanted = {"report"}
        # the jobs that it stands for have ended
        write_summary(sweep, states_on_disk(sweep.root, sweep.jobs))
    else:
        name = content["tasks"][int(index)]
        wanted = {job.id for job in sweep.jobs if job.run == name and (job.kind == "train" or kind == "evaluate")}
        wanted |= {need for job in sweep.jobs if job.id in wanted for need in job.needs}
    runner = Runner(sweep, [job for job in sweep.jobs if job.id in wanted], 1,
                    int(os.environ.get("SLURM_CPUS_PER_TASK", "1")), in_slurm=True)
    status = runner.run()
    if kind == "report":
        write_summary(sweep, states_on_disk(sweep.root, sweep.jobs))
    if signal.SIGUSR1 in runner.signals:
        # the time is over, not the work: the same job again, with all that depends on it
        say("time is over: back into the queue")
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
    return status
