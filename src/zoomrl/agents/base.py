"""What the training loop knows about an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from tensordict import TensorDict
from torch import Tensor

from zoomrl.control.plan import Plan

Metrics = dict[str, Tensor]
"""0-d tensors, read by the logger only when it logs."""


class Agent(Protocol):
    """Three verbs: act, update, save/load."""

    horizon: int
    """Length T of the plans it proposes."""

    def act(self, observation: Mapping[str, Tensor], generator: torch.Generator) -> Plan:
        """Greedy plan for each of N environments; ``generator`` breaks ties. No gradient."""
        ...

    def update(self, batch: TensorDict) -> Metrics:
        """One gradient step on ``batch`` (see :mod:`zoomrl.data.replay` for its layout)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        ...
