"""What an agent proposes and a controller executes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ActionChunk:
    """An action chunk per environment.

    Attributes:
        actions: [N, T, A] in [-1, 1]; action t is meant for t agent steps from now.
        valid: [N, T] bool, which entries may be executed.
        value: [N] expected discounted return that the agent predicts for the chunk; None from agents without values.
    """

    actions: Tensor
    valid: Tensor
    value: Tensor | None = None
