"""Scripted demonstrations, collected once and kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from zoomrl.demos.collect import collect_demos, collection_meta
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.layout import DATA_DIR
from zoomrl.demos.store.reader import DemoSet, read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.errors import ConfigError, DemonstrationError

FREE_ENV = frozenset({"num_envs", "workers", "python", "timeout"})
"""Options of the environment that say how it is run and not what it is: they do not change a set."""
FREE_DEMOS = frozenset({"source", "validation", "directory"})
"""Options of demonstrations that say where a set lies and how it is used: they do not change it."""
LATER_ENV = {"image_fit": "none", "image_crop": ()}
"""Options of the environment that came after sets were first kept: at these values a set is what it was without."""
_HASH_DIGITS = 10


def scripted_path(config: DemoConfig, env: EnvConfig) -> Path:
    """Directory of the set that ``config`` describes.

    The name begins with environment, number and seed. A hash of all options follows, but for :data:`FREE_ENV`,
    :data:`FREE_DEMOS` and :data:`LATER_ENV`: a set that was collected with other options, or before another option
    existed, is never taken for it.
    """
    kept = {
        "env": {k: v for k, v in asdict(env).items() if k not in FREE_ENV and (k, v) not in LATER_ENV.items()},
        "demos": {k: v for k, v in asdict(config).items() if k not in FREE_DEMOS},
    }
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]
    stem = re.sub(r"[^\w.+-]+", "-", env.id)
    return Path(config.directory) / f"{stem}-{config.episodes}-s{config.seed}-{digest}"


def scripted_demos(config: DemoConfig, env: EnvConfig, console: Console) -> DemoSet:
    """Read the set, collecting it first if it is not there."""
    if config.episodes < 1:
        raise ConfigError(
            "demos.episodes=0 means all of a set, and there is no set yet. Say how many scripted demonstrations to "
            "collect, or name a set with demos.source"
        )
    path = scripted_path(config, env)
    if not is_collected(path):
        with _alone(path, console):
            if not is_collected(path):
                console.print(f"collecting {config.episodes} demonstrations of {env.id} into {path}", highlight=False)
                _collect(config, env, path)
    return read_demos(path)


def is_collected(path: Path) -> bool:
    """Whether the set in ``path`` is whole."""
    # A collection that was killed leaves the folder without its content.
    return (path / DATA_DIR).exists()


@contextmanager
def _alone(path: Path, console: Console) -> Iterator[None]:
    """Hold the set against other processes: seeds that are started at once share one collection."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            console.print(f"another process is collecting {path}; waiting for it", highlight=False)
            lock.acquire()
        Path(lock.lock_file).touch()  # whoever watches tells it from the lock of a collection that was killed
    except (OSError, NotImplementedError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise DemonstrationError(f"demonstrations cannot be collected into {path}: {reason}") from error
    try:
        yield
    finally:
        lock.release()


def _collect(config: DemoConfig, env: EnvConfig, path: Path) -> None:
    simulator = make_env(replace(env, num_envs=1, workers="serial"))
    try:
        episodes = collect_demos(simulator, episodes=config.episodes, seed=config.seed, noise=config.noise)
        meta = collection_meta(simulator, seed=config.seed, noise=config.noise)
        write_demos(path, episodes, simulator.env_spec, meta=meta)
    finally:
        simulator.close()
