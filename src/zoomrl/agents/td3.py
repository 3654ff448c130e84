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
from zoomrl.agents.config import TD3Config
from zoomrl.math.losses import masked_mean
from zoomrl.nets.mlp import Ensemble, mlp
from zoomrl.nets.perception import ObservationShape, Statistics
from zoomrl.nets.trunk import Trunk


class TD3(Learner):
    """Deterministic actor, an ensemble of critics, smoothed targets; the actor moves at every second update.

    Pictures are encoded for the critics, whose loss trains the encoder, as in DrQ-v2.

    Args:
        config: hyper-parameters; a representation makes it iQRL.
        shape: of the (stacked) observations.
        action_dim: action dimensions A.
        seed: of the weights and of everything random while learning.
        statistics: mean and standard deviation [S] of the demonstrations, for ``normalize="demos"``.
        device: where it learns.
    """

    losses = ("critic_loss", "actor_loss")
    horizon = 1

    def __init__(
        self,
        config: TD3Config,
        shape: ObservationShape,
        action_dim: int,
        seed: int = 0,
        statistics: Statistics | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(seed, device, target_interval=0)
        self.config = config
        self.action_dim = action_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.perception, self.representation_optimizer = make_perception(
                config, shape, action_dim, statistics, device
            )
            self.trunk = Trunk(self.perception.sizes, image_dim=config.encoder.feature_dim, state_dim=0, bias=True).to(
                device
            )
            self.actor = self._network(self.trunk.out_dim, action_dim).to(device)
            critics = [self._network(self.trunk.out_dim + action_dim, 1) for _ in range(config.critics)]
            self.critic = Ensemble(critics).to(device)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learnt = [*self.perception.learnt(), *self.trunk.parameters(), *self.critic.parameters()]
        self.critic_optimizer = make_optimizer("adam", learnt, config.lr, 0.0)
        self.actor_optimizer = make_optimizer("adam", list(self.actor.parameters()), config.lr, 0.0)

    def _network(self, size: int, outputs: int) -> nn.Sequential:
        config = self.config
        return mlp(size, config.hidden, outputs, norm=config.norm, activation=config.activation)

    @property
    def own_parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {
            "trunk": self.trunk,
            "actor": self.actor,
            "critic": self.critic,
            "target_actor": self.target_actor,
            "target_critic": self.target_critic,
            "critic_optimizer": self.critic_optimizer,
            "actor_optimizer": self.actor_optimizer,
        }

    def bulk(self) -> list[nn.Module]:
        """Everything that is a product of matrices."""
        networks = [self.actor, self.target_actor, *self.critic.networks, *self.target_critic.networks]
        return [*self.perception.networks(), self.trunk, *networks]

    def plan(self, observation: Mapping[str, Tensor], draws: Draws) -> Tensors:
        """The actor's action, and the smallest of the critics' values for it."""
        features = self.trunk(self.perception(observation))
        actions = torch.tanh(self.actor(features))
        value = self.critic(torch.cat([features, actions], -1))[..., 0].amin(0)
        return {"actions": actions[:, None], "value": value}

    def draw(self, batch: int) -> Draws:
        """Noise of the target's action, subsets of critics, shifts of the pictures.

        The subset for the actor is drawn only when it is the actor's turn: by its presence :meth:`learn` knows.
        """
        config = self.config
        size = (batch, self.action_dim)
        draws = {
            "target_noise": torch.randn(size, generator=self.generator, device=self.device),
            "target_subset": self._draw_subset(),
            **draw_both_shifts(self.perception, batch, self.generator),
        }
        if (self.updates + 1) % config.policy_delay == 0:
            draws["actor_subset"] = self._draw_subset()
        return draws

    def _draw_subset(self) -> Tensor:
        order = torch.randperm(self.config.critics, generator=self.generator, device=self.device)
        return order[: self.config.subset]

    def learn(self, batch: Mapping[str, Any], draws: Draws) -> Metrics:
        """One step of the critics and, at the actor's turn, one of the actor.

        Args:
            batch: ``obs`` and ``next_obs``, ``actions`` [B, 1, A] in [-1, 1], ``reward`` [B] (n-step return),
                ``discount`` [B], ``is_demo`` [B].
            draws: of :meth:`draw`.
        """
        loss, features, metrics = self.critic_loss(batch, draws)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        metrics = {"loss": loss.detach(), **metrics, **batch_metrics(batch)}
        actors_turn = "actor_subset" in draws
        if actors_turn or not self.config.delayed_targets:
            move_towards(self.target_critic, self.critic, self.config.target_tau)
        if actors_turn:
            # Gradients of the critics' weights would be thrown away.
            self.critic.requires_grad_(False)
            actor_loss, more = self.actor_loss(features, batch, draws)
            self.actor_optimizer.zero_grad(set_to_none=True)
            actor_loss.backward()
            self.actor_optimizer.step()
            self.critic.requires_grad_(True)
            move_towards(self.target_actor, self.actor, self.config.target_tau)
            metrics |= {"loss": metrics["loss"] + actor_loss.detach(), **more}
        return metrics

    def critic_loss(self, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Tensor, Metrics]:
        """Squared errors, summed over the critics; the features without gradient; what to report."""
        features = self.trunk(self.perception(batch["obs"], draws.get("shifts")))
        target = self._target(batch, draws)
        values = self.critic(torch.cat([features, batch["actions"][:, 0]], -1))[..., 0]
        loss = ((values - target) ** 2).mean(1).sum()
        metrics = {"critic_loss": loss.detach(), "q_target": target.mean(), **q_metrics(values, batch)}
        return loss, features.detach(), metrics

    def actor_loss(self, features: Tensor, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
        """Minus the value of the actor's actions, and behaviour cloning of demonstrated ones."""
        actions = torch.tanh(self.actor(features))
        joined = torch.cat([features, actions], -1)
        if self.config.actor_value == "first":
            value = self.critic.networks[0](joined)[:, 0]
        else:
            values = self.critic.some(joined, draws["actor_subset"])[..., 0]
            value = values.amin(0) if self.config.actor_value == "min" else values.mean(0)
        loss = -value.mean()
        metrics = {"actor_loss": loss.detach()}
        if self.config.bc_lambda <= 0:
            return loss, metrics
        demo = batch["is_demo"].to(torch.float32)
        cloning = masked_mean(((actions - batch["actions"][:, 0]) ** 2).sum(-1), demo)
        return loss + self.config.bc_lambda * cloning, {**metrics, "bc_loss": cloning.detach()}

    def move_target(self) -> None:
        """Nothing: the targets move within :meth:`learn`."""

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], draws: Draws) -> Tensor:
        """``r + discount * min_k Q_k(s', clip(mu(s') + clipped noise))`` over the drawn subset: [B]."""
        config = self.config
        features = self.trunk(self.perception(batch["next_obs"], draws.get("next_shifts")))
        noise = (draws["target_noise"] * config.target_noise).clamp(-config.noise_clip, config.noise_clip)
        actions = (torch.tanh(self.target_actor(features)) + noise).clamp(-1, 1)
        joined = torch.cat([features, actions], -1)
        whole = config.subset == config.critics
        values = self.target_critic(joined) if whole else self.target_critic.some(joined, draws["target_subset"])
        return batch["reward"] + batch["discount"] * values[..., 0].amin(0)
