"""SAC: a stochastic policy that maximises value and entropy.

Paper: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), with automatic temperature.
Axes: B batch, A action dimension, M critic (two).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.actor_critic import ActorCritic
from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Noise, Tensors, sample_shifts
from zoomrl.agents.metrics import batch_metrics
from zoomrl.agents.optimization import frozen, make_optimizer, optimizer_step, polyak_update
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.sac.networks import SquashedGaussian, Temperature
from zoomrl.errors import ConfigError


class SAC(ActorCritic):
    """Squashed Gaussian policy, twin critics, no target actor; the temperature holds the entropy at its target.

    Raises:
        ConfigError: no policy in [-1, 1] has the target entropy.
    """

    config: SACConfig
    target_interval = 1

    def _build(self) -> None:
        config, device = self.config, self.device
        moved = self.action_dim if self.movable is None else int(self.movable.sum())
        self.target_entropy = _target_entropy(config, moved)
        self._build_critics(2)
        policy = self._network(self.trunk.out_dim, 2 * self.action_dim)
        self.actor = SquashedGaussian(policy, config.log_std_min, config.log_std_max).to(device)
        self.temperature = Temperature(config.temperature, config.learn_temperature).to(device)
        self.actor_optimizer = make_optimizer("adam", list(self.actor.parameters()), config.lr, 0.0)
        self.temperature_optimizer: torch.optim.Optimizer | None = None
        if config.learn_temperature:
            self.temperature_optimizer = make_optimizer("adam", list(self.temperature.parameters()), config.lr, 0.0)

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        networks = {"actor": self.actor, "temperature": self.temperature}
        parts = {**super().components, **networks, "actor_optimizer": self.actor_optimizer}
        if self.temperature_optimizer is not None:
            parts["temperature_optimizer"] = self.temperature_optimizer
        return parts

    def autocast_modules(self) -> list[nn.Module]:
        """Everything that is a product of matrices, but for the policy's last layer."""
        return [*super().autocast_modules(), *self.actor.autocast_modules()]

    def sample_acting_noise(self, count: int, generator: torch.Generator, explore: bool) -> Noise:
        """Noise [N, A] that selects actions of the policy while training; nothing for its mode."""
        if not explore:
            return {}
        return {"policy_noise": torch.randn(count, self.action_dim, generator=generator, device=generator.device)}

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """An action of the policy where noise was sampled, else the squashed mean; the smaller value for it."""
        features = self.trunk(self.perception(observation))
        if "policy_noise" in noise:
            actions, _ = self.actor.sample(features, noise["policy_noise"], self.movable)
        else:
            actions = self.only_movable(torch.tanh(self.actor(features)[0]))
        return {"actions": actions[:, None], "value": self._smaller(self.critic, features, actions)}

    def sample_noise(self, batch: int) -> Noise:
        """Noise that selects the target's and the actor's actions, shifts of the images."""
        size = (batch, self.action_dim)
        names = ("next_noise", "actor_noise")
        noise = {name: torch.randn(size, generator=self.generator, device=self.device) for name in names}
        return {**noise, **sample_shifts(self.perception, batch, self.generator)}

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step of the critics, one of the actor, one of the temperature.

        Args:
            batch: ``obs`` and ``next_obs``, ``actions`` [B, 1, A] in [-1, 1], ``reward`` [B] (n-step return),
                ``discount`` [B], ``is_demo`` [B].
            noise: of :meth:`sample_noise`.
        """
        loss, features, metrics = self.critic_loss(batch, noise)
        optimizer_step(self.critic_optimizer, loss)
        with frozen(self.critic):
            actor_loss, more = self.actor_loss(features, noise)
            optimizer_step(self.actor_optimizer, actor_loss)
        metrics |= {"loss": (loss + actor_loss).detach(), **more, **batch_metrics(batch)}
        if self.temperature_optimizer is not None:
            temperature_loss = self.temperature() * (more["entropy"] - self.target_entropy)
            optimizer_step(self.temperature_optimizer, temperature_loss)
            metrics["temperature_loss"] = temperature_loss.detach()
            metrics["loss"] = metrics["loss"] + temperature_loss.detach()
        return metrics

    def actor_loss(self, features: Tensor, noise: Noise) -> tuple[Tensor, Metrics]:
        """``mean(alpha log pi(a|s) - min_k Q_k(s, a))`` of the policy's own actions."""
        actions, log_density = self.actor.sample(features, noise["actor_noise"], self.movable)
        temperature = self.temperature().detach()
        loss = (temperature * log_density - self._smaller(self.critic, features, actions)).mean()
        entropy = -log_density.detach().mean()
        return loss, {"actor_loss": loss.detach(), "entropy": entropy, "temperature": temperature.clone()}

    def update_target(self) -> None:
        """Move the target critics."""
        polyak_update(self.target_critic, self.critic, self.config.target_tau)

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], noise: Noise) -> Tensor:
        """``r + discount * (min_k Q'_k(s', a') - alpha log pi(a'|s'))`` with an action of the policy: [B]."""
        features = self.trunk(self.perception(batch["next_obs"], noise.get("next_shifts")))
        actions, log_density = self.actor.sample(features, noise["next_noise"], self.movable)
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
