"""Checking a demonstration set: what it holds, and whether its episodes can be replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zoomrl.data.episode import Episode
from zoomrl.demos.check import actions as action_checks
from zoomrl.demos.check.findings import EpisodeAccount, Finding, Report, Rollout, ordered
from zoomrl.demos.check.judge import judge, judge_entries, judge_resets, judge_versions
from zoomrl.demos.check.rollout import build_env, recorded_config, replay_set, with_overrides
from zoomrl.demos.check.states import StateSpread, state_findings
from zoomrl.demos.entries import set_entries
from zoomrl.demos.inspect import check_grid
from zoomrl.demos.recorded import ASSUMED
from zoomrl.demos.store import layout
from zoomrl.demos.store.reader import open_set, update_hash
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import code_named, make_env
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError, WorkerError
from zoomrl.spec import EnvSpec

_NAMED = 100
"""Episodes that are missing at the end and named one by one."""


@dataclass(frozen=True)
class Survey:
    """What reading a set has shown, without a simulator.

    Attributes:
        path: where it was read from.
        spec: what it was recorded under; None where the file could not be opened.
        meta: provenance of the whole set.
        ours: whether zoomrl wrote it.
        sha256: hash of the content; empty where an episode could not be read.
        episodes: one account per episode.
        actions: of the episodes that could be read, [T, A] each.
        constant: state entries that have a constant value in all demonstrations.
        findings: so far.
    """

    path: str
    spec: EnvSpec | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = False
    sha256: str = ""
    episodes: tuple[EpisodeAccount, ...] = ()
    actions: Mapping[int, action_checks.Actions] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    constant: tuple[int, ...] = ()

    def replayable(self) -> list[int]:
        """Episodes that can be read and have a seed."""
        return [account.index for account in self.episodes if account.sha256 and account.seed >= 0]


def survey_set(path: str | Path) -> Survey:
    """Read the set at ``path``, episode by episode: one that is damaged becomes a finding, the rest is read.

    Raises:
        DemonstrationError: when there is no set.
    """
    folder = layout.data_dir(path)
    present = all((folder / name).is_file() for name in (layout.MAIN_FILE, layout.METADATA_FILE))
    accounts, actions, findings, states = [], {}, [], StateSpread()
    digest = hashlib.sha256()
    try:
        with open_set(path, partial=True) as source:
            # Numbers may be missing, and a file that was cut short may have lost the last ones: of these, the first are
            # named. A number that is merely promised can be any.
            there, end = set(source.numbers), source.numbers[-1] + 1
            named = min(max(source.total_episodes, end), end + _NAMED)
            for index in range(named):
                try:
                    if index not in there:
                        raise DemonstrationError(f"{source.file_path}: episode {index} is missing")
                    episode = source.episode(index)
                except DemonstrationError as error:
                    accounts.append(EpisodeAccount(index))
                    findings.append(Finding("error", "unreadable", str(error), episode=index))
                    continue
                update_hash(digest, episode)
                accounts.append(_account(index, episode))
                actions[index] = episode.actions
                if episode.is_demo and "state" in episode.observations:
                    states.add(episode.observations["state"])
            if (lost := source.total_episodes - named) > 0:
                text = f"{source.file_path}: {lost:,} more episodes are missing, of {source.total_episodes:,} promised"
                findings.append(Finding("error", "unreadable", text, "copy the set again"))
            findings += [Finding("error", "unreadable", fault) for fault in source.faults]
            spec, meta, ours = source.spec, source.meta, source.ours
            if len(source.numbers) > source.total_episodes:
                text = f"the file holds {len(source.numbers)} episodes, its metadata promises {source.total_episodes}"
                findings.append(Finding("error", "unreadable", text, "copy the set again"))
    except DemonstrationError as error:
        if not present:
            raise
        return Survey(str(path), findings=(Finding("error", "unreadable", str(error)),))
    sha256 = "" if findings else digest.hexdigest()
    found = tuple(findings)
    return Survey(str(path), spec, meta, ours, sha256, tuple(accounts), actions, found, states.constant())


def replay_survey(
    survey: Survey,
    *,
    count: int = 0,
    asked: EnvConfig | None = None,
    default: EnvConfig | None = None,
    make: Callable[[EnvConfig], Env] = make_env,
    on_episode: Callable[[int, Rollout], None] | None = None,
) -> tuple[dict[int, Rollout], list[Finding]]:
    """Replay the episodes of a set in the environment that it was recorded in.

    Args:
        survey: of the set.
        count: of the first episodes; 0 for all.
        asked: options that replace those of the recording where they differ from ``default``.
        default: of ``asked``.
        make: builds the environment.
        on_episode: called after each.

    Returns:
        The replays by episode, and what kept others from being replayed or had to be assumed.
    """
    if survey.spec is None or not survey.actions:
        return {}, []
    chosen = [index for index in survey.replayable() if not count or index < count]
    findings = list(_left_out(survey, count, len(chosen)))
    if not chosen:
        return {}, findings
    spec = replace(survey.spec, state_entries=set_entries(survey.spec, survey.meta))
    config, assumed = recorded_config(spec, survey.episodes)
    if asked is not None:
        config = with_overrides(config, asked, default or EnvConfig())
    unasked = asked is None or asked.id == (default or EnvConfig()).id
    if unasked and (named := code_named(config)):
        text = f"no episode was replayed: for that the set asks to {' and to '.join(named)}, which could do anything"
        remedy = f"if you trust whoever made the set, name its environment yourself: --env.id {config.id}"
        return {}, [*findings, Finding("warning", "not-replayed", text, remedy)]
    try:
        env, tried = build_env(config, spec, make)
        with closing(env):
            replays = replay_set(survey.path, env, chosen, on_episode)
    except (ConfigError, MissingDependencyError, WorkerError) as error:
        remedy = "install what is missing, or name the environment with --env.id and other --env options"
        return {}, [*findings, Finding("warning", "not-replayed", f"no episode was replayed: {error}", remedy)]
    except DemonstrationError as error:
        remedy = "give the options of the recording with --env, or install the simulator's version of then"
        return {}, [*findings, Finding("error", "does-not-fit", str(error), remedy)]
    if assumed or tried:
        text = f"the replay assumed {'; '.join(assumed + tried)}"
        findings.append(Finding("note", "assumed", text, "other options of the environment can be given with --env"))
    return replays, findings


def _left_out(survey: Survey, count: int, chosen: int) -> Iterator[Finding]:
    unseeded = [account.index for account in survey.episodes if account.sha256 and account.seed < 0]
    if unseeded:
        text = (
            f"{len(unseeded)} of {len(survey.episodes)} episodes have no seed and cannot be replayed; the first is "
            f"episode {unseeded[0]}"
        )
        if "format" in survey.meta:  # recordings of another program, perhaps of a robot, which has no seeds
            yield Finding("note", "no-seed", text)
        else:
            yield Finding(
                "warning", "no-seed", text, "record with env.reset(seed=...), and store the seed in the episode"
            )
    if count and chosen < len(survey.replayable()):
        yield Finding("note", "first-only", f"only the first {count} episodes were replayed, as asked")


def conclude(
    survey: Survey,
    replays: Mapping[int, Rollout] | None = None,
    findings: Sequence[Finding] = (),
    *,
    levels: int = 3,
    bins: int = 5,
    idle: int = 20,
) -> Report:
    """Judge what was read and replayed.

    Args:
        survey: of the set.
        replays: by episode.
        findings: of the replay as a whole.
        levels, bins: of the zoom grid that the actions are held against.
        idle: steps without motion from which on a pause is reported.

    Raises:
        ConfigError: for less than one level, two bins or one idle step.
    """
    check_grid(levels, bins)
    if idle < 1:
        raise ConfigError(f"idle must be at least 1 step, got {idle}")
    spec, found = survey.spec, [*survey.findings, *findings]
    accounts = tuple(replace(account, replay=(replays or {}).get(account.index)) for account in survey.episodes)
    if spec is None:
        return Report(survey.path, "", "", accounts, ordered(found))
    for account in accounts:
        found += judge(account, spec)
    found += judge_resets(accounts, spec)
    found += judge_entries(spec, survey.meta)
    found += judge_versions(survey.meta)
    found += state_findings(survey.constant, spec)
    found += action_checks.copies(
        {index: hashlib.sha256(part.tobytes()).digest() for index, part in survey.actions.items()},
        {account.index: account.sha256 for account in accounts},
    )
    grid = None
    if spec.action.low is None or spec.action.high is None:
        found.append(Finding("error", "no-bounds", "the set declares no action bounds", "write it with bounds"))
    else:
        for index, part in survey.actions.items():
            found += action_checks.outside_bounds(index, part, spec.action)
            found += action_checks.idle_findings(index, part, spec, idle)
        demos = {account.index for account in accounts if account.is_demo}
        shown = {index: part for index, part in survey.actions.items() if index in demos}
        if shown:
            found += _rewards([account for account in accounts if account.index in shown])
            grid = action_checks.fit_grid(shown, spec.action, levels, bins)
            found += action_checks.grid_findings(shown, grid, spec)
        else:
            found.append(Finding("warning", "no-demos", "no episode that can be read is flagged as a demonstration"))
    return Report(survey.path, spec.id, survey.sha256, accounts, ordered(found), grid)


def _rewards(demos: Sequence[EpisodeAccount]) -> Iterator[Finding]:
    if all(account.rewards_sum == account.rewards_last == 0 for account in demos):
        yield Finding(
            "warning",
            "no-reward",
            "no demonstration has a reward: values learn from them that nothing is worth anything",
            "see that the reward is that of the task, and that they solve it; imitation alone (bc, act) needs none",
        )


def unmark(survey: Survey, failed: Sequence[int]) -> None:
    """Write the set again, with the episodes ``failed`` no longer flagged as demonstrations.

    Raises:
        DemonstrationError: for a set that another program wrote, or with an episode that cannot be read: writing it
            again would lose what zoomrl does not know of.
    """
    if survey.spec is None or not survey.ours or not survey.sha256:
        why = "zoomrl did not write it" if survey.spec is not None and not survey.ours else "parts of it are damaged"
        raise DemonstrationError(
            f"{survey.path} is left as it is: {why}. Read what is good with zoomrl.demos.store.read_episode, and write "
            "it to another folder with write_demos"
        )

    def episodes() -> Iterator[Episode]:
        with open_set(survey.path) as source:
            for account in survey.episodes:
                episode = source.episode(account.index)
                if account.index in failed:
                    note = "failed; no longer a demonstration since `zoomrl demos check --mark-failed`"
                    episode = replace(episode, is_demo=False, meta={**episode.meta, "replay": note})
                yield episode

    write_demos(survey.path, episodes(), survey.spec, overwrite=True, meta=dict(survey.meta))


def _account(index: int, episode: Episode) -> EpisodeAccount:
    digest = hashlib.sha256()
    update_hash(digest, episode)
    return EpisodeAccount(
        index,
        digest.hexdigest(),
        len(episode),
        episode.seed,
        episode.is_demo,
        episode.success,
        episode.terminated,
        episode.truncated,
        float(episode.rewards.sum(dtype="float64")),
        float(episode.rewards[-1]),
        assumed=episode.meta.get("success") == ASSUMED,
    )
