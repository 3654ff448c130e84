"""``meta/info.json`` of a LeRobot data set: its version, columns, rate, splits, and where its files lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomrl.demos.formats.assemble import reason
from zoomrl.demos.formats.base import MAX_HZ
from zoomrl.demos.formats.lerobot.layout import INFO
from zoomrl.demos.store.limits import regular
from zoomrl.errors import DemonstrationError, unknown_name
from zoomrl.files import read_json

NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
"""Types of columns that hold numbers."""
IMAGES = ("image", "video")
"""Types of columns that are cameras."""
_READ = "v2.0, v2.1 and v3 are read"
_OLD_INFO = "meta_data/info.json"
_CONVERT = (
    "LeRobot 0.3.3 has what converts it: python -m lerobot.datasets.v2.convert_dataset_v1_to_v2. What comes of that is "
    "read as it is"
)


@dataclass(frozen=True)
class Feature:
    """A column as ``info.json`` declares it.

    Attributes:
        dtype: one of :data:`NUMBERS` or :data:`IMAGES`, or anything else.
        shape: of its entry in a frame.
        names: of its dimensions, in any form.
    """

    dtype: str
    shape: tuple[int, ...]
    names: Any

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Info:
    """What ``info.json`` says.

    Attributes:
        version: 2 or 3.
        features: name -> column, in the file's order.
        fps: frames per second.
        total_episodes: how many there should be.
        splits: name -> ``first:end`` by the numbers of episodes.
        data_path: template of the files of tables.
        video_path: template of the files of videos; "" where it names none.
        chunks_size: episodes in a folder, in version 2.
    """

    version: int
    features: dict[str, Feature]
    fps: float
    total_episodes: int
    splits: dict[str, str]
    data_path: str
    video_path: str
    chunks_size: int

    def split(self, name: str, where: str) -> range:
        """Numbers of the episodes that the split ``name`` of the data set ``where`` takes.

        Raises:
            ConfigError: there is none of that name; lists those there.
            DemonstrationError: it is said in another form.
        """
        if name not in self.splits:
            raise unknown_name(f"split of {where}", name, self.splits)
        found = re.fullmatch(r"(\d{0,9}):(\d{0,9})", self.splits[name])
        if not found:
            raise DemonstrationError(
                f"the split {name} of {where} must be first:end, such as 0:10; got {self.splits[name]!r:.40}"
            )
        return range(int(found[1] or 0), int(found[2]) if found[2] else 10**9)


def read_info(root: Path) -> Info:
    """``info.json`` of the data set at ``root``.

    Raises:
        DemonstrationError: it is missing, cannot be read, or is of a version that is not read.
    """
    file = root / INFO
    if not file.is_file() and (root / _OLD_INFO).is_file():
        raise DemonstrationError(
            f"{root} is a LeRobot data set older than v2.0; v2.0, v2.1 and v3 are read. {_CONVERT}"
        )
    try:
        found = read_json(regular(file, root), error=DemonstrationError)
        version = _version(found["codebase_version"])
        info = Info(
            version=version,
            features={name: _feature(one) for name, one in found["features"].items()},
            fps=float(found["fps"]),
            total_episodes=int(found["total_episodes"]),
            splits={str(name): str(part) for name, part in dict(found.get("splits") or {}).items()},
            data_path=found["data_path"],
            video_path=found.get("video_path") or "",
            chunks_size=int(found.get("chunks_size") or 1000),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DemonstrationError(f"{file} cannot be read as that of a LeRobot data set ({reason(error)})") from error
    if not 0 < info.fps < MAX_HZ:
        raise DemonstrationError(f"{file} must give frames per second in fps, got {found['fps']!r:.40}")
    if info.chunks_size < 1:
        raise DemonstrationError(f"{file} must give a chunks_size of 1 or more, got {info.chunks_size}")
    return info


def _version(said: object) -> int:
    found = re.match(r"v?(\d+)\.\d", str(said))
    number = int(found[1]) if found else 0
    if number not in (2, 3):
        hint = _CONVERT if number == 1 else "LeRobot has scripts that convert its data sets"
        raise ValueError(f"its version is {said!s:.20}; {_READ}. {hint}")
    return number


def _feature(said: dict[str, Any]) -> Feature:
    return Feature(str(said["dtype"]), tuple(int(size) for size in said["shape"]), said.get("names"))
