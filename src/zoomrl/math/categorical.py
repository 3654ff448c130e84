"""Categorical value distributions (C51; Bellemare et al. 2017) with a projection that keeps all mass."""

from __future__ import annotations

import torch
from torch import Tensor


def support(v_min: float, v_max: float, atoms: int) -> Tensor:
    """Evenly spaced atoms: float32 [Z] from ``v_min`` to ``v_max``."""
    if atoms < 2 or not v_max > v_min:
        raise ValueError(f"a support needs atoms >= 2 and v_max > v_min, got {atoms}, [{v_min}, {v_max}]")
    return torch.linspace(v_min, v_max, atoms)


def projection_matrix(reward: Tensor, discount: Tensor, atoms: Tensor) -> Tensor:
    """Triangular kernel that moves mass from ``reward + discount * z_j`` to the neighbouring atoms.

    ``M[b, j, i] = max(0, 1 - |clip(r_b + d_b z_j) - z_i| / dz)`` (C51, equation 7). Each row j sums to 1 exactly
    where the index arithmetic of common implementations loses or doubles the mass of targets that fall on an atom.

    Args:
        reward: [B].
        discount: [B]; 0 for terminal transitions.
        atoms: [Z], evenly spaced.

    Returns:
        [B, Z, Z], source atom by target atom.
    """
    if reward.shape != discount.shape or reward.ndim != 1:
        raise ValueError(f"reward and discount must both be [B], got {list(reward.shape)}, {list(discount.shape)}")
    return two_hot(reward[:, None] + discount[:, None] * atoms, atoms)


def project(probs: Tensor, reward: Tensor, discount: Tensor, atoms: Tensor) -> Tensor:
    """Distribution of ``r + discount * V`` projected back onto the atoms.

    Args:
        probs: [B, N, Z] distributions of the bootstrap value.
        reward, discount: [B], shared by the N rows of a sample.
        atoms: [Z].

    Returns:
        [B, N, Z]; every row sums to the mass of ``probs``.
    """
    return torch.bmm(probs, projection_matrix(reward, discount, atoms))


def two_hot(values: Tensor, atoms: Tensor) -> Tensor:
    """Distributions [..., Z] whose mean is each of ``values`` [...], on its two neighbouring atoms.

    Values beyond the support are moved to its edge.
    """
    count = len(atoms)
    step = (atoms[-1] - atoms[0]) / (count - 1)
    # In units of atoms, so that a value on an atom is an integer and its weight there exactly 1.
    position = ((values - atoms[0]) / step).clamp(0, count - 1)
    index = torch.arange(count, device=atoms.device, dtype=atoms.dtype)
    return (1 - (position[..., None] - index).abs()).clamp_(min=0)


def outside(values: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Which of ``values`` [...] lie below the lowest and above the highest atom, and are moved there: bool [...] each.

    A thousandth of the atoms' distance is allowed for rounding.
    """
    slack = (atoms[1] - atoms[0]) / 1000
    return values < atoms[0] - slack, values > atoms[-1] + slack
