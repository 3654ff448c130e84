"""Where a search looks: ranges and choices of options, as they are typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoomrl.errors import ConfigError

_SPACE = re.compile(r"(log|int|float|logint)\(([^,]+),([^,]+)\)")


@dataclass(frozen=True)
class Axis:
    """One option that is searched.

    Attributes:
        kind: ``float``, ``log``, ``int``, ``logint`` or ``choice``.
        low, high: of a range.
        choices: the values of a choice.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    @property
    def text(self) -> str:
        """What is searched, as it is typed."""
        return ",".join(map(str, self.choices)) if self.kind == "choice" else f"{self.kind}({self.low:g},{self.high:g})"

    def proposed(self, trial: Any, name: str) -> Any:
        """The value that ``trial`` takes."""
        if self.kind == "choice":
            # Optuna keeps plain values alone.
            return self.choices[trial.suggest_categorical(name, list(range(len(self.choices))))]
        log = self.kind.startswith("log")
        if self.kind.endswith("int"):
            return trial.suggest_int(name, round(self.low), round(self.high), log=log)
        return trial.suggest_float(name, self.low, self.high, log=log)


def axis_of(name: str, values: Sequence[Any]) -> Axis:
    """``log(1e-5,1e-3)``, ``int(2,8)`` and the like as a range; several values as a choice.

    Raises:
        ConfigError: a range whose ends are no numbers, or the wrong way round.
    """
    found = _SPACE.fullmatch(str(values[0]).replace(" ", "")) if len(values) == 1 else None
    if found is None:
        return Axis("choice", choices=tuple(values))
    try:
        low, high = float(found[2]), float(found[3])
    except ValueError as error:
        raise ConfigError(f"{name}: the ends of {values[0]} must be numbers") from error
    if not low < high or (found[1].startswith("log") and low <= 0):
        raise ConfigError(f"{name}: {values[0]} must rise, and begin above 0 where it is logarithmic")
    return Axis(found[1], low, high)
