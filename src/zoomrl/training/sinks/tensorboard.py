"""TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class TensorBoard:
    """Writes event files into a directory.

    Args:
        directory: of the files.
        env_steps: where a resumed run continues; what was written beyond is hidden.
    """

    name = "TensorBoard"

    def __init__(self, directory: Path, env_steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=env_steps or None)

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int) -> None:
        """Add each as ``kind/name``."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, env_steps)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
