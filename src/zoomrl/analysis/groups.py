"""Runs that are seeds of one experiment, and what tells experiments apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zoomrl.analysis.metrics import Run
from zoomrl.training.config import changes, flat


def experiments(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs that differ only in their seeds, by name; equal names are told apart by the options that differ.

    Options that a resumed run may change, its length among them, do not make another experiment. Nor does an option
    that an older version did not have.
    """
    groups: list[list[Run]] = []
    for run in runs:
        for members in groups:
            if not _apart(members[0], run):
                members.append(run)
                break
        else:
            groups.append([run])
    return {_name(members[0], [other[0] for other in groups]): members for members in groups}


def _apart(one: Run, other: Run) -> dict[str, tuple[Any, Any]]:
    known = flat(one.config).keys() & flat(other.config).keys()
    changed = changes(one.config, other.config)
    return {key: pair for key, pair in changed.items() if key in known and key.split(".")[-1] != "seed"}


def _name(run: Run, others: Iterable[Run]) -> str:
    """The name of ``run``, with its values of the options in which runs of the same name differ."""
    told = {key: pair[0] for other in others if other.name == run.name for key, pair in _apart(run, other).items()}
    return ", ".join([run.name, *(f"{key} {_written(value)}" for key, value in sorted(told.items()))])


def _written(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
