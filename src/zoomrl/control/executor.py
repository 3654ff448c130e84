"""From action chunks to actions, for N environments stepped together.

Every environment may be reset at its own time; validity is an explicit mask, never a special value.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.errors import ConfigError


class Executor(Protocol):
    """Turns a stream of action chunks into one action per agent step."""

    def reset(self, which: Tensor) -> None:
        """Forget the chunks of the environments ``which`` [N] bool."""
        ...

    def needs_chunk(self) -> Tensor:
        """Which environments need a chunk before the next action: [N] bool."""
        ...

    def step(self, chunk: ActionChunk | None) -> Tensor:
        """Take the chunks of the environments that need one (rows of others are ignored); actions [N, A]."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next actions depend on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        ...


class TemporalEnsemble:
    """Averages all chunks that cover the current step (ACT; CQN-AS, section 3.3).

    The action at step t is the weighted mean of what the chunks proposed at t - T + 1 .. t hold for that step, with
    weights exp(-gain * rank). Chunks are kept in a ring of T, so that memory is N x T x T x A whatever the episode's
    length.

    Args:
        num_envs, chunk_length, action_dim: N, T, A.
        gain: decay of the weights by rank.
        favours: rank 0 is the ``oldest`` or the ``newest`` prediction that is available.
    """

    def __init__(self, num_envs: int, chunk_length: int, action_dim: int, gain: float, favours: str) -> None:
        self._chunks = torch.zeros(num_envs, chunk_length * chunk_length, action_dim)
        self._log_valid = torch.full((num_envs, chunk_length * chunk_length), -torch.inf)
        self._phase = 0
        self._chunk_length = chunk_length
        # At phase p the chunk of age k lies in ring row (p - k) mod T, and its action k is for now.
        age = torch.arange(chunk_length)
        self._entries = [(phase - age) % chunk_length * chunk_length + age for phase in range(chunk_length)]
        # A common factor drops out of the normalised mean: ranks may be counted from the oldest possible age.
        rank = chunk_length - 1 - age if favours == "oldest" else age
        self._log_weight = -gain * rank

    def reset(self, which: Tensor) -> None:
        """Forget the chunks of ``which`` [N] bool."""
        self._log_valid[which] = -torch.inf
        self._chunks[which] = 0

    def needs_chunk(self) -> Tensor:
        """All environments, at every step."""
        return torch.ones(len(self._chunks), dtype=torch.bool)

    def step(self, chunk: ActionChunk | None) -> Tensor:
        """Add the newest chunks and average: [N, A]."""
        if chunk is None:
            raise ValueError("a temporal ensemble needs an action chunk at every step")
        row = slice(self._phase * self._chunk_length, (self._phase + 1) * self._chunk_length)
        # Zero where invalid: a weight of zero does not hide what is not finite.
        self._chunks[:, row] = chunk.actions.masked_fill(~chunk.valid[..., None], 0)
        self._log_valid[:, row] = torch.where(chunk.valid, 0.0, -torch.inf)
        entries = self._entries[self._phase]
        self._phase = (self._phase + 1) % self._chunk_length
        # A softmax of logarithms: no gain is too large for it.
        weight = torch.softmax(self._log_valid[:, entries] + self._log_weight, 1)
        if weight.isnan().any():
            raise ValueError("no valid prediction for the current step: the first action of a chunk must be valid")
        return torch.bmm(weight[:, None], self._chunks[:, entries])[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """The ring."""
        return {"plans": self._chunks.clone(), "log_valid": self._log_valid.clone(), "phase": self._phase}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._chunks.copy_(state["plans"])
        self._log_valid.copy_(state["log_valid"])
        self._phase = state["phase"]


class RecedingHorizon:
    """Executes the first ``replan_every`` actions of each chunk, then asks for the next one.

    A chunk that becomes invalid earlier is left earlier. With ``replan_every`` equal to the chunk length this is open
    loop.
    """

    def __init__(self, num_envs: int, chunk_length: int, action_dim: int, replan_every: int) -> None:
        if not 1 <= replan_every <= chunk_length:
            raise ConfigError(
                f"control.replan_every must lie in 1 .. {chunk_length} (the chunk length), got {replan_every}"
            )
        self._every = replan_every
        self._chunks = torch.zeros(num_envs, chunk_length, action_dim)
        self._left = torch.zeros(num_envs, dtype=torch.int64)
        self._next = torch.zeros(num_envs, dtype=torch.int64)

    def reset(self, which: Tensor) -> None:
        """Forget the chunks of ``which`` [N] bool."""
        self._left[which] = 0

    def needs_chunk(self) -> Tensor:
        """Environments whose chunk is used up: [N] bool."""
        return self._left == 0

    def step(self, chunk: ActionChunk | None) -> Tensor:
        """The next action of each environment's chunk: [N, A]."""
        fresh = self.needs_chunk()
        if fresh.any():
            if chunk is None or not chunk.valid[fresh, 0].all():
                raise ValueError("an environment is out of actions: it needs a chunk whose first action is valid")
            self._chunks[fresh] = chunk.actions[fresh]
            # Actions up to the first invalid one.
            usable = chunk.valid.to(torch.int64).cumprod(1).sum(1)[fresh]
            self._left[fresh] = torch.minimum(usable, self._limits(len(usable)))
            self._next[fresh] = 0
        action = self._chunks[torch.arange(len(self._next)), self._next]
        self._next += 1
        self._left -= 1
        return action

    def _limits(self, count: int) -> Tensor:
        """How many actions of the next chunk are executed at most, in each of ``count`` environments."""
        return torch.full((count,), self._every)

    def state_dict(self) -> dict[str, Any]:
        """Action chunks and positions."""
        return {"plans": self._chunks.clone(), "left": self._left.clone(), "next": self._next.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._chunks.copy_(state["plans"])
        self._left.copy_(state["left"])
        self._next.copy_(state["next"])


class RandomPrefix(RecedingHorizon):
    """Executes a random number of actions of each chunk, uniformly from 1 to ``longest``, then asks for the next one.

    What is executed then holds joints of chunks at every place, so that values are learnt of all of them (SEAR,
    arXiv:2603.01891: random replanning). For training episodes.
    """

    def __init__(self, num_envs: int, chunk_length: int, action_dim: int, longest: int, seed: int) -> None:
        if longest > chunk_length:
            raise ConfigError(
                f"control.random_prefix must not exceed the chunk length, which is {chunk_length}; got {longest}"
            )
        super().__init__(num_envs, chunk_length, action_dim, longest)
        self._generator = torch.Generator().manual_seed(seed)

    def _limits(self, count: int) -> Tensor:
        return torch.randint(1, self._every + 1, (count,), generator=self._generator)

    def state_dict(self) -> dict[str, Any]:
        """Action chunks, positions and random state."""
        return {**super().state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        super().load_state_dict(state)
        self._generator.set_state(state["generator"])


def make_executor(config: ControlConfig, num_envs: int, chunk_length: int, action_dim: int) -> Executor:
    """The executor that ``config`` names."""
    if config.executor == "temporal_ensemble":
        return TemporalEnsemble(num_envs, chunk_length, action_dim, config.ensemble_gain, config.ensemble_favours)
    every = chunk_length if config.executor == "open_loop" else config.replan_every
    return RecedingHorizon(num_envs, chunk_length, action_dim, every)
