"""What a stored run was made with, against what is asked for now."""

import re
import subprocess
from pathlib import Path

import yaml

from common import reason_of, small_text

MOST_BYTES = 1 << 18  # of a config or sweep file: ten times the largest of ours
# where a run is computed, by whatever name its data have: no result depends on it (drop_train looks at the data)
WHERE = {"dataset", "device", "threads", "seeds", "train.engine", "search.engine"}
# how often something is noted or kept: may change while there are steps left
OFTEN = {"train.log_every", "checkpoint.every", "checkpoint.keep"}
# what drop_eval is told otherwise, or computes the same with
NOT_OF_A_RESULT = {"search.rules", "search.engine"}


class Refused(Exception):
    """A program does not take its arguments: its own line, and its exit status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def read_config(path):
    """The keys and values of a config; OSError where it cannot be read, ValueError where it is none."""
    text = small_text(path, MOST_BYTES)
    try:
        if any(isinstance(token, (yaml.AnchorToken, yaml.AliasToken)) for token in yaml.scan(text)):
            raise ValueError("anchors could make much of little; drop_train refuses them, too")
        config = yaml.safe_load(text)
    except (yaml.YAMLError, OverflowError, RecursionError, TypeError) as problem:
        raise ValueError(f"no YAML: {reason_of(problem)}") from None
    if not isinstance(config, dict):
        raise ValueError("holds no keys")
    return config


def flat(config):
    """{"section.key": value} of a config."""
    values = {}
    for key, value in config.items():
        values.update({f"{key}.{leaf}": inner for leaf, inner in value.items()}
                      if isinstance(value, dict) else {key: value})
    return values


def dry_run(command, cwd=None):
    """The config with all its defaults that a command of drop_train means; OSError, Refused."""
    # a Ctrl-C is for the caller, who would take this program's end for a refusal
    done = subprocess.run([*map(str, command), "--dry-run"], capture_output=True, text=True, check=False, cwd=cwd,
                          start_new_session=True)
    if done.returncode != 0:
        raise Refused(done.returncode, done.stderr.strip() or f"{command[0]}: ended with status {done.returncode}")
    config = yaml.safe_load(done.stdout)
    if not isinstance(config, dict):
        raise Refused(1, f"{command[0]}: --dry-run printed no config; build again")
    return config


def checkpoint_steps(run):
    """Steps of a run's checkpoints, sorted."""
    return sorted(int(file.stem[5:]) for file in (run / "checkpoints").glob("step_*.safetensors")
                  if re.fullmatch(r"[0-9]{1,18}", file.stem[5:]))


def comparable(value):
    """A setting as YAML or JSON has it: YAML 1.1 reads 1e-05 as a word."""
    if not isinstance(value, str):
        return value
    if value in ("on", "off"):
        return value == "on"
    try:
        return float(value)
    except ValueError:
        return value


def shown(value):
    """A setting as a config has it."""
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def differing(before, now, free=()):
    """(key, before, now) of the first setting that both have and that is not the same; None without any."""
    for key, value in now.items():
        if key in before and key not in free and comparable(before[key]) != comparable(value):
            return key, shown(before[key]), shown(value)
    return None


def other_settings(run, command, cwd=None):
    """One line about a setting of a stored run that is not what its drop_train command asks for now; "" where
    the run may go on, or there is none."""
    config = Path(run) / "config.yaml"
    stored = Path(cwd or ".") / config
    if not stored.exists():
        return ""
    cure = "set it back, choose another name or folder, or remove this run"
    try:
        before = flat(read_config(stored))
    except (OSError, ValueError) as problem:
        return f"{config}: cannot be read ({reason_of(problem)}); remove this run"
    now = flat(dry_run(command, cwd))
    reached, steps = max(checkpoint_steps(stored.parent), default=0), now.get("train.steps")
    if isinstance(steps, int) and steps < reached:
        return f"{config}: train.steps: this run stands at step {reached}, now {steps} are asked for; {cure}"
    more = isinstance(steps, int) and steps > reached
    found = differing(before, now, WHERE | {"train.steps"} | (OFTEN if more else set()))
    return "" if found is None else "{}: {}: this run was made with {}, now {} is asked for; {}".format(config, *found, cure)


def evaluation_difference(result, config):
    """(key, the evaluation's value, the config's) of the first search setting, or the physics, that is not the
    same; None where all are, or where one of the two does not say."""
    made, asked = (flat({key: one[key] for key in ("search", "physics") if one.get(key) is not None})
                   for one in (result, config))
    return differing(made, asked, NOT_OF_A_RESULT)
