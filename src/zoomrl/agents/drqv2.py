"""DrQ-v2, DrQ-v2+ and DrQ-v2-AS+: deterministic actor, twin critics, random shifts of the pictures.

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
)
from zoomrl.agents.config import DrQv2ASConfig, DrQv2Config
from zoomrl.math.categorical import support, two_hot
from zoomrl.math.losses import masked_mean
from zoomrl.nets.actor_critic import Actor, TwinCritic
from zoomrl.nets.perception import ObservationShape, Statistics
from zoomrl.nets.tcrl import LatentActor, LatentTwinCritic
from zoomrl.nets.trunk import Trunk

# Actions are kept off the edge of the tanh by this much.
EDGE = 1e-6


class DrQv2(Learner):
    """Encoder and twin critics learn from the temporal difference; the actor climbs the smaller value.

    Args:
        config: hyper-parameters; their type names the variant.
        shape: of the (stacked) observations.
        action_dim: action dimensions A.
        seed: of the weights and of everything random while learning.
        statistics: mean and standard deviation [S] of the demonstrations, for ``normalize="demos"``.
        device: where it learns.
    """

    losses = ("critic_loss", "actor_loss")

    def __init__(
        self,
        config: DrQv2Config,
        shape: ObservationShape,
        action_dim: int,
        seed: int = 0,
        statistics: Statistics | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(seed, device, config.target_interval)
        self.config = config
        self.action_dim = action_dim
        self.horizon = config.horizon if isinstance(config, DrQv2ASConfig) else 1
        self.atoms = support(config.v_min, config.v_max, config.atoms).to(device)
        outputs = config.atoms if config.value == "categorical" else 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.perception, self.representation_optimizer = make_perception(
                config, shape, action_dim, statistics, device
            )
            actor, critic = self._networks(outputs)
            self.actor, self.critic = actor.to(device), critic.to(device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learnt = self._learnt_with_critics()
        self.critic_optimizer = make_optimizer(config.optimizer, learnt, config.lr, config.weight_decay)
        self.actor_optimizer = make_optimizer(
            config.optimizer, list(self.actor.parameters()), config.lr, config.weight_decay
        )

    def _networks(self, outputs: int) -> tuple[Actor | LatentActor, TwinCritic | LatentTwinCritic]:
        config = self.config
        layers = config.gru_layers if isinstance(config, DrQv2ASConfig) else 0
        width, hidden, horizon = self.action_dim, config.hidden_dim, self.horizon
        actor = Actor(self._trunk(), width, hidden, horizon, layers)
        return actor, TwinCritic(self._trunk(), width, hidden, outputs, horizon, layers)

    def _learnt_with_critics(self) -> list[nn.Parameter]:
        """What the critics' optimiser moves."""
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

    @property
    def own_parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target_critic": self.target_critic,
            "critic_optimizer": self.critic_optimizer,
            "actor_optimizer": self.actor_optimizer,
        }

    def bulk(self) -> list[nn.Module]:
        """Encoder, trunks and hidden layers, without the heads."""
        networks = (self.actor, self.critic, self.target_critic)
        return [*self.perception.networks(), *(part for network in networks for part in network.bulk())]

    def plan(self, observation: Mapping[str, Tensor], draws: Draws) -> Tensors:
        """The actor's mean chunk, and the smaller of the critics' values for it."""
        features = self._features(observation, None)
        actions = self.actor(features).clamp(EDGE - 1, 1 - EDGE)
        return {"actions": actions, "value": self._values(self._judge(self.critic, features, actions)).amin(0).mean(1)}

    def draw(self, batch: int) -> Draws:
        """Shifts of the pictures, and normal noise for the actions of both losses."""
        size = (batch, self.horizon, self.action_dim)
        names = ("next_noise", "actor_noise")
        draws = {name: torch.randn(size, generator=self.generator, device=self.device) for name in names}
        return {**draws, **draw_both_shifts(self.perception, batch, self.generator)}

    def learn(self, batch: Mapping[str, Any], draws: Draws) -> Metrics:
        """One step of encoder and critics, then one of the actor on the same batch.

        Args:
            batch: ``obs`` and ``next_obs`` (``state`` [B, S], ``rgb`` uint8 [B, F, V, H, W, 3]), ``actions``
                [B, T, A] in [-1, 1], ``valid`` [B, T], ``reward`` [B] (n-step return), ``discount`` [B],
                ``is_demo`` [B].
            draws: of :meth:`draw`, and ``noise``.
        """
        critic_loss, features, metrics = self.critic_loss(batch, draws)
        self.critic_optimizer.zero_grad(set_to_none=True)
        critic_loss.backward()
        self.critic_optimizer.step()
        # The actor sees what the encoder made of the pictures before that step, and the critics after it (published).
        # Gradients of the critics' weights would be thrown away.
        self._hold_critics(True)
        actor_loss, more = self.actor_loss(features, batch, draws)
        self.actor_optimizer.zero_grad(set_to_none=True)
        actor_loss.backward()
        self.actor_optimizer.step()
        self._hold_critics(False)
        return {"loss": (critic_loss + actor_loss).detach(), **metrics, **more, **batch_metrics(batch)}

    def critic_loss(self, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, dict[str, Tensor], Metrics]:
        """Temporal-difference loss of both critics; the observation's features, detached; what to report."""
        target = self._target(batch, draws)
        features = self._features(batch["obs"], draws.get("shifts"))
        loss, metrics = self._difference_loss(features, target, batch)
        return loss, {name: array.detach() for name, array in features.items()}, metrics

    def _difference_loss(
        self, features: Mapping[str, Tensor], target: Tensor, batch: Mapping[str, Any]
    ) -> tuple[Tensor, Metrics]:
        """Distance of both critics' outputs on ``features`` to ``target`` [B, T]; what to report."""
        weight = batch["valid"].to(torch.float32)
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
        return loss, metrics

    def actor_loss(
        self, features: Mapping[str, Tensor], batch: Mapping[str, Any], draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """Negative smaller value of the actor's noisy actions, and behaviour cloning of demonstrated ones."""
        weight = batch["valid"].to(torch.float32)
        mean = self.actor(features)
        actions = self._noisy(mean, draws["actor_noise"], draws["noise"])
        value = self._values(self._judge(self.critic, features, actions)).amin(0)
        policy = -masked_mean(value, weight)
        metrics = {"actor_loss": policy.detach()}
        if self.config.bc_lambda <= 0:
            return policy, metrics
        # Summed over the steps and dimensions of a sample, averaged over the demonstrated samples.
        demo = batch["is_demo"].to(torch.float32)
        cloning = ((mean - batch["actions"]) ** 2 * weight[..., None]).sum((1, 2))
        cloning = masked_mean(cloning, demo)
        return policy + self.config.bc_lambda * cloning, {**metrics, "bc_loss": cloning.detach()}

    def move_target(self) -> None:
        """Move the target critics."""
        move_towards(self.target_critic, self.critic, self.config.target_tau)

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], draws: Draws) -> Tensor:
        """``r + discount * min_j Q_j(s', a')`` with the actor's noisy action: [B, T], one per step."""
        features = self._features(batch["next_obs"], draws.get("next_shifts"))
        actions = self._noisy(self.actor(features), draws["next_noise"], draws["noise"])
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

    def _hold_critics(self, held: bool) -> None:
        """Whether what stands between the actor's actions and their values is left out of the next gradient."""
        self.critic.requires_grad_(not held)

    def _noisy(self, mean: Tensor, noise: Tensor, std: Tensor) -> Tensor:
        """Mean plus clipped noise; the clamp to the action range lets the gradient through unchanged."""
        clip = self.config.noise_clip
        actions = mean + (noise * std).clamp(-clip, clip)
        return actions + (actions.clamp(EDGE - 1, 1 - EDGE) - actions).detach()

    def _values(self, outputs: Tensor) -> Tensor:
        """Expected values of critic outputs [..., Z]: [...]."""
        if self.config.value == "scalar":
            return outputs[..., 0]
        return torch.softmax(outputs, -1) @ self.atoms
