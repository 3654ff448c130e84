"""Hyperparameters of encoders and latent models. Plain data: importing this module loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, choices, positive, refuse_idle, refuse_idle_decay, widths


@with_field_docs
@dataclass(frozen=True)
class EncoderConfig:
    """Image encoder and augmentation. Defaults are CQN's for BiGym and RLBench (Seo et al. 2024).

    Raises:
        ConfigError: a number is out of its range. Images that are too small, and weights that do not fit, are refused
            when the encoder is built.
    """

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
    """Extra layers (Linear, LayerNorm, SiLU) in each image trunk: as wide as the hidden layers in CQN and DrQ-v2, and
    feature_dim elsewhere."""
    feature_dim: int = 64
    """Width of the image trunks."""
    shift: int = 4
    """Largest random shift of the images while learning, in pixels; 0 for none."""
    weights: str = ""
    """File of pretrained ResNet-18 weights with torchvision's names (.pt, .pth or .safetensors); none if empty."""
    frozen: bool = False
    """Do not train the ResNet-18."""

    def __post_init__(self) -> None:
        choices(self, "agent.encoder.")
        at_least(self, "agent.encoder.", channels=1, layers=0, feature_dim=1, shift=0)


@with_field_docs
@dataclass(frozen=True)
class RepresentationConfig:
    """A self-predictive latent, jointly trained with any agent. Defaults are iQRL's (Scannell et al. 2024).

    Paper: Scannell et al., "iQRL: Implicitly Quantized Representations for Sample-efficient Reinforcement Learning"
    (2024). Rounding is that of Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (2023).

    Raises:
        ConfigError: a number is out of its range, or ``dim`` is no multiple of the number of ``fsq_levels``.
    """

    kind: Literal["none", "self_predictive"] = "none"
    """What the agent reads: its observation, or the latent of a model that is trained to predict its own future."""
    dim: int = 1024
    """Dimensions D of the latent."""
    quantise: bool = True
    """Round the latent to a few levels (FSQ)."""
    fsq_levels: tuple[int, ...] = (8, 8)
    """Levels of each channel of a code; neighbouring dimensions of the latent form one code."""
    encoder_hidden: tuple[int, ...] = (256,)
    """Widths of the encoder's hidden layers."""
    model_hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers of dynamics and heads."""
    norm: bool = True
    """LayerNorm before each activation."""
    activation: Literal["mish", "elu", "relu", "silu"] = "mish"
    """Activation of the hidden layers."""
    init: Literal["default", "orthogonal"] = "default"
    """Weight initialization: PyTorch's, or orthogonal matrices with zero biases, as in TCRL and iQRL's first draft."""
    residual: bool = True
    """Dynamics predict the change of the latent, or the next latent itself."""
    horizon: int = 5
    """Steps H that the latent is predicted ahead."""
    decay: float = 0.9
    """Weight of each step of the prediction relative to the one before."""
    consistency: Literal["cosine", "mse"] = "cosine"
    """Maximise the cosine between predicted and target latent, or minimise their squared distance."""
    consistency_coef: float = 1.0
    """Weight of the consistency term."""
    reward_coef: float = 0.0
    """Weight of predicting the rewards of the horizon; 0 for no reward head."""
    reconstruction_coef: float = 0.0
    """Weight of reconstructing the observed states; 0 for no decoder."""
    projection_dim: int = 0
    """Compare projections of this width instead of the latents; 0 compares the latents."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW with decoupled weight decay, or Adam, of the representation alone."""
    lr: float = 1e-4
    """Its learning rate."""
    weight_decay: float = 0.01
    """Its weight decay (AdamW)."""
    clip: float = 20.0
    """Largest norm of its gradient."""
    target_tau: float = 0.005
    """Step of the target encoder towards the online one."""
    read: Literal["online", "target"] = "online"
    """The encoder that the agent reads: the one that learns, or its moving average, as in iQRL's first draft."""

    def __post_init__(self) -> None:
        place = "agent.representation."
        choices(self, place)
        at_least(self, place, dim=1, horizon=1, projection_dim=0, weight_decay=0)
        at_least(self, place, consistency_coef=0, reward_coef=0, reconstruction_coef=0)
        positive(self, place, "lr", "clip")
        positive(self, place, "decay", "target_tau", most=1)
        widths(self, place, "encoder_hidden", "model_hidden")
        learnt = [each.name for each in dataclasses.fields(self) if each.name != "kind"]
        refuse_idle(self, place, self.kind != "none", f"{place}kind=self_predictive", *learnt)
        refuse_idle(self, place, self.quantise, f"{place}quantise", "fsq_levels")
        refuse_idle_decay(self, place)
        if self.quantise and (not self.fsq_levels or min(self.fsq_levels) < 2):
            raise ConfigError(f"{place}fsq_levels must be 2 or more for each channel, got {self.fsq_levels}")
        if self.quantise and self.dim % len(self.fsq_levels):
            raise ConfigError(
                f"{place}dim ({self.dim}) must be a multiple of the number of channels ({len(self.fsq_levels)})"
            )
