"""What an experiment is: arms, tasks, seeds, and the contrasts that are read from them. Plain data; loads no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes.compose import preset
from zoomrl.training.config import TrainConfig

SMALL, FULL = "small", "full"
Numbers = Mapping[str, float]
"""Metric -> its value in one cell."""


@dataclass(frozen=True)
class Claim:
    """What a paper says, in words of our own.

    Attributes:
        text: the statement.
        source: paper and its figure or table, or where else it was published.
        published: the published value or direction.
    """

    text: str
    source: str
    published: str


@dataclass(frozen=True)
class Arm:
    """One variant.

    Attributes:
        name: short; a part of the names of its files.
        about: what it is, in a sentence.
        options: what it changes: full names of options of training, of which ``preset`` and ``agent`` choose others;
            or, of a measured arm, whatever its measurement reads.
        measured: it is measured without a training run.
    """

    name: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)
    measured: bool = False


@dataclass(frozen=True)
class Contrast:
    """A question that the cells answer: a metric of one arm, alone or against that of another.

    Attributes:
        name: short.
        metric: what is compared.
        left, right: arms, paired by task and seed; without ``right`` the left arm's own value is looked at.
        expected: side of ``threshold`` on which the paper's statement lies.
        threshold: of the difference left minus right, of the value, or of the ratio.
        ratio: left divided by right is compared, and not their difference.
        claim: the statement that it tests.
        methods: left and right are methods of learning: the probability of improvement is told too.
    """

    name: str
    metric: str
    left: str
    right: str
    expected: Literal["above", "below"]
    claim: Claim
    threshold: float = 0.0
    ratio: bool = False
    methods: bool = False


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    Attributes:
        tasks: environment ids.
        seeds: of each task and arm.
        seconds: of one cell on one core, measured or, where ``guessed``, not.
        options: of all arms, by full name; those of an arm come before them.
        arms: the ones that are run; empty for all.
        only: arm -> the only tasks that it is run on; all of them where it is not named.
        needs: what must be at hand and is not installed with zoomrl, in a few words; empty for nothing.
        guessed: ``seconds`` is a guess.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    seconds: float
    options: Mapping[str, Any] = field(default_factory=dict)
    arms: tuple[str, ...] = ()
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: str = ""
    guessed: bool = False

    def tasks_of(self, arm: str) -> tuple[str, ...]:
        """The tasks that the arm is run on."""
        return tuple(task for task in self.tasks if task in self.only.get(arm, self.tasks))


@dataclass(frozen=True)
class Cell:
    """One measurement or training run: an arm on a task with a seed."""

    arm: str
    task: str
    seed: int

    @property
    def name(self) -> str:
        """As its files are called."""
        return f"{self.arm}-{self.task.replace(':', '-').replace('/', '-')}-s{self.seed}"


Configure = Callable[[Arm, str, int, Scale], TrainConfig]
Read = Callable[[Path], Numbers]
Measure = Callable[[Arm, str, int, Scale, Path], Numbers]


def from_options(arm: Arm, task: str, seed: int, scale: Scale) -> TrainConfig:
    """The config of a cell: the preset that the options name, with the other options, on one thread.

    Args:
        arm, scale: their options together; an arm's come first.
        task, seed: of the cell.

    Raises:
        ConfigError: the options do not go together.
    """
    options = {"threads": 1, "eval.video": False, "log.tensorboard": False, **scale.options, **arm.options}
    name, agent = options.pop("preset"), options.pop("agent", None)
    if "demos.source" in options:
        options["demos.source"] = named_for(options["demos.source"], task)
    return replace(preset(name, agent=agent, env=task, **options), seed=seed)


def named_for(path: str, task: str) -> str:
    """A path in which ``{task}`` stands for the last part of an environment id."""
    return path.replace("{task}", task.rpartition(":")[2])


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        name: as it is typed.
        title: what it asks, in a line.
        claims: what was published.
        arms: what is varied.
        scales: ``small`` for a CPU with little time, ``full`` for the paper's tasks.
        contrasts: what is asked of the cells.
        metrics: metric -> what it is, with its unit: those that a page shows.
        stop_rule: when it is over.
        deviations: from the paper, and what is left out.
        config: of a cell that trains.
        read: numbers of a run that has reached its end, from its directory.
        measure: numbers of a cell that is measured. It is called in a process of its own, and may keep what several
            cells need in the directory that it is given.

    Raises:
        ConfigError: two arms or contrasts have one name, a seed is there twice, or a contrast or scale names something
            that is not there.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    arms: tuple[Arm, ...]
    scales: Mapping[str, Scale]
    contrasts: tuple[Contrast, ...]
    metrics: Mapping[str, str]
    stop_rule: str
    deviations: tuple[str, ...] = ()
    config: Configure = from_options
    read: Read | None = None
    measure: Measure | None = None

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        asked = [contrast.name for contrast in self.contrasts]
        for what, given in (("arms", names), ("contrasts", asked)):
            if len(set(given)) < len(given):
                raise ConfigError(f"{self.name} has two {what} of one name: {', '.join(given)}")
        for contrast in self.contrasts:
            for arm in (contrast.left, contrast.right or contrast.left):
                if arm not in names:
                    raise unknown_name(f"arm of the contrast {contrast.name}", arm, names)
            if contrast.metric not in self.metrics:
                raise unknown_name(f"metric of the contrast {contrast.name}", contrast.metric, self.metrics)
            if contrast.ratio and not contrast.right:
                raise ConfigError(f"the contrast {contrast.name} of {self.name} is a ratio of one arm alone")
        for scale in self.scales.values():
            for arm in (*scale.arms, *scale.only):
                if arm not in names:
                    raise unknown_name(f"arm of a scale of {self.name}", arm, names)
            for task in (task for tasks in scale.only.values() for task in tasks):
                if task not in scale.tasks:
                    raise unknown_name(f"task of an arm of {self.name}", task, scale.tasks)
            if len(set(scale.seeds)) < len(scale.seeds) or len(set(scale.tasks)) < len(scale.tasks):
                raise ConfigError(f"a scale of {self.name} has a seed or task twice")
        if any(not arm.measured for arm in self.arms) and self.read is None:
            raise ConfigError(f"{self.name} trains, and reads nothing of its runs")
        if any(arm.measured for arm in self.arms) and self.measure is None:
            raise ConfigError(f"{self.name} has arms that are measured, and no measurement")

    def scale(self, name: str) -> Scale:
        """The scale called ``name``.

        Raises:
            ConfigError: there is none.
        """
        if name not in self.scales:
            raise unknown_name(f"scale of {self.name}", name, self.scales)
        return self.scales[name]

    def arm(self, name: str) -> Arm:
        """The arm called ``name``, which is there."""
        return next(arm for arm in self.arms if arm.name == name)

    def arms_of(self, scale: Scale) -> tuple[Arm, ...]:
        """The arms that are run at ``scale``."""
        return tuple(arm for arm in self.arms if not scale.arms or arm.name in scale.arms)

    def contrasts_of(self, scale: Scale) -> tuple[Contrast, ...]:
        """The contrasts whose arms are run at ``scale``."""
        there = {arm.name for arm in self.arms_of(scale)}
        return tuple(one for one in self.contrasts if {one.left, one.right or one.left} <= there)

    def cells(self, scale: Scale) -> Iterator[Cell]:
        """All cells, seed by seed, so that early results are of all arms."""
        for seed in scale.seeds:
            for task in scale.tasks:
                for arm in self.arms_of(scale):
                    if task in scale.tasks_of(arm.name):
                        yield Cell(arm.name, task, seed)

    def part(self, scale: Scale, which: str) -> list[Cell]:
        """The cells of a part such as ``2/3``: whole seeds where the parts are as many; all cells where it is empty.

        Raises:
            ConfigError: there is no such part.
        """
        cells = list(self.cells(scale))
        if not which:
            return cells
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", which, re.ASCII)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count <= len(cells):
            raise ConfigError(
                f"--part must be K/N with K from 1 to N and N at most {len(cells)}, the number of cells, such as 2/3; "
                f"got {which!r}"
            )
        return cells[len(cells) * (number - 1) // count : len(cells) * number // count]
