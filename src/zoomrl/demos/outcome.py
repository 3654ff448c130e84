"""Whether an episode succeeded, by what its recording says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ASSUMED = "assumed"
"""What ``meta["success"]`` of an episode says where its recording says nothing."""

SUCCESS_NAMES = ("success", "is_success")
"""What recordings call success."""


def sparse_success(rewards: NDArray[Any] | None) -> bool | None:
    """Whether rewards of 0 and 1 hold a 1; None when there are none, or others."""
    return bool(rewards.any()) if rewards is not None and np.isin(rewards, (0, 1)).all() else None


def truth(value: Any, name: str) -> bool:
    """Whether a stored flag, or any of several, is set. ValueError for what is no number and no truth value."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return bool(array.any())


def success_in_words(success: bool, meta: Mapping[str, Any]) -> str:
    """``yes``, ``no``, or ``assumed`` where nothing recorded tells; ``meta`` is the episode's."""
    return (ASSUMED if meta.get("success") == ASSUMED else "yes") if success else "no"
