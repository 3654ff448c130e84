"""``zoomrl demos import`` and ``zoomrl demos export``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import env_options, given_options, to_type
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import DemonstrationError, plural
from zoomrl.spec import is_of_play, list_entries

if TYPE_CHECKING:
    from zoomrl.data.episode import Episode
    from zoomrl.demos.formats import Imported, ImportOptions

_UNSAID = ("format", "source", "versions")


@dataclass(frozen=True)
class ImportDemos:
    """Turn demonstrations of another program into a set that zoomrl trains on."""

    format: Annotated[Positional[str], arg(metavar="FORMAT")]
    """robomimic (also LIBERO, IsaacLab, MimicGen), lerobot, aloha, maniskill, zarr (diffusion policy), d4rl, ogbench,
    minari, npz, bigym or rlbench; auto tells it by what lies there."""
    source: Annotated[Positional[Path], arg(metavar="SOURCE")]
    """File or folder to read."""
    out: Annotated[Path, arg(metavar="PATH")]
    """Folder of the set to write."""
    cameras: tuple[str, ...] = ()
    """The source's cameras to take, in this order; empty takes those of the environment, none without one."""
    state: tuple[str, ...] = ()
    """The source's low-dimensional entries to join into the state, in this order; empty takes the environment's by
    their names, or the format's default."""
    action: tuple[str, ...] = ()
    """The source's columns to join into actions, in this order, where their names are free (lerobot, aloha); empty
    takes action, actions, or all action.* in the source's order."""
    entries: Annotated[tuple[str, ...], arg(metavar="NAME:SIZE")] = ()
    """The parts that the state is joined of, in the set's order, where the source does not name them."""
    image_size: int = 0
    """Height and width that images are fitted to, unless an environment that shows images is named. 0 keeps the size
    of a set that zoomrl wrote, and is 84 for others."""
    image_fit: Literal["auto", "stretch", "letterbox", "crop"] = "auto"
    """How images of another size are fitted: to another aspect ratio, between black bars, or with their longer sides
    cut off. auto is as the environment fits its own images (--env.image-fit), or else stretch."""
    image_crop: tuple[int, ...] = ()
    """Part of the source's images that is kept before: top, left, height and width in pixels, once or for each camera
    (0 0 0 0 is the whole image). Empty is as the environment crops its own (--env.image-crop)."""
    meaning: tuple[str, ...] = ()
    """What each action dimension commands, one for all or one for each: absolute, delta or gripper."""
    control_hz: float = 0.0
    """Actions per second; 0 is what the format or the environment says."""
    episodes: int = 0
    """At most so many episodes; 0 is all."""
    tasks: tuple[str, ...] = ()
    """Texts of the tasks whose episodes are taken, of a set of several; empty takes all."""
    subset: str = ""
    """Named part of the set to take: a filter key of robomimic, a split of LeRobot; empty takes all."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace a set that is there already."""
    env: EnvConfig = field(default_factory=lambda: EnvConfig(id=""))
    """Environment that the set is for. With --env.id its bounds and rates are taken, else they are derived."""

    def run(self) -> int:
        """Read, say what was found and what is missing, and write."""
        from zoomrl.demos.formats import read
        from zoomrl.demos.store.layout import DATA_DIR
        from zoomrl.demos.store.writer import write_demos

        if (self.out / DATA_DIR).exists() and not self.overwrite:
            raise DemonstrationError(f"{self.out} already holds demonstrations; pass --overwrite or another --out")
        # On the disk of the set: recordings can be larger than a temporary folder in memory.
        near = next(folder for folder in self.out.absolute().parents if folder.is_dir())
        with TemporaryDirectory(prefix=f".{self.out.name}-", dir=near) as spool:
            found = read(self.format, self.source, self._options(Path(spool)))
            taken = _Taken(found.episodes)
            write_demos(self.out, taken, found.spec, overwrite=self.overwrite, meta=found.meta)
        self._report(found, taken)
        return 0

    def _options(self, spool: Path) -> ImportOptions:
        from zoomrl.demos.entries import parse_entry
        from zoomrl.demos.formats import ImportOptions

        return ImportOptions(
            env=self.env if self.env.id else None,
            cameras=self.cameras,
            state=self.state,
            action=self.action,
            entries=tuple(parse_entry(entry) for entry in self.entries),
            image_size=self.image_size,
            image_fit=self.image_fit,
            image_crop=self.image_crop,
            action_meaning=self.meaning,
            control_hz=self.control_hz,
            episodes=self.episodes,
            tasks=self.tasks,
            subset=self.subset,
            spool=spool,
        )

    def _report(self, found: Imported, taken: _Taken) -> None:
        for fault in found.faults:
            print(f"left out or doubtful: {fault}", file=sys.stderr)
        arrays = ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in found.spec.observations.items())
        counted = (
            f"{plural(taken.count, 'episode')}, {taken.demos} of them demonstrations, {plural(taken.steps, 'step')}"
        )
        print(f"read {counted}, from {self.source}")
        print(f"observed: {arrays}; actions: {found.spec.action_dim} dimensions")
        if found.spec.state_entries:
            print(f"state made of: {list_entries(found.spec.state_entries)}")
        for name, value in found.meta.items():
            if name not in _UNSAID and value not in ({}, [], ""):
                print(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else json.dumps(value)}")
        print(f"wrote {self.out}")
        print(self._next(found))

    def _next(self, found: Imported) -> str:
        """The command that comes after this one."""
        if not self.env.id and str(found.meta.get("action_bounds", "")).startswith("derived"):
            words = ["demos", "import", self.format, self.source, "--out", self.out]
            again = to_type(*words, *given_options(self, leave_out=("overwrite",)), "--env", "ID", "--overwrite")
            alone = to_type("train", "--preset", "act-demos", "--env", f"demos:{self.out}")
            return (
                "its bounds and rates are derived: before training, import it for an environment, whose id stands in "
                f"place of ID: {again}\nor, of a robot without a simulator, imitate these recordings alone: {alone}"
            )
        if "does_not_fit" in found.meta:
            return (
                f"training on {self.env.id} refuses it as it is: import it again with what the environment shows "
                "(--state, --cameras, --entries), or name the environment with the options that it was recorded with"
            )
        rgb = found.spec.observations.get("rgb")
        env = self.env if self.env.id else replace(self.env, id=found.spec.id)
        if rgb is not None and not env.cameras:
            env = replace(env, cameras=found.spec.cameras, image_size=rgb.shape[1])
        if rgb is not None and rgb.shape[1] != rgb.shape[2]:
            size = " x ".join(map(str, rgb.shape[1:3]))
            return (
                f"its images have {size} pixels, and encoders need squares: before training, import it again with "
                "--env.image-size 84 --env.image-fit letterbox (or stretch, crop), and train with the same"
            )
        play = is_of_play(env.id)  # whose presets learn without practice
        words = [
            "train",
            *(("--preset", "cqn_as-ogbench-proposals") if play else ()),
            "--env",
            env.id,
            *env_options(env),
        ]
        words += ["--demos", self.out, *(() if play else ("--demos.episodes", 0))]
        return f"train on them with: {to_type(*words)}"


class _Taken:
    """Episodes that are counted while they pass."""

    def __init__(self, episodes: Iterable[Episode]) -> None:
        self._episodes = episodes
        self.count = self.demos = self.steps = 0

    def __iter__(self) -> Iterator[Episode]:
        for episode in self._episodes:
            self.count += 1
            self.demos += episode.is_demo
            self.steps += len(episode)
            yield episode


@dataclass(frozen=True)
class ExportDemos:
    """Write a demonstration set in the format of another program."""

    format: Annotated[Positional[str], arg(metavar="FORMAT")]
    """lerobot, minari or npz."""
    set: Annotated[Positional[Path], arg(metavar="SET")]
    """Folder of the set to read."""
    out: Annotated[Path, arg(metavar="PATH")]
    """Folder to write."""
    video: FlagCreatePairsOff[bool] = False
    """Write images as videos, which are small and not exact (lerobot)."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace what was exported there before."""

    def run(self) -> int:
        """Read and write."""
        from zoomrl.demos.formats import write
        from zoomrl.demos.store.reader import read_demos

        demos = read_demos(self.set)
        notes = write(self.format, self.out, demos, self.overwrite, video=self.video)
        counted = f"{plural(len(demos), 'episode')}, {plural(sum(len(e) for e in demos.episodes), 'step')}"
        print(f"wrote {counted}, as {self.format} to {self.out}")
        for note in notes:
            print(note)
        return 0
