"""TD3, and with a self-predictive representation iQRL.

Papers: Fujimoto, van Hoof, Meger, "Addressing Function Approximation Error in Actor-Critic Methods" (2018);
Scannell et al., "iQRL: Implicitly Quantized Representations for Sample-efficient Reinforcement Learning" (2024).
Axes: B batch, A action dimension, M critic.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.actor_critic import ActorCritic
from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Noise, Tensors, sample_shifts
from zoomrl.agents.metrics import batch_metrics
from zoomrl.agents.optimization import frozen, make_optimizer, optimizer_step, polyak_update
from zoomrl.agents.td3.config import TD3Config
from zoomrl.math.losses import masked_mean


class TD3(ActorCritic):
    """Deterministic actor, an ensemble of critics, smoothed targets; the actor moves at every second update.

    With a representation it is iQRL.
    """

    config: TD3Config

    def _build(self) -> None:
        self._build_critics(self.config.critics)
        self.actor = self._network(self.trunk.out_dim, self.action_dim).to(self.device)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.actor_optimizer = make_optimizer("adam", list(self.actor.parameters()), self.config.lr, 0.0)

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        actors = {"actor": self.actor, "target_actor": self.target_actor}
        return {**super().components, **actors, "actor_optimizer": self.actor_optimizer}

    def autocast_modules(self) -> list[nn.Module]:
        """Everything that is a matrix multiplication."""
        return [*super().autocast_modules(), self.actor, self.target_actor]

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """The actor's action, and the smallest of the critics' values for it."""
        features = self.trunk(self.perception(observation))
        actions = self.only_movable(torch.tanh(self.actor(features)))
        value = self.critic(torch.cat([features, actions], -1))[..., 0].amin(0)
        return {"actions": actions[:, None], "value": value}

    def sample_noise(self, batch: int) -> Noise:
        """Noise of the target's action, subsets of critics (the actor's only at its turn), shifts of the images."""
        size = (batch, self.action_dim)
        noise = {
            "target_noise": torch.randn(size, generator=self.generator, device=self.device),
            "target_subset": self._sample_subset(),
            **sample_shifts(self.perception, batch, self.generator),
        }
        if self.actors_turn:
            noise["actor_subset"] = self._sample_subset()
        return noise

    def _sample_subset(self) -> Tensor:
        order = torch.randperm(self.config.critics, generator=self.generator, device=self.device)
        return order[: self.config.subset]

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step of the critics and, at the actor's turn, one of the actor.

        Args:
            batch: ``obs`` and ``next_obs``, ``actions`` [B, 1, A] in [-1, 1], ``reward`` [B] (n-step return),
                ``discount`` [B], ``is_demo`` [B].
            noise: of :meth:`sample_noise`.
        """
        loss, features, metrics = self.critic_loss(batch, noise)
        optimizer_step(self.critic_optimizer, loss)
        metrics = {"loss": loss.detach(), **metrics, **batch_metrics(batch)}
        if self.actors_turn or not self.config.delayed_targets:
            polyak_update(self.target_critic, self.critic, self.config.target_tau)
        if self.actors_turn:
            with frozen(self.critic):
                actor_loss, more = self.actor_loss(features, batch, noise)
                optimizer_step(self.actor_optimizer, actor_loss)
            polyak_update(self.target_actor, self.actor, self.config.target_tau)
            metrics |= {"loss": metrics["loss"] + actor_loss.detach(), **more}
        return metrics

    def actor_loss(self, features: Tensor, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Metrics]:
        """Minus the value of the actor's actions, and behaviour cloning of demonstrated ones."""
        actions = self.only_movable(torch.tanh(self.actor(features)))
        joined = torch.cat([features, actions], -1)
        if self.config.actor_value == "first":
            value = self.critic.networks[0](joined)[:, 0]
        else:
            values = self.critic.subset(joined, noise["actor_subset"])[..., 0]
            value = values.amin(0) if self.config.actor_value == "min" else values.mean(0)
        loss = -value.mean()
        metrics = {"actor_loss": loss.detach()}
        if self.config.bc_lambda <= 0:
            return loss, metrics
        demo = batch["is_demo"].to(torch.float32)
        cloning = masked_mean(((actions - batch["actions"][:, 0]) ** 2).sum(-1), demo)
        return loss + self.config.bc_lambda * cloning, {**metrics, "bc_loss": cloning.detach()}

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], noise: Noise) -> Tensor:
        """``r + discount * min_k Q_k(s', clip(mu(s') + clipped noise))`` over the sampled subset: [B]."""
        config = self.config
        features = self.trunk(self.perception(batch["next_obs"], noise.get("next_shifts")))
        smoothing = (noise["target_noise"] * config.target_noise).clamp(-config.noise_clip, config.noise_clip)
        actions = self.only_movable((torch.tanh(self.target_actor(features)) + smoothing).clamp(-1, 1))
        joined = torch.cat([features, actions], -1)
        whole = config.subset == config.critics
        values = self.target_critic(joined) if whole else self.target_critic.subset(joined, noise["target_subset"])
        return batch["reward"] + batch["discount"] * values[..., 0].amin(0)
