#!/usr/bin/env python3
"""Compares the variants of a sweep in Markdown tables, one for each data set.

  scripts/compare.py runs/choices --base base
  scripts/compare.py runs/choices --variant base,off --evaluation 'k_*' --base base/k_20

A row is a variant (and an evaluation, where several are asked for). Its scores are normalised returns: the mean over seeds of
the mean over a seed's episodes, +- the standard deviation between seeds. With --base a second figure is the mean
difference to that variant (under the same evaluation, or the named one) on the same seeds, +- its standard error; an asterisk marks what a two-sided t-test of these
differences would call significant at 5 %, one such test for each cell.
The last columns are the training's own, in the last row of metrics.csv, means over seeds: the conservative gap C and its
multiplier, the embeddings' mean distance to their nearest neighbour, the share of saturated coordinates. Runs that are not
there are named below the table, never guessed.
"""

import argparse
import csv
import json
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

METRICS = {"C": "conservative/gap", "lambda": "conservative/multiplier", "distance": "embedding/nearest_distance",
           "saturated": "embedding/saturated_share"}
RULES = ["best", "grad", "best-ada", "grad-ada"]


def t_limit(freedom):
    """Two-sided 5 % limit of Student's t, to 0.03: exact for few seeds, where it matters."""
    exact = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
    return exact.get(freedom, 1.96 + 2.7 / freedom)


def last_metrics(run):
    """{name: value} of the last row of each metric."""
    try:
        with open(run / "metrics.csv", encoding="utf-8") as file:
            return {row["name"]: float(row["value"]) for row in csv.DictReader(file) if row.get("value")}
    except (OSError, ValueError, KeyError):
        return {}


def scores_of(path):
    """{rule: mean normalised score over all episodes}."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = {}
        for result in content.get("results", [content]):
            scores.setdefault(result["rule"], []).extend(
                episode["normalised_score"] for episode in result["episodes"])
        return {rule: float(np.mean(values)) for rule, values in scores.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def seed_folders(folder):
    return sorted(folder.glob("seed_*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))


class Row:
    """A variant under one evaluation."""

    def __init__(self, dataset, variant, evaluation):
        self.variant, self.evaluation = variant, evaluation
        runs = seed_folders(dataset / variant)
        self.scores = {run.name: scores_of(run / "eval" / f"{evaluation}.json") for run in runs}
        self.missing = [f"{run}: no eval/{evaluation}.json" for run in runs if not self.scores[run.name]]
        self.metrics = [last_metrics(run) for run in runs]

    def seeds(self, rule):
        return {seed: scores[rule] for seed, scores in self.scores.items() if rule in scores}

    def score(self, rule, base):
        mine = self.seeds(rule)
        if not mine:
            return "-"
        values = list(mine.values())
        text = f"{np.mean(values):.1f} +- {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
        if base is None or base is self:
            return text
        theirs = base.seeds(rule)
        differences = [mine[seed] - theirs[seed] for seed in mine if seed in theirs]
        if len(differences) < 2:
            return text
        error = np.std(differences, ddof=1) / np.sqrt(len(differences))
        star = r"\*" if abs(np.mean(differences)) > t_limit(len(differences) - 1) * error else ""
        return f"{text} ({np.mean(differences):+.1f} +- {error:.1f}{star})"

    def metric(self, name):
        values = [metrics[name] for metrics in self.metrics if name in metrics]
        return f"{np.mean(values):.3g}" if values else "-"


def table(dataset, variants, evaluations, base):
    rows = []
    for variant in variants:
        if not (dataset / variant).is_dir():
            continue
        found = {path.stem for run in seed_folders(dataset / variant) for path in (run / "eval").glob("*.json")}
        named = [name for pattern in evaluations for name in sorted(found, key=natural) if fnmatch(name, pattern)]
        rows += [Row(dataset, variant, name) for name in dict.fromkeys(named)]
    if not rows:
        return []
    rules = [rule for rule in RULES if any(row.seeds(rule) for row in rows)]
    base_variant, _, base_evaluation = base.partition("/")
    bases = {row.evaluation: row for row in rows if row.variant == base_variant}
    if base_evaluation:
        row = bases.get(base_evaluation) or Row(dataset, base_variant, base_evaluation)
        bases = {other.evaluation: row for other in rows}
    several = len({row.evaluation for row in rows}) > 1
    head = ["variant", *(["evaluation"] if several else []), "seeds", *rules, *METRICS]
    lines = [f"### {dataset.name}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        seeds = max((len(row.seeds(rule)) for rule in rules), default=0)
        cells = [row.variant, *([row.evaluation] if several else []), str(seeds),
                 *(row.score(rule, bases.get(row.evaluation)) for rule in rules),
                 *(row.metric(name) for name in METRICS.values())]
        lines.append("| " + " | ".join(cells) + " |")
    missing = [line for row in rows for line in row.missing]
    return lines + [""] + [f"Missing: {line}" for line in missing] + ([""] if missing else [])


def natural(name):
    return [float(part) if re.fullmatch(r"\d+(\.\d+)?", part) else part for part in re.split(r"(\d+(?:\.\d+)?)", name)]


def main():
    parser = argparse.ArgumentParser(prog="compare.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a sweep: <folder>/<data set>/<variant>/seed_<s>/")
    parser.add_argument("--base", default="", help="VARIANT or VARIANT/EVALUATION that the others are compared with")
    parser.add_argument("--variant", help="comma-separated names or patterns, in the order of rows (default: as in sweep.json, else all)")
    parser.add_argument("--evaluation", default="protocol", help="comma-separated names or patterns (default: protocol)")
    options = parser.parse_args()
    datasets = sorted({path.parents[1] for path in options.folder.glob("*/*/seed_*")})
    if not datasets:
        parser.exit(3, f"compare.py: {options.folder}: found no <data set>/<variant>/seed_<s> below; give a sweep's folder\n")
    there = sorted({path.name for dataset in datasets for path in dataset.iterdir() if path.is_dir()}, key=natural)
    try:
        sweep = json.loads((options.folder / "sweep.json").read_text(encoding="utf-8"))
        order = list(dict.fromkeys(run["variant"] for run in sweep["runs"]))
    except (OSError, ValueError, KeyError, TypeError):
        order = []
    order = [name for name in order if name in there] + [name for name in there if name not in order]
    if options.variant:
        order = list(dict.fromkeys(name for pattern in options.variant.split(",") for name in order if fnmatch(name, pattern)))
    if options.base and options.base.partition("/")[0] not in there:
        parser.exit(2, f"compare.py: --base {options.base}: found no such variant; there are: {', '.join(there)}\n")
    lines = [line for dataset in datasets
             for line in table(dataset, order, options.evaluation.split(","), options.base)]
    if not lines:
        parser.exit(3, f"compare.py: {options.folder}: found no evaluation {options.evaluation} of these variants\n")
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    sys.exit(main())
