"""Large float32 matmuls of linear layers in oneDNN, where that is the faster library.

PyTorch gives float32 matmuls on the CPU to MKL, which keeps its 512-bit kernels to Intel's processors: on AMD's with
AVX-512, oneDNN, which comes with PyTorch too, is about twice as fast (measured: ``benchmarks/products.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LARGE = 2**22
"""Multiplications from which oneDNN's longer way in is repaid."""


def onednn_is_faster(capability: str, processor: str) -> bool:
    """Whether MKL leaves half of a processor unused.

    Args:
        capability: the instructions PyTorch found, as ``torch.backends.cpu.get_cpu_capability`` names them.
        processor: what Linux says of it in ``/proc/cpuinfo``.
    """
    return capability == "AVX512" and "AuthenticAMD" in processor


_facts = Path("/proc/cpuinfo")
ONEDNN = torch.backends.mkldnn.is_available() and onednn_is_faster(
    torch.backends.cpu.get_cpu_capability(), _facts.read_text() if _facts.exists() else ""
)
"""Whether large float32 matmuls run in oneDNN on this machine."""

_library = torch.library.Library("zoomrl", "DEF")
# One operation that the compiler takes as it is: its own lowering of oneDNN's wants weights that never change.
_library.define("product(Tensor a, Tensor b, Tensor? bias) -> Tensor")


def _product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """``a @ b.t() + bias`` of [M, K], [N, K] and [N]."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return result


_library.impl("product", _product, "CPU")
torch.library.register_fake("zoomrl::product", lambda a, b, bias: a.new_empty(len(a), len(b)), lib=_library)


@contextmanager
def plain_linear() -> Iterator[None]:
    """Leave all matrix multiplications to PyTorch: graphs for other programs can hold no operation of ours."""
    global ONEDNN
    before, ONEDNN = ONEDNN, False
    try:
        yield
    finally:
        ONEDNN = before


class OneDNNLinear(nn.Linear):
    """``nn.Linear``, by way of :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return linear(x, self.weight, self.bias)


def swap_linear(modules: Iterable[nn.Module]) -> None:
    """Let the plain linear layers among ``modules`` multiply by :func:`linear`; weights and names stay as they are."""
    for module in modules:
        if type(module) is nn.Linear:
            module.__class__ = OneDNNLinear


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.t() + bias``: :func:`torch.nn.functional.linear` with the faster library.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out].
    """
    if not _suited(x, weight):
        return F.linear(x, weight, bias)
    return _apply(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], len(weight))


def linear_columns(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """``weight @ x.t() + bias[:, None]``: the same of rows [N, in] with the rows innermost, [out, N]."""
    if not _suited(x, weight):
        return torch.addmm(bias[:, None], weight, x.t())
    return _apply(weight, x, None).add_(bias[:, None])


def _apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    function = _Linear.apply if torch.is_grad_enabled() else torch.ops.zoomrl.product
    # oneDNN takes rows and columns in either order, but no expanded ones.
    result: Tensor = function(x.contiguous(), weight.contiguous(), bias)
    return result


def _suited(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= _LARGE
        and not torch.is_autocast_enabled("cpu")
        and ONEDNN
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        result: Tensor = torch.ops.zoomrl.product(x, weight, bias)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        product, wanted = torch.ops.zoomrl.product, ctx.needs_input_grad
        return (
            product(gradient, weight.t(), None) if wanted[0] else None,
            product(gradient.t(), x.t(), None) if wanted[1] else None,
            gradient.sum(0) if wanted[2] else None,
        )
