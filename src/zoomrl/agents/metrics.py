"""What several agents report of their batches and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoomrl.agents.contract import Metrics
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


def batch_metrics(batch: Mapping[str, Any]) -> Metrics:
    """What every agent reports of its batch."""
    return {"batch_return": batch["reward"].mean(), "demo_fraction": batch["is_demo"].to(torch.float32).mean()}
