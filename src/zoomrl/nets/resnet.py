"""ResNet-18 (He et al. 2016) without its classifier, with torchvision's parameter names, so that its weights load."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.errors import ConfigError, is_missing
from zoomrl.nets.init import orthogonal_, to_channels_last

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's red, green and blue in [0, 1], as published weights expect."""


class ResNet18(nn.Module):
    """uint8 [N, F, H, W, 3] -> [N, F * 512]: each frame on its own, averaged over the last map.

    Batch normalisation always uses its stored statistics: batches of one task's images would drift far from those that
    the weights know, and acting would differ from learning. Its weights and biases learn unless ``frozen``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, frames: int, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.features = frames * 512
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        self.register_buffer("mean", 255 * torch.tensor(MEAN), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD), persistent=False)
        self.apply(orthogonal_)
        for module in self.modules():
            if isinstance(module, _Block):
                # Without learnt statistics nothing else keeps the sum over blocks from growing (Goyal et al. 2017).
                nn.init.zeros_(module.bn2.weight)
        to_channels_last(self)
        self.requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> ResNet18:
        """As for any module, but statistics stay fixed, and a frozen network stays in evaluation mode."""
        super().train(mode and not self.frozen)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Encode ``images``."""
        return self.maps(images).mean((3, 4)).flatten(1)

    def maps(self, images: Tensor) -> Tensor:
        """The last maps of ``images``: [N, F, 512, rows, columns]."""
        x = images.flatten(0, 1).to(self.mean.dtype).sub_(self.mean).div_(self.std)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x.permute(0, 3, 1, 2)))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.unflatten(0, images.shape[:2])


class _Block(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def load_weights(net: ResNet18, file: str) -> None:
    """Load ImageNet weights: a state dict with torchvision's names. Its classifier (``fc``) is left out.

    Raises:
        ConfigError: the file is missing or unreadable, or its keys or shapes are not those of a ResNet-18.
    """
    found = {name: value for name, value in _read(file).items() if _wanted(name)}
    expected = {name: value for name, value in net.state_dict().items() if _wanted(name)}
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": [
            f"{name} {list(found[name].shape)}, not {list(value.shape)}"
            for name, value in expected.items()
            if name in found and found[name].shape != value.shape
        ],
    }
    faults = [f"{kind}: {_some(names)}" for kind, names in wrong.items() if names]
    if faults:
        raise ConfigError(
            f"encoder.weights: {file} does not hold the state dict of a ResNet-18 with torchvision's names. "
            f"Keys {'; '.join(faults)}."
        )
    net.load_state_dict(found, strict=False)


def _wanted(name: str) -> bool:
    # Older published files lack the counters, which nothing here reads.
    return not name.startswith("fc.") and not name.endswith("num_batches_tracked")


def _some(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _read(file: str) -> dict[str, Tensor]:
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"encoder.weights: there is no file {file}.")
    try:
        if path.suffix == ".safetensors":
            state = importlib.import_module("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        if not is_missing(error, "safetensors"):
            raise ConfigError(f"encoder.weights: safetensors cannot be imported: {error!r}") from error
        raise ConfigError(
            f"encoder.weights: {file} needs the package safetensors. Install it with: pip install safetensors"
        ) from error
    except Exception as error:  # Whatever the readers make of a file that is something else.
        raise ConfigError(f"encoder.weights: {file} cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"encoder.weights: {file} holds {type(state).__name__}, expected a dict of tensors by name.")
    return state
