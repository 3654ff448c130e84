"""Where a run lies, told before anything slow is imported. Loads no PyTorch."""

from __future__ import annotations

from pathlib import Path

from zoomrl.errors import CheckpointError

CONFIG, CHECKPOINTS = "config.json", "checkpoints"


def run_directory(path: Path) -> Path:
    """The directory of a run, of which ``path`` is it or a checkpoint file in it.

    Raises:
        CheckpointError: there is nothing, or the checkpoint is not there; those that are there are named.
    """
    if path.is_file():
        directory = path.parent.parent
        if not (directory / CONFIG).exists():
            raise CheckpointError(f"{path} is no checkpoint of a run, which lies in RUN/{CHECKPOINTS}; name the run")
        return directory
    if path.suffix == ".pt" and not path.exists():
        there = sorted(one.name for one in path.parent.glob("*.pt"))
        listed = f"{path.parent} holds {', '.join(there)}" if there else "its folder holds none"
        raise CheckpointError(f"there is no checkpoint {path}; {listed}")
    check_run(path)
    return path


def check_run(directory: Path) -> None:
    """Look for a run in ``directory``.

    Raises:
        CheckpointError: there is none.
    """
    if not (directory / CONFIG).exists():
        what = f"it has no {CONFIG}" if directory.exists() else "there is nothing"
        raise CheckpointError(f"{directory} is no run directory: {what}")
