"""Categorical value distributions (C51; Bellemare et al. 2017) with a projection that keeps all mass."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def support(v_min: float, v_max: float, atoms: int) -> Tensor:
    """Evenly spaced atoms: float32 [Z] from ``v_min`` to ``v_max``."""
    if atoms < 2 or not v_max > v_min:
        raise ValueError(f"a support needs atoms >= 2 and v_max > v_min, got {atoms}, [{v_min}, {v_max}]")
    return torch.linspace(v_min, v_max, atoms)


def geometric_support(least: float, v_max: float, atoms: int) -> Tensor:
    """Atoms for the value of a success that is h steps away, gamma^h: float32 [Z].

    One at 0; the others from ``least`` to ``v_max`` with equal ratios, which for any gamma are equal numbers of steps.
    """
    if atoms < 3 or not 0 < least < v_max:
        raise ValueError(f"geometric atoms need 0 < least < v_max and three or more, got {least}, {v_max}, {atoms}")
    ratios = torch.linspace(math.log(least), math.log(v_max), atoms - 1, dtype=torch.float64).exp()
    return torch.cat([torch.zeros(1, dtype=torch.float64), ratios]).to(torch.float32)


def projection_matrix(reward: Tensor, discount: Tensor, atoms: Tensor, *, even: bool = True) -> Tensor:
    """Triangular kernel that moves mass from ``reward + discount * z_j`` to the neighbouring atoms.

    ``M[b, j, i] = max(0, 1 - |clip(r_b + d_b z_j) - z_i| / dz)`` (C51, equation 7). Each row j sums to 1 exactly
    where the index arithmetic of common implementations loses or doubles the mass of targets that fall on an atom.

    Args:
        reward: [B].
        discount: [B]; 0 for terminal transitions.
        atoms: [Z], ascending.
        even: whether they are evenly spaced.

    Returns:
        [B, Z, Z], source atom by target atom.
    """
    if reward.shape != discount.shape or reward.ndim != 1:
        raise ValueError(f"reward and discount must both be [B], got {list(reward.shape)}, {list(discount.shape)}")
    values = reward[:, None] + discount[:, None] * atoms
    return two_hot(values, atoms) if even else uneven_two_hot(values, atoms)


def project(probs: Tensor, reward: Tensor, discount: Tensor, atoms: Tensor, *, even: bool = True) -> Tensor:
    """Distribution of ``r + discount * V`` projected back onto the atoms.

    Args:
        probs: [B, N, Z] distributions of the bootstrap value.
        reward, discount: [B], shared by the N rows of a sample.
        atoms: [Z].
        even: whether they are evenly spaced.

    Returns:
        [B, N, Z]; every row sums to the mass of ``probs``.
    """
    return torch.bmm(probs, projection_matrix(reward, discount, atoms, even=even))


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


def uneven_two_hot(values: Tensor, atoms: Tensor) -> Tensor:
    """The same for atoms [Z] of any ascending order: the mean is kept, not the number of steps to go.

    Rounding a number of steps to the nearest atoms would keep the mean of logarithms; the expected value would grow
    with every backup, since the exponential is convex.
    """
    value = values.clamp(atoms[0], atoms[-1])[..., None]
    gaps = atoms.diff()
    rising = torch.cat([torch.full_like(gaps[:1], torch.inf), gaps])
    falling = torch.cat([gaps, torch.full_like(gaps[:1], torch.inf)])
    # Towards either neighbour 1 falls to 0; the atoms at both ends have one neighbour.
    return torch.minimum(1 - (atoms - value) / rising, 1 - (value - atoms) / falling).clamp_(0, 1)


def outside(values: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Which of ``values`` [...] lie below the lowest and above the highest atom, and are moved there: bool [...] each.

    A thousandth of the atoms' distance is allowed for rounding.
    """
    slack = (atoms[1] - atoms[0]) / 1000
    return values < atoms[0] - slack, values > atoms[-1] + slack
