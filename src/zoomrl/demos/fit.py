"""Whether a demonstration set may be used with an environment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zoomrl.demos.entries import align, align_spec, refusal, remedy, set_entries
from zoomrl.demos.fit_images import fit_set
from zoomrl.demos.store.reader import DemoSet
from zoomrl.errors import DemonstrationError
from zoomrl.spec import EnvSpec, is_of_play, list_entries

BOUND_TOLERANCE = 1e-6
"""How far an action may lie beyond a bound, relative to max(1, |bound|): float32 rounding."""


def check_fit(demos: DemoSet, spec: EnvSpec) -> DemoSet:
    """``demos`` for use in the environment that ``spec`` describes: with states in the order of its entries, and images
    that were recorded as the cameras show them cropped and fitted as the environment does
    (:func:`~zoomrl.demos.fit_images.can_fit`).

    Raises:
        DemonstrationError: listing every mismatch with both sides, or the first action outside the bounds
            with its episode, step and dimension.
    """
    where = f"the demonstrations at {demos.path}" if demos.path else "the demonstrations"
    demos = fit_set(demos, spec)
    _check_entries(demos, spec, where)
    recorded = align_spec(demos.spec, spec)
    found = recorded.mismatches(spec)
    kinds = {demos.spec.reward, spec.reward}
    # What an environment's native reward is, only its own sets tell.
    if kinds == {"sparse", "dense"} or (len(kinds) == 2 and demos.spec.id == spec.id):
        found.append(f"reward {demos.spec.reward} against {spec.reward}")
    if found:
        lines = "\n".join(f"  - {line}" for line in found)
        unlike = f" {remedy(spec)}" if any(line.startswith("state entries ") for line in found) else ""
        alone = f" (of a robot without a simulator: --env demos:{demos.path})" if demos.path else ""
        other = f"Name their environment with --env{alone}, or set" if demos.spec.id != spec.id else "Set"
        again = "collect-play, and import them" if is_of_play(spec.id) else "collect"
        raise DemonstrationError(
            f"{where} (recorded in {demos.spec.id}) do not fit the environment {spec.id}; "
            f"demonstrations against environment:\n{lines}\n"
            f"{other} the environment up as it was when they were recorded, or collect them again with: "
            f"zoomrl demos {again}.{unlike}"
        )
    _check_bounds(demos, spec, where)
    episodes = [align(episode, spec, f"{where}: episode {index}") for index, episode in enumerate(demos.episodes)]
    return replace(demos, spec=recorded, episodes=episodes)


def _check_entries(demos: DemoSet, spec: EnvSpec, where: str) -> None:
    """DemonstrationError for a set that names no entries of its state, where an order could be wrong."""
    if demos.spec.state_entries or demos.spec.state_dim != spec.state_dim or len(spec.state_entries) < 2:
        return
    if unnamed := set_entries(demos.spec, demos.meta):
        raise DemonstrationError(refusal(unnamed, spec, where))
    if demos.spec.id != spec.id:
        raise DemonstrationError(
            f"{where} (recorded in {demos.spec.id}) do not say in which order their state is joined; {spec.id} shows "
            f"{list_entries(spec.state_entries)}. Collect or import them again in that environment"
        )


def _check_bounds(demos: DemoSet, spec: EnvSpec, where: str) -> None:
    low, high = np.asarray(spec.action.low, np.float64), np.asarray(spec.action.high, np.float64)
    lowest = low - BOUND_TOLERANCE * np.maximum(1.0, np.abs(low))
    highest = high + BOUND_TOLERANCE * np.maximum(1.0, np.abs(high))
    for index, episode in enumerate(demos.episodes):
        outside = (episode.actions < lowest) | (episode.actions > highest)
        if outside.any():
            step, dim = (int(i) for i in np.argwhere(outside)[0])
            raise DemonstrationError(
                f"{where}: episode {index}, step {step}, action dimension {dim} is "
                f"{float(episode.actions[step, dim]):g}, outside the bounds {low[dim]:g} .. {high[dim]:g} of "
                f"{spec.id} ({int(outside.sum())} such entries in this episode). "
                "Store actions as the environment executed them: clipped to its bounds"
            )
