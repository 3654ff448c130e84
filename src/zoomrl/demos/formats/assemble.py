"""From trajectories as a format stores them to episodes and a spec: what all readers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.derive import entries_beyond, env_spec, full_meaning, recorded_bounds, same_array
from zoomrl.demos.formats.pictures import METHOD, resized
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec


@dataclass
class Raw:
    """One trajectory of T actions as its file tells it; None where the file is silent.

    Attributes:
        actions: [T, A], in the environment's units.
        state: [T, S] or, with the last observation, [T + 1, S].
        views: per camera, uint8 [T or T + 1, H, W, 3].
        rewards: [T].
        terminated, truncated, success, is_demo, seed, meta: as in an episode.
    """

    actions: NDArray[Any]
    state: NDArray[Any] | None = None
    views: Sequence[NDArray[Any]] = ()
    rewards: NDArray[Any] | None = None
    terminated: bool | None = None
    truncated: bool | None = None
    success: bool | None = None
    is_demo: bool | None = None
    seed: int = -1
    meta: dict[str, Any] = field(default_factory=dict)


class Assembly:
    """Turns trajectories into episodes one by one, notes what cannot be read, and makes the spec at the end.

    Args:
        format: name of the format.
        path: what is read.
        options: what is asked for; its environment is built to learn its spec.
        own: spec that lies with the set, when zoomrl wrote it.
        control_hz: decisions per second that the format tells; 0 when it does not.
        name: id of a set whose environment is unknown; the format and the path's name by default.
    """

    def __init__(
        self,
        format: str,
        path: Path,
        options: ImportOptions,
        *,
        own: EnvSpec | None = None,
        control_hz: float = 0.0,
        name: str = "",
    ) -> None:
        self._path, self._options = path, options
        self._env = env_spec(options)
        self._expected = self._env or own
        self._hz = options.control_hz or (own.control_hz if own else control_hz)
        self._name = name or f"{format}:{path.resolve().stem}"
        self._cameras: tuple[str, ...] = ()
        self._kept: list[tuple[str, Episode]] = []
        self._told = False
        self.faults: list[str] = []
        self.meta: dict[str, Any] = {
            "format": format,
            "source": path.resolve().name,
            "versions": {"zoomrl": metadata.version("zoomrl")},
        }

    # ---- what is taken ---------------------------------------------------------------------------------

    def choose_cameras(self, known: Mapping[str, str]) -> list[str]:
        """Keys of the cameras to take. ``known`` is short name -> key in the file; either may be asked for."""
        expected = self._expected.cameras if self._expected else ()
        wanted = self._options.cameras or expected
        keys = {key: name for name, key in known.items()}
        for name in wanted:
            if name not in known and name not in keys:
                raise unknown_name(f"camera of {self._path.name}", name, known)
        names = tuple(name if name in known else keys[name] for name in wanted)
        # A set keeps its own names; an environment gives its own to as many others.
        target = self._env.cameras if self._env else names
        if set(names) == set(target):
            names = target  # the same cameras: in the environment's order, and nothing to rename
        self._cameras = target if len(target) == len(names) else names
        if self._cameras != names:
            renamed = [f"{old} to {new}" for old, new in zip(names, self._cameras, strict=True) if old != new]
            self.meta["cameras_renamed"] = ", ".join(renamed)
        return [known[name] for name in names]

    def choose_state(self, known: Sequence[str], default: Sequence[str]) -> list[str]:
        """Entries to join into ``state``: those asked for; else ``default``, unless the environment has none."""
        for name in self._options.state:
            if name not in known:
                raise unknown_name(f"low-dimensional entry of {self._path.name}", name, known)
        without = self._expected is not None and "state" not in self._expected.observations
        chosen = list(self._options.state or (() if without else default))
        if not chosen and not self._cameras:
            raise ConfigError(
                f"nothing of {self._path.name} would be observed: name cameras with --cameras or entries with --state"
            )
        if chosen and list(chosen) != ["state"]:
            self.meta["state"] = ", ".join(chosen)
        return chosen

    # ---- episodes --------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether as many episodes are there as were asked for."""
        return 0 < self._options.episodes <= len(self._kept)

    def add(self, where: str, load: Callable[[], Raw]) -> None:
        """Take the trajectory that ``load`` gives, or note why it cannot be: ``where`` says which it is."""
        if self.full:
            return
        try:
            episode = self._episode(load())
            episode.validate()
        except (ConfigError, MissingDependencyError):
            raise
        except Exception as error:  # a damaged file makes its parser fail in any way
            self.faults.append(f"{where}: {reason(error)}")
        else:
            self._kept.append((where, episode))

    def _episode(self, raw: Raw) -> Episode:
        actions = np.asarray(raw.actions, np.float32)
        steps = len(actions)
        if actions.ndim != 2 or steps == 0:
            raise ValueError(f"actions must be [T, A] with T of at least 1, got shape {actions.shape}")
        expected = self._expected
        if expected and actions.shape[1] != expected.action_dim:
            raise ValueError(f"actions have {actions.shape[1]} dimensions; {expected.id} takes {expected.action_dim}")
        observations: dict[str, NDArray[Any]] = {}
        if raw.state is not None:
            observations["state"] = self._with_last(np.asarray(raw.state, np.float32), steps)
        if raw.views:
            views = [self._with_last(self._sized(view), steps) for view in raw.views]
            observations["rgb"] = np.stack(views, axis=1)
        if not observations:
            raise ValueError("none of its observations can be found")
        self._told |= raw.success is not None
        success = self._or("success", raw.success, True, "assumed")
        ends = "a success is taken for the end of the task, everything else for an interruption"
        terminated = self._or("end", raw.terminated, success and not raw.truncated, ends)
        rewards = raw.rewards
        if rewards is None:
            self.meta["rewards"] = "derived: 1 at the end of a successful episode, else 0"
            rewards = np.zeros(steps)
            rewards[-1] = success
        return Episode(
            observations=observations,
            actions=actions,
            rewards=np.asarray(rewards, np.float32),
            terminated=terminated,
            truncated=not terminated if raw.truncated is None else bool(raw.truncated),
            success=success,
            is_demo=success if raw.is_demo is None else bool(raw.is_demo),
            seed=raw.seed,
            meta=dict(raw.meta),
        )

    def _or(self, name: str, told: bool | None, otherwise: bool, note: str) -> bool:
        if told is None:
            self.meta[name] = note
            return otherwise
        return bool(told)

    def _with_last(self, array: NDArray[Any], steps: int) -> NDArray[Any]:
        if len(array) != steps:
            return array  # T + 1 rows are right, and validate() names any other number
        self.meta["last_observation"] = "repeated"
        return np.concatenate([array, array[-1:]])

    def _sized(self, view: NDArray[Any]) -> NDArray[np.uint8]:
        if view.ndim != 4 or view.shape[-1] != 3 or view.dtype != np.uint8:
            raise ValueError(f"pictures must be uint8 [T, H, W, 3], got {view.dtype}{list(view.shape)}")
        rgb = self._expected.observations.get("rgb") if self._expected else None
        size = (rgb.shape[1], rgb.shape[2]) if rgb else (self._options.image_size,) * 2
        if view.shape[1:3] != size:
            height, width = view.shape[1:3]
            self.meta["resized"] = f"pictures from {height} x {width} to {size[0]} x {size[1]}, {METHOD}"
        return resized(view, size)

    # ---- the result ------------------------------------------------------------------------------------

    def result(self) -> Imported:
        """Everything read; DemonstrationError with all faults when there is no episode."""
        if not self._kept:
            lines = "\n".join(f"  - {fault}" for fault in self.faults) or "  - it holds none"
            raise DemonstrationError(f"no episode of {self._path} can be read:\n{lines}")
        shape = Counter(_shape(episode) for _, episode in self._kept).most_common(1)[0][0]
        alike = [(where, episode) for where, episode in self._kept if _shape(episode) == shape]
        for where, episode in self._kept:
            if _shape(episode) != shape:
                self.faults.append(f"{where}: its shapes {_shape(episode)} differ from the others' {shape}")
        episodes = [episode for _, episode in alike]
        spec = self._spec(episodes)
        for where, episode in alike:
            if beyond := entries_beyond(episode.actions, spec.action):
                self.faults.append(
                    f"{where}: kept, but {beyond} of {episode.actions.size} action entries lie beyond the bounds of "
                    f"{spec.id}; training refuses them as they are"
                )
        if self._env and (found := spec.mismatches(self._env)):
            self.meta["does_not_fit"] = found
        return Imported(spec, episodes, self.faults, self.meta)

    def _spec(self, episodes: list[Episode]) -> EnvSpec:
        first, expected = episodes[0], self._expected
        arrays = {name: ArraySpec(a.shape[1:], str(a.dtype)) for name, a in first.observations.items()}
        if expected is None:
            action, note = recorded_bounds([episode.actions for episode in episodes])
            self.meta["action_bounds"] = note
            spec = EnvSpec(self._name, arrays, action, 0.0, 0, reports_success=self._told)
        else:
            # Where they agree, the declared array is kept: it may have bounds.
            declared = {k: v for k, v in expected.observations.items() if k in arrays and same_array(v, arrays[k])}
            spec = replace(expected, observations=arrays | declared)
            if self._env:
                self.meta["action_bounds"] = f"those of {expected.id}"
        hz = self._hz or spec.control_hz
        if not hz:
            self.meta["control_hz"] = "unknown"
        return replace(
            spec,
            control_hz=hz,
            cameras=self._cameras,
            rendering=spec.rendering if "rgb" in arrays else (),
            action_meaning=full_meaning(self._options.action_meaning or spec.action_meaning, spec.action_dim),
        )


def sparse_success(rewards: NDArray[Any] | None) -> bool | None:
    """Whether rewards of 0 and 1 hold a 1; None when there are none, or others."""
    return bool(rewards.any()) if rewards is not None and np.isin(rewards, (0, 1)).all() else None


def reason(error: Exception) -> str:
    """What went wrong, on one line; the kind of error where it says nothing itself."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if not text or isinstance(error, KeyError) else text


def _shape(episode: Episode) -> str:
    parts = {"actions": episode.actions, **episode.observations}
    return ", ".join(f"{name} {list(array.shape[1:])}" for name, array in parts.items())
