"""``zoomrl env check``."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.envs.check.base import Check

_UNASKED = EnvConfig(id="")
_MARKS = {"ok": "[green]ok[/]", "note": "[cyan]note[/]", "warning": "[yellow]warning[/]", "error": "[red]ERROR[/]"}


@dataclass(frozen=True)
class Environments:
    """Examine an environment: its spaces, its contract, its seeds and its speed."""

    command: Positional[Annotated[Literal["check"], arg(metavar="check")]]
    """What to do."""
    id: Positional[str]
    """Environment id, for example gym:package:Id-v0."""
    steps: int = 1000
    """Most agent steps of each episode, and of each measurement."""
    sizes: tuple[int, ...] = ()
    """Sizes of images to measure the speed with, in pixels; needs --env.cameras."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of a table."""
    env: EnvConfig = field(default_factory=lambda: _UNASKED)

    def run(self) -> int:
        """Examine and print; 1 when there is an error."""
        from rich.console import Console

        from zoomrl.envs.check.check import check_env
        from zoomrl.envs.registry import can_step

        if self.env.id not in ("", self.id):
            raise ConfigError(f"{self.id} and --env.id {self.env.id} name two environments; leave --env.id out")
        if not can_step(self.id):
            raise ConfigError(
                f"{self.id} is a demonstration set, and nothing to step; examine it with: zoomrl demos check"
            )
        with Console(stderr=True, emoji=False).status(f"examining {self.id} ..."):
            found = check_env(replace(self.env, id=self.id), steps=self.steps, sizes=self.sizes)
        errors = sum(check.status == "error" for check in found)
        if self.json:
            content = {"env": self.id, "usable": errors == 0, "checks": [check.to_dict() for check in found]}
            print(json.dumps(content, indent=2))
        else:
            # Into a pipe or file nothing limits the width; rich would cut the lines short at 80 columns.
            console = Console(width=None if sys.stdout.isatty() else 120, emoji=False)
            console.print(_table(self.id, found))
            counts: Counter[str] = Counter(check.status for check in found)
            console.print(", ".join(f"{counts[name]} {name}" for name in _MARKS), highlight=False)
            if "--debug" in sys.argv or os.environ.get("ZOOMRL_DEBUG", "0") not in ("", "0"):
                for check in found:
                    console.print(check.trace, end="", highlight=False, markup=False)
            elif any(check.trace for check in found):
                console.print("--debug shows where exceptions came from", highlight=False)
        return 1 if errors else 0


def _table(env_id: str, found: Sequence[Check]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Examination of {env_id}")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what was found, and what to change", overflow="fold")
    for before, check in zip((None, *found), found, strict=False):
        if before is None or before.group != check.group:
            table.add_row(f"[bold]{check.group}[/]", "", "")
        fix = f"\n[cyan]{escape(check.fix)}[/]" if check.fix else ""
        table.add_row(f"  {check.name}", _MARKS[check.status], escape(check.detail) + fix)
    return table
