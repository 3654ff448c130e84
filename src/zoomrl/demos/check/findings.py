"""What checking a demonstration set says: findings, and the account of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from zoomrl.demos.inspect import DimensionSummary
from zoomrl.files import finite_or_null

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first. An error makes the set unfit for training."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: ``error`` where learning from the set would be wrong, ``warning`` where it would be worse than it
            need be, ``note`` where it is good to know.
        kind: short name of the fault, the same wherever it occurs.
        message: what was found, with both sides where two things differ.
        remedy: what to do; empty when there is nothing to do.
        episode, step, dimension: where; None where that has no meaning. Step t, from 0, has the observation of row t,
            which follows t actions, and action t.
    """

    severity: Severity
    kind: str
    message: str
    remedy: str = ""
    episode: int | None = None
    step: int | None = None
    dimension: int | None = None


@dataclass(frozen=True)
class Rollout:
    """The result of replaying the actions of one episode.

    Rows of observations count from 0, the one that the reset shows: row t follows t actions.

    Attributes:
        executed: actions executed before the episode ended.
        success: whether the environment reported success at any step.
        ended: ``terminated``, ``truncated``, or empty when the environment would have gone on.
        divergence: first row that differs beyond the tolerance; None when none does.
        observation: the observation that differs there.
        largest: per observation, its largest difference over all rows; for ``rgb`` the mean over an image.
        differing: rows that differ beyond the tolerance.
        rewards_sum, rewards_last: sum of the environment's rewards, and the last one.
        reward_step: first action whose reward differs beyond the tolerance; None when none does.
        problem: the error that stopped the replay; empty when there was none.
        reset_differs: whether the state of the reset differs beyond the tolerance.
        reordered: whether it holds the stored numbers in another order.
    """

    executed: int = 0
    success: bool = False
    ended: str = ""
    divergence: int | None = None
    observation: str = ""
    largest: dict[str, float] = field(default_factory=dict)
    differing: int = 0
    rewards_sum: float = 0.0
    rewards_last: float = 0.0
    reward_step: int | None = None
    problem: str = ""
    reset_differs: bool = False
    reordered: bool = False


@dataclass(frozen=True)
class EpisodeAccount:
    """One episode as it was checked.

    Attributes:
        index: its number in the set.
        sha256: hash of its content; empty where it could not be read, as all that follows then is.
        replay: None where it was not replayed.
        assumed: whether nothing recorded tells of its success.
    """

    index: int
    sha256: str = ""
    length: int = 0
    seed: int = -1
    is_demo: bool = False
    success: bool = False
    terminated: bool = False
    truncated: bool = False
    rewards_sum: float = 0.0
    rewards_last: float = 0.0
    replay: Rollout | None = None
    assumed: bool = False


@dataclass(frozen=True)
class GridSummary:
    """How a zoom grid fits the demonstrated actions.

    Attributes:
        levels, bins: of the grid.
        bounds: per dimension, with the grid over the environment's bounds.
        own: per dimension, with the grid over the demonstrations' own range; None for a dimension that never changes.
        spread: per dimension, how many times wider the range is than the middle 98 % of the values; None where these
            are all equal.
    """

    levels: int
    bins: int
    bounds: tuple[DimensionSummary, ...]
    own: tuple[DimensionSummary | None, ...]
    spread: tuple[float | None, ...]


@dataclass(frozen=True)
class Report:
    """All that checking a set has found.

    Attributes:
        path: where it was read from.
        env: environment id of the set.
        sha256: hash of the content; empty where an episode could not be read.
        episodes: one account per episode.
        findings: worst first.
        grid: None where no action could be read.
    """

    path: str
    env: str
    sha256: str
    episodes: tuple[EpisodeAccount, ...]
    findings: tuple[Finding, ...]
    grid: GridSummary | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each severity."""
        return {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}

    @property
    def passed(self) -> bool:
        """Whether there is no error among the findings."""
        return self.counts["error"] == 0

    @property
    def replayed(self) -> int:
        """Number of episodes that were replayed."""
        return sum(episode.replay is not None for episode in self.episodes)

    def failed_demos(self) -> list[int]:
        """Demonstrations that are flagged with success, and did not succeed when they were replayed."""
        return [
            account.index
            for account in self.episodes
            if account.is_demo and account.success and account.replay is not None and fails(account.replay)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable form; a number that is not finite becomes None."""
        plain: dict[str, Any] = finite_or_null(asdict(self))
        return {**plain, "counts": self.counts, "passed": self.passed, "replayed": self.replayed}


def fails(replay: Rollout) -> bool:
    """Whether a replay ran and did not succeed; one that an error stopped says nothing about the episode."""
    return not replay.problem and not replay.success


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Worst first, then by kind, then by place."""

    def key(finding: Finding) -> tuple[int, str, int, int]:
        episode = -1 if finding.episode is None else finding.episode
        return SEVERITIES.index(finding.severity), finding.kind, episode, -1 if finding.step is None else finding.step

    return tuple(sorted(findings, key=key))
