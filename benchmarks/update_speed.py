"""Speed of one update of every agent, next to the arithmetic and the traffic that it cannot avoid.

Usage: python benchmarks/update_speed.py [--device cuda] [--agents cqn_as-bigym ...] [--speed eager compile graph]
                                         [--precision float32 tf32 bf16] [--scale small] [--write]

The two floors are the counted operations over the rate of a large matrix product in the same precision, and the
counted bytes over the rate of a large copy; both rates are measured between the updates. In bf16 the product's rate is
taken for all arithmetic, although output layers and losses stay float32. On a CPU the published sizes take seconds to
minutes an update: `--scale small`, the default there, divides their batches (column "batch").
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from counting import BYTES_MEAN, Rates, count, interleaved
from provenance import RESULTS, keep, provenance
from shapes import CASES, Case, batch_size, make_agent, make_batch, make_observation, updates_of
from zoomrl.agents.engine import accelerate
from zoomrl.errors import ConfigError

SPEEDS, PRECISIONS = ("eager", "compile", "graph"), ("float32", "tf32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/update_speed_<device>.json")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("update_speed: --device cuda needs an NVIDIA GPU, and PyTorch finds none here.")
    torch.set_num_threads(options.threads)
    scale, speeds, precisions = settings(options)
    rows = measure(options.device, options.agents, speeds, precisions, scale, Console(width=140, stderr=True))
    result = {
        "name": f"update_speed_{options.device}",
        **provenance(["python", "benchmarks/update_speed.py", *sys.argv[1:]]),
        **conditions(options.device, scale),
        "rows": rows,
    }
    print(json.dumps(result, indent=1))
    if options.write:
        write(result)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options shared with gpu.py."""
    parser.add_argument("--agents", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--speed", nargs="+", choices=SPEEDS, help="all on a GPU, eager on a CPU by default")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, help="all; float32 and bf16 on a CPU by default")
    parser.add_argument("--scale", choices=("full", "small"), help="full on a GPU, small on a CPU by default")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")


def settings(options: argparse.Namespace) -> tuple[str, list[str], list[str]]:
    """Scale, speeds and precisions, with the device's defaults."""
    gpu = options.device == "cuda"
    scale = options.scale or ("full" if gpu else "small")
    speeds = options.speed or (list(SPEEDS) if gpu else ["eager"])
    precisions = options.precision or (list(PRECISIONS) if gpu else ["float32", "bf16"])
    return scale, speeds, precisions


def conditions(device: str, scale: str) -> dict[str, Any]:
    """What a reader must know of the measurement."""
    found = {"threads": torch.get_num_threads(), "scale": scale, "bytes": BYTES_MEAN}
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def write(result: dict[str, Any]) -> None:
    """Keep the result."""
    print(f"wrote {keep(result).relative_to(RESULTS.parents[1])}")


def measure(
    device: str, agents: list[str], speeds: list[str], precisions: list[str], scale: str, console: Console
) -> list[dict[str, Any]]:
    """One row for each agent, speed and precision; what cannot be had is a row that says why."""
    rows = []
    for name in agents:
        case = CASES[name]
        size = batch_size(case, scale)
        counted = counts(case, size, device)
        for precision in precisions:
            for speed in speeds:
                row = {"agent": name, "batch": size, "speed": speed, "precision": precision}
                row |= timed(case, size, device, speed, precision, counted)
                rows.append(row)
                said = row.get("missing") or f"{row['update_ms']:.2f} ms"
                console.print(f"{name}, batch {size}, {speed}, {precision}: {said}", highlight=False)
    console.print(table(rows))
    return rows


def counts(case: Case, size: int, device: str) -> dict[str, float]:
    """Counts of one eager update on ``size`` samples, and of one on the published batch.

    Both are straight lines in the number of samples: where the published batch is too large to run, its counts are
    extended from those of ``size`` and half of it.
    """
    agent = make_agent(case, device)

    def counted(samples: int) -> dict[str, float]:
        update, rounds = updates_of(case, agent, make_batch(case, agent, samples, device))
        update()
        return {key: value / rounds for key, value in count(update).items()}

    found, full = counted(size), case.config().replay.batch_size
    result = dict(found)
    half = counted(size // 2) if size < full else found
    for key in ("gflop", "gb"):
        slope = (found[key] - half[key]) / (size - size // 2)
        result[f"{key}_full_batch"] = found[key] + slope * (full - size)
    return result


def timed(case: Case, size: int, device: str, speed: str, precision: str, counted: dict[str, float]) -> dict[str, Any]:
    """Time of an update and of acting, with the floors of the same minutes."""
    clear(device)
    agent = make_agent(case, device)
    try:
        accelerate(agent, speed, precision)
    except ConfigError as error:
        return {"missing": str(error)}
    batch = make_batch(case, agent, size, device)
    generator = torch.Generator().manual_seed(0)
    observation = make_observation(case, 1, generator)
    rates = Rates(device, precision)
    once, rounds = updates_of(case, agent, batch)
    for _ in range(5 if speed != "eager" else 1):
        once()
    functions = [once, rates.product, rates.copy, lambda: agent.act(observation, generator)]
    update, product, copy, act = interleaved(functions, device)
    update /= rounds
    gflops, gbs = rates.of(product, copy)
    floors = {"arithmetic_ms": 1e3 * counted["gflop"] / gflops, "traffic_ms": 1e3 * counted["gb"] / gbs}
    row = {
        "update_ms": 1e3 * update,
        "updates_per_s": 1 / update,
        **counted,
        "matmul_gflops": gflops,
        "copy_gb_per_s": gbs,
        **floors,
        "ratio": 1e3 * update / max(floors.values()),
        "ratio_to_arithmetic": 1e3 * update / floors["arithmetic_ms"],
        "act_ms": 1e3 * act,
    }
    if device == "cuda":
        row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return row


def table(rows: list[dict[str, Any]]) -> Table:
    """What matters of ``rows``."""
    shown = Table(title="one update: times in ms, floors from rates measured in the same minutes")
    columns = {
        "agent": "agent",
        "batch": "batch",
        "speed": "speed",
        "precision": "precision",
        "update_ms": "update",
        "updates_per_s": "updates/s",
        "gflop": "GFLOP",
        "gb": "GB",
        "arithmetic_ms": "arithmetic",
        "traffic_ms": "traffic",
        "ratio": "to larger floor",
        "act_ms": "act",
    }
    for title in columns.values():
        shown.add_column(title, justify="left" if title in ("agent", "speed", "precision") else "right")
    for row in rows:
        shown.add_row(*(_short(row.get(key, "-")) for key in columns))
    return shown


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def clear(device: str) -> None:
    """Forget compiled code and cached memory of the row before."""
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
