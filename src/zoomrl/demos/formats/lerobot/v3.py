"""The layout of LeRobot v3: many episodes in a file, and tables that say where each one lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoomrl.demos.formats.assemble import reason
from zoomrl.demos.formats.lerobot import layout
from zoomrl.demos.formats.lerobot.files import Tables, filled
from zoomrl.demos.formats.lerobot.info import Info
from zoomrl.demos.formats.lerobot.listed import Listed, Video, listed
from zoomrl.demos.store.limits import Budget

_COLUMNS = ("episode_index", "length", "tasks", "data/", "videos/")
_INDICES = ("chunk_index", "file_index")


class Version3:
    """See :class:`~zoomrl.demos.formats.lerobot.listed.Layout`.

    Args:
        root: of the data set.
        info: its ``info.json``.

    Raises:
        ValueError: a template of a path in it is none.
    """

    def __init__(self, root: Path, info: Info) -> None:
        self._root, self._info = root, info
        filled(info.data_path, chunk_index=0, file_index=0)

    def episodes(self) -> tuple[list[Listed], list[str]]:
        found: list[Listed] = []
        faults = []
        tables = Tables(self._root, Budget())
        for file in sorted(self._root.glob("meta/episodes/*/*.parquet")):
            try:
                table = tables.open(file)
                names = [name for name in table.schema_arrow.names if name.startswith(_COLUMNS)]
                rows = tables.read(table, names).to_pylist()
                for row in rows:
                    _place(row, "data")
                found += [listed(row, row) for row in rows]
            except Exception as error:  # a damaged file makes its parser fail in any way
                faults.append(f"{file.relative_to(self._root)}: {reason(error)}")
        return found, faults

    def tasks(self) -> tuple[dict[int, str], list[str]]:
        file = self._root / layout.TASKS
        if not file.exists():
            return {}, []
        try:
            tables = Tables(self._root, Budget())
            table = tables.open(file)
            # The texts are the index of a table of pandas, under whatever name.
            text = next(field.name for field in table.schema_arrow if str(field.type) in ("string", "large_string"))
            rows = tables.read(table, ["task_index", text]).to_pylist()
            return {int(row["task_index"]): str(row[text]) for row in rows}, []
        except Exception as error:  # a damaged file makes its parser fail in any way
            return {}, [f"{layout.TASKS}: {reason(error)}"]

    def table(self, episode: Listed) -> str:
        return filled(self._info.data_path, **_place(episode.place, "data"))

    def video(self, episode: Listed, key: str) -> Video:
        folder = f"videos/{key}"
        path = filled(self._info.video_path, video_key=key, **_place(episode.place, folder))
        return Video(path, float(episode.place[f"{folder}/from_timestamp"]))


def _place(row: Any, folder: str) -> dict[str, int]:
    return {name: int(row[f"{folder}/{name}"]) for name in _INDICES}
