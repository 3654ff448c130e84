"""Episodes of a run, seen through its critic, as one page and as a recording. One episode is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from zoomrl.agents.cqn.config import ProposalConfig
from zoomrl.data.episode import Episode
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import plural
from zoomrl.files import write_atomically
from zoomrl.lens.images import Renderer
from zoomrl.lens.page import Part, make_page, make_part
from zoomrl.lens.record import EpisodeRecord, Lens
from zoomrl.lens.rerun import record_rrd


def records(
    lens: Lens,
    envs: VectorEnv | None,
    seeds: Sequence[int],
    demonstrations: Sequence[tuple[int, Episode]],
) -> Iterator[EpisodeRecord]:
    """Episodes of the policy, one for each of ``seeds``, then the demonstrations.

    Args:
        lens: that they are seen through.
        envs: where the policy acts, and where demonstrations without images are rendered; None to render none.
        seeds: of the policy's episodes.
        demonstrations: numbers and episodes.
    """
    first = [*seeds, *(episode.seed for _, episode in demonstrations if episode.seed >= 0), 0][0]
    renderer = Renderer(envs, first) if envs is not None else None
    for seed in seeds:
        assert envs is not None
        assert renderer is not None
        yield lens.policy_episode(envs, seed, renderer)
    for index, episode in demonstrations:
        yield lens.demonstration(episode, index, renderer)


def write_lens(
    lens: Lens,
    episodes: Iterator[EpisodeRecord],
    out: Path,
    *,
    title: str,
    said: Sequence[str] = (),
    rrd: Path | None = None,
) -> tuple[int, list[str]]:
    """Write the page ``out`` and, where asked for, the recording ``rrd``: each whole, or not at all.

    Args:
        lens: that the episodes were seen through.
        episodes: of :func:`records`, at least one.
        out: HTML file.
        title: name of the run.
        said: what else is to be known of the run.
        rrd: recording for rerun; None for none.

    Returns:
        Bytes of the page; and what is left out of its episodes, each sentence once, with the first that it is said of.

    Raises:
        MissingDependencyError: rerun-sdk is not installed. OSError: a file cannot be written.
    """
    parts: list[Part] = []
    left_out: dict[str, str] = {}
    with record_rrd(lens, rrd) if rrd is not None else nullcontext() as recording:
        for number, record in enumerate(episodes):
            parts.append(make_part(lens, record, number))
            if recording is not None:
                recording.add(record, number)
            for line in record.said:
                left_out.setdefault(line, f"{record.name}: {line}")
        data = make_page(lens, title, parts, [*_facts(lens), ("note", "; ".join(said))]).encode()
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, lambda file: file.write(data))
    return len(data), list(left_out.values())


def _proposals(config: ProposalConfig) -> list[tuple[str, object]]:
    if not config.count:
        return []
    chooses = "chooses among" if config.choose == "critic" else "takes any of"
    greedy = "with" if config.greedy else "without"
    return [("proposals", f"{chooses} {plural(config.count, 'proposal')}, {greedy} the greedy chunk")]


def _facts(lens: Lens) -> list[tuple[str, object]]:
    config, held = lens.agent.config, lens.held
    control = held.config.control
    per_step = f", {lens.agent.chunk_length} steps to a chunk" if lens.agent.chunk_length > 1 else ""
    kept = "the online critic" if config.act_with == "online" else "the target critic"
    executor = {
        "temporal_ensemble": "averages all chunks that cover a step, which leaves the grid",
        "receding_horizon": f"a new chunk every {control.replan_every} steps",
        "open_loop": "each chunk whole",
    }[control.executor]
    return [
        ("agent", f"{config.name}, {lens.levels} levels of {lens.bins} bins{per_step}"),
        ("environment", held.spec.id),
        ("trained for", f"{held.env_steps:,} environment steps, {held.updates:,} updates"),
        ("values of", f"{kept}, which acts"),
        ("executor", executor if lens.agent.chunk_length > 1 else "each action as it is"),
        *_proposals(config.proposals),
        ("discount", f"{held.config.replay.discount:g} per agent step"),
        ("support", "scalar values" if config.support is None else f"{config.v_min:g} to {config.v_max:g}"),
    ]
