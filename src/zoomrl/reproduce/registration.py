"""What is going to be run and how it will be judged, kept before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoomrl.errors import CheckpointError
from zoomrl.files import read_json, write_json
from zoomrl.reproduce.experiment import Experiment
from zoomrl.version import __version__

FILE = "registration.json"
_FREE = ("zoomrl", "date", "title", "metrics", "deviations")
"""What may differ when an experiment goes on: the version, which the verdict names, and words about it."""


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


def register(experiment: Experiment, scale: str, directory: Path) -> dict[str, Any]:
    """The registration in ``directory``, written where there is none.

    Returns:
        It, with the version of zoomrl and the date of its writing.

    Raises:
        CheckpointError: the directory is registered for something else, which is named, or holds other files.
    """
    path, asked = directory / FILE, registered(experiment, scale)
    if path.exists():
        held = read_json(path)
        before, after = ({name: value for name, value in one.items() if name not in _FREE} for one in (held, asked))
        changed = list(_differences(before, after))
        if changed:
            shown = "\n".join(f"  - {line}" for line in changed[:10])
            raise CheckpointError(
                f"{path} registers something else than is asked for:\n{shown}\nWhat was registered is not changed "
                "after the fact: choose another directory with --out"
            )
        return dict(held)
    if directory.exists() and any(entry.name != ".lock" for entry in directory.iterdir()):
        raise CheckpointError(f"{directory} is not empty and holds no {FILE}; choose another directory with --out")
    directory.mkdir(parents=True, exist_ok=True)
    made = {**asked, "zoomrl": __version__, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(path, made)
    return made


def _differences(held: Any, asked: Any, name: str = "") -> Iterator[str]:
    """Places at which two pieces of plain data differ, as ``arms.full.options.steps: 5000 -> 6000``."""
    if isinstance(held, dict) and isinstance(asked, dict):
        for key in sorted(held.keys() | asked.keys()):
            yield from _differences(held.get(key), asked.get(key), f"{name}.{key}" if name else key)
    elif isinstance(held, list) and isinstance(asked, list) and _named(held) and _named(asked):
        before, after = ({one["name"]: one for one in each} for each in (held, asked))
        yield from _differences(before, after, name)
    elif held != asked:
        yield f"{name}: {_short(held)} -> {_short(asked)}"


def _named(values: list[Any]) -> bool:
    return all(isinstance(value, dict) and "name" in value for value in values)


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
