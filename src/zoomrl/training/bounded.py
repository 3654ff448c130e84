"""Building networks that a file describes, within the size of the weights stored with it.

The config of a run says how large its networks are, and its checkpoint holds their weights. Networks that are larger
than the weights are not those of the run, and building them could fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from zoomrl.errors import CheckpointError

FREE = 64 << 20
"""Bytes of one tensor that are given whatever is stored: tables, masks and buffers that are not saved."""
MAX_COUNT = 1_000_000
"""Largest whole number of an agent's options: layers, heads, sizes."""
_OVERHEAD = 128
"""Bytes that a tensor takes in a file besides its content."""


def stored_bytes(state: Any) -> int:
    """Bytes of all tensors in ``state``, nested dicts and lists; what several share counts once."""
    storages: dict[int, int] = {}
    waiting = [state]
    while waiting:
        part = waiting.pop()
        if isinstance(part, torch.Tensor):
            storage = part.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes() + _OVERHEAD
        elif isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
    return sum(storages.values())


def check_counts(options: Mapping[str, Any], what: str) -> None:
    """CheckpointError where a whole number in ``options``, nested ones too, is beyond :data:`MAX_COUNT`."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            check_counts(value, f"{what}.{name}")
        elif isinstance(value, int) and abs(value) > MAX_COUNT:
            raise CheckpointError(f"{what}.{name} is {value:,}; no run has more than {MAX_COUNT:,}")


@contextmanager
def bounded(stored: int) -> Iterator[None]:
    """While networks are built whose weights take ``stored`` bytes.

    Raises:
        CheckpointError: their parameters are larger, or one tensor is by far.
    """
    registered = 0

    def register(module: Any, name: str, parameter: Any) -> None:
        nonlocal registered
        if parameter is not None:
            registered += parameter.numel() * parameter.element_size() + _OVERHEAD
            if registered > stored + FREE:
                raise _too_large(registered, stored)

    hook = register_module_parameter_registration_hook(register)
    try:
        with _Allocations(stored):
            yield
    finally:
        hook.remove()


class _Allocations(TorchDispatchMode):
    """Refuses new tensors that are larger than what is stored."""

    def __init__(self, stored: int) -> None:
        super().__init__()
        self._stored = stored

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not any(isinstance(part, torch.Tensor) for part in args):  # it makes a tensor of numbers alone
            sizes = [math.prod(part) if isinstance(part, list | tuple) else part for part in args]
            asked = 4 * max((size for size in sizes if isinstance(size, int)), default=0)
            if asked > self._stored + FREE:
                raise _too_large(asked, self._stored)
        return func(*args, **(kwargs or {}))


def _too_large(asked: int, stored: int) -> CheckpointError:
    return CheckpointError(
        f"the run's config.json and policy.json describe networks of {asked:,} bytes and more, but its weights take "
        f"{stored:,}: they do not belong together"
    )
