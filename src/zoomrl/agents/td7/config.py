"""Hyperparameters of TD7."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from zoomrl.agents.config import AgentConfig, TaskDefaults
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, choices, positive, refuse_idle


@with_field_docs
@dataclass(frozen=True)
class TD7Config(AgentConfig):
    """TD7 (Fujimoto et al. 2023): TD3 with state-action embeddings, prioritised replay and policy checkpoints.

    Defaults are those of its authors' code. Batches are sampled with replay.sampling "priority" (any other is TD7
    without prioritised replay), updates are made at the end of episodes (update_at "episode").

    Paper: Fujimoto, Chang, Smith, Gu, Precup, Meger, "For SALE: State-Action Representation Learning for Deep
    Reinforcement Learning" (2023).

    Raises:
        ConfigError: a number is out of its range.
    """

    name: ClassVar[str] = "td7"
    learner: ClassVar[str] = "zoomrl.agents.td7.learner:TD7"
    gives_priorities: ClassVar[bool] = True

    normalize: Literal["none", "demos"] = "none"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    hidden_dim: int = 256
    """Width of all hidden layers."""
    embedding_dim: int = 256
    """Width of the state and state-action embeddings."""
    lr: float = 3e-4
    """Learning rate of encoder, actor and critics (Adam)."""
    target_interval: int = 250
    """Updates between copies of all target networks."""
    policy_delay: int = 2
    """Critic updates for each update of the actor."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target's action, in [-1, 1] units."""
    noise_clip: float = 0.5
    """Largest noise on the target's action."""
    priority_power: float = 0.4
    """Priorities are the largest error of a sample's critics, at least 1, to this power."""
    bc_lambda: float = 0.0
    """Weight of behaviour cloning in the actor's loss, relative to the size of the values (offline: 0.1)."""
    checkpoints: bool = True
    """Judge each policy by whole training episodes, and evaluate the saved one; otherwise the newest."""
    first_episodes: int = 1
    """Episodes that judge a policy at first."""
    later_episodes: int = 20
    """Episodes that judge a policy later."""
    checkpoint_after: int = 750_000
    """Updates after which a policy is judged by more episodes."""
    reset_weight: float = 0.9
    """Once that number changes, the worst return that later policies must reach is lowered by 1 minus this fraction of
    its size."""

    @property
    def judges_by_episodes(self) -> bool:
        """With checkpoints."""
        return self.checkpoints

    def task_defaults(self) -> TaskDefaults:
        """Prioritised replay, and updates at the end of episodes."""
        return replace(super().task_defaults(), prioritized=True, update_at="episode")

    def __post_init__(self) -> None:
        choices(self, "agent.")
        at_least(
            self,
            "agent.",
            hidden_dim=1,
            embedding_dim=1,
            target_interval=1,
            policy_delay=1,
            first_episodes=1,
            later_episodes=1,
            target_noise=0,
            noise_clip=0,
            priority_power=0,
            bc_lambda=0,
            checkpoint_after=0,
            reset_weight=0,
        )
        if self.reset_weight > 1:
            raise ConfigError(f"agent.reset_weight must be at most 1: it lowers the bar, got {self.reset_weight}")
        judged = ("first_episodes", "later_episodes", "checkpoint_after", "reset_weight")
        refuse_idle(self, "agent.", self.checkpoints, "agent.checkpoints", *judged)
        positive(self, "agent.", "lr")
