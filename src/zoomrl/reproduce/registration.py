"""What is going to be run and how it will be judged, kept before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from zoomrl.errors import CheckpointError
from zoomrl.files import read_sealed, write_json
from zoomrl.reproduce.experiment import Experiment
from zoomrl.version import __version__

FILE = "registration.json"
_FREE = ("zoomrl", "date", "title", "metrics", "deviations")
"""What may differ when an experiment goes on: the version, which the verdict names, and words about it."""
_SHOWN = 10
"""Differences that a refusal lists."""
_ABSENT = object()
"""In place of a value that is not there."""
_WIDTH, _BEFORE = 120, 30
"""Characters of a value that are shown, and how many of them lie before the first that differs."""


def registered(experiment: Experiment, scale: str) -> dict[str, Any]:
    """The registration of ``experiment`` at ``scale`` as plain data, but for version and date."""
    size = experiment.scale(scale)
    data = {
        "experiment": experiment.name,
        "title": experiment.title,
        "scale": scale,
        "tasks": size.tasks,
        "seeds": size.seeds,
        "options": size.options,
        "only": size.only,
        "arms": [asdict(arm) for arm in experiment.arms_of(size)],
        "claims": [asdict(claim) for claim in experiment.claims],
        "contrasts": [asdict(contrast) for contrast in experiment.contrasts_of(size)],
        "metrics": experiment.metrics,
        "stop_rule": experiment.stop_rule,
        "deviations": experiment.deviations,
    }
    plain: dict[str, Any] = json.loads(json.dumps(data))  # as it is read back: tuples are lists
    return plain


def read_registration(directory: Path) -> dict[str, Any]:
    """The registration in ``directory``, which holds one.

    Raises:
        CheckpointError: it is not what was written there.
    """
    return read_sealed(
        directory / FILE,
        "It no longer tells what was registered before the first cell: restore it from a copy, or choose another "
        "directory with --out",
    )


def registration_for(experiment: Experiment, scale: str, directory: Path) -> dict[str, Any] | None:
    """The registration in ``directory``; None where it may be written there. Writes nothing.

    Raises:
        CheckpointError: the directory is registered for something else, which is named, or holds other files.
    """
    path = directory / FILE
    if path.exists():
        held, asked = read_registration(directory), registered(experiment, scale)
        before, after = ({name: value for name, value in one.items() if name not in _FREE} for one in (held, asked))
        changed = list(_differences(before, after))
        if changed:
            more = [f"and {len(changed) - _SHOWN:,} more"] if len(changed) > _SHOWN else []
            shown = "\n".join(f"  - {line}" for line in changed[:_SHOWN] + more)
            raise CheckpointError(
                f"{path} registers something else than is asked for:\n{shown}\nWhat was registered is not changed "
                "after the fact: choose another directory with --out"
            )
        return held
    if directory.exists() and not directory.is_dir():
        raise CheckpointError(f"{directory} is no directory; choose another one with --out")
    if directory.exists() and any(entry.name != ".lock" for entry in directory.iterdir()):
        raise CheckpointError(f"{directory} is not empty and holds no {FILE}; choose another directory with --out")
    return None


def register(experiment: Experiment, scale: str, directory: Path) -> dict[str, Any]:
    """The registration in ``directory``, written where there is none.

    Returns:
        It, with the version of zoomrl and the date of its writing.

    Raises:
        CheckpointError: as of :func:`registration_for`.
    """
    held = registration_for(experiment, scale, directory)
    if held is not None:
        return held
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = {**registered(experiment, scale), "zoomrl": __version__, "date": now}
    write_json(directory / FILE, made)
    return made


def _differences(held: Any, asked: Any, name: str = "") -> Iterator[str]:
    """Places at which two pieces of plain data differ, in their order, as ``arms.full.options.steps: 5000 -> 6000``."""
    if isinstance(held, dict) and isinstance(asked, dict):
        for key in {**asked, **held}:
            both = held.get(key, _ABSENT), asked.get(key, _ABSENT)
            yield from _differences(*both, f"{name}.{key}" if name else key)
    elif isinstance(held, list) and isinstance(asked, list) and _named(held) and _named(asked):
        before, after = ({one["name"]: one for one in each} for each in (held, asked))
        yield from _differences(before, after, name)
    elif isinstance(held, list) and isinstance(asked, list) and _nested(held) and _nested(asked):
        for at, (before, after) in enumerate(zip_longest(held, asked)):
            yield from _differences(before, after, f"{name}[{at}]")
    elif held != asked:
        yield f"{name}: {' -> '.join(_shortened(*map(_written, (held, asked))))}"


def _named(values: list[Any]) -> bool:
    return all(isinstance(value, dict) and "name" in value for value in values)


def _nested(values: list[Any]) -> bool:
    return all(isinstance(value, dict | list) for value in values)


def _written(value: Any) -> str:
    return "nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _shortened(held: str, asked: str) -> tuple[str, str]:
    """Both texts, of which long ones begin shortly before the first character that differs."""
    alike = next((at for at, (one, other) in enumerate(zip(held, asked, strict=False)) if one != other), 0)
    start = max(0, alike - _BEFORE)

    def cut(text: str) -> str:
        if len(text) <= _WIDTH:
            return text
        rest = ("..." if start else "") + text[start:]
        return rest if len(rest) <= _WIDTH else f"{rest[: _WIDTH - 3]}..."

    return cut(held), cut(asked)
