"""Which entries of a state vector stood still in the data that its statistics come from. Loads no torch."""

from __future__ import annotations

from typing import Any

STILL = 1e-3
"""Standard deviation below which an entry counts as constant: what moves less than this is noise of its measurement."""
RESOLUTION = 1e-6
"""The same relative to the entry's mean: about ten times the rounding of float32."""


def is_constant(mean: Any, std: Any) -> Any:
    """Bool [S] of mean and standard deviation [S], arrays or tensors."""
    return (std < STILL) | (std < RESOLUTION * abs(mean))
