"""Weights that do not fit, by name and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_LISTED = 8
"""Weights that a message names."""


def misfits(held: Mapping[str, Tensor], own: Mapping[str, Tensor], *, all_of_them: bool = True) -> str:
    """What of the weights ``held`` does not fit the place of ``own``, a line each; empty where all do.

    Args:
        held: by name, to be taken.
        own: by name, their places.
        all_of_them: every weight that is held must have a place.
    """
    wrong = [f"{name}: not there" for name in own if name not in held]
    wrong += [f"{name}: there alone" for name in held if name not in own] if all_of_them else []
    wrong += [
        f"{name}: {list(held[name].shape)} there, {list(tensor.shape)} here"
        for name, tensor in own.items()
        if name in held and held[name].shape != tensor.shape
    ]
    more = [f"and {len(wrong) - _LISTED} more"] if len(wrong) > _LISTED else []
    return "".join(f"\n  {line}" for line in wrong[:_LISTED] + more)


def saved_weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in an agent's ``state_dict()``, by the names that its ``weights("all")`` has for them."""
    return {
        f"{part}.{name}": tensor
        for part, tensors in state.items()
        if isinstance(tensors, Mapping) and "param_groups" not in tensors
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor)
    }
