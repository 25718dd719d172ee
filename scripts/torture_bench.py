"""What scripts/torture.py works with: processes, small data and runs, and checks of what lies on disk.

The checks read every file by its format and share no code with the programs.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy
import yaml

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 300
TASK = "maze2d-umaze-dense"
# a name that breaks whatever quotes carelessly
FOLDER_PREFIX = "drop's \"torture\" $x "
TEMPORARY = re.compile(r"\.tmp\.[0-9]+(\.[0-9]+)?$")
CHECKPOINT = re.compile(r"step_[0-9]{9}\.safetensors")
ROW = re.compile(r"[0-9]+,[0-9.e+-]+,[^,]+,(nan|-?inf|-?[0-9.e+-]+)")
# what differs between two runs that are the same
VOLATILE = {"env_steps_per_second", "wall_time_s", "steps_per_second", "eta_s"}


class Lost(Exception):
    """Something that docs/reliability.md promises did not hold."""


class Unreached(Exception):
    """The program ended before the fault: no try."""


def require(condition, message):
    if not condition:
        raise Lost(message)


# ---- processes ----

@dataclass
class Ended:
    status: int  # negative: the signal that ended it
    out: str
    err: str


class Process:
    """A running program. It ends with this object, and with the thread that started it."""

    running = set()
    lock = threading.Lock()
    stopped = False  # nothing is to be started any more

    def __init__(self, command, more_environment=None, file_limit=None):
        # programs start over once to set this variable; and no fault comes in from outside
        environment = {**os.environ, "GOMP_SPINCOUNT": "2000"}
        environment.pop("DROP_FAULT", None)
        environment.update(more_environment or {})
        prefix = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        if file_limit is not None:
            prefix += ["prlimit", f"--fsize={file_limit}"]
        if Process.stopped:
            raise Unreached
        self.command = [str(word) for word in command]
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.child = subprocess.Popen(prefix + self.command, stdin=subprocess.DEVNULL, stdout=self.out,
                                      stderr=self.err, env=environment)
        with Process.lock:
            Process.running.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        with Process.lock:
            Process.running.discard(self)
        self.out.close()
        self.err.close()

    def send(self, number):
        if self.child.poll() is None:
            self.child.send_signal(number)

    def wait(self, seconds=PATIENCE_S):
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Lost(f"{Path(self.command[0]).name} still ran after {seconds:.0f} s") from None

        def content(file):
            file.seek(0)
            return file.read().decode(errors="replace")
        return Ended(status, content(self.out), content(self.err))

    def require_running(self):
        if self.child.poll() is not None:
            ended = self.wait()
            raise Lost(f"{Path(self.command[0]).name} has ended, exit {ended.status}: {ended.err.strip()}")

    @classmethod
    def kill_all(cls):
        cls.stopped = True
        with cls.lock:
            for process in cls.running:
                process.send(signal.SIGKILL)


def run(command, more_environment=None, file_limit=None):
    with Process(command, more_environment, file_limit) as process:
        return process.wait()


def require_done(ended):
    require(ended.status == 0, f"exit {ended.status}, expected 0: {ended.err.strip()}")


def require_refusal(ended, status, *words, one_line=True):
    """It ended with that status and says why in its last line, which begins with PROGRAM: error:."""
    lines = [line for line in ended.err.splitlines() if line and not line.startswith("DROP_FAULT=")]
    require(ended.status == status, f"exit {ended.status}, expected {status}: {ended.err.strip()}")
    require(lines and re.match(r"[a-z_.]+: error: ", lines[-1]), f"no message in: {ended.err!r}")
    require(len(lines) == 1 or not one_line, f"more than one line: {ended.err!r}")
    for word in words:
        require(word in lines[-1], f"no {word!r} in: {lines[-1]}")


# ---- one file ----

def tensor_file(path):
    """Metadata of a safetensors file whose sizes, hashes and numbers are right."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    require(8 < end <= len(content), f"{path}: its header is cut short")
    header = json.loads(content[8:end])
    metadata = header.pop("__metadata__")
    blank = content[:end].replace(metadata["header_sha256"].encode(), b"0" * 64, 1)
    require(hashlib.sha256(blank).hexdigest() == metadata["header_sha256"], f"{path}: its header is damaged")
    require(hashlib.sha256(content[end:]).hexdigest() == metadata["payload_sha256"], f"{path}: its data are damaged")
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        require(end + last <= len(content), f"{path}: {name} lies beyond the end")
        if tensor["dtype"] == "F32":
            values = numpy.frombuffer(content[end + first:end + last], "<f4")
            require(bool(numpy.isfinite(values).all()), f"{path}: {name} is not finite")
    return metadata


def metric_rows(path):
    """Whole rows without their time, and without speeds."""
    text = path.read_text(encoding="utf-8")
    *lines, torn = text.split("\n")
    if not lines:
        require("step,wall_time_s,name,value".startswith(torn), f"{path}: no header")
        return []
    require(lines[0] == "step,wall_time_s,name,value", f"{path}: another header")
    for number, line in enumerate(lines[1:], 2):
        require(ROW.fullmatch(line), f"{path}:{number}: no row: {line!r}")
    fields = [line.split(",") for line in lines[1:]]
    return [(int(step), name, value) for step, _, name, value in fields if not name.startswith("speed/")]


def without_volatile(value, folder):
    """JSON without speeds, and with RUN in place of the folder's path."""
    if isinstance(value, dict):
        return {without_volatile(key, folder): without_volatile(child, folder)
                for key, child in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [without_volatile(child, folder) for child in value]
    return value.replace(str(folder), "RUN") if isinstance(value, str) else value


# ---- a folder ----

def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def check_folder(folder, reference=None):
    """Every file is whole; what `reference` has too, of the same step, has the same content."""
    for path in files_of(folder):
        name = path.name
        if TEMPORARY.search(name) or name.endswith((".bad", ".lock", ".log")) or name.startswith("events.out.tfevents."):
            continue
        try:
            if name.endswith(".safetensors"):
                found = tensor_file(path)
                other = reference / path.relative_to(folder) if reference else None
                if other and other.exists():
                    require(found["payload_sha256"] == tensor_file(other)["payload_sha256"],
                            f"{path}: is neither the old nor the new content")
            elif name.endswith(".json"):
                require(isinstance(json.loads(path.read_text(encoding="utf-8")), dict), f"{path}: no JSON object")
            elif name.endswith(".yaml"):
                require(isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), f"{path}: no config")
            elif name.endswith(".csv"):
                metric_rows(path)
            elif not name.endswith(".hdf5"):
                raise Lost(f"{path}: an unknown file")
        except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as problem:
            raise Lost(f"{path}: cannot be read: {problem}") from problem
    for checkpoints in folder.rglob("checkpoints"):
        check_pair(checkpoints)


def check_pair(checkpoints):
    """The newest checkpoint has its training half."""
    steps = [path for path in sorted(checkpoints.iterdir()) if CHECKPOINT.fullmatch(path.name)]
    if not steps:
        return
    half = steps[-1].with_name(steps[-1].stem + ".training.safetensors")
    require(half.exists(), f"{half}: is missing")
    require(tensor_file(half)["checkpoint_payload_sha256"] == tensor_file(steps[-1])["payload_sha256"],
            f"{half}: belongs to another checkpoint")


def outcome_of(folder):
    """{file: all that must be the same in an undisturbed run}"""
    found = {}
    for path in files_of(folder):
        name, key = path.name, str(path.relative_to(folder))
        if name.endswith((".bad", ".lock", ".log", ".yaml")) or name.startswith(("events.out.", "provenance.")):
            continue
        if name.endswith(".safetensors"):
            found[key] = tensor_file(path)["payload_sha256"]
        elif name.endswith(".json"):
            found[key] = without_volatile(json.loads(path.read_text(encoding="utf-8")), folder)
        elif name.endswith(".csv"):
            found[key] = metric_rows(path)
        else:  # a temporary file among them: none may be left
            found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def require_same(found, expected):
    for key in sorted(found.keys() | expected.keys()):
        if key not in found:
            raise Lost(f"{key}: is missing")
        if key not in expected:
            raise Lost(f"{key}: is there, but not in an undisturbed run")
        if found[key] != expected[key]:
            raise Lost(f"{key}: differs from an undisturbed run's")


def require_old_or_new(found, expected):
    """Of a stopped run: what is written once is as an undisturbed run leaves it, the weights of each step among it."""
    for key, content in found.items():
        once = key.endswith((".safetensors", ".hdf5", "decomposition.json")) or "/eval/" in key
        if once and ".tmp." not in key and key in expected:
            require(content == expected[key], f"{key}: is neither the old nor the new content")


def content_hashes(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files_of(folder)}


# ---- data, configs, runs ----

class Bench:
    """A folder with data and configs, and undisturbed runs to compare with."""

    def __init__(self, folder, programs):
        self.folder, self.programs = Path(folder), Path(programs)
        self.data, self.states = self.folder / "maze.hdf5", self.folder / "states.hdf5"
        self.short_run, self.short_config = self.folder / "short reference", self.folder / "short.yaml"
        self.long_run, self.long_config = self.folder / "long reference", self.folder / "long.yaml"
        self.long_steps = 0
        self.short_outcome = self.long_outcome = None
        self.numbers = iter(range(1 << 30))

    def program(self, name, *arguments):
        return [self.programs / name, *arguments]

    @staticmethod
    def write_config(path, dataset, **changes):
        """Small enough for thousands of steps a second, and with an active constraint."""
        settings = {
            "name": "torture", "task": TASK, "dataset": str(dataset), "device": "cpu", "threads": 1,
            "decomposition": {"num_subtasks": 4, "trajectories_per_subtask": 3},
            "model": {"hidden_width": 16},
            "train": {"steps": 60, "batch_size": 16, "conservative_threshold": -5, "multiplier_rate": 0.1, "log_every": 10},
            "checkpoint": {"every": 20, "keep": 3},
            "search": {"ascent_steps": 5},
            "eval": {"every": 30, "episodes": 2, "rules": "[best]"},
        }
        for key, value in changes.items():
            if isinstance(value, dict):
                settings[key] = {**settings[key], **value}
            else:
                settings[key] = value
        lines = []
        for key, value in settings.items():
            section = value.items() if isinstance(value, dict) else []
            text = "" if section else json.dumps(value) if key == "dataset" else str(value)
            lines += [f"{key}: {text}", *(f"  {name}: {number}" for name, number in section)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(self, long_steps):
        """Data, configs and the two undisturbed runs."""
        require_done(run(self.program("drop_data", "generate", "--task", TASK, "--steps", 3000, "--out", self.data, "--quiet")))
        self.write_config(self.short_config, self.data)
        self.write_config(self.long_config, self.data, train={"steps": long_steps, "log_every": long_steps // 20},
                          checkpoint={"every": long_steps // 10}, eval={"every": long_steps // 4})
        require_done(self.train(self.short_run))
        require_done(self.train(self.long_run, config=self.long_config))
        self.long_steps = long_steps
        with h5py.File(self.data) as data, h5py.File(self.states, "w") as states:
            states["states"] = data["observations"][:50]
        self.find()

    def newest_checkpoint(self):
        return max(path for path in self.short_run.glob("checkpoints/step_*.safetensors") if CHECKPOINT.fullmatch(path.name))

    def find(self):
        """What `make` has left, perhaps in another process."""
        self.short_outcome, self.long_outcome = outcome_of(self.short_run), outcome_of(self.long_run)

    def train_command(self, folder, *more, config=None):
        return self.program("drop_train", "--config", config or self.short_config, "--out", folder, "--quiet", *more)

    def train(self, folder, *more, config=None, **process):
        return run(self.train_command(folder, *more, config=config), **process)

    def resume(self, folder, config=None):
        """Goes on to the end, undisturbed; the outcome must be that of a run that never was disturbed."""
        require_done(self.train(folder, "--resume", config=config))
        check_folder(folder)
        require_same(outcome_of(folder), self.short_outcome if config in (None, self.short_config) else self.long_outcome)

    @contextlib.contextmanager
    def scratch(self, name):
        """A folder for one try; it stays when the try fails."""
        path = self.folder / f"{name} {next(self.numbers)}"
        path.mkdir()
        try:
            yield path
        except Unreached:
            shutil.rmtree(path)
            raise
        shutil.rmtree(path)
