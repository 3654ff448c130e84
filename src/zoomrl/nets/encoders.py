"""From camera images to one vector: the published encoders, one network for each view or one for all.

Images and activations keep the layout in which frames are stored (channels-last). A layer normalisation over channels
is one pass along memory there, and on a CPU the convolutions take 0.75 of their time in the other layout.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.init import orthogonal_, to_channels_last
from zoomrl.nets.resnet import ResNet18, load_weights

Layer = tuple[int, int, int]
"""Kernel, stride and padding of a convolution, in pixels."""
STRIDED: tuple[Layer, ...] = ((4, 2, 1),) * 4
"""CQN and CQN-AS (Seo et al. 2024; Seo & Abbeel 2024), BiGym and RLBench."""
DRQV2: tuple[Layer, ...] = ((3, 2, 0), (3, 1, 0), (3, 1, 0), (3, 1, 0))
"""DrQ-v2 (Yarats et al. 2021); CQN on the DeepMind Control Suite."""
RESNET18: tuple[Layer, ...] = ((7, 2, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1))
"""What halves the maps of a ResNet-18 (He et al. 2016)."""


class Encoder(nn.Module):
    """Networks over the views, and their features side by side.

    Attributes:
        out_dim: V times the features of one view.
    """

    def __init__(self, nets: list[ConvNet] | list[ResNet18], shape: tuple[int, int, int, int, int]) -> None:
        """One net in ``nets`` serves all views. ``shape`` is (F, V, H, W, C)."""
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.shape = shape
        self._whole = False
        self.out_dim = shape[1] * nets[0].features

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, V, H, W, C] -> float32 [B, out_dim], view by view."""
        if frames.dtype != torch.uint8 or frames.shape[1:] != self.shape:
            raise ValueError(f"expected uint8 [B, {self.shape}], got {frames.dtype} {list(frames.shape)}")
        if len(self.nets) == 1:
            # Views fold into the batch.
            return self._encode(self.nets[0], frames.transpose(1, 2).flatten(0, 1)).view(frames.shape[0], -1)
        # A loop: on a CPU, one convolution in V groups takes 0.7 to 1.1 times as long at 64x64, 1.1 to 1.8 at 84x84.
        return torch.cat([self._encode(net, frames[:, :, view]) for view, net in enumerate(self.nets)], 1)

    def keep_maps(self) -> tuple[int, int, int, int]:
        """Give whole maps from now on: those of a ResNet-18 are no longer averaged, the others never are.

        Returns:
            Their shape (V, rows, columns, channels); the features are in this order.
        """
        self._whole = True
        frames, views, size, _, _ = self.shape
        net = self.nets[0]
        if isinstance(net, ConvNet):
            rows, channels = net.map_size, net.features // net.map_size**2
        else:
            rows, channels = _map_size(size, RESNET18), frames * 512
        self.out_dim = views * rows**2 * channels
        return views, rows, rows, channels

    def _encode(self, net: nn.Module, images: Tensor) -> Tensor:
        if self._whole and isinstance(net, ResNet18):
            return net.maps(images).permute(0, 3, 4, 1, 2).flatten(1)
        features: Tensor = net(images)
        return features


class ConvNet(nn.Module):
    """Convolutions, each with a normalisation and an activation: uint8 [N, F, H, W, C] -> [N, features].

    Frames are stacked on the channel axis, oldest first. Features are ordered (row, column, channel).
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        widths: list[int],
        norm: Callable[[int], nn.Module],
        activation: str,
        size: int,
    ) -> None:
        """``widths`` are the channels before and after each layer, ``size`` the images' height and width."""
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, padding)
            for (kernel, stride, padding), before, after in zip(layers, widths[:-1], widths[1:], strict=True)
        )
        self.norms = nn.ModuleList(norm(width) for width in widths[1:])
        self.activation = F.silu if activation == "silu" else F.relu
        self.map_size = _map_size(size, layers)
        self.features = self.map_size**2 * widths[-1]
        self.apply(orthogonal_)
        to_channels_last(self)

    def forward(self, images: Tensor) -> Tensor:
        """Encode ``images``."""
        dtype = next(self.parameters()).dtype
        # Joined as bytes, not permuted: half the time.
        x = torch.cat(images.unbind(1), -1).to(dtype).div_(255).sub_(0.5).permute(0, 3, 1, 2)
        # In place where no gradient needs the input.
        inplace = not torch.is_grad_enabled()
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.activation(norm(conv(x)), inplace)
        return x.permute(0, 2, 3, 1).flatten(1)


class PixelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of [N, C, H, W], stored channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _map_norm(channels: int) -> nn.Module:
    """Normalisation over the whole map, with a weight and bias for each channel."""
    return nn.GroupNorm(1, channels)


def make_encoder(config: EncoderConfig, views: int, frames: int, size: int, channels: int = 3) -> Encoder:
    """Build the encoder that ``config`` describes.

    Args:
        config: of the encoder.
        views: cameras V.
        frames: stacked frames F.
        size: height and width of the images in pixels.
        channels: of one frame.

    Raises:
        ConfigError: an unknown kind, images too small for the layers, options that do not go together, or weights
            that cannot be used.
    """
    if min(views, frames, size, channels) < 1:
        raise ValueError(f"views, frames, size and channels must be positive, got {(views, frames, size, channels)}")
    _check(config, size, channels)
    # Frozen networks of the same weights are one.
    count_nets = 1 if config.share_views or config.frozen else views
    shape = (frames, views, size, size, channels)
    if config.kind == "resnet18":
        resnets = [ResNet18(frames, config.frozen) for _ in range(count_nets)]
        if config.weights:
            for net in resnets:
                load_weights(net, config.weights)
        return Encoder(resnets, shape)
    layers, widths = _layers(config.kind), [config.channels] * 4
    if config.kind == "strided":
        widths = [config.channels * 2**layer for layer in range(4)]
    norm: Callable[[int], nn.Module] = PixelNorm if config.kind == "strided" else _map_norm
    if config.norm == "none":
        norm = nn.Identity
    widths = [frames * channels, *widths]
    return Encoder([ConvNet(layers, widths, norm, config.activation, size) for _ in range(count_nets)], shape)


def _layers(kind: str) -> tuple[Layer, ...]:
    return {"strided": STRIDED, "drqv2": DRQV2, "resnet18": ()}[kind]


def _map_size(size: int, layers: tuple[Layer, ...]) -> int:
    """Height of the last map for images of ``size`` pixels; 0 or less where they are too small."""
    for kernel, stride, padding in layers:
        size = (size + 2 * padding - kernel) // stride + 1
    return size


def _check(config: EncoderConfig, size: int, channels: int) -> None:
    kinds = {"kind": ("strided", "drqv2", "resnet18"), "norm": ("layer", "none"), "activation": ("silu", "relu")}
    for field, known in kinds.items():
        if getattr(config, field) not in known:
            raise unknown_name(f"encoder.{field}", getattr(config, field), known)
    layers = _layers(config.kind)
    smallest = next(n for n in count(1) if _map_size(n, layers) > 0)
    if size < smallest:
        raise ConfigError(
            f"images of {size}x{size} pixels are too small for the {config.kind} encoder: the smallest size is "
            f"{smallest}. Render larger images."
        )
    if config.kind == "resnet18":
        if channels != 3:
            raise ConfigError(f"a resnet18 encoder needs images of 3 channels, got {channels}. Use another kind.")
        if config.frozen and not config.weights:
            raise ConfigError("encoder.frozen needs encoder.weights: a frozen random network would never learn to see.")
        return
    if config.weights or config.frozen:
        raise ConfigError(f"encoder.weights and encoder.frozen are for kind resnet18; the kind is {config.kind}.")
    if config.channels < 2:
        # One channel normalised over channels is a constant.
        raise ConfigError(f"encoder.channels must be at least 2, got {config.channels}.")
