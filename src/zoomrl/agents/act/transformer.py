"""Transformers (Vaswani et al. 2017), normalised after each residual sum, with dropout masks that are handed in.

Dropout samples no mask here: the caller passes it as ``keep``, so that an update remains a function of tensors.
It falls on the output of each block and on the hidden layer of the feed-forward block, not on attention weights, which
fused attention never writes down. Axes: B batch, L token, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PERIOD = 10_000.0
"""Slowest wavelength of the positions, divided by 2 pi (Vaswani et al. 2017, section 3.5)."""


def sine_positions(length: int, dim: int) -> Tensor:
    """``P[p, 2i] = sin(p / PERIOD^(2i / dim))`` and ``P[p, 2i + 1] = cos`` of the same: [length, dim], ``dim`` even."""
    rates = PERIOD ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def sine_positions_2d(rows: int, columns: int, dim: int) -> Tensor:
    """Position of the row in the first half, of the column in the second: [rows * columns, dim], row by row.

    ``dim`` is a multiple of 4.
    """
    row = sine_positions(rows, dim // 2)[:, None].expand(-1, columns, -1)
    column = sine_positions(columns, dim // 2)[None].expand(rows, -1, -1)
    return torch.cat([row, column], -1).flatten(0, 1)


class Attention(nn.Module):
    """Attention with several heads: queries from ``x`` [B, L, D], keys and values from ``memory`` [B, M, D]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, attend: Tensor | None = None) -> Tensor:
        """[B, L, D]; ``attend`` [B, M] bool is False for tokens that nobody may look at."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if attend is None else attend[:, None, None]
        mixed = F.scaled_dot_product_attention(query, key, value, mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    """What layers of both kinds share: the feed-forward block, and dropout."""

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.rise = nn.Linear(dim, feedforward)
        self.fall = nn.Linear(feedforward, dim)
        self.last_norm = nn.LayerNorm(dim)

    def _feed(self, x: Tensor, hidden: Tensor | None, output: Tensor | None) -> Tensor:
        fed = self._drop(self.fall(self._drop(F.relu(self.rise(x)), hidden)), output)
        return self.last_norm(x + fed)

    def _drop(self, x: Tensor, keep: Tensor | None) -> Tensor:
        return x if keep is None else x * (keep * (1 / (1 - self.dropout)))


class EncoderLayer(_Layer):
    """Self-attention and feed-forward."""

    def forward(self, x: Tensor, attend: Tensor | None, keep: Tensor | None) -> Tensor:
        """[B, L, D] to [B, L, D]; see :class:`EncoderStack`."""
        width, hidden = x.shape[-1], self.rise.out_features
        masks = (None,) * 3 if keep is None else keep.split((width, hidden, width), -1)
        x = self.norm(x + self._drop(self.attention(x, x, attend), masks[0]))
        return self._feed(x, *masks[1:])


class DecoderLayer(_Layer):
    """Self-attention, attention to a memory, and feed-forward."""

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(dim, heads, feedforward, dropout)
        self.cross_attention = Attention(dim, heads)
        self.cross_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor, keep: Tensor | None) -> Tensor:
        """[B, L, D] to [B, L, D]; see :class:`DecoderStack`."""
        width, hidden = x.shape[-1], self.rise.out_features
        masks = (None,) * 4 if keep is None else keep.split((width, width, hidden, width), -1)
        x = self.norm(x + self._drop(self.attention(x, x), masks[0]))
        x = self.cross_norm(x + self._drop(self.cross_attention(x, memory), masks[1]))
        return self._feed(x, *masks[2:])


class _Stack(nn.Module):
    """Layers one after the other, of which each element is kept with probability 1 - ``dropout``."""

    def __init__(self, layers: list[EncoderLayer] | list[DecoderLayer], dropout: float, mask_width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = dropout
        self.mask_width = mask_width
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def sample_noise(self, batch: int, length: int, generator: torch.Generator) -> Tensor | None:
        """What dropout keeps: bool [layers, B, L, width of the masks]; None without dropout."""
        if not self.dropout:
            return None
        shape = torch.Size((len(self.layers), batch, length, self.mask_width))
        # Four 16-bit numbers from each sampled one: on a CPU a quarter of the time of sampling each by itself.
        words = torch.empty(-(-shape.numel() // 4), dtype=torch.int64, device=generator.device)
        bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)
        # 2**15 is beyond 16 bits: compared with it, nothing would be kept.
        bound = min(round((1 - self.dropout) * 2**16) - 2**15, 2**15 - 1)
        return (bits[: shape.numel()] < bound).view(shape)


class EncoderStack(_Stack):
    """Layers of self-attention."""

    def __init__(self, dim: int, heads: int, feedforward: int, layers: int, dropout: float) -> None:
        built = [EncoderLayer(dim, heads, feedforward, dropout) for _ in range(layers)]
        super().__init__(built, dropout, 2 * dim + feedforward)

    def forward(self, x: Tensor, attend: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """[B, L, D] to [B, L, D].

        Args:
            x: the tokens, with their positions.
            attend: bool [B, L], False for padding, which no token sees; None for no padding.
            keep: of :meth:`sample_noise`; None drops nothing.
        """
        for index, layer in enumerate(self.layers):
            x = layer(x, attend, None if keep is None else keep[index])
        return x


class DecoderStack(_Stack):
    """Layers of self-attention and attention to a memory."""

    def __init__(self, dim: int, heads: int, feedforward: int, layers: int, dropout: float) -> None:
        built = [DecoderLayer(dim, heads, feedforward, dropout) for _ in range(layers)]
        super().__init__(built, dropout, 3 * dim + feedforward)

    def forward(self, x: Tensor, memory: Tensor, keep: Tensor | None = None) -> Tensor:
        """``x`` [B, L, D] looks at ``memory`` [B, M, D]: [B, L, D]. ``keep`` as for :class:`EncoderStack`."""
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, None if keep is None else keep[index])
        return x
