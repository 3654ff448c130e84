"""What tasks change of the presets of their domain: the numbers that ``--env`` selects.

Sources: the task configurations of the public DrQ-v2, CQN-AS, TCRL and iQRL repositories.
"""

from __future__ import annotations

from typing import Any

from zoomrl.envs.suites.bigym.tasks import TASKS as BIGYM_TASKS
from zoomrl.recipes.recipe import Numbers

EPISODE = 1000
"""Environment steps of an episode of DeepMind Control."""
WARM_UP = 10 * EPISODE
"""Steps before the first update of iQRL and its baselines."""
MEDIUM_STEPS, HARD_STEPS = 3_100_000, 30_100_000
"""Environment steps of DrQ-v2 and CQN for the medium and hard tasks of DeepMind Control."""
HUMANOID_LR, HUMANOID_FEATURES = 8e-5, 100
"""Learning rate of humanoid tasks, from pixels and from state, and the width of their image trunk."""
EASY_EPISODES, MEDIUM_EPISODES, HARD_EPISODES = 50, 150, 500
"""Episodes over which exploration falls in iQRL and TCRL, for each class of tasks."""

_DRQ_MEDIUM = (
    "acrobot-swingup",
    "cartpole-swingup-sparse",
    "cheetah-run",
    "finger-turn-easy",
    "finger-turn-hard",
    "hopper-hop",
    "quadruped-run",
    "quadruped-walk",
    "reacher-easy",
    "reacher-hard",
    "walker-run",
)
_HUMANOID = ("humanoid-stand", "humanoid-walk", "humanoid-run")
_WALKER = ("walker-stand", "walker-walk", "walker-run")
_QUADRUPED = ("quadruped-run", "quadruped-walk")
_DOG = ("dog-run", "dog-stand", "dog-trot", "dog-walk")

_EASY = (
    "cartpole-balance",
    "cup-catch",
    "finger-spin",
    "hopper-stand",
    "pendulum-swingup",
    "walker-stand",
    "walker-walk",
)
_MEDIUM = (
    "acrobot-swingup",
    "cheetah-run",
    "finger-turn-easy",
    "finger-turn-hard",
    "fish-swim",
    "fish-upright",
    "hopper-hop",
    "quadruped-run",
    "quadruped-walk",
    "reacher-easy",
    "reacher-hard",
    "walker-run",
)
_HARD = ("cartpole-swingup-sparse", *_DOG, *_HUMANOID)
IQRL_EPISODES = {
    **dict.fromkeys(_EASY, EASY_EPISODES),
    **dict.fromkeys(_MEDIUM, MEDIUM_EPISODES),
    **dict.fromkeys(_HARD, HARD_EPISODES),
}
"""The 27 tasks of iQRL, and the episodes over which exploration falls in each."""


def falling(episodes: int, last: float = 0.1) -> str:
    """Noise of 1.0 in the warm-up, then down to ``last`` over this many episodes."""
    return f"step_linear(1.0,1.0,{WARM_UP},{last},{episodes * EPISODE})"


def _drq_numbers(*, pixels: bool, noise: bool) -> Numbers:
    """DrQ-v2's classes of tasks, which CQN shares: longer runs, and slower noise where it falls at all."""
    found: dict[str, dict[str, Any]] = {}

    def add(tasks: tuple[str, ...], **changes: Any) -> None:
        for task in tasks:
            found.setdefault(f"dmc:{task}", {}).update({name.replace("__", "."): v for name, v in changes.items()})

    add(_DRQ_MEDIUM, steps=MEDIUM_STEPS)
    add(_HUMANOID, steps=HARD_STEPS, agent__lr=HUMANOID_LR)
    if noise:
        add(_DRQ_MEDIUM, control__noise="linear(1.0,0.1,1000000)")
        add(_HUMANOID, control__noise="linear(1.0,0.1,4000000)")
    add(_WALKER, replay__batch_size=512, replay__n_step=1)
    add(("quadruped-run",), replay__capacity=100_000)
    if pixels:
        add(_HUMANOID, agent__encoder__feature_dim=HUMANOID_FEATURES)
        add(_QUADRUPED, env__cameras=("2",))
    return found


def _iqrl_numbers() -> Numbers:
    found: dict[str, dict[str, Any]] = {}
    for task, episodes in IQRL_EPISODES.items():
        numbers: dict[str, Any] = {"control.noise": falling(episodes)}
        if task.startswith(("acrobot", "dog", "fish", "reacher")):
            numbers["replay.n_step"] = 3
        if task == "acrobot-swingup":
            numbers["agent.representation.target_tau"] = 5e-4
        if task.startswith(("dog", "humanoid")):
            numbers["agent.representation.dim"] = 2048
        if task.startswith("fish"):
            numbers["agent.representation.projection_dim"] = 64
        found[f"dmc:{task}"] = numbers
    return found


def _tcrl_numbers() -> Numbers:
    """As released, the noise falls from the first episode on: it counts the random ones."""
    found: dict[str, dict[str, Any]] = {}
    for tasks, episodes, last, steps in (
        (_MEDIUM, MEDIUM_EPISODES, 0.1, 1_000_000),
        (_HARD, HARD_EPISODES, 0.2, 5_000_000),
    ):
        for task in tasks:
            numbers: dict[str, Any] = {"control.noise": f"linear(1.0,{last},{episodes * EPISODE})", "steps": steps}
            if tasks is _HARD:
                numbers["agent.representation.dim"] = 100
            if task in _HUMANOID:
                numbers["replay.n_step"] = 1
            found[f"dmc:{task}"] = numbers
    return found


CQN_STATE = _drq_numbers(pixels=False, noise=False)
CQN_PIXELS = _drq_numbers(pixels=True, noise=False)
DRQ = _drq_numbers(pixels=True, noise=True)
IQRL = _iqrl_numbers()
IQRL_BASELINE: Numbers = {
    task: {name: value for name, value in numbers.items() if not name.startswith("agent.")}
    for task, numbers in IQRL.items()
}
"""For an agent without iQRL's latent."""
TCRL = _tcrl_numbers()
BIGYM: Numbers = {f"bigym:{task}": {"steps": row.frames} for task, row in BIGYM_TASKS.items()}
