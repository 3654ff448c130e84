"""One update of the straightforward loop, on a batch of float32 arrays in the layout of :mod:`peers.loader`."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from peers.networks import Critic, Encoder, copy_weights
from zoomrl.agents.cqn.learner import CQN


class Peer:
    """Encoder, critic, target critic and two optimisers, with the sizes and weights of the agent ``like``."""

    def __init__(self, like: CQN, device: str = "cpu") -> None:
        config, shape = like.config, like.perception.shape
        self.config, self.device, self.pad = config, torch.device(device), config.encoder.shift
        self.encoder = Encoder(shape.views, 3 * shape.frames, config.encoder.channels)
        self.critic = Critic(like)
        copy_weights(like, self.encoder, self.critic)
        self.encoder.to(self.device)
        self.critic.to(self.device)
        self.target = copy.deepcopy(self.critic)
        normalizer = like.perception.normalizer
        self.mean, self.std = normalizer.mean.to(self.device), normalizer.std.to(self.device)
        settings = {"lr": config.lr, "weight_decay": config.weight_decay}
        self.encoder_optimizer = torch.optim.AdamW(self.encoder.parameters(), **settings)
        self.critic_optimizer = torch.optim.AdamW(self.critic.parameters(), **settings)

    @torch.no_grad()
    def act(self, rgb: Tensor, state: Tensor) -> Tensor:
        """Greedy chunk [N, T, A] for float32 images [N, V, C, H, W] and states [N, S]."""
        return self.target.greedy(self.encoder(rgb), self._scaled(state))

    def update(self, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """One gradient step; ``noise`` (of the agent) replaces what is random."""
        loss, metrics = self.loss(batch, noise or {})
        self.encoder_optimizer.zero_grad(set_to_none=True)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        self.encoder_optimizer.step()
        tau = self.config.target_tau
        for online, target in zip(self.critic.parameters(), self.target.parameters(), strict=True):
            target.data.copy_(tau * online.data + (1 - tau) * target.data)
        return {name: value.item() for name, value in metrics.items()}

    def loss(self, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and what is reported."""
        config = self.config
        image = self.encoder(random_shift(batch["rgb"], self.pad, noise.get("shifts")))
        with torch.no_grad():
            next_image = self.encoder(random_shift(batch["next_rgb"], self.pad, noise.get("next_shifts")))
            next_state = self._scaled(batch["next_state"])
            action = self.critic.greedy(next_image, next_state, noise.get("ties"))
            _, _, next_probs, _, _, _ = self.target(next_image, next_state, action)
            target = project(next_probs, batch["reward"], batch["discount"], self.critic.support)
        values, probs, _, _, logs, index = self.critic(image, self._scaled(batch["state"]), batch["actions"])

        weight = batch["valid"][:, None, :, None].expand(-1, config.levels, -1, self.critic.action_dim).flatten(2)
        demo = weight * batch["is_demo"][:, None, None]
        td = _mean(-(target * logs).sum(3), weight)
        cdf = probs.cumsum(-1)
        chosen = index[..., None, None].expand(*index.shape, 1, cdf.shape[-1])
        dominance = _mean((cdf.gather(3, chosen) - cdf).clamp(min=0).sum(-1).mean(-1), demo)
        lead = values.gather(3, index[..., None]) - values
        margin = _mean((config.bc_margin - lead).clamp(min=0).mean(-1), demo)
        loss = config.critic_lambda * td + config.bc_lambda * (dominance + margin)
        metrics = {
            "loss": loss,
            "critic_loss": td,
            "dominance_loss": dominance,
            "margin_loss": margin,
            "q_target": (target * self.critic.support).sum(-1).mean(),
            "demo_fraction": batch["is_demo"].mean(),
        }
        return loss, metrics

    def _scaled(self, state: Tensor) -> Tensor:
        if self.config.normalize != "demos":
            return state
        return ((state - self.mean) / self.std).clamp(-10, 10)


def random_shift(images: Tensor, pad: int, offsets: Tensor | None = None) -> Tensor:
    """Shift each view of [B, V, C, H, W] by whole pixels through a sampling grid; ``offsets`` are [2, B, V]."""
    batch, views, _, size, _ = images.shape
    if offsets is None:
        offsets = torch.randint(2 * pad + 1, (2, batch, views), device=images.device)
    shifted = []
    for view in range(views):
        padded = F.pad(images[:, view], (pad,) * 4, "replicate")
        full = size + 2 * pad
        line = torch.linspace(-1 + 1 / full, 1 - 1 / full, full, device=images.device)[:size]
        columns = line.repeat(size, 1)
        base = torch.stack([columns, columns.t()], -1).repeat(batch, 1, 1, 1)
        moves = offsets[:, :, view].flip(0).t().float()[:, None, None] * (2 / full)
        shifted.append(F.grid_sample(padded, base + moves, padding_mode="zeros", align_corners=False))
    return torch.stack(shifted, 1)


def project(probs: Tensor, reward: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """Distributions [B, L, D, Z] of ``r + discount * V``, scattered to the two neighbouring atoms."""
    batch, levels, dims, count = probs.shape
    step = (support[-1] - support[0]) / (count - 1)
    reached = (reward[:, None] + discount[:, None] * support).clamp(support[0], support[-1])
    position = ((reached - support[0]) / step)[:, None, None].expand_as(probs)
    # The upper neighbour of a target on the last atom has weight 0, and any place will do.
    lower = position.floor().clamp(max=count - 2)
    fraction = position - lower
    rows = torch.arange(batch * levels * dims, device=probs.device).view(batch, levels, dims, 1) * count
    result = torch.zeros_like(probs).view(-1)
    result.index_add_(0, (rows + lower.long()).view(-1), (probs * (1 - fraction)).view(-1))
    result.index_add_(0, (rows + lower.long() + 1).view(-1), (probs * fraction).view(-1))
    return result.view(probs.shape)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
