"""A grid of runs: every combination of presets, agents, environments, options and seeds, each with a name."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes.bigym import REACH
from zoomrl.recipes.compose import preset as compose
from zoomrl.recipes.hard import TASKS as HARD
from zoomrl.training.config import TrainConfig

SUITES: Mapping[str, tuple[str, ...]] = {"metaworld-hard": HARD, "bigym-reach": REACH}
"""Environments that one name stands for."""
_UNTOLD = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class Grid:
    """What is varied. Each part of it is an axis; runs are all combinations.

    Attributes:
        preset: where the other options come from.
        agent: algorithms; empty takes the preset's.
        env: environments by their ids, or several by a name of :data:`SUITES`; empty takes the preset's.
        seeds: of the runs.
        options: full name of a field -> the values that it takes, one after the other.

    Raises:
        ConfigError: an axis is empty, or names something twice.
    """

    preset: tuple[str, ...] = ("quickstart",)
    agent: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3, 4)
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "seed" in self.options:
            raise ConfigError("seeds are an axis of their own: name them with --seeds, as in --seeds 1-4")
        if "run_dir" in self.options:
            raise ConfigError(
                "the runs of a sweep lie in its own directory: name that with --out, and leave run_dir out"
            )
        axes = {"preset": self.preset, "seeds": self.seeds, **self.options}
        for name, values in {**axes, "agent": self.agent, "env": self.env}.items():
            if not values and name in axes:
                raise ConfigError(f"{name} has no value; give at least one")
            if len({repr(value) for value in values}) < len(values):
                raise ConfigError(f"{name} has one value twice: {', '.join(map(str, values))}")

    def runs(self) -> dict[str, TrainConfig]:
        """Name -> config, seed by seed, so that early results are of all combinations.

        A run learns on one thread, unless ``threads`` is among the options.

        Raises:
            ConfigError: a combination that cannot work; it is named.
        """
        options = {"threads": (1,), **self.options}
        axes: dict[str, Sequence[Any]] = {
            "preset": self.preset,
            "agent": self.agent or (None,),
            "env": [one for name in self.env for one in SUITES.get(name, (name,))] or (None,),
            **options,
        }
        found: dict[str, TrainConfig] = {}
        for seed in self.seeds:
            for combination in itertools.product(*axes.values()):
                values = dict(zip(axes, combination, strict=True))
                told = [_told(axis, value) for axis, value in values.items() if len(axes[axis]) > 1]
                name = "-".join([*told, f"s{seed}"])
                if name in found:
                    raise ConfigError(f"two runs would be called {name}; values of an axis must differ in their names")
                chosen = {axis: values[axis] for axis in options}
                try:
                    config = compose(values["preset"], agent=values["agent"], env=values["env"], **chosen)
                    found[name] = replace(config, seed=seed)
                except ConfigError as error:
                    raise ConfigError(f"the run {name} cannot be: {error}") from error
        return found


def read_grid(path: Path) -> Grid:
    """The grid that a TOML file describes: ``preset``, ``agent``, ``env``, ``seeds``, and a table ``set`` of options.

    Raises:
        ConfigError: the file cannot be read, or says something else.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no TOML file that can be read: {error}") from error
    known = ("preset", "agent", "env", "seeds", "set")
    for name in data:
        if name not in known:
            raise unknown_name(f"entry of {path.name}", name, known)
    table = data.get("set", {})
    if not isinstance(table, dict):
        raise ConfigError(f'{path}: set must be a table of options, as in [set] with "agent.lr" = [1e-3, 3e-4]')
    seeds = data.get("seeds", "1-4")
    return Grid(
        preset=_texts(path, "preset", data.get("preset", "quickstart")),
        agent=_texts(path, "agent", data.get("agent", [])),
        env=_texts(path, "env", data.get("env", [])),
        seeds=parse_seeds(",".join(map(str, seeds)) if isinstance(seeds, list) else str(seeds)),
        options={name: tuple(value) if isinstance(value, list) else (value,) for name, value in _flat(table)},
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """``1-4,7`` as (1, 2, 3, 4, 7). ConfigError for what is none."""
    seeds: list[int] = []
    for part in text.replace(" ", ",").split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found:
            raise ConfigError(f"seeds are whole numbers and ranges, as in 1-4,7; got {text!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last - first >= 10_000:
            raise ConfigError(f"seeds {part}: the last must not lie below the first, and 10,000 are the most")
        seeds += range(first, last + 1)
    return tuple(seeds)


def parse_option(text: str) -> tuple[str, tuple[Any, ...]]:
    """``agent.lr=1e-3,3e-4`` as its name and values; a list is written as ``[64,64]``, a text as it is.

    Raises:
        ConfigError: it has no name, or no value.
    """
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise ConfigError(f"an option to set is written NAME=VALUE or NAME=VALUE,VALUE; got {text!r}")
    return name.replace("-", "_"), tuple(_typed(part) for part in _split(values))


def _split(text: str) -> list[str]:
    """At the commas that are within no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _typed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _told(axis: str, value: Any) -> str:
    """What a run's name says of one axis."""
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = text.partition(":")[2] if axis == "env" else text
    label = "" if axis in ("preset", "agent", "env") else axis.rpartition(".")[2]
    return label + _UNTOLD.sub("-", text).rstrip("-")


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Full names and values: TOML reads ``agent.lr`` without quotes as a table in a table."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _texts(path: Path, name: str, value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ConfigError(f"{path}: {name} must be a text or a list of texts, got {value!r:.60}")
    return tuple(values)
