"""The range of values of a task, for an agent whose preset was made for another kind of value."""

from __future__ import annotations

from zoomrl.agents.config import AgentConfig
from zoomrl.envs.config import EnvConfig

DENSE_METAWORLD = 10.0
"""Largest dense reward of a Meta-World step."""


def value_range(env: EnvConfig, discount: float) -> tuple[float, float] | None:
    """Lowest and highest discounted return on ``env``; None where nothing is known of its rewards.

    BiGym and RLBench: as released, around a success worth 1. DeepMind Control: rewards of 0 to 1 in every control step
    for ever (released: 0 to 200, with an action repeat of 2). Meta-World: one success worth 1, or rewards for ever.
    OGBench: one success worth 1.
    """
    suite = env.id.partition(":")[0]
    if suite in ("bigym", "rlbench"):
        return -2.0, 2.0
    sparse = {"metaworld": env.reward != "dense", "ogbench": env.reward != "native"}
    if sparse.get(suite, False) and env.terminate_on_success:
        return 0.0, 1.0
    if suite not in ("dmc", "metaworld") or discount >= 1:
        return None
    reward = DENSE_METAWORLD if suite == "metaworld" and env.reward == "dense" else 1.0
    return 0.0, round(reward * env.action_repeat / (1 - discount), 6)


def fit_values(agent: AgentConfig, env: EnvConfig, discount: float) -> AgentConfig | None:
    """``agent``, which has atoms, with atoms that hold the values of ``env``; None where nothing is known of them.

    HumanoidBench pays without a bound; there CQN is published with scalar values.
    """
    if env.id.startswith("humanoidbench:"):
        return agent.replaced(value="scalar")
    known = value_range(env, discount)
    return None if known is None else agent.replaced(v_min=known[0], v_max=known[1])
