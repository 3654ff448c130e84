"""``zoomrl export``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import to_type
from zoomrl.cli.trust import check_code
from zoomrl.errors import ConfigError, plural

if TYPE_CHECKING:
    from zoomrl.deploy.export import Exported


@dataclass(frozen=True)
class Export:
    """Write the policy of a run as a bundle, which acts with NumPy and onnxruntime alone."""

    path: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """Run directory (its newest checkpoint is taken; with eval.keep_best its best one), or a checkpoint file in one."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder of the bundle to write."""
    observations: int = 10_000
    """Stored observations of the run on which the graph is compared with PyTorch, at most; 0 for none."""
    episodes: int = 0
    """Episodes that both run, on the same seeds, to compare their success; 0 for none."""
    seed: int = 0
    """Seed of these episodes."""
    execution: Annotated[str, arg(metavar="HOW", help_behavior_hint="(default: the run's own)")] = ""
    """How chunks are executed: ensemble, or so many actions of each; `zoomrl execution` compares them."""
    trust: FlagCreatePairsOff[bool] = False
    """Let these episodes run the interpreter and import the module that the run's config.json names."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace a bundle that is there already."""

    def run(self) -> int:
        """Export, and say what was measured."""
        for name in ("observations", "episodes", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name} must be at least 0, got {getattr(self, name)}")
        import torch

        from zoomrl.deploy.export import export
        from zoomrl.training.run_files import read_config

        if self.episodes and not self.trust:
            check_code(self.path, read_config(self.path.parent.parent if self.path.is_file() else self.path).env)
        torch.set_num_threads(1)

        def say(text: str) -> None:
            if sys.stderr.isatty():
                print(text, file=sys.stderr)

        done = export(
            self.path,
            self.out,
            observations=self.observations,
            episodes=self.episodes,
            seed=self.seed,
            execution=self.execution,
            overwrite=self.overwrite,
            say=say,
        )
        _report(done)
        return 0


def _report(done: Exported) -> None:
    for path in sorted(done.folder.iterdir()):
        print(f"{path.name:<20}{path.stat().st_size / 1e6:8.2f} MB")
    parity = done.parity
    if parity is None or not parity.observations:
        print("compared            nothing: no observations were asked for, or none are stored")
    else:
        row = parity.row()
        print(f"compared            {parity.observations:,} observations with PyTorch")
        if parity.bins:
            print(f"equal bins          {row['equal_bins']:.4%} ({parity.flips:,} of {parity.bins:,} differ)")
            if parity.tied_gaps:
                tied = plural(len(parity.tied_gaps), "action component")
                print(f"                    in {tied} all bins are tied where they part: any is right")
            if parity.gaps:
                print(f"                    else the best two values are within {max(parity.gaps):.1e} of the range")
        others = ", where bins are equal" if parity.bins else ""
        print(f"largest difference  {parity.largest_difference:.1e} of half an action's range{others}")
        print(f"one inference       {row['p50_ms']:.2f} ms (median), {row['p99_ms']:.2f} ms (99 %)")
    if (pair := done.success) is not None:
        print(f"returns             {pair['return_torch']:.4g} PyTorch, {pair['return_bundle']:.4g} bundle", end="")
        print(f", over {pair['episodes']} paired episodes")
        if "mcnemar_p" in pair:
            print(
                f"success             {pair['success_torch']:.1%} PyTorch, {pair['success_bundle']:.1%} bundle "
                f"(McNemar's test: p = {pair['mcnemar_p']:.2f})"
            )
    if not done.control_hz:
        print("control rate        unknown: `zoomrl demos import --control-hz`, or the environment, tells it")
    print(f"wrote {done.folder}")
    print(f"serve it with: {to_type('serve', done.folder)}")
