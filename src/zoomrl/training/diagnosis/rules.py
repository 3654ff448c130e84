"""What can be wrong with a run of a coarse-to-fine agent, by its evidence: one rule for each cause.

A rule says nothing unless its evidence is there. ``benchmarks/faults.py``, which injects fifteen faults on purpose and
trains healthy runs, measures how often they are right; thresholds were chosen with half of its runs in view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.agents.cqn.imitation import imitation_weight
from zoomrl.training.diagnosis.facts import LATELY, Facts
from zoomrl.training.intervals import wilson_interval
from zoomrl.training.value_range import range_advice

BEGUN = 100
"""Updates before which inputs have hardly been seen."""
SETTLED = 500
"""Updates after which most things can be told."""
LEARNT = 1000
"""Updates after which imitation must show: a narrow network in small batches told no bins apart for 700."""
FLAT, UNLEARNT = 0.05, 0.5
"""Spread of sibling bins, as a fraction of the atoms' range, and agreement with demonstrations, below which bins are
not told apart: 0.03 and 0.3 without imitation losses on drawer-open, 0.1 and 0.75 with them after 300 updates."""
LEARNT_BY_CHANCE = 0.35
"""The same agreement where imitation has its weight: a small network in small batches is at 0.45 after 1,000."""
LEAST_WEIGHT = 0.003
"""Weight of the imitation losses below which nothing counts as imitated. An independent study held a critic with it;
our experiment bc-terms did not, after 1,200 updates."""
FADED = 0.1
"""Loss of agreement with demonstrations, once nothing is imitated, that is no noise of the measure."""
LOST, LOST_WITH_WEIGHT = 0.8, 0.7
"""Fractions of the highest agreement with demonstrations that tell of a loss: where most of the imitation weight is
gone, and where it is not. Healthy runs with all of it were seen at 0.8 in single rows."""
RISEN = 0.02
"""Spread of sibling bins that must have been there before it can collapse."""
UNRELATED, FEW_STEPS = 0.25, 100
"""Persistence of demonstrated actions below which their order means nothing, and steps below which that is chance."""
RARE = 20
"""Episodes without a reward, and without demonstrations, from which on that is worth a word."""
COLLAPSED = 0.2
"""Fraction of its largest value below which the spread of sibling bins has collapsed."""
APART = 0.3
"""Distance of the target's weights from those that learn, in units of their norm, that is not healthy: up to 0.07
was seen."""
CLIPPED = 0.01
"""Fraction of clipped targets that is not worth a word."""


@dataclass(frozen=True)
class Finding:
    """A cause, the evidence for it, and what to change.

    Attributes:
        cause: its short name, stable between versions.
        evidence: what was seen, with numbers.
        advice: the option to change, or what to look at.
    """

    cause: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.evidence}. {self.advice}"


@dataclass(frozen=True)
class Rule:
    """A rule, and the evidence without which it cannot judge.

    Attributes:
        cause: that it names.
        look: finds it, or nothing.
        metrics: that rows of learning must hold.
        updates: that must have been made.
        rows: of learning that must be there.
        demos: it is about demonstrations.
        episodes: of training that must be there.
        evaluated: an evaluation that reports success must be there.
    """

    cause: str
    look: Callable[[Facts], Finding | None]
    metrics: tuple[str, ...] = ()
    updates: int = 0
    rows: int = 1
    demos: bool = False
    episodes: int = 0
    evaluated: bool = False

    def judges(self, facts: Facts) -> bool:
        """Whether the evidence is there."""
        counts = [facts.courses[name].count if name in facts.courses else 0 for name in self.metrics]
        return (
            all(count >= self.rows for count in counts)
            and facts.updates >= self.updates
            and len(facts.episodes) >= self.episodes
            and (bool(facts.demos) or not self.demos)
            and (facts.tested is not None or not self.evaluated)
        )


def imitation_stops(facts: Facts) -> Finding | None:
    """The schedule takes the weight of imitation to where it keeps no bins apart.

    Said before it does: afterwards the policy may be lost within sixteen updates (own measurement, a narrow network
    with a learning rate of 0.001), sooner than any number of the run can tell.
    """
    config = facts.config
    if not isinstance(config.agent, CQNConfig) or config.agent.bc_schedule == "1" or _restricted(config.agent):
        return None
    stop = _stop_of_imitation(config.agent, config.offline_updates + round(config.steps * config.updates_per_step))
    if stop is None:
        return None
    weight = imitation_weight(config.agent, stop)
    return Finding(
        "imitation-stops",
        f"agent.bc_schedule takes the weight of imitation to {weight:.2g} at about update {stop:,}, from where on "
        "values of sibling bins become equal, and the policy may be lost at once",
        "Raise --agent.bc-floor, or let --agent.bc-schedule end higher",
    )


@lru_cache(maxsize=8)
def _stop_of_imitation(agent: CQNConfig, updates: int) -> int | None:
    """The first of a thousand places in a run of ``updates`` at which too little is imitated; None without one."""
    places = range(0, updates + 1, max(1, updates // 1000))
    return next((place for place in places if imitation_weight(agent, place) <= LEAST_WEIGHT), None)


def critic_collapse(facts: Facts) -> Finding | None:
    """The critic values states and no longer actions, never valued them, or has begun to lose what it knew.

    Once imitation stops the best bins are lost first, then the policy, and last the spread of values (an own look: in
    64, 120 and 400 updates): waiting for the spread, or for a row of learning without any imitation, would tell of a
    policy that is dead.
    """
    spread = facts.courses.get("sibling_spread")
    if spread is None or facts.updates < SETTLED:
        return None
    agent, weight = facts.config.agent, _imitation_weight(facts)
    nothing = weight is not None and weight < LEAST_WEIGHT
    # Where it chooses among proposals and imitates nothing, demonstrated bins need not be the best.
    rates = nothing and _restricted(agent)
    idle = nothing and not rates
    agreement = facts.courses.get("demo_agreement") if facts.demos and not rates else None
    whole = getattr(agent, "bc_lambda", 0.0)
    lost = LOST_WITH_WEIGHT if weight is None or weight >= whole / 2 else LOST
    fell = spread.highest >= RISEN and spread.newest <= COLLAPSED * spread.highest
    fades = agreement is not None and (
        agreement.newest <= lost * agreement.highest or (idle and agreement.newest <= agreement.highest - FADED)
    )
    support = agent.support
    flat = support is not None and spread.newest < FLAT * (support[1] - support[0])
    least = UNLEARNT if idle else LEARNT_BY_CHANCE
    # A narrow network may be slow: what rises is on its way.
    still = facts.updates >= LEARNT and spread.newest <= 2 * spread.lowest
    unlearnt = flat and (idle or still) and agreement is not None and agreement.newest < least
    if not (fell or fades or unlearnt):
        return None
    what = f"values of sibling bins lie {spread.newest:.2g} apart" + (
        f", after {spread.highest:.2g} before" if fell else ""
    )
    if agreement is not None and not fell:
        before = f", after {agreement.highest:.0%} before" if fades else ""
        what += f", and {agreement.newest:.0%} of the demonstrated bins are the best{before}"
    advice = "Raise --agent.bc-lambda: without imitation losses nothing keeps bins apart"
    if rates:
        advice = "Look at proposal_spread: near 0 the critic does not tell proposals apart"
    elif weight is not None and weight < whole:
        advice = f"Raise --agent.bc-floor: the weight of imitation is {weight:.2g} by now, which keeps no bins apart"
    elif not idle:
        advice = "Look at demo_fraction and demo_agreement: the imitation losses do not reach the bins"
    return Finding("critic-collapse", what, advice)


def _imitation_weight(facts: Facts) -> float | None:
    """Weight of the imitation losses now; None of agents that have none."""
    scheduled = facts.newest("imitation_weight")
    return getattr(facts.config.agent, "bc_lambda", None) if scheduled is None else scheduled


def _restricted(agent: AgentConfig) -> bool:
    """Whether it chooses among proposals alone."""
    return isinstance(agent, CQNConfig) and bool(agent.proposals.count) and not agent.proposals.greedy


def clipped_targets(facts: Facts) -> Finding | None:
    """Values lie outside the atoms, and learning moves them to the outermost one."""
    support = facts.config.agent.support
    below, above = facts.newest("target_clipped_low"), facts.newest("target_clipped_high")
    if support is None or below is None or above is None or below + above <= CLIPPED:
        return None
    what = (
        f"{below:.0%} of the targets lie below agent.v_min={support[0]:g} and {above:.0%} above "
        f"agent.v_max={support[1]:g}, and are moved there: such values cannot be learnt"
    )
    low, high = facts.newest("value_bound_low"), facts.newest("value_bound_high")
    if low is None or high is None or facts.config.replay.discount >= 1:
        return Finding("support-too-narrow", what, "Widen the support to the returns of the task")
    advice = f"The rewards seen so far allow values from {low:.3g} to {high:.3g}: {range_advice(low, high)}"
    return Finding("support-too-narrow", what, advice)


def tells_value(facts: Facts) -> bool:
    """Whether the demonstrations say what a success is worth where they begin: play says nothing."""
    return "first_value" in facts.demos and not _is_play(facts)


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


def merged_truncation(facts: Facts) -> Finding | None:
    """Time limits are stored as ends of the task."""
    limit = facts.config.env.time_limit
    late = [row for row in facts.episodes if limit and row["length"] >= limit and not row.get("success")]
    ended = sum(bool(row.get("terminated")) for row in late)
    if len(late) < 3 or ended < len(late) / 2:
        return None
    return Finding(
        "time-limit-as-end",
        f"{ended} of {len(late)} failed episodes that ran into the time limit are marked as terminated",
        "Let the environment return truncated there: a terminated state is worth nothing",
    )


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
    if 0 < size < 0.03:
        what = f"demonstrated commands use {size:.1%} of the action range on average"
        return Finding("actions-mis-scaled", what, "Use --control.action-range demos, or check the units: demos check")
    return None


def failures_imitated(facts: Facts) -> Finding | None:
    """Episodes that failed are imitated."""
    failed, count = facts.demos.get("failed", 0), facts.demos.get("demonstrations", 0)
    if not failed or _is_play(facts):
        return None
    what = f"{failed:.0f} of {count:.0f} demonstrations have failed, and are marked as to be imitated"
    return Finding("failures-imitated", what, "Clear is_demo of episodes that did not succeed")


def _is_play(facts: Facts) -> bool:
    """Whether most demonstrations have failed: they are play then, which leads nowhere, and is imitated on purpose."""
    return facts.demos.get("failed", 0) > facts.demos.get("demonstrations", 0) / 2


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


def trained_padding(facts: Facts) -> Finding | None:
    """Steps beyond the end of an episode are learnt from."""
    valid = facts.courses.get("valid_fraction")
    length = facts.demos.get("length_90")
    chunk = getattr(facts.config.agent, "chunk_length", 1)
    masked = facts.config.replay.padding in ("mask", "absorbing")
    enough = valid is not None and valid.count >= 3 and chunk > 1 and length and masked
    if valid is None or not enough or valid.lowest < 1:
        return None
    return Finding(
        "padding-trained",
        f"no step of any chunk lies beyond the end of its episode, though chunks of {chunk} begin at every state",
        "Mark padded steps as not valid",
    )


def few_demonstrations(facts: Facts) -> Finding | None:
    """The demonstrations are known by heart, and too few."""
    count, agreement = facts.demos.get("demonstrations"), facts.newest("demo_agreement")
    if not count or count > 5 or agreement is None or agreement < 0.9 or facts.tested is None:
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


def stale_weights(facts: Facts) -> Finding | None:
    """The weights that act are far from those that learn."""
    distance = facts.newest("target_distance")
    if distance is None or distance < APART or facts.updates < SETTLED or _target_follows(facts):
        return None
    return Finding(
        "stale-weights",
        f"the target critic is {distance:.0%} of its norm away from the one that learns",
        "Raise --agent.target-tau, or act with --agent.act-with online",
    )


def divergence(facts: Facts) -> Finding | None:
    """Losses grow, or weights move so fast that a target which follows is far behind."""
    loss, distance = facts.courses.get("critic_loss"), facts.newest("target_distance")
    if loss is not None and loss.count >= 3 and loss.newest > 2 * max(loss.first, 0.0):
        what = f"the critic's loss is {loss.newest:.3g}, after {loss.lowest:.3g} before"
        return Finding("divergence", what, "Lower --agent.lr")
    if distance is None or distance < APART or facts.updates < SETTLED or not _target_follows(facts):
        return None
    what = f"the critic's weights change by {distance:.0%} of their norm within about {_delay(facts):,.0f} updates"
    return Finding("divergence", what, "Lower --agent.lr")


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
    if tied is None or tied < 0.2 or facts.updates < SETTLED or _restricted(facts.config.agent):
        return None
    return Finding(
        "choices-tied",
        f"{tied:.0%} of the choices are between bins of equal value, and fall to chance",
        "Look at the learning signal (demo_fraction, batch_return), or lower --agent.tie-threshold",
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


RULES: tuple[Rule, ...] = (
    Rule("support-too-narrow", clipped_targets, ("target_clipped_low",)),
    Rule("values-too-coarse", coarse_values, demos=True),
    Rule("no-reward", no_reward, updates=SETTLED),
    Rule("time-limit-as-end", merged_truncation, episodes=3),
    Rule("actions-mis-scaled", scaled_actions, ("demo_at_bound",), rows=LATELY, demos=True),
    Rule("failures-imitated", failures_imitated, demos=True),
    Rule("dead-camera", dead_camera, ("image_change",), BEGUN),
    Rule("constant-inputs", constant_state, ("state_still",), BEGUN),
    Rule("normalizer-of-other-data", foreign_normalizer, ("state_far",), rows=LATELY),
    Rule("success-without-reward", missing_rewards, episodes=3),
    Rule("padding-trained", trained_padding, ("valid_fraction",), rows=3, demos=True),
    Rule("demonstrations-duplicated", duplicated_demonstrations, demos=True),
    Rule("stale-weights", stale_weights, ("target_distance",), SETTLED),
    Rule("divergence", divergence, ("critic_loss",), SETTLED, rows=3),
    Rule("imitation-stops", imitation_stops, demos=True),
    Rule("critic-collapse", critic_collapse, ("sibling_spread",), SETTLED),
    Rule("choices-tied", tied_choices, ("tied",), SETTLED),
    Rule("demonstrations-contradict", contradicting_demonstrations, demos=True),
    Rule("few-demonstrations", few_demonstrations, ("demo_agreement",), demos=True, evaluated=True),
    Rule("exploration-too-loud", loud_exploration, episodes=10, evaluated=True),
)
"""From causes to symptoms: what comes first explains what comes later."""


def diagnose(facts: Facts) -> list[Finding]:
    """All findings, the likeliest cause first."""
    return [found for rule in RULES if (found := rule.look(facts)) is not None]


def not_judged(facts: Facts) -> list[str]:
    """The causes for which the evidence is not there, so that nothing is known of them."""
    return [rule.cause for rule in RULES if not rule.judges(facts)]
