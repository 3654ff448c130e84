"""An agent in one file: DDPG (Lillicrap et al. 2016) with residual networks of its own.

Axes: B batch, A action dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Learner, Noise, Tensors
from zoomrl.agents.metrics import batch_metrics, q_metrics
from zoomrl.agents.optimization import frozen, make_optimizer, optimizer_step, polyak_update
from zoomrl.ranges import at_least


@dataclass(frozen=True)
class DDPGConfig(AgentConfig):
    """Deep deterministic policy gradient, on states."""

    name: ClassVar[str] = "ddpg"
    learner: ClassVar[str] = "zoomrl_example.ddpg:DDPG"

    width: int = 128
    """Width of the networks."""
    blocks: int = 1
    """Residual blocks of each network."""
    lr: float = 1e-3
    """Learning rate of actor and critic (Adam)."""
    target_tau: float = 0.01
    """Step of the target networks towards the online ones."""

    def __post_init__(self) -> None:
        at_least(self, "agent.", width=1, blocks=0)


class Block(nn.Module):
    """``x + f(x)`` with one hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def network(inputs: int, outputs: int, config: DDPGConfig) -> nn.Sequential:
    """[B, inputs] to [B, outputs]."""
    blocks = [Block(config.width) for _ in range(config.blocks)]
    return nn.Sequential(nn.Linear(inputs, config.width), *blocks, nn.SiLU(), nn.Linear(config.width, outputs))


class DDPG(Learner):
    """One critic and one actor, each with a target."""

    config: DDPGConfig
    losses = ("critic_loss", "actor_loss")

    def _build(self) -> None:
        size, config = self.perception.sizes["state"], self.config
        self.actor = network(size, self.action_dim, config).to(self.device)
        self.critic = network(size + self.action_dim, 1, config).to(self.device)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = make_optimizer("adam", [*self.actor.parameters()], config.lr, 0.0)
        self.critic_optimizer = make_optimizer("adam", [*self.critic.parameters()], config.lr, 0.0)

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        names = ("actor", "critic", "target_actor", "target_critic", "actor_optimizer", "critic_optimizer")
        return {name: getattr(self, name) for name in names}

    def autocast_modules(self) -> list[nn.Module]:
        """What may run in bfloat16."""
        return [self.actor, self.critic, self.target_actor, self.target_critic]

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """The actor's actions [N, 1, A], and the critic's value of them [N]."""
        state = self.perception(observation)["state"]
        actions = torch.tanh(self.actor(state))
        return {"actions": actions[:, None], "value": self._q(self.critic, state, actions)}

    def sample_noise(self, batch: int) -> Noise:
        """Nothing: neither loss is random."""
        return {}

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """A step of the critic, one of the actor, and one of the targets."""
        critic_loss, metrics = self.critic_loss(batch)
        optimizer_step(self.critic_optimizer, critic_loss)
        with frozen(self.critic):
            actor_loss = self.actor_loss(batch)
            optimizer_step(self.actor_optimizer, actor_loss)
        polyak_update(self.target_actor, self.actor, self.config.target_tau)
        polyak_update(self.target_critic, self.critic, self.config.target_tau)
        return {
            "loss": (critic_loss + actor_loss).detach(),
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            **metrics,
            **batch_metrics(batch),
        }

    def critic_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, Metrics]:
        """``(Q(s, a) - (R + discount * Q'(s', mu'(s'))))^2``."""
        with torch.no_grad():
            after = self.perception(batch["next_obs"])["state"]
            bootstrap = self._q(self.target_critic, after, torch.tanh(self.target_actor(after)))
            target = batch["reward"] + batch["discount"] * bootstrap
        values = self._q(self.critic, self.perception(batch["obs"])["state"], batch["actions"][:, 0])
        return ((values - target) ** 2).mean(), q_metrics(values, batch)

    def actor_loss(self, batch: Mapping[str, Any]) -> Tensor:
        """``-Q(s, mu(s))``."""
        state = self.perception(batch["obs"])["state"]
        return -self._q(self.critic, state, torch.tanh(self.actor(state))).mean()

    def _q(self, critic: nn.Module, state: Tensor, actions: Tensor) -> Tensor:
        values: Tensor = critic(torch.cat([state, actions], -1))[:, 0]
        return values
