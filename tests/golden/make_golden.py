"""Writes tests/fixtures/golden_*.safetensors and hashes.txt from drop_reference.py.

    python make_golden.py               write the files
    python make_golden.py --check       recompute and compare with the files, writing nothing
    python make_golden.py --self-check  test the reference itself: finite differences in float64, numpy against torch

README.md describes the files.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import sys

import numpy as np
import torch
from safetensors import safe_open

import check_infer
import drop_reference as drop

# comparisons use np.maximum and `not x <= limit`, so that not-a-number never passes for agreement
HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
DTYPES = {"f64": torch.float64, "f32": torch.float32}

WIDTH, BATCH, STATE, ACTION, DIM, SUBTASKS, STEPS, STATES = 16, 8, 3, 2, 2, 5, 10, 3

# rates differ from the defaults on purpose: a constant in the code would show
RATES = dict(discount=0.97, target_rate=0.05, learning_rate=3e-3, multiplier_rate=5.0)
# thresholds (scaled units) lie between the gaps that occur, so that the constraint is active in some steps only
TRAINING_CASES = {
    # name: seed, lambda at the start, settings
    "hinge": (8, 1.0, dict(threshold_scaled=0.1)),
    "projected": (7, 0.0, dict(multiplier="projected", threshold_scaled=0.02)),
    "log": (7, 1.0, dict(multiplier="log", threshold_scaled=0.02, multiplier_rate=0.05)),
    "off": (6, 1.0, dict(conservative=False, threshold_scaled=0.05)),
    "learned_std": (4, 1.0, dict(policy_std="learned", threshold_scaled=-0.1)),
    "cvae": (5, 1.0, dict(embedding="cvae", kl_weight=0.3, threshold_scaled=0.02)),
    "cvae_s": (9, 1.0, dict(embedding="cvae", encoder_inputs="s", policy_std="learned", threshold_scaled=0.0)),
    "bc": (2, 1.0, dict(score=False)),
    "free": (10, 1.0, dict(bounded_embedding=False, threshold_scaled=0.0)),
    "no_td_embedding": (3, 1.0, dict(td_updates_embedding=False, threshold_scaled=0.01)),
}

ASCENT_SEED = 15
PLAIN = drop.Search(ascent_steps=7, ascent_step_size=0.05)
ASCENT_CASES = {
    "plain": PLAIN,
    "normalised": drop.Search(ascent_steps=7, ascent_step_size=0.05, normalise_gradient=True),
    "unclipped": drop.Search(ascent_steps=7, ascent_step_size=0.05, clip=False),
    "best_iterate": drop.Search(ascent_steps=7, ascent_step_size=1.0, keep_best_iterate=True),
    "no_steps": drop.Search(ascent_steps=0, ascent_step_size=0.05),
}


# ---- inputs: uniform draws and exact arithmetic only, the same bits on every machine --------------------------------


def uniform(generator, shape, low=-1.0, high=1.0):
    draw = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (low + (high - low) * draw).to(torch.float32)


def make_layers(generator, name, sizes):
    """Linear layers sizes[0] -> sizes[1] -> ...; wider than the usual start, so that scores are of order 1."""
    tensors = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        tensors[f"{name}.{i}.weight"] = uniform(generator, (fan_out, fan_in)) * (6 / fan_in) ** 0.5
        tensors[f"{name}.{i}.bias"] = uniform(generator, (fan_out,)) * 0.2
    return tensors


def make_params(generator, learned_std=False, encoder_inputs=None):
    if encoder_inputs is None:
        p = make_layers(generator, "task_embedding.encoder", [SUBTASKS, WIDTH, WIDTH, DIM])
    else:
        inputs = STATE + (ACTION if "a" in encoder_inputs else 0)
        p = make_layers(generator, "encoder", [inputs, WIDTH, WIDTH, 2 * DIM])
    p |= make_layers(generator, "policy.state_encoder", [STATE, WIDTH, WIDTH])
    p |= make_layers(generator, "policy.action_encoder", [WIDTH + DIM, WIDTH, WIDTH, WIDTH, ACTION])
    if learned_std:
        p["policy.log_std"] = uniform(generator, (ACTION,), -0.5, 0.5)
    # f_bar starts apart from f, so that a mix-up of the two shows
    for net in ("score", "target_score"):
        p |= make_layers(generator, net + ".state_action_encoder", [STATE + ACTION, WIDTH, WIDTH])
        p |= make_layers(generator, net + ".score_encoder", [WIDTH + DIM, WIDTH, WIDTH, WIDTH, 1])
    return p


def make_batches(generator):
    """STEPS mini-batches, stacked."""
    shape = (STEPS, BATCH)
    return {
        "states": uniform(generator, (*shape, STATE), -1.7, 1.7),
        "actions": uniform(generator, (*shape, ACTION)),
        "rewards": uniform(generator, shape, -0.5, 1.0),
        "next_states": uniform(generator, (*shape, STATE), -1.7, 1.7),
        "next_actions": uniform(generator, (*shape, ACTION)),
        "terminals": (uniform(generator, shape, 0.0, 1.0) < 0.2).to(torch.float32),
        "subtasks": torch.randint(0, SUBTASKS, shape, generator=generator),
        "z_u": uniform(generator, (*shape, DIM)),
    }


def batch_at(batches, step, dtype):
    return {k: v[step] if v.dtype == torch.int64 else v[step].to(dtype) for k, v in batches.items()}


# ---- training cases -------------------------------------------------------------------------------------------------


def training_inputs(name):
    seed, multiplier, changes = TRAINING_CASES[name]
    settings = drop.Settings(**(RATES | changes))
    generator = torch.Generator().manual_seed(seed)
    cvae = settings.embedding == "cvae"
    params = make_params(generator, settings.policy_std == "learned", settings.encoder_inputs if cvae else None)
    params["multiplier.value"] = torch.tensor(multiplier, dtype=torch.float32)
    batches = make_batches(generator)
    if cvae or not settings.bounded_embedding:
        batches["z_u"] = 2 * batches["z_u"]
    if cvae:
        # any numbers serve as noise; these are exact everywhere
        batches["noise"] = uniform(generator, (STEPS, BATCH, DIM), -2.0, 2.0)
    return params, batches, settings


def run_training(params, batches, settings, dtype, moments):
    """STEPS steps from `params`; the tensors of the file without their prefix."""
    trainer = drop.Trainer(params, settings, dtype)
    rows, multipliers, out = [], [trainer.multiplier], {}
    for t in range(STEPS):
        rows.append(trainer.step(batch_at(batches, t, dtype)))
        multipliers.append(trainer.multiplier)
        if t == 0:
            out |= {"grad." + k: v.grad.clone() for k, v in trainer.trainable().items()}
    for key, part in (("loss_behaviour", "behaviour"), ("loss_td", "td"), ("conservative_gap", "gap")):
        out[key] = torch.tensor([row[part] for row in rows], dtype=dtype)
    if settings.embedding == "cvae":
        out["loss_kl"] = torch.tensor([row["kl"] for row in rows], dtype=dtype)
    out["multiplier"] = torch.stack(multipliers)
    out |= {"final." + k: v.detach() for k, v in trainer.params.items()}
    if moments:
        for k, v in trainer.trainable().items():
            state = trainer.optimisers[k.split(".")[0]].state[v]
            out[f"final.exp_avg.{k}"], out[f"final.exp_avg_sq.{k}"] = state["exp_avg"], state["exp_avg_sq"]
    return out


def make_training_case(name):
    params, batches, settings = training_inputs(name)
    tensors = {"init." + k: v for k, v in params.items()} | {"batch." + k: v for k, v in batches.items()}
    for prefix, dtype in DTYPES.items():
        out = run_training(params, batches, settings, dtype, moments=name == "hinge")
        tensors |= {f"{prefix}.{k}": v for k, v in out.items()}
    metadata = {
        "kind": "training",
        "conservative": on_off(settings.conservative),
        "multiplier": settings.multiplier,
        "td_updates_embedding": on_off(settings.td_updates_embedding),
        "policy_std": settings.policy_std,
    }
    if settings.embedding == "cvae":
        metadata |= {"embedding": "cvae", "encoder_inputs": settings.encoder_inputs, "kl_weight": repr(settings.kl_weight)}
    if not settings.score:
        metadata["score"] = "off"
    if not settings.bounded_embedding:
        metadata["bounded_embedding"] = "off"
    for key in ("discount", "target_rate", "learning_rate", "multiplier_rate", "threshold_scaled"):
        metadata[key] = repr(getattr(settings, key))
    return tensors, metadata


def on_off(value):
    return "on" if value else "off"


def report_training(name, tensors):
    _, _, settings = training_inputs(name)
    gap, multiplier = tensors["f64.conservative_gap"], tensors["f64.multiplier"]
    active = gap > settings.threshold_scaled
    marks = "".join("x" if a else "." for a in active)
    print(f"{name}: constraint active in {int(active.sum())} of {STEPS} steps ({marks})")
    print("  C          " + " ".join(f"{v:7.3f}" for v in gap) + f"   threshold {settings.threshold_scaled}")
    print("  multiplier " + " ".join(f"{v:7.3f}" for v in multiplier))
    print(f"  loss_td    {tensors['f64.loss_td'][0]:.3f} -> {tensors['f64.loss_td'][-1]:.3f}")
    if settings.score and settings.conservative and not 0 < active.sum() < STEPS:
        sys.exit(f"{name}: the constraint is not active in some steps and inactive in others")


# ---- the ascent case ------------------------------------------------------------------------------------------------


def ascent_inputs():
    generator = torch.Generator().manual_seed(ASCENT_SEED)
    params = {k: v for k, v in make_params(generator).items() if not k.startswith("target_score.")}
    # one path of unit 0s, silent unless the state's last entry is large, which then kills f's last hidden layer: at the
    # last state the score does not depend on z, the gradient is exactly zero and all starts tie, in any arithmetic
    for layer in ("state_action_encoder.0", "state_action_encoder.1", "score_encoder.0", "score_encoder.1"):
        params[f"score.{layer}.weight"][0] = 0.0
        params[f"score.{layer}.weight"][0, STATE - 1 if layer == "state_action_encoder.0" else 0] = 1.0
        params[f"score.{layer}.bias"][0] = -3.0 if layer == "state_action_encoder.0" else 0.0
    params["score.score_encoder.2.weight"][:, 0] = -100.0
    states = uniform(generator, (STATES, STATE), -1.7, 1.7)
    states[-1, STATE - 1] = 6.0
    starts = uniform(generator, (STATES, SUBTASKS, DIM))
    in_f64 = {k: v.double() for k, v in params.items()}
    embeddings = drop.task_embedding(in_f64, torch.arange(SUBTASKS)).float()
    return params, states, starts, embeddings


def run_ascent(params, states, starts, embeddings, dtype):
    p = {k: v.to(dtype) for k, v in params.items()}
    states, starts, embeddings = states.to(dtype), starts.to(dtype), embeddings.to(dtype)
    out = {"z_gradient": drop.score_and_gradient(p, states, starts)[1]}
    for name, search in ASCENT_CASES.items():
        out[name + ".ends"], out[name + ".scores"] = drop.ascend(p, states, starts, search)
    for rule in check_infer.RULES:
        for key, value in drop.infer(p, rule, states, embeddings, PLAIN).items():
            out[f"rule.{rule}.{key}"] = value
    return out


def make_ascent_case():
    params, states, starts, embeddings = ascent_inputs()
    tensors = {"param." + k: v for k, v in params.items()}
    tensors |= {"states": states, "starts": starts, "embeddings": embeddings}
    for prefix, dtype in DTYPES.items():
        out = run_ascent(params, states, starts, embeddings, dtype)
        tensors |= {f"{prefix}.{k}": v for k, v in out.items()}
    metadata = {"kind": "ascent", "settings": ",".join(ASCENT_CASES), "rule_setting": "plain"}
    for name, search in ASCENT_CASES.items():
        metadata[name + ".ascent_steps"] = str(search.ascent_steps)
        metadata[name + ".ascent_step_size"] = repr(search.ascent_step_size)
        for key in ("clip", "normalise_gradient", "keep_best_iterate"):
            metadata[f"{name}.{key}"] = on_off(getattr(search, key))
    return tensors, metadata


def report_ascent(tensors):
    clipped = {name: int((tensors[f"f64.{name}.ends"].abs() == 1).sum()) for name in ASCENT_CASES}
    still = int((tensors["f64.z_gradient"] == 0).all(-1).sum())
    print(f"ascent: coordinates that end on the box {clipped}; starts with zero gradient {still}")
    print(f"  unclipped: furthest coordinate {tensors['f64.unclipped.ends'].abs().max():.3f}")
    p = {k.removeprefix("param."): v.double() for k, v in tensors.items() if k.startswith("param.")}
    last = drop.Search(**(vars(ASCENT_CASES["best_iterate"]) | dict(keep_best_iterate=False)))
    ends, _ = drop.ascend(p, tensors["states"].double(), tensors["starts"].double(), last)
    earlier = int((ends != tensors["f64.best_iterate.ends"]).any(-1).sum())
    print(f"  best_iterate: the best is not the last iterate for {earlier} starts")
    for rule in check_infer.RULES:
        n, s = tensors[f"f64.rule.{rule}.subtask"].tolist(), tensors[f"f64.rule.{rule}.score"].tolist()
        print(f"  {rule:9s} sub-tasks {n} scores {[round(v, 4) for v in s]}")
    if min(clipped["plain"], still, earlier) == 0:
        sys.exit("ascent: a feature that the case should show is absent")


# ---- files ----------------------------------------------------------------------------------------------------------


def file_bytes(tensors, metadata):
    """A safetensors file with everything in a fixed order (the package's own writer shuffles the metadata)."""
    arrays = {k: np.ascontiguousarray(v.detach().numpy()) for k, v in tensors.items()}
    types = {"float64": "F64", "float32": "F32", "int64": "I64"}
    header, payload = {"__metadata__": dict(sorted(metadata.items()))}, b""
    # eight-byte types first keeps all aligned
    for name in sorted(arrays, key=lambda k: (-arrays[k].itemsize, k)):
        array = arrays[name]
        begin, payload = len(payload), payload + array.tobytes()
        header[name] = {
            "dtype": types[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [begin, len(payload)],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + payload


def is_result(name):
    return name.startswith(("f64.", "f32."))


def inputs_hash(tensors):
    """SHA-256 over the tensors that are given, not computed: names and bytes in order of name."""
    digest = hashlib.sha256()
    for name in sorted(k for k in tensors if not is_result(k)):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()


def make_all(verbose):
    for name in TRAINING_CASES:
        tensors, metadata = make_training_case(name)
        if verbose:
            report_training(name, tensors)
        yield f"golden_{name}.safetensors", tensors, metadata
    tensors, metadata = make_ascent_case()
    if verbose:
        report_ascent(tensors)
    yield "golden_ascent.safetensors", tensors, metadata


def deviation(found, expected):
    """Largest absolute difference relative to the largest absolute value."""
    scale = expected.abs().max().item()
    difference = (found.double() - expected.double()).abs().max().item()
    return difference / scale if scale > 0 else difference


def write_files():
    lines = ["# sha256  file; then sha256 of its inputs alone (all tensors but f64.* and f32.*)\n"]
    for file, tensors, metadata in make_all(verbose=True):
        content = file_bytes(tensors, metadata)
        (FIXTURES / file).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {file}\n")
        lines.append(f"{inputs_hash(tensors)}  {file} (inputs)\n")
        results = [k.removeprefix("f32.") for k in tensors if k.startswith("f32.")]
        worst = max(results, key=lambda k: deviation(tensors["f32." + k], tensors["f64." + k]))
        spread = deviation(tensors["f32." + worst], tensors["f64." + worst])
        print(f"  {file}: {len(content)} bytes; float32 against float64 at most {spread:.1e} of the scale ({worst})")
    (HERE / "hashes.txt").write_text("".join(lines))


def check_files():
    """The stored files against a fresh computation; returns whether they agree."""
    hashes = dict(line.split("  ")[::-1] for line in (HERE / "hashes.txt").read_text().splitlines()[1:])
    good = True
    for file, tensors, metadata in make_all(verbose=False):
        content = (FIXTURES / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != hashes[file]:
            print(f"{file}: its sha256 is not the one in hashes.txt")
            good = False
        if content == file_bytes(tensors, metadata):
            print(f"{file}: the same bits")
            continue
        # another processor may sum in another order: inputs must agree to the bit, results nearly
        with safe_open(FIXTURES / file, framework="pt") as f:
            stored = {k: f.get_tensor(k) for k in f.keys()}
            same = f.metadata() == metadata and stored.keys() == tensors.keys()
        same = same and inputs_hash(stored) == hashes[file + " (inputs)"] == inputs_hash(tensors)
        worst = {"f64": 0.0, "f32": 0.0}
        for name in filter(is_result, tensors if same else ()):
            worst[name[:3]] = np.maximum(worst[name[:3]], deviation(tensors[name], stored[name]))
        good &= same and worst["f64"] < 1e-9 and worst["f32"] < 1e-4
        within = ", ".join(f"{worst[k]:.1e} ({k})" for k in worst)
        print(f"{file}: inputs {'agree' if same else 'DIFFER'}; results within {within}")
    return good


# ---- self-check -----------------------------------------------------------------------------------------------------


def finite_difference(function, tensor, step=1e-6):
    """Central differences of `function`, a scalar tensor, in every entry of `tensor`, changed in place and restored."""
    out, flat = torch.zeros_like(tensor), tensor.data.view(-1)
    for i in range(flat.numel()):
        value = flat[i].item()
        flat[i] = value + step
        above = function().item()
        flat[i] = value - step
        below = function().item()
        flat[i] = value
        out.view(-1)[i] = (above - below) / (2 * step)
    return out


def check_loss_gradients(name):
    """Autograd against central differences for each loss, and that no gradient goes where it must not."""
    params, batches, settings = training_inputs(name)
    p = {k: v.double().requires_grad_() for k, v in params.items() if k != "multiplier.value"}
    batch = batch_at(batches, 0, torch.float64)

    cvae = settings.embedding == "cvae"
    encoder = "encoder" if cvae else "task_embedding"
    into_phi = settings.td_updates_embedding and not cvae

    def posterior():
        return drop.posterior(p, batch["states"], batch["actions"], settings.encoder_inputs)

    def embedding():
        if not cvae:
            return drop.task_embedding(p, batch["subtasks"], settings.bounded_embedding)
        mean, log_std = posterior()
        return mean + torch.exp(log_std) * batch["noise"]

    # between diagonal normals, in closed form
    def kl():
        mean, log_std = posterior()
        return 0.5 * (mean**2 + torch.exp(2 * log_std) - 1 - 2 * log_std).sum(-1).mean()

    with torch.no_grad():
        z_fixed = embedding()
        target = drop.td_target(p, batch, z_fixed, settings.discount)
        a_u, a = drop.policy_mean(p, batch["states"], batch["z_u"]), drop.policy_mean(p, batch["states"], z_fixed)

    # each loss written out with everything held that no gradient may pass
    def td():
        return drop.td_loss(p, batch, embedding() if into_phi else z_fixed, target)

    def gap():
        ood = drop.score(p, batch["states"], a_u, batch["z_u"])
        return ood.mean() - drop.score(p, batch["states"], a, z_fixed).mean()

    held = {
        "behaviour": lambda: drop.behaviour_loss(p, batch, embedding(), settings.policy_std),
        "td": td,
        "gap": gap,
        "total": None,
    }
    nets = {
        "behaviour": (encoder, "policy"),
        "td": (encoder, "score") if into_phi else ("score",),
        "gap": ("score",),
        "total": (encoder, "policy", "score"),
    }
    if cvae:
        held = {"kl": kl} | held
        nets["kl"] = (encoder,)
    # lambda 0.7 stands for any; penalty as in docs/algorithm.md, step 5
    multiplier = torch.tensor(0.7, dtype=torch.float64)

    def total():
        if not settings.score:
            return held["behaviour"]()
        excess = gap() - settings.threshold_scaled
        penalty = torch.relu(excess) if settings.multiplier == "hinge" else excess
        value = held["behaviour"]() + held["td"]()
        if cvae:
            value = value + settings.kl_weight * kl()
        return value + multiplier * penalty if settings.conservative else value

    held["total"] = total
    if not settings.score:
        held = {"behaviour": held["behaviour"], "total": total}
        nets["total"] = nets["behaviour"]
    for loss, function in held.items():
        value = drop.losses(p, batch, multiplier, settings)[loss]
        names = list(p)
        gradients = torch.autograd.grad(value, [p[k] for k in names], allow_unused=True)
        worst = 0.0
        for key, gradient in zip(names, gradients):
            reached = gradient is not None and bool((gradient != 0).any())
            if key.split(".")[0] not in nets[loss]:
                if reached:
                    sys.exit(f"{name}: {loss} sends a gradient to {key}")
                continue
            with torch.no_grad():
                numeric = finite_difference(function, p[key])
            gradient = torch.zeros_like(numeric) if gradient is None else gradient
            scale = max(1.0, numeric.abs().max().item())
            worst = np.maximum(worst, (gradient - numeric).abs().max().item() / scale)
        if not worst <= 1e-7:
            sys.exit(f"{name}: {loss}: autograd and finite differences differ by {worst:.1e}")
        print(f"{name}: {loss}: autograd and finite differences agree within {worst:.1e}")


def check_ascent_gradient():
    params, states, starts, _ = ascent_inputs()
    p = {k: v.double() for k, v in params.items()}
    states, z = states.double(), starts.double()
    gradient = drop.score_and_gradient(p, states, z)[1]
    numeric = finite_difference(lambda: drop.deployed_score(p, states, z).sum(), z)
    worst = (gradient - numeric).abs().max().item()
    if not worst <= 1e-7:
        sys.exit(f"z-gradient: autograd and finite differences differ by {worst:.1e}")
    print(f"z-gradient: autograd and finite differences agree within {worst:.1e}")


def check_numpy_rules():
    """check_infer's numpy against torch in float64, for every rule and every setting."""
    params, states, _, embeddings = ascent_inputs()
    p = {k: v.double() for k, v in params.items()}
    q = {k: v.numpy() for k, v in p.items()}
    states, embeddings = states.double(), embeddings.double()
    worst, rows = 0.0, np.arange(STATES)
    for search in ASCENT_CASES.values():
        for rule in check_infer.RULES:
            want = {k: v.numpy() for k, v in drop.infer(p, rule, states, embeddings, search).items()}
            ends, scores, choice = check_infer.candidates(q, rule, states.numpy(), embeddings.numpy(), search)
            # starts that meet in one corner of the box tie but for rounding, so that either may be chosen
            n = want["subtask"]
            got = {"embedding": ends[rows, n], "score": scores[rows, n]}
            got["action"], _ = check_infer.policy_mean(q, states.numpy(), got["embedding"])
            got["choice"], want["choice"] = choice[rows, n], choice.max(axis=1)
            worst = np.max([worst] + [np.abs(got[k] - want[k]).max() for k in got])
    if not worst <= 1e-12:
        sys.exit(f"rules: numpy and torch differ by {worst:.1e}")
    print(f"rules: numpy and torch agree within {worst:.1e}")


def self_check():
    for name in TRAINING_CASES:
        check_loss_gradients(name)
    check_ascent_gradient()
    check_numpy_rules()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare the stored files with a fresh computation")
    mode.add_argument("--self-check", action="store_true", help="test the reference itself")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.self_check:
        self_check()
    elif arguments.check:
        sys.exit(0 if check_files() else 1)
    else:
        write_files()


if __name__ == "__main__":
    main()
