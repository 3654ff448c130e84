"""Hyper-parameters of the image encoders. Plain data: importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EncoderConfig:
    """Image encoder and augmentation. Defaults are CQN's for BiGym and RLBench (Seo et al. 2024)."""

    kind: Literal["strided", "drqv2", "resnet18"] = "strided"
    """Four stride-2 convolutions (CQN), DrQ-v2's four 3x3 convolutions, or a ResNet-18."""
    channels: int = 32
    """Channels of the first layer. The strided encoder doubles them at each layer, drqv2 keeps them."""
    norm: Literal["layer", "none"] = "layer"
    """Normalise after each convolution: over channels at each pixel (strided), over the whole map (drqv2), or not."""
    activation: Literal["silu", "relu"] = "silu"
    """Activation after each convolution; a ResNet-18 always has ReLU."""
    share_views: bool = False
    """One network for all views; otherwise one for each view (published)."""
    layers: int = 0
    """Extra layers (Linear to the hidden width, LayerNorm, SiLU) in each image trunk."""
    feature_dim: int = 64
    """Width of the image trunks."""
    shift: int = 4
    """Largest random shift of the images while learning, in pixels; 0 for none."""
    weights: str = ""
    """File of pretrained ResNet-18 weights with torchvision's names (.pt, .pth or .safetensors); none if empty."""
    frozen: bool = False
    """Do not train the ResNet-18."""
