"""Options of acting: how action chunks become actions. Plain data: loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.math.schedules import parse_schedule
from zoomrl.ranges import at_least, choices, refuse_idle, within

_OPTIONS_OF = {"receding_horizon": ("replan_every",), "temporal_ensemble": ("ensemble_gain", "ensemble_favours")}
"""Options that one executor alone reads."""


@with_field_docs
@dataclass(frozen=True)
class ControlConfig:
    """From action chunks to executed actions, in training, evaluation and deployment alike.

    Temporal ensembles are from Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware"
    (2023).

    Raises:
        ConfigError: a number is out of its range, or ``noise`` is no schedule.
    """

    executor: Literal["temporal_ensemble", "receding_horizon", "open_loop"] = "temporal_ensemble"
    """Average all action chunks that cover the current step, replan every few steps, or execute each chunk whole."""
    replan_every: int = 1
    """Agent steps between action chunks (receding horizon)."""
    random_prefix: int = 0
    """In training episodes, execute a random number of actions of each chunk, from 1 to this many, before the next
    (SEAR's random replanning); 0 executes them as evaluations do."""
    ensemble_gain: float = 0.01
    """Temporal ensemble: weights are exp(-gain * rank)."""
    ensemble_favours: Literal["oldest", "newest"] = "oldest"
    """Temporal ensemble: which prediction has rank 0 and thus the largest weight (published: the oldest)."""
    noise: str = "0.01"
    """Standard deviation of exploration noise in [-1, 1] units: a number, linear(init,final,duration) or
    step_linear(init,f1,d1,f2,d2) over environment steps."""
    uniform_steps: int = 0
    """Environment steps at the start whose actions are sampled uniformly."""
    snap: bool = False
    """Snap explored actions to the finest grid, as CQN stores them (chunked agents do not)."""
    action_range: Literal["env", "demos"] = "env"
    """What [-1, 1] maps to: the environment's bounds, or the range of the successful demonstrations (clipped to the
    bounds; grippers keep the environment's)."""
    action_margin: float = 0.0
    """Widening of the demonstrations' range at both ends, as a fraction of each end's magnitude (published for
    RLBench: 0.2)."""

    def __post_init__(self) -> None:
        choices(self, "control.")
        at_least(self, "control.", replan_every=1, random_prefix=0, uniform_steps=0)
        within(self, "control.", 1e6, "ensemble_gain", "action_margin")
        try:
            parse_schedule(self.noise)
        except ValueError as error:
            raise ConfigError(f"control.noise: {error}") from error
        for executor, names in _OPTIONS_OF.items():
            refuse_idle(self, "control.", self.executor == executor, f"control.executor={executor}", *names)

    def with_executor(self, executor: str, **options: Any) -> ControlConfig:
        """The same with another executor and its ``options``; those of the former one are back at their defaults."""
        others = [name for other, names in _OPTIONS_OF.items() if other != executor for name in names]
        idle = {name: getattr(ControlConfig, name) for name in others}
        return replace(self, **{"executor": executor, **idle, **options})
