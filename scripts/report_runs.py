"""What report.py reads: the paper's tables (scripts/paper) and the folders of runs."""

import csv
import functools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import plot
from common import SweepSummary, is_number, results_of
from plot import np

PAPER = Path(__file__).resolve().parent / "paper"
LAST = 6  # checkpoints of the protocol (Appendix D)

# the paper's columns that we run: variant, and the rule (the first that was evaluated)
OURS = {
    "BC": ("bc", ["best"]),
    "F-BC": ("f-bc", ["best"]),
    "COMs": ("coms", ["grad", "best"]),
    "DROP-Grad": ("drop", ["grad"]),
    "DROP-Best-Ada": ("drop", ["best-ada"]),
    "DROP-Grad-Ada": ("drop", ["grad-ada"]),
    "DROP+CVAE-Grad-Ada": ("drop-cvae", ["grad-ada"]),
}


class Unusable(Exception):
    """What was given holds no runs (exit status 3)."""


# ---- the paper's figures -----------------------------------------------------------------------


def read_paper(name):
    """(remarks, rows as dictionaries) of a file of scripts/paper."""
    lines = (PAPER / name).read_text(encoding="utf-8").splitlines()
    remarks = [line.lstrip("# ") for line in lines if line.startswith("#")]
    return remarks, list(csv.DictReader(line for line in lines if not line.startswith("#")))


def stages_of(text):
    """'30 -> 50 +- 6.3' as [(30.0, None), (50.0, 6.3)]; nothing as []."""
    parts = [part.split("+-") for part in text.split("->")] if text.strip() else []
    return [(float(part[0]), float(part[1]) if len(part) > 1 else None) for part in parts]


@functools.cache
def quoted():
    """(data set, column) -> (value, spread) of Tables 2, 4 and 11; where several have it, with spread."""
    found = {}
    for number in (2, 4, 11):
        for row in read_paper(f"table{number:02d}.csv")[1]:
            for column, text in row.items():
                if column in ("dataset", "note") or not text:
                    continue
                value = stages_of(text)[0]
                key = row["dataset"], column
                if key not in found or found[key][1] is None:
                    found[key] = value
    return found


# ---- runs --------------------------------------------------------------------------------------


class Run:
    """One seed's folder; what it lacks is told to `gaps`."""

    def __init__(self, folder, gaps):
        self.folder, self.gaps = folder, gaps
        self.seed = int(folder.name.removeprefix("seed_"))
        self.name = "/".join(folder.parts[-3:])
        self.read = set()  # files that numbers come from
        self._json = {}
        self.provenance = self.json("provenance.json", dict) or {}
        data = self.provenance.get("data")
        data = data if isinstance(data, dict) else {}
        self.data_id, self.data_hash = str(data.get("id", "")), str(data.get("sha256", ""))
        sessions = self.provenance.get("sessions", [])
        if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
            gaps.add(f"{self.name}: provenance.json: found no list of sessions; their commits are unknown")
            sessions = []
        # an interrupted run may have gone on with another build
        self.commits = list(dict.fromkeys(str(one.get("commit", "-")) for one in [*sessions, self.provenance]))

    def json(self, name, kind, wanted=True):
        """A file's content, read once; None, and a gap, where it is not there (if it is wanted) or
        is something else."""
        there = (self.folder / name).is_file()
        if name not in self._json:
            self._json[name] = plot.read_json(self.folder / name) if there else None
        content = self._json[name]
        if isinstance(content, kind):
            self.read.add(name)
            return content
        if there:
            self.gaps.add(f"{self.name}: {name} cannot be read")
        elif wanted:
            self.gaps.add(f"{self.name}: no {name}")
        return None

    def results(self, name):
        """The evaluations in eval/<name>.json that are whole; [] without any."""
        content = self.json(f"eval/{name}.json", dict)
        if content is None:
            return []
        results = results_of(content)
        whole = [result for result in results if plot.episode_returns(result) and is_number(result.get("step"))]
        if not results:
            self.gaps.add(f"{self.name}: eval/{name}.json holds no list of results")
        if len(whole) < len(results):
            self.gaps.add(f"{self.name}: eval/{name}.json: {len(results) - len(whole)} results "
                          "without rule, step or episodes; left out")
        other = {str(result.get("dataset_sha256", self.data_hash)) for result in whole}
        if self.data_hash and other - {self.data_hash}:
            self.gaps.add(f"{self.name}: eval/{name}.json was made on other data than the run")
        return whole

    def checkpoints(self, rule, name="protocol", last=LAST):
        """step -> mean normalised score of the episodes, of the last checkpoints; {} without any."""
        scores = defaultdict(list)
        for result in self.results(name):
            if result["rule"] != rule:
                continue
            episodes = [episode.get("normalised_score") for episode in result["episodes"]]
            if not all(is_number(score) for score in episodes):
                self.gaps.add(f"{self.name}: eval/{name}.json: no normalised scores ({rule})")
                return {}
            scores[result["step"]] += episodes
        return {step: float(np.mean(scores[step])) for step in sorted(scores)[-last:]}

    def finetuned(self, name):
        """What finetune/<name>.json says, or None."""
        content = self.json(f"finetune/{name}.json", dict, wanted=False)
        if content is None:
            return None
        before, after = content.get("initial"), content.get("chosen")
        values = [part.get("normalised_score") if isinstance(part, dict) else None
                  for part in (before, after)]
        if not all(is_number(value) for value in values):
            self.gaps.add(f"{self.name}: finetune/{name}.json: no normalised scores")
            return None
        # by the episodes that the choice rests on, it is never worse than the start
        trials = content.get("trials")
        trials = [one for one in trials if isinstance(one, dict) and is_number(one.get("return"))
                  ] if isinstance(trials, list) else []
        seen = [one["return"] for one in trials if all(
            one.get(key) == after.get(key) for key in ("step", "ascent_steps"))]
        seen = (trials[0]["return"], max(seen)) if seen else None
        if seen and seen[1] < seen[0]:
            self.gaps.add(f"{self.name}: finetune/{name}.json chose {seen[1]:.1f} where its start had "
                          f"{seen[0]:.1f}")
        step = after.get("step") if is_number(after.get("step")) else None
        return Finetuning(*values, step, content.get("env_steps"), seen)


@dataclass
class Finetuning:
    """One level with one rule: scores on fresh episodes, raw returns of the trials that were seen."""
    before: float
    after: float
    step: int  # of the chosen checkpoint; None where the file does not say
    env_steps: int
    seen: tuple  # (start, chosen), or None


@dataclass
class Group:
    """The seeds of one variant on one data set."""
    number: int
    dataset: str
    variant: str
    runs: list

    def score(self, value_of):
        """Over the seeds for which value_of(run) is not None."""
        values = [value for value in map(value_of, self.runs) if value is not None]
        return Score(values, self) if values else None

    def protocol(self, rule, reduce=np.mean):
        """Mean over the last checkpoints (or, with max, the best one), over seeds."""
        def value_of(run):
            checkpoints = run.checkpoints(rule)
            return float(reduce(list(checkpoints.values()))) if checkpoints else None
        return self.score(value_of)


@dataclass
class Score:
    """A mean over seeds; spread is the population's standard deviation, None for one seed."""
    values: list
    group: Group

    @property
    def mean(self):
        return float(np.mean(self.values))

    @property
    def spread(self):
        return float(np.std(self.values)) if len(self.values) > 1 else None


class Gaps:
    """What is missing, each thing once, in the order found."""

    def __init__(self):
        self.lines = {}

    def add(self, line):
        self.lines[line] = None


class Runs:
    """All runs below a root, and which rows of the paper they fill."""

    def __init__(self, root, allow_other_upload=False):
        self.gaps = Gaps()
        found = defaultdict(list)
        for folder in root.glob("*/*/seed_*"):
            if folder.is_dir() and re.fullmatch(r"seed_\d+", folder.name):
                if any((folder / name).is_file() for name in ("provenance.json", "config.yaml")):
                    found[folder.parts[-3:-1]].append(folder)
        if not found:
            raise Unusable(f"{root}: no runs (looked for <data set>/<variant>/seed_<s>); give the "
                           "folder that sweep.sh wrote, or drop_train without --out: runs/<name>")
        self.groups = {}
        for number, key in enumerate(sorted(found), 1):
            runs = [Run(folder, self.gaps) for folder in found[key]]
            self.groups[key] = Group(number, *key, sorted(runs, key=lambda run: run.seed))
        self.datasets = sorted({dataset for dataset, _ in self.groups})
        self._find_rows(allow_other_upload)

        # what should be there: what the sweep says, or the same seeds everywhere
        there = {(*key, run.seed) for key, group in self.groups.items() for run in group.runs}
        sweep = SweepSummary(root)
        expected = sweep.expected(there)
        for problem in sweep.problems:
            self.gaps.add(problem)
        self.seeds = len({seed for _, _, seed in expected})
        for run in sorted(set(expected) - there):
            reason = f" ({expected[run]})" if expected[run] else ""
            self.gaps.add(f"{run[0]}/{run[1]}/seed_{run[2]}: no run{reason}")
        for job in sweep.jobs:
            if job["state"] not in ("done", "skipped") and job["kind"] != "report":
                reason = f" ({job['reason']})" if job["reason"] else ""
                self.gaps.add(f"{job['id']}: {job['state']}{reason}")
        for group in self.groups.values():
            for run in group.runs:
                state = (run.json("status.json", dict) or {}).get("state", "unknown")
                if state != "finished":
                    self.gaps.add(f"{run.name}: its training is {state}, not finished")

    def _find_rows(self, allow_other_upload):
        """paper's id -> folder of its data set; the other folders have rows of their own."""
        known = {row["dataset"]: row["sha256"] for row in read_paper("d4rl_sha256.csv")[1]}
        in_paper = {row["dataset"] for row in read_paper("table11.csv")[1]}
        folders = defaultdict(list)
        self.data_ids = {}
        for dataset in self.datasets:
            runs = [run for (name, _), group in self.groups.items() if name == dataset
                    for run in group.runs]
            ids = {(run.data_id, run.data_hash) for run in runs if run.data_id}
            self.data_ids[dataset] = " / ".join(sorted({data_id for data_id, _ in ids}))
            if len(ids) > 1:
                self.gaps.add(f"{dataset}: its runs are of different data "
                              f"({'; '.join(' '.join(one) for one in sorted(ids))}); rows of its own")
                continue
            data_id, data_hash = ids.pop() if ids else ("", "")
            if data_id not in in_paper:
                continue
            if known.get(data_id, data_hash) != data_hash and not allow_other_upload:
                self.gaps.add(f"{dataset}: is named {data_id}, but its hash {data_hash[:12]} is not the "
                              "known one of D4RL's file; rows of its own (--allow-other-upload: the "
                              "paper's)")
                continue
            folders[data_id].append(dataset)
        self.row_of = {}
        for data_id, names in folders.items():
            if len(names) == 1 or data_id in names:
                self.row_of[data_id] = data_id if data_id in names else names[0]
            else:
                self.gaps.add(f"{data_id}: {', '.join(names)} are all of this data set; name one "
                              "like it to fill the paper's rows; rows of their own")
        self.own = [name for name in self.datasets if name not in self.row_of.values()]

    def group(self, dataset, variant):
        return self.groups.get((dataset, variant))

    def score(self, dataset, variant, rules, reduce=np.mean):
        """The protocol's score with the first of the rules that was evaluated; None, and a gap."""
        group = self.group(dataset, variant)
        if group is None:
            self.gaps.add(f"{dataset}/{variant}: no run")
            return None
        for rule in rules:
            score = group.protocol(rule, reduce)
            if score:
                for run in group.runs:
                    if run.results("protocol") and not run.checkpoints(rule):
                        self.gaps.add(f"{run.name}: eval/protocol.json has no score of {rule}")
                return score
        if any(run.results("protocol") for run in group.runs):
            self.gaps.add(f"{dataset}/{variant}: eval/protocol.json has no score of "
                          f"{' or '.join(rules)}")
        return None

    def title(self, dataset):
        """Of a data set's folder: with the data's id where that tells more."""
        data_id = self.data_ids[dataset]
        return dataset if data_id in ("", dataset) else f"{dataset} ({data_id})"


def with_gaps(build):
    """A builder whose table or figure gets the gaps that turn up while it is built."""
    @functools.wraps(build)
    def wrapped(runs, *arguments):
        runs.gaps.lines = {}
        result = build(runs, *arguments)
        result.gaps = list(dict.fromkeys(result.gaps + list(runs.gaps.lines)))
        return result
    return wrapped
