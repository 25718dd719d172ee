"""Continues ten steps from a checkpoint with PyTorch and compares with where the program came to.

    python check_training.py CHECKPOINT TRAINING BATCHES.safetensors EXPECTED_CHECKPOINT

CHECKPOINT and TRAINING are a run's step_N.safetensors and step_N.training.safetensors; BATCHES holds the batches of the
following steps as batch.* [T, B, ...] (states standardised, rewards scaled), EXPECTED_CHECKPOINT is the program's
checkpoint after them. Choose a CHECKPOINT some hundred steps into a healthy run (README.md). Prints the deviation of
each tensor, max|a-b| / max|b|; exit 1 when one is above TOLERANCE.
"""

import sys

import torch
import yaml
from safetensors import safe_open

import drop_reference as drop
from check_infer import flag

# ten float32 steps in PyTorch mostly stay within 1e-6 of float64 (README.md, which also says when they cannot); a wrong
# term shows as a share of the column `moved`, in most entries of a tensor
TOLERANCE = 1e-5
# what is trained or follows training; the rest of a checkpoint is fixed or derived
PREFIXES = ("task_embedding.", "policy.", "score.", "target_score.", "multiplier.")


def read(path):
    with safe_open(path, framework="pt") as f:
        return {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}


def settings_from(metadata):
    config = yaml.safe_load(metadata["config"])
    t, model = config["train"], config["model"]
    # YAML 1.1 reads 1e-3, without a point, as text: hence float() throughout
    return drop.Settings(
        discount=float(t["discount"]),
        target_rate=float(t["target_rate"]),
        learning_rate=float(t["learning_rate"]),
        conservative=flag(t["conservative"]),
        multiplier=t["multiplier"],
        multiplier_rate=float(t["multiplier_rate"]),
        threshold_scaled=float(t["conservative_threshold"]) * float(metadata["reward_scale"]),
        td_updates_embedding=flag(t["td_updates_embedding"]),
        policy_std=model["policy_std"],
    )


def load_moments(trainer, training, dtype):
    """Puts the stored Adam state into the trainer's optimisers."""
    step = torch.tensor(float(training["adam.step"].item()))
    names = {v: k for k, v in trainer.trainable().items()}
    if trainer.multiplier_log is not None:
        names[trainer.multiplier_log] = "multiplier"
    for optimiser in trainer.optimisers.values():
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                name = names[parameter]
                prefixes = ("adam.multiplier.exp_avg", "adam.multiplier.exp_avg_sq")
                if name != "multiplier":
                    prefixes = (f"adam.exp_avg.{name}", f"adam.exp_avg_sq.{name}")
                first, second = (training[p].to(dtype).reshape(parameter.shape).clone() for p in prefixes)
                optimiser.state[parameter] = {"step": step.clone(), "exp_avg": first, "exp_avg_sq": second}


def continue_run(params, training, batches, settings, dtype):
    """The parameters and lambda after all steps of `batches`."""
    trainer = drop.Trainer(params, settings, dtype)
    load_moments(trainer, training, dtype)
    for t in range(len(batches["states"])):
        trainer.step({k: v[t] if v.dtype == torch.int64 else v[t].to(dtype) for k, v in batches.items()})
    return trainer.params | {"multiplier.value": trainer.multiplier}


def deviation(a, b):
    """max|a-b| / max|b|, absolute where b is all zero."""
    a, b = a.detach().double().flatten(), b.detach().double().flatten()
    scale = b.abs().max().item()
    return (a - b).abs().max().item() / (scale if scale > 0 else 1.0)


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    checkpoint, metadata = read(sys.argv[1])
    training, _ = read(sys.argv[2])
    batches = {k.removeprefix("batch."): v for k, v in read(sys.argv[3])[0].items() if k.startswith("batch.")}
    program, _ = read(sys.argv[4])
    settings = settings_from(metadata)
    params = {k: v for k, v in checkpoint.items() if k.startswith(PREFIXES)}
    exact = continue_run(params, training, batches, settings, torch.float64)
    single = continue_run(params, training, batches, settings, torch.float32)

    # the reference in float32 is a yardstick only: how far rounding alone goes in these steps
    print(f"{len(batches['states'])} steps; deviation from float64:   program   torch float32   moved in these steps")
    failed, doubtful = 0, 0
    for name in sorted(exact):
        if name not in program or program[name].numel() != exact[name].numel():
            print(f"  {name}: missing in {sys.argv[4]} or of another size")
            failed += 1
            continue
        found, rounding = deviation(program[name], exact[name]), deviation(single[name], exact[name])
        moved = deviation(checkpoint[name], exact[name])
        note = ""
        if not found <= TOLERANCE:
            failed += 1
            doubtful += rounding > TOLERANCE
            off = (program[name].double().flatten() - exact[name].detach().flatten()).abs()
            count = int((off > TOLERANCE * exact[name].abs().max()).sum())
            note = f"FAIL: {count} of {off.numel()} entries"
        print(f"  {name:42s} {found:.1e}   {rounding:.1e}   {moved:.1e} {note}")
    print(f"FAIL: {failed} tensors deviate by more than {TOLERANCE}" if failed else "ok")
    if doubtful:
        print(f"PyTorch in float32 misses {doubtful} of them too: rounding decides here, take another CHECKPOINT")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
