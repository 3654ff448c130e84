"""Everything that wants a GPU, in one command: `make bench-gpu`, about half an hour.

1. Update and acting speed of every agent at its published size, eager / compile / graph x float32 / tf32 / bf16, beside
   the floors of the machine at hand (update_speed.py).
2. The ladder for CQN-AS at BiGym's size: from the straightforward update to ours, step by step, beside what was
   predicted for an H200 before one was at hand.
3. Parity: the three speeds take the same steps from the same weights.

Writes benchmarks/results/update_speed_cuda.json. `--device cpu` is a rehearsal with small batches; it writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import update_speed
from counting import interleaved
from peers.loader import to_float
from peers.update import Peer
from provenance import provenance
from shapes import CASES, batch_size, make_agent, make_batch, peer_batch
from zoomrl.agents.engine import accelerate
from zoomrl.errors import ConfigError

PREDICTED_MS = {
    "0 straightforward: images become float32 on the host, pageable copy": (250, 500),
    "1 straightforward: uint8 to the GPU, cast there": (60, 75),
    "2 straightforward, tf32": (36, 42),
    "3 ours, eager, tf32": None,
    "4 ours, compile, tf32": (13, 16),
    "5 ours, compile, bf16": (7, 9),
    "6 ours, graph, bf16": (6.5, 8),
}
"""Milliseconds predicted for an H200 (at 16 host cores). The prediction's third step, fusion without the algebra,
cannot be had apart from ours; eager execution of ours stands in its place, without a prediction."""
LADDER = "cqn_as-bigym"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    update_speed.add_options(parser)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--ladder", choices=tuple(CASES), default=LADDER, help="what the ladder is climbed with")
    parser.add_argument(
        "--parts", nargs="+", choices=("ladder", "parity", "speed"), default=["ladder", "parity", "speed"]
    )
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "bench-gpu: missing an NVIDIA GPU that PyTorch can use "
            f"(torch {torch.__version__} {'has CUDA, but finds no device' if torch.version.cuda else 'has no CUDA'})."
        )
    torch.set_num_threads(options.threads)
    console = Console(width=140, stderr=True)
    scale, speeds, precisions = update_speed.settings(options)
    if options.device == "cpu":
        speeds, precisions = options.speed or ["eager", "graph"], options.precision or ["float32", "tf32", "bf16"]
    result: dict[str, Any] = {
        "name": f"update_speed_{options.device}",
        **provenance(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        **update_speed.conditions(options.device, scale),
    }
    # The shortest first: what a broken machine shows, it shows early.
    if "parity" in options.parts:
        result["parity"] = [
            parity(name, options.device, scale, speeds, console)
            for name in ("quickstart", "drqv2-dmc-cpu", options.ladder)
        ]
    if "ladder" in options.parts:
        result["ladder"] = climb(options.ladder, options.device, scale, console)
    if "speed" in options.parts:
        result["rows"] = update_speed.measure(options.device, options.agents, speeds, precisions, scale, console)
    print(json.dumps(result, indent=1))
    if options.device == "cuda":
        update_speed.write(result)
    else:
        console.print("a rehearsal on the CPU: nothing is written", highlight=False)


def climb(name: str, device: str, scale: str, console: Console) -> dict[str, Any]:
    """One row for each step of the ladder."""
    case = CASES[name]
    size = batch_size(case, scale)
    predictions_hold = device == "cuda" and name == LADDER and scale == "full"
    steps: dict[str, Callable[[], Callable[[], object]]] = {
        "0": lambda: _straightforward(name, device, size, on_host=True),
        "1": lambda: _straightforward(name, device, size, on_host=False),
        "2": lambda: _straightforward(name, device, size, on_host=False, precision="tf32"),
        "3": lambda: _ours(name, device, size, "eager", "tf32"),
        "4": lambda: _ours(name, device, size, "compile", "tf32"),
        "5": lambda: _ours(name, device, size, "compile", "bf16"),
        "6": lambda: _ours(name, device, size, "graph", "bf16"),
    }
    rows = []
    for step, predicted in PREDICTED_MS.items():
        update_speed.clear(device)
        row: dict[str, Any] = {"step": step, "predicted_ms": predicted if predictions_hold else None}
        try:
            update = steps[step[0]]()
            for _ in range(5):
                update()
            (seconds,) = interleaved([update], device)
            row |= {"update_ms": 1e3 * seconds, "updates_per_s": 1 / seconds}
            del update
        except ConfigError as error:
            row["missing"] = str(error)
        finally:
            _full_precision(device)
        rows.append(row)
        console.print(f"{step}: {row.get('missing') or format(row['update_ms'], '.2f') + ' ms'}", highlight=False)
    shown = Table(title=f"{name}, batch {size}: ms per update")
    for title in ("step", "measured", "updates/s", "predicted (H200)", "gain on the step before"):
        shown.add_column(title, justify="left" if title == "step" else "right")
    before = None
    for row in rows:
        now, predicted = row.get("update_ms"), row["predicted_ms"]
        shown.add_row(
            row["step"],
            f"{now:.2f}" if now else "missing",
            f"{1e3 / now:.1f}" if now else "",
            f"{predicted[0]} - {predicted[1]}" if predicted else "",
            f"{before / now:.2f}" if before and now else "",
        )
        before = now or before
    console.print(shown)
    return {"agent": name, "batch": size, "rows": rows}


def _straightforward(
    name: str, device: str, size: int, *, on_host: bool, precision: str = "float32"
) -> Callable[[], object]:
    """The peer's update on a host batch of uint8 images, which become float32 on the host or on the device."""
    # Its own start leaves cuDNN's convolutions in tf32, as PyTorch does: so does this one.
    _set_matmul(device, precision)
    case = CASES[name]
    agent = make_agent(case, random_heads=True)
    peer, batch = Peer(agent, device), peer_batch(make_batch(case, agent, size))
    del agent

    def update() -> object:
        if on_host:
            return peer.update(to_float(batch, peer.device))
        return peer.update({key: array.to(peer.device).to(torch.float32) for key, array in batch.items()})

    return update


def _ours(name: str, device: str, size: int, speed: str, precision: str) -> Callable[[], object]:
    """Our update on a batch that lies on the device, where the replay's frames are."""
    case = CASES[name]
    agent = make_agent(case, device, random_heads=True)
    accelerate(agent, speed, precision)
    batch = make_batch(case, agent, size, device)
    return lambda: agent.update(batch)


def _set_matmul(device: str, precision: str) -> None:
    if precision == "tf32" and device != "cuda":
        raise ConfigError("tf32 needs an NVIDIA GPU")
    if device == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = True


def _full_precision(device: str) -> None:
    if device == "cuda":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False


def parity(name: str, device: str, scale: str, speeds: list[str], console: Console, updates: int = 8) -> dict[str, Any]:
    """Losses and weights of each speed against eager execution, from equal weights, batches and draws, in float32."""
    case, found = CASES[name], {}
    size = batch_size(case, scale)
    _full_precision(device)
    for speed in ["eager", *(s for s in speeds if s != "eager")]:
        update_speed.clear(device)
        agent = make_agent(case, device, random_heads=True)
        try:
            accelerate(agent, speed)
        except ConfigError as error:
            found[speed] = {"missing": str(error)}
            continue
        batch = make_batch(case, agent, size, device)
        losses = [float(agent.update(batch)["loss"]) for _ in range(updates)]
        modules = [part for part in agent.parts.values() if isinstance(part, torch.nn.Module)]
        weights = list(itertools.chain.from_iterable(module.parameters() for module in modules))
        found[speed] = {"losses": losses, "weights": [weight.detach().cpu() for weight in weights]}
    eager = found["eager"]
    result: dict[str, Any] = {"agent": name, "batch": size, "updates": updates}
    for speed, one in found.items():
        if speed == "eager":
            continue
        if "missing" in one:
            result[speed] = one
            said = one["missing"]
        else:
            pairs = zip(one["losses"], eager["losses"], strict=True)
            loss = max(abs(a - b) / max(abs(b), 1e-6) for a, b in pairs)
            both = zip(one["weights"], eager["weights"], strict=True)
            weight = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in both)
            result[speed] = {"largest_relative_loss_difference": loss, "largest_relative_weight_difference": weight}
            said = f"loss {loss:.1e}, weights {weight:.1e} apart from eager"
        console.print(f"parity of {name}, {speed}: {said}", highlight=False)
    return result


if __name__ == "__main__":
    main()
