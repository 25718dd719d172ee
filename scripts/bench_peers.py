#!/usr/bin/env python3
"""Training steps and gradient ascents beside PyTorch, in the same minutes on the same threads.

    python3 scripts/bench_peers.py [--benchmarks step,ascent] [--threads 1,2] [--json OUT.jsonl]

Each round runs build/release/bin/drop_bench with all its engines and precisions and then, one after
the other, the same work in PyTorch, so that a busy machine slows all alike; medians over the rounds
are shown, and the fastest round of each. PyTorch's forms: `eager` is the algorithm as tests/golden/drop_reference.py spells it out
(torch.optim.Adam as it comes, one joint backward pass; an ascent calls autograd once a step);
`fused` takes the fused Adam; `compile` adds torch.compile; on a GPU `graph` captures the fused form
and `compile-graph` the compiled one in a CUDA graph. bf16 is autocast. Columns: milliseconds; the
share of the machine's peak (measured by drop_bench in the same run), each by its own count of
operations, ours by the least that is possible; how many times faster than eager fp32; how many
times faster our best engine of that precision is.

Needs a Python with torch, which set-up does not install (its own has LibTorch without the rest):

    python3 -m venv build/peers && build/peers/bin/pip install numpy 'torch=={torch}'
    build/peers/bin/python3 scripts/bench_peers.py        # or --python build/peers/bin/python3
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMS = {"eager": {}, "fused": {"fused": True}, "compile": {"fused": True, "compiled": True},
         "graph": {"fused": True, "graph": True},
         "compile-graph": {"fused": True, "compiled": True, "graph": True}}
S, A, D, N, ROWS = 11, 3, 5, 100, 100_000


def torch_version():
    """The pinned one."""
    lines = (ROOT / "third_party/versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["TORCH_VERSION"]


# ---- the arithmetic of the algorithm word by word: every evaluation whole, nothing shared ----------


def beta_units(width):
    """Inputs of all layers of beta."""
    return S + width + (width + D) + 2 * width + A


def f_units(width):
    return (S + A) + width + (width + D) + 2 * width + 1


def eager_step_flops(batch, width):
    phi = (N + width + D) * 2 + (width + D)
    beta = 3 * beta_units(width) + beta_units(width) + (beta_units(width) - S)
    f = 6 * f_units(width) + 3 * (f_units(width) - S - A)
    return 2.0 * batch * width * (phi + beta + f + f_units(width))


def eager_ascent_flops(starts, steps, width):
    forward = beta_units(width) + f_units(width)
    backward = forward - S - width
    return 2.0 * starts * width * (steps * (forward + backward) + forward)


# ---- PyTorch ---------------------------------------------------------------------------------------


def make_parameters(width, device):
    """Fresh parameters by the names of a checkpoint, each layer as nn.Linear starts."""
    import torch

    networks = {"task_embedding.encoder": [N, width, width, D],
                "policy.state_encoder": [S, width, width],
                "policy.action_encoder": [width + D, width, width, width, A]}
    for prefix in ("score", "target_score"):
        networks[f"{prefix}.state_action_encoder"] = [S + A, width, width]
        networks[f"{prefix}.score_encoder"] = [width + D, width, width, width, 1]
    torch.manual_seed(0)
    parameters = {}
    for name, sizes in networks.items():
        for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
            layer = torch.nn.Linear(fan_in, fan_out)
            parameters[f"{name}.{i}.weight"] = layer.weight.detach().to(device)
            parameters[f"{name}.{i}.bias"] = layer.bias.detach().to(device)
    return parameters


def autocast(precision, device):
    import torch

    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    if precision == "bf16":
        # no cache of casts: it does not go with a captured graph
        return torch.autocast(device, torch.bfloat16, cache_enabled=device == "cpu")
    return contextlib.nullcontext()


def in_graph(body):
    """The same work as one replay of a CUDA graph."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def torch_step(batch_size, width, precision, device, fused=False, compiled=False, graph=False):
    """A function that makes one training step on random data."""
    import torch
    import drop_reference as reference

    p = make_parameters(width, device)
    trained = [v.requires_grad_() for k, v in p.items() if not k.startswith("target_")]
    names = [k for k in p if k.startswith("target_")]
    targets = [p[k] for k in names]
    sources = [p[k.removeprefix("target_")] for k in names]
    adam = torch.optim.Adam(trained, lr=1e-6, fused=fused or None, capturable=graph)
    # the constraint always sends a gradient, as in drop_bench
    settings = reference.Settings(multiplier="projected", threshold_scaled=0.0)
    multiplier = torch.ones((), device=device)
    states = torch.randn(ROWS, S, device=device)
    actions = torch.rand(ROWS, A, device=device) * 2 - 1
    rewards, terminals = torch.rand(ROWS, device=device), torch.zeros(ROWS, device=device)
    losses = torch.compile(reference.losses) if compiled else reference.losses

    def body():
        subtasks = torch.randint(N, (batch_size,), device=device)
        rows = subtasks * (ROWS // N) + torch.randint(ROWS // N - 1, (batch_size,), device=device)
        batch = {"states": states[rows], "actions": actions[rows], "rewards": rewards[rows],
                 "next_states": states[rows + 1], "next_actions": actions[rows + 1],
                 "terminals": terminals[rows], "subtasks": subtasks,
                 "z_u": torch.rand(batch_size, D, device=device) * 2 - 1}
        adam.zero_grad(set_to_none=not graph)
        with autocast(precision, device):
            parts = losses(p, batch, multiplier, settings)
        parts["total"].backward()
        adam.step()
        with torch.no_grad():
            multiplier.add_(parts["gap"].detach(), alpha=1e-12).clamp_(0, 1e6)
            torch._foreach_lerp_(targets, sources, settings.target_rate)

    return in_graph(body) if graph else body


def torch_ascent(starts, steps, width, precision, device, compiled=False, graph=False):
    """A function that makes one ascent from random starts at one state."""
    import torch
    import drop_reference as reference

    p = make_parameters(width, device)
    state = torch.randn(1, S, device=device)
    begin = torch.rand(1, starts, D, device=device) * 2 - 1
    z = begin.clone().requires_grad_()
    score = torch.compile(reference.deployed_score) if compiled else reference.deployed_score

    def ascend_once():
        with autocast(precision, device):
            values = score(p, state, z)
        (gradient,) = torch.autograd.grad(values.sum(), z)
        with torch.no_grad():
            z.add_(gradient, alpha=0.01).clamp_(-1, 1)

    one = in_graph(ascend_once) if graph else ascend_once

    def body():
        with torch.no_grad():
            z.copy_(begin)
        for _ in range(steps):
            one()
        # the choice between the ends is made in float32
        with torch.no_grad(), autocast("fp32", device):
            return reference.deployed_score(p, state, z)

    return body


def seconds_of(body, device, seconds):
    """Seconds of one call, over as many as fill a time."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < seconds:
        body()
        count += 1
    wait()
    return (time.perf_counter() - start) / count


# ---- ours ------------------------------------------------------------------------------------------


def drop_rows(program, kind, options, threads, device, seconds):
    command = [program, kind, *options, "--threads", threads, "--device", device, "--repetitions",
               3, "--seconds", seconds / 3, "--json", "-", "--quiet"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_peers.py: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


# ---- the two together ------------------------------------------------------------------------------


def compare(case, options, forms, precisions, make_peer, peer_flops, arguments, threads):
    """Rounds of ours and the peers; one row for each, peers behind ours."""
    import torch

    torch.set_num_threads(threads)
    peers = {}
    for precision in precisions:
        for form in forms:
            torch._dynamo.reset()
            try:
                peers[form, precision] = make_peer(FORMS[form], precision)
                peers[form, precision]()  # compiles, allocates
            except RuntimeError as error:
                peers.pop((form, precision), None)
                print(f"note: PyTorch's {form} {precision} left out: "
                      f"{str(error).splitlines()[0]}", file=sys.stderr)

    times, flops, peaks = {}, {}, {}
    for _ in range(arguments.rounds):
        for row in drop_rows(arguments.program, case["benchmark"], options, threads,
                             arguments.device, arguments.seconds):
            key = ("drop", row["engine"], row["precision"])
            times.setdefault(key, []).append(row["median_s"])
            flops[key] = row["flops"]
            peaks[row["precision"]] = max(row["peak_flops_per_s"], peaks.get(row["precision"], 0))
        for (form, precision), body in peers.items():
            found = seconds_of(body, arguments.device, arguments.seconds)
            key = ("torch", form, precision)
            times.setdefault(key, []).append(found)
            flops[key] = peer_flops

    middle = {key: statistics.median(values) for key, values in times.items()}
    fastest = {key: min(values) for key, values in times.items()}
    eager = middle.get(("torch", "eager", "fp32"))
    fastest_eager = fastest.get(("torch", "eager", "fp32"))
    rows = []
    for (who, engine, precision), seconds in sorted(middle.items(), key=lambda item: item[0][0]):
        ours = [s for (w, _, p), s in middle.items() if w == "drop" and p == precision]
        peak = peaks.get(precision)
        rows.append({
            **case, "benchmark": case["benchmark"] + "_peers", "by": who, "engine": engine,
            "precision": precision, "device": arguments.device, "threads": threads,
            "median_s": seconds, "min_s": fastest[who, engine, precision],
            "flops": flops[who, engine, precision], "peak_flops_per_s": peak,
            "share_of_peak": flops[who, engine, precision] / (seconds * peak) if peak else None,
            "faster_than_eager": eager / seconds if eager else None,
            "fastest_against_eager":
                fastest_eager / fastest[who, engine, precision] if fastest_eager else None,
            "ours_faster_by": seconds / min(ours) if who == "torch" and ours else None,
            "rounds": arguments.rounds})
    return rows


def show(rows):
    def cell(value, form):
        return "" if value is None else format(value, form)

    for row in rows:
        name = " ".join(f"{key}={row[key]}" for key in ("batch_size", "num_starts") if key in row)
        print(f"{row['benchmark'][:-6]:7} {name:16} {row['threads']:7} {row['by']:>6} "
              f"{row['engine']:>13} {row['precision']:>9} {1e3 * row['median_s']:11.3f} "
              f"{cell(row['share_of_peak'], '.1%'):>8} {cell(row['faster_than_eager'], '.2f'):>8} "
              f"{cell(row['ours_faster_by'], '.2f'):>8} {1e3 * row['min_s']:11.3f} "
              f"{cell(row['fastest_against_eager'], '.2f'):>8}", flush=True)


def step_cases(arguments, forms):
    """Each size: its fields, drop_bench's options, the peers, how one is made, its operations."""
    width = arguments.hidden_width
    for batch in arguments.batch_size:
        def make_peer(form, precision, batch=batch):
            return torch_step(batch, width, precision, arguments.device, **form)

        yield ({"benchmark": "step", "batch_size": batch, "hidden_width": width},
               ["--batch-size", batch, "--hidden-width", width, "--constraint", "active"],
               forms, make_peer, eager_step_flops(batch, width))


def ascent_cases(arguments, forms):
    """The same for ascents; these have no Adam."""
    width, steps = arguments.hidden_width, arguments.ascent_steps
    for starts in arguments.num_starts:
        def make_peer(form, precision, starts=starts):
            options = {key: value for key, value in form.items() if key != "fused"}
            return torch_ascent(starts, steps, width, precision, arguments.device, **options)

        yield ({"benchmark": "ascent", "num_starts": starts, "ascent_steps": steps,
                "hidden_width": width},
               ["--num-starts", starts, "--ascent-steps", steps, "--hidden-width", width],
               [form for form in forms if form != "fused"], make_peer,
               eager_ascent_flops(starts, steps, width))


CASES = {"step": step_cases, "ascent": ascent_cases}


def numbers(text):
    return [int(part) for part in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.replace("{torch}", torch_version()),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", default="step,ascent", help="comma-separated")
    parser.add_argument("--batch-size", type=numbers, default=[1024], help="of the step; several")
    parser.add_argument("--num-starts", type=numbers, default=[1, 100, 1000],
                        help="of the ascent; several")
    parser.add_argument("--ascent-steps", type=int, default=100, help="K")
    parser.add_argument("--hidden-width", type=int, default=512, help="of all networks")
    parser.add_argument("--threads", type=numbers, help="default: one, then all cores")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--peers", help=f"of {','.join(FORMS)}; default: all that the device has")
    parser.add_argument("--precisions", help="of fp32,tf32,bf16; default: all that the device has")
    parser.add_argument("--rounds", type=int, default=3, help="repeats; medians are shown")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each engine in a round")
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bin/drop_bench",
                        help="our drop_bench")
    parser.add_argument("--python", help="run under this interpreter instead")
    parser.add_argument("--json", type=Path, help="also one JSON object a line")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not arguments.seconds > 0:
        parser.error("--rounds and --seconds must be positive")
    for kind in arguments.benchmarks.split(","):
        if kind not in CASES:
            parser.error(f"benchmark {kind!r} has no peer; known: {', '.join(CASES)}")
    for form in arguments.peers.split(",") if arguments.peers else []:
        if form not in FORMS:
            parser.error(f"peer {form!r} is not known; known: {', '.join(FORMS)}")
    arguments.program = arguments.program.resolve()
    if not arguments.program.exists():
        parser.error(f"no {arguments.program}; run ./scripts/test.sh, or give --program")
    return arguments


def main():
    arguments = parse_arguments()
    # idle OpenMP threads that spin slow the next engine down; read when torch is loaded
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if arguments.python and os.path.realpath(arguments.python) != os.path.realpath(sys.executable):
        others = [part for i, part in enumerate(sys.argv) if "--python" not in (
            part.split("=")[0], sys.argv[i - 1] if i else "")]
        os.execvp(arguments.python, [arguments.python, *others])
    try:
        import torch
    except ImportError:
        sys.exit("bench_peers.py: this Python has no torch, or not all of it; see --help for one "
                 "that has")

    sys.path.insert(0, str(ROOT / "tests/golden"))
    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = arguments.device == "cuda"
    forms = (arguments.peers or ("eager,fused,compile,graph,compile-graph" if on_gpu else
                                 "eager,fused,compile")).split(",")
    precisions = (arguments.precisions or ("fp32,tf32,bf16" if on_gpu else "fp32,bf16")).split(",")
    threads = arguments.threads or ([1] if on_gpu else
                                    sorted({1, len(os.sched_getaffinity(0))}))

    lines = []
    print(f"{'':7} {'':16} {'threads':>7} {'by':>6} {'engine':>13} {'precision':>9} {'ms':>11} "
          f"{'of peak':>8} {'x eager':>8} {'ours x':>8} {'fastest':>11} {'x eager':>8}")
    for count in threads:
        for kind in arguments.benchmarks.split(","):
            for case, options, peers, make_peer, flops in CASES[kind](arguments, forms):
                rows = compare(case, options, peers, precisions, make_peer, flops, arguments, count)
                show(rows)
                lines += rows
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
