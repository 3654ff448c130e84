"""A page about runs, in one file that needs no network: curves, tables, differences, provenance, videos, failures."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoomrl.analysis.groups import experiments
from zoomrl.analysis.metrics import Metric, Run, read_run
from zoomrl.analysis.plot import curves, style
from zoomrl.analysis.scores import find_runs
from zoomrl.demos.view.markup import Html, element, escaped
from zoomrl.errors import CheckpointError, MissingDependencyError, plural
from zoomrl.files import read_json
from zoomrl.training.config import changes, flat
from zoomrl.training.intervals import mean_interval, wilson_interval
from zoomrl.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_VIDEO = 24 << 20
"""Bytes of videos that a page holds; of the others it shows the first image."""
_MOST_LOSSES = 12
_NOT_LOSSES = ("env_steps", "agent_steps", "updates", "episodes_lost", "seconds", "updates_per_s", "env_steps_per_s")
_SPEEDS = ("updates_per_s", "env_steps_per_s")
_BACK = Path(__file__).with_name("report.css")


@dataclass
class _Table:
    """Cells of a table, which become HTML, or lines of a CSV file."""

    heads: tuple[str, ...]
    rows: list[list[object]] = field(default_factory=list)

    def html(self) -> Html:
        head = element(
            "tr", *(element("th", name, class_="text" if not at else None) for at, name in enumerate(self.heads))
        )
        body = (
            element("tr", *(element("td", cell, class_="text" if not at else None) for at, cell in enumerate(row)))
            for row in self.rows
        )
        return element("div", element("table", head, *body), class_="scroll")


def report(directories: Sequence[str | Path], out: str | Path, *, table: str | Path | None = None) -> Path:
    """Write a page about runs to ``out``.

    Args:
        directories: runs, sweeps or folders of runs; they may still be going on.
        out: HTML file to write.
        table: CSV file to write as well, with a line for each run.

    Returns:
        ``out``.

    Raises:
        CheckpointError: a directory holds no run.
    """
    runs = [read_run(path) for directory in directories for path in find_runs(Path(directory))]
    groups = experiments(runs)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    title = (
        runs[0].directory.name
        if len(runs) == 1
        else f"{plural(len(runs), 'run')} of {plural(len(groups), 'experiment')}"
    )
    parts = [
        element("header", element("h1", title), element("span", _made(), class_="quiet")),
        *_section("Results", _results(groups).html()),
        *_section("Learning curves", *_curves(runs)),
        *(_section("Losses and speed", *_losses(runs[0])) if len(runs) == 1 else ()),
        *_section("What differs", _differences(groups)),
        *_section("Failures", _failures(runs, [Path(directory) for directory in directories])),
        *_section("Videos", *_videos(runs)),
        *_section("Provenance", _provenance(runs).html()),
    ]
    path.write_text(whole_page(title, parts), encoding="utf-8")
    if table is not None:
        _write_csv(runs, Path(table))
    return path


def _made() -> str:
    return f"zoomrl {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _section(title: str, *content: Html) -> tuple[Html, ...]:
    """A heading and what stands below; nothing where that is empty."""
    shown = [part for part in content if part]
    return (element("section", element("h2", title), *shown),) if shown else ()


# ---- results -----------------------------------------------------------------------------------------------


def _results(groups: Mapping[str, Sequence[Run]]) -> _Table:
    table = _Table(("experiment", "task", "seeds", "steps", "success", "return", "episodes", "training"))
    for name, members in groups.items():
        finals = [row for row in map(_final, members) if row is not None]
        successes = [row for row in finals if "successes" in row]
        returns = [row["return_mean"] for row in finals if row.get("return_mean") is not None]
        seconds = [row["training_seconds"] for row in map(_result, members) if row.get("training_seconds")]
        table.rows.append(
            [
                name,
                members[0].config["env"]["id"],
                _counted(len(finals), len(members)),
                f"{max((_last(run, run.counter) for run in members), default=0):,}",
                _success(successes),
                _mean(returns),
                f"{sum(row['episodes'] for row in finals):,}",
                duration(sum(seconds) / len(seconds)) if seconds else "",
            ]
        )
    return table


def _counted(finished: int, of: int) -> str:
    return str(of) if finished == of else f"{finished} of {of} finished"


def _success(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rate over all episodes, with Wilson's interval, and the range of the seeds."""
    made = [flag for row in rows for flag in row["successes"]]
    if not made:
        return ""
    low, high = wilson_interval(sum(made), len(made))
    rates = [row["success_rate"] for row in rows]
    seeds = f"; seeds {min(rates):.0%} to {max(rates):.0%}" if len(rates) > 1 else ""
    return f"{sum(made) / len(made):.1%} ({low:.1%} to {high:.1%}{seeds})"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    interval = mean_interval(mean, spread, len(values))
    return f"{mean:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else "")


def duration(seconds: float) -> str:
    """``1 h 05 min``, or below an hour ``5 min 03 s``."""
    hours, minutes = int(seconds // 3600), int(seconds // 60 % 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {int(seconds % 60):02} s"


def _final(run: Run) -> dict[str, Any] | None:
    """The row of the evaluation at the end, where it has a result."""
    found = (row for row in reversed(run.rows) if row["kind"] == "final" and row.get("episodes"))
    return next(found, None)


def _result(run: Run) -> dict[str, Any]:
    try:
        return read_json(run.directory / "result.json")
    except (CheckpointError, OSError):
        return {}


def _last(run: Run, name: str) -> int:
    return max((int(row.get(name) or 0) for row in run.rows), default=0)


# ---- curves ------------------------------------------------------------------------------------------------


def _curves(runs: Sequence[Run]) -> list[Html]:
    """One figure for each task, of all runs on it that have been evaluated."""
    tasks: dict[str, list[Run]] = {}
    for run in runs:
        tasks.setdefault(run.config["env"]["id"], []).append(run)
    found = []
    for task, members in tasks.items():
        metric: Metric = "success" if all(run.reports_success for run in members) else "return"
        shown = [run for run in members if run.curve(metric) or run.final(metric)]
        if shown:
            found.append(_figure(partial(curves, shown, metric, task), task))
    return [element("div", *found, class_="figures")] if found else []


def _losses(run: Run) -> list[Html]:
    """Every number that learning logs, over updates, and the speed."""
    rows = [row for row in run.rows if row["kind"] == "train"]
    names = sorted(
        {name for row in rows for name in row if name not in (*_NOT_LOSSES, "kind") and _is_number(row[name])}
    )
    chosen = [*names[:_MOST_LOSSES], *(name for name in _SPEEDS if any(_is_number(row.get(name)) for row in rows))]
    if len(rows) < 2 or not chosen:
        return []

    def figure(name: str) -> Figure:
        from matplotlib.figure import Figure

        made = Figure(figsize=(3.6, 2.2), layout="constrained")
        axes = made.add_subplot()
        points = [(row["updates"], row[name]) for row in rows if _is_number(row.get(name))]
        axes.plot(*zip(*points, strict=True), linewidth=1.4)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xlabel("updates", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(True, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        return made

    more = len(names) - _MOST_LOSSES
    rest = element("p", f"{more} more numbers are in metrics.jsonl", class_="quiet") if more > 0 else Html("")
    return [element("div", *(_figure(partial(figure, name), name) for name in chosen), class_="losses"), rest]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figure(make: Callable[[], Figure], words: str) -> Html:
    """A figure for a white page and one for a dark one; the reader's browser chooses."""
    from matplotlib import rc_context

    sources = []
    for dark in (False, True):
        with rc_context({**style(dark), "svg.fonttype": "path", "svg.hashsalt": "zoomrl"}):
            buffer = io.BytesIO()
            make().savefig(buffer, format="svg", metadata={"Date": None})
        sources.append(f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}")
    both = zip(sources, ("light", "dark"), strict=True)
    return element("div", *(element("img", src=Html(source), alt=words, class_=kind) for source, kind in both))


# ---- the rest ----------------------------------------------------------------------------------------------


def _differences(groups: Mapping[str, Sequence[Run]]) -> Html:
    """Options in which the experiments differ, with the value of each."""
    firsts = {name: members[0] for name, members in groups.items()}
    base = next(iter(firsts.values()))
    differing = sorted({key for run in firsts.values() for key in changes(base.config, run.config)} - {"seed"})
    if not differing:
        return Html("")
    parts = [name.split(", ") for name in firsts]
    shared = set.intersection(*map(set, parts))
    table = _Table(("option", *(", ".join(part for part in each if part not in shared) for each in parts)))
    for key in differing:
        table.rows.append([key, *(_plain(flat(run.config).get(key)) for run in firsts.values())])
    return table.html()


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _failures(runs: Sequence[Run], directories: Sequence[Path]) -> Html:
    """Runs that failed or are not at their end, episodes that were lost, videos that could not be made."""
    table = _Table(("run", "what"))
    for run in runs:
        name, result = run.directory.name, _result(run)
        lost = _last(run, "episodes_lost")
        if lost:
            table.rows.append([name, f"{plural(lost, 'episode')} lost: the simulator showed NaN, or its worker died"])
        failed = run.directory.absolute().parent.parent / "failed" / f"{name}.json"
        if failed.exists():
            try:
                table.rows.append([name, f"failed: {read_json(failed).get('message')}"])
            except (CheckpointError, OSError):
                table.rows.append([name, "failed"])
        elif not result:
            table.rows.append(
                [name, f"not at its end: step {_last(run, 'env_steps'):,} of {run.config.get('steps', 0):,}"]
            )
        problem = result.get("video_problem")
        if problem and problem != "eval.video is off" and problem != "no episode was asked for":
            table.rows.append([name, f"no video: {problem}"])
    shown = {run.directory.name for run in runs}
    for path in (path for directory in directories for path in sorted(directory.glob("failed/*.json"))):
        if path.stem not in shown:  # it failed before it had a directory
            table.rows.append([path.stem, f"failed: {read_json(path).get('message')}"])
    return table.html() if table.rows else Html("")


def _videos(runs: Sequence[Run]) -> list[Html]:
    """The videos themselves while there is room, then their first images."""
    found, used = [], 0
    for run in runs:
        path = run.directory / "video.mp4"
        if not path.is_file():
            continue
        size = path.stat().st_size
        if used + size <= MOST_VIDEO:
            used += size
            data = Html(f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}")
            shown = element("video", src=data, controls=True, muted=True, loop=True, playsinline=True)
        else:
            shown = _first_image(path)
        if shown:
            found.append(element("figure", shown, element("figcaption", run.directory.name)))
    return [element("div", *found, class_="videos")] if found else []


def _first_image(path: Path) -> Html:
    try:
        import imageio.v3 as imageio

        frame = imageio.imread(path, index=0)
        data = base64.b64encode(imageio.imwrite("<bytes>", frame, extension=".jpg")).decode()
    except (ImportError, MissingDependencyError, OSError, ValueError, IndexError, RuntimeError):
        return Html("")
    return element("img", src=Html(f"data:image/jpeg;base64,{data}"), alt=f"first image of {path.name}")


def _provenance(runs: Sequence[Run]) -> _Table:
    table = _Table(("run", "seed", "preset", "zoomrl", "PyTorch", "Python", "device", "demonstrations"))
    for run in runs:
        try:
            policy = read_json(run.directory / "policy.json")
        except (CheckpointError, OSError):
            policy = {}
        demos = str(policy.get("demos_sha256") or "")[:12]
        told = [policy.get(name, "") for name in ("zoomrl", "torch", "python", "device")]
        table.rows.append([str(run.directory), run.config["seed"], run.config["preset"], *told, demos])
    return table


def _write_csv(runs: Iterable[Run], path: Path) -> None:
    """A line for each run: what it is, and how it ended."""
    heads = ("run", "agent", "env", "preset", "seed", "env_steps", "updates", "episodes", "success_rate", "return_mean")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        for run in runs:
            final = _final(run) or {}
            config = run.config
            about = (str(run.directory), config["agent"]["name"], config["env"]["id"], config["preset"], config["seed"])
            counted = (_last(run, "env_steps"), _last(run, "updates"))
            writer.writerow([*about, *counted, *(final.get(name, "") for name in heads[7:])])


def whole_page(title: str, parts: Sequence[Html], more_style: str = "") -> str:
    """A page that needs no network and no other file, and runs no script.

    Args:
        title: of the page.
        parts: what stands on it.
        more_style: CSS besides that of all pages; written here, never by a stranger.
    """
    rules = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'"
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{escaped(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{_BACK.read_text('utf-8')}{more_style}</style>\n"
    )
    return head + "\n".join(parts) + "\n</html>\n"
