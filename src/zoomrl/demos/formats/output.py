"""What the writers share: a folder that appears complete or not at all, and our own spec next to foreign files."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoomrl.demos.entries import set_entries
from zoomrl.demos.store.limits import regular
from zoomrl.demos.store.reader import DemoSet
from zoomrl.demos.store.staging import staged
from zoomrl.errors import DemonstrationError
from zoomrl.files import finite_or_null, read_json
from zoomrl.spec import EnvSpec


@dataclass(frozen=True)
class Provenance:
    """What our sets know beyond their episodes."""

    spec: EnvSpec
    meta: dict[str, Any]


def provenance_text(demos: DemoSet) -> str:
    """JSON for :func:`read_provenance`."""
    return json.dumps({"spec": demos.spec.to_dict(), "meta": finite_or_null(demos.meta)}, indent=1, allow_nan=False)


def read_provenance(file: Path, root: Path) -> Provenance:
    """What :func:`provenance_text` wrote into ``file`` of the set at ``root``.

    Raises:
        DemonstrationError: it cannot be read, or holds something else.
        ValueError: it is no regular file of the set.
    """
    found = read_json(regular(file, root), error=DemonstrationError)
    try:
        spec, meta = EnvSpec.from_dict(found["spec"]), dict(found["meta"])
        return Provenance(replace(spec, state_entries=set_entries(spec, meta)), meta)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DemonstrationError(f"{file} does not hold what zoomrl writes there ({error!r})") from error


def check_exportable(demos: DemoSet, taken: Collection[str] = ()) -> None:
    """DemonstrationError unless all observations are ``state`` and ``rgb``, with a name for each camera.

    Args:
        demos: the set.
        taken: names that no camera may have in this format.
    """
    others = sorted(set(demos.spec.observations) - {"state", "rgb"})
    if others:
        raise DemonstrationError(f"only state and rgb are exported; this set observes {', '.join(others)} too")
    rgb = demos.spec.observations.get("rgb")
    views = rgb.shape[0] if rgb else 0
    if views != len(set(demos.spec.cameras)):
        raise DemonstrationError(f"each view of rgb needs a camera name of its own; {views} have {demos.spec.cameras}")
    for name in demos.spec.cameras:
        if name in taken:
            raise DemonstrationError(f"a camera called {name!r} cannot be exported: the format uses this name itself")


@contextmanager
def exported(path: Path, marker: str, overwrite: bool) -> Iterator[Path]:
    """A new folder to write into, which takes the place of ``path`` when all has been written.

    Args:
        path: the folder wanted.
        marker: file by which a folder that was written here before is known.
        overwrite: replace such a folder.

    Raises:
        DemonstrationError: when something is in the way.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not path.is_dir() or not (path / marker).is_file():
            raise DemonstrationError(f"{path} exists and was not exported by zoomrl; it is left alone, pass another")
        if not overwrite:
            raise DemonstrationError(f"{path} already holds an exported set; pass --overwrite or another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path, overwrite) as folder:
        yield folder
