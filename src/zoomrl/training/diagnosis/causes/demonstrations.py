"""Demonstrations that are wrong, too few, or imitated in vain."""

from __future__ import annotations

from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.finding import LEARNT, Finding
from zoomrl.training.intervals import wilson_interval

UNRELATED, FEW_STEPS = 0.25, 100
"""Persistence of demonstrated actions below which their order means nothing, and steps below which that is chance."""
FEW, KNOWN = 5, 0.85
"""Demonstrations that are few; agreement with them that is as good as all."""


def failures_imitated(facts: Facts) -> Finding | None:
    """Episodes that failed are imitated."""
    failed, count = facts.demos.get("failed", 0), facts.demos.get("demonstrations", 0)
    if not failed or facts.is_play:
        return None
    what = f"{failed:.0f} of {count:.0f} demonstrations have failed, and are marked as to be imitated"
    return Finding("failures-imitated", what, "Clear is_demo of episodes that did not succeed")


def few_demonstrations(facts: Facts) -> Finding | None:
    """The demonstrations are known by heart, and too few."""
    count, agreement = facts.demos.get("demonstrations"), facts.newest("demo_agreement")
    if not count or count > FEW or agreement is None or agreement < 0.9 or facts.tested is None:
        return None
    success = facts.tested["success_rate"]
    if success > 0.5:
        return None
    return Finding(
        "few-demonstrations",
        f"{count:.0f} demonstrations are imitated at {agreement:.0%} of their choices, with {success:.0%} success",
        "Bring more, or more varied ones (--demos.episodes, --demos.noise), or practise longer (--steps)",
    )


def duplicated_demonstrations(facts: Facts) -> Finding | None:
    """Some demonstrations are there twice."""
    count = facts.demos.get("duplicates", 0)
    if not count:
        return None
    return Finding(
        "demonstrations-duplicated",
        f"{count:.0f} of {facts.demos['demonstrations']:.0f} demonstrations have the actions of another",
        "Remove copies: they weigh twice, and are no new evidence",
    )


def contradicting_demonstrations(facts: Facts) -> Finding | None:
    """Demonstrated actions do not go on from each other.

    Agreement with demonstrated bins does not tell it: a critic learns the actions of other times by heart, and with
    noisy commands it agrees with less than half of the right ones.
    """
    persistence = facts.demos.get("action_persistence", 1.0)
    if persistence >= UNRELATED or facts.demos["demonstrated_steps"] < FEW_STEPS:
        return None
    return Finding(
        "demonstrations-contradict",
        f"a demonstrated action tells next to nothing of the one that follows (persistence {persistence:.2f})",
        "Actions may belong to other times than their observations: check their alignment (demos check)",
    )


def imitated_in_vain(facts: Facts) -> Finding | None:
    """Demonstrations are imitated, and what succeeded there fails here."""
    count, agreement = facts.demos.get("demonstrations", 0), facts.newest("demo_agreement")
    if count <= FEW or agreement is None or facts.tested is None or facts.is_play or facts.updates < LEARNT:
        return None
    success, episodes = facts.tested["success_rate"], facts.tested["episodes"]
    if facts.tested.get("updates", 0) < LEARNT:
        return None  # the policy of that time imitated nothing yet
    if agreement < KNOWN or episodes < 10 or wilson_interval(round(success * episodes), episodes)[1] > 0.3:
        return None
    return Finding(
        "imitated-in-vain",
        f"{count:.0f} demonstrations are imitated at {agreement:.0%} of their choices, with {success:.0%} success in "
        f"{episodes} episodes",
        "See whether they succeed in this environment (demos check): task, units of actions and a shift by a step; and "
        "how chunks are executed (zoomrl execution)",
    )
