"""Exploration noise on executed actions (CQN paper, section 4; DrQ-v2's schedules)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoomrl.control.config import ControlConfig
from zoomrl.math.schedules import parse_schedule, schedule


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
        parse_schedule(config.noise)
        self._config = config
        self._snap = snap if config.snap else None
        self.generator = generator

    def __call__(self, action: Tensor, env_steps: int) -> Tensor:
        """Action [N, A] in [-1, 1] to execute at ``env_steps``."""
        # Drawn in either case, so that the stream of noise does not depend on where the uniform phase ends.
        noise = torch.randn(action.shape, generator=self.generator) * schedule(self._config.noise, env_steps)
        if env_steps < self._config.uniform_steps:
            action = torch.rand(action.shape, generator=self.generator) * 2 - 1
        else:
            action = (action + noise).clamp(-1, 1)
        return action if self._snap is None else self._snap(action)
