"""Figures 3 to 8, 10 and 11 of report.py."""

import re
import sys
from collections import defaultdict

import plot
from plot import np, plt
from report_runs import OURS, Score, quoted, with_gaps
from report_text import Figure

COUNTED = re.compile(r"(.*)-n(\d+)")  # a variant with another number of sub-tasks
ADAPTIVE = ["grad", "best-ada", "grad-ada"]
SUITES = {"maze2d": "Maze2D", "antmaze": "AntMaze", "halfcheetah": "MuJoCo-Gym",
          "hopper": "MuJoCo-Gym", "walker2d": "MuJoCo-Gym", "ant": "MuJoCo-Gym", "pen": "Adroit",
          "hammer": "Adroit", "door": "Adroit", "relocate": "Adroit"}
# colours that stay apart for all kinds of colour vision
WITH, WITHOUT = plot.BLUE, plot.ORANGE
DECOMPOSITIONS = [("Random", "drop-random", "#56B4E9"), ("Quantization", "drop-quantization", "#E69F00"),
                  ("Rank", "drop", "#009E73")]


def panels(count, columns=3, width=4.0, height=2.9, sharey=False):
    """A figure with so many axes, at most `columns` beside each other."""
    plot.set_style()
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows + 0.4),
                                layout="constrained", squeeze=False, sharey=sharey)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    for one in axes.flat[count:]:
        one.remove()
    return figure, list(axes.flat[:count])


def tidy(axes):
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def shared_legend(figure, axes):
    """One legend below all panels."""
    handles = {}
    for one in axes:
        handles |= {label: handle for handle, label in zip(*one.get_legend_handles_labels())}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center",
                      ncols=min(6, len(handles)), frameon=False)


def bars(axes, labels, series):
    """Groups of bars, one for each label; series: (name, colour or colours, values), a value being
    (mean, spread or None), None for a gap, which is drawn as "-", or "" for what is not asked for."""
    width = 0.8 / len(series)
    for index, (name, colour, values) in enumerate(series):
        places = np.arange(len(labels)) + (index - (len(series) - 1) / 2) * width
        axes.bar(places, [value[0] if value else 0 for value in values], width=0.92 * width,
                 color=colour, label=name, zorder=2)
        for place, value in zip(places, values):
            if value is None:
                axes.annotate("-", (place, 0), xytext=(0, 2), textcoords="offset points", ha="center",
                              va="bottom", color=plot.INK, fontsize=14, fontweight="bold")
            elif value and value[1] is not None:
                axes.errorbar(place, value[0], yerr=value[1], ecolor=plot.INK, elinewidth=1.0,
                              capsize=2.5, zorder=3)
    axes.axhline(0, color=plot.GREY, linewidth=0.8, zorder=1)
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    tidy(axes)


def pair(score):
    """For bars()."""
    return (score.mean, score.spread) if score else None


def slug(name):
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name)


def numbers(groups):
    return tuple(sorted({group.number for group in groups}))


def figure_3(runs, out):
    """A trace for each data set that has one, and the four rules' scores."""
    figures, scored, used = [], {}, []
    for dataset in runs.datasets:
        group = runs.group(dataset, "drop")
        traces = [(run, path) for run in (group.runs if group else [])
                  for path in sorted(run.folder.glob("eval/*.h5"))]
        figure = Figure(f"Figure 3: embeddings that one episode visits, {dataset}")
        for run, path in traces[:1]:
            picture = out / f"figure_03_{slug(dataset)}.png"
            try:
                plot.draw_trace(plot.Trace(path, 0), picture)
                figure.path, figure.groups = picture, (group.number,)
                run.read.add(f"eval/{path.name}")
                figure.caption = (f"Among those of all sub-tasks, in two principal components, under "
                                  f"each rule; seed {run.seed}, eval/{path.name}.")
            except plot.NothingToDraw as problem:
                figure.gaps.append(f"{run.name}: {str(problem).replace(str(path), f'eval/{path.name}')}")
        if not traces:
            figure.gaps.append(f"{dataset}: no trace (eval/*.h5) of a run of drop")
        figures.append(figure)
        scores = [group.protocol(rule) if group else None for rule in plot.RULES]
        if any(scores):
            scored[dataset] = scores
            used.append(group)

    last = Figure("Figure 3 (d): the four rules")
    if scored:
        picture, axes = panels(len(scored))
        for one, (dataset, scores) in zip(axes, scored.items()):
            bars(one, plot.RULES, [("", [plot.RULE_COLOURS[rule] for rule in plot.RULES],
                                    list(map(pair, scores)))])
            one.set(title=dataset, ylabel="normalised score")
        last.path = out / "figure_03_rules.png"
        last.caption, last.groups = f"Means {OVER}.", numbers(used)
        plot.save(picture, last.path)
    else:
        last.gaps.append("no run of drop has eval/protocol.json")
    return [*figures, last]


OVER = "over seeds, checkpoints and episodes; whiskers: standard deviation over seeds"


class Curves(plot.Run):
    """Only the metrics of a run."""

    def __init__(self, folder):
        self.folder = folder
        self.metrics = self._read_metrics()


def loss_groups(runs, dataset):
    """N -> group of the variants <prefix>-n<N>, with the prefix that has most; bc is N = 1."""
    families = defaultdict(dict)
    for (name, variant), group in runs.groups.items():
        match = COUNTED.fullmatch(variant)
        if name == dataset and match:
            families[match[1]][int(match[2])] = group
    if not families:
        return {}
    best = dict(max(families.values(), key=len))
    if runs.group(dataset, "bc"):
        best.setdefault(1, runs.group(dataset, "bc"))
    return dict(sorted(best.items()))


@with_gaps
def figure_4(runs, out):
    figure = Figure("Figure 4: behaviour loss for several numbers of sub-tasks")
    found = {dataset: loss_groups(runs, dataset) for dataset in runs.datasets}
    for dataset in [name for name, groups in found.items() if not groups]:
        figure.gaps.append(f"{dataset}: no variants named ...-n<N>")
        del found[dataset]
    if not found:
        return figure
    picture, axes = panels(len(found))
    for one, (dataset, groups) in zip(axes, found.items()):
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(groups)))
        for (count, group), colour in zip(groups.items(), colours):
            curves = [Curves(run.folder) for run in group.runs]
            for run in group.runs:
                run.read.add("metrics.csv")
            if not plot.draw_curve(one, curves, "loss/behaviour", colour, f"N = {count}"):
                figure.gaps.append(f"{dataset}/{group.variant}: metrics.csv has no loss/behaviour")
        one.set(title=dataset, xlabel="training step", ylabel="behaviour loss")
        one.xaxis.set_major_formatter(plot.step_text)
        tidy(one)
        one.legend(frameon=False, fontsize=8)
    figure.path = out / "figure_04.png"
    figure.caption = "Mean over seeds; the shade reaches from the lowest to the highest."
    figure.groups = numbers(group for groups in found.values() for group in groups.values())
    plot.save(picture, figure.path)
    return figure


@with_gaps
def figure_5(runs, out):
    figure = Figure("Figure 5: decomposition rules")
    variants = [variant for _, variant, _ in DECOMPOSITIONS]
    found = [dataset for dataset in runs.datasets
             if sum(runs.group(dataset, variant) is not None for variant in variants) > 1]
    figure.gaps += [f"{dataset}: not two of {', '.join(variants)}" for dataset in runs.datasets
                    if dataset not in found]
    if not found:
        return figure
    picture, axes = panels(len(found))
    groups = []
    for one, dataset in zip(axes, found):
        scores = {variant: [runs.score(dataset, variant, [rule]) for rule in ADAPTIVE]
                  for variant in variants}
        groups += [score.group for many in scores.values() for score in many if score]
        bars(one, ADAPTIVE, [(name, colour, [pair(score) for score in scores[variant]])
                             for name, variant, colour in DECOMPOSITIONS])
        one.set(title=dataset, ylabel="normalised score")
    shared_legend(picture, axes)
    figure.path, figure.groups = out / "figure_05.png", numbers(groups)
    figure.caption = f"Means {OVER}; \"-\": not there."
    plot.save(picture, figure.path)
    return figure


def learning_curve(run):
    """step -> normalised score with rule best: of evaluations on the way, curve and protocol."""
    points = {}
    files = sorted(path.stem for path in (run.folder / "eval").glob("step_*_best.json"))
    for name in [*files, "protocol", "curve"]:
        if (run.folder / "eval" / f"{name}.json").is_file():
            points |= run.checkpoints("best", name, last=sys.maxsize)
    return dict(sorted(points.items()))


@with_gaps
def figure_6(runs, out):
    figure = Figure("Figure 6: scores over training, rule best")
    found = {}
    for dataset in runs.datasets:
        group = runs.group(dataset, "drop")
        curves = {run.seed: learning_curve(run) for run in (group.runs if group else [])}
        curves = {seed: points for seed, points in curves.items() if len(points) > 1}
        if curves:
            found[dataset] = curves
        else:
            figure.gaps.append(f"{dataset}: no run of drop was evaluated with best at two steps")
    if not found:
        return figure
    picture, axes = panels(len(found))
    for one, (dataset, curves) in zip(axes, found.items()):
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(curves)))
        for (seed, points), colour in zip(curves.items(), colours):
            one.plot(list(points), list(points.values()), color=colour, marker="o", markersize=3.5,
                     linewidth=1.4, label=f"seed {seed}")
        one.set(title=dataset, xlabel="training step", ylabel="normalised score")
        one.xaxis.set_major_formatter(plot.step_text)
        tidy(one)
        one.legend(frameon=False, fontsize=8)
    figure.path = out / "figure_06.png"
    figure.caption = "A line for each seed; each point is the mean over episodes of one checkpoint."
    figure.groups = numbers(runs.group(dataset, "drop") for dataset in found)
    plot.save(picture, figure.path)
    return figure


def suite_of(runs, dataset):
    """'MuJoCo-Gym v2', 'Maze2D', ...; by the data's id, else by the folder's name."""
    name = runs.data_ids[dataset] or dataset
    suite = SUITES.get(re.split(r"[-_]", name.lower())[0], "other")
    version = re.search(r"-(v\d)$", name)
    return f"{suite} {version[1]}" if version and dataset in runs.row_of.values() else suite


@with_gaps
def figure_7(runs, out):
    figure = Figure("Figure 7: totals before and after checkpoint-level fine-tuning")
    suites, used = defaultdict(list), []
    for dataset in runs.datasets:
        group = runs.group(dataset, "drop")
        tuned = {}  # seed -> rule -> (before, after)
        for run in group.runs if group else []:
            chosen = run.finetuned("checkpoint-best")
            scores = {rule: run.checkpoints(rule) for rule in ADAPTIVE}
            if chosen and all(chosen.step in points for points in scores.values()):
                tuned[run.seed] = {rule: (np.mean(list(points.values())), points[chosen.step])
                                   for rule, points in scores.items()}
            else:
                figure.gaps.append(f"{run.name}: no finetune/checkpoint-best.json with the chosen "
                                   f"checkpoint's scores of {', '.join(ADAPTIVE)} in eval/protocol.json")
        if tuned:
            suites[suite_of(runs, dataset)].append(tuned)
            used.append(group)
        elif not group:
            figure.gaps.append(f"{dataset}/drop: no run")
    if not suites:
        return figure
    picture, axes = panels(len(suites))
    for one, (suite, sets) in zip(axes, sorted(suites.items())):
        seeds = sorted(set.intersection(*(set(tuned) for tuned in sets)))
        if not seeds:
            figure.gaps.append(f"{suite}: no seed is fine-tuned on all its data sets")
        series = []
        for index, (name, colour) in enumerate((("before", "#9CC3DE"), ("after", plot.BLUE))):
            totals = [[sum(tuned[seed][rule][index] for tuned in sets) for seed in seeds]
                      for rule in ADAPTIVE]
            series.append((name, colour, [pair(Score(total, None)) if total else None
                                          for total in totals]))
        bars(one, ADAPTIVE, series)
        one.set(title=f"{suite}, {len(sets)} data set{'s' if len(sets) > 1 else ''}",
                ylabel="total of normalised scores")
    shared_legend(picture, axes)
    figure.path, figure.groups = out / "figure_07.png", numbers(used)
    figure.caption = ("Before: the mean over the last checkpoints; after: the checkpoint that rule best "
                      "chose; sums over the data sets, whiskers: standard deviation over seeds.")
    plot.save(picture, figure.path)
    return figure


def ascents(runs, dataset, variant, rule):
    """seed -> ascent steps -> score, of eval/steps-<K>.json."""
    group = runs.group(dataset, variant)
    lines = {}
    for run in group.runs if group else []:
        points = {}
        for path in (run.folder / "eval").glob("steps-*.json"):
            if re.fullmatch(r"steps-\d+", path.stem):
                scores = run.checkpoints(rule, path.stem)
                if scores:
                    points[int(path.stem[6:])] = float(np.mean(list(scores.values())))
        if points:
            lines[run.seed] = dict(sorted(points.items()))
    return lines


# the second one is dashed: where no seed's constraint was ever active both are the same
REGULARISED = [("with the conservative term", "drop", WITH, "o-"),
               ("without (w/o Reg)", "drop-naive", WITHOUT, "s--")]


def draw_ascents(axes, lines, name, colour, style, seeds):
    """The mean over seeds, and each seed as a thin line or all as a shade."""
    steps = sorted({step for points in lines.values() for step in points})
    values = [[points[step] for points in lines.values() if step in points] for step in steps]
    axes.plot(steps, [np.mean(many) for many in values], style, color=colour, markersize=4, linewidth=1.8, label=name,
              zorder=3)
    if seeds:
        for points in lines.values():
            axes.plot(list(points), list(points.values()), color=colour, linewidth=0.9, alpha=0.4)
    else:
        axes.fill_between(steps, [min(many) for many in values], [max(many) for many in values],
                          color=colour, alpha=0.15, linewidth=0)


@with_gaps
def ascent_figure(runs, out, number, rules, seeds):
    """Figures 8 (both rules, a thin line for each seed) and 10 (grad-ada)."""
    figure = Figure(f"Figure {number}: scores against ascent steps, with and without the "
                    "conservative term")
    found, used = [], []
    for dataset in runs.datasets:
        lines = {(rule, variant): ascents(runs, dataset, variant, rule)
                 for rule in rules for _, variant, _, _ in REGULARISED}
        for (rule, variant), one in lines.items():
            group = runs.group(dataset, variant)
            if group is None:
                figure.gaps.append(f"{dataset}/{variant}: no run")
            for run in group.runs if group else []:
                if run.seed not in one:
                    figure.gaps.append(f"{run.name}: no eval/steps-<K>.json with {rule}")
            used += [group] if one else []
        if any(lines.values()):
            found += [(dataset, rule, lines) for rule in rules]
    if not found:
        return figure
    picture, axes = (panels(len(found), columns=len(rules), sharey="row") if len(rules) > 1
                     else panels(len(found)))
    for one, (dataset, rule, lines) in zip(axes, found):
        for name, variant, colour, style in REGULARISED:
            if lines[rule, variant]:
                draw_ascents(one, lines[rule, variant], name, colour, style, seeds)
        one.set(title=f"{dataset}, {rule}", xlabel="ascent steps K", ylabel="normalised score")
        tidy(one)
    shared_legend(picture, axes)
    figure.path, figure.groups = out / f"figure_{number:02d}.png", numbers(used)
    figure.caption = "Mean over seeds and episodes; " + (
        "thin lines: each seed." if seeds else "the shade reaches from the lowest seed to the highest.")
    figure.caption += " Where the lines lie on each other the constraint was never active."
    plot.save(picture, figure.path)
    return figure


@with_gaps
def figure_11(runs, out):
    figure = Figure("Figure 11: beside the figures that the paper quotes and its own")
    methods = ["BC", "F-BC", "DT", "RvS-R", "Onestep", "COMs", "DROP-Grad", "DROP-Best-Ada",
               "DROP-Grad-Ada", "DROP+CVAE-Grad-Ada"]
    id_of = {folder: data_id for data_id, folder in runs.row_of.items()}
    picture, axes = panels(len(runs.datasets), columns=2, width=5.6, height=3.3)
    groups = []
    for one, dataset in zip(axes, runs.datasets):
        theirs = {name: quoted().get((id_of.get(dataset), name)) for name in methods}
        ours = {name: runs.score(dataset, *OURS[name]) for name in methods if name in OURS}
        groups += [score.group for score in ours.values() if score]
        shown = [name for name in methods if name in ours or theirs[name]]
        series = [("ours", plot.BLUE, [pair(ours[name]) if name in ours else "" for name in shown])]
        if dataset in id_of:
            series.append(("in the paper", "#B5B5B5", [theirs[name] or "" for name in shown]))
        bars(one, [name.removesuffix("-Grad-Ada") if "CVAE" in name else name for name in shown], series)
        one.tick_params(axis="x", labelrotation=40, labelsize=8)
        for label in one.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
        one.set(title=dataset, ylabel="normalised score")
    shared_legend(picture, axes)
    figure.path, figure.groups = out / "figure_11.png", numbers(groups)
    figure.caption = (f"Means {OVER}; \"-\": no run of ours. The paper's bars are those of its Tables 2, "
                      "4 and 11; others it has as bars only.")
    plot.save(picture, figure.path)
    return figure


def all_figures(runs, out):
    return [*figure_3(runs, out), figure_4(runs, out), figure_5(runs, out), figure_6(runs, out),
            figure_7(runs, out), ascent_figure(runs, out, 8, ["grad", "grad-ada"], True),
            ascent_figure(runs, out, 10, ["grad-ada"], False), figure_11(runs, out)]
