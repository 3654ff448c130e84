"""Observations in, environment actions out: the one path used by training, evaluation and deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoomrl.control.chunk import ActionChunk
from zoomrl.control.config import ControlConfig
from zoomrl.control.executor import Executor, RandomPrefix, make_executor
from zoomrl.control.explore import Explorer
from zoomrl.control.scaling import ActionScaler
from zoomrl.control.stack import FrameStack
from zoomrl.ranges import check_seed


class ChunkPolicy(Protocol):
    """What the controller needs of an agent."""

    chunk_length: int

    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        """Action chunks for N environments; ``explore`` while training."""
        ...


class Controller:
    """Stacks observations, asks the agent for action chunks when the executor needs them, explores and scales.

    Args:
        agent: proposes action chunks.
        config: execution options.
        scaler: [-1, 1] to the environment's units.
        num_envs: environments N stepped together.
        frame_stack: observations stacked.
        seed: of tie-breaks.
        explorer: noise on executed actions; None in evaluation and deployment.
    """

    def __init__(
        self,
        agent: ChunkPolicy,
        config: ControlConfig,
        scaler: ActionScaler,
        num_envs: int,
        frame_stack: int = 1,
        seed: int = 0,
        explorer: Explorer | None = None,
    ) -> None:
        check_seed(seed)
        self._agent = agent
        self._scaler = scaler
        sizes = num_envs, agent.chunk_length, len(scaler.low)
        if explorer is not None and config.random_prefix:
            self._executor: Executor = RandomPrefix(*sizes, config.random_prefix, seed)
        else:
            self._executor = make_executor(config, *sizes)
        self._stack = FrameStack(num_envs, frame_stack)
        self._explorer = explorer
        self.generator = torch.Generator().manual_seed(seed)
        self.predicted: NDArray[np.float32] | None = None
        """Values [N] that the agent predicted at the last :meth:`act`, NaN in environments without a new chunk; None
        where none has one, or without values."""

    def reset(self, which: NDArray[np.bool_]) -> None:
        """Start new episodes in the environments ``which`` [N] bool: their chunks and stacked frames are dropped."""
        self._executor.reset(torch.from_numpy(which))
        self._stack.reset(which)

    def replan(self, which: NDArray[np.bool_]) -> None:
        """Drop the chunks of ``which`` [N] bool, whose environments executed other actions; observations stay."""
        self._executor.reset(torch.from_numpy(which))

    def act(self, observation: Mapping[str, NDArray[Any]], env_steps: int = 0) -> NDArray[np.float32]:
        """One agent step of every environment.

        Args:
            observation: the newest, by name: ``state`` float32 [N, S], ``rgb`` uint8 [N, V, H, W, 3].
            env_steps: environment steps so far, which drive the exploration schedule.

        Returns:
            float32 [N, A], in the environment's units and within its bounds.
        """
        stacked = self._stack.push(observation)
        wanted = self._executor.needs_chunk()
        chunk = self._agent.act(stacked, self.generator, explore=self._explorer is not None) if wanted.any() else None
        self.predicted = None
        if chunk is not None and chunk.value is not None:
            self.predicted = np.where(wanted.numpy(), chunk.value.numpy(), np.float32(np.nan))
        action = self._executor.step(chunk)
        if self._explorer is not None:
            action = self._explorer(action, env_steps)
        return self._scaler.to_env(action.numpy())

    def state_dict(self) -> dict[str, Any]:
        """Action chunks in flight, stacked observations and random states."""
        state = {
            "executor": self._executor.state_dict(),
            "stack": self._stack.state_dict(),
            "generator": self.generator.get_state(),
        }
        if self._explorer is not None:
            state["explorer"] = self._explorer.generator.get_state()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._executor.load_state_dict(state["executor"])
        self._stack.load_state_dict(state["stack"])
        self.generator.set_state(state["generator"])
        if self._explorer is not None:
            self._explorer.generator.set_state(state["explorer"])
