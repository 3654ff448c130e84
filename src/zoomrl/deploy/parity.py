"""How far a bundle strays from the policy that it was made of: measured, not assumed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.cqn.proposals import Proposer
from zoomrl.deploy.graph import ActingGraph, feed
from zoomrl.math import grid
from zoomrl.runtime import Policy
from zoomrl.training.evaluate import Evaluation

ALLOWED_GAP = 1e-4
"""Of the range of values: a bin may be another where the best two are as near as this."""
ROUNDING = 1e-6
"""Of the range of values: by as much PyTorch and the graph may see a value differently."""
ALLOWED_DIFFERENCE = 1e-5
"""Of half the range of an action, for agents without a grid."""


@dataclass
class Parity:
    """Graph against PyTorch on the same stacked observations.

    Attributes:
        observations: how many were compared.
        bins, flips: chosen bins of all levels, steps and dimensions, and how many differ; 0 without a grid.
        gaps: of each action component that differs, how much better the best bin is than the graph's at the level
            where they part, as a fraction of the range of values.
        tied_gaps: the same where all bins are tied there, as far as rounding can tell: any of them is right.
        largest_difference: between two action components, as a fraction of half their range; flips left out.
        milliseconds: of each :meth:`zoomrl.runtime.Policy.infer`.
    """

    observations: int = 0
    bins: int = 0
    flips: int = 0
    gaps: list[float] = field(default_factory=list)
    tied_gaps: list[float] = field(default_factory=list)
    largest_difference: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every difference is one of rounding."""
        near = max(self.gaps, default=0.0) < ALLOWED_GAP
        return near and (self.bins > 0 or self.largest_difference <= ALLOWED_DIFFERENCE)

    def row(self) -> dict[str, Any]:
        """For ``policy.json``."""
        found: dict[str, Any] = {"observations": self.observations, "largest_difference": self.largest_difference}
        if self.bins:
            found |= {"equal_bins": 1 - self.flips / self.bins, "flips": self.flips, "bins": self.bins}
            found["largest_gap_of_a_flip"] = max(self.gaps, default=0.0)
            found |= {"tied": len(self.tied_gaps), "largest_gap_of_a_tie": max(self.tied_gaps, default=0.0)}
        if self.milliseconds:
            found |= {f"p{q}_ms": float(np.percentile(self.milliseconds, q)) for q in (50, 99)}
        return found


def compare(graph: ActingGraph, policy: Policy, observations: Iterable[Mapping[str, NDArray[Any]]]) -> Parity:
    """Run both on each of the stacked ``observations``, with the same noise.

    Args:
        graph: of PyTorch.
        policy: of the bundle.
        observations: stacked, ``state`` [F * S] and ``rgb`` [F, V, H, W, 3].
    """
    found = Parity()
    half = graph.reach.numpy()
    moving = half > 0
    agent = graph.agent
    for observation in observations:
        noise = policy.sample_noise()
        arrays: dict[str, NDArray[Any]] = {name: array[None] for name, array in observation.items()} | noise
        with torch.inference_mode():
            ours = graph(*feed(graph.inputs, arrays))[0][0].numpy()
        began = time.perf_counter()
        theirs = policy.infer(observation, noise)
        found.milliseconds.append(1e3 * (time.perf_counter() - began))
        difference = np.abs(ours - theirs)[:, moving] / half[moving]
        difference[~np.isfinite(difference)] = math.inf  # NaN would be no difference at all
        found.observations += 1
        if isinstance(agent, CQN):
            same = _compare_bins(found, graph, agent, arrays, (ours, theirs))[:, moving]
            difference = difference[same]
        found.largest_difference = max(found.largest_difference, float(difference.max(initial=0.0)))
    return found


def _compare_bins(
    found: Parity,
    graph: ActingGraph,
    agent: CQN,
    arrays: Mapping[str, NDArray[Any]],
    actions: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.bool_]:
    """Count the bins, and measure where they part; [T, A], which components have all their bins in common."""
    levels, bins = agent.config.levels, agent.config.bins
    half = torch.where(graph.reach > 0, graph.reach, 1.0)
    cells = [grid.to_cell((torch.from_numpy(part) - graph.middle) / half, levels, bins) for part in actions]
    ours, theirs = (grid.path(cell, levels, bins) for cell in cells)  # [T, L, A]
    moving = graph.reach > 0
    differs = (ours != theirs) & moving
    found.bins += ours.shape[0] * levels * int(moving.sum())
    found.flips += int(differs.sum())
    observation = {name: torch.from_numpy(arrays[name]) for name in graph.observed}
    noise = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in graph.observed}
    if differs.any() and agent.proposer is not None and not _took_greedy(agent, agent.proposer, observation, noise):
        _compare_choices(found, agent, agent.proposer, observation, noise["starts"], cells)
    elif differs.any():
        values = _values(agent, observation, cells[0])
        span = _span(agent, values)
        for step, dimension in torch.nonzero(differs.any(1)).tolist():
            level = int(differs[step, :, dimension].int().argmax())
            row = values[dimension, :, level * agent.chunk_length + step]
            gap = row[ours[step, level, dimension]] - row[theirs[step, level, dimension]]
            gaps = found.tied_gaps if _tied(agent, row, span) else found.gaps
            gaps.append(abs(float(gap)) / span)
    same: NDArray[np.bool_] = (cells[0] == cells[1]).numpy()
    return same


@torch.inference_mode()
def _took_greedy(
    agent: CQN, proposer: Proposer, observation: Mapping[str, Tensor], noise: Mapping[str, Tensor]
) -> bool:
    """Whether the greedy chunk was chosen, whose bins part at one level as those of an agent without proposals do."""
    ties, starts, picks = (noise.get(name) for name in ("ties", "starts", "picks"))
    assert starts is not None
    choice = proposer.choose(agent.acting_critic, agent.perception(observation), ties, starts, picks)
    return proposer.config.greedy and int(choice.chosen[0]) == 0


@torch.inference_mode()
def _compare_choices(
    found: Parity,
    agent: CQN,
    proposer: Proposer,
    observation: Mapping[str, Tensor],
    starts: Tensor,
    cells: Sequence[Tensor],
) -> None:
    """Measure how much better one of two chunks is than the other: of cells [T, A] each."""
    features, grid_cells = agent.perception(observation), agent.config.bins**agent.config.levels
    ours, theirs = cells
    values = agent.acting_critic.score(features, torch.stack([ours, theirs])[:, None])[:, 0]
    border = 2 * torch.maximum(ours, theirs) / grid_cells - 1
    at_border = (proposer.propose(features, starts)[:, 0] - border).abs().amin(0) <= ALLOWED_DIFFERENCE
    rounded = (ours == theirs) | (((ours - theirs).abs() == 1) & at_border)
    gaps = found.tied_gaps if rounded.all() else found.gaps
    gaps.append(abs(float(values[0] - values[1])) / _span(agent, values))


@torch.inference_mode()
def _values(agent: CQN, observation: Mapping[str, Tensor], cell: Tensor) -> Tensor:
    """Values [A, K, L * T] of all bins on the way to ``cell`` [T, A]."""
    critic = agent.acting_critic
    return critic.expected(critic.along(agent.perception(observation), cell[None]).outputs)


def _tied(agent: CQN, row: Tensor, span: float) -> bool:
    """Whether the values [K] of all bins lie within the tie threshold, or miss it by rounding: one side may then take
    the best bin, and the other any."""
    threshold = agent.config.tie_threshold
    return threshold > 0 and float(row.max() - row.min()) < threshold + ROUNDING * span


def _span(agent: CQN, values: Tensor) -> float:
    """What a gap is a fraction of: the range of the atoms, or of scalar values their magnitude."""
    support = agent.config.support
    return support[1] - support[0] if support else max(1.0, float(values.abs().max()))


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Two-sided exact p of McNemar's test: whether two policies succeed equally often on the same episodes."""
    ours_alone = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    theirs_alone = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    apart = ours_alone + theirs_alone
    return float(binomtest(ours_alone, apart).pvalue) if apart else 1.0


def paired(ours: Evaluation, theirs: Evaluation) -> dict[str, Any]:
    """Two evaluations on the same seeds, for ``policy.json``."""
    found: dict[str, Any] = {
        "episodes": len(ours.seeds),
        "return_torch": _finite(ours.return_mean),
        "return_bundle": _finite(theirs.return_mean),
    }
    if ours.seeds != theirs.seeds:
        both = [seed for seed in ours.seeds if seed in set(theirs.seeds)]
        found["lost"] = len(ours.seeds) + len(theirs.seeds) - 2 * len(both)
    elif ours.successes:
        found |= {"success_torch": ours.success_rate, "success_bundle": theirs.success_rate}
        found["mcnemar_p"] = mcnemar(ours.successes, theirs.successes)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
