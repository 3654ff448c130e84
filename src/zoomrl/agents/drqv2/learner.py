"""DrQ-v2, DrQ-v2+ and DrQ-v2-AS+: deterministic actor, twin critics, random shifts of the images.

Papers: Yarats, Fergus, Lazaric, Pinto, "Mastering Visual Continuous Control: Improved Data-Augmented Reinforcement
Learning" (2021); the plus variants are the baselines of Seo, Uruc, James (2024) and Seo, Abbeel (2024).
Axes: B batch, T sequence step, A action dimension, Z atom. Single actions are the case T = 1 without recurrence.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config
from zoomrl.agents.drqv2.networks import Actor, Body, TwinCritic
from zoomrl.agents.learner import Learner, Noise, Piece, Tensors, network_pieces, sample_shifts
from zoomrl.agents.metrics import batch_metrics, clipped_fractions, value_bounds
from zoomrl.agents.optimization import frozen, make_optimizer, optimizer_step, polyak_update
from zoomrl.agents.steps import valued
from zoomrl.math.categorical import support, two_hot
from zoomrl.math.losses import masked_mean
from zoomrl.nets.latent_actor_critic import LatentActor, LatentTwinCritic
from zoomrl.nets.trunk import Trunk

# Actions are kept off the edge of the tanh by this much.
EDGE = 1e-6


class DrQv2(Learner):
    """Encoder and twin critics learn from the temporal difference; the actor climbs the smaller value."""

    losses = ("critic_loss", "actor_loss")

    config: DrQv2Config

    def _build(self) -> None:
        config = self.config
        self.atoms = support(config.v_min, config.v_max, config.atoms).to(self.device)
        actor, critic = self._networks(config.atoms if config.value == "categorical" else 1)
        self.actor, self.critic = actor.to(self.device), critic.to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        rates = (config.lr, config.weight_decay)
        self.critic_optimizer = make_optimizer(config.optimizer, self._learnt_with_critics(), *rates)
        self.actor_optimizer = make_optimizer(config.optimizer, list(self.actor.parameters()), *rates)

    def _networks(self, outputs: int) -> tuple[Actor | LatentActor, TwinCritic | LatentTwinCritic]:
        config = self.config
        layers = config.gru_layers if isinstance(config, DrQv2ASConfig) else 0
        width, hidden, chunk_length = self.action_dim, config.hidden_dim, self.chunk_length
        actor = Actor(self._trunk(), width, hidden, chunk_length, layers)
        return actor, TwinCritic(self._trunk(), width, hidden, outputs, chunk_length, layers)

    def _learnt_with_critics(self) -> list[nn.Parameter]:
        """What the critics' optimizer updates."""
        return [*self.perception.learnt(), *self.critic.parameters()]

    @property
    def _sizes(self) -> dict[str, int]:
        """Lengths of the features that the trunks read, by name."""
        return self.perception.sizes

    def _trunk(self) -> Trunk:
        config = self.config
        return Trunk(
            self._sizes,
            image_dim=config.encoder.feature_dim,
            state_dim=config.trunk_dim,
            image_layers=config.encoder.layers,
            hidden_dim=config.hidden_dim,
            bias=True,
        )

    def pieces(self) -> list[Piece]:
        """The losses; with a recurrence, whose steps are written out, what they run several times."""
        bodies = [m for m in self.modules() if isinstance(m, Body) and m.gru is not None]
        if not bodies:
            return super().pieces()
        encoders: list[Piece] = [(net, "forward") for net in self.perception.encoders()]
        return [*encoders, *network_pieces(bodies, self.chunk_length), *self.representation_pieces()]

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target_critic": self.target_critic,
            "critic_optimizer": self.critic_optimizer,
            "actor_optimizer": self.actor_optimizer,
        }

    def autocast_modules(self) -> list[nn.Module]:
        """Encoder, trunks and hidden layers, without the heads."""
        networks = (self.actor, self.critic, self.target_critic)
        return [*self.perception.networks(), *(part for network in networks for part in network.autocast_modules())]

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """The actor's mean chunk, and the smaller of the critics' values for it."""
        features = self._features(observation, None)
        actions = self.only_movable(self.actor(features).clamp(EDGE - 1, 1 - EDGE))
        return {"actions": actions, "value": self._values(self._judge(self.critic, features, actions)).amin(0).mean(1)}

    def sample_noise(self, batch: int) -> Noise:
        """Shifts of the images, and normal noise for the actions of both losses."""
        size = (batch, self.chunk_length, self.action_dim)
        names = ("next_noise", "actor_noise")
        noise = {name: torch.randn(size, generator=self.generator, device=self.device) for name in names}
        return {**noise, **sample_shifts(self.perception, batch, self.generator)}

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step of encoder and critics, then one of the actor on the same batch.

        Args:
            batch: ``obs`` and ``next_obs`` (``state`` [B, S], ``rgb`` uint8 [B, F, V, H, W, 3]), ``actions``
                [B, T, A] in [-1, 1], ``valid`` [B, T], ``reward`` [B] (n-step return), ``discount`` [B],
                ``is_demo`` [B].
            noise: of :meth:`sample_noise`, and ``exploration_std``.
        """
        critic_loss, features, metrics = self.critic_loss(batch, noise)
        optimizer_step(self.critic_optimizer, critic_loss)
        # The actor sees what the encoder made of the images before that step, and the critics after it (published).
        with frozen(*self._judges()):
            actor_loss, more = self.actor_loss(features, batch, noise)
            optimizer_step(self.actor_optimizer, actor_loss)
        return {"loss": (critic_loss + actor_loss).detach(), **metrics, **more, **batch_metrics(batch)}

    def critic_loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, dict[str, Tensor], Metrics]:
        """Temporal-difference loss of both critics; the observation's features, detached; what to report."""
        target = self._target(batch, noise)
        features = self._features(batch["obs"], noise.get("shifts"))
        loss, metrics = self._difference_loss(features, target, batch)
        return loss, {name: array.detach() for name, array in features.items()}, metrics

    def _difference_loss(
        self, features: Mapping[str, Tensor], target: Tensor, batch: Mapping[str, Any]
    ) -> tuple[Tensor, Metrics]:
        """Distance of both critics' outputs on ``features`` to ``target`` [B, T]; what to report."""
        weight = valued(batch)
        outputs = self._judge(self.critic, features, batch["actions"])
        if self.config.value == "scalar":
            errors = F.mse_loss(outputs[..., 0], target.expand(2, -1, -1), reduction="none")
        else:
            errors = -(two_hot(target, self.atoms) * torch.log_softmax(outputs, -1)).sum(-1)
        loss = masked_mean(errors.sum(0), weight)
        metrics = {
            "critic_loss": loss.detach(),
            "q": masked_mean(self._values(outputs.detach()).mean(0), weight),
            "q_target": masked_mean(target, weight),
            "q_target_max": torch.where(weight > 0, target, target.amin()).amax(),
        }
        if self.config.value == "categorical":
            metrics |= clipped_fractions(target, weight, self.atoms) | value_bounds(batch)
        return loss, metrics

    def actor_loss(
        self, features: Mapping[str, Tensor], batch: Mapping[str, Any], noise: Noise
    ) -> tuple[Tensor, Metrics]:
        """Negative smaller value of the actor's noisy actions, and behaviour cloning of demonstrated ones."""
        weight = batch["valid"].to(torch.float32)
        mean = self.actor(features)
        actions = self._noisy(mean, noise["actor_noise"], noise["exploration_std"])
        value = self._values(self._judge(self.critic, features, actions)).amin(0)
        policy = -masked_mean(value, weight)
        metrics = {"actor_loss": policy.detach()}
        if self.config.bc_lambda <= 0:
            return policy, metrics
        # Summed over the steps and dimensions of a sample, averaged over the demonstrated samples.
        demo = batch["is_demo"].to(torch.float32)
        cloning = (self.only_movable(mean - batch["actions"]) ** 2 * weight[..., None]).sum((1, 2))
        cloning = masked_mean(cloning, demo)
        return policy + self.config.bc_lambda * cloning, {**metrics, "bc_loss": cloning.detach()}

    def update_target(self) -> None:
        """Move the target critics."""
        polyak_update(self.target_critic, self.critic, self.config.target_tau)

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], noise: Noise) -> Tensor:
        """``r + discount * min_j Q_j(s', a')`` with the actor's noisy action: [B, T], one per step."""
        features = self._features(batch["next_obs"], noise.get("next_shifts"))
        actions = self._noisy(self.actor(features), noise["next_noise"], noise["exploration_std"])
        value = self._values(self._judge(self.target_critic, features, actions)).amin(0)
        return batch["reward"][:, None] + batch["discount"][:, None] * value

    def _features(self, observation: Mapping[str, Tensor], shifts: Tensor | None) -> dict[str, Tensor]:
        """What actor and critics read of an observation."""
        features: dict[str, Tensor] = self.perception(observation, shifts)
        return features

    def _judge(self, critic: nn.Module, features: Mapping[str, Tensor], actions: Tensor) -> Tensor:
        """Outputs [2, B, T, Z] of ``critic`` for actions [B, T, A]."""
        outputs: Tensor = critic(features, actions)
        return outputs

    def _judges(self) -> list[nn.Module]:
        """What stands between the actor's actions and their values."""
        return [self.critic]

    def _noisy(self, mean: Tensor, noise: Tensor, std: Tensor) -> Tensor:
        """Mean plus clipped noise; the clamp to the action range lets the gradient through unchanged."""
        clip = self.config.noise_clip
        actions = mean + (noise * std).clamp(-clip, clip)
        return self.only_movable(actions + (actions.clamp(EDGE - 1, 1 - EDGE) - actions).detach())

    def _values(self, outputs: Tensor) -> Tensor:
        """Expected values of critic outputs [..., Z]: [...]."""
        if self.config.value == "scalar":
            return outputs[..., 0]
        return torch.softmax(outputs, -1) @ self.atoms
