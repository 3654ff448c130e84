"""The newest observations of each environment, stacked as the replay stacks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class FrameStack:
    """Keeps the last ``size`` observations of N environments, oldest first; the first one fills the stack."""

    def __init__(self, num_envs: int, size: int) -> None:
        self._size = size
        self._fresh = np.ones(num_envs, dtype=bool)
        self._frames: dict[str, Tensor] = {}

    def reset(self, which: NDArray[np.bool_]) -> None:
        """The next observation of ``which`` [N] bool starts an episode."""
        self._fresh |= which

    def push(self, observation: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Add observations; returns the stacks: [N, size * S] of vectors [N, S], [N, size, ...] of other arrays."""
        fresh = torch.from_numpy(self._fresh)
        for name, array in observation.items():
            new = torch.from_numpy(np.ascontiguousarray(array))[:, None]
            old = self._frames.get(name)
            full = new.expand(-1, self._size, *new.shape[2:])
            if old is None or bool(fresh.all()):
                self._frames[name] = full.clone()
            else:
                mask = fresh.view(-1, *[1] * (new.ndim - 1))
                self._frames[name] = torch.where(mask, full, torch.cat([old[:, 1:], new], 1))
        self._fresh[:] = False
        return {name: frames if frames.ndim > 3 else frames.flatten(1, 2) for name, frames in self._frames.items()}

    def state_dict(self) -> dict[str, Any]:
        """The stacks."""
        return {"fresh": torch.from_numpy(self._fresh.copy()), "frames": dict(self._frames)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._fresh = state["fresh"].numpy().copy()
        self._frames = dict(state["frames"])
