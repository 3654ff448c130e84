"""``zoomrl presets``."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from zoomrl.recipes.presets import PRESETS
from zoomrl.training.config import TrainConfig


@dataclass(frozen=True)
class Presets:
    """List the presets: named starting points for `zoomrl train --preset NAME`."""

    def run(self) -> int:
        """Print them."""
        print(preset_list(width=100, most=0))
        return 0


def preset_list(width: int = 78, most: int = 5) -> str:
    """One entry per preset: its name and the first line of its description.

    Those that differ in the task alone share an entry, which names ``most`` of them (0: all).
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, build in PRESETS.items():
        # The task comes last among the arguments.
        shared = build.args[:-1] if isinstance(build, partial) else ()
        groups.setdefault((_about(build), *shared), []).append(name)
    column = max(len(names[0]) for names in groups.values() if len(names) == 1) + 4
    entries = []
    for (about, *_), names in groups.items():
        if len(names) == 1:
            start = f"  {names[0]}".ljust(column)
            entries.append(textwrap.fill(about, width, initial_indent=start, subsequent_indent=" " * column))
        else:
            common = os.path.commonprefix(names)  # noqa: RUF071 (of names, not of paths)
            listed = [name.removeprefix(common) for name in names]
            if most and len(listed) > most:
                listed[most:] = [f"and {len(listed) - most} more"]
            text = f"{about} One for each of: {', '.join(listed)}."
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
