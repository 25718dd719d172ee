#!/usr/bin/env python3
"""Draws what happened in one run, in several runs of one config with different seeds, or in a trace.

    scripts/plot.py runs/quickstart
    scripts/plot.py runs/drop/hopper-medium-v2/drop/seed_* --out hopper-medium.png
    scripts/plot.py --trace trace.h5 --episode 3

Reads metrics.csv, config.yaml, provenance.json, eval/*.json and evaluations.json (of drop_eval
--json) of each run's folder and writes
plot.png: losses, conservative gap and multiplier, embeddings, returns on the way and the newest
evaluation of each rule by the run's own search settings. Lines are means over runs; the shade
reaches from the lowest run to the highest. What a run does not have is left out and said on standard
error, and so is an evaluation under other settings.

A trace (of drop_eval --trace) is drawn as in the paper's Figure 3, a column for each rule: the
embeddings that one episode visits among those of all sub-tasks, in the two principal components of
the latter, the score and the return over time and, where the trace holds a maze, the path through it.

Exit status: 0 drawn, 1 the picture cannot be written, 2 wrong usage, 3 a folder that is no run, a
file that is no trace, or nothing to draw in it.
"""

import argparse
import csv
import functools
import math
import os
import re
import sys
from collections import defaultdict
from pathlib import Path

VENV_PYTHON = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python3"
try:
    import h5py
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import yaml  # for run_settings
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator
except ImportError as problem:
    # called by another interpreter than the project's: hand over to that one, once
    if VENV_PYTHON.exists() and Path(sys.prefix).resolve() != VENV_PYTHON.parent.parent.resolve():
        os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])
    sys.exit(f"plot.py: error: {problem}; run ./scripts/setup.sh once")

sys.path.insert(0, str(Path(__file__).resolve().parent))
import common
from common import is_number, print_result, reason_of, regular_file, results_of, same_file
from run_settings import evaluation_difference, read_config

RULES = ["best", "grad", "best-ada", "grad-ada"]
RULE_COLOURS = {"best": "#0072B2", "grad": "#E69F00", "best-ada": "#009E73", "grad-ada": "#CC4C9B"}
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#333333"
MAX_POINTS = 400  # longer curves are averaged down to so many points
MOST_METRICS = 1 << 30  # bytes of a metrics.csv
MOST_STEPS = 2**53  # up to here a float tells steps apart
# what a run's own evaluations are called; those of older versions do not tell their search settings
OWN = re.compile(r"protocol|evaluations|step_\d+_.*")


class NothingToDraw(Exception):
    """What was given is no run or no trace, or holds nothing yet (exit status 3)."""


@functools.cache  # each remark once
def note(text):
    print(f"plot.py: {text}", file=sys.stderr)


def read_json(path):
    """The file's content; None, with a note, when it is missing or broken."""
    try:
        return common.read_json(path)
    except FileNotFoundError:
        note(f"{path}: not there")
    except (OSError, ValueError) as problem:
        note(f"{path}: left out, not readable as JSON ({reason_of(problem)})")
    return None


class Run:
    """What one run's folder holds."""

    def __init__(self, folder):
        self.folder = folder
        if not folder.is_dir():
            raise NothingToDraw(f"{folder}: no such folder; give the folder of a run")
        known = [folder / name for name in ("metrics.csv", "config.yaml", "provenance.json")]
        if not any(path.is_file() for path in known):
            raise NothingToDraw(
                f"{folder}: is no run (no metrics.csv, config.yaml or provenance.json); "
                "give the folder that drop_train --out named")
        self.metrics = self._read_metrics()
        self.config = self._read_config()
        self.evaluations = self._read_evaluations()
        self.data_mean, self.data_best = self._read_data_returns()

    def _read_metrics(self):
        """name -> [(step, value)]; rows that are cut off or not finite are counted and left out."""
        path = self.folder / "metrics.csv"
        metrics, broken, not_finite, too_far = defaultdict(dict), 0, 0, 0
        try:
            with regular_file(path, MOST_METRICS).open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    try:
                        step, value = int(row["step"]), float(row["value"])
                        name = row["name"]
                    except (KeyError, TypeError, ValueError):
                        broken += 1
                        continue
                    if not 0 <= step <= MOST_STEPS:
                        too_far += 1
                    elif is_number(value):
                        metrics[name][step] = value
                    else:
                        not_finite += 1
        except FileNotFoundError:
            note(f"{path}: not there")
        except (OSError, UnicodeError, csv.Error) as problem:
            note(f"{path}: read only in part ({reason_of(problem)})")
        if broken:
            note(f"{path}: {broken} rows are not step,wall_time_s,name,value; left out")
        if too_far:
            note(f"{path}: {too_far} rows have a step that is not from 0 to {MOST_STEPS}; left out")
        if not_finite:
            note(f"{path}: {not_finite} values are not finite or beyond {common.LARGEST:g}; left out")
        return {name: sorted(values.items()) for name, values in metrics.items()}

    def _read_config(self):
        path = self.folder / "config.yaml"
        try:
            return read_config(path)
        except FileNotFoundError:
            note(f"{path}: not there")
        except (OSError, ValueError) as problem:
            note(f"{path}: left out ({reason_of(problem)})")
        return {}

    def _read_evaluations(self):
        """rule -> the evaluation of its latest step (of these, the one with most episodes) by the run's own search."""
        protocol = self.folder / "eval" / "protocol.json"
        paths = [*sorted((self.folder / "eval").glob("*.json")), *self.folder.glob("evaluations.json")]
        contents = {path: read_json(path) for path in paths}
        settings = self.config
        if not isinstance(settings.get("search"), dict):
            settings = next((one for one in results_of(contents.get(protocol)) if isinstance(one, dict)), {})
        newest = {}
        for path, content in contents.items():
            if content is None:
                continue
            results = results_of(content)
            if not results:
                note(f"{path}: left out, holds no evaluation")
            for result in results:
                returns = episode_returns(result)
                if not returns:
                    note(f"{path}: a result without rule or episodes; left out")
                    continue
                difference = evaluation_difference(result, settings)
                if difference:
                    note("{}: left out, its {} is {}, the run's is {}".format(path, *difference))
                    continue
                known = "search" in result or OWN.fullmatch(path.stem) is not None
                step = result.get("step") if is_number(result.get("step")) else -1
                rank = (known, step, len(returns), path == protocol)
                rule = result["rule"]
                if rule not in newest or rank >= newest[rule][0]:
                    newest[rule] = (rank, result, path)
        for (known, *_), _, path in newest.values():
            if not known:
                note(f"{path}: does not say its search settings; drawn, for want of an eval/protocol.json")
        return {rule: result for rule, (_, result, _) in newest.items()}

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
    """Raw returns of an evaluation, or an empty list when it is none, or not whole."""
    if not isinstance(result, dict) or not isinstance(result.get("rule"), str):
        return []
    episodes = result.get("episodes")
    if not isinstance(episodes, list):
        return []
    returns = [one.get("return") if isinstance(one, dict) else None for one in episodes]
    return returns if all(map(is_number, returns)) else []


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


def set_style():
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
                         "axes.edgecolor": GREY, "xtick.color": INK, "ytick.color": INK})


def part_of(out):
    """The picture while it is being written."""
    return out.with_name(f".{out.stem}.part{out.suffix}")


def save(figure, out):
    """Writes the picture, never half of it under the final name."""
    part = part_of(out)
    try:
        figure.savefig(part, dpi=150)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
        plt.close(figure)


def draw(runs, out):
    """Draws all panels that have something to show; returns how many."""
    set_style()
    panels = [losses, conservative_gap, multiplier, embeddings, returns_on_the_way, final_returns]

    # find out what there is before the figure is divided
    scratch = plt.figure()
    drawable = [panel for panel in panels if panel(scratch.add_subplot(), runs)]
    plt.close(scratch)
    if not drawable:
        raise NothingToDraw(f"{runs[0].folder}: nothing to draw yet; train first (drop_train)")

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

    save(figure, out)
    return len(drawable)


# ---- a trace -----------------------------------------------------------------------------------


TRACE_VERSION = "1"
# greys for what the data hold, colours for what the episode does
RANK_COLOURS = LinearSegmentedColormap.from_list("rank", ["#404040", "#CFCFCF"])
TIME_COLOURS = LinearSegmentedColormap.from_list("time", plt.get_cmap("plasma")(
    np.linspace(0.0, 0.87, 64)))


# in the order of the legend
MARKS = ["start", "end", "kept throughout", "ascent", "goal"]


def text_of(value):
    """An HDF5 attribute as text, whichever kind of string it is."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def own_object(file, name):
    """What has this name inside the file itself: no link is followed. None without it."""
    found = file
    for part in name.split("/"):
        own = isinstance(found, h5py.Group) and isinstance(found.get(part, getlink=True), h5py.HardLink)
        found = found[part] if own else None
    return found


class Trace:
    """The N embeddings of a checkpoint, and one episode of each rule."""

    def __init__(self, path, episode):
        self.path = path
        if not path.is_file():
            raise NothingToDraw(f"{path}: no such file; give the file that drop_eval --trace wrote")
        try:
            with h5py.File(path, "r") as file:
                self._read(file, episode)
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as problem:
            reason = (str(problem).splitlines() or [type(problem).__name__])[0]
            raise self._refusal(f"is no trace that can be read ({reason})") from problem

    def _refusal(self, text):
        return NothingToDraw(f"{self.path}: {text}; give a file that drop_eval --trace wrote")

    def _read(self, file, episode):
        version = text_of(file.attrs.get("format_version", "missing"))
        if version != TRACE_VERSION:
            raise self._refusal(f"format_version is {version}, a trace has {TRACE_VERSION}")
        self.embeddings = self._array(file, "embeddings", (None, None))
        count, dimension = self.embeddings.shape
        self.ranks, self.rank_label = np.arange(count), "sub-task"
        if own_object(file, "subtask_return_mean"):
            self.rank_label = "sub-task by return, 0 = best"
            returns = self._array(file, "subtask_return_mean", (count,))
            self.ranks[np.argsort(-returns, kind="stable")] = np.arange(count)
        self.walls = self._array(file, "maze_walls", (None, 4)) if own_object(file, "maze_walls") else None

        self.episodes = {}
        for rule in RULES:
            name = f"{rule}/episode_{episode:03d}"
            if own_object(file, name):
                self.episodes[rule] = self._read_episode(file, name, count, dimension)
            elif group := own_object(file, rule):
                note(f"{self.path}: {rule} has {len(group)} episodes, none is {episode}; left out")
        if not self.episodes:
            raise self._refusal(f"no rule ({', '.join(RULES)}) has an episode {episode}")

        names = {key: text_of(value) for key, value in file.attrs.items()}
        data = Path(names.get("dataset", ""))
        stem = data.stem if data.suffix in (".hdf5", ".h5") else data.name
        parts = [stem or names.get("task") or self.path.stem]
        if names.get("step", "").isdigit():
            parts.append(f"step {int(names['step']):,}")
        if "seed" in names:
            parts.append(f"seed {names['seed']}")
        self.title = "  ·  ".join([*parts, f"episode {episode}"])

    def _read_episode(self, file, name, count, dimension):
        embeddings = self._array(file, f"{name}/embeddings", (None, dimension))
        steps = len(embeddings)
        found = {"embeddings": embeddings}
        for key in ("scores", "rewards", "subtasks"):
            found[key] = self._array(file, f"{name}/{key}", (steps,))
        found["subtasks"] = found["subtasks"].astype(int)
        outside = (found["subtasks"] < 0) | (found["subtasks"] >= count)
        if outside.any():
            raise self._refusal(f"{name}/subtasks holds {found['subtasks'][outside][0]}, allowed "
                                f"are 0 to {count - 1}")
        if self.walls is not None:
            found["path"] = self._array(file, f"{name}/qpos", (steps + 1, None), columns=2)
            # where the goal changes from episode to episode (AntMaze), it is the task's own state
            goal = f"{name}/task_state" if own_object(file, f"{name}/task_state") else "goal"
            found["goal"] = self._array(file, goal, (2,)) if own_object(file, goal) else None
        return found

    def _array(self, file, name, shape, columns=None):
        """Finite numbers in the given shape (None: any length but 0), cut to the first columns."""
        data = own_object(file, name)
        if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
            raise self._refusal(f"has no data set {name} of its own")
        wanted = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
        fits = data.dtype.kind in "fiu" and len(data.shape) == len(shape) and all(
            found == size or (size is None and found > 0) for found, size in zip(data.shape, shape))
        if not fits:
            raise self._refusal(f"{name} is {data.dtype} {list(data.shape)}, a trace has numbers "
                                f"{wanted}")
        # gzip packs at most about 1032 to 1
        if data.size > 2**24 + 1100 * self.path.stat().st_size:
            raise self._refusal(f"{name} claims {data.size} values, which so small a file cannot hold")
        values = data[()].astype(float)
        if columns is not None:
            values = values[:, :columns]
            if values.shape[1] < columns:
                raise self._refusal(f"{name} has {values.shape[1]} columns, {columns} are needed")
        bad = np.argwhere(~np.isfinite(values))
        if len(bad) > 0:
            place = ", ".join(str(index) for index in bad[0])
            raise self._refusal(f"{name}[{place}] is {values[tuple(bad[0])]}, only finite numbers "
                                "can be drawn")
        return values


def principal_components(points):
    """(mean, [2, d] directions, their shares of the variance) of points [N, d].

    Fewer than two directions with variance are filled up with orthogonal ones, or zeros for d = 1.
    """
    mean = points.mean(axis=0)
    variance, directions = np.linalg.eigh((points - mean).T @ (points - mean))
    variance, directions = np.maximum(variance[::-1], 0.0), directions.T[::-1]
    shares, two = np.zeros(2), np.zeros((2, points.shape[1]))
    two[:len(directions)] = directions[:2]
    shares[:len(directions)] = variance[:2] / max(variance.sum(), np.finfo(float).tiny)
    # the sign is free: the largest weight is positive
    largest = two[[0, 1], np.abs(two).argmax(axis=1)]
    two *= np.where(largest < 0, -1.0, 1.0)[:, None]
    return mean, two, shares


def limits(points, margin):
    """(low, high) of both coordinates of points [n, 2], widened by a share of the longer side."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = margin * max((high - low).max(), 1e-6)
    return low - room, high + room


def coloured_path(axes, points, width):
    """A line through points [n, 2] that changes its colour with time."""
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    axes.add_collection(LineCollection(pieces, array=np.linspace(0, 1, max(len(pieces), 1)),
                                       cmap=TIME_COLOURS, norm=Normalize(0, 1), linewidths=width,
                                       capstyle="round", zorder=3))


def start_and_end(axes, points):
    """Marks the ends of points [n, 2], or the one place where they all lie."""
    marks = [("D", "kept throughout", points[0], 0.5)]
    if np.ptp(points, axis=0).max() > 0:
        marks = [("o", "start", points[0], 0.0), ("s", "end", points[-1], 1.0)]
    for marker, label, point, time in marks:
        axes.plot(*point, marker, markersize=6.5, markeredgewidth=1.2, markeredgecolor="black",
                  markerfacecolor=TIME_COLOURS(time), linestyle="none", zorder=6, label=label)


def draw_embeddings(axes, trace, episode, project):
    """All N embeddings in grey, the visited ones in colour."""
    behaviour, visited = project(trace.embeddings), project(episode["embeddings"])
    # the best lie on top
    order = np.argsort(-trace.ranks)
    axes.scatter(*behaviour[order].T, c=trace.ranks[order], cmap=RANK_COLOURS, s=16, linewidths=0,
                 norm=Normalize(0, max(1, len(behaviour) - 1)), zorder=2)

    # from the sub-task where the search began to where gradient ascent led
    starts = behaviour[episode["subtasks"]]
    ways = np.unique(np.concatenate([starts, visited], axis=1), axis=0).reshape(-1, 2, 2)
    ways = ways[np.abs(ways[:, 0] - ways[:, 1]).max(axis=1) > 1e-6]
    if len(ways) > 0:
        axes.add_collection(LineCollection(ways, colors=INK, linewidths=0.8, zorder=3,
                                           alpha=max(0.15, len(ways) ** -0.5)))
        axes.plot([], [], color=INK, linewidth=0.8, label="ascent")
    axes.scatter(*visited.T, c=np.linspace(0, 1, len(visited)), cmap=TIME_COLOURS, s=15,
                 linewidths=0, norm=Normalize(0, 1), zorder=4)
    start_and_end(axes, visited)


def draw_maze(axes, trace, episode):
    for x, y, half_x, half_y in trace.walls:
        axes.add_patch(Rectangle((x - half_x, y - half_y), 2 * half_x, 2 * half_y,
                                 facecolor="#B5B5B5", edgecolor="#B5B5B5", linewidth=0.3, zorder=1))
    coloured_path(axes, episode["path"], 1.6)
    if episode["goal"] is not None:
        axes.plot(*episode["goal"], "*", markersize=13, markerfacecolor="#009E73",
                  markeredgecolor="black", markeredgewidth=0.8, linestyle="none", zorder=5,
                  label="goal")
    start_and_end(axes, episode["path"])


def draw_over_time(axes, values, colour):
    axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=1.4,
              marker="o" if len(values) < 25 else None, markersize=3.5)


def draw_trace(trace, out):
    """A column for each rule; its rows are embeddings, score, return and the maze."""
    set_style()
    mean, directions, shares = principal_components(trace.embeddings)

    def project(points):
        return (points - mean) @ directions.T

    rows = ["embeddings", "score", "return"]
    heights = [3.0, 1.35, 1.35]
    if trace.walls is not None:
        maze_low, maze_high = limits(np.concatenate(
            [trace.walls[:, :2] - trace.walls[:, 2:], trace.walls[:, :2] + trace.walls[:, 2:],
             *(episode["path"] for episode in trace.episodes.values())]), 0.0)
        width, height = maze_high - maze_low
        rows.append("maze")
        heights.append(float(np.clip(3.0 * height / width, 1.5, 4.5)))

    columns = len(trace.episodes)
    figure = plt.figure(figsize=(3.0 * columns + 1.9, sum(heights) + 1.6), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    axes = {}
    for row, kind in enumerate(rows):
        for column in range(columns):
            # one scale for all rules, so that they can be compared
            first = axes.get((kind, 0))
            axes[kind, column] = figure.add_subplot(grid[row, column], sharex=first, sharey=first)

    for column, (rule, episode) in enumerate(trace.episodes.items()):
        draw_embeddings(axes["embeddings", column], trace, episode, project)
        draw_over_time(axes["score", column], episode["scores"], RULE_COLOURS[rule])
        draw_over_time(axes["return", column], np.cumsum(episode["rewards"]), RULE_COLOURS[rule])
        if trace.walls is not None:
            draw_maze(axes["maze", column], trace, episode)
        steps = len(episode["rewards"])
        axes["embeddings", column].set_title(f"{rule}\n")
        axes["embeddings", column].annotate(
            f"return {episode['rewards'].sum():,.4g} in {steps:,} step{'s' if steps > 1 else ''}",
            (0.5, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5, color=INK)

    # the same unit along both components
    everything = project(np.concatenate([trace.embeddings, *(
        episode["embeddings"] for episode in trace.episodes.values())]))
    low, high = limits(everything, 0.05)
    centre, half = (low + high) / 2, (high - low).max() / 2
    axes["embeddings", 0].set(xlim=(centre[0] - half, centre[0] + half),
                              ylim=(centre[1] - half, centre[1] + half))
    if trace.walls is not None:
        axes["maze", 0].set(xlim=(maze_low[0], maze_high[0]), ylim=(maze_low[1], maze_high[1]))

    labels = {"embeddings": (f"component 1 ({shares[0]:.0%} of variance)",
                             f"component 2 ({shares[1]:.0%} of variance)"),
              "score": (None, "score f(s, a, z)"), "return": ("step", "return so far"),
              "maze": ("x", "y")}
    for (kind, column), one in axes.items():
        one.set_xlabel(labels[kind][0])
        one.tick_params(labelsize=8)
        if column == 0:
            one.set_ylabel(labels[kind][1])
        else:
            one.tick_params(labelleft=False)
        if kind == "score":
            one.tick_params(labelbottom=False)
        if kind in ("score", "return"):
            one.margins(x=0.02, y=0.1)
            one.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
            one.grid(axis="y", color="#E6E6E6", linewidth=0.8)
            for side in ("top", "right"):
                one.spines[side].set_visible(False)
        else:
            one.set_aspect("equal", adjustable="box")
    figure.align_ylabels([axes[kind, 0] for kind in rows])

    # the two scales and what the marks mean
    right = [axes["embeddings", column] for column in range(columns)]
    bar = figure.colorbar(plt.cm.ScalarMappable(Normalize(0, 1), TIME_COLOURS), ax=right, pad=0.01,
                          aspect=28, ticks=[0, 1])
    bar.ax.set_yticklabels(["first", "last"], fontsize=8)
    bar.set_label("step of the episode", labelpad=-14)
    count = len(trace.embeddings)
    bar = figure.colorbar(plt.cm.ScalarMappable(Normalize(0, max(1, count - 1)), RANK_COLOURS),
                          ax=right, pad=0.01, aspect=28, ticks=sorted({0, count // 2, count - 1}))
    bar.ax.invert_yaxis()
    bar.ax.tick_params(labelsize=8)
    bar.set_label(trace.rank_label)
    marks = {}
    for one in axes.values():
        marks |= {label: handle for handle, label in zip(*one.get_legend_handles_labels())}
    labels = [label for label in MARKS if label in marks]
    figure.legend([marks[label] for label in labels], labels, loc="outside lower center",
                  ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(trace.title, fontsize=11 if columns > 1 else 9, color=INK)
    save(figure, out)


def inputs_of(arguments):
    """The files that will be read."""
    if arguments.trace:
        return [arguments.trace]
    return [path for folder in arguments.runs for path in [
        *(folder / name for name in ("metrics.csv", "config.yaml", "provenance.json", "evaluations.json")),
        *folder.glob("eval/*.json")]]


def main(command_line=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="draw this trace of drop_eval --trace, in place of runs")
    parser.add_argument("--episode", type=int, default=0, metavar="N",
                        help="which episode of the trace (default: 0, the first)")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="picture to write: .png, .pdf or .svg (default: RUN/plot.png; of "
                             "several runs, plot.png beside the first; of a trace, its own name "
                             "ending in .png)")
    arguments = parser.parse_args(command_line)
    if bool(arguments.runs) == bool(arguments.trace):
        parser.error("give either folders of runs or --trace FILE")
    if arguments.episode < 0:
        parser.error(f"--episode {arguments.episode}: allowed are 0 and more")
    if arguments.trace:
        out = arguments.out or arguments.trace.with_suffix(".png")
    else:
        out = arguments.out or (arguments.runs[0] if len(arguments.runs) == 1
                                else arguments.runs[0].resolve().parent) / "plot.png"
    if out.suffix not in (".png", ".pdf", ".svg"):
        parser.error(f"--out {out}: allowed endings are .png, .pdf and .svg")
    for path in inputs_of(arguments):
        if same_file(path, out) or same_file(path, part_of(out)):
            parser.error(f"--out {out}: would overwrite {path}, which is read; give another name")
    try:
        if arguments.trace:
            draw_trace(Trace(arguments.trace, arguments.episode), out)
        else:
            draw([Run(folder) for folder in arguments.runs], out)
    except NothingToDraw as problem:
        print(f"plot.py: error: {problem}", file=sys.stderr)
        return 3
    except OSError as problem:
        print(f"plot.py: error: {out}: cannot be written ({problem.strerror})", file=sys.stderr)
        return 1
    print_result("plot.py", out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
