"""What several agents report of their batches and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoomrl.agents.contract import Metrics
from zoomrl.agents.steps import demonstrated
from zoomrl.math.categorical import outside
from zoomrl.math.losses import masked_mean


def q_metrics(values: Tensor, batch: Mapping[str, Any]) -> Metrics:
    """Mean and largest value, and the bound r_max / (1 - gamma) that no value may pass for long.

    Args:
        values: [..., B] of the actions taken.
        batch: whose ``reward`` [B] are sums over n steps and whose ``discount`` [B] are gamma^n: largest and bound
            come out the same for every n.
    """
    values = values.detach()
    bound = batch["reward"].amax() / (1 - batch["discount"].amax()).clamp(min=1e-6)
    return {"q": values.mean(), "q_max": values.amax(), "q_bound": bound}


def clipped_fractions(values: Tensor, weight: Tensor, atoms: Tensor) -> Metrics:
    """Fractions of the targets that lie below and above the atoms.

    Args:
        values: [...], means of the targets before they are projected onto the atoms.
        weight: broadcastable to it; 0 leaves a target out.
        atoms: [Z].
    """
    low, high = outside(values, atoms)
    return {
        "target_clipped_low": masked_mean(low.to(torch.float32), weight),
        "target_clipped_high": masked_mean(high.to(torch.float32), weight),
    }


def value_bounds(batch: Mapping[str, Any]) -> Metrics:
    """Between what the values of this batch must lie.

    A value v is a window's reward R plus its discount d times another value: none can stay beyond the extremes of
    ``R / (1 - d)``.

    Args:
        batch: whose ``reward`` [B] are the windows' and ``discount`` [B] are gamma^n, or 0 at terminal states.
    """
    bounds = batch["reward"] / (1 - batch["discount"]).clamp(min=1e-6)
    return {"value_bound_low": bounds.amin(), "value_bound_high": bounds.amax()}


AT_BOUND = 0.999
"""Magnitude from which on a command is at the bound of its range."""
FAR = 5.0
"""Standard deviations from which on a scaled entry of the state is unlike what its scale was taken from."""
_FEWEST = 8
"""Samples that say whether what a camera shows changes."""
_EVERY = 4
"""Rows and columns of images between those that are looked at."""


def input_metrics(batch: Mapping[str, Any], features: Mapping[str, Tensor]) -> Metrics:
    """What reaches the agent, by a few samples: still or far inputs, padding, and commands of demonstrations.

    Args:
        batch: ``obs``, ``actions`` [B, T, A] in [-1, 1], ``valid`` [B, T], ``is_demo`` [B].
        features: of its observations, by perception.
    """
    demo = demonstrated(batch)[..., None]
    found = {
        "valid_fraction": batch["valid"].to(torch.float32).mean(),
        "demo_at_bound": masked_mean((batch["actions"].abs() >= AT_BOUND).to(torch.float32), demo),
        "demo_action_size": masked_mean(batch["actions"].abs(), demo),
    }
    if "state" in batch["obs"]:
        still = batch["obs"]["state"].amax(0) == batch["obs"]["state"].amin(0)
        found["state_still"] = still.to(torch.float32).mean()
    if "state" in features:
        # Of demonstrations the scale is taken. A policy that fails leads far away too, but does not begin there.
        shown = batch["is_demo"][:, None]
        always = ((features["state"].abs() > FAR) | shown).all(0) & ~shown.all()
        found["state_far"] = always.to(torch.float32).mean()
    if "rgb" in batch["obs"]:
        images = batch["obs"]["rgb"][:, -1, :, ::_EVERY, ::_EVERY].to(torch.float32) / 255
        # A camera that is dark in episodes of practice alone would pass by what demonstrations show.
        found["image_change"] = torch.minimum(_change(images, batch["is_demo"]), _change(images, ~batch["is_demo"]))
    return found


def _change(images: Tensor, which: Tensor) -> Tensor:
    """Standard deviation of the pixels of ``images`` [B, V, ...] over the samples ``which`` [B], of the stillest view.

    Over all samples where those are too few to tell.
    """
    weight = torch.where(which.sum() < _FEWEST, torch.ones_like(which), which).to(images.dtype)
    weight = (weight / weight.sum()).view(-1, *[1] * (images.ndim - 1))
    mean = (images * weight).sum(0)
    return (((images - mean) ** 2) * weight).sum(0).sqrt().flatten(1).mean(1).amin()


def weight_distance(one: nn.Module, other: nn.Module) -> Tensor:
    """How far the weights of ``one`` are from those of ``other``, in units of their own norm."""
    apart = torch.stack([((a - b) ** 2).sum() for a, b in zip(one.parameters(), other.parameters(), strict=True)])
    return apart.sum().sqrt() / weight_norm(one)


def weight_norm(module: nn.Module) -> Tensor:
    """Norm of all weights: that of a target which is never updated stays the same."""
    return torch.stack([(weights**2).sum() for weights in module.parameters()]).sum().sqrt()


def batch_metrics(batch: Mapping[str, Any]) -> Metrics:
    """What every agent reports of its batch."""
    return {"batch_return": batch["reward"].mean(), "demo_fraction": batch["is_demo"].to(torch.float32).mean()}
