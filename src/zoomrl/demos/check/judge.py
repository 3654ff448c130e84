"""From the account of an episode, and the versions of a set, to findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoomrl.demos.check.findings import EpisodeAccount, Finding, Rollout, fails
from zoomrl.demos.entries import is_imported
from zoomrl.envs.versions import installed_version
from zoomrl.spec import EnvSpec, is_of_play, list_entries

_REPRODUCE = "compare the versions and options of the recording with those used here; the seed may be another's"


def judge(account: EpisodeAccount, spec: EnvSpec) -> Iterator[Finding]:
    """What is wrong with one episode, and with its replay where there was one."""
    told = spec.reports_success and not is_of_play(spec.id)
    if account.is_demo and not account.success and account.sha256 and told:
        yield Finding(
            "warning",
            "demo-without-success",
            "it is flagged as a demonstration, and did not succeed",
            "clear is_demo unless it shall be imitated all the same",
            account.index,
        )
    if account.replay is not None:
        yield from _judge_replay(account, account.replay, spec)


def _judge_replay(account: EpisodeAccount, replay: Rollout, spec: EnvSpec) -> Iterator[Finding]:
    index = account.index
    if replay.problem:
        remedy = "mend the environment, or check the actions; --no-replay leaves this out"
        message = f"the replay stopped after {replay.executed} of {account.length} steps with {replay.problem}"
        yield Finding("error", "replay-stopped", message, remedy, index, replay.executed)
    elif spec.reports_success:
        yield from _judge_success(account, replay)
    if replay.divergence is not None:
        yield Finding("warning", "diverges", _divergence(replay), _REPRODUCE, index, replay.divergence)
    if not replay.problem:
        yield from _judge_end(account, replay)
    if replay.reward_step is not None:
        message = (
            f"rewards differ from step {replay.reward_step} on: {account.rewards_sum:g} stored and "
            f"{replay.rewards_sum:g} replayed in all, {account.rewards_last:g} and {replay.rewards_last:g} at last"
        )
        remedy = "see that the reward is that of the recording (--env.reward)"
        yield Finding("warning", "rewards-differ", message, remedy, index, replay.reward_step)


def _judge_success(account: EpisodeAccount, replay: Rollout) -> Iterator[Finding]:
    if account.success and fails(replay):
        where = "" if replay.divergence is None else f"; it diverges at step {replay.divergence}"
        yield Finding(
            "error" if account.is_demo else "warning",
            "replay-failed",
            f"it is stored as a success, and failed when it was replayed{where}",
            "record it again, or clear the flag of all such episodes with --mark-failed"
            if account.is_demo
            else "nothing: it is not imitated",
            account.index,
            replay.divergence,
        )
    elif replay.success and not account.success:
        yield Finding(
            "warning",
            "replay-succeeded",
            "it is stored as a failure, and succeeded when it was replayed",
            "see which of the two flags is wrong: a success may be worth imitating",
            account.index,
        )


def _divergence(replay: Rollout) -> str:
    after = f"after action {replay.divergence - 1}" if replay.divergence else "at the reset"
    largest = ", ".join(f"{name} {size:.3g}" for name, size in replay.largest.items())
    rows = replay.executed + 1
    back = ""
    if replay.differing < rows - (replay.divergence or 0):
        back = f"; only {replay.differing} of {rows} observations differ, so that some of them may have been changed"
    return (
        f"observation {replay.observation!r} differs from step {replay.divergence} on ({after}); largest "
        f"difference: {largest}{back}"
    )


def _judge_end(account: EpisodeAccount, replay: Rollout) -> Iterator[Finding]:
    stored = "terminated" if account.terminated else "truncated"
    remedy = "see that the end on success and the time limit are those of the recording"
    if replay.executed < account.length:
        message = f"the replay is {replay.ended} after {replay.executed} of {account.length} steps"
        yield Finding("warning", "ends-early", message, remedy, account.index, replay.executed)
    # A recording that was merely stopped is truncated as well.
    elif replay.ended != stored and (account.terminated or replay.ended):
        message = f"it ended {stored}, and the replay {replay.ended or 'goes on'}"
        yield Finding("warning", "ends-otherwise", message, remedy, account.index, account.length)


def judge_resets(accounts: Sequence[EpisodeAccount], spec: EnvSpec) -> Iterator[Finding]:
    """An error where no replay begins in the state that was recorded: the states mean something else."""
    replays = [account.replay for account in accounts if account.replay is not None and not account.replay.problem]
    if not replays or not all(replay.reset_differs for replay in replays):
        return
    reordered = sum(replay.reordered for replay in replays)
    same = f"; in {reordered} of them the numbers are the same, in another order" if reordered else ""
    yield Finding(
        "error",
        "reset-differs",
        f"the state at the reset differs from the recorded one in all {len(replays)} episodes that were replayed"
        f"{same}. The set's state is made of {list_entries(spec.state_entries)}",
        "see in which order the state was joined, and import the set again with --env.id, --state or --entries; if the "
        "order is right, the seeds or the versions are not those of the recording: record it again",
    )


def judge_entries(spec: EnvSpec, meta: Mapping[str, Any]) -> Iterator[Finding]:
    """A finding for a set that does not say which entries its state is made of."""
    if spec.state_entries or not spec.state_dim:
        return
    imported = is_imported(meta)
    yield Finding(
        "warning" if imported else "note",
        "unknown-entries",
        f"the set does not say of which entries its state of {spec.state_dim} numbers is joined, nor in which order",
        "import it again: training refuses it in an environment whose state has several entries"
        if imported
        else f"it is taken for the order of {spec.id}; record it again to have the entries named",
    )


def judge_versions(meta: Mapping[str, Any]) -> Iterator[Finding]:
    """A note where packages have other versions than those the set was recorded with."""
    recorded = meta.get("versions")
    if not isinstance(recorded, Mapping):
        yield Finding("note", "no-versions", "the set does not say with which versions it was recorded")
        return
    now = {name: installed_version(name) for name in recorded}
    other = [f"{name} {then} (here {now[name] or 'absent'})" for name, then in recorded.items() if now[name] != then]
    if other:
        yield Finding(
            "note",
            "other-versions",
            f"recorded with other versions: {', '.join(other)}",
            "the replay shows whether that matters; if it does, install the versions of the recording",
        )
