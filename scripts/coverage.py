#!/usr/bin/env python3
"""Prints which of our lines a build with --coverage has executed.

    scripts/coverage.py build/coverage [--missing PART]

One row for each folder of include/drop, src and apps, and one for all: lines, those executed, their
share. --missing PART lists, for each file whose path holds PART, the lines that were not executed.
A process that ends by a signal or by _exit leaves no counts: what runs in a forked child alone, or
just before a kill, counts as not executed.

Exit status: 0 printed, 1 no counts in that folder, 2 wrong usage.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("include/drop", "src", "apps")


def counts_of(data_file, root=ROOT):
    """{path below the root: {line: executions}} of one object file."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", str(data_file)],
                          capture_output=True, text=True, cwd=data_file.parent, check=False)
    if done.returncode != 0:
        raise SystemExit(f"coverage.py: error: gcov fails on {data_file}: {done.stderr.strip()}")
    counts = {}
    for text in done.stdout.splitlines():
        if not text.startswith("{"):
            continue
        report = json.loads(text)
        for file in report["files"]:
            path = Path(os.path.normpath(Path(report["current_working_directory"], file["file"])))
            if not path.is_relative_to(root) or not str(path.relative_to(root)).startswith(OURS):
                continue
            lines = counts.setdefault(str(path.relative_to(root)), {})
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = lines.get(number, 0) + line["count"]
    return counts


def merged(all_counts):
    """The counts of all object files together; a header is in many of them."""
    total = {}
    for counts in all_counts:
        for path, lines in counts.items():
            into = total.setdefault(path, {})
            for number, count in lines.items():
                into[number] = into.get(number, 0) + count
    return total


def folder_of(path):
    """include/drop/data/x.h and src/data/x.cc belong to the same part of the code."""
    parts = path.split("/")
    return "apps" if parts[0] == "apps" else parts[2 if parts[0] == "include" else 1]


def ranges(numbers):
    """[1, 2, 3, 7] -> "1-3, 7"."""
    texts, numbers = [], sorted(numbers)
    for i, number in enumerate(numbers):
        if i > 0 and number == numbers[i - 1] + 1:
            continue
        last = number
        while last + 1 in numbers[i:]:
            last += 1
        texts.append(str(number) if last == number else f"{number}-{last}")
    return ", ".join(texts)


def table(total):
    """Rows of the Markdown table."""
    folders = {}
    for path, lines in total.items():
        entry = folders.setdefault(folder_of(path), [0, 0])
        entry[0] += len(lines)
        entry[1] += sum(count > 0 for count in lines.values())
    yield "| part | lines | executed | share |"
    yield "|---|---:|---:|---:|"
    everything = [sum(entry[i] for entry in folders.values()) for i in (0, 1)]
    for name, (lines, executed) in [*sorted(folders.items()), ("all", everything)]:
        yield f"| {name} | {lines} | {executed} | {100 * executed / max(1, lines):.1f} % |"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="the build folder, after its tests have run")
    parser.add_argument("--missing", metavar="PART", help="list lines that were not executed")
    arguments = parser.parse_args()
    if shutil.which("gcov") is None:
        sys.exit("coverage.py: error: no gcov here (apt-get install gcc)")
    files = sorted(arguments.build.resolve().rglob("*.gcda"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        total = merged(pool.map(counts_of, files))
    if not total:
        sys.exit(f"coverage.py: error: {arguments.build}: no counts of our code; run "
                 "scripts/analyse.sh coverage")
    print("\n".join(table(total)))
    for path, lines in sorted(total.items()):
        missing = [number for number, count in lines.items() if count == 0]
        if arguments.missing is not None and arguments.missing in path and missing:
            print(f"{path}: {ranges(missing)}")


if __name__ == "__main__":
    main()
