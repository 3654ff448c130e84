"""What simulators answer, read strictly: one number or truth value, an observation as promised, or a named error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoomrl.errors import SimulatorError
from zoomrl.spec import ArraySpec


def number(value: Any, where: str, what: str) -> float:
    """``value``, a number or an array of one, as a float.

    Args:
        value: what a simulator answered.
        where: the environment's id, for the message.
        what: what the value is, for the message.

    Raises:
        SimulatorError: for anything else, None and arrays of several among them.
    """
    return float(_single(value, where, what, "one number"))


def truth(value: Any, where: str, what: str) -> bool:
    """``value``, a truth value, a finite number or an array of one of them, as a bool; errors as :func:`number`."""
    found = _single(value, where, what, "True or False")
    if not np.isfinite(found):  # NaN is no success, and no end
        raise SimulatorError(f"{where}: {what} must be True or False, got {found}")
    return bool(found)


def check_observation(observation: Any, promised: Mapping[str, ArraySpec], where: str) -> None:
    """Refuse an observation whose entries, shapes or dtypes are not those of the spec.

    Args:
        observation: name -> array.
        promised: the entries of the spec.
        where: the environment, for the message.

    Raises:
        SimulatorError: names the entry, what was expected and what came.
    """
    for name, array in promised.items():
        seen = observation.get(name) if isinstance(observation, Mapping) else None
        shape, dtype = getattr(seen, "shape", None), getattr(seen, "dtype", None)
        if shape != array.shape or dtype != array.dtype:
            raise SimulatorError(
                f"{where} observed another {name!r} than it promised: expected {array.dtype}{list(array.shape)}, got "
                f"{brief(seen)}. Return the same shape and dtype at every reset and step"
            )


def check_info(info: Any, where: str, call: str) -> Mapping[str, Any]:
    """``info`` as a mapping; SimulatorError for anything else."""
    if not isinstance(info, Mapping):
        raise SimulatorError(
            f"{where}: the info of {call}() must be a dict, got {brief(info)}. Gymnasium's reset returns (observation, "
            "info), its step (observation, reward, terminated, truncated, info)"
        )
    return info


def brief(value: Any) -> str:
    """A value in a few words: dtype and shape of an array, else its type and beginning."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _single(value: Any, where: str, what: str, wanted: str) -> Any:
    """``value`` as an array without dimensions, of numbers or truth values."""
    try:
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "biuf":
            return array.reshape(())
    except (TypeError, ValueError):  # nested lists of several lengths
        pass
    raise SimulatorError(f"{where}: {what} must be {wanted}, got {brief(value)}")
