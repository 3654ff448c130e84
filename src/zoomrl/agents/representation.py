"""A self-predictive latent as a part of any agent: it learns on its own, and the agent reads what it encodes.

Source: iQRL (Scannell et al. 2024), with TCRL (Zhao et al. 2023) as the case without quantisation and with a reward
head. Axes: B batch, H horizon, D latent, A action dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.math.fsq import code_index
from zoomrl.math.losses import cosines, directions, masked_mean
from zoomrl.math.rank import condition_number, rank_fractions, singular_values
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.nets.latent import LatentEncoder, LatentModel
from zoomrl.nets.perception import ObservationShape, Statistics

Tensors = dict[str, Tensor]


class SelfPredictive(nn.Module):
    """Encodes observations for an agent, without gradient; learns by predicting its own latents.

    It has the interface of :class:`zoomrl.nets.perception.Perception`: an agent reads either.

    Args:
        shape: of the observations.
        action_dim: action dimensions A.
        config: of the latent.
        image: of the convolutional encoder, where there are images.
        statistics: mean and standard deviation of the state, or None.
    """

    def __init__(
        self,
        shape: ObservationShape,
        action_dim: int,
        config: RepresentationConfig,
        image: EncoderConfig,
        statistics: Statistics | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.sizes = {"state": config.dim}
        self.model = LatentModel(shape, action_dim, config, image, statistics)
        self.target_encoder = copy.deepcopy(self.model.encoder).requires_grad_(False)
        self.target_projection = copy.deepcopy(self.model.projection)
        if self.target_projection is not None:
            self.target_projection.requires_grad_(False)

    @torch.no_grad()
    def forward(self, observation: Mapping[str, Tensor], shifts: Tensor | None = None) -> dict[str, Tensor]:
        """Latents [B, D] of the encoder that is read, as the ``state`` of agents."""
        return {"state": self.reader(observation, shifts)}

    @property
    def reader(self) -> LatentEncoder:
        """The encoder whose latents agents read: the online one or its moving average."""
        return self.model.encoder if self.config.read == "online" else self.target_encoder

    def learnt(self) -> list[nn.Parameter]:
        """Nothing here learns from an agent's losses."""
        return []

    def networks(self) -> list[nn.Module]:
        """The modules that hold the arithmetic: convolutions, dynamics and heads.

        The encoders' own layers only where nothing is rounded: rounding to levels turns the last digits of what they
        say into whole levels.
        """
        encoders = (self.model.encoder, self.target_encoder)
        parts = [part for encoder in encoders for part in encoder.perception.networks()]
        if not self.config.quantise:
            parts += [part for encoder in encoders for part in (encoder.trunk, encoder.body)]
        model = self.model
        heads = (model.reward, model.decoder, model.projection, self.target_projection)
        return [*parts, model.dynamics, *(head for head in heads if head is not None)]

    def encoders(self) -> list[nn.Module]:
        """The networks that read images, of both encoders."""
        encoders = (self.model.encoder, self.target_encoder)
        return [net for encoder in encoders for net in encoder.perception.encoders()]

    def sample_noise(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """Random shifts of images."""
        return self.model.encoder.perception.sample_noise(batch, generator)

    def sample_learning_noise(self, batch: int, generator: torch.Generator) -> Tensors:
        """Shifts of the images that :meth:`loss` reads."""
        pairs = (("latent_shifts", batch), ("sequence_shifts", batch * self.config.horizon))
        noise = {name: self.sample_noise(count, generator) for name, count in pairs}
        return {name: shifts for name, shifts in noise.items() if shifts is not None}

    def loss(self, batch: Mapping[str, Any], noise: Tensors) -> tuple[Tensor, Tensors]:
        """``(1/H) sum_h decay^h`` of the terms of each step, which are means over the steps inside the episode.

        The published terms: minus the cosine of predicted and target latent. The target is the moving average's
        latent of the observation h + 1 steps later.

        Args:
            batch: ``obs`` and ``sequence`` with ``obs`` [B, H, ...], ``actions`` [B, H, A], ``reward`` [B, H] and
                ``valid`` [B, H].
            noise: of :meth:`sample_learning_noise`.
        """
        config, sequence = self.config, batch["sequence"]
        following = {name: array.flatten(0, 1) for name, array in sequence["obs"].items()}
        with torch.no_grad():
            targets = self.target_encoder(following, noise.get("sequence_shifts"))
            if self.target_projection is not None:
                targets = self.target_projection(targets)
            targets = targets.unflatten(0, (-1, config.horizon))
            towards = directions(targets)
        latent = self.model.encoder(batch["obs"], noise.get("latent_shifts"))
        weights = sequence["valid"].to(torch.float32)
        total = latent.new_zeros(())
        steps: list[Tensor] = []
        rewards, decoded = latent.new_zeros(()), latent.new_zeros(())
        for step in range(config.horizon):
            action, weight, scale = sequence["actions"][:, step], weights[:, step], config.decay**step
            before, latent = latent, self.model(latent, action)
            predicted = latent if self.model.projection is None else self.model.projection(latent)
            cosine = cosines(predicted, towards[:, step])
            steps.append(masked_mean(cosine.detach(), weight))
            apart = -cosine if config.consistency == "cosine" else ((predicted - targets[:, step]) ** 2).mean(-1)
            total = total + scale * config.consistency_coef * masked_mean(apart, weight)
            if self.model.reward is not None:
                # From the latent that the action was taken in.
                error = self.model.reward(torch.cat([before, action], -1))[:, 0] - sequence["reward"][:, step]
                rewards = rewards + scale * masked_mean(error**2, weight)
            if self.model.decoder is not None:
                error = self.model.decoder(latent) - sequence["obs"]["state"][:, step]
                decoded = decoded + scale * masked_mean((error**2).mean(-1), weight)
        total = total + config.reward_coef * rewards + config.reconstruction_coef * decoded
        metrics = {f"cosine_{step + 1}": value for step, value in enumerate(steps)}
        if self.model.reward is not None:
            metrics["reward_loss"] = rewards.detach() / config.horizon
        if self.model.decoder is not None:
            metrics["reconstruction_loss"] = decoded.detach() / config.horizon
        return total / config.horizon, metrics

    @torch.no_grad()
    def diagnose(self, observation: Mapping[str, Tensor]) -> Tensors:
        """Rank of latents (per cent of D, at three tolerances), their condition number, and the codes in use.

        Codes are counted at each position over the batch: the mean over positions, per cent of all codes there.
        """
        latents = self.reader(observation)
        values = singular_values(latents)
        fractions = rank_fractions(values, (1e-1, 1e-2, 1e-3))
        metrics = {f"latent_rank_1e-{place + 1}": 100 * fraction for place, fraction in enumerate(fractions)}
        metrics["latent_condition"] = condition_number(values)
        if self.config.quantise:
            index = code_index(latents, self.config.fsq_levels)
            count = torch.Size(self.config.fsq_levels).numel()
            used = torch.zeros(index.shape[1], count, dtype=torch.bool, device=index.device)
            used.scatter_(1, index.t(), torch.ones_like(index.t(), dtype=torch.bool))
            metrics["codes_used"] = 100 * used.to(torch.float32).mean()
        return metrics

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        """Pairs of target and online network."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.target_encoder, self.model.encoder)]
        if self.target_projection is not None and self.model.projection is not None:
            pairs.append((self.target_projection, self.model.projection))
        return pairs
