"""Agents and batches of the sizes that are timed: the published ones, and those of our presets for a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.learner import Learner
from zoomrl.nets.perception import ObservationShape
from zoomrl.recipes.compose import preset
from zoomrl.training.config import TrainConfig


@dataclass(frozen=True)
class Case:
    """One agent at one size."""

    preset: str
    """Recipe that hyper-parameters, batch and frame stack come from."""
    state: int
    """Length of the state of one frame; 0 for none."""
    action_dim: int
    views: int = 0
    size: int = 84
    divisor: int = 1
    """What ``--scale small`` divides the batch by."""
    env: str | None = None
    """Task whose numbers are taken; None for the preset's own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the recipe, by full name."""

    def config(self) -> TrainConfig:
        """Of the run that makes such updates."""
        return preset(self.preset, env=self.env, **self.options)


CASES = {
    "cqn_as-bigym": Case("cqn_as-bigym", 66, 16, views=3, divisor=32),
    "cqn_as-rlbench": Case("cqn_as-rlbench", 8, 8, views=4, divisor=32),
    "cqn-bigym": Case("cqn-bigym", 66, 16, views=3, divisor=32),
    "cqn-walker": Case("cqn-dmc", 24, 6),
    "cqn_as-humanoid": Case("cqn_as-humanoid", 151, 61, divisor=8),
    "drqv2": Case("drqv2-dmc", 0, 6, views=1, divisor=8),
    "drqv2_plus-bigym": Case("drqv2_plus-bigym", 66, 16, views=3, divisor=32),
    "drqv2_as-bigym": Case("drqv2_as-bigym", 66, 16, views=3, divisor=32),
    "quickstart": Case("quickstart", 39, 4),
    "cqn_as-metaworld-pixels": Case("cqn_as-metaworld-pixels", 4, 4, views=2, size=64),
    "drqv2-dmc-cpu": Case("drqv2-dmc-cpu", 0, 1, views=1, size=64),
    "iqrl-walker": Case("iqrl-dmc", 24, 6),
    "iqrl-dog": Case("iqrl-dmc", 223, 38, divisor=4, env="dmc:dog-walk"),
    "iqrl-dmc-cpu": Case("iqrl-dmc-cpu", 24, 6),
    "td3": Case("td3-dmc", 24, 6),
    "td7": Case("td7-dmc", 24, 6),
    "sac": Case("sac-dmc", 24, 6),
    "tcrl": Case("tcrl-dmc", 24, 6),
    "taco": Case("taco-dmc", 0, 6, views=1, divisor=64),
    "act-metaworld": Case("act-metaworld", 39, 4),
}


def batch_size(case: Case, scale: str) -> int:
    """Samples of one update."""
    full = case.config().replay.batch_size
    return full // case.divisor if scale == "small" else full


def make_agent(case: Case, device: str = "cpu", *, random_heads: bool = False) -> Learner:
    """The agent of ``case``. Statistics of demonstrations change no duration: zeros and ones take their place.

    Args:
        random_heads: draw the critic's output layers, which begin at zero and would leave every choice tied.
    """
    config = case.config()
    stack = config.replay.frame_stack
    shape = ObservationShape(case.state * stack, case.views, stack if case.views else 1, case.size if case.views else 0)
    statistics = (torch.zeros(shape.state), torch.ones(shape.state)) if shape.state else None
    chosen = config.agent
    if isinstance(chosen, CQNConfig) and not shape.state:
        chosen = replace(chosen, normalize="none")
    agent = assemble(chosen, shape, case.action_dim, 0, statistics, torch.device(device))
    if random_heads and isinstance(agent, CQN):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            for head in (agent.critic.advantage, agent.critic.value):
                if head is not None:
                    head.weight.data.copy_(0.1 * torch.randn(head.weight.shape))
        agent.target_critic.load_state_dict(agent.critic.state_dict())
    return agent


def make_batch(case: Case, agent: Learner, size: int, device: str = "cpu") -> TensorDict:
    """A batch of the replay's layout with random contents; half of it demonstrations, where the recipe has any."""
    config, g = case.config(), torch.Generator().manual_seed(0)
    demos = config.demos.source != "none"
    batch = {
        "obs": make_observation(case, size, g),
        "next_obs": make_observation(case, size, g),
        "actions": torch.rand(size, agent.chunk_length, case.action_dim, generator=g) * 2 - 1,
        "valid": torch.ones(size, agent.chunk_length, dtype=torch.bool),
        "reward": (torch.rand(size, generator=g) < 0.1).float(),
        "discount": torch.full((size,), 0.97),
        "is_demo": torch.arange(size) < (size + 1) // 2 if demos else torch.zeros(size, dtype=torch.bool),
    }
    if agent.sequence_length:
        following = make_observation(case, size * agent.sequence_length, g)
        batch["sequence"] = {
            "obs": {name: array.unflatten(0, (size, agent.sequence_length)) for name, array in following.items()},
            "actions": torch.rand(size, agent.sequence_length, case.action_dim, generator=g) * 2 - 1,
            "reward": torch.rand(size, agent.sequence_length, generator=g),
            "discount": torch.full((size, agent.sequence_length), 0.99),
            "valid": torch.ones(size, agent.sequence_length, dtype=torch.bool),
        }
    return TensorDict(batch, [size]).to(device)


def updates_of(case: Case, agent: Learner, batch: TensorDict) -> tuple[Callable[[], None], int]:
    """A function that makes as many updates as it takes for all networks to have moved, and how many these are."""
    rounds = getattr(case.config().agent, "policy_delay", 1)

    def update() -> None:
        for _ in range(rounds):
            agent.update(batch)

    return update, rounds


def make_observation(case: Case, size: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Random stacked observations of ``size`` environments."""
    stack, observation = case.config().replay.frame_stack, {}
    if case.state:
        observation["state"] = torch.randn(size, case.state * stack, generator=generator)
    if case.views:
        shape = (size, stack, case.views, case.size, case.size, 3)
        observation["rgb"] = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return observation


def peer_batch(batch: TensorDict) -> dict[str, Tensor]:
    """The same batch in the layout of the straightforward loop's loader, images still uint8."""

    def nchw(rgb: Tensor) -> Tensor:
        return rgb.permute(0, 2, 1, 5, 3, 4).flatten(2, 3).contiguous()

    names = ("actions", "valid", "reward", "discount", "is_demo")
    return {
        "rgb": nchw(batch["obs", "rgb"]),
        "next_rgb": nchw(batch["next_obs", "rgb"]),
        "state": batch["obs", "state"],
        "next_state": batch["next_obs", "state"],
        **{name: batch[name].float() for name in names},
    }
