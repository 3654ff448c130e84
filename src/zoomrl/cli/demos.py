"""``zoomrl demos collect``, ``collect-play`` and ``inspect``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import env_options, to_type
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.ogbench.tasks import SCENES
from zoomrl.errors import DemonstrationError, plural
from zoomrl.machine import usable_cores

if TYPE_CHECKING:
    from zoomrl.data.episode import Episode


@dataclass(frozen=True)
class CollectDemos:
    """Record demonstrations from a scripted expert (Meta-World has one for every task, BiGym for four)."""

    out: Annotated[
        Path | None,
        arg(
            metavar="PATH",
            help_behavior_hint="(default: where a run with these very options looks)",
        ),
    ] = None
    """Folder to write, in Minari's format."""
    episodes: int = 20
    """Successful episodes to record; failed attempts among them are kept too, and marked."""
    noise: float = 0.0
    """Standard deviation of noise on the expert's actions, as a fraction of half the action range."""
    seed: int = 0
    """Seed of the object placements and of the noise."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace a set that is there already."""
    env: EnvConfig = field(default_factory=EnvConfig)

    def run(self) -> int:
        """Record and write."""
        from rich.console import Console
        from rich.progress import Progress

        from zoomrl.demos.collect import collect_demos, collection_meta
        from zoomrl.demos.store.layout import DATA_DIR
        from zoomrl.demos.store.writer import write_demos
        from zoomrl.envs.registry import make_env
        from zoomrl.training.scripted import scripted_path

        options = DemoConfig(episodes=self.episodes, noise=self.noise, seed=self.seed)
        out = self.out or scripted_path(options, self.env)
        if (out / DATA_DIR).exists() and not self.overwrite:
            raise DemonstrationError(f"{out} already holds demonstrations; pass --overwrite or another --out")
        env = make_env(replace(self.env, num_envs=1, workers="serial"))
        try:
            with Progress(console=Console(stderr=True, emoji=False), disable=not sys.stderr.isatty()) as progress:
                task, attempts = progress.add_task("recording", total=self.episodes), 0

                def note(attempt: int, episode: Episode) -> None:
                    nonlocal attempts
                    attempts = attempt + 1
                    done = float(episode.success)
                    progress.update(task, advance=done, description=f"attempt {attempt + 1}")

                episodes = collect_demos(env, episodes=self.episodes, seed=self.seed, noise=self.noise, on_episode=note)
            meta = collection_meta(env, seed=self.seed, noise=self.noise)
            write_demos(out, episodes, env.env_spec, overwrite=self.overwrite, meta=meta)
        finally:
            env.close()
        good, steps = sum(e.is_demo for e in episodes), sum(len(e) for e in episodes)
        counted = f"{plural(good, 'demonstration')} in {plural(attempts, 'attempt')}"
        lost = f" ({attempts - len(episodes)} of them lost)" if attempts > len(episodes) else ""
        print(f"recorded {counted}{lost}, {plural(steps, 'step')}, into {out}")
        train = to_type("train", "--env", self.env.id, *env_options(self.env), "--demos", out, "--demos.episodes", good)
        print(f"train on them with: {train}")
        return 0


@dataclass(frozen=True)
class CollectPlay:
    """Record play in a scene of OGBench, from one random target to the next, as its own data were made."""

    scene: Annotated[Positional[str], arg(metavar="SCENE")]
    """cube-single, cube-double, cube-triple, cube-quadruple, cube-octuple, scene, puzzle-3x3, puzzle-4x4, puzzle-4x5 or
    puzzle-4x6."""
    out: Annotated[Path, arg(metavar="FILE.npz")]
    """File to write, in OGBench's format. One that was begun and not finished goes on where it was."""
    trajectories: int = 1000
    """Trajectories to record."""
    steps: int = 1001
    """Observations of each."""
    noise: float = 0.1
    """Standard deviation of noise on the poses that are followed, as a fraction of the range of an action."""
    seed: int = 0
    """Seed of scenes, targets and noise."""
    workers: int = 0
    """Processes; 0 is as many as there are cores. The file does not depend on it."""

    def run(self) -> int:
        """Record and write."""
        from rich.console import Console
        from rich.progress import Progress

        from zoomrl.demos.play import collect_play

        with Progress(console=Console(stderr=True, emoji=False), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("recording", total=self.trajectories)
            try:
                collect_play(
                    self.scene,
                    self.out,
                    trajectories=self.trajectories,
                    seed=self.seed,
                    noise=self.noise,
                    steps=self.steps,
                    workers=self.workers or usable_cores(),
                    on_trajectory=lambda count: progress.update(task, completed=count),
                )
            except KeyboardInterrupt:
                print("what is recorded is kept: the same command goes on", file=sys.stderr)
                raise
        counted = f"{self.trajectories:,} {'trajectory' if self.trajectories == 1 else 'trajectories'}"
        print(f"recorded {counted} of {self.steps:,} states, into {self.out}")
        name = f"{self.scene}-task{SCENES[self.scene].default}"
        words = ["demos", "import", "ogbench", self.out, "--out", self.out.with_name(name), "--env", f"ogbench:{name}"]
        print(f"make a set of them for a task: {to_type(*words)}")
        return 0


@dataclass(frozen=True)
class InspectDemos:
    """Show what a demonstration set holds, and how well a zoom grid can represent its actions."""

    path: Positional[Path]
    """Folder of the set."""
    levels: int = 3
    """Zoom levels of the grid."""
    bins: int = 5
    """Bins per level of the grid."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of tables."""

    def run(self) -> int:
        """Print the summary."""
        from rich.console import Console

        from zoomrl.demos.inspect import render_table, summarise
        from zoomrl.demos.store.reader import read_demos

        summary = summarise(read_demos(self.path), self.levels, self.bins)
        if self.json:
            print(json.dumps(summary.to_dict(), indent=2))
        else:
            # Into a pipe or file nothing limits the width; rich would cut the numbers short at 80 columns.
            Console(width=None if sys.stdout.isatty() else 120, emoji=False).print(render_table(summary))
        return 0
