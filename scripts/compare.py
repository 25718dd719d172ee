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
there are named below the table, never guessed: of those that sweep.json lists, or, without one, of the same seeds everywhere.
"""

import argparse
import csv
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from common import SweepSummary, is_number, print_result, read_json, reason_of, regular_file, results_of

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
        with regular_file(run / "metrics.csv").open(encoding="utf-8") as file:
            return {row["name"]: float(row["value"]) for row in csv.DictReader(file) if row.get("value")}
    except (OSError, ValueError, KeyError, csv.Error):
        return {}


def scores_of(run, evaluation):
    """{rule: mean normalised score over all episodes}, and why there are none, or ""."""
    name, scores = f"eval/{evaluation}.json", {}
    try:
        for result in results_of(read_json(run / name)):
            scores.setdefault(result["rule"], []).extend(
                episode["normalised_score"] for episode in result["episodes"])
    except FileNotFoundError:
        return {}, f"no {name}"
    except (OSError, ValueError) as problem:
        return {}, f"{name} cannot be read ({reason_of(problem)})"
    except (KeyError, TypeError):
        return {}, f"{name} is no evaluation, or not a whole one"
    if not scores or not all(values and all(map(is_number, values)) for values in scores.values()):
        return {}, f"{name} has no normalised scores"
    return {rule: float(np.mean(values)) for rule, values in scores.items()}, ""


def seed_folders(folder):
    return sorted(folder.glob("seed_*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))


class Row:
    """A variant under one evaluation."""

    def __init__(self, dataset, variant, evaluation):
        self.variant, self.evaluation = variant, evaluation
        runs = seed_folders(dataset / variant)
        found = {run: scores_of(run, evaluation) for run in runs}
        self.scores = {run.name: scores for run, (scores, _) in found.items()}
        self.missing = [f"{run}: {problem}" for run, (_, problem) in found.items() if problem]
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


def rows_of(dataset, variants, evaluations, expected):
    """The rows of a data set that has some, and a line about each run or evaluation that is not there."""
    rows, missing = [], []
    for variant in variants:
        runs = seed_folders(dataset / variant)
        found = {path.stem for run in runs for path in (run / "eval").glob("*.json")}
        named = [name for pattern in evaluations for name in sorted(found, key=natural) if fnmatch(name, pattern)]
        mine = [Row(dataset, variant, name) for name in dict.fromkeys(named)]
        absent = [Row(dataset, variant, name) for name in evaluations if name not in named and not re.search(r"[*?[]", name)]
        gone = [(seed, why) for (of_dataset, of_variant, seed), why in sorted(expected.items())
                if (of_dataset, of_variant) == (dataset.name, variant) and not (dataset / variant / f"seed_{seed}").is_dir()]
        rows += mine
        missing += [f"{dataset / variant / f'seed_{seed}'}: no run" + (f" ({why})" if why else "") for seed, why in gone]
        missing += [line for row in mine + absent for line in row.missing]
    return rows, missing


def table(dataset, rows, missing, base):
    if not rows:
        return [f"### {dataset.name}", "", *(f"Missing: {line}" for line in missing), ""] if missing else []
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
    there = {(*path.parts[-3:-1], int(path.name[5:])) for path in options.folder.glob("*/*/seed_*")
             if re.fullmatch(r"seed_[0-9]+", path.name)}
    if not there:
        parser.exit(3, f"compare.py: {options.folder}: found no <data set>/<variant>/seed_<s> below; give a sweep's folder\n")
    sweep = SweepSummary(options.folder)
    expected = sweep.expected(there)
    variants = sorted({variant for _, variant, _ in there}, key=natural)
    order = list(dict.fromkeys([*(variant for _, variant, _ in sweep.runs), *variants]))
    if options.variant:
        order = list(dict.fromkeys(name for pattern in options.variant.split(",") for name in order if fnmatch(name, pattern)))
    if options.base and options.base.partition("/")[0] not in variants:
        parser.exit(2, f"compare.py: --base {options.base}: found no such variant; there are: {', '.join(variants)}\n")
    datasets = [options.folder / name for name in sorted({dataset for dataset, _, _ in [*there, *expected]})]
    found = [(dataset, *rows_of(dataset, order, options.evaluation.split(","), expected)) for dataset in datasets]
    if not any(rows for _, rows, _ in found):
        parser.exit(3, f"compare.py: {options.folder}: found no evaluation {options.evaluation} of these variants\n")
    lines = [line for one in found for line in table(*one, options.base)]
    print_result("compare.py", "\n".join([*lines, *(f"Missing: {line}" for line in sweep.problems)]).rstrip())


if __name__ == "__main__":
    sys.exit(main())
