"""Linear layers of our sizes by either of the libraries that PyTorch multiplies with on a CPU, taking turns in one run.

Each row is a layer: its result, and the gradients of its input, weights and bias. What a layer by oneDNN costs beside
its products (calls through Python, a factor turned round for the gradient of the weights) is counted. One thread.

Usage: python benchmarks/products.py [--no-write]
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from counting import interleaved
from provenance import measure
from zoomrl.nets import linear

LAYERS = {
    "small": (256, 64, 64),
    "at the threshold": (256, 128, 128),
    "cqn_as quickstart, second": (3072, 64, 64),
    "iqrl-dmc-cpu, dynamics": (256, 134, 256),
    "iqrl critic, first": (256, 1030, 512),
    "iqrl dynamics, last": (256, 512, 1024),
    "cqn_as humanoid, second": (1536, 1024, 1024),
    "large": (2048, 2048, 2048),
}
"""Rows, inputs and outputs."""


def main() -> None:
    measure(
        "products_cpu",
        __doc__,
        lambda: {name: layer(*sizes) for name, sizes in LAYERS.items()},
        onednn_chosen_here=linear.ONEDNN,
    )


def layer(rows: int, inputs: int, outputs: int) -> dict[str, Any]:
    """GFLOP/s of a layer and its gradients by MKL and by oneDNN, and the ratio of their times."""
    x = torch.randn(rows, inputs, requires_grad=True)
    weight, bias = torch.randn(outputs, inputs, requires_grad=True), torch.randn(outputs, requires_grad=True)
    gradient = torch.randn(rows, outputs)

    def both_ways(product: Any) -> None:
        result: Tensor = product(x, weight, bias)
        torch.autograd.grad(result, [x, weight, bias], gradient)

    mkl, onednn = interleaved([lambda: both_ways(F.linear), lambda: both_ways(linear._Linear.apply)], "cpu")
    gflop = 3 * 2 * rows * inputs * outputs / 1e9
    return {
        "rows_inputs_outputs": [rows, inputs, outputs],
        "mkl_gflops": gflop / mkl,
        "onednn_gflops": gflop / onednn,
        "ratio": mkl / onednn,
    }


if __name__ == "__main__":
    main()
