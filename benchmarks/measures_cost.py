"""What the numbers cost by which a run says why it fails, as a part of an update, taking turns in one run.

Some are made at every update (clipped targets, bounds of values, facts of the batch), the others at one in
MEASURED_EVERY. Rules are asked of a row of learning, of which there is one in some hundred updates. One thread.

Usage: python benchmarks/measures_cost.py [--no-write]
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

from counting import interleaved
from provenance import measure
from shapes import Case, batch_size, make_agent, make_batch
from zoomrl.agents.cqn import critic, learner
from zoomrl.agents.learner import MEASURED_EVERY
from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.rules import diagnose

CASES = (
    Case("quickstart", 39, 4),
    Case("cqn-metaworld", 39, 4),
    Case("cqn_as-metaworld-hard", 39, 4),
    Case("cqn_as-metaworld-pixels", 4, 4, views=2, size=64),
    Case("cqn_as-ogbench-proposals", 55, 5),
    Case("cqn_as-humanoid-cpu", 151, 61),
)


AT_EVERY_UPDATE = ((critic, "clipped_fractions"), (learner, "value_bounds"), (learner, "batch_metrics"))
"""What makes a measure of every update, by the module that calls it."""


def main() -> None:
    measure(
        "measures_cost",
        __doc__,
        lambda: {case.preset: cost(case) for case in CASES},
        measured_every=MEASURED_EVERY,
    )


def cost(case: Case) -> dict[str, float]:
    """Milliseconds of updates, without measures, with some, and with all; of the rules; and the measures' part."""
    agent = make_agent(case, random_heads=True)
    batch = make_batch(case, agent, batch_size(case, "full"))

    def update(number: int) -> dict[str, float]:
        agent.updates = number
        return {name: float(value) for name, value in agent.update(batch).items()}

    def bare() -> None:
        with ExitStack() as stack:
            for module, name in AT_EVERY_UPDATE:
                stack.enter_context(patch.object(module, name, _nothing))
            update(others)

    others = agent.target_interval  # the target moves after this one and after 0, or after none of them
    assert others % MEASURED_EVERY
    facts = _facts(case, update(0))
    least, plain, measuring, rules = interleaved(
        [bare, lambda: update(others), lambda: update(0), lambda: diagnose(facts)],
        "cpu",
        budget=60.0,
        rounds=(40, 400),
    )
    at_every, at_some = (plain - least) / least, (measuring - plain) / least / MEASURED_EVERY
    return {
        "bare_update_ms": 1e3 * least,
        "update_ms": 1e3 * plain,
        "measuring_update_ms": 1e3 * measuring,
        "rules_ms": 1e3 * rules,
        "at_every_update": at_every,
        "at_some_updates": at_some,
        "measures_of_update": at_every + at_some,
    }


def _nothing(*_: object) -> dict[str, float]:
    return {}


def _facts(case: Case, metrics: dict[str, float]) -> Facts:
    demos = {"demonstrations": 20, "demonstrated_steps": 2000, "duplicates": 0, "failed": 0, "length_90": 100}
    facts = Facts(case.config(), {**demos, "unrewarded": 0, "rewarded": 20, "action_persistence": 0.8})
    for row in range(10):
        facts.add({"kind": "train", "updates": 500 * (row + 1), **metrics})
    facts.add({"kind": "eval", "success_rate": 0.5, "episodes": 20})
    facts.add_all({"kind": "episode", "success": True, "return": 1.0, "length": 80} for _ in range(50))
    return facts


if __name__ == "__main__":
    main()
