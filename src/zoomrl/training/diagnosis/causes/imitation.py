"""Imitation that ends, or that no longer reaches the critic."""

from __future__ import annotations

from functools import lru_cache

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.agents.cqn.imitation import imitation_weight
from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.finding import LEARNT, SETTLED, Finding

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
COLLAPSED = 0.2
"""Fraction of its largest value below which the spread of sibling bins has collapsed."""


def imitation_stops(facts: Facts) -> Finding | None:
    """The schedule takes the weight of imitation to where it keeps no bins apart.

    Said before it does: afterwards the policy may be lost within sixteen updates (own measurement, a narrow network
    with a learning rate of 0.001), sooner than any number of the run can tell.
    """
    config = facts.config
    if not isinstance(config.agent, CQNConfig) or config.agent.bc_schedule == "1" or chooses_proposals(config.agent):
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
    # Without demonstrations nothing but the values keeps bins apart, and where they matter little they lie close.
    if spread is None or facts.updates < SETTLED or not facts.demos:
        return None
    agent, weight = facts.config.agent, _imitation_weight(facts)
    nothing = weight is not None and weight < LEAST_WEIGHT
    # Where it chooses among proposals and imitates nothing, demonstrated bins need not be the best.
    rates = nothing and chooses_proposals(agent)
    idle = nothing and not rates
    agreement = None if rates else facts.courses.get("demo_agreement")
    whole = getattr(agent, "bc_lambda", 0.0)
    full = weight is None or weight >= whole / 2
    lost = LOST_WITH_WEIGHT if full else LOST
    fell = spread.highest >= RISEN and spread.newest <= COLLAPSED * spread.highest
    if facts.newest("demo_fraction") == 0:
        agreement = None  # of no sample
    # While all is imitated one row may be an accident, and two hardly.
    rows = [] if agreement is None else [agreement.newest, *([agreement.former] if full and not idle else [])]
    fades = agreement is not None and (
        all(row is not None and row <= lost * agreement.highest for row in rows)
        or (idle and agreement.newest <= agreement.highest - FADED)
    )
    support = agent.support
    flat = support is not None and spread.newest < FLAT * (support[1] - support[0])
    least = UNLEARNT if idle else LEARNT_BY_CHANCE
    # A narrow network may be slow: what rises is on its way.
    still = facts.updates >= LEARNT and spread.newest <= 2 * spread.lowest
    unlearnt = flat and (idle or still) and not facts.is_play and agreement is not None and agreement.newest < least
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


def chooses_proposals(agent: AgentConfig) -> bool:
    """Whether it chooses among proposals alone."""
    return isinstance(agent, CQNConfig) and bool(agent.proposals.count) and not agent.proposals.greedy
