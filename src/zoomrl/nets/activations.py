"""Activations by name."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Mish(nn.Module):
    """``x * tanh(softplus(x))`` (Misra 2019). PyTorch's own takes two to four times as long on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Activate ``x``."""
        if torch.compiler.is_compiling():
            fraction = torch.sigmoid(x)
            top = fraction * (2 - fraction)
            return x * (top / (2 - top))
        if x.device.type != "cpu":
            return F.mish(x)
        result: Tensor = _Mish.apply(x)
        return result


class _Mish(torch.autograd.Function):
    """With s = sigmoid(x) and u = s (2 - s): y = x t with t = tanh(softplus(x)) = u / (2 - u), y' = t + x s (1 - t^2).

    The slope is made at once, while its parts are in the cache: the way back reads one tensor.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        full = x.to(torch.float32) if x.dtype == torch.bfloat16 else x
        fraction = torch.sigmoid(full)
        top = (2 - fraction).mul_(fraction)
        squashed = top.div_(2 - top)
        if not ctx.needs_input_grad[0]:
            return squashed.mul_(full).to(x.dtype)
        slope = torch.ops.aten.tanh_backward(fraction, squashed)
        ctx.save_for_backward(torch.addcmul(squashed, slope, full, out=slope))
        return squashed.mul_(full).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return (slope * gradients[0]).to(gradients[0].dtype)


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "mish": Mish, "silu": nn.SiLU}
