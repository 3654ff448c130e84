"""Networks of ACT (Zhao et al. 2023, section IV): a posterior of the style, and the policy that it informs.

Axes: B batch, T step of the chunk, S numbers of the state, V view, D width of the tokens, A action dimension.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoomrl.agents.act.transformer import DecoderStack, EncoderStack, sine_positions, sine_positions_2d

MapShape = tuple[int, int, int, int]
"""Views, rows, columns, channels."""


class Sizes(NamedTuple):
    """Of both networks.

    Attributes:
        state: numbers S of the state; 0 for none.
        maps: shape of the images' maps; None without images.
        actions: dimensions A.
        chunk_length: steps T.
        style: numbers in z.
        dim, heads, feedforward, dropout: of the transformers.
    """

    state: int
    maps: MapShape | None
    actions: int
    chunk_length: int
    style: int
    dim: int
    heads: int
    feedforward: int
    dropout: float

    def stack(self) -> tuple[int, int, int]:
        """What all layers of all stacks share."""
        return self.dim, self.heads, self.feedforward


class Posterior(nn.Module):
    """The style of a demonstrated chunk: tokens [CLS, state, actions] through a transformer, read at [CLS].

    Images are left out, as published: the chunk and the state say enough, and it is faster.
    """

    positions: Tensor

    def __init__(self, sizes: Sizes, layers: int) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.randn(sizes.dim))
        self.state = nn.Linear(sizes.state, sizes.dim) if sizes.state else None
        self.actions = nn.Linear(sizes.actions, sizes.dim)
        self.tokens = 1 + bool(sizes.state) + sizes.chunk_length
        self.register_buffer("positions", sine_positions(self.tokens, sizes.dim), persistent=False)
        self.stack = EncoderStack(*sizes.stack(), layers, sizes.dropout)
        self.head = nn.Linear(sizes.dim, 2 * sizes.style)

    def forward(
        self, state: Tensor | None, actions: Tensor, valid: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of z, both [B, style].

        Args:
            state: [B, S].
            actions: [B, T, A].
            valid: [B, T]; other steps are seen by nothing.
            keep: of dropout.
        """
        # `where`, not the mask of attention alone: a weight of 0 does not stop NaN.
        actions = torch.where(valid[..., None], actions, torch.zeros_like(actions))
        tokens = [self.summary.expand(len(actions), 1, -1)]
        if self.state is not None and state is not None:
            tokens.append(self.state(state)[:, None])
        real = valid.new_ones(len(actions), len(tokens))
        joined = torch.cat([*tokens, self.actions(actions)], 1) + self.positions
        summary = self.stack(joined, torch.cat([real, valid], 1), keep)[:, 0]
        mean, log_variance = self.head(summary).chunk(2, -1)
        return mean, log_variance


class Policy(nn.Module):
    """Style and observation to a chunk: tokens [z, state, image patches] through a transformer encoder, which T
    learnt queries read through a decoder."""

    patches: Tensor

    def __init__(self, sizes: Sizes, encoder_layers: int, decoder_layers: int) -> None:
        super().__init__()
        self.style = nn.Linear(sizes.style, sizes.dim)
        self.state = nn.Linear(sizes.state, sizes.dim) if sizes.state else None
        self.tokens = 1 + bool(sizes.state)
        self.kinds = nn.Parameter(torch.randn(self.tokens, sizes.dim))
        self.maps = sizes.maps
        if sizes.maps is not None:
            views, rows, columns, channels = sizes.maps
            self.patch = nn.Linear(channels, sizes.dim)
            self.views = nn.Parameter(torch.randn(views, 1, sizes.dim))
            self.register_buffer("patches", sine_positions_2d(rows, columns, sizes.dim), persistent=False)
            self.tokens += views * rows * columns
        self.queries = nn.Parameter(torch.randn(sizes.chunk_length, sizes.dim))
        self.encoder = EncoderStack(*sizes.stack(), encoder_layers, sizes.dropout)
        self.decoder = DecoderStack(*sizes.stack(), decoder_layers, sizes.dropout)
        self.head = nn.Linear(sizes.dim, sizes.actions)

    def forward(
        self,
        style: Tensor,
        state: Tensor | None,
        image: Tensor | None,
        encoder_keep: Tensor | None = None,
        decoder_keep: Tensor | None = None,
    ) -> Tensor:
        """[B, T, A], not limited to [-1, 1].

        Args:
            style: z [B, style].
            state: [B, S].
            image: [B, V * rows * columns * channels].
            encoder_keep, decoder_keep: of dropout.
        """
        tokens = [self.style(style)]
        if self.state is not None and state is not None:
            tokens.append(self.state(state))
        memory = torch.stack(tokens, 1) + self.kinds
        if self.maps is not None and image is not None:
            views, rows, columns, channels = self.maps
            patches = self.patch(image.view(-1, views, rows * columns, channels)) + self.patches + self.views
            memory = torch.cat([memory, patches.flatten(1, 2)], 1)
        memory = self.encoder(memory, None, encoder_keep)
        queries = self.queries.expand(len(style), -1, -1)
        chunk: Tensor = self.head(self.decoder(queries, memory, decoder_keep))
        return chunk
