"""The papers, as they are named in claims, and what they were measured on."""

from __future__ import annotations

from collections.abc import Sequence

from zoomrl.reproduce.experiment import Scale

CQN = "Seo, Uruc, James (CoRL 2024), Coarse-to-fine Q-networks"
CQN_AS = "Seo, Abbeel (2024), CQN-AS"
IQRL = "Scannell et al. (2024), iQRL"
DRQV2 = "Yarats et al. (2021), DrQ-v2"
CAL_QL = "Nakamoto et al. (2023), Cal-QL"
QC = "Li, Zhou, Levine (2025), Q-chunking"
SEAR = "SEAR (2026, arXiv:2603.01891)"
INDEPENDENT = "public reports of independent laboratories on CQN-AS (2026)"

BIGYM = (
    *("move_plate", "move_two_plates", "saucepan_to_hob", "sandwich_flip"),
    *("sandwich_remove", "dishwasher_load_plates", "dishwasher_close", "cupboards_close_all"),
)
"""Eight tasks of BiGym on which CQN-AS was ablated or reported."""
HUMAN_DEMOS = "demos/{task}"
"""Where demonstrations of BiGym are expected that `zoomrl demos import bigym` has written."""
SMALL_METAWORLD = ("metaworld:coffee-push", "metaworld:push-wall", "metaworld:lever-pull")
"""Tasks on which ten disturbed demonstrations leave something to be learnt within two minutes."""
SMALL_TRAINING = {
    "preset": "cqn_as-metaworld-hard",
    "demos.episodes": 10,
    "agent.hidden_dim": 64,
    "agent.double_q": False,
    "replay.batch_size": 64,
    "env.time_limit": 150,
    "offline_updates": 1000,
    "steps": 2000,
    "updates_per_step": 0.2,
    "eval.every": 2000,
    "eval.episodes": 10,
    "eval.num_envs": 5,
    "eval.final_episodes": 50,
    "checkpoint.keep": 1,
}
"""Options of training on two cores: CQN-AS on Meta-World from state, ten demonstrations with noise 0.3."""
FULL_BIGYM = {
    "preset": "cqn_as-bigym",
    "demos.source": HUMAN_DEMOS,
    "device": "auto",
    "eval.final_episodes": 50,
}
"""Options of the paper's tasks: the released configuration."""


def on_bigym(tasks: Sequence[str] = BIGYM, seeds: int = 8, arms: tuple[str, ...] = ()) -> Scale:
    """The full scale of an experiment on BiGym: ``seeds`` seeds of each of ``tasks``, of ``arms`` or of all."""
    where = tasks[0] if len(tasks) == 1 else "<task>"
    return Scale(
        tuple(f"bigym:{task}" for task in tasks),
        tuple(range(1, seeds + 1)),
        seconds=60_000,
        options=FULL_BIGYM,
        arms=arms,
        needs=f"BiGym, its demonstrations imported into demos/{where}, and a GPU",
        guessed=True,
    )
