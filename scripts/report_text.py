"""What a report consists of, and its two forms: Markdown and LaTeX."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from report_runs import LAST

RUNS_HEADER = ["runs", "data set", "variant", "seed", "commit", "data", "SHA-256", "steps",
               "checkpoints x episodes", "files read"]


@dataclass
class Cell:
    """Text, and the groups of runs that it comes from."""
    text: str = ""
    groups: tuple = ()


@dataclass
class Table:
    title: str
    header: list
    rows: list = field(default_factory=list)  # of Cells; None: a line between blocks
    remarks: list = field(default_factory=list)
    gaps: list = field(default_factory=list)


@dataclass
class Figure:
    title: str
    path: Path = None  # None: nothing could be drawn
    caption: str = ""
    groups: tuple = ()
    gaps: list = field(default_factory=list)


INTRODUCTION = [
    "Scores are D4RL's normalised returns (0 random, 100 expert). Ours: for each seed the mean over its "
    f"last {LAST} checkpoints and their episodes (\"best checkpoint\": the highest mean of one of them, "
    "which flatters); then mean ± standard deviation (population) over seeds. Small numbers lead to the "
    "runs behind a figure, in the last table.",
    "The paper's figures are transcribed in scripts/paper/. \"difference\" is ours minus the paper's. "
    "\"-\" is a gap: no run, or no evaluation of it. Empty cells are figures that the paper's table lacks "
    "and runs that it does not ask for."]


def markdown_text(text):
    return re.sub(r"([\\|*_<>\[\]`])", r"\\\1", text)


def markdown_cell(cell):
    links = ",".join(f"[{number}](#runs-{number})" for number in cell.groups)
    return markdown_text(cell.text) + (f" <sup>{links}</sup>" if links else "")


def markdown_gaps(gaps):
    return ["Missing:", "", *(f"- {markdown_text(gap)}" for gap in gaps), ""] if gaps else []


def markdown(title, gaps, tables, figures, run_rows):
    def row(cells):
        return "| " + " | ".join(cells) + " |"

    lines = [f"# {markdown_text(title)}", ""]
    for paragraph in INTRODUCTION:
        lines += [markdown_text(paragraph), ""]
    lines += ["## Gaps", "", *(markdown_gaps(gaps) or ["None in the runs.", ""])]
    for table in tables:
        lines += [f"## {markdown_text(table.title)}", ""]
        for remark in table.remarks:
            lines += [markdown_text(remark), ""]
        lines += [row(map(markdown_text, table.header)), row(["---"] * len(table.header))]
        lines += [row(map(markdown_cell, cells)) for cells in table.rows if cells]
        lines += ["", *markdown_gaps(table.gaps)]
    for figure in figures:
        lines += [f"## {markdown_text(figure.title)}", ""]
        if figure.path:
            lines += [f"![{markdown_text(figure.title)}]({quote(figure.path.name)})", "",
                      markdown_cell(Cell(figure.caption + " Runs", figure.groups)), ""]
        lines += markdown_gaps(figure.gaps)
    lines += ["## Runs", "", row(RUNS_HEADER), row(["---"] * len(RUNS_HEADER))]
    anchored = set()
    for number, cells, folder in run_rows:
        anchor = "" if number in anchored else f'<a id="runs-{number}"></a>'
        anchored.add(number)
        cells = [markdown_text(cell) for cell in cells]
        cells[2] = f"[{cells[2]}]({folder})"
        cells[3] = f"[{cells[3]}]({folder}/provenance.json)"
        lines.append(row([f"{anchor}{number}", *cells]))
    return "\n".join(lines) + "\n"


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "→": r"$\rightarrow$", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
         '"': "''", **{letter: "\\" + letter for letter in "&%$#_{}"}}


def latex_text(text):
    text = "".join(LATEX.get(letter, letter) for letter in text)
    # a minus, but no hyphen
    return re.sub(r"(^|(?<= ))-(?=\d)", "$-$", text)


def latex_cell(cell):
    links = ",".join(rf"\hyperlink{{runs-{number}}}{{{number}}}" for number in cell.groups)
    return latex_text(cell.text) + (rf"\textsuperscript{{{links}}}" if links else "")


def latex_gaps(gaps):
    if not gaps:
        return []
    items = [rf"\item {latex_text(gap)}" for gap in gaps]
    return ["Missing:", r"\begin{itemize}\raggedright", *items, r"\end{itemize}"]


def latex_table(columns, header, rows):
    head = " & ".join(header) + r" \\"
    return [rf"\begin{{longtable}}{{{columns}}}", r"\hline", head, r"\hline\endhead", *rows,
            r"\hline", r"\end{longtable}"]


def latex(title, gaps, tables, figures, run_rows):
    lines = [r"\documentclass[a3paper,landscape]{article}", r"\usepackage[utf8]{inputenc}",
             r"\usepackage[T1]{fontenc}", r"\usepackage[margin=1.2cm]{geometry}",
             r"\usepackage{array,longtable,graphicx}", r"\usepackage[hidelinks]{hyperref}",
             r"\setlength{\tabcolsep}{3pt}", r"\renewcommand{\arraystretch}{1.2}",
             r"\setlength{\parindent}{0pt}", r"\sloppy", r"\begin{document}",
             rf"\section*{{{latex_text(title)}}}"]
    for paragraph in INTRODUCTION:
        lines += [latex_text(paragraph), ""]
    lines += [r"\section*{Gaps}", *(latex_gaps(gaps) or ["None in the runs."])]
    for table in tables:
        lines.append(rf"\section*{{{latex_text(table.title)}}}")
        for remark in table.remarks:
            lines += [latex_text(remark), ""]
        rows = [" & ".join(map(latex_cell, cells)) + r" \\" if cells else r"\hline"
                for cells in table.rows]
        while rows and rows[-1] == r"\hline":
            rows.pop()
        labels = 1 + table.header.index("")
        lines += [r"{\footnotesize", *latex_table("l" * labels + "r" * (len(table.header) - labels),
                                                list(map(latex_text, table.header)), rows), "}"]
        lines += latex_gaps(table.gaps)
    for figure in figures:
        lines.append(rf"\section*{{{latex_text(figure.title)}}}")
        if figure.path:
            # both bounds keep it on one page
            lines += [r"\includegraphics[width=\linewidth,height=0.75\textheight,keepaspectratio]"
                      f"{{{figure.path.name}}}", "",
                      latex_cell(Cell(figure.caption + " Runs", figure.groups)), ""]
        lines += latex_gaps(figure.gaps)
    rows, anchored = [], set()
    for number, cells, _ in run_rows:
        anchor = "" if number in anchored else rf"\hypertarget{{runs-{number}}}{{}}"
        anchored.add(number)
        rows.append(" & ".join([f"{anchor}{number}", *map(latex_text, cells)]) + r" \\")
    lines += [r"\section*{Runs}", r"{\footnotesize",
              *latex_table("rllrlllrl>{\\raggedright\\arraybackslash}p{12cm}",
                           list(map(latex_text, RUNS_HEADER)), rows), "}", r"\end{document}"]
    return "\n".join(lines) + "\n"


def write(path, text):
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
