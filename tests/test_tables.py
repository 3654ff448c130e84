"""Tables of results say what the files say, and no file is forgotten."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
from pathlib import Path

import pytest
from benchmarks import tables
from benchmarks.tables import LEAST, RESULTS, ROOT, TABLES, Row, Run, estimate

from zoomrl.training.intervals import mean_interval, wilson_interval

FILES = sorted(path.stem for path in RESULTS.glob("*.json"))
LEARNT = [file for file in FILES if tables.runs_of(file)]


def run(seed: int, score: float, env: str = "metaworld:reach", success: bool = True, **changes: object) -> Run:
    successes = round(50 * score) if success else None
    made = Run("file", "cqn", "cqn-metaworld", env, seed, 1000, 50, score, successes, 2.0, f"zoomrl --seed {seed}")
    return dataclasses.replace(made, **changes)


# ---- pages and files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TABLES)
def test_pages_say_what_the_files_say(page):
    assert tables.written(page) == (ROOT / page).read_text(), "run: python benchmarks/tables.py"


@pytest.mark.parametrize("page", TABLES)
def test_every_table_has_its_marks(page):
    names = [found[2] for found in tables.TABLE.finditer((ROOT / page).read_text())]
    assert sorted(names) == sorted(TABLES[page])


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_in_the_overview(file):
    overview = tables.overview("docs/results/index.md")
    (line,) = [line for line in overview.splitlines() if line.startswith(f"| [{file}](")]
    link, shown, seeds = line.strip("| ").split(" | ")
    shows, command = shown.split("<br>")
    result = tables.files()[file]
    assert result["date"][:10] in link
    assert len(shows) > 10
    assert re.fullmatch(r"`[^`]+`( and \d+ more)?", command)
    assert (seeds == "-") == (file not in LEARNT and "cells" not in result)
    counts = [len(row.seeds) for row in tables.rows() if row.first.file == file]
    if "cells" in result:
        counts = [len({cell["seed"] for cell in result["cells"]})]
    assert ("look" in seeds) == any(count < LEAST for count in counts)


@pytest.mark.parametrize("file", LEARNT)
def test_every_run_is_in_a_table_of_its_page(file):
    for row in tables.rows():
        if row.first.file == file:
            page = tables.page_of(row)
            few = len(row.seeds) < LEAST
            shown = TABLES[page]["looks" if few else "results"](page)
            assert f"/{file}.json)" in shown
            assert row.value() in shown or f"mean of {len({r.env for r in tables.runs_of(file)})} tasks" in shown
            for one in row.runs:
                assert re.sub(r"--(env|seed) \S+", "", one.command) in re.sub(r"--(env|seed) \S+", "", shown)


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_where_it_comes_from(file):
    result = tables.files()[file]
    assert result["name"] == file or file == "actors_soak"
    assert result["commit"]
    assert result["date"]
    assert result["hardware"]["cpu"]
    assert not re.search(r'[ "=](/work|/root|/home|/tmp)\b', (RESULTS / f"{file}.json").read_text())


@pytest.mark.parametrize("file", LEARNT)
def test_the_summary_of_a_file_is_that_of_its_runs(file):
    result = tables.files()[file]
    if isinstance(result["summary"], list):
        for about in result["summary"]:
            same = [r for r in result["runs"] if (r["library"], r["agent"]) == (about["library"], about["agent"])]
            assert about["final_return"] == pytest.approx(statistics.fmean(r["final"] for r in same))
        return
    for agent, about in result["summary"].items():
        runs = [r for r in result["runs"] if r["agent"] == agent]
        assert len(runs) == about["runs"]
        assert about["final_return_mean"] == pytest.approx(statistics.fmean(r["final"]["return_mean"] for r in runs))
    for one in result["runs"]:
        assert one["final"]["episodes"] == len(one["final_returns"])
        assert one["final"]["return_mean"] == pytest.approx(statistics.fmean(one["final_returns"]), abs=1e-2, rel=2e-3)


def test_results_and_looks_do_not_mix():
    shown = [(name, page, make(page)) for page, made in TABLES.items() for name, make in made.items()]
    for name, page, text in shown:
        lines = text.splitlines()
        if name in ("results", "looks") and lines[0].startswith("| task"):
            column = [cell.strip() for cell in lines[0].strip("|").split("|")].index("seeds")
            seeds = [int(line.strip("|").split("|")[column]) for line in lines[2:] if line.startswith("|")]
            assert seeds, page
            assert all((count >= LEAST) == (name == "results") for count in seeds), page


def test_no_page_shows_numbers_of_learning_in_tables_of_its_own():
    """Where a success or a return stands in a table that is typed by hand, it is a published one, with its source."""
    for page in ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs/results").glob("*.md")))]:
        left = tables.TABLE.sub("", (ROOT / page).read_text())
        for heading in re.findall(r"^(\|.*)\n\|---", left, re.MULTILINE):
            assert "source" in heading or not re.search(r"\b(success|return)\b", heading), f"{page}: {heading}"


# ---- numbers -------------------------------------------------------------------------------------------------


def test_a_single_run_has_the_interval_of_its_episodes():
    found = estimate([run(1, 0.9)])
    assert (found.value, (found.low, found.high)) == (0.9, wilson_interval(45, 50))
    found = estimate([run(1, 100.0, success=False)])
    assert (found.low, found.high) == mean_interval(100.0, 2.0, 50)
    assert Row((run(1, 100.0, success=False, std=None),)).value() == "100"


def test_several_seeds_have_the_interval_over_seeds():
    scores = [871.12, 852.79, 817.03]
    found = estimate([run(seed, score, success=False) for seed, score in enumerate(scores)])
    assert (found.low, found.high) == pytest.approx(
        mean_interval(statistics.fmean(scores), statistics.pstdev(scores), 3)
    )
    found = estimate([run(seed, score) for seed, score in enumerate((0.96, 0.98, 0.86, 0.96))])
    assert (found.value, found.low, found.high) == pytest.approx((0.94, 0.8538, 1.0), abs=1e-4)
    # Seeds that all succeed are not taken for certainty.
    found = estimate([run(seed, 1.0) for seed in range(4)])
    assert found.high == 1
    assert 0.97 < found.low < 0.985


def test_a_mean_over_tasks_weighs_them_alike():
    runs = [run(s, 1.0, "metaworld:a") for s in range(4)] + [run(s, 0.5, "metaworld:b") for s in range(4)]
    found = estimate(runs)
    assert found.value == 0.75
    narrow = [estimate(runs[:4]), estimate(runs[4:])]
    assert found.high - found.low < sum(one.high - one.low for one in narrow) / 2
    assert estimate([run(1, 1.0, "metaworld:a"), run(1, 0.5, "metaworld:b")]).low == wilson_interval(75, 100)[0]


def test_values_read_well():
    assert Row((run(1, 0.9),)).value() == "90 % [78.6 to 95.7]"
    assert Row((run(1, -168.3, success=False, std=1.0),)).value() == "-168 [-169 to -168]"
    assert Row((run(1, 0.9), run(2, 0.9))).value() == "90 % (50.2 to 100)"


def test_commands_that_differ_in_task_and_seed_alone_are_one():
    made = [
        run(seed, 1.0, f"metaworld:{task}", command=f"zoomrl train --env metaworld:{task} --seed {seed} --steps 5")
        for task in ("b", "a")
        for seed in (1, 2)
    ]
    assert tables._commands(made) == [
        "# E: metaworld:a, metaworld:b; S: 1, 2",
        "zoomrl train --env E --seed S --steps 5",
    ]
    assert tables._commands(made[:1]) == [made[0].command]


def test_a_domain_without_a_page_is_named():
    with pytest.raises(SystemExit, match="say in PAGES which page shows nowhere"):
        tables.page_of(Row((run(1, 1.0, "nowhere:task"),)))


def test_a_file_of_another_kind_has_no_runs(tmp_path: Path):
    assert json.loads((RESULTS / "verdict_errors.json").read_text())["runs"]
    assert tables.runs_of("verdict_errors") == ()
