"""A page as one document that loads nothing, and the parts that pages over time have in common."""

from __future__ import annotations

import base64
import functools
import hashlib
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoomrl.demos.view import svg
from zoomrl.demos.view.markup import Html, element, embedded, escaped

_FOLDER = Path(__file__).parent


def whole(
    title: str, body: Sequence[Html], data: Any, style: Sequence[str | Path], script: Sequence[str | Path]
) -> str:
    """The document.

    Args:
        title: of the window.
        body: parts, one below the other.
        data: what the script reads, JSON-serialisable.
        style, script: files, one after the other; names alone are of this folder.
    """
    style_text, script_text = _joined(*style), _joined(*script)
    return _template().substitute(
        title=escaped(title),
        style=style_text,
        script=script_text,
        style_hash=_hash(style_text),
        script_hash=_hash(script_text),
        body="\n".join(body),
        data=embedded(data),
    )


def lines(
    name: str,
    labels: Sequence[str],
    values: Any,
    at: Sequence[int],
    part: str = "",
    over: Sequence[Html] = (),
    **attributes: object,
) -> Html:
    """A plot over time with a line for each row of ``values`` [N, steps], and their names and current values below.

    Args:
        name: of the plot.
        labels: of the lines.
        values: finite numbers.
        at: steps, the last of which is the right edge.
        part: which of the numbers of that name these are.
        over: further paths.
        attributes: of the plot's element.
    """
    low, high = float(values.min()), float(values.max())
    paths = [
        element("path", class_=f"line c{line}", d=svg.curve(at, row, low, high)) for line, row in enumerate(values)
    ]
    keys = [
        element("span", element("i", class_=f"c{line}"), label, element("span", class_="now"))
        for line, label in enumerate(labels)
    ]
    return element(
        "div",
        element("div", element("b", name), element("span", part, class_="quiet"), class_="head"),
        element(
            "div",
            svg.svg(*paths, *over),
            element("span", brief(high), class_="most"),
            element("span", brief(low) if low < high else "", class_="least"),
            element("div", class_="cursor"),
            class_="area",
        ),
        element("div", *keys, class_="keys"),
        class_="plot",
        **attributes,
    )


def brief(value: float) -> str:
    """Four digits of a number."""
    return f"{value:.4g}".replace("-", "\u2212")


def bar(shown: int) -> Html:
    """The controls of time, with ``shown`` places."""
    return element(
        "div",
        element("button", "Play", id="play", type="button"),
        element("input", id="slider", type="range", min=0, max=shown - 1, value=0, step=1, aria_label="time"),
        element("span", id="where", class_="now"),
        class_="bar",
    )


def definitions(facts: Sequence[tuple[str, object]]) -> Html:
    """Facts by name, without those that are empty."""
    pairs = ((element("dt", name), element("dd", value)) for name, value in facts if value != "")
    return element("dl", *(part for pair in pairs for part in pair))


@functools.cache
def _template() -> string.Template:
    return string.Template((_FOLDER / "page.html").read_text("utf-8"))


@functools.cache
def _joined(*files: str | Path) -> str:
    return "".join((_FOLDER / file).read_text("utf-8") for file in files)


@functools.cache
def _hash(text: str) -> str:
    """By which the page's own rules let this script or style in, and none that might be smuggled into it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
