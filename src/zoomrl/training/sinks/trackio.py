"""Trackio: a local dashboard, ``trackio show``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zoomrl.errors import ConfigError, import_optional
from zoomrl.training.config import TrainConfig
from zoomrl.training.sinks.sink import in_brief


class Trackio:
    """Adds numbers to a local project; a resumed run continues there.

    Args:
        config: the run.
        directory: of the run, after which the run is called there.

    Raises:
        MissingDependencyError: the package is not there.
        ConfigError: it could not start.
    """

    name = "Trackio"

    def __init__(self, config: TrainConfig, directory: Path) -> None:
        trackio = import_optional("trackio", "trackio")
        try:
            self._run = trackio.init(
                project=config.log.trackio,
                name=directory.resolve().name,
                config=config.to_dict(),
                resume="allow",
                embed=False,
            )
        except Exception as error:
            raise ConfigError(
                f"Trackio could not start ({in_brief(error)}). To do without it, leave log.trackio empty"
            ) from error

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Log each as ``kind/name`` at the step, before the first as ``offline/kind/name`` at the update."""
        offline = not env_steps and updates > 0
        place = f"offline/{kind}" if offline else kind
        step = updates if offline else env_steps
        self._run.log({f"{place}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """End the run there."""
        self._run.finish()
