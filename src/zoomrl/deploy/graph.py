"""What an agent does with one observation, as a closed function of tensors that ONNX can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.agents.learner import Learner
from zoomrl.control.config import ControlConfig
from zoomrl.control.scaling import ActionScaler
from zoomrl.errors import ZoomrlError
from zoomrl.spec import EnvSpec


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        shape: with the leading axis of one environment, where it has one.
        dtype: as NumPy names it.
        about: what it is.
        noise: of an input that is not observed, what to sample it from: ``normal`` (the standard normal distribution)
            or ``integers``; empty otherwise.
        below: of ``integers``: they are 0 to ``below`` - 1.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    about: str
    noise: str = ""
    below: int = 0


class ActingGraph(nn.Module):
    """Stacked observations of one environment to an action chunk in its units.

    Scaling of the state, networks, zooms and the range of the actions are inside; the stack of observations, the
    executor and the clip to the environment's bounds are not.

    Args:
        agent: with trained weights, on the CPU.
        spec: of the environment.
        scaler: of its actions.
        frame_stack: observations that are stacked.
    """

    middle: Tensor
    """[A], centre of the range of each action dimension."""
    reach: Tensor
    """[A], half of its width; 0 in dimensions that cannot be moved."""

    def __init__(self, agent: Learner, spec: EnvSpec, scaler: ActionScaler, frame_stack: int) -> None:
        super().__init__()
        self.agent = agent
        for name, part in agent.parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
        self.register_buffer("middle", torch.from_numpy((scaler.low + scaler.high) / 2), persistent=False)
        self.register_buffer("reach", torch.from_numpy((scaler.high - scaler.low) / 2), persistent=False)
        self._observed = _observed(spec, frame_stack)
        example = self.examples(self._observed)
        generator = torch.Generator().manual_seed(0)
        # One action settles which of its policies an agent acts with; TD7 keeps two.
        first = agent.act(dict(zip(self.observed, example, strict=True)), generator)
        self._noise = _noise(agent, agent.sample_acting_noise(1, generator, False))
        chunk = Port("actions", (1, agent.chunk_length, agent.action_dim), "float32", _CHUNK)
        self.outputs = [chunk]
        if first.value is not None:
            self.outputs.append(Port("value", (1,), "float32", "discounted return that the agent predicts"))

    @property
    def observed(self) -> list[str]:
        """Names of the observations."""
        return [port.name for port in self._observed]

    @property
    def inputs(self) -> list[Port]:
        """What :meth:`forward` takes, in its order."""
        return [*self._observed, *self._noise]

    @staticmethod
    def examples(ports: Sequence[Port]) -> tuple[Tensor, ...]:
        """A tensor of zeros for each port."""
        return tuple(torch.from_numpy(np.zeros(port.shape, port.dtype)) for port in ports)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The chunk [1, T, A] and, of agents with values, its value [1]."""
        named = dict(zip([port.name for port in self.inputs], inputs, strict=True))
        noise = {port.name: named[port.name] for port in self._noise}
        found = self.agent.propose({name: named[name] for name in self.observed}, noise)
        actions = self.middle + self.reach * found["actions"]
        return (actions, found["value"]) if len(self.outputs) > 1 else (actions,)


class StepGraph(nn.Module):
    """The same with the temporal ensemble inside: from an observation to the action that is executed.

    Chunks of the last T steps come in and go out as a ring, so that a program in any language, or a browser, needs no
    executor of its own: ``ring`` and ``filled`` are zero when an episode begins, and what came out goes in next.

    Args:
        chunks: makes the chunks.
        control: options of the ensemble.
        spec: whose bounds actions are clipped to.
    """

    log_weight: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, chunks: ActingGraph, control: ControlConfig, spec: EnvSpec) -> None:
        super().__init__()
        self.chunks = chunks
        _, length, size = chunks.outputs[0].shape
        age = torch.arange(length)
        rank = length - 1 - age if control.ensemble_favours == "oldest" else age
        self.register_buffer("log_weight", -control.ensemble_gain * rank.float(), persistent=False)
        self.register_buffer("low", torch.tensor(spec.action.low, dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.tensor(spec.action.high, dtype=torch.float32), persistent=False)
        ring = "chunks of the last T steps, the newest first; zero when an episode begins"
        filled = "1 for each of them that was made in this episode, else 0; zero when it begins"
        state = [Port("ring", (length, length, size), "float32", ring), Port("filled", (length,), "float32", filled)]
        self.inputs = [*chunks.inputs, *state]
        self.outputs = [Port("action", (size,), "float32", "in the environment's units, within its bounds")]
        self.outputs += [Port(f"next_{port.name}", port.shape, port.dtype, port.about) for port in state]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The action [A], and the ring and its marks to hand in at the next step."""
        *observed, ring, filled = inputs
        chunk = self.chunks(*observed)[0]
        ring = torch.cat([chunk, ring[:-1]])
        filled = torch.cat([torch.ones_like(filled[:1]), filled[:-1]])
        # The chunk of age k holds the action for now in its row k.
        age = torch.arange(len(self.log_weight))
        weight = torch.softmax(self.log_weight + (1 - filled) * -1e9, 0)
        action = (weight[:, None] * ring[age, age]).sum(0)
        return torch.minimum(torch.maximum(action, self.low), self.high), ring, filled


_TIES = "the bin to take, of each level, step and dimension, where the values of all bins are tied: any of 0 .. K - 1"
_STARTS = "noise that the chunks begin from which the policy proposes, new for each call"
_PICKS = "which of the candidates to take"
_CHUNK = "action chunk in the environment's units, before the clip to its bounds"


def _noise(agent: Learner, sampled: Mapping[str, Tensor]) -> list[Port]:
    """Inputs for the noise that the agent acts with where it does not explore, of which ``sampled`` is an example."""
    config = agent.config
    if not isinstance(config, CQNConfig):
        if sampled:
            raise ZoomrlError(
                f"{config.name} acts with noise of its own ({', '.join(sorted(sampled))}) even where it does not "
                "explore, which a bundle cannot sample"
            )
        return []
    candidates = config.proposals.count + config.proposals.greedy
    kinds = {
        "ties": ("int64", _TIES, "integers", config.bins),
        "starts": ("float32", _STARTS, "normal", 0),
        "picks": ("int64", _PICKS, "integers", candidates),
    }
    return [Port(name, tuple(tensor.shape), *kinds[name]) for name, tensor in sampled.items()]


def _observed(spec: EnvSpec, stack: int) -> list[Port]:
    """Observations in the order of the spec, stacked."""
    ports = []
    for name, array in spec.observations.items():
        if name == "state":
            ports.append(Port(name, (1, stack * array.shape[0]), "float32", "stacked, the oldest first"))
        else:
            ports.append(Port(name, (1, stack, *array.shape), array.dtype, "stacked, the oldest first"))
    return ports


def feed(ports: Sequence[Port], arrays: Mapping[str, np.ndarray]) -> tuple[Tensor, ...]:
    """``arrays`` in the order of the ports, as tensors."""
    return tuple(torch.from_numpy(np.ascontiguousarray(arrays[port.name])) for port in ports)
