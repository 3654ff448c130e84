"""Reading a demonstration set: ours, or a Minari data set that others wrote."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.entries import UNNAMED, set_entries
from zoomrl.demos.recorded import ASSUMED, SUCCESS_NAMES, known_seed, sparse_success, truth
from zoomrl.demos.store import layout
from zoomrl.demos.store.intact import check_intact
from zoomrl.demos.store.limits import MAX_WIDTH, regular
from zoomrl.demos.store.spaces import parse_action, parse_observations
from zoomrl.demos.store.staging import retired
from zoomrl.errors import DemonstrationError, command_line
from zoomrl.files import parse_json, read_json
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry


@dataclass(frozen=True)
class DemoSet:
    """A demonstration set in memory.

    Attributes:
        spec: what the episodes were recorded under.
        episodes: at least one; failed ones are among them with ``is_demo`` False.
        meta: provenance of the whole set.
        sha256: hash of everything training sees of the episodes, see :func:`content_hash`.
        path: where it was read from; empty when it was not.
    """

    spec: EnvSpec
    episodes: list[Episode]
    meta: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    path: str = ""

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def demos(self) -> list[Episode]:
        """The episodes that imitation may copy."""
        return [episode for episode in self.episodes if episode.is_demo]


def read_demos(path: str | Path) -> DemoSet:
    """Read a whole set.

    A Minari data set without our keys is read as well: a lone observation array becomes ``state``, float64
    becomes float32, the spec comes from its spaces (control rate and time limit 0, which is unknown). Success is what
    ``infos/success`` says, or else rewards of 0 and 1, and ``is_demo`` the same. Where neither says anything both are
    assumed, and the episode's ``meta["success"]`` is "assumed". A termination flag says that the task ended, not that
    it was solved.

    Raises:
        DemonstrationError: when the set is missing, damaged, empty, or of a kind that cannot be read. Names
            the file, and the episode where one is at fault.
    """
    with open_set(path) as source:
        digest = hashlib.sha256()
        episodes = []
        for index in range(source.total_episodes):
            episode = source.episode(index)
            update_hash(digest, episode)
            episodes.append(episode)
        return DemoSet(source.spec, episodes, source.meta, digest.hexdigest(), str(path))


def read_intact(path: str | Path) -> tuple[DemoSet, list[int], list[str]]:
    """Read what can be read of a set: its episodes, their numbers in the file, and one line for each left out.

    Of a file that was cut short, the part that is there is read. The hash of the set is empty, since it may not be
    the set that was written.

    Raises:
        DemonstrationError: when the set as a whole cannot be read, or no episode can.
    """
    with open_set(path, partial=True) as source:
        intact: dict[int, Episode] = {}
        faults = source.faults
        for index in source.numbers:
            try:
                intact[index] = source.episode(index)
            except DemonstrationError as error:
                faults.append(str(error))
        lacking = source.total_episodes - len(source.numbers)
        if lacking > 0:
            faults.append(f"{source.file_path}: {lacking} of {source.total_episodes} episodes are missing")
        if not intact:
            raise DemonstrationError("\n  - ".join([f"no episode of {path} can be read:", *faults]))
        return DemoSet(source.spec, list(intact.values()), source.meta, "", str(path)), list(intact), faults


def read_episode(path: str | Path, index: int) -> Episode:
    """Read one episode; errors as in :func:`read_demos`, and for an ``index`` that does not exist.

    The whole file is compared with its hash each time: for many episodes, :func:`read_demos` is faster.
    """
    with open_set(path) as source:
        if not 0 <= index < source.total_episodes:
            raise DemonstrationError(
                f"{source.file_path} holds the episodes 0 to {source.total_episodes - 1}; "
                f"episode {index} does not exist"
            )
        return source.episode(index)


def content_hash(path: str | Path) -> str:
    """SHA-256 of the episodes as training sees them: arrays, flags and their order.

    Independent of compression, provenance and reset seeds, so a set that was copied or written again with
    the same content keeps its hash. Reads episode by episode; errors as in :func:`read_demos`.
    """
    with open_set(path) as source:
        digest = hashlib.sha256()
        for index in range(source.total_episodes):
            update_hash(digest, source.episode(index))
        return digest.hexdigest()


def update_hash(digest: Any, episode: Episode) -> None:
    arrays = {f"observations/{name}": array for name, array in episode.observations.items()}
    arrays |= {"actions": episode.actions, "rewards": episode.rewards}
    for name, array in sorted(arrays.items()):
        # Names, dtypes and shapes delimit the bytes: no two different episodes give one stream.
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    flags = (episode.terminated, episode.truncated, episode.success, episode.is_demo)
    digest.update(("".join("01"[bool(flag)] for flag in flags) + ";").encode())


class _Source:
    """An open set. ``whole`` refuses arrays that are not all there; unless ``partial`` the set must be complete."""

    def __init__(
        self, file: Any, file_path: Path, metadata: Mapping[str, Any], whole: Callable[[Any], None], partial: bool
    ) -> None:
        self._file, self._whole = file, whole
        self.faults: list[str] = []
        self.file_path = file_path
        self.ours = layout.SPEC_KEY in metadata
        self.meta: dict[str, Any] = dict(metadata.get(layout.META_KEY, {}))
        self.total_episodes = int(metadata["total_episodes"])
        self.numbers = sorted(int(name[8:]) for name in file if re.fullmatch(r"episode_\d+", name))
        present = len(self.numbers)
        if present == 0 or (not partial and present != self.total_episodes):
            raise DemonstrationError(
                f"{file_path} holds {present} episodes, its metadata promises {self.total_episodes}, and at "
                f"least one is needed: the set is incomplete. Copy it again, or {layout.COLLECT_HINT}"
            )
        if self.ours:
            self.spec = EnvSpec.from_dict(metadata[layout.SPEC_KEY])
            self._entries = set_entries(self.spec, self.meta)
            return
        self.spec, others = derive_spec(metadata)
        if others:
            line = f"observation {', '.join(others)} must be a Box space"
            if not partial:
                raise ValueError(f"{line}; `zoomrl demos import minari` leaves out what is none")
            self.faults.append(f"{file_path}: {line}")
        first = file[layout.episode_key(self.numbers[0])]
        self.spec = replace(self.spec, reports_success=any(name in first.get("infos", ()) for name in SUCCESS_NAMES))
        self._entries = self.spec.state_entries

    def episode(self, index: int, observed: bool = True) -> Episode:
        """Episode ``index``; without observations, which take most of the time, where it need not be ``observed``."""
        try:
            group = self._file[layout.episode_key(index)]
            for part in _datasets(group):
                self._whole(part)
            episode = self._ours(group, observed) if self.ours else self._foreign(group, observed)
            episode.validate()
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DemonstrationError(
                f"{self.file_path}: episode {index} cannot be read ({error}). "
                f"The file is damaged or not a Minari data set; copy it again, or {layout.COLLECT_HINT}"
            ) from error
        return episode

    def _ours(self, group: Any, observed: bool) -> Episode:
        attributes = group.attrs
        return Episode(
            **self._arrays(group, observed),
            terminated=bool(group["terminations"][-1]),
            truncated=bool(group["truncations"][-1]),
            success=bool(attributes["success"]),
            is_demo=bool(attributes["is_demo"]),
            seed=int(attributes.get("seed", -1)),
            meta=parse_json(attributes[layout.META_KEY], f"{group.name}, {layout.META_KEY}", error=DemonstrationError),
            state_entries=self._entries if observed else (),
        )

    def _foreign(self, group: Any, observed: bool) -> Episode:
        terminated = bool(group["terminations"][-1])
        infos, arrays = group.get("infos", {}), self._arrays(group, observed)
        stated = [truth(infos[name][()], f"infos/{name}") for name in SUCCESS_NAMES if name in infos]
        success = any(stated) if stated else sparse_success(arrays["rewards"])
        return Episode(
            **arrays,
            terminated=terminated,
            # A recording that merely stops was interrupted: its value continues.
            truncated=bool(group["truncations"][-1]) or not terminated,
            success=success is not False,
            is_demo=success is not False,
            seed=known_seed(group.attrs.get("seed", -1)),
            meta={} if success is not None else {"success": ASSUMED},
            state_entries=self._entries if observed else (),
        )

    def _arrays(self, group: Any, observed: bool) -> dict[str, Any]:
        stored = group["observations"]
        observations: dict[str, NDArray[Any]]
        if not observed:
            observations = {}
        elif hasattr(stored, "keys"):
            observations = {name: _load(stored[name], spec) for name, spec in self.spec.observations.items()}
        else:
            observations = {"state": _load(stored, self.spec.observations["state"])}
        actions = _load(group["actions"], replace(self.spec.action, dtype="float32"))
        return {
            "observations": observations,
            "actions": actions,
            "rewards": _load(group["rewards"], ArraySpec(())),
        }


def _datasets(group: Any) -> list[Any]:
    found: list[Any] = []
    group.visititems(lambda _, part: found.append(part) if hasattr(part, "dtype") else None)
    return found


def _load(dataset: Any, spec: ArraySpec) -> NDArray[Any]:
    if not hasattr(dataset, "dtype"):
        raise ValueError(f"{dataset.name} must be an array, got a group")
    if len(spec.shape) == 1 and spec.shape[0] > MAX_WIDTH:
        raise ValueError(f"{dataset.name} has {spec.shape[0]:,} numbers per step; {MAX_WIDTH:,} are read at most")
    if dataset.shape[1:] != spec.shape:
        jpeg = ". Images encoded as JPEG are not read: write the set with jpeg_encoding=False"
        raise ValueError(
            f"{dataset.name} must have shape {list(spec.shape)} per step, got {list(dataset.shape[1:])}"
            + (jpeg if spec.dtype == "uint8" else "")
        )
    return np.asarray(dataset[()], dtype=spec.dtype)


def derive_spec(metadata: Mapping[str, Any]) -> tuple[EnvSpec, list[str]]:
    """The spec of a set of another program, and the names of observations that it has no place for."""
    missing = [key for key in ("observation_space", "action_space") if key not in metadata]
    if missing:
        raise ValueError(f"the metadata lacks {' and '.join(missing)}, so the shapes are unknown")
    env_spec = metadata.get("env_spec")
    known = parse_json(env_spec, "env_spec", error=DemonstrationError) if env_spec else {}
    name = f"gym:{known['id']}" if env_spec else str(metadata.get("dataset_id", "unknown"))
    observations, skipped = parse_observations(metadata["observation_space"])
    state = observations.get("state")
    spec = EnvSpec(
        id=name,
        observations=observations,
        action=parse_action(metadata["action_space"]),
        control_hz=0.0,
        time_limit=0,
        state_entries=(StateEntry(UNNAMED, state.shape[0]),) if state and len(state.shape) == 1 else (),
    )
    return spec, skipped


@contextmanager
def open_set(path: str | Path, partial: bool = False) -> Iterator[_Source]:
    """The set at ``path``, open, once its file of arrays was compared with its hash; ``partial`` takes one cut short.

    Raises:
        DemonstrationError: as in :func:`read_demos`.
    """
    folder = layout.data_dir(path)
    metadata_path, file_path = folder / layout.METADATA_FILE, folder / layout.MAIN_FILE
    for needed in (metadata_path, file_path):
        if not needed.exists():
            if next(folder.glob("*/*.arrow"), None):
                raise DemonstrationError(
                    f"{path} is a Minari data set in Arrow, which is imported first: zoomrl demos import minari {path} "
                    "--out FOLDER"
                )
            if aside := retired(folder):
                raise DemonstrationError(
                    f"no demonstration set at {path}: a process was killed while it replaced it. The set that was "
                    f"there is {aside}; rename it to {folder}"
                )
            if Path(path).is_file():
                raise DemonstrationError(
                    f"{path} is a file of another program, and a set is a folder. Make one of it: "
                    + command_line("zoomrl", "demos", "import", "auto", path, "--out", Path("demos") / Path(path).stem)
                )
            words = ("zoomrl", "demos", "import", "auto", path, "--out", Path("demos") / Path(path).name)
            holds = Path(path).is_dir() and any(Path(path).iterdir())
            recordings = f". If these are recordings of another program, make one of them: {command_line(*words)}"
            raise DemonstrationError(
                f"no demonstration set at {path}: {needed} is missing; {layout.COLLECT_HINT}"
                + (recordings if holds else ", or make one of recordings with: zoomrl demos import")
            )
        try:
            regular(needed, Path(path))
        except (OSError, ValueError) as error:
            raise DemonstrationError(f"{path} is no set that can be read: {error}") from error
    hint = f"Copy the set again, or {layout.COLLECT_HINT}"
    metadata = read_json(metadata_path, error=DemonstrationError, hint=hint)
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DemonstrationError(
            f"{metadata_path} cannot be read: its data format is {metadata['data_format']!r}; 'hdf5' alone is. {hint}"
        )
    check_intact(file_path, metadata, partial)
    from zoomrl.demos.store.hdf5 import check_whole, open_hdf5  # formats are built upon this module

    try:
        file, there, cut = open_hdf5(file_path)
        if cut and not partial:
            file.close()
            raise OSError(cut[0])
    except OSError as error:
        raise DemonstrationError(
            f"{file_path} cannot be opened ({error}). The file is truncated or damaged; copy it again, "
            f"or {layout.COLLECT_HINT}"
        ) from error
    with file:
        try:
            source = _Source(file, file_path, metadata, functools.partial(check_whole, there=there), partial)
            source.faults += cut
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError, RuntimeError) as error:
            raise DemonstrationError(
                f"{folder} is not a set that can be read: {'; '.join([*cut, str(error)])}. Expected Box or Dict-of-Box "
                "observations, a bounded Box action and the episode groups that Minari writes"
            ) from error
        yield source
