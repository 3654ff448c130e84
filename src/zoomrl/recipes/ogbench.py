"""OGBench from state, offline from play, for a CPU.

Discount, n-step returns and chunks of five are those of Q-chunking on OGBench (Li et al. 2025). Small networks,
faster targets, and half of each batch from episodes that end with the task solved are our own choices: of a million
steps of play some fifty to two hundred hold a reward. Values are 0 to 1, in atoms by steps to go: a success five
hundred steps away is told from none.
"""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.cqn.config import CQNASConfig, ProposalConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.recipes.recipe import Recipe
from zoomrl.recipes.small import single_actions
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

_CHUNK = 5
_AGENT = CQNASConfig(
    chunk_length=_CHUNK,
    hidden_dim=128,
    trunk_dim=0,
    dueling="shared",
    atoms=21,
    v_min=0.0,
    v_max=1.0,
    atom_spacing="geometric",
    v_least=0.006,
    normalize="demos",
    double_q=False,
    lr=3e-4,
    weight_decay=0.01,
    target_tau=0.02,
)


def cqn_as_ogbench() -> TrainConfig:
    """CQN-AS for OGBench from state, offline: all of play is imitated. Name your play with --demos."""
    return TrainConfig(
        preset="cqn_as-ogbench",
        env=EnvConfig(id="ogbench:puzzle-3x3-task4"),
        agent=_AGENT,
        replay=ReplayConfig(
            batch_size=128,
            n_step=_CHUNK,
            discount=0.99,
            sampling="transition",
            demo_fraction=0.0,
            success_fraction=0.5,
        ),
        control=ControlConfig(executor="open_loop"),
        demos=DemoConfig(source="play", episodes=0),
        eval=EvalConfig(every=0, episodes=20, final_episodes=50, video=False),
        checkpoint=CheckpointConfig(keep=1),
        steps=0,
        offline_updates=100_000,
        offline_eval_every=20_000,
    )


def cqn_ogbench() -> TrainConfig:
    """CQN for OGBench from state, offline: the same hyperparameters with single actions, for comparison."""
    return single_actions(cqn_as_ogbench(), "cqn-ogbench")


def cqn_as_ogbench_proposals() -> TrainConfig:
    """CQN-AS for OGBench that chooses among chunks a flow-matching policy of the play proposes, as Q-chunking does."""
    proposals = ProposalConfig(count=16, greedy=False)
    base = cqn_as_ogbench()
    agent = replace(_AGENT, proposals=proposals, bc_lambda=0.0, critic_lambda=1.0)
    return replace(base, preset="cqn_as-ogbench-proposals", agent=agent)


def bc_ogbench() -> TrainConfig:
    """Behaviour cloning of chunks for OGBench from state: half of all play, half of what of it solves the task."""
    base = cqn_as_ogbench()
    agent = BCConfig(chunk_length=_CHUNK, hidden=(256, 256))
    return replace(base, preset="bc-ogbench", agent=agent, replay=replace(base.replay, n_step=1))


PRESETS: dict[str, Recipe] = {
    "cqn_as-ogbench": Recipe(cqn_as_ogbench, "ogbench"),
    "cqn-ogbench": Recipe(cqn_ogbench, "ogbench"),
    "cqn_as-ogbench-proposals": Recipe(cqn_as_ogbench_proposals, "ogbench"),
    "bc-ogbench": Recipe(bc_ogbench, "ogbench"),
}
