"""ACT, action chunking with transformers.

Paper: Zhao, Kumar, Levine, Finn, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (2023).
Axes: B batch, T step of the chunk, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.act.networks import Policy, Posterior, Sizes
from zoomrl.agents.bc.learner import imitation_error
from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Learner, Noise, Tensors
from zoomrl.agents.metrics import batch_metrics
from zoomrl.agents.optimization import make_optimizer, optimizer_step
from zoomrl.agents.steps import demonstrated
from zoomrl.math.divergence import kl_to_standard_normal
from zoomrl.math.losses import masked_mean
from zoomrl.nets.perception import Perception


class ACT(Learner):
    """A conditional variational autoencoder of chunks: a style z explains what the observation leaves open.

    While learning, z comes from the demonstrated chunk; acting, it is the mean of its prior, 0.
    """

    losses = ("loss",)
    parity_metric = "loss"
    config: ACTConfig
    perception: Perception

    def _build(self) -> None:
        config, device, encoder = self.config, self.device, self.perception.encoder
        sizes = Sizes(
            state=self.perception.shape.state,
            maps=None if encoder is None else encoder.keep_maps(),
            actions=self.action_dim,
            chunk_length=config.chunk_length,
            style=config.style_dim,
            dim=config.dim,
            heads=config.heads,
            feedforward=config.feedforward,
            dropout=config.dropout,
        )
        self.posterior = Posterior(sizes, config.encoder_layers).to(device)
        self.policy = Policy(sizes, config.encoder_layers, config.decoder_layers).to(device)
        learnt = [*self.perception.learnt(), *self.posterior.parameters(), *self.policy.parameters()]
        self.optimizer = make_optimizer("adamw", learnt, config.lr, config.weight_decay)

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {"posterior": self.posterior, "policy": self.policy, "optimizer": self.optimizer}

    def autocast_modules(self) -> list[nn.Module]:
        """Encoder and transformers, without embeddings and heads."""
        return [*self.perception.networks(), self.posterior.stack, self.policy.encoder, self.policy.decoder]

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """The chunk of style 0; there is no value."""
        return {"actions": self.only_movable(self._greedy(self.perception(observation)).clamp(-1, 1))}

    def sample_noise(self, batch: int) -> Noise:
        """Shifts of the images, normal numbers for the style, and what dropout keeps."""
        generator = self.generator
        policy = self.policy
        noise = {
            "shifts": self.perception.sample_noise(batch, generator),
            "style": torch.randn(batch, self.config.style_dim, generator=generator, device=self.device),
            "posterior_keep": self.posterior.stack.sample_noise(batch, self.posterior.tokens, generator),
            "encoder_keep": policy.encoder.sample_noise(batch, policy.tokens, generator),
            "decoder_keep": policy.decoder.sample_noise(batch, self.chunk_length, generator),
        }
        return {name: tensor for name, tensor in noise.items() if tensor is not None}

    def learn(self, batch: Mapping[str, Any], noise: Noise) -> Metrics:
        """One step on the demonstrated samples.

        Args:
            batch: ``obs``, ``actions`` [B, T, A] in [-1, 1], ``valid`` [B, T], ``is_demo`` [B].
            noise: of :meth:`sample_noise`.
        """
        loss, metrics = self.loss(batch, noise)
        optimizer_step(self.optimizer, loss)
        return {"loss": loss.detach(), **metrics, **batch_metrics(batch)}

    def loss(self, batch: Mapping[str, Any], noise: Noise) -> tuple[Tensor, Metrics]:
        """``|a - policy(z, s)| + kl_coef KL(q(z | a, s) || N(0, I))``, z sampled from q; and what to report."""
        features = self.perception(batch["obs"], noise.get("shifts"))
        mean, log_variance = self._style(features, batch, noise.get("posterior_keep"))
        style = mean + (0.5 * log_variance).exp() * noise["style"]
        keeps = (noise.get("encoder_keep"), noise.get("decoder_keep"))
        chunk = self.policy(style, features.get("state"), features.get("image"), *keeps)
        error = imitation_error(chunk, batch, "l1", self.movable)
        divergence = self._divergence(mean, log_variance, batch)
        metrics = {"imitation_loss": error.detach(), "kl": divergence.detach()}
        return error + self.config.kl_coef * divergence, metrics

    @torch.inference_mode()
    def validate(self, batch: Mapping[str, Any]) -> Metrics:
        """Errors on samples that are not learnt from: with the style that acting has, and with the posterior's mean."""
        features = self.perception(batch["obs"])
        mean, log_variance = self._style(features, batch, None)
        informed = self.policy(mean, features.get("state"), features.get("image"))
        return {
            "validation_loss": imitation_error(self._greedy(features), batch, "l1", self.movable),
            "validation_reconstruction": imitation_error(informed, batch, "l1", self.movable),
            "validation_kl": self._divergence(mean, log_variance, batch),
        }

    def _style(
        self, features: Mapping[str, Tensor], batch: Mapping[str, Any], keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the posterior."""
        mean, log_variance = self.posterior(features.get("state"), batch["actions"], batch["valid"], keep)
        return mean, log_variance

    def _greedy(self, features: Mapping[str, Tensor]) -> Tensor:
        """The chunk of style 0, not limited."""
        count = len(next(iter(features.values())))
        style = torch.zeros(count, self.config.style_dim, device=self.device)
        chunk: Tensor = self.policy(style, features.get("state"), features.get("image"))
        return chunk

    def _divergence(self, mean: Tensor, log_variance: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the demonstrated samples."""
        return masked_mean(kl_to_standard_normal(mean, log_variance), demonstrated(batch).amax(1))
