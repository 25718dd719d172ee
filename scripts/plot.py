#!/usr/bin/env python3
"""Draws what happened in one run, or in several runs of one config with different seeds.

    scripts/plot.py runs/quickstart
    scripts/plot.py runs/drop/hopper-medium-v2/drop/seed_* --out hopper-medium.png

Reads metrics.csv, config.yaml, provenance.json, eval/*.json and evaluations.json (of drop_eval
--json) of each run's folder and writes
plot.png: losses, conservative gap and multiplier, embeddings, returns on the way and the newest
evaluation of each rule. Lines are means over runs; the shade reaches from the lowest run to the
highest. What a run does not have is left out and said on standard error.

Exit status: 0 drawn, 1 the picture cannot be written, 2 wrong usage, 3 a folder that is no run or
has nothing to draw.
"""

import argparse
import csv
import functools
import json
import math
import os
import sys
from collections import defaultdict
from pathlib import Path

VENV_PYTHON = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python3"
try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import yaml
except ImportError as problem:
    # called by another interpreter than the project's: hand over to that one, once
    if VENV_PYTHON.exists() and Path(sys.prefix).resolve() != VENV_PYTHON.parent.parent.resolve():
        os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])
    sys.exit(f"plot.py: error: {problem}; run ./scripts/setup.sh once")

RULES = ["best", "grad", "best-ada", "grad-ada"]
RULE_COLOURS = {"best": "#0072B2", "grad": "#E69F00", "best-ada": "#009E73", "grad-ada": "#CC4C9B"}
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#333333"
MAX_POINTS = 400  # longer curves are averaged down to so many points


class NoRun(Exception):
    """The folder is no run (exit status 3)."""


@functools.cache  # each remark once
def note(text):
    print(f"plot.py: {text}", file=sys.stderr)


def read_json(path):
    """The file's content; None, with a note, when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        note(f"{path}: not there")
    except (OSError, ValueError) as problem:
        note(f"{path}: left out, not readable as JSON ({problem})")
    return None


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Run:
    """What one run's folder holds."""

    def __init__(self, folder):
        self.folder = folder
        if not folder.is_dir():
            raise NoRun(f"{folder}: no such folder; give the folder of a run")
        known = [folder / name for name in ("metrics.csv", "config.yaml", "provenance.json")]
        if not any(path.is_file() for path in known):
            raise NoRun(f"{folder}: is no run (no metrics.csv, config.yaml or provenance.json); "
                        "give the folder that drop_train --out named")
        self.metrics = self._read_metrics()
        self.config = self._read_config()
        self.evaluations = self._read_evaluations()
        self.data_mean, self.data_best = self._read_data_returns()

    def _read_metrics(self):
        """name -> [(step, value)]; rows that are cut off or not finite are counted and left out."""
        path = self.folder / "metrics.csv"
        metrics, broken, not_finite = defaultdict(dict), 0, 0
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    try:
                        step, value = int(row["step"]), float(row["value"])
                        name = row["name"]
                    except (KeyError, TypeError, ValueError):
                        broken += 1
                        continue
                    if math.isfinite(value):
                        metrics[name][step] = value
                    else:
                        not_finite += 1
        except FileNotFoundError:
            note(f"{path}: not there")
        except (OSError, UnicodeError, csv.Error) as problem:
            note(f"{path}: read only in part ({problem})")
        if broken:
            note(f"{path}: {broken} rows are not step,wall_time_s,name,value; left out")
        if not_finite:
            note(f"{path}: {not_finite} values are not finite; left out")
        return {name: sorted(values.items()) for name, values in metrics.items()}

    def _read_config(self):
        path = self.folder / "config.yaml"
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            if isinstance(config, dict):
                return config
            note(f"{path}: left out, holds no keys")
        except FileNotFoundError:
            note(f"{path}: not there")
        except (OSError, ValueError, yaml.YAMLError) as problem:
            note(f"{path}: left out ({str(problem).splitlines()[0]})")
        return {}

    def _read_evaluations(self):
        """rule -> the evaluation of its latest step (of these, the one with most episodes)."""
        newest = {}
        for path in [*sorted((self.folder / "eval").glob("*.json")), *self.folder.glob("evaluations.json")]:
            content = read_json(path)
            results = content.get("results", [content]) if isinstance(content, dict) else []
            for result in results if isinstance(results, list) else []:
                returns = episode_returns(result)
                if not returns:
                    note(f"{path}: a result without rule or episodes; left out")
                    continue
                step = result.get("step") if is_number(result.get("step")) else -1
                rank = (step, len(returns))
                rule = result["rule"]
                if rule not in newest or rank >= newest[rule][0]:
                    newest[rule] = (rank, result)
        return {rule: result for rule, (_, result) in newest.items()}

    def _read_data_returns(self):
        """Mean and best raw return of the data's trajectories, or None for each that is unknown."""
        provenance = read_json(self.folder / "provenance.json")
        data = provenance.get("data") if isinstance(provenance, dict) else None
        found = [(data, "return_mean", "return_max")]
        found += [(r.get("data_return"), "mean", "max") for r in self.evaluations.values()]
        for values, *keys in found:
            if isinstance(values, dict) and is_number(values.get(keys[0])):
                return [values[key] if is_number(values.get(key)) else None for key in keys]
        note(f"{self.folder}: neither provenance.json nor eval/*.json has the data's own returns")
        return None, None

    def setting(self, section, key):
        values = self.config.get(section)
        return values.get(key) if isinstance(values, dict) else None


def episode_returns(result):
    """Raw returns of an evaluation, or an empty list when it is none."""
    if not isinstance(result, dict) or not isinstance(result.get("rule"), str):
        return []
    episodes = result.get("episodes")
    if not isinstance(episodes, list):
        return []
    returns = [e.get("return") for e in episodes if isinstance(e, dict)]
    return [value for value in returns if is_number(value)]


def reference_of(runs):
    """(random, expert) returns that scores are measured against, or None."""
    for run in runs:
        for result in run.evaluations.values():
            reference = result.get("reference")
            if isinstance(reference, dict) and all(
                    is_number(reference.get(key)) for key in ("random", "expert")):
                if reference["expert"] != reference["random"]:
                    return reference["random"], reference["expert"]
    return None


def to_score(value, reference):
    """Normalised score of a raw return; the return itself where there is no reference."""
    if reference is None:
        return value
    return 100.0 * (value - reference[0]) / (reference[1] - reference[0])


def thin_out(steps, *curves):
    """Averages neighbouring points until at most MAX_POINTS are left."""
    if len(steps) <= MAX_POINTS:
        return (steps, *curves)
    parts = np.array_split(np.arange(len(steps)), MAX_POINTS)
    return tuple(np.array([values[part].mean() for part in parts]) for values in (steps, *curves))


def curve(runs, name):
    """(steps, mean, lowest, highest) of a metric over the runs that have it; None without any."""
    at_step = defaultdict(list)
    for run in runs:
        for step, value in run.metrics.get(name, []):
            at_step[step].append(value)
    if not at_step:
        return None
    steps = np.array(sorted(at_step), dtype=float)
    columns = [np.array([reduce(at_step[step]) for step in steps]) for reduce in (np.mean, min, max)]
    return thin_out(steps, *columns)


def draw_curve(axes, runs, name, colour, label):
    """One metric as mean and spread; False (with a note) when no run has it."""
    points = curve(runs, name)
    if points is None:
        note(f"no run has the metric {name}")
        return False
    steps, mean, low, high = points
    marker = "o" if len(steps) < 25 else None
    axes.plot(steps, mean, color=colour, label=label, marker=marker, markersize=3.5, linewidth=1.6)
    if len(runs) > 1:
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    return True


def dashed(axes, value, text, colour=GREY, style=(0, (5, 3))):
    """A horizontal line with its meaning written on it; the axis makes room for both."""
    low, high = axes.get_ylim()
    room = 0.1 * (high - low)
    axes.set_ylim(min(low, value - room), max(high, value + room))
    axes.axhline(value, color=colour, linewidth=1.2, linestyle=style, zorder=1)
    axes.annotate(text, (1, value), xycoords=("axes fraction", "data"), xytext=(-3, 3),
                  textcoords="offset points", ha="right", va="bottom", fontsize=8, color=colour)


# ---- panels: each returns False when there is nothing to draw --------------------------------


def losses(axes, runs):
    axes.set_title("losses")
    drawn = [draw_curve(axes, runs, "loss/behaviour", BLUE, "behaviour"),
             draw_curve(axes, runs, "loss/td", ORANGE, "TD")]
    values = [v for run in runs for name in ("loss/behaviour", "loss/td")
              for _, v in run.metrics.get(name, [])]
    if values and min(values) > 0:
        axes.set_yscale("log")
    return any(drawn)


def conservative_gap(axes, runs):
    axes.set_title("conservative gap C")
    axes.set_ylabel("raw reward units")
    if not draw_curve(axes, runs, "conservative/gap", BLUE, None):
        return False
    threshold = runs[0].setting("train", "conservative_threshold")
    if is_number(threshold):
        dashed(axes, threshold, f"threshold {threshold:g}", ORANGE)
    else:
        note(f"{runs[0].folder}: no train.conservative_threshold in config.yaml")
    return True


def multiplier(axes, runs):
    axes.set_title("multiplier λ")
    return draw_curve(axes, runs, "conservative/multiplier", BLUE, None)


def embeddings(axes, runs):
    axes.set_title("embeddings")
    drawn = [draw_curve(axes, runs, "embedding/nearest_distance", BLUE, "distance to nearest"),
             draw_curve(axes, runs, "embedding/saturated_share", ORANGE, "saturated share")]
    axes.set_ylim(bottom=0)
    return any(drawn)


def returns_on_the_way(axes, runs):
    axes.set_title("evaluation during training")
    names = {name for run in runs for name in run.metrics}
    kind = "normalised_score" if any(n.endswith("/normalised_score") for n in names) else "return"
    axes.set_ylabel("normalised score" if kind == "normalised_score" else "return")
    rules = [rule for rule in RULES if f"eval/{rule}/{kind}" in names]
    if not rules:
        note("no evaluation during training")
        return False
    for rule in rules:
        draw_curve(axes, runs, f"eval/{rule}/{kind}", RULE_COLOURS[rule], rule)
    return True


def final_returns(axes, runs):
    """A bar for each rule: over episodes for one run, over the runs' means for several."""
    rules = [rule for rule in RULES if any(rule in run.evaluations for run in runs)]
    if not rules:
        note("no readable eval/*.json")
        return False
    reference = reference_of(runs)
    unit = "return" if reference is None else "normalised score"
    axes.set_ylabel(f"{unit}, mean ± std")

    means, stds, counts, steps = [], [], set(), set()
    for rule in rules:
        results = [run.evaluations[rule] for run in runs if rule in run.evaluations]
        scores = [[to_score(v, reference) for v in episode_returns(r)] for r in results]
        values = scores[0] if len(runs) == 1 else [np.mean(s) for s in scores]
        means.append(float(np.mean(values)))
        stds.append(float(np.std(values)))
        counts.add(len(values))
        steps |= {r["step"] for r in results if is_number(r.get("step"))}
    places = np.arange(len(rules))
    axes.bar(places, means, width=0.6, color=[RULE_COLOURS[rule] for rule in rules], zorder=2)
    axes.errorbar(places, means, yerr=stds, fmt="none", ecolor=INK, elinewidth=1.2, capsize=4,
                  zorder=3)
    axes.set_xticks(places, [f"{rule}\n{mean:.1f} ± {std:.1f}"
                             for rule, mean, std in zip(rules, means, stds)])
    # room for the lines' names beside the bars
    axes.set_xlim(-0.6, len(rules) + 0.35)

    over = f"{'–'.join(str(c) for c in sorted({min(counts), max(counts)}))} " + (
        "episodes" if len(runs) == 1 else "runs")
    axes.set_title(f"evaluation at step {steps.pop():,}, {over}" if len(steps) == 1
                   else f"newest evaluation, {over}")
    for value, text, style in ((runs[0].data_mean, "data, mean", (0, (5, 3))),
                               (runs[0].data_best, "data, best", (0, (1, 1.5)))):
        if value is not None:
            dashed(axes, to_score(value, reference), text, INK, style)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    return True


# ---- the figure --------------------------------------------------------------------------------


def step_text(value, _):
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def finish(axes, panel):
    """What all panels have in common."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    if panel is not final_returns:
        axes.set_xlabel("training step")
        axes.xaxis.set_major_formatter(step_text)
    if len(axes.get_legend_handles_labels()[1]) > 0:
        axes.legend(frameon=False, fontsize=8)


def title_of(runs):
    """Data set, decomposition, seeds and speed in one line."""
    datasets = {Path(str(run.config.get("dataset", "?"))).stem for run in runs}
    if len(datasets) > 1:
        note(f"the runs are of different data sets: {', '.join(sorted(datasets))}")
    parts = [" / ".join(sorted(datasets)) if datasets != {"?"} else runs[0].folder.name]
    rule, n, m = (runs[0].setting("decomposition", key)
                  for key in ("rule", "num_subtasks", "trajectories_per_subtask"))
    if rule and n and m:
        parts.append(f"{rule}({n}, {m})")
    if len(runs) > 1:
        parts.append(f"{len(runs)} runs")
    elif runs[0].config.get("seed") is not None:
        parts.append(f"seed {runs[0].config['seed']}")
    speeds = [v for run in runs for _, v in run.metrics.get("speed/steps_per_second", [])]
    if speeds:
        parts.append(f"{np.median(speeds):,.0f} steps/s")
    return "  ·  ".join(parts)


def draw(runs, out):
    """Draws all panels that have something to show; returns how many."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
                         "axes.edgecolor": GREY, "xtick.color": INK, "ytick.color": INK})
    panels = [losses, conservative_gap, multiplier, embeddings, returns_on_the_way, final_returns]

    # find out what there is before the figure is divided
    scratch = plt.figure()
    drawable = [panel for panel in panels if panel(scratch.add_subplot(), runs)]
    plt.close(scratch)
    if not drawable:
        raise NoRun(f"{runs[0].folder}: nothing to draw yet; train first (drop_train)")

    columns = min(len(drawable), 2 if len(drawable) in (2, 4) else 3)
    rows = math.ceil(len(drawable) / columns)
    figure = plt.figure(figsize=(4.4 * columns, 3.3 * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    for index, panel in enumerate(drawable):
        row, column = divmod(index, columns)
        last = index == len(drawable) - 1
        # the last panel takes what is left of its row
        axes = figure.add_subplot(grid[row, column:] if last else grid[row, column])
        panel(axes, runs)
        finish(axes, panel)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    figure.suptitle(title_of(runs), fontsize=11, color=INK)

    # never half a picture under the final name
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    try:
        figure.savefig(part, dpi=150)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
        plt.close(figure)
    return len(drawable)


def main(command_line=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="picture to write: .png, .pdf or .svg (default: RUN/plot.png; of "
                             "several runs, plot.png beside the first)")
    arguments = parser.parse_args(command_line)
    out = arguments.out or (arguments.runs[0] if len(arguments.runs) == 1
                            else arguments.runs[0].resolve().parent) / "plot.png"
    if out.suffix not in (".png", ".pdf", ".svg"):
        parser.error(f"--out {out}: allowed endings are .png, .pdf and .svg")
    try:
        draw([Run(folder) for folder in arguments.runs], out)
    except NoRun as problem:
        print(f"plot.py: error: {problem}", file=sys.stderr)
        return 3
    except OSError as problem:
        print(f"plot.py: error: {out}: cannot be written ({problem.strerror})", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
