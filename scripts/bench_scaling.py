#!/usr/bin/env python3
"""How step and ascent scale with the sizes: time against the floor, as Markdown.

    scripts/bench_scaling.py [--threads 1,2] [--device cpu] > table.md

One size is varied at a time, the others are the paper's. Each cell is `milliseconds / floor (share
of peak)`: the floor is the least number of operations over this machine's own peak, measured by
drop_bench in the same run. The size in bold is where an engine's overhead ends: the smallest from
which on the share stays within a tenth of the best in its column.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE_ENGINES = ("eager", "autograd")
# benchmark, option, what it is, sizes
SWEEPS = [
    ("step", "--batch-size", "batch", [256, 512, 1024, 2048, 4096, 8192, 16384]),
    ("step", "--num-subtasks", "sub-tasks N", [10, 30, 100, 300, 1000]),
    ("step", "--hidden-width", "width", [256, 512, 768, 1024]),
    ("ascent", "--num-starts", "starts N", [1, 10, 30, 100, 300, 1000]),
    ("ascent", "--hidden-width", "width", [256, 512, 768, 1024]),
]


def measure(arguments, benchmark, option, size, threads):
    """Rows of the fast engines by (engine, precision, threads)."""
    command = [arguments.program, benchmark, option, size, "--threads", threads, "--device",
               arguments.device, "--repetitions", arguments.repetitions, "--seconds",
               arguments.seconds, "--json", "-", "--quiet"]
    if benchmark == "step":
        command += ["--constraint", "active"]
    if arguments.precision:
        command += ["--precision", arguments.precision]
    for engine in arguments.engine or [None]:
        chosen = command + (["--engine", engine] if engine else [])
        done = subprocess.run([str(part) for part in chosen], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"bench_scaling.py: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            row = json.loads(line)
            if engine or row["engine"] not in REFERENCE_ENGINES:
                yield (row["engine"], row["precision"], row["threads"]), row


def overhead_ends(shares):
    """Position from which on all shares are at least nine tenths of the best."""
    enough = 0.9 * max(shares)
    return max((i + 1 for i, share in enumerate(shares) if share < enough), default=0)


def table(title, label, sizes, columns):
    """Markdown; columns: {(engine, precision, threads): [row of each size]}."""
    heads = [f"{engine} {precision}, {threads} thread{'s' if threads > 1 else ''}"
             for engine, precision, threads in columns]
    lines = [f"### {title}", "", f"| {label} | " + " | ".join(heads) + " |",
             "|---" * (len(heads) + 1) + "|"]
    ends = [overhead_ends([row["share_of_peak"] for row in rows]) for rows in columns.values()]
    for i, size in enumerate(sizes):
        cells = []
        for rows, end in zip(columns.values(), ends):
            row = rows[i]
            floor = row["flops"] / row["peak_flops_per_s"]
            cell = f"{1e3 * row['median_s']:.3g} / {1e3 * floor:.3g} ({row['share_of_peak']:.0%})"
            cells.append(f"**{cell}**" if i == end else cell)
        lines.append(f"| {size:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="comma-separated")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", help="default: all that the machine offers")
    parser.add_argument("--engine", action="append", help="default: all but the slow references")
    parser.add_argument("--benchmarks", default="step,ascent", help="comma-separated")
    parser.add_argument("--repetitions", type=int, default=5, help="medians of this many")
    parser.add_argument("--seconds", type=float, default=0.25, help="of a repetition, about")
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bin/drop_bench",
                        help="our drop_bench")
    arguments = parser.parse_args()
    arguments.program = arguments.program.resolve()
    if not arguments.program.exists():
        parser.error(f"no {arguments.program}; run ./scripts/test.sh, or give --program")

    for benchmark, option, label, sizes in SWEEPS:
        if benchmark not in arguments.benchmarks.split(","):
            continue
        columns = {}
        for threads in arguments.threads:
            for size in sizes:
                for key, row in measure(arguments, benchmark, option, size, threads):
                    columns.setdefault(key, []).append(row)
        if not columns:
            sys.exit(f"bench_scaling.py: no fast engine for {benchmark} here; name one with --engine")
        print(table(f"{benchmark}, {label}", label, sizes, columns), flush=True)


if __name__ == "__main__":
    main()
