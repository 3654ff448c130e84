"""Groups of arrays in HDF5, one for each episode: what they hold, and how it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, reason
from zoomrl.demos.formats.images import Frames, Sized, in_slices
from zoomrl.demos.formats.kinds import Array
from zoomrl.demos.recorded import SUCCESS_NAMES, truth
from zoomrl.demos.store.hdf5 import count, examined, load, open_hdf5
from zoomrl.demos.store.limits import Budget, regular
from zoomrl.errors import DemonstrationError, ZoomrlError

SUFFIXES = (".hdf5", ".h5")
BROKEN = (KeyError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What h5py makes of a damaged group."""


@contextmanager
def opened(path: Path, root: Path | None, what: str) -> Iterator[tuple[Any, int, list[str]]]:
    """The HDF5 file at ``path``, how many of its bytes are there, and a line where it was cut short.

    Args:
        path: of the file.
        root: folder that it must not leave; None for none.
        what: it is read as, for messages: ``one of D4RL``.

    Raises:
        DemonstrationError: it cannot be opened; or what is done with it fails as on a damaged file.
    """
    cut: list[str] = []
    try:
        file, there, cut = open_hdf5(regular(path, root), counted=False)
        with file:
            yield file, there, cut
    except ZoomrlError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise DemonstrationError(
            f"{path} cannot be read as {what} ({'; '.join([*cut, reason(error)])}). It is damaged, or of another format"
        ) from error


def files_at(path: Path) -> list[Path]:
    """``path`` itself, or the HDF5 files of a folder: those in it, or else those in the folders below."""
    if not path.is_dir():
        return [path]
    for pattern in ("*", "*/*"):
        if found := sorted(file for file in path.glob(pattern) if file.suffix in SUFFIXES and not file.is_dir()):
            return found
    raise DemonstrationError(f"{path} holds no HDF5 file ({' or '.join(SUFFIXES)})")


def arrays_of(group: Any) -> dict[str, Array]:
    """All arrays in a group and the groups below it, in alphabetical order; their names are joined by "/"."""
    found: dict[str, Array] = {}

    def visit(name: str, part: Any) -> None:
        if hasattr(part, "dtype"):
            found[name] = Array(part.dtype, part.shape)

    if hasattr(group, "visititems"):
        group.visititems(visit)
    return dict(sorted(found.items()))


def numbered(group: Any, prefix: str) -> list[str]:
    """Names in ``group`` that are ``prefix`` and a number, in the order of the numbers."""
    keys = [name for name in group or () if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
    return sorted(keys, key=lambda name: int(name[len(prefix) :]))


def check_memory(
    path: Path, budget: Budget, episodes: Iterable[tuple[str, Any]], names: Collection[str], there: int
) -> None:
    """DemonstrationError where what is read of a file takes more memory than the set can hold.

    Args:
        path: of the file.
        budget: of the set.
        episodes: name and group of each. What is broken in them is passed over: it breaks again when it is read.
        names: the arrays of each that are read.
        there: bytes of the file.
    """
    for where, group in episodes:
        for name in names:
            with suppress(*BROKEN):
                count(budget, group[name], there, f"{path.name}: {where}")
    try:
        budget.check()
    except ValueError as error:
        raise DemonstrationError(f"{path}: {error}") from error


def images(group: Any, key: str, there: int, sized: Sized) -> Frames:
    """Images [T, H, W, C] as ``sized`` makes them, a few at a time in their full size."""
    array = examined(group[key], there)
    if not len(array):
        raise ValueError(f"{key} holds no images")
    return in_slices(array, sized, array.chunks[0] if array.chunks else 1)  # a chunk is unpacked as a whole


def optional(group: Any, name: str, there: int) -> NDArray[Any] | None:
    """The array ``name``, where it is there."""
    return load(group[name], there) if name in group else None


def flag(group: Any, name: str, there: int) -> bool | None:
    """The last of the flags ``name``; None without them."""
    found = optional(group, name, there)
    return bool(found[-1]) if found is not None and len(found) else None


def stated_success(group: Any, there: int) -> bool | None:
    """The recorded outcome: an attribute, or an array with one flag per step; None without either."""
    for name in SUCCESS_NAMES:
        if name in group.attrs:
            return truth(group.attrs[name], f"its attribute {name}")
        if name in group:
            return truth(load(group[name], there), name)
    return None


def text_of(value: Any) -> str:
    """A text in an attribute, which may be bytes; "" for anything else."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def choose(assembly: Assembly, cameras: dict[str, str], known: list[str], default: list[str]) -> tuple[Any, Any]:
    """Keys of the cameras and of the state that are taken; what is left out of ``known`` is said."""
    return assembly.choose_cameras(cameras), assembly.choose_state(known, default, known)
