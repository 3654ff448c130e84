"""What is in a demonstration set, and how well a zoom grid can represent its actions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.entries import is_imported
from zoomrl.demos.recorded import ASSUMED
from zoomrl.demos.store.reader import DemoSet
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.spec import StateEntry, list_entries

if TYPE_CHECKING:
    from rich.console import Group

SATURATION_TOLERANCE = 1e-6
"""Distance from a bound, in normalised units, up to which an action counts as lying on it."""


@dataclass(frozen=True)
class Spread:
    """Smallest, median, largest and sum of one number per episode."""

    min: float
    median: float
    max: float
    total: float


@dataclass(frozen=True)
class DimensionSummary:
    """One action dimension over all steps of all episodes.

    Attributes:
        min, max, mean, std: in the environment's units.
        saturated: fraction of steps on a bound.
        coverage: per level l = 1 .. levels, the fraction of its ``bins ** l`` cells that hold an action.
        beyond_outermost: fraction of steps further out than the outermost cell centre of the last level: the
            grid pulls them inwards.
        max_error: largest distance to the centre of the action's cell at the last level, in the
            environment's units.
    """

    min: float
    max: float
    mean: float
    std: float
    saturated: float
    coverage: tuple[float, ...]
    beyond_outermost: float
    max_error: float


@dataclass(frozen=True)
class DemoSummary:
    """Counts and statistics of a set.

    Attributes:
        env: environment id.
        observations: name -> dtype and shape of one frame, for example ``uint8[2, 64, 64, 3]``.
        state_entries: the parts of ``state`` in their order; empty when unknown.
        cameras: names of the views of ``rgb``.
        rendering: what its images were rendered with; None for images that another program recorded.
        fitting: how they were cropped and fitted; empty where they were not, or nothing is known.
        episodes, demos, successes: counts; ``demos`` are those that imitation may copy.
        assumed: successes that nothing recorded tells.
        lengths: agent steps per episode.
        returns: undiscounted sum of rewards per episode.
        duplicates: episodes whose actions equal those of an earlier one.
        idle: fraction of steps whose action is zero in every dimension.
        levels, bins: of the grid that the dimensions are measured against.
        dimensions: one entry per action dimension.
        sha256: hash of the content.
    """

    env: str
    observations: dict[str, str]
    state_entries: tuple[StateEntry, ...]
    cameras: tuple[str, ...]
    rendering: tuple[str, ...] | None
    fitting: str
    episodes: int
    demos: int
    successes: int
    assumed: int
    lengths: Spread
    returns: Spread
    duplicates: int
    idle: float
    levels: int
    bins: int
    dimensions: tuple[DimensionSummary, ...]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable form."""
        return asdict(self)


def summarise(demos: DemoSet, levels: int = 3, bins: int = 5) -> DemoSummary:
    """Measure ``demos`` against a grid of ``levels`` levels with ``bins`` bins each.

    Failed episodes count like the others; filter ``demos.episodes`` first to leave them out.

    Raises:
        ConfigError: for less than one level or two bins.
        DemonstrationError: for a set without episodes or without action bounds.
    """
    check_grid(levels, bins)
    if not demos.episodes:
        raise DemonstrationError("there is nothing to summarise: the set has no episodes")
    bounds = demos.spec.action
    if bounds.low is None or bounds.high is None:
        raise DemonstrationError(f"the set recorded in {demos.spec.id} declares no action bounds")
    actions = np.concatenate([episode.actions for episode in demos.episodes]).astype(np.float64)
    keys = {(episode.actions.shape, episode.actions.tobytes()) for episode in demos.episodes}
    return DemoSummary(
        env=demos.spec.id,
        observations={name: f"{a.dtype}{list(a.shape)}" for name, a in demos.spec.observations.items()},
        state_entries=demos.spec.state_entries,
        cameras=demos.spec.cameras,
        rendering=None if is_imported(demos.meta) else demos.spec.rendering,
        fitting=demos.spec.fitting if demos.spec.fits_images else "",
        episodes=len(demos.episodes),
        demos=len(demos.demos),
        successes=sum(episode.success for episode in demos.episodes),
        assumed=sum(episode.meta.get("success") == ASSUMED for episode in demos.episodes),
        lengths=_spread([len(episode) for episode in demos.episodes]),
        returns=_spread([float(episode.rewards.sum(dtype=np.float64)) for episode in demos.episodes]),
        duplicates=len(demos.episodes) - len(keys),
        idle=float((actions == 0.0).all(axis=1).mean()),
        levels=levels,
        bins=bins,
        dimensions=tuple(
            measure_dimension(actions[:, dim], bounds.low[dim], bounds.high[dim], levels, bins)
            for dim in range(demos.spec.action_dim)
        ),
        sha256=demos.sha256,
    )


def check_grid(levels: int, bins: int) -> None:
    """ConfigError for less than one level or two bins."""
    if levels < 1 or bins < 2:
        raise ConfigError(f"a grid needs at least 1 level and 2 bins, got levels={levels}, bins={bins}")


def _spread(values: list[int] | list[float]) -> Spread:
    array = np.asarray(values, np.float64)
    return Spread(float(array.min()), float(np.median(array)), float(array.max()), float(array.sum()))


def measure_dimension(values: NDArray[np.float64], low: float, high: float, levels: int, bins: int) -> DimensionSummary:
    """How a grid from ``low`` to ``high`` fits the values [N] of one action dimension; where they are equal, well."""
    half = (high - low) / 2
    normal = (values - low) / half - 1.0 if half else np.zeros_like(values)
    finest = bins**levels
    centres = (_cells(normal, finest) + 0.5) * 2.0 / finest - 1.0
    return DimensionSummary(
        min=float(values.min()),
        max=float(values.max()),
        mean=float(values.mean()),
        std=float(values.std()),
        saturated=float((np.abs(normal) >= 1.0 - SATURATION_TOLERANCE).mean()),
        coverage=tuple(_coverage(normal, bins**level) for level in range(1, levels + 1)),
        beyond_outermost=float((np.abs(normal) > 1.0 - 1.0 / finest).mean()),
        max_error=float(np.abs(normal - centres).max() * half),
    )


def _coverage(normal: NDArray[np.float64], cells: int) -> float:
    return len(np.unique(_cells(normal, cells))) / cells


def _cells(normal: NDArray[np.float64], cells: int) -> NDArray[np.int64]:
    return np.clip(np.floor((normal + 1.0) / 2.0 * cells), 0, cells - 1).astype(np.int64)


def render_table(summary: DemoSummary) -> Group:
    """The summary for the terminal: an overview and one row per action dimension."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    overview = Table(title=f"Demonstrations of {summary.env}", show_header=False)
    rendering, ours = summary.rendering or (), summary.rendering is not None
    images = (
        ("cameras", ", ".join(summary.cameras)),
        *((("rendered with", ", ".join(rendering) or "no shadows, reflections or antialiasing"),) if ours else ()),
    )
    assumed = f", {summary.assumed} of these assumed" if summary.assumed else ""
    for name, value in (
        ("observed", ", ".join(f"{name} {array}" for name, array in summary.observations.items())),
        *((("state made of", list_entries(summary.state_entries)),) if "state" in summary.observations else ()),
        *(images if summary.cameras else ()),
        *((("images fitted by", summary.fitting),) if summary.fitting else ()),
        ("episodes", f"{summary.episodes} ({summary.demos} demos, {summary.successes} successful{assumed})"),
        ("length", _describe(summary.lengths)),
        ("return", _describe(summary.returns)),
        ("duplicates", str(summary.duplicates)),
        ("idle steps", f"{summary.idle:.1%}"),
        ("sha256", summary.sha256[:16]),
    ):
        overview.add_row(name, escape(value))  # names of entries hold brackets

    finest = summary.bins**summary.levels
    actions = Table(title=f"Actions on a grid of {summary.levels} levels with {summary.bins} bins ({finest} cells)")
    # Coverage of all levels in one column: the table fits 80 characters.
    for heading in ("dim", "min", "max", "mean", "std", "at bound", "cells met", "beyond", "error"):
        actions.add_column(heading, justify="right", no_wrap=heading == "cells met")
    for index, dim in enumerate(summary.dimensions):
        actions.add_row(
            str(index),
            *(f"{value:.2g}" for value in (dim.min, dim.max, dim.mean, dim.std)),
            f"{dim.saturated:.0%}",
            "/".join(f"{100 * fraction:.0f}" for fraction in dim.coverage) + "%",
            f"{dim.beyond_outermost:.0%}",
            f"{dim.max_error:.2g}",
        )
    return Group(overview, actions)


def _describe(spread: Spread) -> str:
    return f"{spread.min:g} to {spread.max:g}, median {spread.median:g}, total {spread.total:g}"
