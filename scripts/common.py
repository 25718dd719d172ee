"""Used by the other Python scripts: how files are read that may hold anything, and how results are printed."""

import errno
import json
import os
import stat
import sys
from pathlib import Path

MOST_BYTES = 1 << 26        # of a file of a run: far more than any of ours
MOST_SWEEP_BYTES = 1 << 29  # of what a sweep writes about its jobs: so many that sweep_file.py takes
LARGEST = 1e100             # sums and squares of such numbers are numbers, too


def regular_file(path, most=MOST_BYTES):
    """The path; OSError for what is no regular file, which might never end, or too large a one."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes")
    return Path(path)


def small_text(path, most=MOST_BYTES):
    """A file's text; OSError where it cannot be read, ValueError where it is no UTF-8."""
    return regular_file(path, most).read_text(encoding="utf-8")


def read_json(path, most=MOST_BYTES):
    """What a JSON file holds; OSError where it cannot be read, ValueError where it is no JSON."""
    try:
        return json.loads(small_text(path, most))
    except RecursionError:
        raise ValueError("too many brackets within each other") from None


def same_file(one, other):
    """Whether both are there and the same, by whatever path."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def reason_of(problem):
    """An OSError or ValueError in some words."""
    return getattr(problem, "strerror", None) or (str(problem).splitlines() or [type(problem).__name__])[0]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def results_of(content):
    """The evaluations in what drop_eval --json wrote: a list of them, or the one that it is itself."""
    results = content.get("results", [content]) if isinstance(content, dict) else []
    return results if isinstance(results, list) else []


class SweepSummary:
    """What a sweep.json says, if there is one.

    runs: {(data set, variant, seed): why it was skipped, or ""}; jobs: dictionaries with the texts id,
    kind, state and reason; problems: a line about each thing that cannot be read.
    """

    def __init__(self, root):
        self.runs, self.jobs, self.problems = {}, [], []
        try:
            content = read_json(root / "sweep.json", MOST_SWEEP_BYTES)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as problem:
            self.problems.append(f"sweep.json cannot be read ({reason_of(problem)})")
            return
        for run in self._entries(content, "runs", ["dataset", "variant"]):
            if isinstance(run.get("seed"), int):
                self.runs[run["dataset"], run["variant"], run["seed"]] = str(run.get("skipped") or "")
            else:
                self.problems.append(f"sweep.json: a run of {run['dataset']}/{run['variant']} without its seed; left out")
        self.jobs = [job | {"reason": str(job.get("reason") or "")}
                     for job in self._entries(content, "jobs", ["id", "kind", "state"])]

    def _entries(self, content, key, texts):
        """Those of a list that have all these texts."""
        entries = content.get(key, []) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            self.problems.append(f"sweep.json: found no list of {key}")
            return []
        whole = [one for one in entries if isinstance(one, dict) and all(
            isinstance(one.get(text), str) and one[text].isprintable() for text in texts)]
        if len(whole) < len(entries):
            self.problems.append(f"sweep.json: {len(entries) - len(whole)} {key} without {', '.join(texts)}; left out")
        return whole

    def expected(self, there):
        """Which runs should be there: those that the sweep lists, else the same seeds of all that are there."""
        seeds = {seed for _, _, seed in there}
        return self.runs or {(dataset, variant, seed): "" for dataset, variant, _ in there for seed in seeds}


def forget_output():
    """Drops what standard output does not take: Python would try it again at the end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_result(program, text):
    """Prints; where standard output takes nothing (full, closed), ends the program with one line and status 1."""
    reason = "it is closed"
    if sys.stdout is not None:
        try:
            print(text, flush=True)
            return
        except OSError as problem:
            forget_output()
            reason = problem.strerror
    print(f"{program}: error: standard output: cannot be written ({reason})", file=sys.stderr)
    sys.exit(1)
