"""TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OFFLINE = "offline"
"""Folder of what comes before the first environment step, over updates: TensorBoard shows it as a run of its own."""


class TensorBoard:
    """Writes event files into a directory.

    Args:
        directory: of the files.
        env_steps, updates: where a resumed run continues; what was written beyond is hidden.
    """

    name = "TensorBoard"

    def __init__(self, directory: Path, env_steps: int, updates: int) -> None:
        self._directory, self._updates = directory, updates
        self._online = _writer(directory, env_steps)
        self._offline: Any = None

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Add each as ``kind/name``, at the environment step or, before the first, at the update."""
        offline = not env_steps and updates > 0
        if offline and self._offline is None:
            self._offline = _writer(self._directory / OFFLINE, self._updates)
        writer, step = (self._offline, updates) if offline else (self._online, env_steps)
        for name, value in values.items():
            writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close."""
        for writer in (self._online, self._offline):
            if writer is not None:
                writer.close()


def _writer(directory: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    # The rows at ``step`` itself came before the checkpoint, and are not written again.
    return SummaryWriter(str(directory), purge_step=step + 1 if step else None)
