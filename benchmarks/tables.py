"""The tables of results in the documents, made of the files in benchmarks/results.

Usage: python benchmarks/tables.py

Writes each table anew between its marks. A file of finished runs appears on the page of its domain by itself: in the
table of results where a method has LEAST seeds or more, else in the table of looks. Nothing is typed by hand but names.

Intervals are at 95 %. Of one run: over its episodes (Wilson's for success, Student's for returns). Of several seeds:
Student's over the seeds, for success never narrower than the episodes alone make it. Of several tasks: of their mean,
with Welch's degrees of freedom, as the verdict of `zoomrl compare`; the percentile bootstrap is too narrow for the few
seeds that there are (verdicts.py).
"""

from __future__ import annotations

import ast
import functools
import json
import re
import statistics as numbers
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomrl.analysis import statistics
from zoomrl.cli.tree import COMMANDS
from zoomrl.training.intervals import mean_interval, wilson_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LEAST = 4
"""Seeds from which on a number is a result; below it is a look."""
MANY = 4
"""Tasks of one method beyond which a page shows their mean, and the tasks in a table of their own."""
PAGES = {
    "metaworld": "docs/results/metaworld.md",
    "dmc": "docs/results/dmc.md",
    "gym": "docs/results/gymnasium.md",
    "bigym": "docs/results/humanoids.md",
    "humanoidbench": "docs/results/humanoids.md",
}
"""Domain of a task -> page that shows its results."""
DOMAINS = {
    "metaworld": "Meta-World",
    "dmc": "DeepMind Control",
    "gym": "Gymnasium",
    "bigym": "BiGym",
    "humanoidbench": "HumanoidBench",
}
AGENTS = {
    "cqn": "CQN",
    "cqn_as": "CQN-AS",
    "iqrl": "iQRL",
    "drqv2": "DrQ-v2",
    "drqv2_plus": "DrQ-v2+",
    "drqv2_as": "DrQ-v2-AS+",
    "td3": "TD3",
    "td7": "TD7",
    "sac": "SAC",
    "taco": "TACO",
    "tcrl": "TCRL",
    "bc": "BC",
    "act": "ACT",
}
LATER_PRESETS = {
    ("iqrl_cheetah_run_state", "iqrl, activation elu, norm False, lr 0.0003, n_step 3"): (
        "iqrl",
        "iqrl-dmc-cpu-medium",
    ),
}
"""(file, name of a method in it) -> agent and preset that have the same options and came after the runs."""
NOTES = {"iqrl_cheetah_run_state": "benchmarks/notes/iqrl.md"}
"""Files whose variants (what a preset's options were changed to) are shown on a page of notes."""
TABLE = re.compile(r"(<!-- table of ([\w-]+): [^\n]* -->\n).*?(<!-- end of table -->)", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """One run, whichever program wrote its file.

    Attributes:
        method: agent, and what was changed of its preset.
        env: domain:task.
        score: success rate, or mean return, of the evaluation at the end.
        successes: episodes of it that succeeded; None where the score is a return.
        std: of the episodes' returns; None where the file does not say.
    """

    file: str
    method: str
    preset: str
    env: str
    seed: int
    steps: int
    episodes: int
    score: float
    successes: int | None
    std: float | None
    command: str


@dataclass(frozen=True)
class Row:
    """A method on a task, or its mean over several."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    @property
    def tasks(self) -> list[str]:
        return sorted({run.env for run in self.runs})

    @property
    def variant(self) -> bool:
        """Whether its options are not those of a preset."""
        return "," in self.first.method

    def value(self) -> str:
        """The mean and its interval: in brackets where it is over the episodes of one seed, and not over seeds."""
        found = estimate(self.runs)

        def shown(value: float) -> str:
            return f"{value:.0f}" if self.first.successes is None else f"{100 * value:.1f}".removesuffix(".0")

        mean = shown(found.value) + ("" if self.first.successes is None else " %")
        if found.high == float("inf"):
            return mean
        ends = f"{shown(found.low)} to {shown(found.high)}"
        return f"{mean} [{ends}]" if len(self.seeds) == 1 else f"{mean} ({ends})"


def estimate(runs: Sequence[Run]) -> statistics.Estimate:
    """Mean and 95 % interval of one run, of the seeds of a task, or of the mean over tasks."""
    by_task = defaultdict(list)
    for run in runs:
        by_task[run.env].append(run)
    successes = [run.successes for run in runs if run.successes is not None]
    mean = numbers.fmean(numbers.fmean(run.score for run in task) for task in by_task.values())
    if all(len(task) == 1 for task in by_task.values()):
        if successes:
            low, high = wilson_interval(sum(successes), sum(run.episodes for run in runs))
            return statistics.Estimate(mean, low, high)
        ends = None
        if len(runs) == 1 and runs[0].std is not None:
            ends = mean_interval(mean, runs[0].std, runs[0].episodes)
        return statistics.Estimate(mean, *(ends or (float("-inf"), float("inf"))))
    samples = [
        statistics.sample_of(
            [run.score for run in task],
            sum(run.episodes for run in task),
            sum(run.successes or 0 for run in task) if successes else None,
        )
        for task in by_task.values()
    ]
    found = statistics.estimate(statistics.over_tasks(samples))
    if not successes:
        return found
    return statistics.Estimate(found.value, max(0.0, found.low), min(1.0, found.high))


# ---- files -----------------------------------------------------------------------------------------------------


@functools.cache
def files() -> dict[str, dict[str, Any]]:
    """Every result file by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


@functools.cache
def runs_of(file: str) -> tuple[Run, ...]:
    """The finished runs of a file; none where it holds something else."""
    result = files()[file]
    found = result.get("runs") or []
    if found and "library" in found[0]:
        return tuple(_beside(file, result, run) for run in found)
    return tuple(_recorded(file, run) for run in found if "preset" in run)


def _recorded(file: str, run: dict[str, Any]) -> Run:
    """A run that record.py wrote."""
    final, method, preset = run["final"], run["agent"], run["preset"]
    agent, preset = LATER_PRESETS.get((file, method), (method, preset))
    success = run["reports_success"]
    return Run(
        file,
        agent,
        preset,
        run["env"],
        run["seed"],
        run["steps"],
        final["episodes"],
        final["success_rate"] if success else final["return_mean"],
        round(final["success_rate"] * final["episodes"]) if success else None,
        final["return_std"],
        run["command"],
    )


def _beside(file: str, result: dict[str, Any], run: dict[str, Any]) -> Run:
    """A run that beside_sb3.py wrote."""
    here = run["library"] == "zoomrl"
    (about,) = [s for s in result["summary"] if (s["library"], s["agent"]) == (run["library"], run["agent"])]
    version = "" if here else f" of Stable-Baselines3 {run['versions']['stable_baselines3']}"
    return Run(
        file,
        f"{run['agent']}{version}",
        f"{run['agent']}-gym" if here else "",
        f"gym:{about['environment']}",
        run["seed"],
        about["steps"],
        result["final_episodes"],
        run["final"],
        None,
        None,
        result["command"],
    )


@functools.cache
def rows() -> tuple[Row, ...]:
    """Every method on every task, of all files."""
    groups = defaultdict(list)
    for file in files():
        for run in runs_of(file):
            groups[run.env, file, run.method, run.preset, run.steps].append(run)
    return tuple(Row(tuple(sorted(group, key=lambda run: run.seed))) for _, group in sorted(groups.items()))


def page_of(row: Row) -> str:
    """The page that shows a row."""
    domain = row.first.env.partition(":")[0]
    if domain not in PAGES:
        raise SystemExit(f"tables: {row.first.file} has {row.first.env}: say in PAGES which page shows {domain}")
    return NOTES.get(row.first.file, PAGES[domain]) if row.variant else PAGES[domain]


def over_tasks(found: Iterable[Row], more_than: int = 0) -> list[Row]:
    """Rows of success of one method, with the same steps and seeds, as one row each, where it has so many tasks."""
    groups = defaultdict(list)
    for row in found:
        run = row.first
        alone = run.env if run.successes is None else ""
        groups[run.file, run.method, run.preset, run.steps, str(row.seeds), alone].append(row)
    shown = []
    for group in groups.values():
        merged = Row(tuple(run for row in group for run in row.runs))
        shown += [merged] if len(merged.tasks) > more_than else group
    return shown


# ---- tables ----------------------------------------------------------------------------------------------------


def results(page: str) -> str:
    """What rests on LEAST seeds or more, of the tasks of a page."""
    found = [row for row in rows() if page_of(row) == page and len(row.seeds) >= LEAST]
    return _learnt(over_tasks(found, MANY), page) if found else f"None yet: no task here has {LEAST} seeds.\n"


def looks(page: str) -> str:
    """What rests on fewer."""
    found = [row for row in rows() if page_of(row) == page and len(row.seeds) < LEAST]
    return _learnt(over_tasks(found, MANY), page) if found else "None.\n"


def summary(page: str) -> str:
    """All results, each method with its tasks in one row; without variants of a preset."""
    found = over_tasks(row for row in rows() if len(row.seeds) >= LEAST and not row.variant)
    lines = ["| task | method | steps | seeds | success, or return (95 %) | file |", "|---|---|---|---|---|---|"]
    for row in found:
        run = row.first
        tasks = ", ".join(_task(env) for env in row.tasks)
        mean = "mean of " if len(row.tasks) > 1 else ""
        task = f"{DOMAINS[run.env.partition(':')[0]]}: {mean}{tasks}"
        lines.append(f"| {task} | {_method(run)} | {run.steps:,} | {len(row.seeds)} | {_value(row, page)} |")
    return "\n".join(lines) + "\n"


def by_task(file: str, page: str) -> str:
    """The methods of a file side by side, task by task, and where they come from."""
    found = [row for row in rows() if row.first.file == file]
    methods = list(dict.fromkeys(row.first.method for row in found))
    tasks = list(dict.fromkeys((row.first.env, row.first.steps, len(row.seeds)) for row in found))
    lines = [f"| task | steps | seeds | {' | '.join(map(_agent, methods))} |", "|---" * (len(methods) + 3) + "|"]
    for env, steps, seeds in tasks:
        cells = {r.first.method: r.value() for r in found if (r.first.env, r.first.steps) == (env, steps)}
        lines.append(f"| {_task(env)} | {steps:,} | {seeds} | {' | '.join(cells.get(m, '-') for m in methods)} |")
    return "\n".join(lines) + "\n\n" + _sources(found, page)


def values(file: str, page: str) -> str:
    """Predicted and realised values of each run at its end, and its worst evaluation on the way."""
    columns = ("method", "seed", "success (95 %)", "predicted", "realised", "least success on the way")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for run in sorted(files()[file]["runs"], key=lambda run: (run["agent"], run["seed"])):
        final = run["final"]
        (row,) = [one for one in runs_of(file) if (one.method, one.seed) == (run["agent"], run["seed"])]
        least = min(point["success_rate"] for point in run["curve"])
        lines.append(
            f"| {_method(row)} | {run['seed']} | {Row((row,)).value()} | {final['value_predicted']:.2f} "
            f"| {final['value_realised']:.2f} | {100 * least:.0f} % |"
        )
    return "\n".join(lines) + f"\n\n{_link(file, page)} has commands, commit and hardware.\n"


def overview(page: str) -> str:
    """Every file: what it shows, when it was made, of how many seeds, by which command."""
    lines = [
        '<div class="files" markdown="1">',
        "",
        "| file | what it shows, and the command | seeds |",
        "|---|---|---|",
    ]
    for file, result in files().items():
        seeds = sorted({len(row.seeds) for row in rows() if row.first.file == file})
        if "cells" in result:  # of an experiment
            seeds = [len({cell["seed"] for cell in result["cells"]})]
        kind = f"{_span(seeds)}{'' if seeds[0] >= LEAST else ' (look)'}" if seeds else "-"
        commands = [line for line in _commands(runs_of(file)) if not line.startswith("#")] or [result["command"]]
        more = f" and {len(commands) - 1} more" if len(commands) > 1 else ""
        shown = f"{_shows(file)}<br>`{commands[0]}`{more}"
        lines.append(f"| {_link(file, page)} {result['date'][:10]} | {shown} | {kind} |")
    lines += ["", "</div>"]
    return "\n".join(lines) + "\n"


TABLES: dict[str, dict[str, Callable[[str], str]]] = {
    "README.md": {"results": summary},
    "docs/results/index.md": {"results": summary, "files": overview},
    **{page: {"results": results, "looks": looks} for page in dict.fromkeys(PAGES.values())},
    **{page: {"looks": looks} for page in NOTES.values()},
    "docs/how-to/actors.md": {"lag": functools.partial(by_task, "lag_learning")},
}
"""Page -> name of a table -> what makes it, of the page."""
TABLES["docs/results/metaworld.md"] |= {
    "ten-tasks": functools.partial(by_task, "metaworld_ten_tasks_state"),
    "values": functools.partial(values, "drq_family_metaworld_state"),
}


def _learnt(found: Sequence[Row], page: str) -> str:
    """Rows with their numbers, and below where they come from."""
    kinds = {row.first.successes is None for row in found}
    heading = {(True,): "return", (False,): "success"}.get(tuple(kinds), "success, or return")
    lines = [f"| task | method | steps | seeds | {heading} (95 %) | file |", "|---|---|---|---|---|---|"]
    for row in sorted(found, key=lambda row: (len(row.tasks) > 1, row.first.env)):
        run = row.first
        task = _task(run.env) if len(row.tasks) == 1 else f"mean of {len(row.tasks)} tasks"
        seeds = str(len(row.seeds))
        lines.append(f"| {task} | {_method(run)} | {run.steps:,} | {seeds} | {_value(row, page)} |")
    return "\n".join(lines) + "\n\n" + _sources(found, page)


def _value(row: Row, page: str) -> str:
    """Two cells."""
    link = _link(row.first.file, page)
    return f"{row.value()} | [file]({link.partition('](')[2]}"


def _sources(found: Sequence[Row], page: str) -> str:
    """A block to unfold: files, episodes, commits, hardware, commands."""
    parts = ['<details markdown="1">', "<summary>Files, episodes, commits, hardware, commands</summary>", ""]
    for file in dict.fromkeys(row.first.file for row in found):
        result = files()[file]
        mine = [run for row in found for run in row.runs if run.file == file]
        episodes = _span(sorted({run.episodes for run in mine}))
        commit = re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", result["commit"])
        machine = f"{result['hardware']['cpu']}, {result['hardware']['cores']} cores"
        when = f"{result['date'][:10]}, commit {commit}, {machine}"
        parts.append(f"{_link(file, page)}: {episodes} episodes after each run; {when}.")
        parts += ["", "```text", *_commands(mine), "```", ""]
    return "\n".join([*parts, "</details>"]) + "\n"


def _commands(runs: Sequence[Run]) -> list[str]:
    """One command for those that differ in task and seed alone; E and S stand for these, named in a line above."""
    groups = defaultdict(list)
    for run in runs:
        template = run.command.replace(f"--env {run.env} ", "--env E ").replace(f"--seed {run.seed}", "--seed S")
        groups[template].append(run)
    lines = []
    for template, group in groups.items():
        said = []
        for mark, option, names in (
            ("E", "env", sorted({run.env for run in group})),
            ("S", "seed", sorted({str(run.seed) for run in group})),
        ):
            if len(names) == 1:
                template = template.replace(f"--{option} {mark}", f"--{option} {names[0]}")
            elif f"--{option} {mark}" in template:
                said.append(f"{mark}: {', '.join(names)}")
        lines += [*([f"# {'; '.join(said)}"] if said else []), template]
    return lines


def _shows(file: str) -> str:
    """What a file shows: its runs, or the first line about the program that wrote it."""
    if title := files()[file].get("title"):  # of an experiment
        return str(title)
    found = [row for row in rows() if row.first.file == file]
    if found:
        tasks = list(dict.fromkeys(row.first.env for row in found))
        shown = ", ".join(map(_task, tasks)) if len(tasks) <= MANY else f"{len(tasks)} tasks"
        domains = " and ".join(dict.fromkeys(DOMAINS[task.partition(":")[0]] for task in tasks))
        agents = list(dict.fromkeys(_agent(row.first.method.partition(",")[0]) for row in found))
        return f"{', '.join(agents)} on {domains}: {shown}"
    words = files()[file]["command"].split()
    if words[0] == "zoomrl":
        text = COMMANDS[words[1]].__doc__
    else:
        program = f"{words[2].split('.')[-1]}/__init__.py" if words[1] == "-m" else Path(words[1]).name
        text = ast.get_docstring(ast.parse((RESULTS.parent / program).read_text()))
    return (text or "").strip().splitlines()[0].rstrip(".")


def _task(env: str) -> str:
    """Its name, which a narrow table may break."""
    return env.partition(":")[2].replace("_", "_<wbr>")


def _agent(method: str) -> str:
    name = re.split("[, ]", method)[0]
    return AGENTS.get(name, name) + method[len(name) :]


def _method(run: Run) -> str:
    return _agent(run.method) + (f" `{run.preset}`" if run.preset else "")


def _span(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _link(file: str, page: str) -> str:
    up = "../" * page.count("/")
    return f"[{file}]({up}benchmarks/results/{file}.json)"


def written(page: str) -> str:
    """The text of a page with its tables made anew."""
    made = TABLES[page]
    return TABLE.sub(lambda found: found[1] + "\n" + made[found[2]](page) + "\n" + found[3], (ROOT / page).read_text())


def main() -> None:
    for page in TABLES:
        (ROOT / page).write_text(written(page))


if __name__ == "__main__":
    main()
