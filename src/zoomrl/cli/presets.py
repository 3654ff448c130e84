"""``zoomrl presets``."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from tyro.conf import Positional, arg

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes.presets import PRESETS
from zoomrl.recipes.recipe import Domain, Recipe

_TITLES: dict[Domain, str] = {
    "metaworld": "Meta-World",
    "dmc": "DeepMind Control",
    "bigym": "BiGym",
    "rlbench": "RLBench",
    "humanoidbench": "HumanoidBench",
    "ogbench": "OGBench",
    "gym": "Gymnasium",
    "demos": "Recordings without a simulator",
}
DomainName = Literal["", "metaworld", "dmc", "bigym", "rlbench", "humanoidbench", "ogbench", "gym", "demos"]
assert set(get_args(DomainName)) == {"", *_TITLES}


@dataclass(frozen=True)
class Presets:
    """List the presets: named starting points for `zoomrl train --preset NAME`."""

    name: Annotated[Positional[str], arg(metavar="[NAME]")] = ""
    """Show one preset, with the numbers that it has for each task; or all whose names hold this."""
    agent: str = ""
    """Only those of this algorithm."""
    domain: DomainName = ""
    """Only those for this kind of environment."""
    json: bool = False
    """Print them as JSON, with the numbers of each task."""

    def run(self) -> int:
        """Print them."""
        found = self.found()
        if self.json:
            print(json.dumps([_facts(name, recipe) for name, recipe in found.items()], indent=2))
        elif len(found) == 1:
            ((name, recipe),) = found.items()
            print(_whole(name, recipe))
        else:
            print(preset_list(found, width=100))
        return 0

    def found(self) -> dict[str, Recipe]:
        """Those that are asked for.

        Raises:
            ConfigError: there are none.
        """
        if self.name in PRESETS:
            return {self.name: PRESETS[self.name]}
        found = {
            name: recipe
            for name, recipe in PRESETS.items()
            if self.name in name
            and self.domain in ("", recipe.domain)
            and self.agent in ("", recipe.config().agent.name)
        }
        if not found:
            if not self.agent and not self.domain:
                raise unknown_name("preset", self.name, PRESETS)
            raise ConfigError("no preset is like that; `zoomrl presets` lists all of them")
        return found


def preset_list(recipes: Mapping[str, Recipe] = PRESETS, width: int = 78) -> str:
    """Names and descriptions, by domain."""
    column = max(map(len, recipes)) + 4
    lines = []
    for domain, title in _TITLES.items():
        chosen = {name: recipe for name, recipe in recipes.items() if recipe.domain == domain}
        lines += ["", title] if chosen else []
        for name, recipe in chosen.items():
            about = recipe.about
            if recipe.numbers:
                about += f" Own numbers for {len(recipe.numbers)} tasks."
            start = f"  {name}".ljust(column)
            lines.append(textwrap.fill(about, width, initial_indent=start, subsequent_indent=" " * column))
    return "\n".join(lines[1:])


def preset_names(width: int = 78) -> str:
    """The names alone, by domain."""
    lines = []
    for domain, title in _TITLES.items():
        names = ", ".join(name for name, recipe in PRESETS.items() if recipe.domain == domain)
        start = f"  {title}".ljust(max(map(len, _TITLES.values())) + 4)
        blank = " " * len(start)
        lines.append(textwrap.fill(names, width, initial_indent=start, subsequent_indent=blank, break_on_hyphens=False))
    return "\n".join(lines)


def _whole(name: str, recipe: Recipe) -> str:
    config = recipe.config()
    lines = [recipe.about, ""]
    facts = {
        "agent": config.agent.name,
        "environment": config.env.id
        or f"name one: --env {recipe.domain}:{'FOLDER' if recipe.domain == 'demos' else 'TASK'}",
        "steps": f"{config.steps:,}",
        "all options": f"zoomrl train --preset {name} --help",
    }
    lines += [f"{key:<14}{value}" for key, value in facts.items()]
    if recipe.numbers:
        lines += ["", "What --env changes:"]
        alike: dict[str, list[str]] = {}
        for task, numbers in recipe.numbers.items():
            alike.setdefault(_in_words(numbers.items()), []).append(task)
        for words, tasks in alike.items():
            lines += [
                textwrap.fill(", ".join(tasks), 100, initial_indent="  ", subsequent_indent="  "),
                f"      {words}",
            ]
    return "\n".join(lines)


def _in_words(numbers: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(
        f"{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in numbers
    )


def _facts(name: str, recipe: Recipe) -> dict[str, Any]:
    config = recipe.config()
    return {
        "name": name,
        "about": recipe.about,
        "agent": config.agent.name,
        "domain": recipe.domain,
        "env": config.env.id,
        "steps": config.steps,
        "tasks": recipe.numbers,
    }
