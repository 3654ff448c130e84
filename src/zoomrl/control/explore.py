"""Exploration noise on executed actions (CQN paper, section 4; DrQ-v2's schedules)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoomrl.control.config import ControlConfig
from zoomrl.math.schedules import schedule


class Explorer:
    """Adds Gaussian noise, or replaces the action by a uniform one at the start of training.

    Args:
        config: noise schedule and uniform steps.
        snap: maps an action [N, A] to the finest grid; applied when ``config.snap``.
        generator: of the noise.
    """

    def __init__(
        self, config: ControlConfig, snap: Callable[[Tensor], Tensor] | None, generator: torch.Generator
    ) -> None:
        self._config = config
        self._snap = snap if config.snap else None
        self.generator = generator

    def __call__(self, action: Tensor, env_steps: int) -> Tensor:
        """Action [N, A] in [-1, 1] to execute at ``env_steps``."""
        noise = torch.randn(action.shape, generator=self.generator)
        if env_steps < self._config.uniform_steps:
            # The normal distribution function makes the same noise uniform: one stream, wherever the phase ends.
            action = torch.erf(noise / 2**0.5)
        else:
            action = (action + noise * schedule(self._config.noise, env_steps)).clamp(-1, 1)
        return action if self._snap is None else self._snap(action)
