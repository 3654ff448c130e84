"""``zoomrl presets``."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from zoomrl.recipes.presets import PRESETS
from zoomrl.training.config import TrainConfig


@dataclass(frozen=True)
class Presets:
    """List the presets: named starting points for `zoomrl train --preset NAME`."""

    def run(self) -> int:
        """Print them."""
        print(preset_list(width=100))
        return 0


def preset_list(width: int = 78) -> str:
    """One entry per preset: its name and the first line of its description; those with the same one share an entry."""
    groups: dict[str, list[str]] = {}
    for name, build in PRESETS.items():
        groups.setdefault(_about(build), []).append(name)
    column = max(len(names[0]) for names in groups.values() if len(names) == 1) + 4
    entries = []
    for about, names in groups.items():
        if len(names) == 1:
            start = f"  {names[0]}".ljust(column)
            entries.append(textwrap.fill(about, width, initial_indent=start, subsequent_indent=" " * column))
        else:
            common = os.path.commonprefix(names)  # noqa: RUF071 (of names, not of paths)
            listed = ", ".join(name.removeprefix(common) for name in names)
            text = f"{about} One for each of: {listed}."
            start = f"  {common}..."
            entries += [
                start,
                textwrap.fill(
                    text, width, initial_indent=" " * column, subsequent_indent=" " * column, break_on_hyphens=False
                ),
            ]
    return "\n".join(entries)


def _about(build: Callable[[], TrainConfig]) -> str:
    function = build.func if isinstance(build, partial) else build
    return (function.__doc__ or "").strip().partition("\n")[0].replace("``", "")
