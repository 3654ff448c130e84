"""Rewards and ends of episodes that say something else than what happened."""

from __future__ import annotations

from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.finding import SETTLED, Finding
from zoomrl.training.intervals import wilson_interval

RARE = 20
"""Episodes without a reward, and without demonstrations, from which on that is worth a word."""


def no_reward(facts: Facts) -> Finding | None:
    """Nothing that is learnt from holds a reward."""
    paid = any(row["return"] != 0 for row in facts.episodes)
    # Without demonstrations a first reward may take some exploring; earlier versions did not count those of them.
    seen = "rewarded" in facts.demos if facts.demos else len(facts.episodes) >= RARE
    if paid or facts.demos.get("rewarded", 0) or not seen or facts.updates < SETTLED or facts.config.agent.imitation:
        return None
    where = f"none of {facts.demos['demonstrations']:.0f} demonstrations" if facts.demos else "no demonstration"
    what = f"{where} and none of the newest {len(facts.episodes)} episodes holds a reward"
    return Finding("no-reward", what, "There is nothing to value: bring a demonstration that succeeds, or explore more")


def punished_successes(facts: Facts) -> Finding | None:
    """A success costs what it should earn."""
    demos = facts.demos.get("punished", 0)
    won = [row["return"] for row in facts.episodes if row.get("success")]
    lost = [row["return"] for row in facts.episodes if row.get("success") is False]
    # What each step costs makes failures, which are longer, the worse ones.
    costs = min(len(won), len(lost)) >= 5 and max(won) < 0 and max(won) < min(lost)
    if not demos and not costs:
        return None
    if demos:
        what = f"{demos:.0f} of {facts.demos['demonstrations']:.0f} demonstrations succeed, and lose by it"
    else:
        what = f"successful episodes return {max(won):.3g} at most, and failed ones {min(lost):.3g} at least"
    return Finding("success-punished", what, "Turn the sign of the reward, in the environment and in demonstrations")


def missing_rewards(facts: Facts) -> Finding | None:
    """A success is not rewarded."""
    if facts.config.env.reward == "dense":
        return None
    won = [row for row in facts.episodes if row.get("success")]
    unpaid = sum(row["return"] == 0 for row in won)  # negative ones are another kind of reward
    demos = facts.demos.get("unrewarded", 0)
    if not demos and (len(won) < 3 or unpaid < len(won) / 2):
        return None
    what = f"{demos:.0f} successful demonstrations" if demos else f"{unpaid} of {len(won)} successful episodes"
    return Finding(
        "success-without-reward", f"{what} hold no reward", "Let the reward follow the action that earned it"
    )


def merged_truncation(facts: Facts) -> Finding | None:
    """Time limits are stored as ends of the task."""
    limit = facts.spec.time_limit if facts.spec is not None else None
    late = [row for row in facts.episodes if limit and row["length"] >= limit and not row.get("success")]
    ended = sum(bool(row.get("terminated")) for row in late)
    if len(late) < 3 or ended < len(late) / 2:
        return None
    return Finding(
        "time-limit-as-end",
        f"{ended} of {len(late)} failed episodes that ran into the time limit are marked as terminated",
        "Let the environment return truncated there: a terminated state is worth nothing",
    )


def loud_exploration(facts: Facts) -> Finding | None:
    """Exploration noise undoes what the policy can."""
    known = [row["success"] for row in facts.episodes if "success" in row]
    if len(known) < 10 or facts.tested is None or facts.tested["episodes"] < 10:
        return None
    rate, episodes = facts.tested["success_rate"], facts.tested["episodes"]
    # Their intervals must be apart, by some way.
    if (
        rate < 0.5
        or wilson_interval(sum(known), len(known))[1] > wilson_interval(round(rate * episodes), episodes)[0] / 2
    ):
        return None
    return Finding(
        "exploration-too-loud",
        f"{sum(known)} of {len(known)} training episodes succeed, and {round(rate * episodes)} of {episodes} evaluated "
        "without noise",
        "Lower --control.noise",
    )
