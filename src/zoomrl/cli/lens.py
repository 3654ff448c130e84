"""``zoomrl lens``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.trust import check_code
from zoomrl.errors import ConfigError, ZoomrlError, plural
from zoomrl.files import check_output
from zoomrl.training.run_place import run_directory

if TYPE_CHECKING:
    from zoomrl.data.episode import Episode
    from zoomrl.envs.vector.base import VectorEnv
    from zoomrl.lens.record import EpisodeRecord
    from zoomrl.training.policy import TrainedAgent

_MOST_EPISODES = 20
_OWN = "Demonstrations of the run can be seen without its environment: pass --episodes 0 --demos 3."


@dataclass(frozen=True)
class ValueLens:
    """Show what a coarse-to-fine critic thinks: values of all bins at every step, over the video, as one page."""

    path: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """Run directory (its newest checkpoint is taken; with eval.keep_best its best one), or a checkpoint file in one."""
    episodes: int = 2
    """Episodes in which the policy acts."""
    seed: int = 0
    """Seed of these episodes; they are those of `zoomrl eval --num-envs 1` with the same seed."""
    demos: int = 0
    """Demonstrations of the run that are seen through its critic, the first ones of its set."""
    most_steps: int = 250
    """Steps of an episode that are shown at most; of a longer one every 2nd, 4th, 8th and so on."""
    out: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: lens.html in the run)")] = None
    """HTML file to write; it needs no network and no other file."""
    rrd: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """Write a recording for rerun to this file as well (extra zoomrl[rerun])."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace files that are there already."""
    env_python: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="(default: the run's own)")] = None
    """Python interpreter of another environment, in which the simulator runs; "" is this one."""
    trust: FlagCreatePairsOff[bool] = False
    """Run the interpreter and import the module that the run's config.json names. Pass it for runs of your own."""

    def run(self) -> int:
        """See the episodes, and write."""
        self._check()
        directory = run_directory(self.path)
        out = self.out or directory / "lens.html"
        check_output(out, "--out", overwrite=self.overwrite)
        if self.rrd is not None:
            check_output(self.rrd, "--rrd", overwrite=self.overwrite)
            if self.rrd.absolute() == out.absolute():
                raise ConfigError(f"--out and --rrd are both {out}; name two files")
        import torch

        from zoomrl.deploy.evaluate import episode_seeds
        from zoomrl.envs.registry import can_step
        from zoomrl.lens.record import Lens
        from zoomrl.lens.source import first_demonstrations
        from zoomrl.lens.write import records, write_lens
        from zoomrl.training.policy import load_agent
        from zoomrl.training.run_files import read_policy_file

        # Acting takes small matmuls only: a second thread costs more than it saves.
        torch.set_num_threads(1)
        held = load_agent(self.path)
        lens = Lens(held, seed=self.seed, most_steps=self.most_steps)
        env = held.config.env
        if self.episodes and not can_step(env.id):
            raise ConfigError(f"{env.id} is a demonstration set: no policy can act in it. Pass --episodes 0 --demos 3")
        said: list[str] = []
        demonstrations: list[tuple[int, Episode]] = []
        if self.demos:
            learnt_from = read_policy_file(directory).demos_sha256
            demonstrations, problem = first_demonstrations(held.config, held.spec, learnt_from, self.demos)
            said += [problem] if problem else []
        count = plural(self.episodes + self.demos, "episode")
        with ExitStack() as stack:
            envs = self._environment(held, demonstrations, stack, said)
            seen = records(lens, envs, episode_seeds(self.seed, self.episodes), demonstrations)
            found = _told(seen, self.episodes + self.demos)
            title = directory.resolve().name
            size, left_out = write_lens(lens, found, out, title=title, said=said, rrd=self.rrd)
        for line in [*said, *left_out]:
            print(line, file=sys.stderr)
        print(f"wrote {count}, {size / 1e6:.1f} MB: {out}")
        if self.rrd is not None:
            print(f"wrote {self.rrd}; show it with `rerun {self.rrd}`")
        return 0

    def _environment(
        self, held: TrainedAgent, demonstrations: list[tuple[int, Episode]], stack: ExitStack, said: list[str]
    ) -> VectorEnv | None:
        """Where the policy acts. For demonstrations alone it only renders those without images, and may be missing."""
        from zoomrl.demos.view.content import is_image
        from zoomrl.deploy.evaluate import environments
        from zoomrl.envs.registry import can_step
        from zoomrl.training.policy import policy_of

        env = held.config.env
        without = [e for _, e in demonstrations if e.seed >= 0 and not any(map(is_image, e.observations.values()))]
        if not self.episodes and not (without and can_step(env.id)):
            return None
        try:
            if not self.trust:
                check_code(self.path, env if self.env_python is None else replace(env, python=""))
            return stack.enter_context(environments(policy_of(held), 1, python=self.env_python))
        except ZoomrlError as error:
            if self.episodes and isinstance(error, ConfigError):
                raise ConfigError(f"{self.path}: {error}\n{_OWN}") from error
            if self.episodes:
                raise
            said.append(f"the demonstrations are not rendered: {error}")
            return None

    def _check(self) -> None:
        """Refuse what cannot work, before anything slow is imported."""
        from zoomrl.deploy.places import is_bundle

        for name, value, low in (
            ("episodes", self.episodes, 0),
            ("demos", self.demos, 0),
            ("seed", self.seed, 0),
            ("most-steps", self.most_steps, 1),
        ):
            if value < low:
                raise ConfigError(f"--{name} must be at least {low}, got {value}")
        if not 1 <= self.episodes + self.demos <= _MOST_EPISODES:
            raise ConfigError(
                f"a page holds 1 to {_MOST_EPISODES} episodes, got --episodes {self.episodes} --demos {self.demos}"
            )
        if is_bundle(self.path):
            raise ConfigError(
                f"{self.path} is a bundle, whose graph gives actions and no values of bins: take the run that it was "
                "made of"
            )


def _told(seen: Iterator[EpisodeRecord], count: int) -> Iterator[EpisodeRecord]:
    """The episodes; before each is looked at, which one it is."""
    for number in range(1, count + 1):
        print(f"episode {number} of {count} ...", file=sys.stderr, flush=True)
        yield next(seen)
