"""All causes that a diagnosis knows, each with the evidence that it takes.

``benchmarks/faults.py``, which injects faults on purpose and trains healthy runs, measures how often they are right;
thresholds were chosen with half of its runs in view.
"""

from __future__ import annotations

from zoomrl.training.diagnosis.causes.demonstrations import (
    contradicting_demonstrations,
    duplicated_demonstrations,
    failures_imitated,
    few_demonstrations,
    imitated_in_vain,
)
from zoomrl.training.diagnosis.causes.episodes import (
    loud_exploration,
    merged_truncation,
    missing_rewards,
    no_reward,
    punished_successes,
)
from zoomrl.training.diagnosis.causes.imitation import critic_collapse, imitation_stops
from zoomrl.training.diagnosis.causes.inputs import (
    constant_state,
    dead_camera,
    foreign_normalizer,
    rows_of_padding,
    scaled_actions,
    trained_padding,
)
from zoomrl.training.diagnosis.causes.values import clipped_targets, coarse_values, misranked_values, overestimation
from zoomrl.training.diagnosis.causes.weights import divergence, stale_weights, tied_choices, unmoved_critic
from zoomrl.training.diagnosis.facts import FEWEST, Facts
from zoomrl.training.diagnosis.finding import BEGUN, LEARNT, SETTLED, Finding, Rule

RULES: tuple[Rule, ...] = (
    Rule("nothing-learnt", unmoved_critic, ("target_norm",), SETTLED, rows=3),
    Rule("success-punished", punished_successes, episodes=3),
    Rule("support-too-narrow", clipped_targets, ("target_clipped_low",)),
    Rule("values-too-coarse", coarse_values, demos=True),
    Rule("success-without-reward", missing_rewards, episodes=3),
    Rule("no-reward", no_reward, updates=SETTLED),
    Rule("time-limit-as-end", merged_truncation, episodes=3),
    Rule("actions-mis-scaled", scaled_actions, ("demo_at_bound",), rows=FEWEST, demos=True),
    Rule("failures-imitated", failures_imitated, demos=True),
    Rule("dead-camera", dead_camera, ("image_change",), BEGUN),
    Rule("constant-inputs", constant_state, ("state_still",), BEGUN),
    Rule("normalizer-of-other-data", foreign_normalizer, ("state_far",), rows=FEWEST),
    Rule("padding-trained", trained_padding, ("valid_fraction",), rows=rows_of_padding, demos=True),
    Rule("demonstrations-duplicated", duplicated_demonstrations, demos=True),
    Rule("stale-weights", stale_weights, ("target_distance",), SETTLED),
    Rule("divergence", divergence, ("critic_loss",), SETTLED, rows=3),
    Rule("imitation-stops", imitation_stops, demos=True),
    Rule("critic-collapse", critic_collapse, ("sibling_spread",), SETTLED, demos=True),
    Rule("choices-tied", tied_choices, ("tied",), SETTLED),
    Rule("demonstrations-contradict", contradicting_demonstrations, demos=True),
    Rule("over-estimation", overestimation, evaluated=True),
    Rule("values-mis-ranked", misranked_values, evaluated=True),
    Rule("few-demonstrations", few_demonstrations, ("demo_agreement",), demos=True, evaluated=True),
    Rule("imitated-in-vain", imitated_in_vain, ("demo_agreement",), LEARNT, demos=True, evaluated=True),
    Rule("exploration-too-loud", loud_exploration, episodes=10, evaluated=True),
)
"""From causes to symptoms: what comes first explains what comes later."""


def diagnose(facts: Facts) -> list[Finding]:
    """All findings, the likeliest cause first."""
    return [found for rule in RULES if (found := rule.look(facts)) is not None]


def not_judged(facts: Facts) -> list[str]:
    """The causes for which the evidence is not there, so that nothing is known of them.

    Some rules may find a cause with less than what it takes to say that it is not there.
    """
    return [rule.cause for rule in RULES if not rule.judges(facts) and rule.look(facts) is None]
