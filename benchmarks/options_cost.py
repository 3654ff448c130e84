"""What options of CQN-AS cost, as the time of an update next to that of one without them, taking turns in one run.

The network is that of `cqn_as-metaworld`. One thread. Batches are made before:
what the replay takes for them is not timed.

Usage: python benchmarks/options_cost.py [--no-write]
"""

from __future__ import annotations

from collections.abc import Callable

from counting import interleaved
from provenance import measure
from shapes import Case, batch_size, make_agent, make_batch

PROPOSALS = {"agent.proposals.count": 16}
OPTIONS = {
    "as it is": {},
    "proposals": {**PROPOSALS, "agent.proposals.greedy": False},
    "proposals and the greedy chunk": {**PROPOSALS, "agent.proposals.greedy": True},
    "prefix targets": {"agent.prefix_targets": True, "replay.n_step": 1},
    "geometric atoms": {"agent.atom_spacing": "geometric", "agent.v_min": 0.0, "agent.v_least": 0.13},
    "chunks of 1": {"agent.chunk_length": 1},
    "chunks of 8": {"agent.chunk_length": 8},
    "chunks of 16": {"agent.chunk_length": 16},
}


def main() -> None:
    measure("options_cost", __doc__, cost, preset="cqn_as-metaworld")


def cost() -> dict[str, dict[str, float]]:
    """Of each option the milliseconds of an update, and how many times those of one without it that is."""
    turns = [updating(Case("cqn_as-metaworld", 39, 4, options=options)) for options in OPTIONS.values()]
    seconds = interleaved(turns, "cpu", budget=120.0, rounds=(40, 400))
    return {
        name: {"update_ms": 1e3 * one, "times": one / seconds[0]} for name, one in zip(OPTIONS, seconds, strict=True)
    }


def updating(case: Case) -> Callable[[], object]:
    """A function that makes an update of ``case``."""
    agent = make_agent(case, random_heads=True)
    batch = make_batch(case, agent, batch_size(case, "full"))
    return lambda: agent.update(batch)


if __name__ == "__main__":
    main()
