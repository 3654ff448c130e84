"""Random shift, the augmentation of DrQ-v2 (Yarats et al. 2021), as an integer crop.

Published: pad by replication, shift a sampling grid by whole pixels, interpolate bilinearly. The grid then lies on
pixel centres, and the interpolation is a crop up to rounding (0.004 of 255). The crop keeps uint8 and moves whole rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sample_offsets(batch: int, views: int, pad: int, generator: torch.Generator) -> Tensor:
    """Rows and columns to skip in the padded images: int64 [2, B, V], uniform in 0 .. 2 ``pad``.

    Each sample and view has a shift of its own (CQN); the frames of a stack share it.
    """
    return torch.randint(2 * pad + 1, (2, batch, views), generator=generator, device=generator.device)


def shift(frames: Tensor, pad: int, offsets: Tensor) -> Tensor:
    """Pad images by replication and crop them. Nothing is read back, so that it can be captured in a CUDA graph.

    Args:
        frames: uint8 [B, F, V, H, W, C].
        pad: largest shift in pixels, at least 1.
        offsets: int64 [2, B, V] of :func:`sample_offsets`.

    Returns:
        The same shape and type.
    """
    batch, stack, views, height, width, channels = frames.shape
    # Columns are padded in memory, rows by clamping their index. A shifted row is then one run of the flat memory, and
    # the crop a copy of such runs. On a CPU, indexing pixels takes 2 to 10 times as long; padding rows too, 1.3 times.
    left = frames[..., :1, :].expand(-1, -1, -1, -1, pad, -1)
    right = frames[..., -1:, :].expand(-1, -1, -1, -1, pad, -1)
    padded = torch.cat([left, frames, right], -2)
    pixels = padded.shape[:-1].numel()
    runs = padded.as_strided((pixels - width + 1, width * channels), (channels, 1))

    line = torch.arange(height, device=frames.device)
    rows = (offsets[0, :, None, :, None] + line - pad).clamp(0, height - 1)
    images = torch.arange(batch * stack * views, device=frames.device).view(batch, stack, views, 1)
    starts = (images * height + rows) * (width + 2 * pad) + offsets[1, :, None, :, None]
    return runs.index_select(0, starts.flatten()).view(frames.shape)
