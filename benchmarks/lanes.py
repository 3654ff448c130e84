"""Several seeds as lanes of one process: would it be faster than a process for each? Measured before it is built.

Usage: python benchmarks/lanes.py [--name lanes_cpu]

An update of a critic's size: three layers of a width, forward, backward and AdamW, on one thread. S lanes are stacked
on a leading axis, so that each product is one batched product. Beside it, the same network alone: in one process, and
in as many processes at once as there are cores, which is what `zoomrl sweep` does today.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from provenance import keep, provenance

WIDTHS, LANES = (64, 128, 512), (1, 2, 4, 8, 16)
BATCH, INPUTS, OUTPUTS = 256, 48, (16, 4 * 5 * 51)
"""The outputs are those of an actor, or of a distributional critic of four dimensions, five bins and 51 atoms."""
SECONDS = 2.0
"""Of each measurement."""
BAR = 1.5
"""Gain over processes from which on lanes are worth building."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rows = []
    for width, outputs in itertools.product(WIDTHS, OUTPUTS):
        alone = rate(width, outputs, 0)
        together = sum(in_processes(width, outputs, cores))
        for lanes in LANES:
            each = lanes * rate(width, outputs, lanes)
            row = {
                "width": width,
                "outputs": outputs,
                "lanes": lanes,
                "updates_per_s": each,
                "gain_over_processes": each / together,
            }
            rows.append({**row, "alone_per_s": alone, f"in_{cores}_processes_per_s": together})
            print(rows[-1], flush=True)
    best = max(rows, key=lambda row: row["gain_over_processes"])
    summary = {"best": best, "bar": BAR, "worth_building": best["gain_over_processes"] >= BAR}
    print(summary)
    if options.name:
        about = {"batch": BATCH, "inputs": INPUTS, "cores": cores, "runs": rows}
        keep({"name": options.name, **provenance(["python", "benchmarks/lanes.py"]), **about, "summary": summary})


def in_processes(width: int, outputs: int, count: int) -> list[float]:
    """Updates per second of each of ``count`` processes that run at once."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        return pool.starmap(rate, [(width, outputs, 0)] * count)


def rate(width: int, outputs: int, lanes: int) -> float:
    """Updates per second; of all lanes together, each of which makes one. 0 lanes are ordinary layers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (lanes,) if lanes else ()
    sizes = ((INPUTS, width), (width, width), (width, outputs))
    weights = [torch.randn(*shape, *size).div_(size[0] ** 0.5).requires_grad_() for size in sizes]
    biases = [torch.zeros(*shape, *((1,) if lanes else ()), size[1]).requires_grad_() for size in sizes]
    optimizer = torch.optim.AdamW([*weights, *biases], lr=1e-4, foreach=True)
    batch, target = torch.randn(*shape, BATCH, INPUTS), torch.randn(*shape, BATCH, outputs)

    def forward(hidden: Tensor) -> Tensor:
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight) if lanes else torch.addmm(bias, hidden, weight)
            if index < len(weights) - 1:
                hidden = torch.nn.functional.silu(hidden)
        return hidden

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        (forward(batch) - target).square().mean().mul(max(lanes, 1)).backward()
        optimizer.step()

    for _ in range(5):
        update()
    taken: list[Any] = []
    ends = time.perf_counter() + SECONDS
    while time.perf_counter() < ends:
        began = time.perf_counter()
        update()
        taken.append(time.perf_counter() - began)
    return 1 / statistics.median(taken)


if __name__ == "__main__":
    main()
