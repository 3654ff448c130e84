"""The demonstrations of a run, as many as are looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zoomrl.data.episode import Episode
from zoomrl.demos.fit import check_fit
from zoomrl.demos.store.reader import DemoSet, open_set, update_hash
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.scripted import scripted_path


def first_demonstrations(
    config: TrainConfig, spec: EnvSpec, learnt_from: str, count: int
) -> tuple[list[tuple[int, Episode]], str]:
    """The first ``count`` demonstrations of a run, and their numbers in the set.

    Args:
        config: of the run, which says where the set lies; relative to the current folder, as in training.
        spec: of its environment, whose order and images they are brought to.
        learnt_from: hash of the set that the run learnt from; empty where that is not known.
        count: how many.

    Returns:
        Them, and a sentence where the set is not the one that the run learnt from; empty where it is.

    Raises:
        ConfigError: the run has no demonstrations, or fewer.
        DemonstrationError: the set is not there, cannot be read, or does not fit the environment.
    """
    source, most = config.demos.source, config.demos.episodes
    if source == "none":
        raise ConfigError("this run learnt without demonstrations (demos.source=none); leave out --demos")
    if most and count > most:
        raise ConfigError(f"--demos asks for {count} demonstrations, and the run learnt from {most}; ask for fewer")
    path = scripted_path(config.demos, config.env) if source == "scripted" else Path(source)
    if not path.exists():
        raise DemonstrationError(
            f"the run's demonstrations are not at {path}, seen from {Path.cwd()}; run the command where the run was "
            "trained, or bring the set there"
        )
    digest = hashlib.sha256()
    numbers: list[int] = []
    episodes: list[Episode] = []
    with open_set(path) as found:
        for index in range(found.total_episodes):
            episode = found.episode(index)
            update_hash(digest, episode)
            if episode.is_demo and len(episodes) < count:
                numbers.append(index)
                episodes.append(episode)
        held = DemoSet(found.spec, episodes, found.meta, digest.hexdigest(), str(path))
    if len(episodes) < count:
        raise ConfigError(f"--demos asks for {count} demonstrations, and {path} holds {len(episodes)}; ask for fewer")
    fitting = check_fit(held, spec)
    changed = learnt_from not in ("", held.sha256)
    problem = f"the set at {path} is no longer the one that the run learnt from" if changed else ""
    return list(zip(numbers, fitting.episodes, strict=True)), problem
