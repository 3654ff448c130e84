"""Options of collecting episodes while learning. Plain data: loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, choices, positive


@with_field_docs
@dataclass(frozen=True)
class CollectConfig:
    """Who makes the training episodes: the loop itself, step by step, or actors, whole episodes ahead of it.

    Raises:
        ConfigError: a number is out of its range, or two options cannot go together.
    """

    lag: int = 0
    """Episodes that acting may be behind learning. 0 acts with the newest weights at every step. N makes each episode
    with the weights of N episodes before it, so that N of them can be made while the agent learns."""
    backend: Literal["inline", "process", "ray"] = "inline"
    """Where episodes are made with a lag: one by one in this process, in processes of this machine, or by actors of a
    Ray cluster. The bytes of a run are the same."""
    actors: int = 0
    """Processes, or actors of the cluster, that make episodes. The bytes of a run do not depend on their number."""
    deadline: float = 600.0
    """Seconds after which an actor that has not brought its episode is given up, and the episode made anew."""
    probe_steps: int = 100
    """Steps with fixed random actions by whose answers a simulator elsewhere is compared with the learner's; 0 for a
    robot, which would move."""
    allow_mixed: bool = False
    """Take actors whose machine or versions compute other numbers. The run is then marked as not exact."""

    def __post_init__(self) -> None:
        choices(self, "collect.")
        at_least(self, "collect.", lag=0, actors=0, probe_steps=0)
        positive(self, "collect.", "deadline")
        if self.backend == "inline" and self.actors:
            raise ConfigError(
                f"collect.actors={self.actors} needs somewhere to run: collect.backend=process takes processes of this "
                "machine, collect.backend=ray those of a Ray cluster"
            )
        if self.backend != "inline" and not self.lag:
            raise ConfigError(
                f"with collect.lag=0 every action waits for the update before it, and collect.backend={self.backend} "
                f"would have nothing to do meanwhile. Use collect.lag={max(self.actors, 1)}, or collect.backend=inline"
            )
        if self.backend != "inline" and not self.actors:
            raise ConfigError(f"collect.backend={self.backend} needs collect.actors, 1 or more")
