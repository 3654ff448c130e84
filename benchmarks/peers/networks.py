"""Networks of the straightforward loop: NCHW, a loop over views, one zoom level at a time, ``nn.GRU``.

Axes: B batch, V view, L level, T sequence step, A action dimension, D = T * A, K bin, Z atom.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.agents.cqn.learner import CQN


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel of [N, C, H, W], from mean and variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = ((x - mean) ** 2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-5)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Encoder(nn.Module):
    """One network for each view: float32 [B, V, C, H, W] in 0 .. 255 to [B, V * features]."""

    def __init__(self, views: int, inputs: int, channels: int) -> None:
        super().__init__()
        self.views = nn.ModuleList()
        for _ in range(views):
            layers: list[nn.Module] = []
            widths = [inputs, channels, 2 * channels, 4 * channels, 8 * channels]
            for before, after in itertools.pairwise(widths):
                layers += [nn.Conv2d(before, after, 4, 2, 1), ChannelNorm(after), nn.SiLU()]
            self.views.append(nn.Sequential(*layers))

    def forward(self, images: Tensor) -> Tensor:
        images = images / 255.0 - 0.5
        return torch.cat([net(images[:, view]).flatten(1) for view, net in enumerate(self.views)], 1)


class Stream(nn.Module):
    """Features and the centres of the intervals of one level to hidden units: [B, T, H]."""

    def __init__(self, trunk_image: nn.Module, trunk_state: nn.Module, width: int, hidden: int, sizes: tuple) -> None:
        super().__init__()
        self.image, self.state = trunk_image, trunk_state
        self.levels, self.chunk_length = sizes
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden, bias=False),
            nn.LayerNorm(hidden),
            nn.SiLU(),
        )
        self.gru = nn.GRU(hidden, hidden, 1, batch_first=True)

    def forward(self, image: Tensor, state: Tensor, centre: Tensor, level: int) -> Tensor:
        batch, chunk_length, _ = centre.shape
        features = torch.cat([self.image(image), self.state(state)], -1)[:, None].repeat(1, chunk_length, 1)
        level_id = F.one_hot(torch.tensor(level), self.levels).float().to(centre.device).repeat(batch, chunk_length, 1)
        step_id = torch.eye(chunk_length, device=centre.device).repeat(batch, 1, 1)
        return self.gru(self.mlp(torch.cat([features, centre, step_id, level_id], -1)))[0]


class Critic(nn.Module):
    """Distributions of all bins, level by level. Sizes and options are those of the agent ``like``."""

    def __init__(self, like: CQN) -> None:
        super().__init__()
        config, ours = like.config, like.critic
        self.levels, self.bins, self.chunk_length = config.levels, config.bins, like.chunk_length
        self.action_dim, _, self.atoms = ours.shape
        self.tie_threshold = config.tie_threshold
        state_dim, image_dim = like.perception.sizes["state"], like.perception.sizes["image"]
        hidden, width = config.hidden_dim, config.encoder.feature_dim + (config.trunk_dim or state_dim)
        width += self.action_dim + self.chunk_length + self.levels
        self.streams = nn.ModuleList()
        for _ in range(2 if config.dueling == "separate" else 1):
            layers, size = [], image_dim
            for _ in range(config.encoder.layers):
                layers += [nn.Linear(size, hidden, bias=False), nn.LayerNorm(hidden), nn.SiLU()]
                size = hidden
            image = nn.Sequential(*layers, *_squashed(size, config.encoder.feature_dim))
            state = nn.Sequential(*_squashed(state_dim, config.trunk_dim)) if config.trunk_dim else nn.Identity()
            self.streams.append(Stream(image, state, width, hidden, (self.levels, self.chunk_length)))
        self.value = nn.Linear(hidden, self.action_dim * self.atoms)
        self.advantage = nn.Linear(hidden, self.action_dim * self.bins * self.atoms)
        self.register_buffer("support", torch.linspace(config.v_min, config.v_max, self.atoms))

    def level(self, image: Tensor, state: Tensor, centre: Tensor, level: int) -> Tensor:
        """Logits [B, D, K, Z] of one level; ``centre`` is [B, T, A]."""
        hidden = [stream(image, state, centre, level) for stream in self.streams]
        value = self.value(hidden[0]).view(len(image), -1, 1, self.atoms)
        advantage = self.advantage(hidden[-1]).view(len(image), -1, self.bins, self.atoms)
        return value + advantage - advantage.mean(2, keepdim=True)

    def forward(self, image: Tensor, state: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """Values, probabilities and their logarithms [B, L, D, K, (Z)] of all bins, and of those of ``action``."""
        low, high = -torch.ones_like(action), torch.ones_like(action)
        values, probs, chosen_probs, logs, chosen_logs, indices = [], [], [], [], [], []
        for level in range(self.levels):
            width = (high - low) / self.bins
            index = ((action - low) / width).floor().clamp(0, self.bins - 1).long()
            logits = self.level(image, state, (low + high) / 2, level)
            where = index.flatten(1)[..., None, None].expand(-1, -1, 1, self.atoms)
            p, log_p = F.softmax(logits, 3), F.log_softmax(logits, 3)
            values.append((p * self.support).sum(3))
            probs.append(p)
            chosen_probs.append(p.gather(2, where)[:, :, 0])
            logs.append(log_p)
            chosen_logs.append(log_p.gather(2, where)[:, :, 0])
            indices.append(index.flatten(1))
            low = low + width * index
            high = low + width
        lists = (values, probs, chosen_probs, logs, chosen_logs, indices)
        return tuple(torch.stack(parts, 1) for parts in lists)

    def greedy(self, image: Tensor, state: Tensor, ties: Tensor | None = None) -> Tensor:
        """Best action [B, T, A]; ``ties`` [L, B * T, A] are the bins taken among equals."""
        shape = (len(image), self.chunk_length, self.action_dim)
        low, high = -torch.ones(shape, device=image.device), torch.ones(shape, device=image.device)
        for level in range(self.levels):
            probs = F.softmax(self.level(image, state, (low + high) / 2, level), 3)
            values = (probs * self.support).sum(3).view(*shape, self.bins)
            tie = torch.randint_like(low, self.bins).long() if ties is None else ties[level].view(shape)
            tied = values.max(-1)[0] - values.min(-1)[0] < self.tie_threshold
            index = torch.where(tied, tie, values.argmax(-1))
            width = (high - low) / self.bins
            low = low + width * index
            high = low + width
        return (low + high) / 2


def _squashed(size: int, width: int) -> list[nn.Module]:
    return [nn.Linear(size, width, bias=False), nn.LayerNorm(width), nn.Tanh()]


@torch.no_grad()
def copy_weights(like: CQN, encoder: Encoder, critic: Critic) -> None:
    """Give both the weights of an agent, in the order that NCHW features have."""
    ours = like.perception.encoder
    for theirs, net in zip(encoder.views, ours.nets, strict=True):
        sources = [part for pair in zip(net.convs, net.norms, strict=True) for part in pair]
        targets = [part for part in theirs if not isinstance(part, nn.SiLU)]
        _copy(sources, targets)
    views, channels = len(encoder.views), encoder.views[0][-3].out_channels
    side = round((ours.out_dim / views / channels) ** 0.5)
    for theirs, stream in zip(critic.streams, like.critic.streams, strict=True):
        trunks = stream.trunk.parts
        _copy([*trunks["image"], trunks["state"]], [*theirs.image, theirs.state])
        # Our features are ordered (view, row, column, channel), theirs (view, channel, row, column).
        weight = trunks["image"][0].weight.view(-1, views, side, side, channels)
        theirs.image[0].weight.copy_(weight.permute(0, 1, 4, 2, 3).flatten(1))
        sources = [stream.first, stream.first_norm, stream.second, stream.second_norm, stream.gru]
        _copy(sources, [*(theirs.mlp[i] for i in (0, 1, 3, 4)), theirs.gru])
    _copy([like.critic.value, like.critic.advantage], [critic.value, critic.advantage])


def _copy(sources: list[nn.Module], targets: list[nn.Module]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.load_state_dict(source.state_dict())
