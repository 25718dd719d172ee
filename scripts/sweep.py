#!/usr/bin/env python3
"""Runs a sweep file; scripts/sweep.sh is the front and explains the options.

Reading the file is in sweep_file.py, running jobs in sweep_jobs.py, SLURM in sweep_slurm.py.
"""

import argparse
import fcntl
import os
import subprocess
import sys

from common import forget_output
from sweep_file import ROOT, SweepError, read_sweep
from sweep_jobs import Runner, log_path, read_json, record_path, say, states_on_disk, write_summary
import sweep_slurm


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SweepError(f"{message} (see sweep.sh --help)")


def parse(arguments):
    parser = Parser(prog="sweep.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("file", nargs="?")
    mode = parser.add_mutually_exclusive_group()
    for name in ("--dry-run", "--status", "--slurm"):
        mode.add_argument(name, action="store_true")
    mode.add_argument("--task")  # what SLURM calls: train:3, evaluate:3 or report; `file` is then a tasks.json
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--program-dir")
    known = ", ".join(["--tiny", "--dry-run", "--status", "--slurm", "--out", "--jobs", "--program-dir", "--help"])
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise SweepError(f"unknown option '{unknown[0]}'; known: {known}")
    if found.file is None:
        raise SweepError("found no sweep file; allowed: one, e.g. configs/sweeps/mini.yaml")
    if found.jobs is not None and found.jobs < 1:
        raise SweepError(f"--jobs {found.jobs}: allowed: an integer from 1 on")
    return found


def require_programs(sweep):
    for job in sweep.jobs:
        program = ROOT / job.command[0]
        if not job.skip and job.kind != "report" and not os.access(program, os.X_OK):
            raise RuntimeError(f"{job.command[0]}: there is no such program; build it with cmake --preset release && "
                               "cmake --build --preset release, or give --program-dir")


def machine(jobs):
    """Slots, threads of each program and GPUs for as many jobs at once, or for as many as fit."""
    cores = len(os.sched_getaffinity(0))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [name for name in visible.split(",") if name]
    else:
        try:
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            listed = ""
        gpus = [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    slots = jobs or len(gpus) or cores
    return slots, max(1, cores // slots) if slots > 1 else 0, gpus


def lock(root):
    """Keeps other sweeps off this root until this process ends, however it does."""
    root.mkdir(parents=True, exist_ok=True)
    file = open(root / "sweep.lock", "ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SweepError(f"{root}: another sweep runs in this folder; wait for its end, or choose another --out") from None
    return file


# ---- what is shown ----

def jobs_of(sweep, run, kind):
    return [job for job in sweep.jobs if job.run == run.name and job.kind == kind]


def step_of(run):
    return read_json(ROOT / run.folder / "status.json").get("step", 0)


def share(states, jobs):
    return f"{sum(states[job.id] == 'done' for job in jobs)}/{len(jobs)}" if jobs else "-"


def print_dry_run(sweep, states):
    """One line for each run."""
    for run in sweep.runs:
        train, = jobs_of(sweep, run, "train")
        later = jobs_of(sweep, run, "evaluate") + jobs_of(sweep, run, "finetune")
        left = [job.id.rsplit("/", 1)[1] for job in [train, *later] if states[job.id] not in ("done", "skipped")]
        if run.skip:
            what = f"skipped: {run.skip}"
        elif not left:
            what = "done"
        else:
            what = "left: " + ", ".join(left)
            if train.id.rsplit("/", 1)[1] in left:
                what += f" (step {step_of(run)} of {run.steps or 'the default'})"
        print(f"{run.name}  {what}")


def print_table(sweep, states):
    head = ["run", "training", "steps", "evaluations", "fine-tunings", "minutes"]
    rows = [head]
    for run in sweep.runs:
        train, = jobs_of(sweep, run, "train")
        all_jobs = [job for job in sweep.jobs if job.run == run.name]
        minutes = sum(read_json(record_path(sweep.root, job)).get("wall_s", 0.0) for job in all_jobs) / 60
        rows.append([run.name, states[train.id], f"{step_of(run)}/{run.steps or '?'}",
                     share(states, jobs_of(sweep, run, "evaluate")), share(states, jobs_of(sweep, run, "finetune")),
                     f"{minutes:.1f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    # what did not go well, each with its reason
    reasons = {run.skip: [] for run in sweep.runs if run.skip}
    for run in sweep.runs:
        if run.skip:
            reasons[run.skip].append(run.name)
    for reason, names in reasons.items():
        print(f"skipped, {reason}: {len(names)} runs, {names[0]}{' ...' if len(names) > 1 else ''}")
    reasons = {}
    for job in sweep.jobs:
        if states[job.id] == "failed":
            reason = read_json(record_path(sweep.root, job)).get("reason", "")
            print(f"failed: {job.id}: {reason}; log: {log_path(sweep.root, job)}")
        elif job.skip and not job.skip in [run.skip for run in sweep.runs]:
            reasons.setdefault(job.skip, []).append(job.id)
    for reason, ids in reasons.items():
        print(f"skipped, {reason}: {len(ids)} jobs, {ids[0]}{' ...' if len(ids) > 1 else ''}")
    counts = {}
    for job in sweep.jobs:
        counts[states[job.id]] = counts.get(states[job.id], 0) + 1
    print(f"{len(sweep.jobs)} jobs: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


def run(options):
    if options.task:
        return sweep_slurm.run_task(options.file, options.task)
    sweep = read_sweep(options.file, options.out, options.tiny, options.program_dir)
    if options.dry_run or options.status:
        states = states_on_disk(sweep.root, sweep.jobs)
        for name in sweep_slurm.queued_runs(sweep.root):
            states.update({job.id: "queued" for job in sweep.jobs
                           if job.run == name and states[job.id] in ("waiting", "interrupted", "failed", "blocked")})
        if options.dry_run:
            print_dry_run(sweep, states)
        else:
            print_table(sweep, states)
            if sweep.root.exists() and "running" not in states.values():
                write_summary(sweep, states)
        return 0
    require_programs(sweep)
    held = lock(sweep.root)
    if options.slurm:
        return sweep_slurm.submit(sweep, options.jobs)
    queued = sweep_slurm.queued_runs(sweep.root)
    if queued:
        raise SweepError(f"{sweep.root}: {len(queued)} runs of this sweep are in SLURM's queue, e.g. {queued[0]}; wait, "
                         "scancel them, or call again with --slurm")
    slots, threads, gpus = machine(options.jobs)
    say(f"{sweep.name}: {len(sweep.runs)} runs, {len(sweep.jobs)} jobs, {slots} at once; folder {sweep.root}")
    runner = Runner(sweep, sweep.jobs, slots, threads, gpus)
    status = runner.run()
    print_table(sweep, runner.states)
    held.close()
    return status


def main():
    try:
        if sys.stdout is None:
            raise OSError("standard output: cannot be written (it is closed)")
        status = run(parse(sys.argv[1:]))
        sys.stdout.flush()
    except SweepError as problem:
        print(f"sweep.sh: error: {problem}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    except (OSError, RuntimeError) as problem:
        print(f"sweep.sh: error: {problem}", file=sys.stderr)
        status = 1
        if sys.stdout is not None:
            forget_output()
    sys.exit(status)


if __name__ == "__main__":
    main()
