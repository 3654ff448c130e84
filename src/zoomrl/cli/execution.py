"""``zoomrl execution``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import to_type
from zoomrl.cli.trust import check_code
from zoomrl.errors import ConfigError
from zoomrl.files import finite_or_null

if TYPE_CHECKING:
    from zoomrl.deploy.execution import ExecutionChoice
    from zoomrl.training.evaluate import Evaluation


@dataclass(frozen=True)
class Execution:
    """Choose how a trained policy's chunks are executed, by episodes of their own, and test the choice on others."""

    path: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """Run directory (its newest checkpoint is taken; with eval.keep_best its best one), or a checkpoint file in one."""
    among: tuple[str, ...] = ()
    """Executions to try: ensemble, or how many actions of each chunk; empty tries the ensemble, 1, 2, 4 and so on."""
    choosing: int = 50
    """Episodes to choose by."""
    episodes: int = 50
    """Episodes to test the chosen execution and the run's own by: those of `zoomrl eval`."""
    seed: int = 0
    """Seed of the episodes."""
    num_envs: int = 5
    """Environments stepped together."""
    trust: FlagCreatePairsOff[bool] = False
    """Run the interpreter and import the module that the run's config.json names. Pass it for runs of your own."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of a table, with the result of each episode."""

    def run(self) -> int:
        """Choose, test and print."""
        for name, low in (("choosing", 1), ("episodes", 1), ("num_envs", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {low}, got {getattr(self, name)}")
        import torch

        from zoomrl.deploy.execution import choose_execution
        from zoomrl.training.run_files import read_config

        if not self.trust:
            check_code(self.path, read_config(self.path.parent.parent if self.path.is_file() else self.path).env)
        torch.set_num_threads(1)
        choice = choose_execution(
            self.path,
            among=self.among,
            choosing=self.choosing,
            episodes=self.episodes,
            seed=self.seed,
            num_envs=self.num_envs,
            say=lambda text: print(text, file=sys.stderr) if sys.stderr.isatty() else None,
        )
        if self.json:
            rows = {
                part: {name: result.row() for name, result in getattr(choice, part).items()}
                for part in ("tried", "tested")
            }
            found = finite_or_null({"run": str(self.path), "own": choice.own, "chosen": choice.chosen, **rows})
            print(json.dumps(found, indent=2, allow_nan=False))
        else:
            _print(choice, self.path)
        return 0


def _print(choice: ExecutionChoice, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="how chunks are executed")
    for heading in ("execution", "chosen by", "tested by"):
        table.add_column(heading, justify="left" if heading == "execution" else "right")
    for name, result in choice.tried.items():
        marks = [mark for mark, on in (("the run's own", name == choice.own), ("chosen", name == choice.chosen)) if on]
        label = name if name == "ensemble" else f"{name} of each chunk"
        tested = choice.tested.get(name)
        row = (f"{label} ({', '.join(marks)})" if marks else label, _told(result.row()))
        table.add_row(*row, "" if tested is None else _told(tested.row()))
    Console(emoji=False).print(table)
    if choice.chosen == choice.own:
        print("none of them is better than the run's own execution")
        return
    if _mean(choice.tested[choice.chosen]) < _mean(choice.tested[choice.own]):
        print("tested on other episodes, the chosen one is worse than the run's own: it may have been chosen by luck")
    print(f"export it so: {to_type('export', path, '--execution', choice.chosen, '--out', 'FOLDER')}")


def _mean(result: Evaluation) -> float:
    return result.return_mean if result.success_rate is None else result.success_rate


def _told(row: dict[str, Any]) -> str:
    """Success with its interval, or the mean return, over so many episodes; and how many were lost."""
    lost = f", {row['episodes_lost']} lost" if row["episodes_lost"] else ""
    if "success_rate" in row:
        interval = f"{row['success_low']:.0%} to {row['success_high']:.0%}"
        return f"{row['success_rate']:.0%} of {row['episodes']} ({interval}){lost}"
    return f"{row['return_mean']:.4g} over {row['episodes']}{lost}" if row["episodes"] else f"all{lost}"
