"""Where a bundle lies: in a folder, or on the hub. Loads no PyTorch."""

from __future__ import annotations

import re
from pathlib import Path

from zoomrl.deploy.hub import pull
from zoomrl.errors import CheckpointError, command_line
from zoomrl.runtime import GRAPH, POLICY

_OWN_FOLDERS = ("runs", "bundles")
"""Where runs and bundles lie by default: no owners."""
_HUB_NAME = re.compile(r"(\w[\w.-]*)/[\w.-]+")


def is_bundle(path: Path) -> bool:
    """Whether the folder ``path`` looks like a bundle: a run has no graph."""
    return (path / GRAPH).is_file() and (path / POLICY).is_file()


def is_hub_name(source: str | Path) -> bool:
    """Whether ``source`` is owner/name on the hub: there is nothing here by that name, nor a folder called owner."""
    found = _HUB_NAME.fullmatch(str(source))
    return found is not None and not Path(found[1]).exists() and found[1] not in _OWN_FOLDERS


def bundle_folder(source: str) -> Path:
    """The folder of the bundle ``source``, fetched from the hub where that is its name.

    Raises:
        CheckpointError: there is no bundle. MissingDependencyError and ZoomrlError as for
            :func:`zoomrl.deploy.hub.pull`.
    """
    if is_hub_name(source):
        return pull(source)
    folder = Path(source)
    if not folder.exists():
        raise CheckpointError(f"there is nothing at {source}")
    if (folder / "config.json").exists():
        made = command_line("zoomrl", "export", folder, "--out", Path("bundles") / folder.resolve().name)
        raise CheckpointError(f"{source} is a run; make a bundle of it, and take that: {made}")
    if not is_bundle(folder):
        raise CheckpointError(f"{source} holds no bundle of `zoomrl export`")
    return folder
