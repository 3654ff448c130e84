"""The page: values of every bin over time, as heat maps that a script colours."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.view import svg
from zoomrl.demos.view.content import numbers
from zoomrl.demos.view.document import bar, brief, definitions, lines, whole
from zoomrl.demos.view.images import Sheets, make_sheets
from zoomrl.demos.view.markup import Html, element, plain
from zoomrl.errors import plural
from zoomrl.lens.record import EpisodeRecord, Lens

_FOLDER = Path(__file__).parent
_STEPS = 65535
"""Steps that the values of a level are kept in, from the lowest to the highest at one agent step."""


@dataclass(frozen=True)
class Part:
    """What a page holds of an episode: its elements, the data of its script, and what chooses it."""

    html: Html
    data: dict[str, Any]
    label: str
    said: tuple[str, ...]


def make_part(lens: Lens, record: EpisodeRecord, number: int) -> Part:
    """The part of an episode, ``number`` on its page."""
    at = (*record.at.tolist(), record.steps)
    sheets = [(name, make_sheets(images, range(len(images)))) for name, images in record.cameras]
    spread = record.spread(lens.movable)
    realised = record.returns[record.at]
    rewards = np.add.reduceat(record.rewards.astype(np.float64), record.at)
    keys = tuple(f"{name}:" for name in _level_names(lens.levels))
    whole = len(record.at) == record.steps
    plots = [
        ("value", [record.value.astype(np.float64), realised], ("predicted:", "realised return:")),
        ("reward of a step" if whole else "rewards until the next step that is shown", [rewards], ("",)),
        ("sibling spread", list(spread.T), keys),
    ]
    if record.agreement is not None:
        agreement = np.nan_to_num(record.agreement.astype(np.float64))
        plots.append(("agreement with the demonstration", list(agreement.T), keys))
    figures = [
        lines(
            name,
            names,
            np.stack(values),
            at,
            over=_solved(record) if not index else (),
            data_plot=index,
        )
        for index, (name, values, names) in enumerate(plots)
    ]
    marked = element("p", "Vertical dashes: the steps at which success was reported.", class_="quiet")
    html = element(
        "section",
        element(
            "div",
            _cameras(sheets),
            element("p", class_="reading now", aria_live="off"),
            _facts(lens, record),
            class_="side",
        ),
        element(
            "div",
            element("h2", "Over time"),
            marked if record.solved else "",
            element("div", *figures, class_="plots"),
            element("h2", "Values of the bins", class_="now"),
            element("div", class_="slot"),
            element("div", *_maps(lens, record), class_="plots maps now"),
            class_="all",
        ),
        class_="episode",
        data_episode=number,
        aria_label=record.name,
    )
    data = {
        "name": plain(record.name),
        "taken": "demonstrated" if record.demonstration else "executed",
        "steps": record.steps,
        "at": record.at.tolist(),
        **quantised(record.values, lens.movable),
        "chosen": _packed(record.chosen.astype(np.int8)),
        "marks": _packed(record.taken.astype(np.int8)),
        "fresh": record.fresh.astype(int).tolist(),
        "plots": [[numbers(row) for row in values] for _, values, _ in plots],
        "cameras": [
            {"width": s.width, "height": s.height, "pitch": s.pitch, "columns": s.columns, "rows": s.rows}
            for _, s in sheets
        ],
    }
    return Part(html, data, _label(record), record.said)


def make_page(lens: Lens, title: str, parts: Sequence[Part], facts: Sequence[tuple[str, object]]) -> str:
    """The document of these episodes.

    Args:
        lens: that they were seen through.
        title: name of the run.
        parts: of :func:`make_part`.
        facts: of the run, by name.
    """
    options = [element("option", part.label, value=number) for number, part in enumerate(parts)]
    body = [
        element(
            "header",
            element("h1", "Value lens: ", title),
            element("label", "episode ", element("select", *options, id="episode"), class_="now"),
            element(
                "label",
                "colours span ",
                element(
                    "select",
                    element("option", "a level at this step", value="step"),
                    element("option", "one choice", value="choice"),
                    element("option", "a level in the whole episode", value="episode"),
                    id="span",
                ),
                class_="now",
            ),
        ),
        element(
            "noscript",
            element("p", "The heat maps need JavaScript: the script is part of this file, and loads nothing."),
        ),
        element("main", *(part.html for part in parts), _legend(lens), _about(lens, facts)),
        _readout(len(parts[0].data["at"])),
    ]
    hz = lens.held.spec.control_hz
    data = {
        "levels": lens.levels,
        "bins": lens.bins,
        "chunk": lens.agent.chunk_length,
        "hold": "Bins of the chunk that acts which hold" if lens.proposes else "Greedy bins that hold",
        "hz": hz if 0 < hz < math.inf else 0,
        "dimensions": [
            {"name": plain(name), "movable": bool(movable), "low": float(low), "high": float(high)}
            for name, movable, low, high in zip(
                _dimensions(lens), lens.movable, lens.scaler.low, lens.scaler.high, strict=True
            )
        ],
        "episodes": [part.data for part in parts],
    }
    style = ("page.css", _FOLDER / "lens.css")
    return whole(f"value lens: {title}", body, data, style, ("time.js", _FOLDER / "lens.js"))


def quantised(values: NDArray[np.float32], movable: NDArray[np.bool_]) -> dict[str, Any]:
    """Values [S, L, T, A, K] as 16-bit numbers between the lowest and highest of each step and level.

    They differ from the values by half a step at most, ``span / 131070``. Dimensions that cannot be moved are not
    looked at for the range, and lie somewhere within it.

    Returns:
        ``values``, little-endian uint16 in base64; ``low`` and ``span`` [S][L].
    """
    inner = values[:, :, :, movable].astype(np.float64)
    low = inner.min((2, 3, 4))
    span = inner.max((2, 3, 4)) - low
    scale = np.where(span > 0, span, 1.0)[:, :, None, None, None]
    rows = (values.astype(np.float64) - low[:, :, None, None, None]) / scale * _STEPS
    whole_numbers = np.rint(rows.clip(0, _STEPS)).astype("<u2")
    return {"values": _packed(whole_numbers), "low": _rounded(low), "span": _rounded(span)}


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _rounded(values: NDArray[np.float64]) -> list[list[float]]:
    """Nine digits, which give back every float32."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]


def _level_names(levels: int) -> tuple[str, ...]:
    return tuple(f"level {level + 1}" for level in range(levels))


def _dimensions(lens: Lens) -> list[str]:
    meaning = lens.held.spec.action_meaning
    return [
        f"action {index}" + (f" ({meaning[index]})" if index < len(meaning) else "")
        for index in range(lens.agent.action_dim)
    ]


def _outcome(record: EpisodeRecord) -> str:
    return "success not reported" if record.success is None else "success" if record.success else "failed"


def _label(record: EpisodeRecord) -> str:
    return f"{record.name}: {_outcome(record)}, {plural(record.steps, 'step')}"


def _solved(record: EpisodeRecord) -> list[Html]:
    """Marks at the steps at which success was reported."""
    places = sorted({round((step + 1) / record.steps * svg.WIDTH) for step in record.solved})
    path = Html("".join(f"M{place} 0V{svg.HEIGHT}" for place in places))
    return [element("path", class_="solved", d=path)] if places else []


def _cameras(sheets: Sequence[tuple[str, Sheets]]) -> Html:
    figures = [
        element(
            "figure",
            element("canvas", role="img", aria_label=f"{name}, at the step shown"),
            *(
                element("img", class_="sheet", src=sheet, alt=f"images of {name} in rows, in order")
                for sheet in found.data
            ),
            element("figcaption", name),
            data_camera=number,
        )
        for number, (name, found) in enumerate(sheets)
    ]
    return element("div", *figures, class_="cameras") if figures else Html("")


def _facts(lens: Lens, record: EpisodeRecord) -> Html:
    error = np.abs(record.value - record.returns[record.at]).mean()
    facts: list[tuple[str, object]] = [
        ("episode", record.name),
        ("outcome", f"{_outcome(record)}, {record.ended}" if record.ended else _outcome(record)),
        ("steps", f"{record.steps:,}"),
        ("seed", record.seed if record.seed >= 0 else "unknown"),
        ("return", f"{brief(float(record.rewards.sum(dtype=np.float64)))}, {brief(record.returns[0])} discounted"),
        ("value at first", brief(float(record.value[0]))),
        ("value error", f"{brief(float(error))} (mean of |predicted − realised|)"),
    ]
    if record.agreement is not None:
        means = record.agreement.mean(0)
        listed = ", ".join(f"{mean:.0%} at level {level + 1}" for level, mean in enumerate(means))
        facts.append(("agreement", f"{means.mean():.0%} of demonstrated bins are best: {listed}"))
    else:
        facts.append(("executed", _kept(lens, record)))
    if record.ended == "truncated":
        what = "the recording stops" if record.demonstration else "the time limit ended it"
        facts.append(("cut off", f"{what}: what would have followed is not in the realised return"))
    if record.demonstration and record.success:
        facts.append(("solved", "known of the episode, not of its steps"))
    facts.append(("shown", "; ".join(record.said)))
    return definitions(facts)


def _kept(lens: Lens, record: EpisodeRecord) -> str:
    """How often the first action of the chunk that acts is what was executed."""
    same = (record.taken == record.chosen)[:, :, 0][:, :, lens.movable]
    listed = ", ".join(f"{mean:.0%} at level {level + 1}" for level, mean in enumerate(same.mean((0, 2))))
    return f"of the first actions, in {_chosen(lens)}: {listed}"


def _maps(lens: Lens, record: EpisodeRecord) -> list[Html]:
    found = []
    for index, (name, movable) in enumerate(zip(_dimensions(lens), lens.movable, strict=True)):
        if not movable:
            note = element("p", "has no range: nothing is learnt for it", class_="quiet")
            found.append(element("div", element("div", element("b", name), class_="head"), note, class_="map"))
            continue
        label = f"values of the bins of {name}, {record.name}; arrow keys move from bin to bin"
        canvas = element("canvas", tabindex=0, role="application", aria_roledescription="heat map", aria_label=label)
        found.append(
            element(
                "div",
                element("div", element("b", name), element("span", class_="now"), class_="head"),
                canvas,
                class_="map",
                data_dimension=index,
            )
        )
    return found


def _chosen(lens: Lens) -> str:
    """What the chosen bin is: where chunks are proposed, it is of the proposal that was taken, and need not be best."""
    return "the bin of the chunk that acts" if lens.proposes else "the greedy bin"


def _legend(lens: Lens) -> Html:
    rows = [
        element(
            "div",
            element("span", name),
            element("span", class_="least"),
            element("i", class_="ramp"),
            element("span", class_="most"),
            class_="scale",
            data_level=level,
        )
        for level, name in enumerate(_level_names(lens.levels))
    ]
    marks = [
        ("chosen", f"chosen: {_chosen(lens)}, whose interval the next level divides"),
        ("dot", "executed, or demonstrated: the bin of the action that was taken at that step"),
        ("beyond", "the action taken lies above (▲) or below (▼) the interval"),
    ]
    keys = [element("li", element("i", class_=f"mark {kind}"), text) for kind, text in marks]
    return element(
        "section",
        element("div", *rows, class_="scales"),
        element("ul", *keys, class_="marks"),
        class_="legend now",
        aria_label="legend",
    )


def _about(lens: Lens, facts: Sequence[tuple[str, object]]) -> Html:
    length = lens.agent.chunk_length
    over = f"Columns are the {length} steps of the chunk, from now on. " if length > 1 else ""
    text = (
        "Rows are the bins of a level, the lowest action at the bottom. "
        + over
        + "A level divides the bin that the level before has chosen. Sibling spread is the largest minus the smallest "
        "value of the bins of a choice, the mean over dimensions and steps of the chunk: at 0 the choice of actions is "
        "lost. Agreement is the fraction of demonstrated bins that are the best on the way to the demonstrated action."
    )
    keys = (
        "Arrow keys move through time, with Shift through the episodes; the space bar plays. Within a heat map that "
        "has the focus, arrow keys move from bin to bin, and comma and full stop through time."
    )
    return element(
        "section",
        element("h2", "The run"),
        definitions(facts),
        element("p", text, class_="quiet"),
        element("p", keys, class_="quiet now"),
        aria_label="about",
    )


def _readout(shown: int) -> Html:
    prompt = "Point at a bin, or move to one with the Tab and arrow keys: its value is told here."
    return element("div", element("p", prompt, id="told", aria_live="polite"), bar(shown), class_="foot now")
