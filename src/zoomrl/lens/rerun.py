"""Episodes through the critic as a recording for rerun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.view.images import jpeg
from zoomrl.demos.view.markup import plain
from zoomrl.demos.view.rerun import TIMELINE
from zoomrl.errors import import_optional
from zoomrl.lens.record import EpisodeRecord, Lens


class Recording:
    """A recording that is being written.

    Args:
        rr: the module.
        stream: of the recording.
        lens: that the episodes were seen through.
    """

    def __init__(self, rr: Any, stream: Any, lens: Lens) -> None:
        self._rr, self._stream, self._lens = rr, stream, lens

    def add(self, record: EpisodeRecord, number: int) -> None:
        """Write one episode, ``number`` of the recording, on the timeline ``step``.

        Below ``episode_3`` lie ``camera/<name>`` as JPEG; ``values/level_<l>``, tensors [A, T, K] of all bins;
        ``chosen/<dimension>/level_<l>`` and ``taken/<dimension>/level_<l>``, bins of the first step of the chunk (-1
        and -2: the action lies above or below the interval); ``value``, ``realised_return``, ``reward``,
        ``sibling_spread`` and, of demonstrations, ``agreement``, with a line for each level; and a text ``about``.
        """
        rr, root = self._rr, f"episode_{number}"
        lens = self._lens
        levels = [f"level {level + 1}" for level in range(lens.levels)]
        self._columns(f"{root}/value", record.at, record.value)
        self._columns(f"{root}/realised_return", record.at, record.returns[record.at])
        self._columns(f"{root}/reward", np.arange(record.steps), record.rewards)
        self._columns(f"{root}/sibling_spread", record.at, record.spread(lens.movable), levels)
        if record.agreement is not None:
            self._columns(f"{root}/agreement", record.at, record.agreement, levels)
        for dimension in np.flatnonzero(lens.movable):
            for level in range(lens.levels):
                for name, bins in (("chosen", record.chosen), ("taken", record.taken)):
                    place = f"{root}/{name}/{dimension}/level_{level + 1}"
                    self._columns(place, record.at, bins[:, level, 0, dimension])
        for index, step in enumerate(record.at.tolist()):
            self._stream.set_time(TIMELINE, sequence=step)
            for level in range(lens.levels):
                values = np.ascontiguousarray(record.values[index, level].transpose(1, 0, 2))
                tensor = rr.Tensor(values, dim_names=("dimension", "step of the chunk", "bin"))
                self._stream.log(f"{root}/values/level_{level + 1}", tensor)
            for name, images in record.cameras:
                part = rr.escape_entity_path_part(plain(name) or "unnamed")
                image = rr.EncodedImage(contents=jpeg(images[index]), media_type="image/jpeg")
                self._stream.log(f"{root}/camera/{part}", image)
        self._stream.reset_time()
        about = "\n".join([plain(record.name), *map(plain, record.said)])
        self._stream.log(f"{root}/about", rr.TextDocument(about), static=True)

    def _columns(self, name: str, at: NDArray[Any], values: NDArray[Any], names: list[str] | None = None) -> None:
        rr = self._rr
        time = rr.TimeColumn(TIMELINE, sequence=at)
        self._stream.send_columns(name, [time], rr.Scalars.columns(scalars=values.astype(np.float64)))
        if names is not None:
            self._stream.log(name, rr.SeriesLines(names=names), static=True)


@contextmanager
def record_rrd(lens: Lens, path: Path) -> Iterator[Recording]:
    """A recording at ``path``: written whole, or not at all.

    Raises:
        MissingDependencyError: rerun-sdk is not installed.
        OSError: it cannot be written.
    """
    rr = import_optional("rerun", "rerun")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # rerun says by a warning alone that it cannot write.
        temporary.touch()
        stream = rr.RecordingStream("zoomrl", recording_id=f"zoomrl lens {lens.held.spec.id}")
        stream.save(str(temporary))
        yield Recording(rr, stream, lens)
        stream.flush()
        stream.disconnect()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
