"""Behaviour cloning of action chunks: a network regresses the next T demonstrated actions.

Axes: B batch, T step of the chunk, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.contract import Metrics
from zoomrl.agents.learner import Learner, Noise, Tensors
from zoomrl.agents.metrics import batch_metrics
from zoomrl.agents.optimization import make_optimizer, optimizer_step
from zoomrl.agents.steps import demonstrated
from zoomrl.math.losses import masked_mean
from zoomrl.nets.mlp import mlp
from zoomrl.nets.perception import Perception
from zoomrl.nets.trunk import image_trunk


class BC(Learner):
    """One network from the observation to a chunk, trained on demonstrated chunks alone."""

    losses = ("loss",)
    parity_metric = "loss"
    config: BCConfig
    perception: Perception

    def _build(self) -> None:
        config = self.config
        self.trunk = image_trunk(self.perception.sizes, config.encoder).to(self.device)
        outputs = self.chunk_length * self.action_dim
        net = mlp(self.trunk.out_dim, config.hidden, outputs, norm=config.norm, activation=config.activation)
        self.net = net.to(self.device)
        learnt = [*self.perception.learnt(), *self.trunk.parameters(), *self.net.parameters()]
        self.optimizer = make_optimizer("adamw", learnt, config.lr, config.weight_decay)

    @property
    def components(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What is saved."""
        return {"trunk": self.trunk, "net": self.net, "optimizer": self.optimizer}

    def autocast_modules(self) -> list[nn.Module]:
        """Everything that is a matrix multiplication."""
        return [*self.perception.networks(), self.trunk, self.net]

    def propose(self, observation: Mapping[str, Tensor], noise: Noise) -> Tensors:
        """The chunk; there is no value."""
        return {"actions": self.only_movable(self._chunk(observation, None))}

    def sample_noise(self, batch: int) -> Noise:
        """Shifts of the images."""
        shifts = self.perception.sample_noise(batch, self.generator)
        return {} if shifts is None else {"shifts": shifts}

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
        """Error of the chunks, and what to report."""
        actions = self._chunk(batch["obs"], noise.get("shifts"))
        error = imitation_error(actions, batch, self.config.loss, self.movable)
        return error, {"imitation_loss": error.detach()}

    @torch.inference_mode()
    def validate(self, batch: Mapping[str, Any]) -> Metrics:
        """The same error on samples that are not learnt from, of images as they are."""
        actions = self._chunk(batch["obs"], None)
        return {"validation_loss": imitation_error(actions, batch, self.config.loss, self.movable)}

    def _chunk(self, observation: Mapping[str, Tensor], shifts: Tensor | None) -> Tensor:
        features = self.trunk(self.perception(observation, shifts))
        return torch.tanh(self.net(features)).view(-1, self.chunk_length, self.action_dim)


def imitation_error(actions: Tensor, batch: Mapping[str, Any], kind: str, movable: Tensor | None = None) -> Tensor:
    """Mean absolute (``l1``) or squared (``mse``) error over the demonstrated steps and the dimensions that can move.

    Args:
        actions: [B, T, A].
        batch: with ``actions`` [B, T, A], ``valid`` [B, T] and ``is_demo`` [B].
        kind: of error.
        movable: [A] bool; None for all dimensions.
    """
    weight = demonstrated(batch)
    # `where`, so that nothing that stands in padding reaches the gradient of a square.
    target = torch.where(weight[..., None] > 0, batch["actions"], actions.detach())
    errors = (actions - target).abs() if kind == "l1" else (actions - target) ** 2
    # Not by picking dimensions: how many there are would have to be read from the device.
    means = errors.mean(-1) if movable is None else (errors * movable).sum(-1) / movable.sum()
    return masked_mean(means, weight)
