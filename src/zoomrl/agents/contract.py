"""What the training loop knows about an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from tensordict import TensorDict
from torch import Tensor

from zoomrl.control.chunk import ActionChunk

Metrics = dict[str, Tensor]
"""0-d tensors, read by the logger only when it logs."""


class Agent(Protocol):
    """Three verbs: act, update, save/load."""

    chunk_length: int
    """Length T of the action chunks it proposes."""
    device: torch.device
    """Where it learns."""

    @property
    def sequence_length(self) -> int:
        """Steps H of the sequences that its batches must hold; 0 for none."""
        ...

    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        """Propose an action chunk for each of N environments. No gradient.

        Args:
            observation: by name, stacked: ``state`` float32 [N, F * S], ``rgb`` uint8 [N, F, V, H, W, 3].
            generator: breaks ties and samples the noise of a stochastic policy.
            explore: while training; otherwise the best that the agent knows.
        """
        ...

    def update(self, batch: TensorDict, exploration_std: float = 0.0) -> Metrics:
        """One gradient step.

        Args:
            batch: see :mod:`zoomrl.data.replay` for its layout.
            exploration_std: current standard deviation of exploration, for agents whose targets are smoothed by it.

        Returns:
            0-d tensors by name, and ``priority`` [B] from agents that prioritise their samples. They are on its device.
        """
        ...

    def episode_ended(self, episode_return: float) -> bool:
        """Take note of a training episode; whether updates that wait for the end of episodes may be made now.

        Called for episodes of the policy alone, not for those that began in the warm-up.

        Args:
            episode_return: undiscounted sum of its rewards.
        """
        ...

    def validate(self, batch: TensorDict) -> Metrics:
        """Losses on samples [B] that are not learnt from, 0-d by name; nothing for agents that learn by acting."""
        ...

    @property
    def diagnosed(self) -> int:
        """Samples that :meth:`diagnose` wants; 0 for agents with nothing to tell."""
        ...

    def diagnose(self, batch: TensorDict) -> Metrics:
        """What is too slow to be measured at every update: 0-d tensors by name."""
        ...

    def scale_lr(self, factor: float) -> None:
        """Let every learning rate be ``factor`` times that of the config."""
        ...

    def weights(self, part: Literal["all", "encoder"]) -> dict[str, Tensor]:
        """The tensors of its networks by name, targets and normaliser included; or those of its encoder alone."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`.

        Raises:
            CheckpointError: parts of the agent are missing.
        """
        ...
