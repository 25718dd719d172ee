"""Reads a sweep file and expands it into runs and jobs; configs/sweeps/README.md explains the keys."""

import difflib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from common import small_text
from run_settings import MOST_BYTES, flat, read_config

ROOT = Path(__file__).resolve().parent.parent
RULES = ["best", "grad", "best-ada", "grad-ada"]
LEVELS = ["checkpoint", "embedding", "parametric"]
FOLDERS = ["jobs", "slurm"]  # of the sweep itself, below its root
PROGRAMS = ["drop_train", "drop_coms"]  # that train a variant; the second one evaluates, too
MOST_JOBS = 200_000   # of a sweep: more is a slip of the pen
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)?")
VARIABLE = re.compile(r"\$\{(\w+)\}")
# what the sweep itself gives to sbatch
SBATCH_OWN = {"array", "chdir", "dependency", "job-name", "kill-on-invalid-dep", "open-mode", "output",
              "parsable", "requeue", "signal", "wait", "wrap"}


class SweepError(Exception):
    """Wrong usage or a wrong sweep file: one line for the user (exit status 2)."""

    def __init__(self, message):
        # names and texts out of files may hold anything
        super().__init__("".join(character if character.isprintable() else " " for character in message))


@dataclass
class Job:
    """One call of a program. Done when `output` is there and was made by what `hash` says."""

    id: str            # its log and its record lie below <root>/jobs/ under this name
    kind: str          # generate, train, evaluate, finetune or report
    command: list      # without the number of threads, which changes no result
    run: str = ""      # <dataset>/<variant>/seed_<s>; empty for generate and report
    folder: str = ""   # of the run
    output: str = ""
    needs: list = field(default_factory=list)   # ids of jobs that must be done before
    inputs: list = field(default_factory=list)  # [how, path]: what else the result depends on
    steps: int | None = None                    # train: asked for; None = whatever the run says
    skip: str = ""                              # why it cannot be run here


@dataclass
class Run:
    name: str
    dataset: str
    variant: str
    seed: int
    folder: str = ""
    steps: int | None = None
    skip: str = ""


@dataclass
class Sweep:
    name: str
    file: str
    root: Path
    slurm: dict
    runs: list
    jobs: list  # in the order in which they are started; a job stands behind those it needs


class Reader:
    """Takes a YAML tree apart; what does not fit is refused with file, line and key."""

    def __init__(self, path):
        self.path = path
        try:
            self.root = yaml.compose(small_text(path, MOST_BYTES), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "not UTF-8 text"
            raise SweepError(f"{path}: cannot be read ({reason}); give a sweep file, "
                             "e.g. configs/sweeps/mini.yaml") from problem
        except yaml.YAMLError as problem:
            mark = getattr(problem, "problem_mark", None)
            line = f"line {mark.line + 1}: " if mark else ""
            what = getattr(problem, "problem", None) or "a character that YAML does not allow"
            raise SweepError(f"{path}: {line}no YAML: {what}") from problem
        except (ValueError, OverflowError, RecursionError) as problem:
            # what PyYAML itself stumbles over: numbers of characters that are none, lists in lists in lists
            raise SweepError(f"{path}: no YAML that can be read ({type(problem).__name__}); "
                             "see configs/sweeps/README.md") from problem
        if self.root is None:
            raise SweepError(f"{path}: found nothing; allowed: a sweep; see configs/sweeps/README.md")

    def refuse(self, node, key, found, allowed):
        where = f"{key}: " if key else ""
        raise SweepError(f"{self.path}: line {node.start_mark.line + 1}: {where}found {found}; "
                         f"allowed: {allowed}")

    @staticmethod
    def describe(node):
        if isinstance(node, yaml.MappingNode):
            return "keys and values"
        if isinstance(node, yaml.SequenceNode):
            return "a list"
        return repr(node.value) if node.value or node.style else "nothing"

    def section(self, node, key, known, required=()):
        """{name: node}; `known` None allows every name."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node, key, self.describe(node), "keys and values")
        found = {}
        for name_node, value in node.value:
            name = self.text(name_node, key)
            path = f"{key}.{name}" if key else name
            if name in found:
                self.refuse(name_node, path, "this key twice", "each key once")
            if known is not None and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                self.refuse(name_node, path, "an unknown key",
                            ", ".join(known) + (f"; did you mean {near[0]}?" if near else ""))
            found[name] = value
        for name in required:
            if name not in found:
                self.refuse(node, key, f"no key {name}", f"{name} must be there")
        return found

    def items(self, node, key):
        if not isinstance(node, yaml.SequenceNode):
            self.refuse(node, key, self.describe(node), "a list")
        return [(child, f"{key}[{i}]") for i, child in enumerate(node.value)]

    def text(self, node, key):
        if not isinstance(node, yaml.ScalarNode) or (not node.value and not node.style):
            self.refuse(node, key, self.describe(node), "a text")
        # nor half a character, as an escape can make one: no program takes it as an argument
        if any(ord(character) < 32 or "\ud800" <= character <= "\udfff" for character in node.value):
            self.refuse(node, key, self.describe(node), "a text on one line")
        return node.value

    def name(self, node, key):
        text = self.text(node, key)
        if not NAME.fullmatch(text):
            self.refuse(node, key, repr(text), "a name of letters, digits, '.', '_', '+' and '-'")
        return text

    def choice(self, node, key, allowed):
        text = self.text(node, key)
        if text not in allowed:
            self.refuse(node, key, repr(text), ", ".join(allowed))
        return text

    def integer(self, node, key, low):
        text = self.text(node, key)
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE]\+?[0-9]+)?", text) and len(text) < 20:
            value = float(text)
            if value.is_integer() and low <= value <= 2**53 - 1:
                return int(value)
        return self.refuse(node, key, repr(text), f"an integer from {low} on")

    def boolean(self, node, key):
        return self.choice(node, key, ["true", "false", "on", "off"]) in ("true", "on")

    def several(self, node, key, read):
        """A list without duplicates, not empty."""
        values = {}  # a set that keeps its order
        for child, path in self.items(node, key):
            value = read(child, path)
            if value in values:
                self.refuse(child, path, f"{value} twice", "each once")
            values[value] = None
        if not values:
            self.refuse(node, key, "an empty list", "at least one")
        return list(values)

    def settings(self, node, key, prefix=""):
        """[(config key, text or list of texts)] in the file's order."""
        if node is None:
            return []
        found = []
        for name, value in self.section(node, key, None).items():
            path = f"{key}.{name}"
            if not SETTING.fullmatch(name) or not name.startswith(prefix):
                self.refuse(value, path, "this name", f"{prefix}KEY" if prefix else
                            "a config's key as for drop_train --set, e.g. train.steps")
            if isinstance(value, yaml.SequenceNode):
                found.append((name, [self.text(*item) for item in self.items(value, path)]))
            else:
                found.append((name, self.text(value, path)))
        return found


def set_arguments(settings):
    """Arguments of --set: texts as they are where that is unambiguous, else in double quotes."""
    def quoted(text, plain):
        return text if re.fullmatch(plain, text) else json.dumps(text, ensure_ascii=False)

    arguments = []
    for key, value in settings:
        if isinstance(value, list):
            text = "[" + ", ".join(quoted(part, r"[\w.+-]+") for part in value) + "]"
        else:
            text = quoted(value, r"[^\s\"'\[](.*\S)?")
        arguments += ["--set", f"{key}={text}"]
    return arguments


class Unset(Exception):
    """A text names an environment variable that is not set."""


def expanded(text):
    """A text, or a list of texts, with the environment's values for ${NAME}."""
    if isinstance(text, list):
        return [expanded(part) for part in text]

    def replace(match):
        value = os.environ.get(match[1], "")
        if not value:
            raise Unset(f"the environment variable {match[1]} is not set")
        return value
    return VARIABLE.sub(replace, text)


def shown(path):
    """Relative to the repository, where commands are run, if it lies in it; else absolute."""
    path = Path(os.path.normpath(ROOT / path))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def is_path(dataset):
    return isinstance(dataset, str) and ("/" in dataset or dataset.endswith((".hdf5", ".h5")))


# numbers that drop_finetune takes as options of these names
FINETUNE_NUMBERS = ["episodes", "last", "max_ascent_steps", "ascent_steps_every", "trial_episodes", "env_steps", "saves"]
ENTRY_KEYS = {
    "evaluations": ["name", "rules", "episodes", "last", "seed", "set", "trace", "variants", "datasets"],
    "finetune": ["level", "rule", *FINETUNE_NUMBERS, "seed", "variants", "datasets"],
}
LIMITS = {"evaluations": ["episodes", "last"], "finetune": FINETUNE_NUMBERS}
DEFAULTS = {"evaluations": {"episodes": 10, "last": 1, "seed": 0}, "finetune": {"seed": 0}}


def read_entry(reader, node, key, kind, required=()):
    """An entry of `evaluations` or `finetune`, or the limits that `tiny` sets to all of them."""
    known = ENTRY_KEYS[kind] if required else LIMITS[kind]
    found = reader.section(node, key, known, required)
    entry = dict(DEFAULTS[kind]) if required else {}
    for name, value in found.items():
        path = f"{key}.{name}"
        if name == "name":
            entry[name] = reader.name(value, path)
            if entry[name].startswith("step_"):
                reader.refuse(value, path, repr(entry[name]), "names that do not begin with step_, "
                              "as those of evaluations during training do")
        elif name == "level":
            entry[name] = reader.choice(value, path, LEVELS)
        elif name == "rule":
            entry[name] = reader.choice(value, path, RULES)
        elif name == "rules":
            entry[name] = reader.several(value, path, lambda *at: reader.choice(*at, RULES))
        elif name == "set":
            entry[name] = reader.settings(value, path, "search.")
        elif name == "trace":
            entry[name] = reader.boolean(value, path)
        elif name in ("variants", "datasets"):
            entry[name] = reader.several(value, path, reader.name)
        else:
            entry[name] = reader.integer(value, path, 0 if name == "seed" else 1)
    if entry.get("trace") and entry["last"] > 1:
        reader.refuse(found["trace"], f"{key}.trace", f"a trace of the last {entry['last']} checkpoints",
                      "a trace of one: leave `last` away")
    return entry


def read_slurm(reader, node):
    options = {}
    for option, value in reader.section(node, "slurm", None).items():
        if not re.fullmatch(r"[a-z][a-z-]*", option) or option in SBATCH_OWN:
            reader.refuse(value, f"slurm.{option}", "this name", "options of sbatch in their long form, but "
                          + ", ".join(sorted(SBATCH_OWN)))
        options[option] = reader.text(value, f"slurm.{option}")
    return options


def read_generate(reader, node):
    entries = []
    for child, key in reader.items(node, "generate"):
        found = reader.section(child, key, ["out", "task", "transitions", "seed"], ["out", "task", "transitions"])
        out = reader.text(found["out"], f"{key}.out")
        if out in [other["out"] for other in entries]:
            reader.refuse(found["out"], f"{key}.out", f"{out!r} twice", "each file once")
        entries.append({
            "out": out, "task": reader.name(found["task"], f"{key}.task"),
            "transitions": reader.integer(found["transitions"], f"{key}.transitions", 1),
            "seed": reader.integer(found["seed"], f"{key}.seed", 0) if "seed" in found else 0})
    return entries


def read_datasets(reader, node):
    """{name: (config, settings, node of the config)}."""
    datasets = {}
    for child, key in reader.items(node, "datasets"):
        found = reader.section(child, key, ["name", "config", "set"], ["name", "config"])
        name = reader.name(found["name"], f"{key}.name")
        if name in datasets or name in FOLDERS:
            reader.refuse(found["name"], f"{key}.name", f"{name} twice" if name in datasets else repr(name),
                          "each name once, and not " + " or ".join(FOLDERS))
        datasets[name] = (reader.text(found["config"], f"{key}.config"),
                          reader.settings(found.get("set"), f"{key}.set"), found["config"])
    if not datasets:
        reader.refuse(node, "datasets", "an empty list", "at least one")
    return datasets


def read_variants(reader, node, datasets):
    """[(name, settings, names of its data sets, program)]; a name may come again, on other data sets."""
    variants, taken = [], set()
    for child, key in reader.items(node, "variants"):
        found = reader.section(child, key, ["name", "program", "set", "datasets"], ["name"])
        name = reader.name(found["name"], f"{key}.name")
        program = reader.choice(found["program"], f"{key}.program", PROGRAMS) if "program" in found else PROGRAMS[0]
        on = list(datasets)
        if "datasets" in found:
            on = reader.several(found["datasets"], f"{key}.datasets", lambda *at: reader.choice(*at, list(datasets)))
        if any((name, dataset) in taken for dataset in on):
            reader.refuse(found["name"], f"{key}.name", f"{name} twice", "each name once on a data set")
        taken.update((name, dataset) for dataset in on)
        variants.append((name, reader.settings(found.get("set"), f"{key}.set"), on, program))
    if not variants:
        reader.refuse(node, "variants", "an empty list", "at least one")
    return variants


def read_sweep(path, out=None, tiny=False, program_dir=None):
    """The sweep that the file describes, expanded; raises SweepError."""
    reader = Reader(path)
    top = reader.section(reader.root, "", [
        "name", "set", "generate", "datasets", "variants", "seeds", "evaluations", "finetune", "report", "slurm",
        "tiny"], ["name", "datasets", "variants", "seeds"])

    def some(node, key, known):
        return reader.several(node, key, lambda *at: reader.choice(*at, known))

    def seeds_at(node, key):
        return reader.several(node, key, lambda *at: reader.integer(*at, 0))

    name = reader.name(top["name"], "name")
    settings = reader.settings(top.get("set"), "set")
    generate = read_generate(reader, top["generate"]) if "generate" in top else []
    datasets = read_datasets(reader, top["datasets"])
    variants = read_variants(reader, top["variants"], datasets)
    variant_names = list(dict.fromkeys(variant for variant, *_ in variants))
    with_results = list(dict.fromkeys(variant for variant, *_, program in variants if program == PROGRAMS[0]))
    seeds = seeds_at(top["seeds"], "seeds")
    entries = []  # (kind, entry, its node, its key)
    for kind, required in (("evaluations", ["name", "rules"]), ("finetune", ["level", "rule"])):
        for node, key in reader.items(top[kind], kind) if kind in top else []:
            entry = read_entry(reader, node, key, kind, required)
            for what, known in (("variants", with_results), ("datasets", list(datasets))):
                for wrong in sorted(set(entry.get(what, [])) - set(known)):
                    reader.refuse(node, f"{key}.{what}", repr(wrong), ", ".join(known))
            entries.append((kind, entry, node, key))
    report = "report" in top and reader.boolean(top["report"], "report")
    slurm = read_slurm(reader, top["slurm"]) if "slurm" in top else {}

    # the small form: fewer of everything, and settings that beat all others
    small = {}
    if "tiny" in top:
        small = reader.section(top["tiny"], "tiny", ["set", "seeds", "datasets", "variants", *LIMITS])
    small_settings = reader.settings(small.get("set"), "tiny.set")
    small_seeds = seeds_at(small["seeds"], "tiny.seeds") if "seeds" in small else seeds
    kept = {what: some(small[what], f"tiny.{what}", known) if what in small else known
            for what, known in (("datasets", list(datasets)), ("variants", variant_names))}
    limits = {kind: read_entry(reader, small[kind], f"tiny.{kind}", kind) if kind in small else {} for kind in LIMITS}
    if tiny:
        if "tiny" not in top:
            raise SweepError(f"{path}: --tiny: found no key tiny; allowed: files that have it; add it or leave "
                             "--tiny away")
        name, seeds = name + "-tiny", small_seeds
        datasets = {key: value for key, value in datasets.items() if key in kept["datasets"]}
        variants = [variant for variant in variants if variant[0] in kept["variants"]]
        for kind, entry, _, _ in entries:
            entry.update({key: min(entry.get(key, limit), limit) for key, limit in limits[kind].items()})

    root = Path(os.path.abspath(out)) if out else ROOT / "runs" / name
    sweep = Sweep(name, str(path), root, slurm, [], [])
    expansion = Expansion(reader, sweep, program_dir, generate)
    jobs = sum(len(set(on) & set(datasets)) for _, _, on, _ in variants) * len(seeds) * (1 + len(entries))
    if jobs > MOST_JOBS:
        raise SweepError(f"{path}: found up to {jobs} jobs; allowed: at most {MOST_JOBS}; cut the sweep into several")
    # variant by variant: a study that is cut short has its first variants complete
    for variant, of_variant, on, program in variants:
        for dataset, (config, of_dataset, config_node) in datasets.items():
            for seed in seeds if dataset in on else []:
                given = settings + of_dataset + of_variant + (small_settings if tiny else [])
                run = Run(f"{dataset}/{variant}/seed_{seed}", dataset, variant, seed)
                jobs = [expansion.train(run, program, given, config, config_node)]
                for kind, entry, node, key in entries if program == PROGRAMS[0] else []:
                    if variant in entry.get("variants", [variant]) and dataset in entry.get("datasets", [dataset]):
                        jobs.append(expansion.result(kind, entry, run, jobs))
                        if jobs[-1].id in [job.id for job in jobs[:-1]]:
                            reader.refuse(node, key, f"a second one of this name for {run.name}", "each once")
                sweep.runs.append(run)
                sweep.jobs += jobs
    if not sweep.runs:
        raise SweepError(f"{path}: found no run: no data set meets a variant; allowed: at least one; look at the key "
                         "`datasets` of the variants")
    if report:
        sweep.jobs.append(report_of(root))
    return sweep


class Expansion:
    """Turns what the file says into jobs; data that some run wants stand before it."""

    def __init__(self, reader, sweep, program_dir, generate):
        self.reader, self.sweep = reader, sweep
        self.programs = Path(os.path.abspath(program_dir)) if program_dir else ROOT / "build" / "release" / "bin"
        self.configs = {}  # those that have been read
        self.makers = {}   # jobs that make data, by file
        self.wanted = set()  # ids of those that some run needs
        for number, entry in enumerate(generate):
            try:
                out = shown(expanded(entry["out"]))
            except Unset:
                continue  # then the runs on it are skipped for the same reason
            self.makers[out] = Job(f"generate/{number}", "generate", [
                self.program("drop_data"), "generate", "--task", entry["task"], "--steps", str(entry["transitions"]),
                "--seed", str(entry["seed"]), "--out", out], output=out)

    def program(self, name):
        return shown(self.programs / name)

    def config(self, file, node):
        """The keys of a config, {"section.key": value}."""
        if file not in self.configs:
            try:
                self.configs[file] = flat(read_config(ROOT / file))
            except OSError as problem:
                self.reader.refuse(node, "config", f"{file}, which cannot be read ({problem.strerror})",
                                   "a config, e.g. configs/gym/hopper-small.yaml")
            except ValueError:
                self.reader.refuse(node, "config", f"{file}, which is no YAML with keys and values", "a config")
        return self.configs[file]

    def train(self, run, program, settings, config, config_node):
        """The training of a run; says in `run` where it lies and whether it must be skipped."""
        run.folder = shown(self.sweep.root / run.name)
        data = maker = None
        try:
            settings = [(key, expanded(value)) for key, value in settings]
            config = shown(expanded(config))
            given = self.config(config, config_node) | dict(settings)
            run.steps = as_integer(given.get("train.steps"))
            if is_path(given.get("dataset")):
                data = given["dataset"]
                maker = self.makers.get(shown(data))
                if maker is None and not os.path.exists(ROOT / data):
                    run.skip = f"there is no file {data}"
        except Unset as problem:
            run.skip = str(problem)
        if maker and maker.id not in self.wanted:
            self.wanted.add(maker.id)
            self.sweep.jobs.append(maker)
        return Job(f"{run.name}/train", "train", [
            self.program(program), "--config", config, *set_arguments(settings), "--seed", str(run.seed),
            "--out", run.folder, "--resume"], run.name, run.folder, f"{run.folder}/status.json",
            [maker.id] if maker else [], [["content", config]] + ([["stat", data]] if data else []), run.steps, run.skip)

    def result(self, kind, entry, run, jobs):
        """An evaluation or fine-tuning of a run; `jobs`: those of the run so far, its training first."""
        needs = [jobs[0].id]
        if kind == "evaluations":
            job_kind, program, name = "evaluate", "drop_eval", entry["name"]
            output = f"{run.folder}/eval/{name}.json"
            options = ["--checkpoint", run.folder, "--rule", ",".join(entry["rules"]), "--last", str(entry["last"]),
                       "--episodes", str(entry["episodes"]), *set_arguments(entry.get("set", []))]
            if entry.get("trace"):
                options += ["--trace", f"{run.folder}/eval/{name}.h5"]
        else:
            job_kind, program, name = "finetune", "drop_finetune", f"{entry['level']}-{entry['rule']}"
            output = f"{run.folder}/finetune/{name}.json"
            options = ["--run", run.folder, "--level", entry["level"], "--rule", entry["rule"]]
            for key in FINETUNE_NUMBERS:
                if key in entry:
                    options += ["--" + key.replace("_", "-"), str(entry[key])]
            # one at a time in a run's folder: the later levels begin where the others ended
            needs += [job.id for job in jobs if job.kind == job_kind][-1:]
        skip = run.skip
        if not skip and kind == "finetune" and not os.access(self.programs / program, os.X_OK):
            skip = f"there is no {self.program(program)}"
        return Job(f"{run.name}/{job_kind}-{name}", job_kind, [
            self.program(program), *options, "--seed", str(entry["seed"]), "--json", output], run.name, run.folder, output,
            needs, [["checkpoints", run.folder]], skip=skip)


def report_of(root):
    script = shown(ROOT / "scripts" / "report.py")
    return Job("report", "report", [script, shown(root)], output=f"{shown(root)}/report/report.md",
               inputs=[["content", script], ["records", f"{shown(root)}/jobs"]],
               skip="" if (ROOT / script).exists() else f"there is no {script}")


def as_integer(value):
    """None for what is none: drop_train's to take or to refuse."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
