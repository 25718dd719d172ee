#!/usr/bin/env python3
"""Chooses the number of sub-tasks N in the paper's two steps (Appendix D, Table 8).

    scripts/select_n.py --config configs/gym/hopper-medium-replay-v2.yaml
    scripts/select_n.py --config configs/maze2d/maze2d-umaze-v1.yaml --values 50,150,500 --dry-run

Step 1 fits the behaviour alone (train.score: off) for each N of the family's set in Table 8, a tenth
of the config's steps each, and keeps the four N with the lowest behaviour loss (mean of the last
tenth of what was logged). Step 2 trains and evaluates each of these once, in full, with one seed;
the N with the highest mean return is chosen. An N so large that the data have no trajectories left
for it cuts them as the one before does, and is left out.

Everything lies in --out (default runs/select_n): runs as <data set>/fit-n<N> and
<data set>/full-n<N>/seed_<s>, which report.py can read (Figure 4), and <data set>/select_n.json with
the choice and all that it rests on. The same call again goes on where it stopped; what is done is
not done again. Runs that were made with other settings are refused.

Exit status: 0 chosen, 1 a program failed, 2 wrong usage or config, 3 bad data, 130 interrupted.
"""

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import plot
from common import is_number, print_result, results_of
from plot import np
from report_figures import Curves
from report_runs import LAST, read_paper
from report_text import write
from run_settings import Refused, checkpoint_steps, dry_run, evaluation_difference, other_settings

ROOT = Path(__file__).resolve().parent.parent
ROBOTS = ["halfcheetah", "hopper", "walker2d", "ant"]
HANDS = ["pen", "hammer", "door", "relocate"]


class Stop(Exception):
    """Ends the program with a message and an exit status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def family_of(task, dataset):
    """The row of Table 8, or None."""
    name = (task or dataset).lower()
    if name.startswith("antmaze"):
        version = re.search(r"-(v\d)$", dataset)
        return f"antmaze-{version[1] if version else 'v2'}"
    first = re.split(r"[-_]", name)[0]
    return "gym-mujoco" if first in ROBOTS else "adroit" if first in HANDS else None


def table_8(family):
    rows = {row["tasks"]: row["N"] for row in read_paper("table08.csv")[1]}
    return [int(value) for value in rows[family].split()] if family in rows else None


def call(command):
    """Runs a program to its end; an interrupt reaches it as well, and it saves before it ends."""
    print(f"select_n.py: {shlex.join(command)}", file=sys.stderr)
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    except OSError as problem:
        raise Stop(1, f"{command[0]}: cannot be started ({problem.strerror}); build first, or give "
                      "--bin") from problem
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            continue
    if status != 0:
        raise Stop(status if status in (2, 3, 130) else 1,
                   f"{Path(command[0]).name} ended with status {status} (its message is above); the "
                   "same call goes on from here")


class Selection:
    """One data set's choice: the runs, and the evidence as it grows."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.bin = arguments.bin
        self.sets = [word for one in arguments.set for word in ("--set", one)]
        self.config = self.asked(dry_run, [self.bin / "drop_train", "--config", arguments.config, *self.sets])
        dataset = str(self.config.get("dataset") or "")
        name = Path(dataset).stem if dataset.endswith((".hdf5", ".h5")) else Path(dataset).name
        if not name:
            raise Stop(2, f"{arguments.config}: dataset: found nothing; give --set dataset=PATH")
        self.folder = arguments.out / name
        self.family = family_of(str(self.config.get("task") or ""), name)
        self.values = arguments.values or table_8(self.family)
        if not self.values:
            raise Stop(2, f"{name}: Table 8 has no set of N for this family; give --values, e.g. "
                          "--values 50,100,500")
        steps = self.config["train"]["steps"]
        self.fit_steps = arguments.fit_steps or max(1, steps // 10)
        self.evidence = {
            "dataset": name, "config": str(arguments.config), "overrides": arguments.set,
            "family": self.family, "seed": arguments.seed, "values": self.values,
            "values_from": "--values" if arguments.values else "Table 8",
            "fit_steps": self.fit_steps, "full_steps": steps, "rule": arguments.rule,
            "episodes": arguments.episodes, "last": arguments.last,
            "fits": [], "kept": [], "evaluations": [], "chosen": None}

    def asked(self, look, *arguments):
        """What `look` finds out by asking drop_train for the config that a command means."""
        try:
            return look(*arguments)
        except OSError as problem:
            raise Stop(1, f"{self.bin / 'drop_train'}: cannot be started ({problem.strerror}); build "
                          "first, or give --bin") from problem
        except Refused as problem:
            raise Stop(problem.status if problem.status in (2, 3) else 1, str(problem)) from problem

    def run_folder(self, kind, count):
        return self.folder / f"{kind}-n{count}" / f"seed_{self.arguments.seed}"

    def training(self, kind, count):
        """The command of a fit or of a full training."""
        extra = (["train.score=off", f"train.steps={self.fit_steps}"] if kind == "fit" else [])
        extra += ["eval.every=0", "seeds=[]", f"decomposition.num_subtasks={count}"]
        return [str(self.bin / "drop_train"), "--config", str(self.arguments.config), *self.sets,
                *(word for one in extra for word in ("--set", one)), "--seed",
                str(self.arguments.seed), "--out", str(self.run_folder(kind, count)), "--resume"]

    def evaluation(self, count):
        run = self.run_folder("full", count)
        return [str(self.bin / "drop_eval"), "--checkpoint", str(run), "--rule", self.arguments.rule,
                "--episodes", str(self.arguments.episodes), "--last", str(self.arguments.last),
                "--json", str(run / "eval" / "protocol.json")]

    def save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "select_n.json", json.dumps(self.evidence, indent=2) + "\n")

    # ---- step 1 ----

    def fit_all(self):
        """Fits each N, lowest first; keeps those with the lowest loss."""
        full_at = None  # the first N for which the data had too few trajectories
        for count in sorted(self.values):
            if full_at is not None:
                self.evidence["fits"].append({"num_subtasks": count, "left_out":
                                              f"cuts the data as N = {full_at} does"})
                continue
            call(self.training("fit", count))
            fit = self.read_fit(count)
            self.evidence["fits"].append(fit)
            self.save()
            if self.config["decomposition"]["rule"] == "rank" and fit["subtasks"] < count:
                full_at = count
        fits = [fit for fit in self.evidence["fits"] if "loss" in fit]
        fits.sort(key=lambda fit: (fit["loss"], fit["num_subtasks"]))
        self.evidence["kept"] = [fit["num_subtasks"] for fit in fits[:self.arguments.keep]]
        self.save()

    def read_fit(self, count):
        folder = self.run_folder("fit", count)
        rows = Curves(folder).metrics.get("loss/behaviour", [])
        decomposition = plot.read_json(folder / "decomposition.json")
        if not rows or not isinstance(decomposition, dict) or not is_number(decomposition.get("num_subtasks")):
            raise Stop(3, f"{folder}: no loss/behaviour in metrics.csv, or no decomposition.json; "
                          "remove the folder and call again")
        last = rows[-max(1, len(rows) // 10):]
        return {"num_subtasks": count, "subtasks": decomposition["num_subtasks"],
                "loss": float(np.mean([value for _, value in last])),
                "loss_from_step": last[0][0], "step": last[-1][0], "run": str(folder)}

    # ---- step 2 ----

    def evaluate_all(self):
        for count in self.evidence["kept"]:
            call(self.training("full", count))
            if self.read_evaluation(count) is None:
                call(self.evaluation(count))
            found = self.read_evaluation(count)
            if found is None:
                raise Stop(3, f"{self.run_folder('full', count)}: eval/protocol.json is not what was "
                              "asked for; remove it and call again")
            self.evidence["evaluations"].append(found)
            self.save()
        best = max(self.evidence["evaluations"], key=lambda one: (one["return"], -one["num_subtasks"]))
        self.evidence["chosen"] = best["num_subtasks"]
        self.save()

    def read_evaluation(self, count):
        """Mean return of the last checkpoints; None when these have not been evaluated as asked."""
        run = self.run_folder("full", count)
        path = run / "eval" / "protocol.json"
        content = plot.read_json(path) if path.is_file() else None
        results = [one for one in results_of(content)
                   if len(plot.episode_returns(one)) == self.arguments.episodes
                   and one["rule"] == self.arguments.rule
                   and all(is_number(one.get(key)) for key in ("step", "mean"))]
        if any(evaluation_difference(one, self.config) for one in results):
            return None
        steps = checkpoint_steps(run)
        # the untrained one is evaluated only where there is no other
        wanted = [step for step in steps if step > 0 or len(steps) == 1][-self.arguments.last:]
        if not wanted or sorted(one["step"] for one in results) != wanted:
            return None
        scores = [one.get("normalised_score") for one in results]
        known = all(is_number(score) for score in scores)
        return {"num_subtasks": count, "return": float(np.mean([one["mean"] for one in results])),
                "normalised_score": float(np.mean(scores)) if known else None,
                "checkpoints": len(results), "run": str(run)}

    # ---- both ----

    def plan(self):
        """All commands, without running any; step 2's with N in place of what step 1 will choose."""
        lines = [f"# step 1: {len(self.values)} fits of {self.fit_steps:,} steps"]
        lines += [shlex.join(self.training("fit", count)) for count in sorted(self.values)]
        lines.append(f"# step 2: the {min(self.arguments.keep, len(self.values))} N with the lowest loss, "
                     f"{self.evidence['full_steps']:,} steps each")
        lines += [shlex.join(command) for command in (self.training("full", "N"), self.evaluation("N"))]
        return "\n".join(lines)

    def require_own_runs(self):
        """What is stored must be what is asked for, or select_n.json would name other settings than measured."""
        for kind in ("fit", "full"):
            for count in sorted(self.values):
                line = self.asked(other_settings, self.run_folder(kind, count), self.training(kind, count))
                if line:
                    raise Stop(2, line)

    def choose(self):
        if len(self.values) == 1:
            self.evidence["chosen"] = self.values[0]
            self.save()
            return
        self.require_own_runs()
        self.fit_all()
        self.evaluate_all()

    def table(self):
        evaluated = {one["num_subtasks"]: one for one in self.evidence["evaluations"]}
        lines = [f"{'N':>6} {'sub-tasks':>10} {'loss':>10} {'return':>10} {'score':>8}"]
        for fit in self.evidence["fits"]:
            one = evaluated.get(fit["num_subtasks"], {})
            score = one.get("normalised_score")
            lines.append(" ".join([
                f"{fit['num_subtasks']:>6}", f"{fit.get('subtasks', '-'):>10}",
                f"{fit['loss']:>10.4f}" if "loss" in fit else f"{'-':>10}",
                f"{one['return']:>10.1f}" if one else f"{'-':>10}",
                f"{'-' if score is None else format(score, '.1f'):>8}"]))
        if not self.evidence["fits"]:
            lines = [f"{self.evidence['values_from']} has one value: nothing to compare"]
        lines.append(f"chosen: N = {self.evidence['chosen']}   ({self.folder / 'select_n.json'})")
        return "\n".join(lines)


def whole_numbers(text):
    values = [int(word) for word in text.split(",")]
    if not values or min(values) < 1 or len(set(values)) < len(values):
        raise ValueError(text)
    return values


def positive(text):
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def main(command_line=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="config of drop_train")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v",
                        help="override a config key in every run (may be repeated)")
    parser.add_argument("--values", type=whole_numbers, metavar="N,N,...",
                        help="numbers of sub-tasks to try (default: the family's set in Table 8)")
    parser.add_argument("--fit-steps", type=positive, metavar="STEPS",
                        help="steps of each fit (default: a tenth of the config's train.steps)")
    parser.add_argument("--keep", type=positive, default=4,
                        help="how many N step 2 trains in full (default: 4)")
    parser.add_argument("--rule", choices=plot.RULES, default="grad-ada",
                        help="inference rule of the evaluation (default: grad-ada)")
    parser.add_argument("--episodes", type=positive, default=10,
                        help="for each checkpoint (default: 10)")
    parser.add_argument("--last", type=positive, default=LAST,
                        help=f"newest checkpoints evaluated (default: {LAST})")
    parser.add_argument("--seed", type=int, default=0, help="the one seed (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/select_n"), metavar="DIR",
                        help="folder of the runs (default: runs/select_n)")
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin", metavar="DIR",
                        help="folder of drop_train and drop_eval (default: build/release/bin)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, start nothing")
    arguments = parser.parse_args(command_line)
    if arguments.seed < 0:
        parser.error(f"--seed {arguments.seed}: allowed are 0 and more")
    try:
        selection = Selection(arguments)
        if arguments.dry_run:
            print_result("select_n.py", selection.plan())
            return 0
        selection.choose()
    except Stop as stop:
        print(f"select_n.py: error: {stop}", file=sys.stderr)
        return stop.status
    print_result("select_n.py", selection.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
