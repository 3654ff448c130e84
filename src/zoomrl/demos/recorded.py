"""What recordings say of an episode: whether it succeeded, from which seed it began."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import MAX_SEED
from zoomrl.errors import plural

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


def known_seed(value: Any) -> int:
    """A recorded reset seed; -1 where it is none that an environment takes."""
    seed = np.asarray(value)
    known = seed.dtype.kind in "iu" and seed.size == 1 and 0 <= int(seed.ravel()[0]) < MAX_SEED
    return int(seed.ravel()[0]) if known else -1


def gaps(names: Sequence[str], where: str) -> list[str]:
    """A line that says how many numbers of episodes are missing, by the ``names`` that end in them; [] where none is.

    Args:
        names: in any order. Where one ends in no number, or two in the same, nothing is said.
        where: what the line begins with.
    """
    found = [re.search(r"\d+$", name) for name in names]
    numbers = {int(one[0]) for one in found if one}
    if len(numbers) < len(names) or not numbers:
        return []
    first, last = min(numbers), max(numbers)
    count = last - first + 1 - len(numbers)
    if not count:
        return []
    lost = next(number for number in range(first, last) if number not in numbers)
    return [f"{where}{plural(count, 'number')} of its episodes are missing, the first is {lost}: were they lost?"]


def success_in_words(success: bool, meta: Mapping[str, Any]) -> str:
    """``yes``, ``no``, or ``assumed`` where nothing recorded tells; ``meta`` is the episode's."""
    return (ASSUMED if meta.get("success") == ASSUMED else "yes") if success else "no"
