"""What the training loop knows about an agent, and what all agents share."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from zoomrl.control.plan import Plan
from zoomrl.errors import CheckpointError
from zoomrl.nets.perception import Perception

CPU = torch.device("cpu")
Metrics = dict[str, Tensor]
"""0-d tensors, read by the logger only when it logs."""
Draws = dict[str, Tensor]
"""Everything random that an update uses."""
Tensors = dict[str, Tensor]
Closed = Callable[[Mapping[str, Any], Draws], Tensors]
"""A function of (nested) tensors alone."""


class Agent(Protocol):
    """Three verbs: act, update, save/load."""

    horizon: int
    """Length T of the plans it proposes."""
    device: torch.device
    """Where it learns."""

    def act(self, observation: Mapping[str, Tensor], generator: torch.Generator) -> Plan:
        """Greedy plan for each of N environments; ``generator`` breaks ties. No gradient."""
        ...

    def update(self, batch: TensorDict, noise: float = 0.0) -> Metrics:
        """One gradient step.

        Args:
            batch: see :mod:`zoomrl.data.replay` for its layout.
            noise: standard deviation of exploration at this moment, for agents whose targets are smoothed by it.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        ...


class Learner(ABC):
    """An agent that learns in closed steps.

    :meth:`step` is a function of tensors alone: what is random is drawn before it, schedules enter as 0-d tensors, no
    value is read back. It can therefore be compiled, and captured as one CUDA graph (:mod:`zoomrl.agents.engine`).
    """

    losses: tuple[str, ...]
    """Names of the methods that hold the forward passes: what is compiled."""
    horizon: int
    """Length T of the plans it proposes."""

    def __init__(self, seed: int, device: torch.device, target_interval: int) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.updates = 0
        self._target_interval = target_interval
        self.run_step: Closed = self.step
        self.run_plan: Closed = self.plan
        self.forget: Callable[[], None] = lambda: None
        """Drops what ``run_step`` has recorded of the tensors that loading replaces."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Networks and optimisers by name, for saving."""

    @abstractmethod
    def draw_plan(self, count: int, generator: torch.Generator) -> Draws:
        """Draw what plans for ``count`` environments need."""

    @abstractmethod
    def plan(self, observation: Mapping[str, Tensor], draws: Draws) -> Tensors:
        """Greedy ``actions`` [N, T, A] and their predicted ``value`` [N]: a closed function, as :meth:`step` is."""

    @torch.inference_mode()
    def act(self, observation: Mapping[str, Tensor], generator: torch.Generator) -> Plan:
        """Greedy plan (see :class:`Agent`)."""
        count = len(next(iter(observation.values())))
        draws = {name: drawn.to(self.device) for name, drawn in self.draw_plan(count, generator).items()}
        outputs = self.run_plan({name: array.to(self.device) for name, array in observation.items()}, draws)
        actions = outputs["actions"].cpu()
        return Plan(actions, torch.ones(actions.shape[:2], dtype=torch.bool), outputs["value"].cpu())

    @abstractmethod
    def bulk(self) -> list[nn.Module]:
        """The modules, each of one tensor as result, that hold nearly all of the arithmetic: what may run in
        bfloat16."""

    @abstractmethod
    def draw(self, batch: int) -> Draws:
        """Draw what one step on ``batch`` samples needs."""

    @abstractmethod
    def learn(self, batch: Mapping[str, Any], draws: Draws) -> Metrics:
        """One gradient step; ``draws["noise"]`` is the 0-d standard deviation of exploration."""

    @abstractmethod
    def move_target(self) -> None:
        """Move the target networks."""

    def step(self, batch: Mapping[str, Any], draws: Draws) -> Metrics:
        """One gradient step, and that of target networks that move at every update."""
        metrics = self.learn(batch, draws)
        if self._target_interval == 1:
            self.move_target()
        return metrics

    def update(self, batch: TensorDict, noise: float = 0.0) -> Metrics:
        """One gradient step (see :class:`Agent`)."""
        draws = self.draw(len(batch))
        draws["noise"] = torch.full((), noise, device=self.device)
        metrics = self.run_step(batch, draws)
        self.updates += 1
        if self._target_interval > 1 and self.updates % self._target_interval == 0:
            self.move_target()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Weights, targets, optimisers, normaliser, random state and update counter."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        return {**state, "generator": self.generator.get_state(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`.

        A state of another kind of device brings everything but the random state: generators of CPU and GPU do not
        understand each other.
        """
        missing = sorted(set(self.parts) - set(state))
        if missing:
            raise CheckpointError(
                f"the saved agent lacks {', '.join(missing)}: it was saved by another version of zoomrl, which can "
                "still load it. Start a new run with this one."
            )
        for name, part in self.parts.items():
            # An optimiser would keep the very tensors it is given.
            part.load_state_dict(copy.deepcopy(state[name]))
            if isinstance(part, torch.optim.Optimizer):
                for group in part.param_groups:
                    group["capturable"] = self.device.type == "cuda"
        # And it puts new tensors in the place of its own, which a recorded step would not see.
        self.forget()
        generator = state["generator"].cpu()
        if len(generator) == len(self.generator.get_state()):
            self.generator.set_state(generator)
        self.updates = state["updates"]


def draw_both_shifts(perception: Perception, batch: int, generator: torch.Generator) -> Draws:
    """Shifts of the pictures of ``obs`` and ``next_obs``, drawn apart; nothing where nothing is shifted."""
    drawn = {name: perception.draw(batch, generator) for name in ("shifts", "next_shifts")}
    return {name: shifts for name, shifts in drawn.items() if shifts is not None}


def make_optimizer(kind: str, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Fused ``adam`` or ``adamw``; on a GPU ready for capture in a graph."""
    capturable = bool(parameters) and parameters[0].is_cuda
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=lr, fused=True, capturable=capturable)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True, capturable=capturable)


def move_towards(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Exponential moving average of parameters: ``target += tau * (online - target)``."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)


def batch_metrics(batch: Mapping[str, Any]) -> Metrics:
    """What every agent reports of its batch."""
    return {"batch_return": batch["reward"].mean(), "demo_share": batch["is_demo"].to(torch.float32).mean()}
