"""A person's corrections during training: executed, kept as demonstrations, and saved at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.scaling import ActionScaler
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.demos.formats.npz.file import read_episode, write_episode
from zoomrl.demos.formats.npz.reader import SPEC_FILE
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import CheckpointError, ConfigError, DemonstrationError
from zoomrl.files import write_json
from zoomrl.intervention.config import InterventionConfig
from zoomrl.intervention.keyboard import Keyboard
from zoomrl.intervention.source import Intervention, Recording, corrections
from zoomrl.spec import EnvSpec

FOLDER = "corrections"
"""Of a run: one file a stretch, which ``zoomrl demos import npz`` reads."""


class Corrector:
    """Lets ``source`` take over one environment, and keeps what it did in the replay's protected region.

    Args:
        source: who may take over; None where that happens in another process.
        env: the environment that is corrected.
        spec: of the training environments.
        scaler: its range limits corrections, so that what is learnt is what was executed.
        replay: with room for corrections.
        directory: of the run.
        say: prints a line for the user.
    """

    def __init__(
        self,
        source: Intervention | None,
        env: int,
        spec: EnvSpec,
        scaler: ActionScaler,
        replay: ReplayBuffer,
        directory: Path,
        say: Callable[[str], None],
    ) -> None:
        self.env = env
        self.last_fraction = 0.0
        """Fraction of corrected agent steps in the episode that ended last."""
        self._source = source
        self._bounds = scaler.low, scaler.high
        self._spec = spec
        self._cameras = spec.cameras
        self._replay = replay
        self._folder = directory / FOLDER
        self._say = say
        self._flags: list[bool] = []
        self._kept = 0
        self._full = False

    def act(self, episode: int, step: int, proposed: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
        """The actions [N, A] to execute, and whether a person chose one of them."""
        assert self._source is not None
        chosen = self._source.action(episode, step, proposed[self.env])
        self._flags.append(chosen is not None)
        if chosen is None:
            return proposed, False
        action = proposed.copy()
        action[self.env] = np.clip(chosen, *self._bounds)
        return action, True

    def begin(self, corrected: Sequence[bool] = ()) -> None:
        """A new episode begins, or one whose agent steps ``corrected`` were made elsewhere."""
        self._flags = list(corrected)

    def keep(self, episode: Episode) -> None:
        """The episode has ended: store what was corrected in it, and write it to the disk."""
        flags = np.asarray(self._flags[: len(episode)])
        self.last_fraction = float(flags.mean())
        for stretch in corrections(episode, flags):
            path = self._file(self._kept)
            try:
                self._folder.mkdir(exist_ok=True)
                if not (self._folder / SPEC_FILE).exists():
                    # By which `zoomrl demos import npz` knows the order of the state's entries.
                    write_json(self._folder / SPEC_FILE, {"spec": self._spec.to_dict(), "meta": {}})
                write_episode(path, stretch, self._cameras)
            except OSError as error:
                raise CheckpointError(
                    f"could not write {path}: {error.strerror or error}. Earlier corrections and checkpoints are "
                    "intact. Mend that and run the same command again to resume"
                ) from error
            self._kept += 1
            self._protect(stretch)

    def state_dict(self) -> dict[str, Any]:
        """Which files belong to this moment, and which agent steps of the episode in flight were corrected."""
        return {"kept": self._kept, "flags": list(self._flags)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`; later files are put aside, as later episodes are dropped.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        self._kept, self._flags = state["kept"], list(state["flags"])
        for number in range(self._kept):
            try:
                self._protect(read_episode(self._file(number), self._cameras))
            except DemonstrationError as error:
                raise CheckpointError(f"a correction of this run cannot be read: {error}") from error
        self.clear(self._kept)

    def clear(self, first: int = 0) -> None:
        """Put the files from ``first`` on aside: of a start that left no checkpoint, or of what came after it."""
        late = [path for path in sorted(self._folder.glob("episode_*.npz")) if path >= self._file(first)]
        if not late:
            return
        aside = self._folder / f"dropped_{time.time_ns()}"
        aside.mkdir()
        for path in late:
            path.rename(aside / path.name)
        self._say(f"{len(late)} corrections were made after the last checkpoint and are no part of this run: {aside}")

    def _file(self, number: int) -> Path:
        return self._folder / f"episode_{number:06d}.npz"

    def _protect(self, stretch: Episode) -> None:
        if not self._replay.protect(stretch) and not self._full:
            self._full = True
            self._say(
                "the room for corrections is full: they are executed and saved, but no longer learnt from for good. "
                "Raise intervene.capacity in a new run"
            )


def make_source(config: InterventionConfig, envs: VectorEnv, say: Callable[[str], None]) -> Intervention | None:
    """Who may take over, as ``config`` says; None for nobody.

    Raises:
        ConfigError: there is no such environment, or the source cannot be used.
    """
    if config.source == "none":
        return None
    if not 0 <= config.env < envs.num_envs:
        raise ConfigError(f"intervene.env is {config.env}, but the training environments are 0 to {envs.num_envs - 1}")
    if config.source == "keyboard":
        envs.reset(config.env, 0)
        try:
            envs.render(config.env)
        except Exception as error:
            raise ConfigError(
                f"intervene.source=keyboard shows the environment, which cannot be rendered here: {error}"
            ) from error
        return Keyboard(config, envs.env_spec, lambda: envs.render(config.env), say)
    return Recording(config.source, envs.env_spec)
