"""Environment ids that the Tab key offers. Plain data: asking the simulators would take seconds."""

from __future__ import annotations

from zoomrl.envs.suites.bigym.tasks import TASKS as BIGYM
from zoomrl.envs.suites.ogbench.tasks import ogbench_tasks
from zoomrl.envs.suites.rlbench.tasks import LIMITS as RLBENCH
from zoomrl.recipes.humanoid import ROBOT
from zoomrl.recipes.humanoid import TASKS as HUMANOID

DOMAINS = ("metaworld", "dmc", "bigym", "humanoidbench", "rlbench", "ogbench", "gym")

METAWORLD = [
    "assembly",
    "basketball",
    "bin-picking",
    "box-close",
    "button-press",
    "button-press-topdown",
    "button-press-topdown-wall",
    "button-press-wall",
    "coffee-button",
    "coffee-pull",
    "coffee-push",
    "dial-turn",
    "disassemble",
    "door-close",
    "door-lock",
    "door-open",
    "door-unlock",
    "drawer-close",
    "drawer-open",
    "faucet-close",
    "faucet-open",
    "hammer",
    "hand-insert",
    "handle-press",
    "handle-press-side",
    "handle-pull",
    "handle-pull-side",
    "lever-pull",
    "peg-insert-side",
    "peg-unplug-side",
    "pick-out-of-hole",
    "pick-place",
    "pick-place-wall",
    "plate-slide",
    "plate-slide-back",
    "plate-slide-back-side",
    "plate-slide-side",
    "push",
    "push-back",
    "push-wall",
    "reach",
    "reach-wall",
    "shelf-place",
    "soccer",
    "stick-pull",
    "stick-push",
    "sweep",
    "sweep-into",
    "window-close",
    "window-open",
]

DMC = [
    "acrobot-swingup",
    "acrobot-swingup_sparse",
    "ball_in_cup-catch",
    "cartpole-balance",
    "cartpole-balance_sparse",
    "cartpole-swingup",
    "cartpole-swingup_sparse",
    "cartpole-three_poles",
    "cartpole-two_poles",
    "cheetah-run",
    "dog-fetch",
    "dog-run",
    "dog-stand",
    "dog-trot",
    "dog-walk",
    "finger-spin",
    "finger-turn_easy",
    "finger-turn_hard",
    "fish-swim",
    "fish-upright",
    "hopper-hop",
    "hopper-stand",
    "humanoid-run",
    "humanoid-run_pure_state",
    "humanoid-stand",
    "humanoid-walk",
    "humanoid_CMU-run",
    "humanoid_CMU-stand",
    "humanoid_CMU-walk",
    "lqr-lqr_2_1",
    "lqr-lqr_6_2",
    "manipulator-bring_ball",
    "manipulator-bring_peg",
    "manipulator-insert_ball",
    "manipulator-insert_peg",
    "pendulum-swingup",
    "point_mass-easy",
    "point_mass-hard",
    "quadruped-escape",
    "quadruped-fetch",
    "quadruped-run",
    "quadruped-walk",
    "reacher-easy",
    "reacher-hard",
    "stacker-stack_2",
    "stacker-stack_4",
    "swimmer-swimmer15",
    "swimmer-swimmer6",
    "walker-run",
    "walker-stand",
    "walker-walk",
]


def ids(domain: str) -> list[str]:
    """The ids of ``domain``; those that Gymnasium has registered here for ``gym``."""
    return [f"{domain}:{name}" for name in _names(domain)]


def _names(domain: str) -> list[str]:
    if domain == "gym":
        import gymnasium

        return sorted(gymnasium.registry)
    known = {
        "metaworld": METAWORLD,
        "dmc": DMC,
        "bigym": BIGYM,
        "humanoidbench": [f"{ROBOT}-{task}" for task in HUMANOID],
        "rlbench": RLBENCH,
        "ogbench": ogbench_tasks(),
    }
    return list(known.get(domain, ()))
