"""TACO: DrQ-v2 with contrastive embeddings of states and of the K actions that follow them.

Paper: Zheng et al., "TACO: Temporal Latent Action-Driven Contrastive Loss for Visual Reinforcement Learning" (2023).
Axes: B batch, K step of a sequence, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.drqv2.learner import DrQv2
from zoomrl.agents.drqv2.networks import Actor, TwinCritic
from zoomrl.agents.learner import Noise
from zoomrl.agents.representation import SelfPredictive
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.taco.networks import Contrast, action_tokeniser, state_encoder, token_dim
from zoomrl.math.contrastive import info_nce
from zoomrl.math.losses import masked_mean
from zoomrl.nets.perception import Perception


class TACO(DrQv2):
    """The critics read tokens of actions. Encoder and tokeniser learn from them and from contrastive losses too.

    From images as published; from a state alone by a port of our own, with an MLP in the place of the convolutions
    and no contrast between two shifts of an image.
    """

    config: TACOConfig

    def _networks(self, outputs: int) -> tuple[Actor, TwinCritic]:
        config, device = self.config, self.device
        width, tokens, dim = self.action_dim, token_dim(self.action_dim), config.encoder.feature_dim
        self.state_encoder: nn.Module | None = None
        if "image" not in self.perception.sizes:
            self.state_encoder = state_encoder(self.perception.sizes["state"], config.state_hidden, dim).to(device)
        self.tokeniser = action_tokeniser(width, config.token_hidden).to(device)
        self.contrast = Contrast(
            self._sizes, tokens, config.sequence, dim, config.hidden_dim, reward=config.reward_coef > 0
        ).to(device)
        actor = Actor(self._trunk(), width, config.hidden_dim, 1, 0)
        return actor, TwinCritic(self._trunk(), tokens, config.hidden_dim, outputs, 1, 0)

    @property
    def _sizes(self) -> dict[str, int]:
        """Lengths of the features: those of perception, or of the state's encoder."""
        return self.perception.sizes if self.state_encoder is None else {"state": self.config.encoder.feature_dim}

    @property
    def _shows_twice(self) -> bool:
        """Whether two shifts of the same image are compared."""
        seen = self.perception
        return self.config.curl_coef > 0 and isinstance(seen, Perception) and seen.pad > 0

    @property
    def _own_networks(self) -> dict[str, nn.Module]:
        """Networks that DrQ-v2 has not."""
        networks: dict[str, nn.Module] = {"tokeniser": self.tokeniser, "contrast": self.contrast}
        return networks if self.state_encoder is None else {**networks, "state_encoder": self.state_encoder}

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {**super().components, **self._own_networks}

    @property
    def sequence_length(self) -> int:
        """Actions K of a sequence; more where a representation looks further ahead."""
        return max(self.config.sequence, super().sequence_length)

    def autocast_modules(self) -> list[nn.Module]:
        """Encoder, trunks, projection and hidden layers, without the heads."""
        encoder = [] if self.state_encoder is None else [self.state_encoder]
        return [*super().autocast_modules(), *encoder, *self.contrast.autocast_modules()]

    def sample_noise(self, batch: int) -> Noise:
        """DrQ-v2's noise, shifts of the observation at the end of the sequence, and other shifts of the first."""
        noise = super().sample_noise(batch)
        names = ("key_shifts", "curl_shifts") if self._shows_twice else ("key_shifts",)
        more = {name: self.perception.sample_noise(batch, self.generator) for name in names}
        return noise | {name: shifts for name, shifts in more.items() if shifts is not None}

    def critic_loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, dict[str, Tensor], Metrics]:
        """Temporal-difference and contrastive losses on one pass of the encoder; else as DrQ-v2's."""
        target = self._target(batch, noise)
        features = self._features(batch["obs"], noise.get("shifts"))
        loss, metrics = self._difference_loss(features, target, batch)
        contrast, more = self._contrastive_loss(features, batch, noise)
        return loss + contrast, {name: array.detach() for name, array in features.items()}, metrics | more

    def representation_loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Metrics]:
        """Loss of a self-predictive representation, on as many steps as it predicts."""
        if isinstance(self.perception, SelfPredictive) and self.sequence_length > self.perception.config.horizon:
            batch = {"obs": batch["obs"], "sequence": _first(batch["sequence"], self.perception.config.horizon)}
        return super().representation_loss(batch, noise)

    def _contrastive_loss(
        self, features: Mapping[str, Tensor], batch: Mapping[str, Any], noise: Noise
    ) -> tuple[Tensor, Metrics]:
        """InfoNCE over time, that between two shifts of an image, and the error of the predicted return.

        Sequences that leave their episode have no end to predict: they are neither queries nor keys of the first, and
        predict no return. Their first observation is as good as any other for the second.

        Args:
            features: of ``obs`` under ``noise["shifts"]``, with gradient.
            batch: ``reward`` [B], and ``sequence`` with ``obs`` [B, K, ...], ``actions`` [B, K, A], ``valid`` [B, K].
            noise: of :meth:`sample_noise`.
        """
        config, sequence, contrast = self.config, batch["sequence"], self.contrast
        last = config.sequence - 1
        real = sequence["valid"][:, last]
        with torch.no_grad():
            following = {name: array[:, last] for name, array in sequence["obs"].items()}
            keys = contrast.embed(self._features(following, noise.get("key_shifts")))
        embedding = contrast.embed(features)
        joined = contrast.join(embedding, self.tokeniser(sequence["actions"][:, : config.sequence]))
        loss, accuracy = info_nce(contrast.logits(contrast.predict(joined), keys), real)
        metrics = {"taco_loss": loss.detach(), "taco_accuracy": accuracy}
        if "curl_shifts" in noise:
            with torch.no_grad():
                keys = contrast.embed(_blind(self._features(batch["obs"], noise["curl_shifts"])))
            query = contrast.embed(_blind(features)) if "state" in features else embedding
            curl, _ = info_nce(contrast.logits(query, keys), torch.ones_like(real))
            loss = loss + config.curl_coef * curl
            metrics["curl_loss"] = curl.detach()
        if contrast.reward is not None:
            error = contrast.reward(joined)[:, 0] - batch["reward"]
            reward = masked_mean(error**2, real.to(torch.float32))
            loss = loss + config.reward_coef * reward
            metrics["reward_loss"] = reward.detach()
        return loss, metrics

    def _learnt_with_critics(self) -> list[nn.Parameter]:
        own = [p for network in self._own_networks.values() for p in network.parameters()]
        return [*super()._learnt_with_critics(), *own]

    def _features(self, observation: Mapping[str, Tensor], shifts: Tensor | None) -> dict[str, Tensor]:
        features = super()._features(observation, shifts)
        return features if self.state_encoder is None else {"state": self.state_encoder(features["state"])}

    def _judge(self, critic: nn.Module, features: Mapping[str, Tensor], actions: Tensor) -> Tensor:
        # Target critics read the current tokens: as for the encoder, there is no target network of the tokeniser.
        return super()._judge(critic, features, self.tokeniser(actions))

    def _judges(self) -> list[nn.Module]:
        return [*super()._judges(), self.tokeniser]


def _blind(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Features without the state, which no shift changes: it would tell two samples apart without looking."""
    return {name: torch.zeros_like(array) if name == "state" else array for name, array in features.items()}


def _first(sequence: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The first ``steps`` of a sequence."""
    cut: dict[str, Any] = {name: sequence[name][:, :steps] for name in ("actions", "reward", "valid")}
    return cut | {"obs": {name: array[:, :steps] for name, array in sequence["obs"].items()}}
