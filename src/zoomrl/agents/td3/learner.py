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
from zoomrl.agents.configs import TD3Config
from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Draws, Tensors, draw_both_shifts
from zoomrl.agents.metrics import batch_metrics
from zoomrl.agents.optimization import descend, held, make_optimizer, move_towards
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
    def own_parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        actors = {"actor": self.actor, "target_actor": self.target_actor}
        return {**super().own_parts, **actors, "actor_optimizer": self.actor_optimizer}

    def bulk(self) -> list[nn.Module]:
        """Everything that is a product of matrices."""
        return [*super().bulk(), self.actor, self.target_actor]

    def plan(self, observation: Mapping[str, Tensor], draws: Draws) -> Tensors:
        """The actor's action, and the smallest of the critics' values for it."""
        features = self.trunk(self.perception(observation))
        actions = self.only_movable(torch.tanh(self.actor(features)))
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
        descend(self.critic_optimizer, loss)
        metrics = {"loss": loss.detach(), **metrics, **batch_metrics(batch)}
        actors_turn = "actor_subset" in draws
        if actors_turn or not self.config.delayed_targets:
            move_towards(self.target_critic, self.critic, self.config.target_tau)
        if actors_turn:
            with held(self.critic):
                actor_loss, more = self.actor_loss(features, batch, draws)
                descend(self.actor_optimizer, actor_loss)
            move_towards(self.target_actor, self.actor, self.config.target_tau)
            metrics |= {"loss": metrics["loss"] + actor_loss.detach(), **more}
        return metrics

    def actor_loss(self, features: Tensor, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
        """Minus the value of the actor's actions, and behaviour cloning of demonstrated ones."""
        actions = self.only_movable(torch.tanh(self.actor(features)))
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

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], draws: Draws) -> Tensor:
        """``r + discount * min_k Q_k(s', clip(mu(s') + clipped noise))`` over the drawn subset: [B]."""
        config = self.config
        features = self.trunk(self.perception(batch["next_obs"], draws.get("next_shifts")))
        noise = (draws["target_noise"] * config.target_noise).clamp(-config.noise_clip, config.noise_clip)
        actions = self.only_movable((torch.tanh(self.target_actor(features)) + noise).clamp(-1, 1))
        joined = torch.cat([features, actions], -1)
        whole = config.subset == config.critics
        values = self.target_critic(joined) if whole else self.target_critic.some(joined, draws["target_subset"])
        return batch["reward"] + batch["discount"] * values[..., 0].amin(0)
