"""``zoomrl eval``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.rendering import rendering_fix
from zoomrl.cli.trust import check_code
from zoomrl.errors import ConfigError, ZoomrlError, plural
from zoomrl.files import finite_or_null

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.envs.vector.base import VectorEnv

_SUFFIXES = (".mp4", ".gif")
_OWN = "For an environment of your own, evaluate from Python: zoomrl.evaluate(RUN, make_env=...)."


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a trained policy on held-out seeds, without exploration noise."""

    path: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """Run directory (its newest checkpoint is taken; with eval.keep_best its best one), a checkpoint file in one, a
    bundle of `zoomrl export`, or owner/name on the Hugging Face Hub."""
    episodes: int = 50
    """Episodes to run."""
    seed: int = 0
    """Seed of the episodes; the same seed gives the same episodes."""
    num_envs: int = 5
    """Environments stepped together."""
    env_python: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="(default: the run's own)")] = None
    """Python interpreter of another environment, in which the simulator runs; "" is this one."""
    trust: FlagCreatePairsOff[bool] = False
    """Run the interpreter and import the module that the run's config.json names. Pass it for runs of your own."""
    video: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """Write a video of the first episode to this file (.mp4 or .gif)."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of a table, with the result of each episode."""

    def run(self) -> int:
        """Evaluate and print."""
        self._check()
        import torch

        from zoomrl.deploy.evaluate import environments, episode_seeds, run_episodes
        from zoomrl.deploy.load import load_policy
        from zoomrl.training.video import VideoRecorder, announcement

        # Acting takes small matmuls only: a second thread costs more than it saves.
        torch.set_num_threads(1)
        count = min(self.num_envs, self.episodes)
        policy = load_policy(self.path, num_envs=count, seed=self.seed)
        seeds = episode_seeds(self.seed, self.episodes)
        if not self.trust:
            check_code(self.path, policy.env if self.env_python is None else replace(policy.env, python=""))
        try:
            built = environments(policy, count, python=self.env_python)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}\n{_OWN}") from error
        with built as envs:
            if self.video is not None:
                _check_rendering(envs, seeds[0])
                print(announcement(self.video, policy.spec.time_limit), file=sys.stderr)
            if sys.stderr.isatty():
                print(f"running {plural(self.episodes, 'episode')} of {policy.spec.id} ...", file=sys.stderr)
            recorder = VideoRecorder() if self.video is not None else None
            result = run_episodes(policy, envs, seeds, recorder)
        row = {"run": str(self.path), "env": policy.spec.id, "env_steps": policy.env_steps, **result.row()}
        problem = None
        if self.video is not None and recorder is not None:
            recorder.save(self.video, policy.spec.control_hz or 30)
            problem = recorder.problem
            row |= {"video": str(self.video)} if problem is None else {"video_problem": problem}
        if self.json:
            row = finite_or_null({**row, "reports_success": policy.spec.reports_success})
            print(json.dumps(row, indent=2, allow_nan=False))
        else:
            _print_table(row, policy.spec.reports_success)
        if problem is not None:
            print(f"error: no video was made: {problem}", file=sys.stderr)
        # What was asked for is there, or the command failed.
        return 0 if problem is None and result.returns else 1

    def _check(self) -> None:
        """Refuse what cannot work, before anything slow is imported."""
        for name, value, low in (
            ("episodes", self.episodes, 1),
            ("num-envs", self.num_envs, 1),
            ("seed", self.seed, 0),
        ):
            if value < low:
                raise ConfigError(f"--{name} must be at least {low}, got {value}")
        if self.video is not None and self.video.suffix not in _SUFFIXES:
            raise ConfigError(f"a video is written as .mp4 or .gif, got {self.video.name!r}; change its suffix")


def _check_rendering(envs: VectorEnv, seed: int) -> None:
    """Render once before the work, so that it is not done in vain."""
    from zoomrl.training.video import probe_image

    reason = probe_image(envs, seed)
    if isinstance(reason, str):
        raise ZoomrlError(f"no video can be made: {reason}\n{rendering_fix(reason)}")


def _print_table(row: dict[str, Any], reports_success: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{row['env']}, {plural(row['episodes'], 'episode')}", show_header=False)
    if row["episodes_lost"]:
        lost = plural(row["episodes_lost"], "more episode")
        table.add_row("lost", f"{lost}, in which the simulator showed NaN or infinity")
    if row["episodes"]:
        _add_summary(table, row, reports_success)
    table.add_row("trained for", f"{row['env_steps']:,} environment steps")
    if "video" in row:
        table.add_row("video", row["video"])
    Console(emoji=False).print(table)


def _add_summary(table: Table, row: dict[str, Any], reports_success: bool) -> None:
    from zoomrl.training.intervals import mean_in_words

    if reports_success:
        interval = f"95 % interval {row['success_low']:.0%} to {row['success_high']:.0%}"
        count = f"{sum(row['successes'])} of {row['episodes']}"
        table.add_row("success", f"{row['success_rate']:.0%} ({count}; {interval})")
    table.add_row("return", mean_in_words(row["return_mean"], row["return_std"], row["episodes"]))
    table.add_row("", f"standard deviation over the episodes {row['return_std']:.3g}")
    if "value_predicted" in row:
        predicted, realised = row["value_predicted"], row["value_realised"]
        table.add_row("value", f"{predicted:.3g} predicted, {realised:.3g} realised (discounted, first agent step)")
    table.add_row("length", f"{row['length_mean']:.1f} agent steps")
