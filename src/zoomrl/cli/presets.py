"""``zoomrl presets``."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from zoomrl.recipes.presets import PRESETS


@dataclass(frozen=True)
class Presets:
    """List the presets: named starting points for `zoomrl train --preset NAME`."""

    def run(self) -> int:
        """Print them."""
        print(preset_list(width=100))
        return 0


def preset_list(width: int = 78) -> str:
    """One entry per preset: its name and the first line of its description."""
    column = max(map(len, PRESETS)) + 4
    entries = []
    for name, build in PRESETS.items():
        about = (build.__doc__ or "").strip().partition("\n")[0].replace("``", "")
        start = f"  {name}".ljust(column)
        entries.append(textwrap.fill(about, width, initial_indent=start, subsequent_indent=" " * column))
    return "\n".join(entries)
