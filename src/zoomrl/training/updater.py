"""One update: sample, learn, give priorities back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from zoomrl.agents.contract import Agent, Metrics
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import NonFiniteLossError
from zoomrl.files import write_atomically
from zoomrl.math.schedules import schedule
from zoomrl.training.config import TrainConfig


class Updater:
    """Updates the agent on samples of the replay.

    Args:
        config: the run.
        agent: what learns.
        replay: what it learns from.
        directory: of the run, where a batch that made the loss infinite is kept.
    """

    def __init__(self, config: TrainConfig, agent: Agent, replay: ReplayBuffer, directory: Path) -> None:
        self.agent = agent
        self.replay = replay
        self._noise = config.control.noise
        self._prioritised = config.replay.sampling == "priority"
        self._directory = directory

    def update(self, env_steps: int, updates: int) -> Metrics:
        """Make an update at ``env_steps``, after ``updates`` others; its metrics.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite.
        """
        batch = self.replay.sample()
        metrics = self.agent.update(batch, schedule(self._noise, env_steps))
        priority = metrics.pop("priority", None)
        # Reading a value back makes a GPU wait; there the means show it when they are taken.
        if self.agent.device.type == "cpu" and not torch.isfinite(metrics["loss"]):
            kept = self._keep({"batch": batch.to_dict(), "metrics": metrics}, updates)
            raise NonFiniteLossError(f"the loss became {metrics['loss'].item()}. {kept}")
        if priority is not None and self._prioritised:
            self.replay.set_priority(batch["slot"], priority)
        return metrics

    def _keep(self, state: dict[str, Any], updates: int) -> str:
        path = self._directory / f"nonfinite_batch_{updates}.pt"
        try:
            write_atomically(path, lambda file: torch.save(state, file))
        except OSError as error:  # what diverged matters more than a full disk
            return f"The batch could not be saved in {path}: {error.strerror or error}."
        return f"The batch is saved in {path}."
