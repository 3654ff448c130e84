"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zoomrl.errors import CheckpointError, ConfigError, MissingDependencyError, import_optional
from zoomrl.training.config import TrainConfig
from zoomrl.training.run_files import wandb_id
from zoomrl.training.sinks.sink import in_brief


class WandB:
    """Sends numbers to a project; a resumed run continues there.

    Args:
        config: the run.
        directory: of the run.

    Raises:
        MissingDependencyError: the package is not there.
        ConfigError: it could not start.
    """

    name = "Weights & Biases"

    def __init__(self, config: TrainConfig, directory: Path) -> None:
        wandb = import_optional("wandb", "wandb")
        if not hasattr(wandb, "init"):  # an old run's ./wandb folder can shadow the package
            raise MissingDependencyError("a folder named 'wandb' hides the package; run from another directory")
        try:
            self._run = wandb.init(
                project=config.log.wandb,
                id=wandb_id(directory),
                name=directory.resolve().name,
                dir=str(directory),
                config=config.to_dict(),
                resume="allow",
            )
        except CheckpointError:
            raise
        except Exception as error:
            raise ConfigError(
                f"Weights & Biases could not start ({in_brief(error)}). Without a network use WANDB_MODE=offline; "
                "to do without it, leave log.wandb empty"
            ) from error

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Log each as ``kind/name``, with both axes."""
        axes = {"env_steps": env_steps, "updates": updates}
        self._run.log({f"{kind}/{name}": value for name, value in values.items()} | axes)

    def close(self) -> None:
        """End the run there."""
        self._run.finish()
