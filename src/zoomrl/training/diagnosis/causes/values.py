"""Values that cannot be learnt, or are not what episodes return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.finding import Finding
from zoomrl.training.value_range import range_advice

CLIPPED = 0.01
"""Fraction of clipped targets that is not worth a word."""
REVERSED = 0.25
"""Probability that a state of a success is worth more than one of a failure, below which values are upside down: runs
without a fault had 0.29 and more on hard tasks."""


def clipped_targets(facts: Facts) -> Finding | None:
    """Values lie outside the atoms, and learning moves them to the outermost one."""
    support = facts.config.agent.support
    if support is None or facts.demos.get("punished"):
        return None  # rewards of the wrong sign tell no range
    v_min, v_max, atoms = support
    slack = (v_max - v_min) / (atoms - 1) / 2
    shown, bounds = _shown(facts), _bounds(facts)
    below, above = facts.newest("target_clipped_low") or 0.0, facts.newest("target_clipped_high") or 0.0
    what = f"the support ends at agent.v_min={v_min:g} and agent.v_max={v_max:g}, and "
    if shown is not None and (shown[0] < v_min - slack or shown[1] > v_max + slack):
        # Few targets need be clipped: those that hold no reward are values of this support.
        what, bounds = f"{what}the demonstrations are worth {shown[0]:.3g} to {shown[1]:.3g}", shown
    elif below + above > CLIPPED:
        what += f"{below:.0%} of the targets lie below and {above:.0%} above it"
    else:
        return None
    advice = "Widen the support to the returns of the task"
    if bounds is not None:
        low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)  # 0 is the value of an episode without rewards
        advice = f"Rewards so far allow values from {low:.3g} to {high:.3g}: {range_advice(low, high)}"
    return Finding("support-too-narrow", f"{what}: values beyond it cannot be learnt", advice)


def _shown(facts: Facts) -> tuple[float, float] | None:
    """Lowest and highest discounted return of the demonstrations, from any state."""
    known = "lowest_value" in facts.demos and "highest_value" in facts.demos
    return (facts.demos["lowest_value"], facts.demos["highest_value"]) if known else None


def _bounds(facts: Facts) -> tuple[float, float] | None:
    """Between what values lie by the rewards of all rows, which are means over batches: the widest come nearest."""
    low, high = facts.courses.get("value_bound_low"), facts.courses.get("value_bound_high")
    if low is None or high is None or facts.config.replay.discount >= 1:
        return None
    return low.lowest, high.highest


def tells_value(facts: Facts) -> bool:
    """Whether the demonstrations say what a success is worth where they begin: play says nothing."""
    return "first_value" in facts.demos and not facts.is_play


def coarse_values(facts: Facts) -> Finding | None:
    """The value of a success, seen from the first state of a demonstration, is lost between two atoms."""
    agent, least = facts.config.agent, facts.config.agent.least_value
    if least is None or facts.config.replay.discount >= 1 or facts.config.env.reward == "dense":
        return None
    # A return of 0 is another fault: no reward is learnt from.
    if not tells_value(facts) or not 0 < facts.demos["first_value"] < least:
        return None
    value = facts.demos["first_value"]
    return Finding(
        "values-too-coarse",
        f"where a demonstration begins its success is worth {value:.2g}, and less than {least:.2g} is not told from 0",
        "Raise --replay.discount, or lower --agent.v-least"
        if getattr(agent, "atom_spacing", "even") == "geometric"
        else "Raise --replay.discount or --agent.atoms, narrow the support, or use --agent.atom-spacing geometric",
    )


def overestimation(facts: Facts) -> Finding | None:
    """More is predicted than any episode has returned."""
    tested, returns = facts.tested, [row["return"] for row in facts.episodes]
    if tested is None or "value_predicted" not in tested or "return_most" not in tested or tested["episodes"] < 10:
        return None
    # With costs discounting makes values larger than returns.
    least = min([*returns, tested["return_least"], facts.demos.get("lowest_value", 0.0)])
    most = max([*returns, tested["return_most"], facts.demos.get("highest_value", 0.0)])
    if least < 0 or most <= 0 or tested["value_predicted"] < 1.1 * most:
        return None
    return Finding(
        "over-estimation",
        f"{tested['value_predicted']:.3g} is predicted for the first states on average, and no episode returned more "
        f"than {most:.3g}",
        "Bound the values (--agent.value categorical), shorten chunks, or lower --agent.lr",
    )


def misranked_values(facts: Facts) -> Finding | None:
    """States of failures are worth more than those of successes, in two evaluations in a row."""
    tested = facts.tested
    if tested is None or not _reversed(tested) or not _reversed(facts.tested_before):
        return None
    return Finding(
        "values-mis-ranked",
        f"in {1 - tested['value_auc']:.0%} of the pairs a state of a failure is worth more than one of a success",
        "Look at the reward and at --agent.critic-lambda: values do not come from what is returned",
    )


def _reversed(tested: Mapping[str, Any] | None) -> bool:
    """Whether values of an evaluation are upside down, with three episodes of either kind."""
    if tested is None or "value_auc" not in tested or "value_rank" not in tested:
        return False
    won = round(tested["success_rate"] * tested["episodes"])
    few = min(won, tested["episodes"] - won) < 3
    return not few and tested["value_auc"] <= REVERSED and tested["value_rank"] <= 0
