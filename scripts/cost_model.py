#!/usr/bin/env python3
"""Hours for the whole paper, from speeds that drop_bench measures: writes the tables of docs/scale.md.

  scripts/cost_model.py --measure bench.jsonl   # some five minutes on a quiet machine, then the tables
  scripts/cost_model.py --bench bench.jsonl     # the tables from such a file

The work is counted from configs/ (N, steps, K, checkpoints, episodes) and the paper's protocol. A processor's hours are the
work times its measured seconds for one training step, one ascent and one environment step. Hours of a GPU are a prediction
(operations over an assumed share of its peak) unless the file holds its rows.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SEEDS, EPISODES, CHECKPOINTS, ASCENT_STEPS = 5, 10, 6, 100  # Appendix D
CHOSEN_FROM, EVALUATED = 8, 4                               # values of N in Table 8; those that are tried in full
TRIALS = CHECKPOINTS * 50                                   # embedding-level fine-tuning, K up to 50, 25 on average
ONLINE_STEPS = 700_000                                      # parametric level, Appendix C.3
STARTS = (1, 10, 100, 1000)
# episode lengths of the tasks, and the task whose speed stands for a family
LENGTH = {"maze2d-umaze": 300, "maze2d-medium": 600, "maze2d-large": 800, "antmaze-umaze": 700, "antmaze": 1000,
          "pen": 100, "door": 200, "hammer": 200, "relocate": 200}
FAMILY = {"halfcheetah": "halfcheetah", "hopper": "hopper", "walker2d": "walker2d", "maze2d": "maze2d-large",
          "antmaze": "antmaze-medium-play"}
# data sets of Figures 5, 8 and 10 together, and of Table 5: ours to count, the paper's text names them one by one
ABLATED, FINETUNED = 6, 12
# one H200, dense bf16 without sparsity by its data sheet; the share is an assumption until measured
GPU_PEAK, GPU_SHARE = 989e12, 0.25


def bench(program, *arguments):
    out = subprocess.run([str(program), *arguments, "--json", "-", "--quiet"], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def measure(program, path):
    """Rows of one thread: a training step, ascents of K = 100 and K = 1 at ten states, environment steps."""
    rows = bench(program, "step", "--threads", "1", "--engine", "fused", "--no-peak", "--repetitions", "5")
    for steps in (ASCENT_STEPS, 1):
        for starts in STARTS:
            rows += bench(program, "ascent", "--threads", "1", "--engine", "cpu", "--no-peak", "--repetitions", "3", "--num-starts",
                          str(starts), "--num-envs", str(EPISODES), "--ascent-steps", str(steps))
    rows += bench(program, "env", "--threads", "1", "--num-envs", str(EPISODES), "--repetitions", "3")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Speeds:
    """Seconds of one thread at one precision, and operations, from rows of drop_bench."""

    def __init__(self, rows, precision):
        mine = [row for row in rows if row["precision"] == precision and row.get("hidden_width") == 512]
        step, = (row for row in mine if row["benchmark"] == "step" and row["constraint"] == "active")
        self.step, self.step_flops = step["median_s"], step["flops"]
        self.ascents = {(row["ascent_steps"], row["num_starts"]): (row["median_s"] / EPISODES, row["flops"] / EPISODES)
                        for row in mine if row["benchmark"] == "ascent"}
        self.env = {row["task"]: 1 / row["steps_per_s"] for row in rows if row["benchmark"] == "env" and row["engine"] == "drop"}

    def ascent(self, steps, starts):
        """(seconds, operations) at one of ten states; linear in N between the measured ones."""
        low = max((n for n in STARTS if n <= starts), default=STARTS[0])
        high = min((n for n in STARTS if n >= starts), default=STARTS[-1])
        share = (starts - low) / (high - low) if high > low else 0.0
        return tuple((1 - share) * a + share * b for a, b in zip(self.ascents[steps, low], self.ascents[steps, high]))


class Work:
    """Seconds of one thread and operations, added up."""

    def __init__(self):
        self.seconds = self.flops = self.env_seconds = 0.0

    def networks(self, seconds, flops, times=1):
        self.seconds += times * seconds
        self.flops += times * flops

    def environment(self, seconds):
        self.seconds += seconds
        self.env_seconds += seconds


def datasets():
    """(name, N, training steps, episode length, the environment's speed is that of) of the paper's 51."""
    for path in sorted((ROOT / "configs").glob("*/*-v*.yaml")):
        config = yaml.safe_load(path.read_text())
        length = next((steps for prefix, steps in LENGTH.items() if path.stem.startswith(prefix)), 1000)
        family = next((task for prefix, task in FAMILY.items() if path.stem.startswith(prefix)), "ant")
        yield path.stem, config["decomposition"]["num_subtasks"], config["train"]["steps"], length, family


def roll(work, speeds, states, ascent_steps, starts, family):
    """An adaptive rule at so many states; ascent_steps 0: scores alone (an upper bound: one step's cost)."""
    seconds, flops = speeds.ascent(ASCENT_STEPS if ascent_steps else 1, starts)
    work.networks(seconds, flops, states * (ascent_steps / ASCENT_STEPS if ascent_steps else 1))
    work.environment(states * speeds.env.get(family, speeds.env["hopper"]))


def parts(speeds):
    """{part of the paper: Work}."""
    names = ["DROP, training", "DROP, best, grad and best-ada", "DROP, grad-ada", "choice of N", "DROP+CVAE (v2)",
             "BC and F-BC (v2)", "ablations (Figures 5, 8, 10)", "fine-tuning (Table 5)"]
    found = {name: Work() for name in names}
    train, quick, grad_ada, choice, cvae, cloning, ablations, online = found.values()
    for number, (name, starts, steps, length, family) in enumerate(datasets()):
        run = (speeds.step * steps, speeds.step_flops * steps)
        states = CHECKPOINTS * EPISODES * length
        train.networks(*run, SEEDS)
        for _ in range(SEEDS):
            roll(quick, speeds, states, 0, 1, family)       # best, grad: one embedding for the episode
            roll(quick, speeds, states, 0, 1, family)
            roll(quick, speeds, states, 0, starts, family)  # best-ada
            roll(grad_ada, speeds, states, ASCENT_STEPS, starts, family)
        if not name.startswith(("antmaze", "maze2d")):
            # fits without a score cost about 0.3 of a step; the four best are trained and tried with one seed
            choice.networks(*run, 0.3 * CHOSEN_FROM + EVALUATED)
            for _ in range(EVALUATED):
                roll(choice, speeds, states, ASCENT_STEPS, starts, family)
        if name.endswith("-v2"):
            cvae.networks(*run, SEEDS)
            for _ in range(SEEDS):
                roll(cvae, speeds, states, ASCENT_STEPS, starts, family)
            cloning.networks(*run, 2 * SEEDS * 0.3)
            for _ in range(2 * SEEDS):
                roll(cloning, speeds, states, 0, 1, family)
        if number % (51 // ABLATED) == 0:  # evenly through the list, whose N differ
            runs = 3 * SEEDS  # random, quantization, without the constraint
            ablations.networks(*run, runs)
            for _ in range(runs):
                roll(ablations, speeds, states, ASCENT_STEPS, starts, family)
        if number % (51 // FINETUNED) == 0:
            for _ in range(SEEDS):
                roll(online, speeds, TRIALS * length, ASCENT_STEPS // 4, starts, family)
                roll(online, speeds, ONLINE_STEPS, ASCENT_STEPS // 4, starts, family)
                online.networks(speeds.step, speeds.step_flops, ONLINE_STEPS)
    return found


def hours(seconds):
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def tables(rows):
    precisions = [p for p in ("fp32", "bf16") if any(row["benchmark"] == "step" and row["precision"] == p for row in rows)]
    work = {p: parts(Speeds(rows, p)) for p in precisions}
    first = work[precisions[0]]
    print("| part | PFLOP | " + " | ".join(f"core-hours, {p}" for p in precisions) + " | of these MuJoCo |")
    print("|---|---|" + "---|" * (len(precisions) + 1))
    for name, part in first.items():
        cells = [f"{part.flops / 1e15:,.0f}", *(hours(work[p][name].seconds) for p in precisions), hours(part.env_seconds)]
        print(f"| {name} | " + " | ".join(cells) + " |")
    total = {p: sum(part.seconds for part in work[p].values()) for p in precisions}
    flops, env = (sum(getattr(part, key) for part in first.values()) for key in ("flops", "env_seconds"))
    print("| **all** | " + " | ".join([f"{flops / 1e15:,.0f}", *(hours(total[p]) for p in precisions), hours(env)]) + " |")
    print("\n| machine | hours | days | |\n|---|---|---|---|")
    for cores in (2, 64, 1024):
        for p in precisions:
            print(f"| {cores} cores, {p} | {hours(total[p] / cores)} | {total[p] / cores / 86400:,.1f} | measured seconds of one thread, "
                  "divided |")
    for gpus in (1, 8):
        seconds = flops / (GPU_SHARE * GPU_PEAK) / gpus
        simulated = env / (16 * gpus)
        print(f"| {gpus} GPU{'s' if gpus > 1 else ''} and {16 * gpus} cores, bf16 | {hours(seconds + simulated)} | "
              f"{(seconds + simulated) / 86400:,.2f} | **predicted**: {GPU_SHARE:.0%} of {GPU_PEAK / 1e12:.0f} TFLOP/s, then MuJoCo on the cores "
              f"({hours(simulated)} h) |")


def main():
    parser = argparse.ArgumentParser(prog="cost_model.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--measure", type=Path, metavar="FILE", help="measure, write the rows to FILE, print the tables")
    source.add_argument("--bench", type=Path, metavar="FILE", help="rows of an earlier --measure")
    parser.add_argument("--program-dir", type=Path, default=ROOT / "build" / "release" / "bin")
    options = parser.parse_args()
    if options.measure:
        measure(options.program_dir / "drop_bench", options.measure)
    path = options.measure or options.bench
    try:
        tables([json.loads(line) for line in path.read_text().splitlines()])
    except (OSError, ValueError, KeyError) as problem:
        parser.exit(3, f"cost_model.py: {path}: cannot be used ({problem}); make it with --measure\n")


if __name__ == "__main__":
    sys.exit(main())
