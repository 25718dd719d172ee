#!/usr/bin/env python3
"""Counts the instructions of one training step and of one ascent under callgrind.

    scripts/count_instructions.py [--bin build/release/bin] [--renew]

The networks are tiny (width 16, 32 rows), so that what is counted is what an engine does around its
matrix products: allocations, dispatch, sampling, bookkeeping. Counts do not depend on how busy the
machine is, and valgrind shows every program the same AVX2 processor. Each engine's count is held
against tests/apps/instruction_counts.json; a change that makes an engine heavier by more than the
tolerance written there fails. If that is meant, or when an engine has become lighter or is new,
--renew writes the counts found.

Exit status: 0 all within the tolerance, 1 one is not, 2 wrong usage, 77 no valgrind here.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "tests/apps/instruction_counts.json"
TOLERANCE = 0.10
STEPS = 20
# benchmark: the functions that are counted, with all they call, and the options of drop_bench
COUNTED = {
    "step": ("drop::*StepEngine::advance(long)",
             ["--batch-size", "32", "--num-subtasks", "8", "--constraint", "active"]),
    "ascent": ("drop::*Ascent::run(*", ["--num-starts", "32", "--ascent-steps", "10"]),
}
LINE = re.compile(r"^(?:[+-]?\d+|\*) (\d+)$")


class Failure(Exception):
    """What went wrong, in one line."""


def function_costs(profile):
    """Inclusive instructions of each function of a callgrind file, recursion counted once a call."""
    names, costs, function = {}, {}, None
    for line in profile.splitlines():
        if line.startswith(("fn=", "cfn=")):
            number, _, name = line.partition("=")[2].partition(" ")
            names.setdefault(number, name)
            if line.startswith("fn="):
                function = names[number]
        elif function and (cost := LINE.match(line)):
            costs[function] = costs.get(function, 0) + int(cost[1])
    return costs


def count(program, benchmark):
    """Instructions of one step or ascent: {engine's class: count}."""
    pattern, options = COUNTED[benchmark]
    matcher = re.compile(re.escape(pattern).replace(r"\*", r"[\w:]*", 1).replace(r"\*", ".*"))
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        # the variable keeps the program from starting over, which would leave valgrind behind
        done = subprocess.run(
            ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={profile}",
             f"--toggle-collect={pattern}", str(program), benchmark, "--device", "cpu", "--threads",
             "1", "--precision", "fp32", "--hidden-width", "16", "--steps", str(STEPS),
             "--repetitions", "1", "--no-peak", "--json", "-", "--quiet", *options],
            capture_output=True, text=True, env={**os.environ, "GOMP_SPINCOUNT": "2000"})
        if done.returncode != 0 or not profile.exists():
            raise Failure(f"{benchmark}: {(done.stderr.strip() or 'no profile').splitlines()[-1]}")
        costs = function_costs(profile.read_text(errors="replace"))
    # the step that warms up counts as one
    found = {name.split("::")[1]: cost // (STEPS + 1) for name, cost in sorted(costs.items())
             if matcher.fullmatch(name)}
    if not found:
        raise Failure(f"{benchmark}: no function {pattern} in the profile; was the program stripped?")
    return found


def judge(found, baseline):
    """Lines that say how the counts stand, and whether all are within the tolerance."""
    tolerance = baseline["tolerance"]
    good = True
    for benchmark, engines in found.items():
        known = baseline["instructions"].get(benchmark, {})
        for engine in sorted(set(engines) | set(known)):
            now, before = engines.get(engine), known.get(engine)
            if now is None or before is None:
                verdict = "not counted this time" if now is None else "not known yet"
                good = False
            else:
                change = now / before - 1
                verdict = f"{change:+.1%} against {before:,}"
                if change > tolerance:
                    verdict += f": heavier by more than {tolerance:.0%}"
                    good = False
            yield f"{benchmark:8}{engine:24}{now or 0:>14,}  {verdict}", good


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin",
                        help="folder of drop_bench, an optimised build")
    parser.add_argument("--renew", action="store_true", help=f"write {BASELINE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    program = arguments.bin / "drop_bench"
    if not program.exists():
        parser.error(f"no {program}; build it, or give --bin")
    if shutil.which("valgrind") is None:
        print("count_instructions.py: no valgrind here, nothing counted (scripts/setup.sh brings it)")
        sys.exit(77)

    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            found = dict(zip(COUNTED, pool.map(lambda name: count(program, name), COUNTED)))
    except Failure as failure:
        sys.exit(f"count_instructions.py: error: {failure}")
    if arguments.renew:
        content = {"about": "instructions of one step or ascent, by scripts/count_instructions.py",
                   "tolerance": TOLERANCE, "instructions": found}
        BASELINE.write_text(json.dumps(content, indent=2) + "\n")
    all_good = True
    for line, good in judge(found, json.loads(BASELINE.read_text())):
        print(line)
        all_good = good
    if not all_good:
        sys.exit("count_instructions.py: error: the counts differ from "
                 f"{BASELINE.relative_to(ROOT)}; if that is meant, run this with --renew and say why")


if __name__ == "__main__":
    main()
