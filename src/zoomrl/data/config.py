"""Options of the replay buffer and of the batches sampled from it. Plain data: loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, choices, within


@with_field_docs
@dataclass(frozen=True)
class ReplayConfig:
    """What is kept, and what a learner's batch is made of.

    A frame is one observation with the action and reward that followed it: an episode of T agent steps has T + 1.

    Raises:
        ConfigError: a number is out of its range.
    """

    capacity: int = 1_000_000
    """Online frames kept; the oldest episodes make room. Demonstrations are kept in addition, and never evicted."""
    storage: Literal["ram", "disk", "gpu"] = "ram"
    """Keep frames in memory, in a memory-mapped file in the run directory, or in the memory of the GPU that learns."""
    batch_size: int = 512
    """Samples per update."""
    demo_fraction: float = 0.5
    """Fraction of each batch that is sampled from demonstrations alone; the rest is sampled from everything."""
    success_fraction: float = 0.0
    """Fraction of each batch that is sampled from successful episodes alone, where there are any, demonstrated or not:
    for data in which a reward is rare, such as play."""
    relabel_successes: bool = True
    """Treat successful online episodes as demonstrations (self-imitation)."""
    sampling: Literal["episode", "transition", "priority"] = "episode"
    """Uniform over episodes and then over their steps (published), uniform over all steps, or over all steps in
    proportion to the priorities that the agent gives them (TD7; the fractions above are then uniform over steps)."""
    n_step: int = 1
    """Rewards summed before bootstrapping."""
    discount: float = 0.99
    """Discount per agent step."""
    tail: Literal["shorten", "exclude"] = "shorten"
    """Near an episode's end: use fewer than n rewards, or leave those starts out (published)."""
    padding: Literal["mask", "absorbing", "last_action", "zeros", "hold"] = "mask"
    """Chunk steps beyond an episode's end: masked out of every loss; or out of imitation alone, since nothing follows
    a terminal state, and values may learn that (beyond a time limit nothing is known); or trained as if they were the
    last action (published for BiGym and HumanoidBench), zeros (published for RLBench), or a command to stay put: no
    motion where an action is a change of position, the last value elsewhere."""
    frame_stack: int = 1
    """Observations stacked, oldest first; the first one is repeated at an episode's start."""

    def __post_init__(self) -> None:
        choices(self, "replay.")
        at_least(self, "replay.", batch_size=1, n_step=1, frame_stack=1, capacity=2)
        within(self, "replay.", 1, "demo_fraction", "success_fraction", "discount")
        if self.demo_fraction + self.success_fraction > 1:
            raise ConfigError(
                "replay.demo_fraction and replay.success_fraction are parts of one batch, together 1 at most; got "
                f"{self.demo_fraction:g} and {self.success_fraction:g}"
            )
