"""A set as a recording for rerun: images, observations by entry, actions, rewards and success of each episode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.recorded import success_in_words
from zoomrl.demos.view.content import views
from zoomrl.demos.view.images import jpeg
from zoomrl.demos.view.markup import plain
from zoomrl.demos.view.page import task_of
from zoomrl.demos.view.pages import SetPages
from zoomrl.errors import DemonstrationError, import_optional

TIMELINE = "step"


def write_rrd(pages: SetPages, path: Path, *, overwrite: bool = False) -> None:
    """Write the episodes shown into the recording ``path``, one at a time and whole: no step is left out.

    Those of episode 3 lie below ``episode_3``, on the timeline ``step``: ``camera/<name>`` as JPEG, ``state/<entry>``,
    other observations by their names, ``action/<dimension>``, ``cell/<dimension>`` (of the grid's last level),
    ``reward``, ``success``, and a text ``about``.

    Raises:
        MissingDependencyError: rerun-sdk is not installed.
        DemonstrationError: the file is there already and ``overwrite`` is off, or an episode cannot be read.
        OSError: it cannot be written.
    """
    rr = import_optional("rerun", "rerun")
    if path.exists() and not overwrite:
        raise DemonstrationError(f"{path} exists already; pass --overwrite or another --rrd")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # rerun says by a warning alone that it cannot write.
        temporary.touch()
        recording = rr.RecordingStream("zoomrl", recording_id=f"zoomrl {pages.spec.id}")
        recording.save(str(temporary))
        for index in pages.shown:
            _log(rr, recording, pages, index)
        recording.flush()
        recording.disconnect()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _log(rr: Any, recording: Any, pages: SetPages, index: int) -> None:
    episode = pages.episode(index)
    root, steps = f"episode_{index}", len(episode)

    def columns(name: str, values: NDArray[Any]) -> None:
        at = rr.TimeColumn(TIMELINE, sequence=np.arange(len(values)))
        recording.send_columns(f"{root}/{name}", [at], rr.Scalars.columns(scalars=values.astype(np.float64)))

    def part(name: str) -> str:
        return str(rr.escape_entity_path_part(plain(name) or "unnamed"))

    for names, values in _observed(episode):
        whole = "/".join(map(part, names))
        columns(whole, values)
        recording.log(f"{root}/{whole}", rr.SeriesLines(names=[str(i) for i in range(values.shape[1])]), static=True)
    cells = pages.grid.to_cells(episode.actions)
    for dimension in range(episode.actions.shape[1]):
        columns(f"action/{dimension}", episode.actions[:, dimension])
        columns(f"cell/{dimension}", cells[:, dimension])
    columns("reward", episode.rewards)
    # An episode knows whether it succeeded, not when.
    columns("success", np.full(steps, episode.success))
    for name, images in views(episode, pages.spec):
        for step, image in enumerate(images):
            recording.set_time(TIMELINE, sequence=step)
            encoded = rr.EncodedImage(contents=jpeg(np.ascontiguousarray(image)), media_type="image/jpeg")
            recording.log(f"{root}/camera/{part(name)}", encoded)
    recording.reset_time()
    recording.log(f"{root}/about", rr.TextDocument(_about(episode, index, pages)), static=True)


def _observed(episode: Episode) -> Iterator[tuple[tuple[str, ...], NDArray[Any]]]:
    """Parts of the name, and values [T + 1, N], of each entry of the state and each other observation of numbers."""
    for name, array in episode.observations.items():
        if array.ndim > 2:
            continue
        rows = array.reshape(len(array), -1)
        if name != "state" or not episode.state_entries:
            yield (name,), rows
            continue
        first = 0
        for entry in episode.state_entries:
            if entry.size:
                yield ("state", entry.name), rows[:, first : first + entry.size]
            first += entry.size


def _about(episode: Episode, index: int, pages: SetPages) -> str:
    facts = {
        "environment": pages.spec.id,
        "task": task_of(episode.meta) or task_of(pages.meta),
        "steps": len(episode),
        "success": success_in_words(episode.success, episode.meta),
        "demonstration": "yes" if episode.is_demo else "no",
        "seed": episode.seed if episode.seed >= 0 else "unknown",
    }
    return "\n".join([f"episode {index}", *(f"{name}: {plain(value)}" for name, value in facts.items() if value != "")])
