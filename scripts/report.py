#!/usr/bin/env python3
"""Rebuilds the paper's tables and figures from the folders of runs: ours beside the paper's figures.

    scripts/report.py runs/mini
    scripts/report.py runs/mini --out docs/mini

ROOT holds runs as ROOT/<data set>/<variant>/seed_<s>, as sweep.sh makes them. Written into --out
(default ROOT/report): report.md, report.tex and figure_*.png. Tables 2 to 6, 10 and 11; Figures 3
to 8, 10 and 11. Every figure of ours has the number of its runs, which the last table lists with
commit, data hash and seeds.

What is read of each run: provenance.json, status.json, metrics.csv (Figure 4: variants named
...-n<N>, and bc), eval/protocol.json (everything else), eval/curve.json and eval/step_*.json
(Figure 6), eval/steps-<K>.json of the variants drop and drop-naive (Figures 8 and 10), eval/*.h5 of
the variant drop (Figure 3: traces of drop_eval --trace) and finetune/<level>-<rule>.json (Table 5,
Figure 7). Other variants: drop-random and drop-quantization (Figure 5), drop-cvae, bc, f-bc, coms.

A data set of D4RL fills the paper's rows of its id; one whose hash is known to be another, and one
that the paper does not have, gets rows of its own. Where sweep.sh left its sweep.json, the runs that
were skipped and the jobs that are not done are listed with their reasons. What is missing is a "-"
and a line, never a guess.

Exit status: 0 written, 1 it cannot be written, 2 wrong usage, 3 a folder without runs.
"""

import argparse
import os
import sys
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent))
import plot  # hands over to the project's interpreter where this one lacks packages
from common import is_number, print_result
from plot import np
from report_figures import COUNTED, all_figures
from report_runs import OURS, Runs, Score, Unusable, read_paper, stages_of, with_gaps
from report_text import Cell, Table, latex, markdown, write

TITLES = {
    2: "Non-iterative methods", 3: "Latent policies", 4: "DROP and filtered behaviour cloning",
    5: "Online fine-tuning", 6: "DROP+CVAE", 10: "Iterative methods", 11: "All results of DROP"}
GAP = Cell("-")


def number_text(value, spread=None):
    return f"{value:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")


def score_cell(score, runs):
    if score is None:
        return GAP
    text = number_text(score.mean, score.spread)
    if len(score.values) < runs.seeds:
        text += f" ({len(score.values)} of {runs.seeds} seeds)"
    return Cell(text, (score.group.number,))


def paper_cell(text):
    """The paper's own digits."""
    return Cell((text or "").replace("+-", "±").replace("->", "→"))


def difference_row(ours, theirs):
    """Cells of ours minus theirs, stage by stage; None without any."""
    cells, some = [], False
    for our, their in zip(ours, theirs):
        both = list(zip(our, their))
        some = some or bool(both)
        cells.append(Cell(" → ".join(f"{a - b[0]:+.1f}" for a, b in both)))
    return [Cell(), Cell("difference"), *cells] if some else None


def absent_rows(runs, rows):
    """A line about the paper's data sets that have no runs at all."""
    names = [row["dataset"] for row in rows if not row["dataset"].startswith("total")]
    absent = [name for name in names if name not in runs.row_of]
    if not absent:
        return []
    return [f"no runs of {len(absent)} of the {len(names)} data sets: {', '.join(absent)}"]


@with_gaps
def score_table(runs, number):
    """Tables 2, 3, 4, 6, 10 and 11."""
    remarks, rows = read_paper(f"table{number:02d}.csv")
    columns = [name for name in rows[0] if name not in ("dataset", "note")]
    table = Table(f"Table {number}: {TITLES[number]}", ["data set", "", *columns], remarks=remarks)
    table.remarks += [f"{row['dataset']}: {row['note']}" for row in rows if row["note"]]
    table.gaps = absent_rows(runs, rows)
    # where the paper's own columns are of other data (Table 10), Table 11 has the right figures
    right = {row["dataset"]: row for row in read_paper("table11.csv")[1]} if number == 10 else {}
    if right:
        table.remarks.append("The differences are to Table 11's figure of the same data set.")

    block = []  # the scores of each row since the last total
    for row in [*rows, *({"dataset": None, "own": name} for name in runs.own)]:
        name = row["dataset"]
        mine = {column: None for column in columns if column in OURS}
        if name and name.startswith("total"):
            totals = [[sum(one[column].mean for one in block)]
                      if column in mine and block and all(one[column] for one in block) else []
                      for column in columns]
            table.rows.append([Cell(name), Cell("paper"), *(paper_cell(row[column]) for column in columns)])
            table.rows.append([Cell(), Cell("ours"), *(
                (Cell(number_text(total[0])) if total else GAP) if column in mine else Cell()
                for column, total in zip(columns, totals))])
            difference = difference_row(totals, [stages_of(row[column]) for column in columns])
            table.rows += [difference] if difference else []
            table.rows.append(None)
            block = []
            continue

        # what the paper's row has is asked for; Table 10 has illegible cells that Table 11 fills
        asked = [column for column in mine if name is None or row[column] or number == 10]
        dataset = row["own"] if name is None else runs.row_of.get(name)
        best = dict(mine)
        if dataset is not None:
            for column in asked:
                mine[column] = runs.score(dataset, *OURS[column])
                best[column] = runs.score(dataset, *OURS[column], max) if mine[column] else None
        block.append(mine)
        first = Cell(name or runs.title(dataset))
        if name:
            table.rows.append([first, Cell("paper"), *(paper_cell(row[column]) for column in columns)])
            first = Cell()
        for title, scores in (("ours", mine), ("ours, best checkpoint", best)):
            if title == "ours" or any(scores.values()):
                table.rows.append([first, Cell(title), *(
                    score_cell(scores[column], runs) if column in asked else Cell()
                    for column in columns)])
            first = Cell()
        difference = name and difference_row(
            [[mine[column].mean] if mine.get(column) else [] for column in columns],
            [stages_of(right.get(name, row).get(column) or "") for column in columns])
        table.rows += [difference] if difference else []
        table.rows.append(None)
    return table


# Table 5's columns of ours: the files of finetune/ whose scores follow each other
FINETUNED = {"DROP-Grad": ["embedding-grad"],
             "DROP-Grad-Ada": ["embedding-grad-ada", "parametric-grad-ada"],
             "checkpoint level (best)": ["checkpoint-best"]}


def finetuned(runs, dataset, names):
    """Of the levels in `names`: Scores before and after each, mean environment steps of each, mean
    returns before and after among the episodes seen."""
    group = runs.group(dataset, "drop")
    if group is None:
        runs.gaps.add(f"{dataset}/drop: no run")
        return [], [], []
    scores, steps, seen = [], [], []
    for name in names:
        found = []
        for run in group.runs:
            one = run.finetuned(name)
            if one is None:
                runs.gaps.add(f"{run.name}: no finetune/{name}.json")
            else:
                found.append(one)
        if not found:
            break  # the later levels begin where this one ended
        if not scores:
            scores.append(Score([one.before for one in found], group))
        scores.append(Score([one.after for one in found], group))
        spent = [one.env_steps for one in found if is_number(one.env_steps)]
        steps.append(f"{np.mean(spent):,.0f}" if spent else "-")
        if all(one.seen for one in found):
            means = np.mean([one.seen for one in found], axis=0)
            seen += [f"{value:,.1f}" for value in (means if not seen else means[1:])]
    return scores, steps, seen


@with_gaps
def finetuning_table(runs):
    remarks, rows = read_paper("table05.csv")
    columns = [name for name in rows[0] if name not in ("dataset", "note")]
    columns.append("checkpoint level (best)")
    table = Table(f"Table 5: {TITLES[5]}", ["data set", "", *columns], remarks=remarks)
    table.remarks += [
        "The last column is not in the paper's table (Figure 7 has it).",
        "Ours, before and after: on fresh episodes. \"episodes seen\": raw returns of the start and of "
        "the choice in the episodes that the choice rests on."]
    table.gaps = absent_rows(runs, rows)
    in_rows = {runs.row_of[row["dataset"]] for row in rows if row["dataset"] in runs.row_of}
    others = [dataset for (dataset, variant), group in runs.groups.items()
              if variant == "drop" and dataset not in in_rows
              and any((run.folder / "finetune").is_dir() for run in group.runs)]
    if not in_rows and not others:
        runs.gaps.add("no run of drop has a finetune/ folder")
    for row in [*rows, *({"dataset": None, "own": name} for name in others)]:
        name = row["dataset"]
        dataset = row["own"] if name is None else runs.row_of.get(name)
        paper = [stages_of(row.get(column) or "") for column in columns]
        scores, steps, seen = {}, {}, {}
        for column in FINETUNED if dataset else ():
            scores[column], steps[column], seen[column] = finetuned(runs, dataset, FINETUNED[column])
        first = Cell(name or runs.title(dataset))
        if name:
            table.rows.append([first, Cell("paper"), *(
                paper_cell(row.get(column)) for column in columns)])
            first = Cell()
        cells = []
        for column in columns:
            parts = [score_cell(score, runs) for score in scores.get(column, [])]
            cells.append(Cell() if column not in FINETUNED else GAP if not parts else
                         Cell(" → ".join(part.text for part in parts), parts[0].groups))
        table.rows.append([first, Cell("ours"), *cells])
        for title, texts in (("episodes seen", seen), ("environment steps", steps)):
            if any(texts.values()):
                table.rows.append([Cell(), Cell(title), *(
                    Cell(" → ".join(texts.get(column, []))) for column in columns)])
        difference = difference_row(
            [[score.mean for score in scores.get(column, [])] for column in columns], paper)
        table.rows += [difference] if difference else []
        table.rows.append(None)
    return table


@with_gaps
def overview_table(runs):
    """Not in the paper: every variant and rule that was evaluated by the protocol."""
    table = Table("All variants and rules", ["data set", "variant", "", *plot.RULES],
                  remarks=["Not a table of the paper: everything that was evaluated, in one place."])
    for (dataset, variant), group in runs.groups.items():
        # fits for Figure 4 need no evaluation
        if COUNTED.fullmatch(variant) and not any(
                (run.folder / "eval/protocol.json").is_file() for run in group.runs):
            continue
        rows = [[group.protocol(rule, reduce) for rule in plot.RULES] for reduce in (np.mean, max)]
        if not any(rows[0]):
            continue
        for title, scores in zip(("last", "best"), rows):
            head = [Cell(runs.title(dataset)), Cell(variant)] if title == "last" else [Cell(), Cell()]
            table.rows.append([*head, Cell(title), *(score_cell(score, runs) for score in scores)])
        table.rows.append(None)
    return table


def runs_table(runs, out):
    """(cells, path of the folder from `out`) for each run."""
    rows = []
    for group in runs.groups.values():
        for run in group.runs:
            commit = ", ".join(one[:12] for one in run.commits)
            if str(run.provenance.get("dirty")).lower() == "true":
                commit += " (changed)"
            status = run.json("status.json", dict) or {}
            protocol = run.results("protocol")
            steps = {result["step"] for result in protocol}
            episodes = {len(result["episodes"]) for result in protocol}
            rows.append((group.number, [
                group.dataset, group.variant, str(run.seed), commit, run.data_id or "-",
                run.data_hash[:12] or "-", f"{status['step']:,}" if is_number(status.get("step")) else "-",
                f"{len(steps)} x {'/'.join(map(str, sorted(episodes)))}" if steps else "-",
                ", ".join(sorted(run.read - {"provenance.json", "status.json"})) or "-"],
                quote(os.path.relpath(run.folder, out).replace(os.sep, "/"))))
    return rows


def report(root, out, allow_other_upload):
    runs = Runs(root, allow_other_upload)
    gaps = list(runs.gaps.lines)
    out.mkdir(parents=True, exist_ok=True)
    tables = [finetuning_table(runs) if number == 5 else score_table(runs, number)
              for number in TITLES]
    tables.append(overview_table(runs))
    figures = all_figures(runs, out)
    # pictures of an earlier call whose runs are gone
    for old in set(out.glob("figure_*.png")) - {figure.path for figure in figures}:
        old.unlink()
    parts = (f"The paper's tables and figures from {root.name}", gaps, tables, figures,
             runs_table(runs, out))
    write(out / "report.md", markdown(*parts))
    write(out / "report.tex", latex(*parts))
    missing = {gap for part in (*tables, *figures) for gap in part.gaps} | set(gaps)
    return len(missing), sum(figure.path is not None for figure in figures)


def main(command_line=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT",
                        help="folder of runs: ROOT/<data set>/<variant>/seed_<s>")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="folder to write into (default: ROOT/report)")
    parser.add_argument("--allow-other-upload", action="store_true",
                        help="a file of a D4RL id with another hash than the known one is genuine, too")
    arguments = parser.parse_args(command_line)
    out = (arguments.out or arguments.root / "report").resolve()
    try:
        gaps, figures = report(arguments.root.resolve(), out, arguments.allow_other_upload)
    except Unusable as problem:
        print(f"report.py: error: {problem}", file=sys.stderr)
        return 3
    except OSError as problem:
        print(f"report.py: error: {out}: cannot be written ({problem})", file=sys.stderr)
        return 1
    print(f"report.py: {figures} figures, {gaps} gaps", file=sys.stderr)
    print_result("report.py", f"{out / 'report.md'}\n{out / 'report.tex'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
