"""SAC: a stochastic policy that maximises value and entropy.

Paper: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), with automatic temperature.
Axes: B batch, A action dimension, M critic (two).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.base import (
    CPU,
    Draws,
    Learner,
    Metrics,
    Tensors,
    batch_metrics,
    draw_both_shifts,
    make_optimizer,
    make_perception,
    move_towards,
    q_metrics,
)
from zoomrl.agents.config import SACConfig
from zoomrl.errors import ConfigError
from zoomrl.nets.mlp import Ensemble, mlp
from zoomrl.nets.perception import ObservationShape, Statistics
from zoomrl.nets.stochastic import SquashedGaussian, Temperature
from zoomrl.nets.trunk import Trunk


class SAC(Learner):
    """Squashed Gaussian policy, twin critics, no target actor; the temperature holds the entropy at its target.

    Pictures are encoded for the critics, whose loss trains the encoder, as in DrQ-v2.

    Args:
        config: hyper-parameters.
        shape: of the (stacked) observations.
        action_dim: action dimensions A.
        seed: of the weights and of everything random while learning.
        statistics: mean and standard deviation [S] of the demonstrations, for ``normalize="demos"``.
        device: where it learns.

    Raises:
        ConfigError: no policy in [-1, 1] has the target entropy.
    """

    losses = ("critic_loss", "actor_loss")
    horizon = 1

    def __init__(
        self,
        config: SACConfig,
        shape: ObservationShape,
        action_dim: int,
        seed: int = 0,
        statistics: Statistics | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(seed, device, target_interval=1)
        self.config = config
        self.action_dim = action_dim
        self.target_entropy = _target_entropy(config, action_dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.perception, self.representation_optimizer = make_perception(
                config, shape, action_dim, statistics, device
            )
            self.trunk = Trunk(self.perception.sizes, image_dim=config.encoder.feature_dim, state_dim=0, bias=True).to(
                device
            )
            size = self.trunk.out_dim
            policy = self._network(size, 2 * action_dim)
            self.actor = SquashedGaussian(policy, config.log_std_min, config.log_std_max).to(device)
            self.critic = Ensemble([self._network(size + action_dim, 1) for _ in range(2)]).to(device)
        self.temperature = Temperature(config.temperature, config.learn_temperature).to(device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learnt = [*self.perception.learnt(), *self.trunk.parameters(), *self.critic.parameters()]
        self.critic_optimizer = make_optimizer("adam", learnt, config.lr, 0.0)
        self.actor_optimizer = make_optimizer("adam", list(self.actor.parameters()), config.lr, 0.0)
        self.temperature_optimizer: torch.optim.Optimizer | None = None
        if config.learn_temperature:
            self.temperature_optimizer = make_optimizer("adam", list(self.temperature.parameters()), config.lr, 0.0)

    def _network(self, size: int, outputs: int) -> nn.Sequential:
        config = self.config
        return mlp(size, config.hidden, outputs, norm=config.norm, activation=config.activation)

    @property
    def own_parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "trunk": self.trunk,
            "actor": self.actor,
            "critic": self.critic,
            "target_critic": self.target_critic,
            "temperature": self.temperature,
            "critic_optimizer": self.critic_optimizer,
            "actor_optimizer": self.actor_optimizer,
        }
        if self.temperature_optimizer is not None:
            parts["temperature_optimizer"] = self.temperature_optimizer
        return parts

    def bulk(self) -> list[nn.Module]:
        """Everything that is a product of matrices, but for the policy's last layer."""
        critics = [*self.critic.networks, *self.target_critic.networks]
        return [*self.perception.networks(), self.trunk, *self.actor.bulk(), *critics]

    def draw_plan(self, count: int, generator: torch.Generator, explore: bool) -> Draws:
        """Noise [N, A] that selects actions of the policy while training; nothing for its mode."""
        if not explore:
            return {}
        return {"policy_noise": torch.randn(count, self.action_dim, generator=generator, device=generator.device)}

    def plan(self, observation: Mapping[str, Tensor], draws: Draws) -> Tensors:
        """An action of the policy where noise was drawn, else the squashed mean; the smaller value for it."""
        features = self.trunk(self.perception(observation))
        if "policy_noise" in draws:
            actions, _ = self.actor.sample(features, draws["policy_noise"])
        else:
            actions = torch.tanh(self.actor(features)[0])
        return {"actions": actions[:, None], "value": self._smaller(self.critic, features, actions)}

    def draw(self, batch: int) -> Draws:
        """Noise that selects the target's and the actor's actions, shifts of the pictures."""
        size = (batch, self.action_dim)
        names = ("next_noise", "actor_noise")
        draws = {name: torch.randn(size, generator=self.generator, device=self.device) for name in names}
        return {**draws, **draw_both_shifts(self.perception, batch, self.generator)}

    def learn(self, batch: Mapping[str, Any], draws: Draws) -> Metrics:
        """One step of the critics, one of the actor, one of the temperature.

        Args:
            batch: ``obs`` and ``next_obs``, ``actions`` [B, 1, A] in [-1, 1], ``reward`` [B] (n-step return),
                ``discount`` [B], ``is_demo`` [B].
            draws: of :meth:`draw`.
        """
        loss, features, metrics = self.critic_loss(batch, draws)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        # Gradients of the critics' weights would be thrown away.
        self.critic.requires_grad_(False)
        actor_loss, more = self.actor_loss(features, draws)
        self.actor_optimizer.zero_grad(set_to_none=True)
        actor_loss.backward()
        self.actor_optimizer.step()
        self.critic.requires_grad_(True)
        metrics |= {"loss": (loss + actor_loss).detach(), **more, **batch_metrics(batch)}
        if self.temperature_optimizer is not None:
            temperature_loss = self.temperature() * (more["entropy"] - self.target_entropy)
            self.temperature_optimizer.zero_grad(set_to_none=True)
            temperature_loss.backward()
            self.temperature_optimizer.step()
            metrics["temperature_loss"] = temperature_loss.detach()
            metrics["loss"] = metrics["loss"] + temperature_loss.detach()
        return metrics

    def critic_loss(self, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Tensor, Metrics]:
        """Squared errors, summed over the critics; the features without gradient; what to report."""
        target = self._target(batch, draws)
        features = self.trunk(self.perception(batch["obs"], draws.get("shifts")))
        values = self.critic(torch.cat([features, batch["actions"][:, 0]], -1))[..., 0]
        loss = ((values - target) ** 2).mean(1).sum()
        metrics = {"critic_loss": loss.detach(), "q_target": target.mean(), **q_metrics(values, batch)}
        return loss, features.detach(), metrics

    def actor_loss(self, features: Tensor, draws: Draws) -> tuple[Tensor, Metrics]:
        """``mean(alpha log pi(a|s) - min_k Q_k(s, a))`` of the policy's own actions."""
        actions, log_density = self.actor.sample(features, draws["actor_noise"])
        temperature = self.temperature().detach()
        loss = (temperature * log_density - self._smaller(self.critic, features, actions)).mean()
        entropy = -log_density.detach().mean()
        return loss, {"actor_loss": loss.detach(), "entropy": entropy, "temperature": temperature.clone()}

    def move_target(self) -> None:
        """Move the target critics."""
        move_towards(self.target_critic, self.critic, self.config.target_tau)

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], draws: Draws) -> Tensor:
        """``r + discount * (min_k Q'_k(s', a') - alpha log pi(a'|s'))`` with an action of the policy: [B]."""
        features = self.trunk(self.perception(batch["next_obs"], draws.get("next_shifts")))
        actions, log_density = self.actor.sample(features, draws["next_noise"])
        value = self._smaller(self.target_critic, features, actions) - self.temperature() * log_density
        return batch["reward"] + batch["discount"] * value

    def _smaller(self, critic: nn.Module, features: Tensor, actions: Tensor) -> Tensor:
        """The smaller value of the two critics: [B]."""
        values: Tensor = critic(torch.cat([features, actions], -1))
        return values[..., 0].amin(0)


def _target_entropy(config: SACConfig, action_dim: int) -> float:
    """The configured target entropy, or minus the number of action dimensions."""
    if config.target_entropy is None:
        return -float(action_dim)
    highest = action_dim * math.log(2)
    if config.learn_temperature and not config.target_entropy < highest:
        raise ConfigError(
            f"agent.target_entropy is {config.target_entropy}, and the entropy of {action_dim} actions in [-1, 1] "
            f"stays below {highest:.3f}: the temperature would grow without end"
        )
    return config.target_entropy
