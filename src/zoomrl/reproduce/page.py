"""An experiment as one page that needs no network: claims and verdicts, arms, registration, how to repeat it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoomrl.analysis.report import duration, whole_page
from zoomrl.demos.view.markup import Html, element
from zoomrl.errors import plural
from zoomrl.reproduce.registration import read_registration

_STYLE = Path(__file__).with_name("page.css")


def write_page(verdict: Mapping[str, Any], directory: Path) -> Path:
    """Write ``index.html`` next to the verdict.

    Args:
        verdict: as ``verdict.json`` holds it.
        directory: of the experiment, which is registered there.

    Returns:
        The page.
    """
    registration = read_registration(directory)
    parts = [
        element("header", element("h1", verdict["title"]), element("span", _about(verdict), class_="quiet")),
        element("section", element("h2", "Verdicts"), *_claims(verdict["claims"])),
        element("section", element("h2", "Arms"), *_arms(verdict, registration["tasks"])),
        *_missing(verdict),
        element("section", element("h2", "Deviations"), _listed(verdict["deviations"])),
        element("section", element("h2", "Registration"), _registration(registration)),
        element("section", element("h2", "Repeat it"), element("pre", verdict["command"]), _origin(verdict)),
    ]
    path = directory / "index.html"
    path.write_text(whole_page(verdict["title"], parts, _STYLE.read_text("utf-8")), encoding="utf-8")
    return path


def in_words(claim: Mapping[str, Any]) -> str:
    """What the cells say about a contrast, in a sentence: the number, its interval, and on which side it should lie."""
    if claim["estimate"] is None:
        return f"no pair of cells; {claim['missing']} are missing"
    what = "ratio" if claim["ratio"] else "difference" if claim["right"] else "value"
    words = f"{what} {estimate_in_words(claim['estimate'])}, expected {claim['expected']} {claim['threshold']:g}"
    words += f"; {claim['pairs']} pairs" + (f", {claim['missing']} missing" if claim["missing"] else "")
    if claim["improvement"] is not None:
        words += f"; probability of improvement {estimate_in_words(claim['improvement'])}"
    if claim["pairs_needed"]:
        words += f"; about {claim['pairs_needed']:,} pairs would decide"
    return words


def estimate_in_words(estimate: Mapping[str, float | None]) -> str:
    """``0.12 (0.10 to 0.14)``; without an interval where a single seed has none."""
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "infinite"
    if low is None or high is None:
        return f"{value:.3g} (no interval)"
    if high == low:
        return f"{round(value, 3):g} ({round(low, 3):g} to {round(high, 3):g})"
    # As many digits as the interval's width deserves.
    digits = max(0, 1 - math.floor(math.log10(high - low)))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def failures(verdict: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int]:
    """The cells that failed, and how many are still to come."""
    failed = [one for one in verdict["missing"] if one["failed"]]
    return failed, len(verdict["missing"]) - len(failed)


def _about(verdict: Mapping[str, Any]) -> str:
    count = len(verdict["cells"])
    state = "" if verdict["finished"] else ", not finished"
    return f"{verdict['experiment']}, {verdict['scale']} scale, {count} cells{state}, {verdict['date'][:10]}"


def _claims(claims: Sequence[Mapping[str, Any]]) -> Iterable[Html]:
    """Each claim with its source, and below it the contrasts that test it."""
    by_text: dict[str, list[Mapping[str, Any]]] = {}
    for one in claims:
        by_text.setdefault(one["claim"]["text"], []).append(one)
    for text, found in by_text.items():
        said = found[0]["claim"]
        source = element("p", f"{said['source']}. Published: {said['published']}.", class_="quiet")
        yield element("article", element("h3", text), source, *map(_contrast, found))


def _contrast(one: Mapping[str, Any]) -> Html:
    against = f" against {one['right']}" if one["right"] else ""
    return element(
        "div",
        element("p", element("span", one["verdict"], class_=f"mark {one['verdict']}"), element("b", one["name"])),
        element("p", in_words(one)),
        element("p", element("code", one["metric"]), f" of {one['left']}{against}", class_="quiet"),
        class_="contrast",
    )


def _arms(verdict: Mapping[str, Any], tasks: Sequence[str]) -> Iterable[Html]:
    """For each metric a table of arms and tasks."""
    for metric, words in verdict["metrics"].items():
        arms = [arm for arm in verdict["arms"] if metric in arm["metrics"]]
        if not arms:
            continue
        heads = ["arm", *(task.partition(":")[2] for task in tasks), *(["all"] if len(tasks) > 1 else [])]
        rows = []
        for arm in arms:
            found = arm["metrics"][metric]
            cells = [estimate_in_words(found["tasks"][task]) if task in found["tasks"] else "" for task in tasks]
            some = f"{len(found['tasks'])} of {len(tasks)} tasks"
            over_all = estimate_in_words(found["all"]) if found["all"] else some
            rows.append([arm["name"], *cells, *([over_all] if len(tasks) > 1 else [])])
        yield element("h3", element("code", metric), f" {words}")
        yield _table(heads, rows)
    yield element("p", "Mean over seeds, with the 95 % interval.", class_="quiet")


def _missing(verdict: Mapping[str, Any]) -> Iterable[Html]:
    failed, coming = failures(verdict)
    if failed:
        rows = [(one["cell"], one["why"]) for one in failed]
        yield element("section", element("h2", "Failed"), _table(("cell", "why"), rows, texts=True))
    if coming:
        yield element("section", element("h2", "To come"), element("p", f"{plural(coming, 'cell')} not at their end."))


def _registration(registration: Mapping[str, Any]) -> Html:
    """What was written down before anything ran."""
    arms = _table(
        ("arm", "what it is", "options"),
        [(arm["name"], arm["about"], _options(arm["options"])) for arm in registration["arms"]],
        texts=True,
    )
    lines = [
        f"Written on {registration['date']} by zoomrl {registration['zoomrl']}, before the first cell.",
        f"Tasks: {', '.join(registration['tasks'])}. Seeds: {', '.join(map(str, registration['seeds']))}.",
        f"Options of all arms: {_options(registration['options'])}." if registration["options"] else "",
        f"Stop rule: {registration['stop_rule']}",
    ]
    return element("div", *(element("p", line) for line in lines if line), arms)


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


def _origin(verdict: Mapping[str, Any]) -> Html:
    versions = ", ".join(f"{name} {version}" for name, version in verdict["versions"].items())
    took = duration(sum(cell["seconds"] for cell in verdict["cells"]))
    made_on = verdict.get("made_on", [])
    machines = dict.fromkeys(_machine(one["hardware"]) for one in made_on) or {_machine(verdict["hardware"]): None}
    sources = {one["digest_of_source"] for one in verdict.get("sources", [])} | {one["source"] for one in made_on}
    text = f"{versions}. {'; '.join(machines)}, {took} of cells. Registered "
    mixed = f" Cells were made by {len(sources)} states of the source." if len(sources) > 1 else ""
    return element("p", f"{text}{verdict['registered']['date']}, judged {verdict['date']}.{mixed}", class_="quiet")


def _machine(hardware: Mapping[str, Any]) -> str:
    return f"{hardware['cores']} cores of {hardware['cpu']}"


def _listed(lines: Iterable[str]) -> Html:
    return element("ul", *(element("li", line) for line in lines))


def _table(heads: Sequence[object], rows: Iterable[Sequence[object]], texts: bool = False) -> Html:
    """A table; its first column, or with ``texts`` all columns, is text."""

    def row(name: str, cells: Sequence[object]) -> Html:
        return element(
            "tr", *(element(name, cell, class_="text" if texts or not at else None) for at, cell in enumerate(cells))
        )

    return element("div", element("table", row("th", heads), *(row("td", cells) for cells in rows)), class_="scroll")
