"""From trajectories as a format stores them to episodes and a spec: what all readers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.entries import UNNAMED, align, columns_for, match
from zoomrl.demos.formats.base import USUAL_SIZE, Imported, ImportOptions
from zoomrl.demos.formats.derive import entries_beyond, env_spec, full_meaning, recorded_bounds, same_array
from zoomrl.demos.formats.images import Frames, Sized, in_slices
from zoomrl.demos.formats.spool import Spool
from zoomrl.demos.recorded import ASSUMED, sparse_success
from zoomrl.demos.store.limits import MAX_WIDTH
from zoomrl.envs.camera import METHOD, Fitting
from zoomrl.envs.config import crops_of
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError, plural, unknown_name
from zoomrl.runtime import as_rgb
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry, list_entries

_LISTED = 20


@dataclass
class Raw:
    """One trajectory of T actions as its file tells it; None where the file is silent.

    Attributes:
        actions: [T, A], in the environment's units.
        state: the parts of the state in the order of joining, name -> [T, ...] or, with the last observation, [T + 1,
            ...]; one vector that has no name is called "state".
        views: per camera, images [T or T + 1, H, W, C] in any form that :func:`~zoomrl.envs.camera.as_rgb` reads; or
            what reads them into their place, as :meth:`Assembly.sized` makes them.
        rewards: [T].
        terminated, truncated, success, is_demo, seed, meta: as in an episode.
        done: whether it is flagged as done at its last step. Formats flag the ends of recordings so, too.
        solved_last: whether the task was solved at the last step; None asks rewards of 0 and 1.
    """

    actions: NDArray[Any]
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    views: Sequence[NDArray[Any] | Frames] = ()
    rewards: NDArray[Any] | None = None
    terminated: bool | None = None
    truncated: bool | None = None
    success: bool | None = None
    is_demo: bool | None = None
    seed: int = -1
    meta: dict[str, Any] = field(default_factory=dict)
    done: bool | None = None
    solved_last: bool | None = None


@dataclass(frozen=True)
class _Kept:
    """What the result needs of an episode, whose arrays may lie in files."""

    where: str
    shape: str
    actions: NDArray[np.float32]
    is_demo: bool
    assumed: bool


class Assembly:
    """Turns trajectories into episodes one by one, notes what cannot be read, and makes the spec at the end.

    Args:
        format: name of the format.
        path: what is read.
        options: what is asked for; its environment is built to learn its spec.
        own: spec that lies with the set, when zoomrl wrote it.
        own_state: what the whole state is called in such a set.
        control_hz: agent steps per second according to the format; 0 when it does not say.
        name: id of a set whose environment is unknown; the format and the path's name by default.
    """

    def __init__(
        self,
        format: str,
        path: Path,
        options: ImportOptions,
        *,
        own: EnvSpec | None = None,
        own_state: str = UNNAMED,
        control_hz: float = 0.0,
        name: str = "",
    ) -> None:
        self._path, self._options = path, options
        self._env = env_spec(options)
        self._own, self._own_state = own, own_state
        self._expected = self._env or own
        self._hz = options.control_hz or (own.control_hz if own else control_hz)
        self._name = name or f"{format}:{path.resolve().stem}"
        self._cameras: tuple[str, ...] = ()
        self._sized: dict[str, Sized] = {}
        self._sources: list[set[tuple[int, int]]] = []
        self._resized: dict[str, None] = {}
        self._kept: list[_Kept] = []
        self._episodes: list[Episode] | Spool = Spool(options.spool) if options.spool else []
        self._tasks: dict[str, None] = {}
        self._other_tasks = 0
        self._told = self._by_rewards = False
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
        chosen = [known[name] for name in names]
        if left := [name for name, key in known.items() if key not in chosen]:
            self.meta["cameras_left_out"] = f"{', '.join(left)} (--cameras names what to take)"
        self._sources = [set() for _ in chosen]
        parts = zip(chosen, self._fittings(), self._sources, strict=True)
        self._sized = {key: partial(self._fit, fitting, sources) for key, fitting, sources in parts}
        return chosen

    def choose_state(self, known: Sequence[str], default: Sequence[str], seen: Sequence[str] = ()) -> list[str]:
        """Entries to join into ``state``: those asked for; else those of the environment, where all are there by name;
        else ``default``, unless the environment shows no state.

        Args:
            known: what may be asked for.
            default: in the order of joining.
            seen: what was observed; of these, what is not taken is said.
        """
        for name in self._options.state:
            if name not in known:
                raise unknown_name(f"low-dimensional entry of {self._path.name}", name, known)
        without = self._expected is not None and "state" not in self._expected.observations
        named = match(known, self._env.state_entries) if self._env else None
        chosen = list(self._options.state or (() if without else named or default))
        if not chosen and not self._cameras:
            there = f" ({', '.join(list(seen)[:_LISTED])})" if seen else ""
            raise ConfigError(
                f"nothing of {self._path.name} would be observed: name cameras with --cameras or entries with "
                f"--state{there}"
            )
        if chosen and list(chosen) != ["state"]:
            self.meta["state"] = ", ".join(chosen)
        if left := [name for name in seen if name not in chosen]:
            self.meta["left_out"] = f"{', '.join(left)} (--state names what to take)"
        return chosen

    def takes(self, tasks: Collection[str]) -> bool:
        """Whether an episode of these ``tasks`` is asked for; those that are not are counted."""
        self._tasks.update(dict.fromkeys(tasks))
        taken = not self._options.tasks or not set(self._options.tasks).isdisjoint(tasks)
        self._other_tasks += not taken
        return taken

    # ---- episodes --------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether as many episodes are there as were asked for."""
        return 0 < self._options.episodes <= len(self._kept)

    def add(self, where: str, load: Callable[[], Raw]) -> bool:
        """Take the trajectory that ``load`` gives, or note why it cannot be: ``where`` says which it is.

        Returns:
            Whether it was taken.
        """
        if self.full:
            return False
        try:
            episode = self._episode(load())
            episode.validate()
        except (ConfigError, MissingDependencyError):
            raise
        except Exception as error:  # a damaged file makes its parser fail in any way
            self.faults.append(f"{where}: {reason(error)}")
            return False
        else:
            assumed = episode.meta.get("success") == ASSUMED
            self._kept.append(_Kept(where, _shape(episode), episode.actions, episode.is_demo, assumed))
            self._episodes.append(episode)
            return True

    def _episode(self, raw: Raw) -> Episode:
        actions = np.asarray(raw.actions, np.float32)
        steps = len(actions)
        if actions.ndim != 2 or steps == 0:
            raise ValueError(f"actions must be [T, A] with T of at least 1, got shape {actions.shape}")
        width = max(actions.shape[1], sum(int(np.prod(np.shape(part)[1:])) for part in raw.state.values()))
        if width > MAX_WIDTH:
            raise ValueError(f"it has {width:,} numbers per step; {MAX_WIDTH:,} are read at most")
        expected = self._expected
        if expected and actions.shape[1] != expected.action_dim:
            raise ValueError(f"actions have {actions.shape[1]} dimensions; {expected.id} takes {expected.action_dim}")
        observations: dict[str, NDArray[Any]] = {}
        entries: tuple[StateEntry, ...] = ()
        if raw.state:
            parts = {name: np.asarray(part).reshape(len(part), -1) for name, part in raw.state.items()}
            observations["state"] = self._joined(parts, steps)
            entries = self._entries({name: part.shape[1] for name, part in parts.items()})
        if raw.views:
            views = [
                view if isinstance(view, Frames) else in_slices(view, sized)
                for sized, view in zip(self._sized.values(), raw.views, strict=True)
            ]
            observations["rgb"] = self._stacked(views, steps)
        if not observations:
            raise ValueError("none of its observations can be found")
        told, terminated = self._outcome(raw)
        # What its recorder marked as no demonstration is not assumed to be one.
        success = raw.is_demo is not False if told is None else told
        rewards = raw.rewards
        if rewards is not None and rewards.shape == (steps, 1):
            rewards = rewards[:, 0]
        if rewards is None:
            self.meta["rewards"] = "derived: 1 at the end of a successful episode, else 0"
            rewards = np.zeros(steps)
            rewards[-1] = success
        episode = Episode(
            observations=observations,
            actions=actions,
            rewards=np.asarray(rewards, np.float32),
            terminated=terminated,
            truncated=not terminated if raw.truncated is None else bool(raw.truncated),
            success=success,
            is_demo=success if raw.is_demo is None else bool(raw.is_demo),
            seed=raw.seed,
            meta={**raw.meta, "success": ASSUMED} if told is None else dict(raw.meta),
            state_entries=entries,
        )
        fits = self._env is not None and columns_for(entries, self._env.state_entries) is not None
        return align(episode, self._env, "it") if self._env and fits else episode

    def _outcome(self, raw: Raw) -> tuple[bool | None, bool]:
        """Whether it succeeded, None where nothing tells; and whether the task ended, which is never assumed."""
        sparse = sparse_success(raw.rewards)
        told = sparse if raw.success is None else bool(raw.success)
        self._told |= told is not None
        self._by_rewards |= raw.success is None and sparse is not None
        if raw.terminated is not None:
            return told, bool(raw.terminated)
        self.meta["end"] = "a success at the last step ends the task, everything else is an interruption"
        last = raw.solved_last
        if last is None:
            last = raw.rewards is not None and bool(sparse) and bool(raw.rewards[-1])
        return told, bool(told) and last and raw.done is not False and not raw.truncated

    def _entries(self, sizes: Mapping[str, int]) -> tuple[StateEntry, ...]:
        """What the state is made of: as the options say, or the set that zoomrl wrote, or else the source's parts."""
        length, env, own = sum(sizes.values()), self._env, self._own
        if self._options.entries:
            if sum(entry.size for entry in self._options.entries) != length:
                listed = list_entries(self._options.entries)
                raise ConfigError(f"the entries {listed} must add up to the state of {length} numbers in {self._path}")
            return self._options.entries
        whole = own is not None and list(sizes) == [self._own_state] and own.state_dim == length
        if own is not None and whole and (own.state_entries or env is None or own.id == env.id):
            return own.state_entries
        if self._options.state and env is not None and env.state_dim == length and len(env.state_entries) == 1:
            return env.state_entries  # the order asked for is that of the environment's one vector
        return tuple(StateEntry(name, size) for name, size in sizes.items())

    def _joined(self, parts: Mapping[str, NDArray[Any]], steps: int) -> NDArray[np.float32]:
        """The state [T + 1, S] of its parts [T or T + 1, ...], copied once: they can fill the memory by themselves."""
        rows = self._rows("state", [len(part) for part in parts.values()], steps)
        state = np.empty((rows, sum(part.shape[1] for part in parts.values())), np.float32)
        first = 0
        for part in parts.values():
            state[: len(part), first : first + part.shape[1]] = part
            state[len(part) :, first : first + part.shape[1]] = part[-1:]
            first += part.shape[1]
        return state

    def _stacked(self, views: Sequence[Frames], steps: int) -> NDArray[np.uint8]:
        """The images [T + 1, V, H, W, 3] of ``views``, read into their place: they can fill the memory alone."""
        rows = self._rows("rgb", [view.count for view in views], steps)
        rgb = np.empty((rows, len(views), *self.image_size, 3), np.uint8)
        for index, view in enumerate(views):
            view.read_into(rgb[: view.count, index])
            rgb[view.count :, index] = rgb[view.count - 1, index]
        return rgb

    def _rows(self, name: str, lengths: Sequence[int], steps: int) -> int:
        """Observations of an episode: a last one that is missing is that before it, once more."""
        if steps in lengths:
            self.meta["last_observation"] = "repeated"
        if beyond := set(lengths) - {steps, steps + 1}:
            raise ValueError(f"observation {name!r} must have {steps + 1} rows (T + 1), got {min(beyond)}")
        return steps + 1

    def sized(self, key: str) -> Sized:
        """What makes images [N, H, W, C] of the camera ``key`` those that are kept, uint8 [N, h, w, 3].

        It raises a ValueError for what is no image, or cannot be cropped and fitted as is asked for.
        """
        return self._sized[key]

    def _fit(self, fitting: Fitting, sources: set[tuple[int, int]], view: NDArray[Any]) -> NDArray[np.uint8]:
        if view.ndim not in (3, 4) or not len(view):
            raise ValueError(f"images must be uint8 [T, H, W, 3], got {view.dtype}{list(view.shape)}")
        source = as_rgb(view[0]).shape
        sources.add((source[0], source[1]))
        if not fitting.crop and source[:2] == fitting.size and view.shape[1:] == source and view.dtype == np.uint8:
            return view
        fitted = np.stack([fitting(image) for image in view])
        if fitting.crop or source[:2] != fitting.size:
            (height, width), (high, wide) = source[:2], fitting.size
            how = "" if fitting.fit == "stretch" else f", {fitting.fit}"
            cut = " of the crop {} {} {} {}".format(*fitting.crop) if fitting.crop else ""
            self._resized[f"images from {height} x {width}{cut} to {high} x {wide}{how}, {METHOD}"] = None
            self.meta["resized"] = "; ".join(self._resized)
        return fitted

    def _fittings(self) -> list[Fitting]:
        """What is done to the images of each camera: as the options say, or else as the environment does."""
        options, env = self._options, self._env
        fits = env.image_fit if env else "none"
        if options.image_fit not in ("auto", fits) and env and fits != "none":
            raise ConfigError(
                f"{env.id} fits its images by {fits!r}, and image_fit {options.image_fit!r} was asked for; leave it out"
            )
        fit = options.image_fit if options.image_fit != "auto" else fits if fits != "none" else "stretch"
        # What zoomrl wrote after fitting it has been cropped; a crop that is asked for is one of what is stored.
        done = self._own is not None and self._own.fits_images
        theirs = env.image_crop if env and not options.image_crop and not done else ()
        crops = crops_of(options.image_crop or theirs, len(self._cameras))
        sizes = env.camera_sizes if env and theirs and len(env.camera_sizes) == len(crops) else (None,) * len(crops)
        return [Fitting(self.image_size, fit, crop, size) for crop, size in zip(crops, sizes, strict=True)]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that are kept."""
        source = self._env or (None if self._options.image_size else self._own)
        rgb = source.observations.get("rgb") if source else None
        return (rgb.shape[1], rgb.shape[2]) if rgb else (self._options.image_size or USUAL_SIZE,) * 2

    # ---- the result ------------------------------------------------------------------------------------

    def result(self) -> Imported:
        """Everything read; DemonstrationError with all faults when there is no episode."""
        for name in self._options.tasks:
            if name not in self._tasks:
                raise unknown_name(f"task of {self._path.name}", name, self._tasks)
        if len(self._tasks) > 1 and not self._options.tasks:
            more = f" and {len(self._tasks) - _LISTED} more" if len(self._tasks) > _LISTED else ""
            listed = ", ".join(f"{task:.100}" for task in list(self._tasks)[:_LISTED])
            self.meta["tasks"] = f"{listed}{more} (--tasks names what to take)"
        if self._other_tasks:
            self.meta["tasks_left_out"] = plural(self._other_tasks, "episode") + " of other tasks"
        if not self._kept:
            lines = "\n".join(f"  - {fault}" for fault in self.faults) or "  - it holds none"
            raise DemonstrationError(f"no episode of {self._path} can be read:\n{lines}")
        shape = Counter(one.shape for one in self._kept).most_common(1)[0][0]
        alike = [index for index, one in enumerate(self._kept) if one.shape == shape]
        for one in self._kept:
            if one.shape != shape:
                self.faults.append(f"{one.where}: its shapes {one.shape} differ from the others' {shape}")
        kept = [self._kept[index] for index in alike]
        if assumed := sum(one.assumed for one in kept):
            why = "neither a recorded success nor rewards of 0 and 1 tell"
            self.meta["success"] = f"{ASSUMED} for {assumed} of {len(kept)} episodes: {why}"
        if self._by_rewards and not any(one.is_demo for one in kept):
            self.faults.append(
                f"{self._path.name}: no episode has a reward of 1, so that none counts as a success. If rewards were "
                "not recorded, remove them from a copy: success is assumed then"
            )
        first = self._episodes[alike[0]]
        spec = self._spec(first, [one.actions for one in kept])
        for one in kept:
            if beyond := entries_beyond(one.actions, spec.action):
                self.faults.append(
                    f"{one.where}: kept, but {beyond} of {one.actions.size} action entries lie beyond the bounds of "
                    f"{spec.id}; training refuses them as they are"
                )
        if self._env and (found := spec.mismatches(self._env)):
            self.meta["does_not_fit"] = "; ".join(found)
        episodes = self._episodes
        chosen = episodes.only(alike) if isinstance(episodes, Spool) else [episodes[index] for index in alike]
        return Imported(spec, chosen, self.faults, self.meta)

    def _spec(self, first: Episode, actions: Sequence[NDArray[np.float32]]) -> EnvSpec:
        expected = self._expected
        arrays = {name: ArraySpec(a.shape[1:], str(a.dtype)) for name, a in first.observations.items()}
        if expected is None:
            action, note = recorded_bounds(actions)
            self.meta["action_bounds"] = note
            spec = EnvSpec(
                self._name, arrays, action, 0.0, 0, reports_success=self._told, state_entries=first.state_entries
            )
        else:
            # Where they agree, the declared array is kept: it may have bounds.
            declared = {k: v for k, v in expected.observations.items() if k in arrays and same_array(v, arrays[k])}
            spec = replace(expected, observations=arrays | declared, state_entries=first.state_entries)
            if self._env:
                self.meta["action_bounds"] = f"those of {expected.id}"
        hz = self._hz or spec.control_hz
        if not hz:
            self.meta["control_hz"] = "unknown"
        return replace(
            spec,
            control_hz=hz,
            cameras=self._cameras,
            **self._fitted(spec, arrays),
            rendering=spec.rendering if "rgb" in arrays else (),
            action_meaning=full_meaning(self._options.action_meaning or spec.action_meaning, spec.action_dim),
        )

    def _fitted(self, spec: EnvSpec, arrays: Mapping[str, ArraySpec]) -> dict[str, Any]:
        """How images were fitted: as ``spec`` says it of the cameras that were taken, or as the options asked for."""
        if "rgb" not in arrays:
            return {"image_fit": "none", "image_crop": (), "camera_sizes": ()}
        if not spec.fits_images and not self._env and self._resized:
            fit = "stretch" if self._options.image_fit == "auto" else self._options.image_fit
            # Of cameras that each had one size, so that a policy may ask for it again.
            alike = all(len(sizes) == 1 for sizes in self._sources)
            sources = tuple(next(iter(sizes)) for sizes in self._sources) if alike else ()
            return {"image_fit": fit, "image_crop": self._options.image_crop, "camera_sizes": sources}
        same = spec.cameras == self._cameras
        crop = spec.image_crop if same or len(spec.image_crop) <= 4 else self._options.image_crop
        return {"image_crop": crop, "camera_sizes": spec.camera_sizes if same else ()}


def reason(error: Exception) -> str:
    """What went wrong, on one line; the kind of error where it says nothing itself."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if not text or isinstance(error, KeyError) else text


def _shape(episode: Episode) -> str:
    parts = {"actions": episode.actions, **episode.observations}
    shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in parts.items())
    return f"{shapes} ({list_entries(episode.state_entries)})" if len(episode.state_entries) > 1 else shapes
