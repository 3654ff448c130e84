"""``zoomrl doctor``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import FlagCreatePairsOff

from zoomrl.errors import install_command

if TYPE_CHECKING:
    from rich.console import Console

    from zoomrl.cli.checks import Diagnosis

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]--[/]", "failed": "[red]FAILED[/]"}


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what this machine can do, and how to get what is missing."""

    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Diagnosis and print; 0 when training can run."""
        from rich.console import Console

        from zoomrl.cli import checks

        found: list[Diagnosis] = []
        with Console(stderr=True, emoji=False).status("looking around ..."):
            found += checks.check_core() + checks.check_simulators() + checks.check_tools() + checks.check_extras()
            found += checks.check_machine() + checks.check_rendering()
        backend = checks.chosen_backend()
        can_train = all(check.status != "failed" for check in found)
        can_render = any(c.group == "rendering" and c.name == backend and c.status == "ok" for c in found)
        if self.json:
            verdict = {"can_train": can_train, "can_render": can_render, "backend": backend}
            print(json.dumps({**verdict, "checks": [dataclasses.asdict(c) for c in found]}, indent=2))
        else:
            console = Console(emoji=False)
            _print_table(console, found)
            for line in _verdict(found, backend, can_train, can_render):
                console.print(line, highlight=False)
        return 0 if can_train else 1


def _print_table(console: Console, found: Sequence[Diagnosis]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    group = ""
    for check in found:
        if check.group != group:
            group = check.group
            table.add_row(f"[bold]{group}[/]", "", "")
        detail = escape(check.detail) + (f"\n[cyan]{escape(check.fix)}[/]" if check.fix else "")
        table.add_row(f"  {check.name}", _MARKS[check.status], detail)
    console.print(table)


def _verdict(found: Sequence[Diagnosis], backend: str, can_train: bool, can_render: bool) -> list[str]:
    from rich.markup import escape

    lines = ["", "Training can run." if can_train else "Training cannot run until what FAILED is mended."]
    working = [c.name for c in found if c.group == "rendering" and c.status == "ok"]
    if can_render:
        lines.append(f"Videos and camera images can be made; zoomrl renders with {backend}.")
    elif working:
        lines.append(
            f"zoomrl would render with {backend}, which does not work here. "
            f"{working[0]} does: export MUJOCO_GL={working[0]}"
        )
    else:
        lines.append("Neither videos nor camera images can be made here yet; training from state needs neither.")
    if not any(c.name == "Meta-World" and c.status == "ok" for c in found):
        lines.append(escape(f"Meta-World's presets, quickstart among them, need: {install_command('metaworld')}"))
    return lines
