"""Episodes through the critic: what every bin was worth at every step, which were chosen, and what came of it.

Axes: S step shown, L level, T step of the chunk, A action dimension, K bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoomrl.agents.cqn.learner import CQN
from zoomrl.control.chunk import ActionChunk
from zoomrl.control.controller import Controller
from zoomrl.control.scaling import ActionScaler
from zoomrl.control.stack import FrameStack
from zoomrl.data.episode import Episode, discounted_returns
from zoomrl.data.finite import simulator_fault
from zoomrl.demos.view.content import ordinal
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import ConfigError, NonFiniteLossError, SimulatorError, WorkerError, plural
from zoomrl.lens.images import Renderer, observed_views, recorded_views
from zoomrl.math import grid
from zoomrl.ranges import check_seed
from zoomrl.training.policy import TrainedAgent

MAX_BINS = 100
"""Bins of a level that can be told apart on a page."""
MAX_VALUES = 1_500_000
"""Values of an episode that are kept."""
ABOVE, BELOW, NOTHING = -1, -2, -3
"""In place of a bin: the action lies above, or below, the interval that a level divides; there is no action."""

T = TypeVar("T")


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode, as the critic saw it.

    Attributes:
        name: of the episode, in words.
        demonstration: whether it is one; otherwise the policy acted.
        seed: of its reset; -1 when unknown.
        at: [S] int64, the agent steps that are shown.
        values: [S, L, T, A, K] float32, of every bin within the interval that the choices above it lead to.
        chosen: [S, L, T, A] int64, the bins of the chunk that acts: the greedy ones, or those of the proposal taken.
        taken: [S, L, T, A] int64, the bins that the executed or demonstrated action of that step falls into;
            :data:`ABOVE` or :data:`BELOW` where it lies outside of the interval, :data:`NOTHING` after the end.
        value: [S] float32, of that chunk.
        fresh: [S] bool, whether the policy took a new chunk there.
        agreement: [S, L] float32, fraction of the demonstrated bins that are best on the way to the demonstrated action
            (the metric ``demo_agreement``, by level), NaN where there is none; None where the policy acted.
        rewards: [steps] float32.
        returns: [steps] float64, discounted sum of the rewards from each step on.
        solved: steps at whose end the environment reported success.
        success: whether it was solved; None where that is not reported.
        ended: ``terminated``, ``truncated``, or empty for neither.
        cameras: name and images [S, H, W, 3] of each.
        said: what is missing or left out, and why.
    """

    name: str
    demonstration: bool
    seed: int
    at: NDArray[np.int64]
    values: NDArray[np.float32]
    chosen: NDArray[np.int64]
    taken: NDArray[np.int64]
    value: NDArray[np.float32]
    fresh: NDArray[np.bool_]
    agreement: NDArray[np.float32] | None
    rewards: NDArray[np.float32]
    returns: NDArray[np.float64]
    solved: tuple[int, ...]
    success: bool | None
    ended: str
    cameras: tuple[tuple[str, NDArray[np.uint8]], ...]
    said: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Agent steps of the episode."""
        return len(self.rewards)

    def spread(self, movable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Largest minus smallest value of the bins of a choice, mean over T and the ``movable`` [A] dimensions: [S, L].

        The metric ``sibling_spread``, by step and level.
        """
        ranges: NDArray[np.float64] = np.ptp(self.values[:, :, :, movable].astype(np.float64), axis=-1)
        return ranges.mean((2, 3))


class Thinned(Generic[T]):
    """Items of every step; once there are too many, of every 2nd, then of every 4th, so that memory is bounded.

    Args:
        most: items that are kept.

    Attributes:
        stride: of the steps kept.
    """

    def __init__(self, most: int) -> None:
        self.stride = 1
        self._most = most
        self._items: dict[int, T] = {}

    def wants(self, step: int) -> bool:
        """Whether the item of ``step``, the next one, would be kept."""
        while step % self.stride == 0 and len(self._items) >= self._most:
            self.stride *= 2
            self._items = {at: item for at, item in self._items.items() if at % self.stride == 0}
        return step % self.stride == 0

    def add(self, step: int, item: T) -> None:
        """Keep the item of a step that is wanted."""
        self._items[step] = item

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps of what is kept."""
        return np.array(list(self._items), np.int64)

    @property
    def items(self) -> list[T]:
        """What is kept, in the order of the steps."""
        return list(self._items.values())


@dataclass(frozen=True)
class _Seen:
    """What is kept of a step; chunks and cells [T, A], ``values`` [L, T, A, K]."""

    values: NDArray[np.float32]
    cell: NDArray[np.int64]
    value: float
    fresh: bool
    agreement: NDArray[np.float32] | None
    images: Mapping[str, NDArray[np.uint8]]


class _Watched:
    """An agent, and the chunk that it proposed last."""

    def __init__(self, agent: CQN) -> None:
        self.chunk_length = agent.chunk_length
        self.chunk: ActionChunk | None = None
        self._agent = agent

    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        self.chunk = self._agent.act(observation, generator, explore=explore)
        return self.chunk


class Lens:
    """Sees episodes through the critic of a trained agent.

    Args:
        held: the agent of a run.
        seed: of tie-breaks.
        most_steps: steps of an episode that are kept; of a longer one every 2nd, 4th and so on.

    Attributes:
        most_steps: the same, or less where a chunk has so many values that :data:`MAX_VALUES` bounds it.
        movable: [A] bool, dimensions that can be moved.
        proposes: whether the agent chooses among chunks that a policy proposes.

    Raises:
        ConfigError: the agent is not a coarse-to-fine one, or has more bins than can be shown.
    """

    def __init__(self, held: TrainedAgent, *, seed: int = 0, most_steps: int = 250) -> None:
        if not isinstance(held.agent, CQN):
            raise ConfigError(
                "a value lens looks at the values of bins, which coarse-to-fine agents have (cqn, cqn_as); this run's "
                f"agent is {held.config.agent.name}. `zoomrl eval` and `zoomrl diagnose` work for every agent"
            )
        self.held, self.agent = held, held.agent
        config = self.agent.config
        if config.bins > MAX_BINS:
            raise ConfigError(f"a level of at most {MAX_BINS} bins can be shown, and this agent has {config.bins}")
        self.levels, self.bins = config.grid
        self.proposes = config.proposals.count > 0
        self.movable: NDArray[np.bool_] = held.scaler.movable
        each = self.levels * self.agent.chunk_length * self.agent.action_dim * self.bins
        self.most_steps = max(1, min(most_steps, MAX_VALUES // each))
        self._generator = torch.Generator().manual_seed(check_seed(seed))
        self._watched = _Watched(self.agent)
        frames = held.config.replay.frame_stack
        self._stack = FrameStack(1, frames)
        self._controller = Controller(self._watched, held.config.control, held.scaler, 1, frames, seed)

    @property
    def scaler(self) -> ActionScaler:
        """Of the actions."""
        return self.held.scaler

    def policy_episode(self, envs: VectorEnv, seed: int, renderer: Renderer) -> EpisodeRecord:
        """Let the policy act in environment 0, from the reset with ``seed`` to the end.

        With the same seeds these are the episodes of ``zoomrl eval --num-envs 1``.

        Raises:
            SimulatorError: the simulator shows NaN or infinity. WorkerError: its process died.
            NonFiniteLossError: the agent's action is NaN or infinite.
        """
        kept: Thinned[_Seen] = Thinned(self.most_steps)
        actions: list[NDArray[np.float32]] = []
        rewards: list[float] = []
        solved: list[int] = []
        everywhere = np.ones(1, np.bool_)
        self._controller.reset(everywhere)
        self._stack.reset(everywhere)
        shown, _ = envs.reset(0, seed)
        ended = ""
        _check_finite(shown, 0.0, 0, seed)
        while not ended:
            rows = {name: array[None] for name, array in shown.items()}
            stacked = self._stack.push(rows)
            self._watched.chunk = None
            action = self._controller.act(rows)
            step = len(actions)
            if not np.isfinite(action).all():
                raise NonFiniteLossError(
                    f"the agent's action became NaN or infinite at step {step + 1} of the episode with seed {seed}: "
                    "the weights have diverged, or an observation is too large for them."
                )
            if kept.wants(step):
                image = renderer.take()
                images = observed_views(shown, self.held.spec) if image is None else {"video": image}
                kept.add(step, self._see(stacked, self._watched.chunk, images=images))
            result = envs.step(action)
            if result.died:
                raise WorkerError(f"the process of the simulator died at step {step + 1} of the episode, seed {seed}")
            shown, reward = {name: array[0] for name, array in result.obs.items()}, float(result.reward[0])
            _check_finite(shown, reward, step + 1, seed)
            actions.append(action[0])
            rewards.append(reward)
            if result.success[0]:
                solved.append(step)
            ended = "terminated" if result.terminated[0] else "truncated" if result.truncated[0] else ""
        # A renderer that failed on the way has none of the later steps.
        names = [name for name in kept.items[0].images if all(name in item.images for item in kept.items)]
        cameras = tuple((name, np.stack([item.images[name] for item in kept.items])) for name in names)
        instead = "; shown is what the policy observed" if names else ""
        return self._record(
            kept,
            np.stack(actions),
            np.array(rewards, np.float32),
            name=f"the policy, seed {seed}",
            demonstration=False,
            seed=seed,
            solved=tuple(solved),
            success=bool(solved) if self.held.spec.reports_success else None,
            ended=ended,
            cameras=cameras,
            said=(f"no video: {renderer.problem}{instead}",) if renderer.problem else (),
        )

    def demonstration(self, episode: Episode, index: int, renderer: Renderer | None = None) -> EpisodeRecord:
        """See ``episode``, number ``index`` of its set, without acting.

        Args:
            episode: in the environment's own order and units.
            index: its number, by which it is named.
            renderer: of an environment in which it is replayed, when it holds no images.
        """
        kept: Thinned[_Seen] = Thinned(self.most_steps)
        self._stack.reset(np.ones(1, np.bool_))
        for step in range(len(episode)):
            stacked = self._stack.push({name: array[step][None] for name, array in episode.observations.items()})
            if kept.wants(step):
                kept.add(step, self._see(stacked, None, episode.actions[step : step + self.agent.chunk_length]))
        cameras, problem = recorded_views(episode, self.held.spec, kept.steps)
        if not cameras:
            missing = ((), "no video: the recording holds no images")
            cameras, problem = missing if renderer is None else renderer.replayed(episode, kept.steps)
        return self._record(
            kept,
            episode.actions,
            episode.rewards,
            name=f"demonstration {index}",
            demonstration=True,
            seed=episode.seed,
            solved=(),
            success=episode.success,
            ended="terminated" if episode.terminated else "truncated" if episode.truncated else "",
            cameras=cameras,
            said=(problem,) if problem else (),
        )

    def _see(
        self,
        stacked: Mapping[str, Tensor],
        proposed: ActionChunk | None,
        demonstrated: NDArray[np.float32] | None = None,
        images: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> _Seen:
        """Values along the chunk that was proposed, or that the agent would propose."""
        chunk = self.agent.act(stacked, self._generator) if proposed is None else proposed
        found = self.agent.values_along(stacked, chunk.actions)
        if not bool(found.values.isfinite().all()):
            raise NonFiniteLossError("the critic's values became NaN or infinite: the weights have diverged")
        assert chunk.value is not None  # every coarse-to-fine agent has values
        return _Seen(
            values=found.values[0].numpy(),
            cell=self._finest(chunk.actions)[0],
            value=float(chunk.value[0]),
            fresh=proposed is not None,
            agreement=None if demonstrated is None else self._agreement(stacked, demonstrated),
            images=images or {},
        )

    def _agreement(self, stacked: Mapping[str, Tensor], demonstrated: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fraction of the demonstrated bins that are best, [L], of actions [<= T, A] in the environment's units."""
        count = len(demonstrated)
        chunk = torch.zeros(1, self.agent.chunk_length, self.agent.action_dim)
        chunk[0, :count] = torch.from_numpy(self.scaler.to_unit(demonstrated))
        # What follows the end reaches no number of a step before it: the recurrence runs forward.
        found = self.agent.values_along(stacked, chunk)
        agree = (found.values.argmax(-1) == found.bins)[0, :, :count].numpy()[:, :, self.movable]
        fractions: NDArray[np.float32] = agree.mean((1, 2), dtype=np.float32)
        return fractions

    def _cells(self, actions: NDArray[np.float32]) -> NDArray[np.int64]:
        """Finest cells [..., A] of actions in the environment's units."""
        return self._finest(torch.from_numpy(self.scaler.to_unit(actions)))

    def _finest(self, actions: Tensor) -> NDArray[np.int64]:
        cells: NDArray[np.int64] = grid.to_cell(actions, self.levels, self.bins).numpy()
        return cells

    def _record(
        self, kept: Thinned[_Seen], actions: NDArray[np.float32], rewards: NDArray[np.float32], **facts: Any
    ) -> EpisodeRecord:
        at, items = kept.steps, kept.items
        cells = np.stack([item.cell for item in items])
        taken = windows(self._cells(actions), at, self.agent.chunk_length)
        agreement = [item.agreement for item in items if item.agreement is not None]
        if kept.stride > 1:
            facts["said"] += (f"every {ordinal(kept.stride)} of {plural(len(actions), 'step')} is shown",)
        return EpisodeRecord(
            at=at,
            values=np.stack([item.values for item in items]),
            chosen=grid_path(cells, self.levels, self.bins),
            taken=marks(taken, cells, self.levels, self.bins),
            value=np.array([item.value for item in items], np.float32),
            fresh=np.array([item.fresh for item in items]),
            agreement=np.stack(agreement) if agreement else None,
            rewards=rewards,
            returns=discounted_returns(rewards, self.held.config.replay.discount),
            **facts,
        )


def windows(cells: NDArray[np.int64], at: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Of ``cells`` [steps, A] those of the ``length`` steps from each of ``at`` [S] on: [S, T, A], -1 after the end."""
    padded = np.concatenate([cells, np.full((length, cells.shape[1]), -1, np.int64)])
    return padded[at[:, None] + np.arange(length)]


def grid_path(cells: NDArray[np.int64], levels: int, bins: int) -> NDArray[np.int64]:
    """Bins that lead to ``cells`` [S, T, A]: [S, L, T, A], coarsest level first."""
    powers = bins ** np.arange(levels - 1, -1, -1)
    return cells[:, None] // powers[:, None, None] % bins


def marks(taken: NDArray[np.int64], chosen: NDArray[np.int64], levels: int, bins: int) -> NDArray[np.int64]:
    """Where an action lies among the bins of each level on the way to another one.

    Args:
        taken: [S, T, A], finest cells of the action; -1 for none.
        chosen: [S, T, A], finest cells of the other.
        levels, bins: of the grid.

    Returns:
        [S, L, T, A], a bin, :data:`ABOVE`, :data:`BELOW` or :data:`NOTHING`.
    """
    # Finest cells in the interval that each level divides.
    width = (bins ** np.arange(levels, 0, -1))[:, None, None]
    inside, outside = chosen[:, None] // width, taken[:, None] // width
    found = np.where(outside == inside, grid_path(taken, levels, bins), np.where(outside > inside, ABOVE, BELOW))
    return np.where(taken[:, None] < 0, NOTHING, found)


def _check_finite(shown: Mapping[str, NDArray[Any]], reward: float, step: int, seed: int) -> None:
    if fault := simulator_fault(shown, reward, step=step, seed=seed):
        raise SimulatorError(f"the simulator {fault}. Take other episodes with --seed")
