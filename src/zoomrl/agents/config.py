"""What the rest of the library asks of an agent's hyperparameters. Plain data: importing this module loads no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

from zoomrl.nets.config import EncoderConfig, RepresentationConfig


@dataclass(frozen=True)
class TaskDefaults:
    """Options outside the agent that belong to the algorithm and not to the task.

    They follow the agent when a preset is used with another one than its own.

    Attributes:
        executor: how its action chunks are executed.
        snap: whether explored actions are snapped to the agent's grid.
        noise: ``control.noise``, the standard deviation of exploration noise in [-1, 1] units, in place of the
            preset's; None keeps it.
        prioritized: sample by the priorities that the agent gives.
        update_at: when updates are made; None keeps the preset's.
    """

    executor: Literal["temporal_ensemble", "receding_horizon", "open_loop"] = "open_loop"
    snap: bool = False
    noise: str | None = None
    prioritized: bool = False
    update_at: Literal["step", "episode"] | None = None


@dataclass(frozen=True)
class AgentConfig:
    """Hyperparameters of an agent.

    A subclass is a frozen dataclass, whose fields become options of the command line. It refuses values that cannot
    work by ConfigError when it is made.

    The attributes below are what is true of an agent that says nothing else. A subclass that leaves a choice makes a
    field of it by the same name.
    """

    name: ClassVar[str]
    """By which it is chosen, as in ``--agent NAME``."""
    learner: ClassVar[str]
    """Where its update rule is: ``module:Class``, imported when it is built."""
    imitation: ClassVar[bool] = False
    """Whether it learns from demonstrations alone, without rewards."""
    family: ClassVar[str] = ""
    """Variants of one algorithm, between which hyperparameters are taken over."""
    variants_differ_by_defaults: ClassVar[bool] = False
    """Whether what a variant leaves at its default is the variant, so that only what was changed is taken over."""
    gives_priorities: ClassVar[bool] = False
    """Whether its updates return priorities, by which a replay may sample."""

    @property
    def judges_by_episodes(self) -> bool:
        """Whether it judges its newest policy by the training episodes that follow."""
        return False

    unused: ClassVar[tuple[str, ...]] = ()
    """Options that it has from classes that it shares, and no use for: ``trunk_dim``, ``encoder.layers``. Other values
    than their defaults are refused (:func:`zoomrl.agents.checks.refuse_unused`)."""

    # Not annotated, so that they are no fields here.
    chunk_length = 1
    """Steps T of the action chunks that it proposes."""
    target_interval = 0
    """Updates between updates of its target networks; 0 where it has none, or updates them by itself."""
    policy_delay = 1
    """Updates until every network has been updated once."""
    weight_decay = 0.0
    """Weight decay of its optimizer."""
    normalize = "none"
    """How the state is scaled; ``demos`` needs the demonstrations' mean and standard deviation."""
    encoder = EncoderConfig()
    """How images are encoded."""
    representation = RepresentationConfig()
    """What is jointly trained to represent observations."""

    @property
    def chunked(self) -> bool:
        """Whether its action chunks may have several steps."""
        return any(field.name == "chunk_length" for field in fields(self))

    @property
    def grid(self) -> tuple[int, int] | None:
        """Levels and bins of the grid on which its actions lie, where they do."""
        return None

    @property
    def support(self) -> tuple[float, float, int] | None:
        """Lowest and highest atom and their number, where its values are distributions over atoms."""
        return None

    @property
    def least_value(self) -> float | None:
        """The smallest value that it tells from 0, where its values are distributions over atoms and that is known."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain data, without its name."""
        return asdict(self)

    def replaced(self, **changes: Any) -> Self:
        """A copy with other values in these fields.

        Raises:
            ConfigError: a value that the class refuses.
            TypeError: an unknown field.
        """
        return replace(self, **changes)

    def task_defaults(self) -> TaskDefaults:
        """Options outside the agent that belong to the algorithm: chunks are averaged, single actions executed."""
        return TaskDefaults(executor="temporal_ensemble" if self.chunked else "open_loop")
