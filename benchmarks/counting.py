"""What an update costs at least: floating-point operations and bytes counted, rates measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from zoomrl.nets.linear import linear

BYTES_MEAN = (
    "Bytes are those of the eager operations, one by one: each reads its tensors and writes its results once; views "
    "and allocations are free, and gathers read what they return. They bound eager execution on a device whose caches "
    "are small beside the tensors. A cache or a fused kernel may go below them."
)
_FREE = (
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "detach",
    "lift_fresh",
)
_GATHERS = ("gather", "index_select", "index", "embedding")


class ByteCounter(TorchDispatchMode):
    """Adds up the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.is_view or name in _FREE:
            return result
        self.operations += 1
        fresh = [
            tensor
            for spec, value in zip(func._schema.returns, _listed(result, func), strict=False)
            if spec.alias_info is None
            for tensor in _tensors(value)
        ]
        written = sum(_bytes(tensor) for tensor in fresh)
        if name in _GATHERS:
            self.total += 2 * written
            return result
        given = {spec.name: value for spec, value in zip(func._schema.arguments, args, strict=False)} | dict(
            kwargs or {}
        )
        for spec in func._schema.arguments:
            size = sum(_bytes(tensor) for tensor in _tensors(given.get(spec.name)))
            # Written, and read as well unless it only receives.
            changed = spec.alias_info is not None and spec.alias_info.is_write
            overwritten = changed and (spec.is_out or name in ("copy_", "fill_", "zero_"))
            self.total += size * (2 if changed and not overwritten else 1)
        self.total += written
        return result


def _listed(result: Any, func: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) and len(func._schema.returns) > 1 else (result,)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _bytes(tensor: Tensor) -> int:
    # An expanded tensor is no larger than its memory.
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def count(update: Callable[[], object]) -> dict[str, float]:
    """GFLOP, gigabytes and operations (other than views) of one call."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.zoomrl.product: _product_flops}) as flops:
        update()
    with ByteCounter() as counted:
        update()
    return {"gflop": flops.get_total_flops() / 1e9, "gb": counted.total / 1e9, "operations": counted.operations}


def _product_flops(a: Sequence[int], b: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * a[0] * a[1] * b[0]


class Rates:
    """A matrix product and a copy, large enough to show what the device can do.

    Args:
        device: where.
        precision: ``float32``, ``tf32`` (set beforehand) or ``bf16``: the type of the product.
    """

    def __init__(self, device: str, precision: str) -> None:
        size, length = (8192, 2**29) if device == "cuda" else (2048, 2**25)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        source = torch.ones(length, device=device)
        target = torch.empty_like(source)
        # As the agents multiply: by the faster of PyTorch's two libraries.
        self.product = torch.no_grad()(lambda: linear(a, b))
        self.copy = lambda: target.copy_(source)
        self._gflop, self._gb = 2 * size**3 / 1e9, 2 * 4 * length / 1e9

    def of(self, product_s: float, copy_s: float) -> tuple[float, float]:
        """GFLOP/s and GB/s (read and written) from the seconds of one call of each."""
        return self._gflop / product_s, self._gb / copy_s


def interleaved(
    functions: list[Callable[[], object]], device: str, *, budget: float = 3.0, rounds: tuple[int, int] = (5, 40)
) -> list[float]:
    """Median seconds of a call of each, taken in turns, so that all meet the same load on the machine.

    Args:
        budget: seconds to spend, within the least and the most of ``rounds``.
    """
    repeats = []
    for function in functions:
        _seconds(function, 1, device)
        once = _seconds(function, 1, device)
        # On a GPU one call would be timed by its launches: many in a row.
        repeats.append(int(np.clip(0.02 / max(once, 1e-7), 1, 200)) if device == "cuda" else 1)
    times: list[list[float]] = [[] for _ in functions]
    start = time.perf_counter()
    while len(times[0]) < rounds[0] or (len(times[0]) < rounds[1] and time.perf_counter() - start < budget):
        for function, calls, record in zip(functions, repeats, times, strict=True):
            record.append(_seconds(function, calls, device))
    return [float(np.median(record)) for record in times]


def _seconds(function: Callable[[], object], calls: int, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls
