"""Weights that do not move, lag behind or run away, and choices that they leave to chance."""

from __future__ import annotations

import math

from zoomrl.training.diagnosis.causes.imitation import chooses_proposals
from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.finding import SETTLED, Finding

APART = 0.3
"""Distance of the target's weights from those that learn, in units of their norm, that is not healthy: up to 0.07
was seen."""
MOVED = 1e-4
"""Distance of the target's weights from which on the critic has learnt something."""


def unmoved_critic(facts: Facts) -> Finding | None:
    """Nothing is learnt: the critic and its target are where they began."""
    distance = facts.courses.get("target_distance")
    if distance is None or distance.highest > MOVED or not _target_is_still(facts) or facts.updates < SETTLED:
        return None
    what = f"the critic's weights have not changed in {facts.updates:,} updates"
    return Finding("nothing-learnt", what, "Raise --agent.lr, or see what --lr-schedule makes of it")


def stale_weights(facts: Facts) -> Finding | None:
    """The weights that act are far from those that learn."""
    distance, still = facts.newest("target_distance"), _target_is_still(facts)
    if distance is None or distance <= MOVED or facts.updates < SETTLED:
        return None
    if not still and (distance < APART or _target_follows(facts)):
        return None
    return Finding(
        "stale-weights",
        f"the target critic is {distance:.0%} of its norm away from the one that learns"
        + (", and has never moved" if still else ""),
        "Raise --agent.target-tau, or act with --agent.act-with online",
    )


def divergence(facts: Facts) -> Finding | None:
    """Losses grow, or weights move so fast that a target which follows is far behind."""
    loss, distance = facts.courses.get("critic_loss"), facts.newest("target_distance")
    if facts.updates < SETTLED:
        return None
    if loss is not None and loss.count >= 3 and loss.newest > max(2 * loss.first, _usual_loss(facts)):
        what = f"the critic's loss is {loss.newest:.3g}, after {loss.lowest:.3g} before"
        return Finding("divergence", what, "Lower --agent.lr")
    if distance is None or distance < APART or not _target_follows(facts) or _target_is_still(facts):
        return None
    what = f"the critic's weights change by {distance:.0%} of their norm within about {_delay(facts):,.0f} updates"
    return Finding("divergence", what, "Lower --agent.lr")


def _usual_loss(facts: Facts) -> float:
    """What a healthy loss may grow to: squared errors grow with the values, and stay below their squares."""
    if facts.config.agent.support is not None:
        return 0.0
    sizes = [abs(value) for name in ("q_target_max", "q_max") if (value := facts.newest(name)) is not None]
    return max(sizes) ** 2 if sizes else math.inf


def _target_is_still(facts: Facts) -> bool:
    """Whether the target's weights have not moved, all rows long."""
    return "target_norm" in facts.courses and facts.courses["target_norm"].is_constant


def _target_follows(facts: Facts) -> bool:
    """Whether the target has had the time to leave where it began: three of its time constants."""
    return facts.updates >= 3 * _delay(facts)


def _delay(facts: Facts) -> float:
    """Updates by which the target is behind: its time constant."""
    return facts.config.agent.target_interval / float(getattr(facts.config.agent, "target_tau", 1.0))


def tied_choices(facts: Facts) -> Finding | None:
    """Actions are chosen by chance among equal values."""
    tied = facts.newest("tied")
    # Of whole chunks that are proposed, bins of equal value leave nothing to chance.
    if tied is None or tied < 0.2 or facts.updates < SETTLED or chooses_proposals(facts.config.agent):
        return None
    return Finding(
        "choices-tied",
        f"{tied:.0%} of the choices are between bins of equal value, and fall to chance",
        "Look at the learning signal (demo_fraction, batch_return)"
        + (", or lower --agent.tie-threshold" if tied < 0.9 else ": values do not tell actions apart at all"),
    )
