#!/usr/bin/env python3
"""Environment steps per second beside envpool and gymnasium, in the same run.

    python3 scripts/bench_env_peers.py [--tasks hopper,ant] [--rounds 5] [--json OUT.jsonl]

Each round runs, one after the other, build/release/bin/drop_bench (which times our environments and
bare calls of mj_step on the same trajectories), envpool and gymnasium: so a busy machine slows them
alike. All act uniformly at random with today's inertias (`--physics modern`, the peers' v4 tasks);
steps that only reset are not counted. The table shows medians over the rounds and each one's share
of bare mj_step. Peers that are not installed are left out, with a note; to have both:

    python3 -m venv build/peers && build/peers/bin/pip install {pins}
    build/peers/bin/python3 scripts/bench_env_peers.py
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEER_IDS = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4",
            "ant": "Ant-v4"}
NUM_ENVS = 16


def pins():
    """The pinned peers, as pip wants them."""
    lines = (ROOT / "third_party/versions.env").read_text().splitlines()
    versions = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    return " ".join(f"'{name}=={versions[key]}'" for name, key in
                    [("mujoco", "MUJOCO_VERSION"), ("gymnasium[mujoco]", "GYMNASIUM_VERSION"),
                     ("envpool", "ENVPOOL_VERSION")])


def drop_steps_per_s(task, threads, seconds):
    """steps/s of our environments and of bare mj_step."""
    program = ROOT / "build/release/bin/drop_bench"
    command = [program, "env", "--task", task, "--threads", threads, "--num-envs", NUM_ENVS,
               "--physics", "modern", "--repetitions", 3, "--seconds", seconds / 3, "--json", "-",
               "--quiet"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_env_peers.py: {done.stderr.strip()}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["engine"]: row["steps_per_s"] for row in rows}


def rate(step, seconds):
    """steps/s of step(), which returns how many environment steps it made."""
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += step()
    return count / (time.perf_counter() - start)


def envpool_steps_per_s(task, threads, seconds):
    import envpool
    import numpy as np

    environments = envpool.make_gymnasium(PEER_IDS[task], num_envs=NUM_ENVS, num_threads=threads,
                                          seed=0)
    rng = np.random.default_rng(0)
    environments.reset()
    shape = (NUM_ENVS, *environments.action_space.shape)

    def step():
        *_, info = environments.step(rng.uniform(-1, 1, shape))
        return int((info["elapsed_step"] > 0).sum())

    try:
        return rate(step, seconds)
    finally:
        environments.close()


def gymnasium_steps_per_s(task, threads, seconds):
    import gymnasium
    import numpy as np

    gymnasium.logger.min_level = gymnasium.logger.ERROR  # v4 is called outdated
    rng = np.random.default_rng(0)
    if threads == 1:
        environment = gymnasium.make(PEER_IDS[task])
        environment.reset(seed=0)
        shape = environment.action_space.shape

        def step():
            _, _, terminated, truncated, _ = environment.step(rng.uniform(-1, 1, shape))
            if terminated or truncated:
                environment.reset()
            return 1
    else:
        environment = gymnasium.make_vec(PEER_IDS[task], num_envs=NUM_ENVS,
                                         vectorization_mode="async")
        environment.reset(seed=0)
        shape = environment.action_space.shape
        ended = np.zeros(NUM_ENVS, bool)

        def step():
            nonlocal ended
            _, _, terminated, truncated, _ = environment.step(rng.uniform(-1, 1, shape))
            made = NUM_ENVS - int(ended.sum())  # the step after an end only resets
            ended = terminated | truncated
            return made

    try:
        return rate(step, seconds)
    finally:
        environment.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.replace("{pins}", pins()),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(PEER_IDS), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=5, help="repeats; medians are shown")
    parser.add_argument("--seconds", type=float, default=0.75, help="of each engine in a round")
    parser.add_argument("--json", type=Path, help="also one JSON object a line")
    arguments = parser.parse_args()
    tasks = arguments.tasks.split(",")
    for task in tasks:
        if task not in PEER_IDS:
            parser.error(f"task {task!r} has no peer; known: {', '.join(PEER_IDS)}")
    if arguments.rounds < 1 or not arguments.seconds > 0:
        parser.error("--rounds and --seconds must be positive")
    if not (ROOT / "build/release/bin/drop_bench").exists():
        sys.exit("bench_env_peers.py: no build/release/bin/drop_bench; run ./scripts/test.sh")

    peers = {"envpool": envpool_steps_per_s, "gymnasium": gymnasium_steps_per_s}
    for name in list(peers):
        if importlib.util.find_spec(name) is None:
            print(f"note: {name} is not installed here; see --help", file=sys.stderr)
            del peers[name]

    cores = len(os.sched_getaffinity(0))
    lines = []
    print(f"{'task':12} {'threads':>7} {'engine':>10} {'steps/s':>10} {'of mj_step':>10}")
    for task in tasks:
        for threads in sorted({1, cores}):
            rates = {}
            for _ in range(arguments.rounds):
                found = drop_steps_per_s(task, threads, arguments.seconds)
                for name, measure in peers.items():
                    found[name] = measure(task, threads, arguments.seconds)
                for name, value in found.items():
                    rates.setdefault(name, []).append(value)
            bare = statistics.median(rates["mj_step"])
            for name, values in rates.items():
                middle = statistics.median(values)
                lines.append({"benchmark": "env_peers", "task": task, "threads": threads,
                              "engine": name, "steps_per_s": middle, "min": min(values),
                              "max": max(values), "share_of_mj_step": middle / bare,
                              "rounds": arguments.rounds})
                print(f"{task:12} {threads:7} {name:>10} {middle:10.0f} {middle / bare:10.1%}",
                      flush=True)
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
