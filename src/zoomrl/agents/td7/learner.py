"""TD7: TD3 with state-action embeddings, clamped targets, prioritised samples and policy checkpoints.

Papers: Fujimoto, Chang, Smith, Gu, Precup, Meger, "For SALE: State-Action Representation Learning for Deep
Reinforcement Learning" (2023); Fujimoto, Meger, Precup, "An Equivalence between Loss Functions and Non-Uniform Sampling
in Experience Replay" (2020). Axes: B batch, A action dimension; two critics.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Learner, Noise, Tensors
from zoomrl.agents.metrics import batch_metrics, q_metrics
from zoomrl.agents.optimization import frozen, make_optimizer, optimizer_step, polyak_update
from zoomrl.agents.td7.bounds import TargetBounds
from zoomrl.agents.td7.config import TD7Config
from zoomrl.agents.td7.networks import SaleActor, SaleCritics, SaleEncoder
from zoomrl.agents.td7.policy_checkpoint import PolicyCheckpoint
from zoomrl.control.chunk import ActionChunk
from zoomrl.errors import ConfigError
from zoomrl.math.lap import lap_loss, lap_priority
from zoomrl.math.losses import masked_mean
from zoomrl.nets.perception import ObservationShape, Statistics


class TD7(Learner):
    """Actor and critics read the state and embeddings of it, which are trained to predict the next state's.

    There are three encoders: one learns; the *fixed* one is what actor and critics read; the *fixed target* is for
    targets. All targets are copied together, every ``target_interval`` updates. The policy that is evaluated is the
    one saved by a :class:`PolicyCheckpoint`, and the current one before any was saved.

    Raises:
        ConfigError: images are observed.
    """

    losses = ("encoder_loss", "critic_loss", "actor_loss")

    config: TD7Config

    def _perceive(self, shape: ObservationShape, statistics: Statistics | None) -> None:
        if shape.views or not shape.state:
            raise ConfigError(
                "td7 learns from the state vector, and has no encoder for the images that are observed here. "
                "Leave out --env.cameras, or use td3 or drqv2."
            )
        super()._perceive(shape, statistics)

    def _build(self) -> None:
        config, device = self.config, self.device
        sizes = (self.perception.sizes["state"], self.action_dim, config.hidden_dim, config.embedding_dim)
        self.actor = SaleActor(*sizes).to(device)
        self.critic = SaleCritics(*sizes).to(device)
        self.encoder = SaleEncoder(*sizes).to(device)
        self.target_actor, self.saved_actor = _copy(self.actor), _copy(self.actor)
        self.target_critic = _copy(self.critic)
        self.fixed_encoder, self.fixed_target = _copy(self.encoder), _copy(self.encoder)
        self.saved_encoder = _copy(self.encoder)
        self.bounds = TargetBounds().to(device)
        self.encoder_optimizer = make_optimizer("adam", list(self.encoder.parameters()), config.lr, 0.0)
        self.critic_optimizer = make_optimizer("adam", list(self.critic.parameters()), config.lr, 0.0)
        self.actor_optimizer = make_optimizer("adam", list(self.actor.parameters()), config.lr, 0.0)
        self.policy_checkpoint = PolicyCheckpoint(config)
        self._acts_as_saved = False

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {
            "encoder": self.encoder,
            "fixed_encoder": self.fixed_encoder,
            "fixed_target": self.fixed_target,
            "actor": self.actor,
            "target_actor": self.target_actor,
            "critic": self.critic,
            "target_critic": self.target_critic,
            "kept_actor": self.saved_actor,
            "kept_encoder": self.saved_encoder,
            "bounds": self.bounds,
            "encoder_optimizer": self.encoder_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "actor_optimizer": self.actor_optimizer,
        }

    def autocast_modules(self) -> list[nn.Module]:
        """Every matrix multiplication in an update."""
        encoders, actors = (self.encoder, self.fixed_encoder, self.fixed_target), (self.actor, self.target_actor)
        networks = (*encoders, *actors, self.critic, self.target_critic)
        return [part for network in networks for part in network.autocast_modules()]

    @property
    def acting_phase(self) -> str:
        """Whether the current policy acts, or the saved one."""
        return "saved" if self._acts_as_saved else ""

    def act(
        self, observation: Mapping[str, Tensor], generator: torch.Generator, *, explore: bool = False
    ) -> ActionChunk:
        """The action of the current policy when it explores, else of the saved one, once there is one."""
        self._acts_as_saved = self.policy_checkpoint.saved and not explore
        return super().act(observation, generator, explore=explore)

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """The policy's action, and the smaller of the current critics' values for it."""
        state, zs = self._embedded(observation)
        actions = self.saved_actor(state, self.saved_encoder(state)) if self._acts_as_saved else self.actor(state, zs)
        actions = self.only_movable(actions)
        value = self.critic(state, actions, self.fixed_encoder.predict(zs, actions), zs).amin(0)
        return {"actions": actions[:, None], "value": value}

    def sample_noise(self, batch: int) -> Noise:
        """Noise of the target's action."""
        size = (batch, self.action_dim)
        return {"target_noise": torch.randn(size, generator=self.generator, device=self.device)}

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step of the encoder, one of the critics and, at the actor's turn, one of the actor.

        Args:
            batch: ``obs`` and ``next_obs`` (``state`` [B, S]), ``actions`` [B, 1, A] in [-1, 1], ``reward`` [B]
                (n-step return), ``discount`` [B], ``is_demo`` [B].
            noise: of :meth:`sample_noise`.

        Returns:
            0-d tensors, and the samples' new ``priority`` [B].
        """
        encoder_loss = self.encoder_loss(batch)
        optimizer_step(self.encoder_optimizer, encoder_loss)
        critic_loss, target, metrics = self.critic_loss(batch, noise["target_noise"])
        optimizer_step(self.critic_optimizer, critic_loss)
        self.bounds.see(target)
        loss = (encoder_loss + critic_loss).detach()
        if self.actors_turn:
            with frozen(self.critic):
                actor_loss, more = self.actor_loss(batch)
                optimizer_step(self.actor_optimizer, actor_loss)
            loss, metrics = loss + actor_loss.detach(), metrics | more
        return {"loss": loss, "encoder_loss": encoder_loss.detach(), **metrics, **batch_metrics(batch)}

    def encoder_loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Squared distance of the state-action embedding to the next state's, which has no gradient."""
        with torch.no_grad():
            following = self.encoder(self.perception(batch["next_obs"])["state"])
        zs = self.encoder(self.perception(batch["obs"])["state"])
        return F.mse_loss(self.encoder.predict(zs, batch["actions"][:, 0]), following)

    def critic_loss(self, batch: Mapping[str, Any], target_noise: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        """LAP loss, summed over the critics; the targets [B]; what to report, and the new priorities."""
        action = batch["actions"][:, 0]
        target = self._target(batch, target_noise)
        state, zs = self._embedded(batch["obs"])
        with torch.no_grad():
            zsa = self.fixed_encoder.predict(zs, action)
        values = self.critic(state, action, zsa, zs)
        errors = values - target
        loss = lap_loss(errors).sum(0).mean()
        priority = lap_priority(errors.detach(), self.config.priority_power)
        metrics = {
            "critic_loss": loss.detach(),
            "q_target": target.mean(),
            # Copies: what is logged later must not follow the bounds.
            "target_min": self.bounds.low.clone(),
            "target_max": self.bounds.high.clone(),
            "priority": priority,
            "priority_mean": priority.mean(),
            **q_metrics(values, batch),
        }
        return loss, target, metrics

    def actor_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, Metrics]:
        """Minus the mean value of the actor's actions over both critics, and cloning of demonstrated ones.

        Cloning is weighed by the size of the values, and averaged over action dimensions (paper, appendix on offline
        learning, where all samples count as demonstrated).
        """
        state, zs = self._embedded(batch["obs"])
        actions = self.only_movable(self.actor(state, zs))
        # The gradient reaches the actions through the embedding as well.
        values = self.critic(state, actions, self.fixed_encoder.predict(zs, actions), zs)
        loss = -values.mean()
        metrics = {"actor_loss": loss.detach()}
        if self.config.bc_lambda <= 0:
            return loss, metrics
        demo = batch["is_demo"].to(torch.float32)
        cloning = masked_mean(((actions - batch["actions"][:, 0]) ** 2).mean(-1), demo)
        scale = self.config.bc_lambda * values.detach().abs().mean()
        return loss + scale * cloning, {**metrics, "bc_loss": cloning.detach()}

    def update_target(self) -> None:
        """Copy all targets, in this order: the fixed target becomes what the fixed encoder was until now."""
        for target, source in (
            (self.target_actor, self.actor),
            (self.target_critic, self.critic),
            (self.fixed_target, self.fixed_encoder),
            (self.fixed_encoder, self.encoder),
        ):
            polyak_update(target, source, 1.0)
        self.bounds.publish()

    def episode_ended(self, episode_return: float) -> bool:
        """Judge the policy by a training episode; whether its judgement is over, and updates may be made.

        The first policy is judged as well, though it has learnt nothing (as released).
        """
        if not self.config.checkpoints:
            return True
        outcome = self.policy_checkpoint.record(episode_return, self.updates)
        if outcome == "save":
            polyak_update(self.saved_actor, self.actor, 1.0)
            polyak_update(self.saved_encoder, self.fixed_encoder, 1.0)
        return outcome != "continue"

    def state_dict(self) -> dict[str, Any]:
        """What every learner saves, and the assessment."""
        return {**super().state_dict(), "assessment": self.policy_checkpoint.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        super().load_state_dict(state)
        self.policy_checkpoint.load_state_dict(state["assessment"])

    def _embedded(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """State and its embedding by the fixed encoder, without gradient."""
        with torch.no_grad():
            state = self.perception(observation)["state"]
            return state, self.fixed_encoder(state)

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], noise: Tensor) -> Tensor:
        """``r + discount * clamp(min_k Q_k(s', a', zsa', zs'), low, high)``: [B]."""
        config = self.config
        state = self.perception(batch["next_obs"])["state"]
        zs = self.fixed_target(state)
        noise = (noise * config.target_noise).clamp(-config.noise_clip, config.noise_clip)
        actions = self.only_movable((self.target_actor(state, zs) + noise).clamp(-1, 1))
        values = self.target_critic(state, actions, self.fixed_target.predict(zs, actions), zs).amin(0)
        return batch["reward"] + batch["discount"] * self.bounds(values)


def _copy(module: Any) -> Any:
    """A copy that learns nothing."""
    return copy.deepcopy(module).requires_grad_(False)
