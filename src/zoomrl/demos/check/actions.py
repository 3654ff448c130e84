"""What the actions of a demonstration set say without a simulator: range, grid, copies, pauses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.check.findings import Finding, GridSummary
from zoomrl.demos.fit import BOUND_TOLERANCE
from zoomrl.demos.inspect import DimensionSummary, measure_dimension
from zoomrl.spec import ArraySpec, EnvSpec

Actions = NDArray[np.float32]

OUTLIER_FACTOR = 2.0
"""How many times wider than the middle 98 % of its values a dimension may range."""

STILL_TOLERANCE = 1e-6
"""Largest command, or change of one, that counts as no motion: a fraction of max(1, half the range)."""

_STRETCHES_NAMED = 3


def outside_bounds(index: int, actions: Actions, spec: ArraySpec) -> Iterator[Finding]:
    """An error where actions [T, A] of episode ``index`` lie outside the bounds of ``spec``."""
    low, high = _bounds(spec)
    outside = (actions < low - BOUND_TOLERANCE * np.maximum(1.0, np.abs(low))) | (
        actions > high + BOUND_TOLERANCE * np.maximum(1.0, np.abs(high))
    )
    if not outside.any():
        return
    step, dim = (int(i) for i in np.argwhere(outside)[0])
    dims = ", ".join(str(d) for d in np.flatnonzero(outside.any(0)))
    yield Finding(
        "error",
        "outside-bounds",
        f"{int(outside.sum())} entries lie outside the bounds, in dimension {dims}; the first is "
        f"{float(actions[step, dim]):g}, outside {low[dim]:g} .. {high[dim]:g}",
        "store actions as the environment executed them: clipped to its bounds",
        index,
        step,
        dim,
    )


def fit_grid(actions: Mapping[int, Actions], spec: ArraySpec, levels: int, bins: int) -> GridSummary:
    """How a grid over the bounds, and one over the actions' own range, fit ``actions`` (episode -> [T, A])."""
    values = np.concatenate(list(actions.values())).astype(np.float64)
    low, high = _bounds(spec)
    bounds: list[DimensionSummary] = []
    own: list[DimensionSummary | None] = []
    spread: list[float | None] = []
    for dim, column in enumerate(values.T):
        bounds.append(measure_dimension(column, low[dim], high[dim], levels, bins))
        least, most = float(column.min()), float(column.max())
        own.append(measure_dimension(column, least, most, levels, bins) if most > least else None)
        lower, upper = _middle(column)
        spread.append((most - least) / (upper - lower) if upper > lower else None)
    return GridSummary(levels, bins, tuple(bounds), tuple(own), tuple(spread))


def grid_findings(actions: Mapping[int, Actions], grid: GridSummary, spec: EnvSpec) -> Iterator[Finding]:
    """Dimensions that an outlier coarsens, that never change, and what lies beyond the outermost cell centres.

    Args:
        actions: of the demonstrations alone, episode -> [T, A]: nothing else sets the range.
        grid: of the same actions.
        spec: of the set.
    """
    meaning = spec.action_meaning or ("",) * spec.action_dim
    for dim, (own, factor) in enumerate(zip(grid.own, grid.spread, strict=True)):
        if own is None:
            yield Finding(
                "note",
                "constant-dimension",
                f"dimension {dim} is {grid.bounds[dim].min:g} at every step of every demonstration",
                "nothing can be learnt for it"
                + ("" if meaning[dim] == "gripper" else "; with --control.action-range demos it is never moved either"),
                dimension=dim,
            )
        # A gripper that closes for an instant is no outlier.
        elif factor is not None and factor >= OUTLIER_FACTOR and meaning[dim] != "gripper":
            yield _outlier(actions, dim, factor)
    for name, dims in (("bounds", grid.bounds), ("demonstrations' own range", grid.own)):
        fractions = [(dim, d.beyond_outermost, d.max_error) for dim, d in enumerate(dims) if d and d.beyond_outermost]
        if fractions:
            listed = ", ".join(
                f"{dim}: {fraction:.1%} (off by up to {error:.2g})" for dim, fraction, error in fractions
            )
            yield Finding(
                "note",
                "beyond-outermost",
                f"a grid of {grid.levels} levels with {grid.bins} bins over the {name} cannot reach actions beyond its "
                f"outermost cell centres; fraction of the steps by dimension: {listed}",
                "finer with more levels or bins; over the demonstrations' range, --control.action-margin widens it",
            )


def _outlier(actions: Mapping[int, Actions], dim: int, factor: float) -> Finding:
    column = np.concatenate([part[:, dim] for part in actions.values()]).astype(np.float64)
    lower, upper = _middle(column)
    far = {
        index: np.maximum(lower - part[:, dim], part[:, dim] - upper).astype(np.float64)
        for index, part in actions.items()
    }
    index = max(far, key=lambda i: float(far[i].max()))
    step = int(far[index].argmax())
    # What would have to go for the range to be less than OUTLIER_FACTOR times as wide.
    count = sum(int((gap > (upper - lower) * (OUTLIER_FACTOR - 1) / 2).sum()) for gap in far.values())
    return Finding(
        "warning",
        "outlier",
        f"dimension {dim} ranges over {column.min():g} .. {column.max():g}, but 98 % of its values lie in {lower:g} .. "
        f"{upper:g}: {float(actions[index][step, dim]):g} here lies furthest out; {count} of {len(column)} steps lie "
        f"far out. A grid over the demonstrations' range is {factor:.3g} times coarser for that",
        "drop the episode or correct the command, or use --control.action-range env",
        index,
        step,
        dim,
    )


def _middle(column: NDArray[np.float64]) -> tuple[float, float]:
    """The 1 % and 99 % quantile, both of them values that occur; of few values the extremes are left out."""
    lower = float(np.quantile(column, 0.01, method="higher"))
    upper = float(np.quantile(column, 0.99, method="lower"))
    return lower, upper


def idle_stretches(actions: Actions, spec: EnvSpec, least: int) -> list[tuple[int, int]]:
    """Runs of at least ``least`` steps that command no motion: (first step, length) each.

    A delta must be zero; an absolute position or a gripper must be what it was one step before. Where the meaning is
    unknown, a step commands no motion when it is zero in every dimension.
    """
    low, high = _bounds(spec.action)
    allowed = STILL_TOLERANCE * np.maximum(1.0, (high - low) / 2)
    change = np.abs(np.diff(actions.astype(np.float64), axis=0, prepend=actions[:1].astype(np.float64)))
    deltas = np.array([meaning == "delta" for meaning in spec.action_meaning] or [True] * spec.action_dim)
    still = (np.where(deltas, np.abs(actions), change) <= allowed).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    runs = [(int(first), int(end - first)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    return [(first, length) for first, length in runs if length >= least]


def idle_findings(index: int, actions: Actions, spec: EnvSpec, least: int) -> Iterator[Finding]:
    """A warning where episode ``index`` commands no motion for ``least`` steps or more."""
    runs = idle_stretches(actions, spec, least)
    if not runs:
        return
    named = ", ".join(f"{length} steps from step {first}" for first, length in runs[:_STRETCHES_NAMED])
    more = f" and {len(runs) - _STRETCHES_NAMED} more" if len(runs) > _STRETCHES_NAMED else ""
    total = sum(length for _, length in runs)
    yield Finding(
        "warning",
        "idle",
        f"no motion is commanded for {named}{more}: {total} of {len(actions)} steps",
        "cut the pauses out when converting the recording, unless waiting is part of the task: a policy that copies "
        "them may never move again",
        index,
        runs[0][0],
    )


def copies(actions: Mapping[int, bytes], contents: Mapping[int, str]) -> Iterator[Finding]:
    """A warning for each episode whose actions equal those of an earlier one.

    Args:
        actions: episode -> digest of its actions.
        contents: episode -> hash of all that it holds.
    """
    first: dict[bytes, int] = {}
    for index, key in actions.items():
        earlier = first.setdefault(key, index)
        if earlier == index:
            continue
        same = contents[index] == contents[earlier]
        yield Finding(
            "warning",
            "duplicate",
            f"episode {index} is a copy of episode {earlier}"
            if same
            else f"episode {index} has the actions of episode {earlier}, under other observations, rewards or flags",
            "remove one of the two: what occurs twice counts twice"
            if same
            else "see whether both were meant to be kept",
            index,
        )


def _bounds(spec: ArraySpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(spec.low, np.float64), np.asarray(spec.high, np.float64)
