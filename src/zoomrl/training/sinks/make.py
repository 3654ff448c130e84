"""The sinks that a run asks for."""

from __future__ import annotations

from pathlib import Path

from zoomrl.errors import import_optional
from zoomrl.training.config import TrainConfig
from zoomrl.training.sinks.csv_files import CsvFiles
from zoomrl.training.sinks.sink import Sink
from zoomrl.training.sinks.tensorboard import TensorBoard
from zoomrl.training.sinks.trackio import Trackio
from zoomrl.training.sinks.wandb import WandB


def check_sinks(config: TrainConfig) -> None:
    """Refuse what is not installed, before anything slow is done."""
    for name in ("wandb", "trackio"):
        if getattr(config.log, name):
            import_optional(name, name)


def make_sinks(config: TrainConfig, directory: Path, env_steps: int, updates: int) -> list[Sink]:
    """The sinks that ``config.log`` asks for; a resumed run continues at ``env_steps`` and ``updates``."""
    sinks: list[Sink] = []
    if config.log.tensorboard:
        sinks.append(TensorBoard(directory / "tensorboard", env_steps, updates))
    if config.log.csv:
        sinks.append(CsvFiles(directory))
    if config.log.wandb:
        sinks.append(WandB(config, directory))
    if config.log.trackio:
        sinks.append(Trackio(config, directory))
    return sinks
