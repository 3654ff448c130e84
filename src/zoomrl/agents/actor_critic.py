"""What TD3 and SAC have in common: an ensemble of critics on a trunk, and an actor that reads what they read.

Images are encoded for the critics, whose loss trains the encoder, as in DrQ-v2; the actor reads the features without
gradient. Axes: B batch, A action dimension, M critic.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Learner, Noise
from zoomrl.agents.metrics import q_metrics
from zoomrl.agents.optimization import make_optimizer
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.td3.config import TD3Config
from zoomrl.nets.mlp import Ensemble, mlp
from zoomrl.nets.trunk import image_trunk


class ActorCritic(Learner):
    """Trunk, critics, their targets and optimizer. A subclass has the actor and the rule of learning."""

    config: TD3Config | SACConfig
    losses = ("critic_loss", "actor_loss")

    def _build_critics(self, count: int) -> None:
        config, device = self.config, self.device
        self.trunk = image_trunk(self.perception.sizes, config.encoder).to(device)
        critics = [self._network(self.trunk.out_dim + self.action_dim, 1) for _ in range(count)]
        self.critic = Ensemble(critics).to(device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learnt = [*self.perception.learnt(), *self.trunk.parameters(), *self.critic.parameters()]
        self.critic_optimizer = make_optimizer("adam", learnt, config.lr, 0.0)

    def _network(self, size: int, outputs: int) -> nn.Sequential:
        config = self.config
        return mlp(size, config.hidden, outputs, norm=config.norm, activation=config.activation, init=config.init)

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {
            "trunk": self.trunk,
            "critic": self.critic,
            "target_critic": self.target_critic,
            "critic_optimizer": self.critic_optimizer,
        }

    def autocast_modules(self) -> list[nn.Module]:
        """Everything before the actor, and the critics."""
        critics = [*self.critic.networks, *self.target_critic.networks]
        return [*self.perception.networks(), self.trunk, *critics]

    def critic_loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Tensor, Metrics]:
        """Squared errors, summed over the critics; the features without gradient; what to report."""
        target = self._target(batch, noise)
        features = self.trunk(self.perception(batch["obs"], noise.get("shifts")))
        values = self.critic(torch.cat([features, batch["actions"][:, 0]], -1))[..., 0]
        loss = ((values - target) ** 2).mean(1).sum()
        metrics = {"critic_loss": loss.detach(), "q_target": target.mean(), **q_metrics(values, batch)}
        return loss, features.detach(), metrics

    @abstractmethod
    def _target(self, batch: Mapping[str, Any], noise: Noise) -> Tensor:
        """What the critics learn: [B], without gradient."""
