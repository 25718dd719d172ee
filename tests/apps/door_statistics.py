"""Holds what drop_train found in an Adroit file against a reading of its own.

    python door_statistics.py DATA.hdf5 RUN DEMONSTRATIONS

Splits the file by `terminals` (by `timeouts` where no terminal is set), sums the returns, ranks the demonstrations and
compares with RUN's decomposition.json, provenance.json and newest checkpoint. Exit 1 on a difference.
"""

import json
import pathlib
import sys

import h5py
import numpy as np
import yaml
from safetensors import safe_open

differences = []


def check(name, found, expected, tolerance=0.0):
    if not np.allclose(found, expected, rtol=tolerance, atol=tolerance):
        differences.append(f"{name}: found {found}, expected {expected}")


def read_demonstrations(path):
    """Observations, and [begin, end, ends by terminal] with the rewards of each complete demonstration."""
    with h5py.File(path) as file:
        observations = file["observations"][:].astype(np.float64)
        rewards = file["rewards"][:].astype(np.float64).reshape(-1)
        terminals = file["terminals"][:].reshape(-1).astype(bool)
        timeouts = file["timeouts"][:].reshape(-1).astype(bool)
    by_terminal = terminals.any()
    ends = np.flatnonzero(terminals if by_terminal else timeouts) + 1
    begins = np.concatenate([[0], ends[:-1]])
    return observations, [(rewards[b:e], terminals[e - 1]) for b, e in zip(begins, ends)]


def main():
    data, run, expected_count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    observations, demonstrations = read_demonstrations(data)
    returns = np.array([rewards.sum() for rewards, _ in demonstrations])
    transitions = np.array([len(rewards) - (not terminal) for rewards, terminal in demonstrations])
    check("demonstrations", len(demonstrations), expected_count)

    provenance = json.loads((run / "provenance.json").read_text())["data"]
    check("trajectories", provenance["trajectories"], len(returns))
    check("return_mean", provenance["return_mean"], returns.mean(), 1e-9)
    check("return_max", provenance["return_max"], returns.max(), 1e-9)

    # rank(N, M): best first, ties in file order
    decomposition = json.loads((run / "decomposition.json").read_text())
    size = decomposition["trajectories_per_subtask"]
    order = np.argsort(-returns, kind="stable")
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    groups = groups[: decomposition["requested_subtasks"]]
    check("num_subtasks", decomposition["num_subtasks"], len(groups))
    for subtask, group in zip(decomposition["subtasks"], groups):
        name = f"sub-task {subtask['subtask']} "
        if subtask["trajectories"] != group.tolist():
            differences.append(f"{name}: found {subtask['trajectories']}, expected {group.tolist()}")
            continue
        check(name + "return_mean", subtask["return_mean"], returns[group].mean(), 1e-9)
        check(name + "return_min", subtask["return_min"], returns[group].min(), 1e-9)
        check(name + "return_max", subtask["return_max"], returns[group].max(), 1e-9)
        check(name + "transitions", subtask["transitions"], transitions[group].sum())

    # standardiser and score scale travel in the checkpoint
    checkpoints = sorted(p for p in (run / "checkpoints").iterdir() if ".training." not in p.name)
    with safe_open(checkpoints[-1], framework="numpy") as file:
        mean, std = file.get_tensor("normaliser.state_mean"), file.get_tensor("normaliser.state_std")
        metadata = file.metadata()
    check("state_mean", mean, observations.mean(axis=0), 1e-6)
    check("state_std", std, observations.std(axis=0) + 1e-3, 1e-6)
    discount = yaml.safe_load(metadata["config"])["train"]["discount"]
    discounted = [abs((rewards * discount ** np.arange(len(rewards))).sum()) for rewards, _ in demonstrations]
    check("reward_scale", float(metadata["reward_scale"]), 1.0 / max(discounted), 1e-9 / max(discounted))

    print(f"{len(returns)} demonstrations, returns {returns.mean():.3f} +- {returns.std():.3f}, "
          f"{returns.min():.3f} .. {returns.max():.3f}")
    for difference in differences:
        print(difference, file=sys.stderr)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
