"""What reaches the agent is not what it should be."""

from __future__ import annotations

import math

from zoomrl.agents.learner import MEASURED
from zoomrl.training.diagnosis.facts import FEWEST, SMALL, Facts
from zoomrl.training.diagnosis.finding import BEGUN, Finding

_EXPECTED = 8
"""Windows with padding that the samples of some rows hold on average, by which one must have been seen."""


def scaled_actions(facts: Facts) -> Finding | None:
    """Demonstrated commands do not have the scale of the action range.

    A single batch of a healthy run can have two thirds of them at the bounds.
    """
    bound, size = facts.courses.get("demo_at_bound"), facts.newest("demo_action_size")
    if bound is None or bound.lasting is None or size is None or not facts.demos:
        return None
    if bound.lasting > 0.6:
        what = f"{bound.newest:.0%} of the demonstrated commands are at the bounds of the action range"
        return Finding("actions-mis-scaled", what, "Compare the units of demonstrations and environment: demos check")
    small = facts.demos.get("small_actions", 0.0)
    if 0 < size < 0.03 or small > 0.5:
        what = f"demonstrated commands use {size:.1%} of the action range on average"
        if small:
            what += f", and in {small:.0%} of its dimensions never {SMALL:.0%}"
        return Finding("actions-mis-scaled", what, "Use --control.action-range demos, or check the units: demos check")
    return None


def dead_camera(facts: Facts) -> Finding | None:
    """A camera shows the same image always."""
    change = facts.newest("image_change")
    if change is None or change > 1e-3 or facts.updates < BEGUN:
        return None
    return Finding("dead-camera", "a camera shows the same image at all times", "Look at it: --env.cameras, demos view")


def constant_state(facts: Facts) -> Finding | None:
    """The state does not move."""
    still = facts.newest("state_still")
    if still is None or still < 0.9 or facts.updates < BEGUN:
        return None
    return Finding(
        "constant-inputs", f"{still:.0%} of the entries of the state never change", "Check what the environment shows"
    )


def foreign_normalizer(facts: Facts) -> Finding | None:
    """Inputs are far from what they are scaled by."""
    course = facts.courses.get("state_far")
    # A few samples of one failed episode may all be far: not those of many batches.
    far = None if course is None else course.lasting
    if far is None or far < 0.05 or facts.config.agent.normalize == "none":
        return None
    return Finding(
        "normalizer-of-other-data",
        f"{far:.0%} of the entries of the state always lie beyond five of the demonstrations' standard deviations",
        "Compare the state's entries and units of demonstrations and environment, or use --agent.normalize none",
    )


def rows_of_padding(facts: Facts) -> int:
    """Rows of learning by which padding must have been seen: in their samples :data:`_EXPECTED` windows hold some.

    It is missed with a probability of e^-8 then. Where it has been seen, the row is enough.
    """
    valid = facts.courses.get("valid_fraction")
    if valid is not None and valid.lowest < 1:
        return 1
    chunk, longest = facts.config.agent.chunk_length, facts.demos.get("length_90", 0.0)
    if chunk == 1:
        return FEWEST
    longest = max(longest, *(float(row["length"]) for row in facts.episodes), 0.0)
    samples = min(facts.config.replay.batch_size, MEASURED)
    return max(FEWEST, math.ceil(_EXPECTED * longest / ((chunk - 1) * samples)))


def trained_padding(facts: Facts) -> Finding | None:
    """Steps beyond the end of an episode are learnt from."""
    valid = facts.courses.get("valid_fraction")
    chunk = facts.config.agent.chunk_length
    masked = facts.config.replay.padding in ("mask", "absorbing")
    if valid is None or chunk == 1 or not facts.demos or not masked:
        return None
    if valid.count < rows_of_padding(facts) or valid.lowest < 1:
        return None
    return Finding(
        "padding-trained",
        f"no step of any chunk lies beyond the end of its episode, though chunks of {chunk} begin at every state",
        "Mark padded steps as not valid",
    )
