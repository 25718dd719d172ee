"""Recomputes drop_infer's four rules from a checkpoint with numpy alone, in float64, and compares.

    python check_infer.py CHECKPOINT STATES.h5 RESULT.h5

STATES.h5 holds raw `states` [S, state_dim]; RESULT.h5 one group a rule with embedding, subtask, score (raw reward
units) and action. Prints the largest deviations; exit 1 when one is beyond its tolerance. Forward pass and z-gradient
are written by hand here, so that no automatic differentiation is shared with the program under test.
"""

import dataclasses
import sys

import h5py
import numpy as np
import yaml
from safetensors import safe_open

RULES = ("best", "grad", "best-ada", "grad-ada")

# Largest accepted deviation, relative to the scale (largest absolute value over all rows) of each quantity. The program
# ascends in float32, whose rounding (6e-8) grows along K steps, by the curvature of f and where an iterate meets a kink
# of a ReLU. A float32 ascent in PyTorch of 100 steps stayed within 1.5e-5 of float64, for networks up to the paper's
# sizes (README.md); the sevenfold margin allows for other orders of summation.
TOLERANCE = 1e-4
# two sub-tasks count as tied when their scores differ by less than this, relative to the scores' scale at that state
TIE = 1e-5


@dataclasses.dataclass
class Search:
    ascent_steps: int
    ascent_step_size: float
    clip: bool
    normalise_gradient: bool
    keep_best_iterate: bool
    box: float


def linear(p, name, x):
    return x @ p[name + ".weight"].T + p[name + ".bias"]


def hidden_forward(p, name, count, x):
    """`count` ReLU layers; also returns which units are alive in each, for the way back."""
    alive = []
    for i in range(count):
        x = linear(p, f"{name}.{i}", x)
        alive.append(x > 0)
        x = np.where(alive[-1], x, 0.0)
    return x, alive


def hidden_backward(p, name, alive, d):
    for i in reversed(range(len(alive))):
        d = (d * alive[i]) @ p[f"{name}.{i}.weight"]
    return d


def policy_mean(p, states, z):
    h, _ = hidden_forward(p, "policy.state_encoder", 2, states)
    x, alive = hidden_forward(p, "policy.action_encoder", 3, np.concatenate([h, z], axis=1))
    return np.tanh(linear(p, "policy.action_encoder.3", x)), alive


def score_and_gradient(p, states, z):
    """f(s, beta(s,z), z) and its z-gradient for rows of states [R, s] and z [R, d]."""
    a, policy_alive = policy_mean(p, states, z)
    g, g_alive = hidden_forward(p, "score.state_action_encoder", 2, np.concatenate([states, a], axis=1))
    x, x_alive = hidden_forward(p, "score.score_encoder", 3, np.concatenate([g, z], axis=1))
    value = linear(p, "score.score_encoder.3", x)[:, 0]

    # backwards: score -> [g, z], g -> [s, a], a -> [h, z]; the two z parts add up
    width, dim = g.shape[1], z.shape[1]
    d = np.broadcast_to(p["score.score_encoder.3.weight"], x.shape)
    d = hidden_backward(p, "score.score_encoder", x_alive, d)
    gradient, d = d[:, width:], d[:, :width]
    d = hidden_backward(p, "score.state_action_encoder", g_alive, d)[:, states.shape[1] :]
    d = (d * (1.0 - a**2)) @ p["policy.action_encoder.3.weight"]
    gradient = gradient + hidden_backward(p, "policy.action_encoder", policy_alive, d)[:, -dim:]
    return value, gradient


def ascend(p, states, z, search):
    """K steps for rows [R]; returns ends [R, d] and scores [R]."""
    value, gradient = score_and_gradient(p, states, z)
    best_z, best = z, value
    for _ in range(search.ascent_steps):
        if search.normalise_gradient:
            norm = np.sqrt((gradient**2).sum(axis=1, keepdims=True))
            gradient = np.divide(gradient, norm, out=np.zeros_like(gradient), where=norm > 0)
        z = z + search.ascent_step_size * gradient
        if search.clip:
            z = np.clip(z, -search.box, search.box)
        value, gradient = score_and_gradient(p, states, z)
        # the paper's form keeps the last iterate; otherwise the earliest of the best
        better = value > best if search.keep_best_iterate else np.ones(len(z), dtype=bool)
        best_z, best = np.where(better[:, None], z, best_z), np.where(better, value, best)
    return best_z, best


def candidates(p, rule, states, embeddings, search):
    """What each start n leads to under `rule`: ends [S, N, d], scores [S, N] at them, and the scores [S, N] that the
    rule chooses by (`grad` chooses by the scores of the starts)."""
    count, num, dim = len(states), *embeddings.shape
    ends, scores, choice = np.empty((count, num, dim)), np.empty((count, num)), np.empty((count, num))
    for i in range(count):
        rows = np.repeat(states[i : i + 1], num, axis=0)
        start_scores, _ = score_and_gradient(p, rows, embeddings)
        if rule in ("best", "best-ada"):
            ends[i], scores[i] = embeddings, start_scores
        else:
            ends[i], scores[i] = ascend(p, rows, embeddings, search)
        choice[i] = scores[i] if rule == "grad-ada" else start_scores
    return ends, scores, choice


# ---- the comparison -------------------------------------------------------------------------------------------------


def read_checkpoint(path):
    with safe_open(path, framework="numpy") as f:
        tensors = {name: f.get_tensor(name).astype(np.float64) for name in f.keys()}
        return tensors, f.metadata()


def flag(value):
    """A config's on|off|true|false, which YAML may have read as a boolean already."""
    return value if isinstance(value, bool) else {"on": True, "true": True, "off": False, "false": False}[value]


def search_settings(config):
    s = config["search"]
    return Search(
        ascent_steps=int(s["ascent_steps"]),
        ascent_step_size=float(s["ascent_step_size"]),
        clip=flag(s["clip"]),
        normalise_gradient=flag(s["normalise_gradient"]),
        keep_best_iterate=flag(s["keep_best_iterate"]),
        box=1.0
        if config["model"].get("embedding", "table") == "table" and config["model"].get("bounded_embedding", True)
        else 2.0,
    )


def compare_rule(p, rule, states, embeddings, search, reward_scale, result):
    """Prints one line; returns whether the rule passes."""
    ends, scores, choice = candidates(p, rule, states, embeddings, search)
    rows, want = np.arange(len(states)), choice.argmax(axis=1)
    got = np.asarray(result["subtask"]).astype(np.int64)
    shapes = {"subtask": want.shape, "embedding": (len(states), embeddings.shape[1]), "score": want.shape}
    for name, shape in shapes.items():
        if result[name].shape != shape:
            print(f"{rule}: {name} has shape {result[name].shape}, expected {shape}")
            return False
    if ((got < 0) | (got >= len(embeddings))).any():
        print(f"{rule}: subtask outside 0..{len(embeddings) - 1}")
        return False

    # another sub-task than ours is right only in a tie; then everything else is held against that sub-task
    margin = (choice[rows, want] - choice[rows, got]) / np.abs(choice).max(axis=1)
    wrong = int((margin > TIE).sum())
    ties = int(((got != want) & (margin <= TIE)).sum())
    z = ends[rows, got]
    expected = {
        "embedding": z,
        "score": scores[rows, got] / reward_scale,
        "action": policy_mean(p, states, z)[0],
    }
    deviation, passed = {}, wrong == 0
    for name, value in expected.items():
        found = np.asarray(result[name], dtype=np.float64)
        if found.shape != value.shape or not np.isfinite(found).all():
            print(f"{rule}: {name} has shape {found.shape}, expected {value.shape}, or is not finite")
            return False
        absolute = np.abs(found - value)[margin <= TIE]
        deviation[name] = absolute.max(initial=0.0)
        passed &= bool(deviation[name] <= TOLERANCE * np.abs(value).max())
    print(
        f"{rule:9s} {'ok  ' if passed else 'FAIL'} states {len(states)}  wrong sub-task {wrong}  ties {ties}  "
        "max deviation "
        + "  ".join(f"{k} {v:.2e} (scale {np.abs(expected[k]).max():.3g})" for k, v in deviation.items())
    )
    return passed


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    p, metadata = read_checkpoint(sys.argv[1])
    search = search_settings(yaml.safe_load(metadata["config"]))
    with h5py.File(sys.argv[2]) as f:
        raw = f["states"][:].astype(np.float64)
    states = (raw - p["normaliser.state_mean"]) / p["normaliser.state_std"]
    passed = True
    with h5py.File(sys.argv[3]) as f:
        for rule in RULES:
            if rule not in f:
                print(f"{rule}: missing in {sys.argv[3]}")
                passed = False
            else:
                reward_scale = float(metadata["reward_scale"])
                passed &= compare_rule(p, rule, states, p["embeddings"], search, reward_scale, f[rule])
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
