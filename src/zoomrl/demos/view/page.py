"""The pages: one of an episode, and the index of a set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoomrl.data.episode import Episode
from zoomrl.demos.recorded import ASSUMED, success_in_words
from zoomrl.demos.view import svg
from zoomrl.demos.view.content import Content, make_content, page_data
from zoomrl.demos.view.document import bar, brief, definitions, lines, whole
from zoomrl.demos.view.grid import Grid
from zoomrl.demos.view.markup import Html, element
from zoomrl.errors import plural
from zoomrl.spec import EnvSpec, list_entries

INDEX = "index.html"
_STYLE, _SCRIPT = ("page.css",), ("time.js", "page.js")
Link = Callable[[str], str]
"""From the name of a page to what a link to it says."""


def episode_file(index: int) -> str:
    """Name of an episode's page."""
    return f"episode_{index}.html"


@dataclass(frozen=True)
class Row:
    """What the index says of an episode; without an account (:attr:`fault`) of one that cannot be read."""

    index: int
    steps: int = 0
    rewards_sum: float = 0.0
    success: str = "no"
    is_demo: bool = False
    seed: int = -1
    task: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Place:
    """Where an episode stands: its number in the set, those shown before and after it, and how pages are linked."""

    index: int
    before: int | None
    after: int | None
    total: int
    link: Link


def row_of(index: int, episode: Episode) -> Row:
    """What the index says of ``episode``; its observations are not needed."""
    return Row(
        index,
        len(episode),
        float(episode.rewards.sum(dtype=np.float64)),
        success_in_words(episode.success, episode.meta),
        episode.is_demo,
        episode.seed,
        task_of(episode.meta),
    )


def task_of(meta: Mapping[str, Any]) -> str:
    """The task's text, or texts, in the meta of an episode or a set; empty where there is none."""
    for name in ("tasks", "task", "language_instruction", "instruction"):
        if value := meta.get(name):
            return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return ""


def episode_page(episode: Episode, spec: EnvSpec, grid: Grid, place: Place, set_meta: Mapping[str, Any]) -> str:
    """The page of one episode."""
    content = make_content(episode, spec, grid)
    title = f"episode {place.index} of {spec.id}"
    side = element("div", _cameras(content), _facts(episode, content, grid, set_meta), class_="side")
    plots = element(
        "div", *_action_plots(content, spec, grid), *_other_plots(content), class_="all", aria_label="plots over time"
    )
    body = [
        _episode_header(episode, place),
        element("main", side, plots, class_="episode"),
        bar(len(content.at)),
    ]
    return whole(title, body, page_data(content, grid, spec.control_hz), _STYLE, _SCRIPT)


def index_page(spec: EnvSpec, meta: Mapping[str, Any], rows: Sequence[Row], shown: Sequence[int], link: Link) -> str:
    """The index.

    Args:
        spec: of the set.
        meta: of the set.
        rows: of all its episodes.
        shown: episodes that have a page.
        link: to their pages.
    """
    read = [row for row in rows if not row.fault]
    lengths, sums = [row.steps for row in read], [row.rewards_sum for row in read]
    failed = len(rows) - len(read)
    counted = (
        f"{len(rows):,} ({sum(row.is_demo for row in read):,} demonstrations, "
        f"{sum(row.success != 'no' for row in read):,} successful{_assumed(read)})"
    )
    facts: list[tuple[str, object]] = [
        ("episodes", counted + (f", {failed:,} cannot be read" if failed else "")),
        ("length", _spread(lengths, "steps in all")),
        ("return", _spread(sums, "in all")),
        ("observed", ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in spec.observations.items())),
        ("state made of", list_entries(spec.state_entries) if spec.state_dim else ""),
        ("cameras", ", ".join(spec.cameras)),
        ("rendered with", ", ".join(spec.rendering)),
        ("images fitted by", spec.fitting if spec.fits_images else ""),
        ("actions", f"{plural(spec.action_dim, 'dimension')}{_meanings(spec)}"),
        ("control rate", f"{spec.control_hz:g} Hz" if spec.control_hz else "unknown"),
        ("time limit", plural(spec.time_limit, "step") if spec.time_limit else "unknown"),
        ("reward", spec.reward),
        *_meta(meta),
    ]
    chosen = set(shown)
    part = f"{len(chosen):,} of {plural(len(rows), 'episode')} have a page" if len(chosen) < len(rows) else ""
    heads = ("episode", "steps", "return", "success", "demo", "seed")
    tasks = any(row.task for row in rows)
    table = element(
        "table",
        element(
            "thead",
            element("tr", *(element("th", head, scope="col") for head in heads), _cell("task", "th") if tasks else ""),
        ),
        element("tbody", *(_table_row(row, tasks, link) for row in rows if row.index in chosen)),
    )
    body = [
        element("header", element("h1", "Demonstrations of ", spec.id)),
        element("main", definitions(facts), element("h2", "Episodes"), element("p", part, class_="quiet"),
                element("div", table, class_="scroll")),
    ]  # fmt: skip
    return whole(f"demonstrations of {spec.id}", body, {}, _STYLE, _SCRIPT)


# ---- parts of an episode's page ---------------------------------------------------------------------------


def _episode_header(episode: Episode, place: Place) -> Html:
    def step(relation: str, text: str, index: int | None) -> Html:
        if index is None:
            return element("span", text, class_="quiet")
        return element("a", text, rel=relation, href=place.link(episode_file(index)))

    return element(
        "header",
        element("h1", f"Episode {place.index}"),
        element("span", f"of {place.total:,}", class_="quiet"),
        _outcome(success_in_words(episode.success, episode.meta)),
        element("span", "demonstration" if episode.is_demo else "not to be imitated", class_="badge"),
        element(
            "nav",
            step("prev", "← previous", place.before),
            element("a", "all episodes", href=place.link(INDEX)),
            step("next", "next →", place.after),
        ),
    )


def _outcome(success: str) -> Html:
    if success == "no":
        return element("span", "failed", class_="badge bad")
    said = "success" if success == "yes" else "success assumed"
    return element("span", said, class_="badge good" if success == "yes" else "badge")


def _assumed(rows: Sequence[Row]) -> str:
    count = sum(row.success == ASSUMED for row in rows)
    return f", {count:,} of these assumed" if count else ""


def _cameras(content: Content) -> Html:
    figures = [
        element(
            "figure",
            element("canvas", role="img", aria_label=f"camera {camera.name}"),
            *(
                element("img", class_="sheet", src=sheet, alt=f"images of camera {camera.name} in rows, in order")
                for sheet in camera.sheets.data
            ),
            element("figcaption", camera.name),
            data_camera=number,
        )
        for number, camera in enumerate(content.cameras)
    ]
    return element("div", *figures, class_="cameras") if figures else Html("")


def _facts(episode: Episode, content: Content, grid: Grid, set_meta: Mapping[str, Any]) -> Html:
    ends = [name for name, is_so in (("terminated", episode.terminated), ("truncated", episode.truncated)) if is_so]
    task = task_of(episode.meta) or task_of(set_meta)
    facts: list[tuple[str, object]] = [
        ("task", task),
        ("steps", f"{content.steps:,}"),
        ("return", f"{float(episode.rewards.sum(dtype=np.float64)):.5g}"),
        ("success", success_in_words(episode.success, episode.meta)),
        ("demonstration", "yes" if episode.is_demo else "no"),
        ("ended", " and ".join(ends) or "neither terminated nor truncated"),
        ("seed", episode.seed if episode.seed >= 0 else "unknown"),
        ("grid", f"{plural(grid.levels, 'level')} of {grid.bins} bins, {grid.cells:,} cells, over {grid.over}"),
        *_meta(episode.meta),
        ("shown", "; ".join(content.said)),
    ]
    keys = "Arrow keys move through time, with Shift through the episodes; the space bar plays."
    return element("div", definitions(facts), element("p", keys, class_="quiet now"))


def _action_plots(content: Content, spec: EnvSpec, grid: Grid) -> list[Html]:
    low, high = grid.scaler.low, grid.scaler.high
    figures = []
    for index, cells in enumerate(content.cells):
        meaning = f" ({spec.action_meaning[index]})" if index < len(spec.action_meaning) else ""
        fixed = not grid.scaler.movable[index]
        beyond = content.beyond[index]
        notes = ["has no range: the grid has nothing to choose"] if fixed else []
        if beyond and not fixed:
            notes.append(f"{plural(beyond, 'step')} beyond the range, shown at its edge")
        visited = len(np.unique(cells // grid.bins ** (grid.levels - 1)))
        notes.append(f"{visited} of {grid.bins} bins of level 1, {plural(len(np.unique(cells)), 'cell')} of the last")
        area = element(
            "div",
            svg.action_plot(content.at, content.unit[index], cells, grid),
            element("span", brief(high[index]), class_="most"),
            element("span", brief(low[index]), class_="least"),
            element("div", class_="cursor"),
            class_="area",
        )
        path = grid.path(content.cells[:, 0])[:, index]
        figures.append(
            element(
                "div",
                element("div", element("b", f"action {index}{meaning}"), element("span", class_="now"), class_="head"),
                element("div", area, svg.ladder(path, grid.bins), class_="row"),
                element("p", "; ".join(notes), class_="quiet"),
                class_="plot",
                data_action=index,
            )
        )
    about = (
        "The line is the action, the filled band behind it the cell that the grid gives it, and the shaded bins those "
        "of level 1 that the episode takes."
    )
    zoom = " To the right, the bins of one step, coarsest level first."
    return [
        element("h2", "Actions on the zoom grid"),
        element("p", about, element("span", zoom, class_="now"), class_="quiet"),
        element("div", *figures, class_="plots"),
    ]


def _other_plots(content: Content) -> list[Html]:
    found = []
    if content.plots:
        figures = [
            lines(plot.name, plot.labels, plot.values, content.at, _part(plot.labels), data_observation=number)
            for number, plot in enumerate(content.plots)
        ]
        found += [element("h2", "Observed"), element("div", *figures, class_="plots")]
    rewards = lines("reward of a step", ("",), content.rewards[None], content.at, data_reward=True)
    return [*found, element("h2", "Rewards"), element("div", rewards, class_="plots")]


def _part(labels: Sequence[str]) -> str:
    """By which numbers of a name that is split over several plots are told apart."""
    return f" {labels[0]} to {labels[-1]}" if len(labels) > 1 else ""


# ---- parts of both ----------------------------------------------------------------------------------------


def _table_row(row: Row, tasks: bool, link: Link) -> Html:
    number = element("a", row.index, href=link(episode_file(row.index)))
    if row.fault:
        return element("tr", element("td", row.index), element("td", row.fault, class_="text bad", colspan=6))
    return element(
        "tr",
        element("td", number),
        element("td", f"{row.steps:,}"),
        element("td", f"{row.rewards_sum:.5g}"),
        element("td", element("span", "no", class_="bad") if row.success == "no" else row.success),
        element("td", "yes" if row.is_demo else "no"),
        element("td", row.seed if row.seed >= 0 else "unknown"),
        _cell(row.task) if tasks else "",
    )


def _cell(text: str, kind: str = "td") -> Html:
    return element(kind, text, class_="text")


def _meta(meta: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What a set says of itself. Its names are marked, so that they pass for none of ours."""
    most = 40
    said: list[tuple[str, object]] = []
    for name, value in list(meta.items())[:most]:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        said.append((f"meta: {name}", text))
    return said + ([("meta", f"{len(meta) - most:,} more entries")] if len(meta) > most else [])


def _meanings(spec: EnvSpec) -> str:
    return f": {', '.join(spec.action_meaning)}" if spec.action_meaning else ""


def _spread(values: Sequence[float], total: str) -> str:
    if not values:
        return ""
    low, middle, high, whole = min(values), float(np.median(values)), max(values), sum(values)
    return f"{low:.5g} to {high:.5g}, median {middle:.5g}, {whole:,.6g} {total}"
