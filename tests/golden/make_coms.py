"""Writes tests/fixtures/golden_coms.safetensors: COMs (policies fitted, score model, ascent) in plain PyTorch.

    python make_coms.py          write the file
    python make_coms.py --check  compare it with a fresh computation, writing nothing

Policies are fitted one by one, networks are lists of layers, the optimiser is torch's: nothing is shared with the
library. README.md describes the file.
"""

import argparse
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open

from make_golden import DTYPES, FIXTURES, deviation, file_bytes, is_result, uniform

FILE = FIXTURES / "golden_coms.safetensors"
SEED = 11
STEPS = 12
# the policies: N, rows of each batch, sizes
COUNT, BATCH, POLICY = 3, 6, [4, 5, 5, 2]
# the score model on designs of 7 coordinates; rates differ from the defaults, so that a constant in the code shows
DESIGNS, SCORE, SLOPE = 6, [7, 8, 8, 1], 0.3
LEARNING_RATE, SCORE_RATE = 3e-3, 1e-2
ADVERSARY_STEPS, STEP_SIZE = 4, 0.11  # times sqrt(7)
ALPHA, ALPHA_RATE, LIMIT = 0.35, 1.0, 0.2
ASCENT_STEPS = 9


def layers_of(flat, sizes):
    """[(weight [out, in], bias [out])] of a flat vector: layer by layer the weight, then the bias."""
    layers, at = [], 0
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        weight = flat[at:at + fan_in * fan_out].reshape(fan_out, fan_in)
        at += fan_in * fan_out
        layers.append((weight, flat[at:at + fan_out]))
        at += fan_out
    assert at == len(flat)
    return layers


def network(flat, sizes, x, activation):
    layers = layers_of(flat, sizes)
    for weight, bias in layers[:-1]:
        x = activation(x @ weight.T + bias)
    return x @ layers[-1][0].T + layers[-1][1]


def policy(flat, states):
    return torch.tanh(network(flat, POLICY, states, torch.relu))


def score(flat, designs):
    return network(flat, SCORE, designs, lambda x: F.leaky_relu(x, SLOPE)).squeeze(-1)


def ascend(flat, designs, steps):
    step_size = STEP_SIZE * SCORE[0] ** 0.5
    ends = []
    for design in designs:  # one by one
        x = design.clone()
        for _ in range(steps):
            x.requires_grad_()
            gradient, = torch.autograd.grad(score(flat.detach(), x[None]).sum(), x)
            x = (x + step_size * gradient).detach()
        ends.append(x)
    return torch.stack(ends)


def inputs():
    generator = torch.Generator().manual_seed(SEED)
    count = sum((a + 1) * b for a, b in zip(POLICY, POLICY[1:]))
    scores = sum((a + 1) * b for a, b in zip(SCORE, SCORE[1:]))
    return {
        "policy.init": uniform(generator, (count,)),
        "policy.states": uniform(generator, (STEPS, COUNT, BATCH, POLICY[0]), -1.7, 1.7),
        "policy.actions": uniform(generator, (STEPS, COUNT, BATCH, POLICY[-1])),
        "score.init": uniform(generator, (scores,), -0.6, 0.6),
        "score.designs": uniform(generator, (DESIGNS, SCORE[0]), -1.7, 1.7),
        "score.objectives": uniform(generator, (DESIGNS,), -1.7, 1.7),
    }


def run(tensors, dtype):
    given = {key: value.to(dtype) for key, value in tensors.items()}
    designs, losses = [], []
    for n in range(COUNT):
        flat = given["policy.init"].clone().requires_grad_()
        optimiser = torch.optim.Adam([flat], lr=LEARNING_RATE)
        losses.append([])
        for t in range(STEPS):
            error = policy(flat, given["policy.states"][t, n]) - given["policy.actions"][t, n]
            loss = 0.5 * (error ** 2).sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.detach())
        designs.append(flat.detach())

    x, y = given["score.designs"], given["score.objectives"]
    flat = given["score.init"].clone().requires_grad_()
    optimiser = torch.optim.Adam([flat], lr=SCORE_RATE)
    alpha, alphas, errors, gaps = ALPHA, [ALPHA], [], []
    for _ in range(STEPS):
        adversaries = ascend(flat, x, ADVERSARY_STEPS)
        error = ((score(flat, x) - y) ** 2).mean()
        gap = score(flat, adversaries).mean() - score(flat, x).mean()
        optimiser.zero_grad()
        (error + alpha * gap).backward()
        optimiser.step()
        alpha = max(0.0, alpha + ALPHA_RATE * (gap.item() - LIMIT))
        alphas.append(alpha)
        errors.append(error.detach())
        gaps.append(gap.detach())
    final = flat.detach()
    return {
        "policy.losses": torch.stack([torch.stack(of_one) for of_one in losses]).T,
        "policy.designs": torch.stack(designs),
        "score.adversaries": ascend(given["score.init"], x, ADVERSARY_STEPS),
        "score.squared_error": torch.stack(errors),
        "score.overestimation": torch.stack(gaps),
        "score.alpha": torch.tensor(alphas, dtype=dtype),
        "score.final": final,
        "score.ends": ascend(final, x, ASCENT_STEPS),
    }


def make():
    tensors = inputs()
    results = {prefix: run(tensors, dtype) for prefix, dtype in DTYPES.items()}
    for prefix, values in results.items():
        tensors |= {f"{prefix}.{key}": value for key, value in values.items()}
    numbers = dict(learning_rate=LEARNING_RATE, score_learning_rate=SCORE_RATE, negative_slope=SLOPE,
                   adversary_steps=ADVERSARY_STEPS, step_size=STEP_SIZE, initial_alpha=ALPHA, alpha_rate=ALPHA_RATE,
                   overestimation_limit=LIMIT, ascent_steps=ASCENT_STEPS)
    metadata = {"kind": "coms", "policy_sizes": ",".join(map(str, POLICY)), "score_sizes": ",".join(map(str, SCORE))}
    return tensors, metadata | {key: repr(value) for key, value in numbers.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the stored file with a fresh computation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tensors, metadata = make()
    alphas = tensors["f64.score.alpha"]
    print("alpha", [round(alpha, 3) for alpha in alphas.tolist()])
    if not ((alphas == 0).any() and (alphas.diff() > 0).any() and (alphas.diff() < 0).any()):
        sys.exit("coms: alpha should rise, fall and stop at 0")
    if not arguments.check:
        content = file_bytes(tensors, metadata)
        FILE.write_bytes(content)
        print(f"{FILE.name}: {len(content)} bytes")
        return
    # as make_golden.py --check: inputs to the bit, results nearly
    with safe_open(FILE, framework="pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}
        good = file.metadata() == metadata and stored.keys() == tensors.keys()
    for key in stored if good else ():
        limit = {"f64": 1e-9, "f32": 1e-4}[key[:3]] if is_result(key) else 0.0
        if not deviation(tensors[key], stored[key]) <= limit:
            print(f"{FILE.name}: {key} differs")
            good = False
    print(f"{FILE.name}: {'agrees' if good else 'DIFFERS'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
