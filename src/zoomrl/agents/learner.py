"""What all agents that learn in closed steps share."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.contract import Metrics
from zoomrl.agents.optimization import make_optimizer, polyak_update
from zoomrl.agents.representation import SelfPredictive
from zoomrl.control.chunk import ActionChunk
from zoomrl.errors import CheckpointError
from zoomrl.nets.perception import ObservationShape, Perception, Statistics

CPU = torch.device("cpu")
WRITTEN_OUT = 4
"""Steps of a recurrence up to which they are compiled as one piece."""
Noise = dict[str, Tensor]
"""Everything random that an update uses."""
Tensors = dict[str, Tensor]
Piece = tuple[Any, str]
"""An object, and the name of one of its functions."""
MEASURED, MEASURED_EVERY = 32, 64
"""Samples of a batch on which an agent measures itself, and the updates between: at most 0.5 % of learning."""
Closed = Callable[[Mapping[str, Any], Noise], Tensors]
"""A function of (nested) tensors alone."""


class Learner(ABC):
    """An agent that learns in closed steps.

    :meth:`step` is a function of tensors alone: noise is sampled before it, schedules enter as 0-d tensors, and no
    value is read back. What else it depends on is told by :attr:`phase` before it begins. It can therefore be compiled,
    and captured as one CUDA graph (:mod:`zoomrl.agents.engine`).

    Args:
        config: hyperparameters.
        shape: of the (stacked) observations.
        action_dim: action dimensions A.
        seed: of the weights and of everything random while learning.
        statistics: mean and standard deviation [S] of the demonstrations, for ``normalize="demos"``.
        device: where it learns.
        movable: [A] bool, action dimensions that can be moved at all; None for all. The others have one value in the
            demonstrations and in every action that is executed: nothing is learnt for them.

    Attributes:
        updates: gradient steps so far.
        generator: of everything random while learning.
    """

    losses: tuple[str, ...] = ()
    """Names of the methods that hold the forward passes."""
    measures: bool = False
    """Whether it has numbers of its own to :meth:`measure`."""
    parity_metric: str = "critic_loss"
    """The metric by which accelerated and eager updates are compared."""
    config: AgentConfig
    """Hyperparameters, of the agent's own class."""
    perception: Perception | SelfPredictive
    """What it reads its observations with."""

    def __init__(
        self,
        config: AgentConfig,
        shape: ObservationShape,
        action_dim: int,
        seed: int = 0,
        statistics: Statistics | None = None,
        device: torch.device = CPU,
        movable: Tensor | None = None,
    ) -> None:
        self.config = config
        self.action_dim = action_dim
        self.movable = None if movable is None or bool(movable.all()) else movable.to(device)
        self.chunk_length: int = config.chunk_length
        """Length T of the action chunks it proposes."""
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.updates = 0
        self.representation_optimizer: torch.optim.Optimizer | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._perceive(shape, statistics if config.normalize == "demos" else None)
            self._build()
        self._groups = {
            name: [{key: value for key, value in group.items() if key != "params"} for group in part.param_groups]
            for name, part in self._optimizers()
        }
        self.run_step: Closed = self.step
        self.run_propose: Closed = self.propose
        self.run_measure: Closed = self._measured
        self.reset_capture: Callable[[], None] = lambda: None
        """Drops the captures that ``run_step`` made of the tensors that loading replaces."""

    def _perceive(self, shape: ObservationShape, statistics: Statistics | None) -> None:
        """Make what observations are read with, and the optimizer of a jointly trained representation."""
        config = self.config
        encoder, latent = config.encoder, config.representation
        if latent.kind == "none":
            self.perception = Perception(shape, encoder, statistics).to(self.device)
            return
        self.perception = SelfPredictive(shape, self.action_dim, latent, encoder, statistics).to(self.device)
        learnt = [p for p in self.perception.model.parameters() if p.requires_grad]
        self.representation_optimizer = make_optimizer(latent.optimizer, learnt, latent.lr, latent.weight_decay)

    @abstractmethod
    def _build(self) -> None:
        """Make networks and optimizers; their random initialization is seeded."""

    @property
    def target_interval(self) -> int:
        """Updates between moves of the target networks; 0 where :meth:`learn` moves them, or there are none."""
        return self.config.target_interval

    @property
    def actors_turn(self) -> bool:
        """Whether the next update moves the actor too, of agents whose critics learn more often."""
        return (self.updates + 1) % self.config.policy_delay == 0

    @property
    def phase(self) -> str:
        """What the next :meth:`step` does besides what all do; a step is captured once for each phase."""
        return "actor" if self.actors_turn else ""

    @property
    def acting_phase(self) -> str:
        """The same of :meth:`propose`."""
        return ""

    @property
    @abstractmethod
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Networks and optimizers by name, besides those of perception."""

    @property
    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Networks and optimizers by name, for saving."""
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {"perception": self.perception}
        if self.representation_optimizer is not None:
            parts["representation_optimizer"] = self.representation_optimizer
        return parts | self.components

    def _optimizers(self) -> Iterator[tuple[str, torch.optim.Optimizer]]:
        for name, part in self.parts.items():
            if isinstance(part, torch.optim.Optimizer):
                yield name, part

    def scale_lr(self, factor: float) -> None:
        """Let every learning rate be ``factor`` times that of the config."""
        for name, optimizer in self._optimizers():
            for group, own in zip(optimizer.param_groups, self._groups[name], strict=True):
                group["lr"] = own["lr"] * factor

    def weights(self, part: Literal["all", "encoder"]) -> dict[str, Tensor]:
        """The tensors of its networks by name; for "encoder" those of its encoder of images, or of the latent."""
        named = {
            f"{name}.{key}": tensor
            for name, module in self.parts.items()
            if isinstance(module, nn.Module)
            for key, tensor in module.state_dict().items()
        }
        if part == "all":
            return named
        latent = isinstance(self.perception, SelfPredictive)
        prefixes = ("perception.model.encoder.", "perception.target_encoder.") if latent else ("perception.encoder.",)
        return {name: tensor for name, tensor in named.items() if name.startswith(prefixes)}

    def modules(self) -> Iterator[nn.Module]:
        """All networks, and the modules inside them."""
        for part in self.parts.values():
            if isinstance(part, nn.Module):
                yield from part.modules()

    def pieces(self) -> list[Piece]:
        """What is compiled, each by itself: the losses.

        An agent whose losses run the same networks many times names these instead: what is compiled once serves every
        time, and the time that compiling takes grows faster than what is compiled.
        """
        return [*((self, name) for name in self.losses), *self.representation_pieces()]

    def representation_pieces(self) -> list[Piece]:
        """The loss of a jointly trained representation, where there is one."""
        return [(self, "representation_loss")] if isinstance(self.perception, SelfPredictive) else []

    @property
    def sequence_length(self) -> int:
        """Steps H of the sequences that batches must hold in addition; 0 for none."""
        return self.perception.config.horizon if isinstance(self.perception, SelfPredictive) else 0

    def sample_acting_noise(self, count: int, generator: torch.Generator, explore: bool) -> Noise:
        """Sample the noise of action chunks for ``count`` environments; nothing for a deterministic policy."""
        return {}

    @abstractmethod
    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """What to do: a closed function, as :meth:`step` is.

        Args:
            observation: stacked, as for :meth:`act`, on the agent's device.
            noise: of :meth:`sample_acting_noise`.

        Returns:
            ``actions`` [N, T, A] in [-1, 1] and, of agents with values, the predicted ``value`` [N] of the chunk.
        """

    @torch.inference_mode()
    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        """Propose an action chunk for each environment (see :class:`Agent`)."""
        count = len(next(iter(observation.values())))
        noise = {
            name: array.to(self.device) for name, array in self.sample_acting_noise(count, generator, explore).items()
        }
        outputs = self.run_propose({name: array.to(self.device) for name, array in observation.items()}, noise)
        actions, value = outputs["actions"].cpu(), outputs.get("value")
        return ActionChunk(
            actions, torch.ones(actions.shape[:2], dtype=torch.bool), None if value is None else value.cpu()
        )

    @abstractmethod
    def autocast_modules(self) -> list[nn.Module]:
        """The modules, each of one tensor as result, that hold nearly all of the arithmetic: what may run in
        bfloat16."""

    @abstractmethod
    def sample_noise(self, batch: int) -> Noise:
        """Sample the noise of one step on ``batch`` samples, by name, on the agent's device."""

    @abstractmethod
    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One gradient step.

        Args:
            batch: see :mod:`zoomrl.data.replay` for its layout.
            noise: of :meth:`sample_noise`, and ``exploration_std``, 0-d: the current standard deviation of exploration.

        Returns:
            0-d tensors by name, ``loss`` among them, and ``priority`` [B] from agents that prioritise their samples.
        """

    def update_target(self) -> None:
        """Move the target networks; called every ``target_interval`` updates.

        Raises:
            NotImplementedError: the agent has none that move by themselves.
        """
        raise NotImplementedError(f"{type(self).__name__} has no targets that move by themselves")

    def only_movable(self, values: Tensor) -> Tensor:
        """``values`` [..., A] of actions, 0 in dimensions that cannot be moved: what is stored for them."""
        return values if self.movable is None else values * self.movable

    def representation_loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Metrics]:
        """Loss of a self-predictive representation, which is jointly trained with the agent: 0-d, and what to report.

        Raises:
            TypeError: the agent has no such representation.
        """
        if not isinstance(self.perception, SelfPredictive):
            raise TypeError(f"{type(self).__name__} reads its observations directly and trains no representation")
        return self.perception.loss(batch, noise)

    def step(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One gradient step, after one of the representation; and that of targets that move at every update."""
        before = self._learn_representation(batch, noise) if self.sequence_length else {}
        metrics = before | self.learn(batch, noise)
        if "representation_loss" in metrics:
            metrics["loss"] = metrics["loss"] + metrics["representation_loss"]
        if self.target_interval == 1:
            self.update_target()
        return metrics

    def _learn_representation(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        perception, optimizer = self.perception, self.representation_optimizer
        if not isinstance(perception, SelfPredictive) or optimizer is None:
            return {}
        loss, metrics = self.representation_loss(batch, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learnt = [p for group in optimizer.param_groups for p in group["params"]]
        metrics["representation_gradient"] = nn.utils.clip_grad_norm_(learnt, perception.config.clip)
        optimizer.step()
        for target, online in perception.targets():
            polyak_update(target, online, perception.config.target_tau)
        return {"representation_loss": loss.detach(), **metrics}

    def episode_ended(self, episode_return: float) -> bool:
        """Whether updates that wait may be made (see :class:`Agent`): always."""
        return True

    def validate(self, batch: Mapping[str, Any]) -> Metrics:
        """Losses on samples that are not learnt from (see :class:`Agent`): nothing."""
        return {}

    @property
    def diagnosed(self) -> int:
        """As many samples as the latent has dimensions: fewer would bound its rank."""
        return self.perception.config.dim if isinstance(self.perception, SelfPredictive) else 0

    def diagnose(self, batch: Mapping[str, Any]) -> Metrics:
        """Rank and use of the latents, where there are any."""
        return self.perception.diagnose(batch["obs"]) if isinstance(self.perception, SelfPredictive) else {}

    def update(self, batch: TensorDict, exploration_std: float = 0.0) -> Metrics:
        """One gradient step (see :class:`Agent`)."""
        noise = self.sample_noise(len(batch))
        if isinstance(self.perception, SelfPredictive):
            noise |= self.perception.sample_learning_noise(len(batch), self.generator)
        noise["exploration_std"] = torch.full((), exploration_std, device=self.device)
        metrics = self.run_step(batch, noise)
        if self.measures and self.updates % MEASURED_EVERY == 0:
            few = batch[:: max(1, len(batch) // MEASURED)]
            measured = self.run_measure(few, self.sample_measuring_noise(len(few)))
            # Copies, since what is made in inference mode cannot be used everywhere.
            metrics = {**metrics, **{name: value.clone() for name, value in measured.items()}}
        self.updates += 1
        if self.target_interval > 1 and self.updates % self.target_interval == 0:
            self.update_target()
        return metrics

    def sample_measuring_noise(self, batch: int) -> Noise:
        """Sample the noise of :meth:`measure` on ``batch`` samples; nothing where it needs none."""
        return {}

    def measure(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """Numbers of the agent on a few samples of a batch, at some updates; asked for where ``measures`` is set.

        Args:
            batch: of these samples.
            noise: of :meth:`sample_measuring_noise`.
        """
        return {}

    @torch.inference_mode()
    def _measured(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        return self.measure(batch, noise)

    def state_dict(self) -> dict[str, Any]:
        """Weights, targets, optimizers, normaliser, random state and update counter."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        for name, _ in self._optimizers():
            # Rates as configured, whatever `scale_lr` makes of them now: loading does not bring them back either.
            for group, own in zip(state[name]["param_groups"], self._groups[name], strict=True):
                group.update(own)
        return {**state, "generator": self.generator.get_state(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`.

        A state of another kind of device brings everything but the random state: generators of CPU and GPU do not
        understand each other.

        Raises:
            CheckpointError: networks or optimizers are missing.
            RuntimeError: tensors have other names or shapes than the agent's.
        """
        missing = sorted(set(self.parts) - set(state))
        if missing:
            raise CheckpointError(
                f"the saved agent lacks {', '.join(missing)}: it was saved by another version of zoomrl, which can "
                "still load it. Start a new run with this one."
            )
        for name, part in self.parts.items():
            # An optimizer would keep the very tensors it is given.
            part.load_state_dict(copy.deepcopy(state[name]))
            if isinstance(part, torch.optim.Optimizer):
                # Rates, decay and device are its own, also where another one goes on with the state.
                for group, own in zip(part.param_groups, self._groups[name], strict=True):
                    group.update(own)
        # And it puts new tensors in the place of its own, which a captured step would not see.
        self.reset_capture()
        generator = state["generator"].cpu()
        if len(generator) == len(self.generator.get_state()):
            self.generator.set_state(generator)
        self.updates = state["updates"]


def network_pieces(modules: Iterable[Any], chunk_length: int) -> list[Piece]:
    """What is compiled of ``modules`` before a recurrence (``embed``) and with one (``gru``).

    A few steps are compiled together with what comes before them. Of more, one: all written out take minutes.
    """
    if chunk_length <= WRITTEN_OUT:
        return [(module, "forward") for module in modules]
    parts = [((module, "embed"), *([(module.gru, "cell")] if module.gru is not None else [])) for module in modules]
    return [piece for pair in parts for piece in pair]


def sample_shifts(
    perception: Perception | SelfPredictive, batch: int, generator: torch.Generator, following: int | None = None
) -> Noise:
    """Shifts of the images of ``obs`` and ``next_obs``, sampled independently; nothing where nothing is shifted.

    There are as many of the latter, unless ``following`` says how many.
    """
    counts = {"shifts": batch, "next_shifts": batch if following is None else following}
    noise = {name: perception.sample_noise(count, generator) for name, count in counts.items()}
    return {name: shifts for name, shifts in noise.items() if shifts is not None}
