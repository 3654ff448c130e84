"""Learning curves: reading runs that are still being written, drawing them, the curve for the terminal."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from zoomrl.analysis.curve import plot_curve
from zoomrl.analysis.groups import experiments
from zoomrl.analysis.metrics import read_run
from zoomrl.analysis.plot import plot_runs
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.recipes.compose import preset
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.logger import Logger
from zoomrl.training.rows import read_row, read_rows, sealed_row
from zoomrl.training.value_quality import Valued

PNG = b"\x89PNG\r\n\x1a\n"
T9 = 2.262157
"""97.5 % quantile of Student's t with 9 degrees of freedom, from the usual tables."""


def write_run(
    directory: Path,
    *,
    name: str = "quickstart",
    seed: int = 1,
    evals: int = 4,
    episodes: int = 10,
    success: bool = True,
    predicts: bool = True,
    **settings: object,
) -> Path:
    """A run directory as training leaves it, without weights; the success rate rises by a tenth each time."""
    directory.mkdir(parents=True)
    config = dataclasses.replace(preset(name), seed=seed, **settings)
    (directory / "config.json").write_text(json.dumps(config.to_dict()))
    (directory / "policy.json").write_text(json.dumps({"spec": {"reports_success": success}}))
    with open(directory / "metrics.jsonl", "w") as file:
        for index in range(evals + 1):
            wins = [k < 2 + index for k in range(episodes)]
            valued = [Valued([0.5], [float(w)]) for w in wins] if predicts else []
            result = Evaluation([float(w) for w in wins], [50] * episodes, wins, list(range(episodes)), valued)
            kind, step = ("eval", 100 * index) if index < evals else ("final", 100 * (evals - 1))
            file.write(json.dumps({"kind": kind, "env_steps": step, **result.row()}) + "\n")
    return directory


def test_curve_and_final_are_read(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    points = run.curve("success")
    assert [p.step for p in points] == [0, 100, 200, 300]
    assert [p.value for p in points] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert all(p.low < p.value < p.high for p in points)
    final = run.final("success")
    assert final is not None
    assert (final.step, final.episodes) == (300, 10)
    assert final.value == pytest.approx(0.6)


def test_return_interval_is_that_of_the_mean(tmp_path):
    point = read_run(write_run(tmp_path / "run")).curve("return")[0]
    # 2 of 10 returns are 1: standard deviation 0.4, standard error 0.4 / sqrt(9).
    assert point.value == pytest.approx(0.2)
    assert point.high - point.value == pytest.approx(T9 * 0.4 / 9**0.5)


@pytest.mark.parametrize(("episodes", "shaded"), [(10, True), (1, False)])
@pytest.mark.long
def test_a_shade_is_named_where_there_is_one(tmp_path, episodes, shaded):
    """The mean of a single return has no interval."""
    run = write_run(tmp_path / "run", success=False, episodes=episodes)
    assert ("shaded" in plot_runs([run], tmp_path / "plot.svg").read_text()) == shaded


def test_overestimation_is_plotted_with_the_interval_of_its_mean(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    point = run.curve("overestimation")[0]
    # Predicted 0.5 ten times; 2 of 10 episodes return 1: the difference is 0.3, its standard deviation 0.4.
    assert point.value == pytest.approx(0.3)
    assert point.high - point.value == pytest.approx(T9 * 0.4 / 9**0.5)
    out = plot_runs([run.directory], tmp_path / "plot.png", metric="overestimation")
    assert out.read_bytes().startswith(PNG)


def test_no_run_and_no_such_metric_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least one run directory, and none came"):
        plot_runs([], tmp_path / "x.png")
    with pytest.raises(ConfigError, match=r"unknown metric .sucess.\. Did you mean success"):
        plot_runs([tmp_path], tmp_path / "x.png", metric="sucess")


def test_values_that_were_not_predicted_cannot_be_shown(tmp_path):
    run = write_run(tmp_path / "run", predicts=False)
    with pytest.raises(ConfigError, match="predicts no values"):
        plot_runs([run], tmp_path / "plot.png", metric="overestimation")


def test_torn_last_line_is_left_out(tmp_path):
    path = write_run(tmp_path / "run") / "metrics.jsonl"
    whole = read_rows(path)
    path.write_text(path.read_text() + '{"kind": "eval", "env_st')
    assert read_rows(path) == whole


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
@pytest.mark.long
def test_formats(tmp_path, suffix):
    out = plot_runs([write_run(tmp_path / "run")], tmp_path / "new" / f"plot{suffix}")
    assert out.stat().st_size > 2000


def test_seeds_share_one_curve_with_their_range(tmp_path):
    runs = [write_run(tmp_path / f"s{seed}", seed=seed, evals=3 + seed) for seed in (1, 2)]
    svg = plot_runs(runs, tmp_path / "plot.svg").read_text()
    assert "mean of 2 seeds" in svg
    assert "after training" in svg


def drawn(runs, out, monkeypatch):
    """The figure of ``runs``: its diamonds [x, y], its legend, and how many bands it has."""
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: kept.append(figure))
    plot_runs(runs, out)
    (axes,) = kept[0].axes
    diamonds = [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "D"]
    _, labels = axes.get_legend_handles_labels()
    return sorted(diamonds), " ".join(" ".join(labels).split()), len(axes.collections)


def test_a_final_evaluation_stands_where_training_ended(tmp_path, monkeypatch):
    """Not right of everything, and not as if it were the last evaluation of the longest run."""
    short = write_run(tmp_path / "short", evals=3, name="cqn-metaworld")
    path = short / "metrics.jsonl"
    *rows, last = map(json.loads, path.read_text().splitlines())
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, {**last, "env_steps": 250})))
    diamonds, _, _ = drawn([short, write_run(tmp_path / "long", evals=6)], tmp_path / "plot.png", monkeypatch)
    assert diamonds == [(250, pytest.approx(0.5)), (500, pytest.approx(0.8))]


def test_runs_of_other_lengths_are_not_averaged(tmp_path, monkeypatch):
    runs = [write_run(tmp_path / f"s{seed}", seed=seed, evals=evals) for seed, evals in ((1, 4), (2, 4), (3, 6))]
    diamonds, legend, _ = drawn(runs, tmp_path / "plot.png", monkeypatch)
    assert diamonds == [(300, pytest.approx(0.6)), (500, pytest.approx(0.8))]
    assert "mean of 3 seeds, over the 4 steps at which all of them were evaluated" in legend
    assert "after training at 300: 60%, mean of 2 of 3 seeds, 10 fresh episodes each" in legend
    assert "after training at 500: 80%, 1 of 3 seeds, 10 fresh episodes" in legend


def test_a_figure_has_one_kind_of_band_and_names_it(tmp_path, monkeypatch):
    seeds = [write_run(tmp_path / f"s{seed}", seed=seed) for seed in (1, 2)]
    alone = write_run(tmp_path / "alone", name="cqn-metaworld")
    with monkeypatch.context() as patch:
        _, legend, bands = drawn([alone], tmp_path / "alone.png", patch)
    assert legend.count("95 % interval of each evaluation") == 1
    _, legend, mixed = drawn([*seeds, alone], tmp_path / "mixed.png", monkeypatch)
    assert legend.count("lowest to highest seed") == 1
    assert "95 %" not in legend
    # The run of its own has no range, and no interval is drawn among ranges: no more bands than one experiment has. The
    # error bars of its diamond are there, of no height.
    assert mixed == bands + 1


def test_runs_without_a_curve_are_named_by_their_diamonds(tmp_path):
    """Of two experiments; a run with a curve has its name there."""
    runs = [write_run(tmp_path / name, name=name, evals=evals) for name, evals in (("td3-dmc", 1), ("sac-dmc", 3))]
    path = runs[0] / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if '"final"' in line))
    drawn = plot_runs(runs, tmp_path / "plot.svg").read_text()
    assert re.search(r"td3[^<]*: after training", drawn)
    assert not re.search(r"sac[^<]*: after training", drawn)


def test_weights_of_the_best_evaluation_are_named(tmp_path):
    run = write_run(tmp_path / "run")
    path = run / "metrics.jsonl"
    *rows, last = map(json.loads, path.read_text().splitlines())
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, {**last, "best_env_steps": 100})))
    assert "best weights, those of 100" in plot_runs([run], tmp_path / "plot.svg").read_text()


@pytest.mark.long
def test_presets_are_plotted_as_curves_of_their_own(tmp_path):
    runs = [write_run(tmp_path / name, name=name) for name in ("cqn_as-metaworld", "cqn-metaworld")]
    out = plot_runs(runs, tmp_path / "plot.png")
    assert out.read_bytes().startswith(PNG)
    assert len({read_run(run).name for run in runs}) == 2


def test_options_that_differ_are_experiments_of_their_own_and_are_named(tmp_path):
    """The same preset with other settings is no further seed of it, whatever its seed."""
    wider = dataclasses.replace(preset("quickstart").agent, hidden_dim=96)
    runs = [write_run(tmp_path / f"plain{seed}", seed=seed) for seed in (1, 2)]
    runs += [write_run(tmp_path / f"wide{seed}", seed=seed, agent=wider) for seed in (2, 3)]
    runs.append(write_run(tmp_path / "other", name="cqn-metaworld"))
    groups = experiments(read_run(run) for run in runs)
    assert [[run.directory.name for run in members] for members in groups.values()] == [
        ["plain1", "plain2"],
        ["wide2", "wide3"],
        ["other"],
    ]
    plain, wide, other = groups
    assert plain.endswith(f", agent.hidden_dim {preset('quickstart').agent.hidden_dim}")
    assert wide.endswith(", agent.hidden_dim 96")
    assert other.endswith("(preset cqn-metaworld)")


def test_length_and_fields_of_newer_versions_make_no_other_experiment(tmp_path):
    runs = [write_run(tmp_path / "short"), write_run(tmp_path / "long", seed=2, steps=9_000, threads=2)]
    older = json.loads((runs[0] / "config.json").read_text())
    del older["precision"]
    (runs[0] / "config.json").write_text(json.dumps(older))
    assert len(experiments(read_run(run) for run in runs)) == 1


def test_the_same_seed_twice_is_not_called_two_seeds(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("one", "again")]
    assert "mean of 2 runs" in plot_runs(runs, tmp_path / "plot.svg").read_text()


@pytest.mark.long
def test_metric_follows_the_environment(tmp_path):
    run = write_run(tmp_path / "run", success=False)
    assert read_run(run).natural_metric == "return"
    assert plot_runs([run], tmp_path / "plot.png").exists()
    with pytest.raises(ConfigError, match="reports no success"):
        plot_runs([run], tmp_path / "plot.png", metric="success")


def test_run_that_has_only_begun_or_only_ended(tmp_path):
    begun = write_run(tmp_path / "begun")
    (begun / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="no evaluation yet"):
        plot_runs([begun], tmp_path / "plot.png")
    ended = write_run(tmp_path / "ended", evals=1)
    rows = (ended / "metrics.jsonl").read_text().splitlines()
    (ended / "metrics.jsonl").write_text(rows[-1] + "\n")
    assert plot_runs([ended], tmp_path / "plot.png").exists()


def test_wrong_inputs_are_explained(tmp_path):
    with pytest.raises(CheckpointError, match="no run directory"):
        plot_runs([tmp_path], tmp_path / "plot.png")
    with pytest.raises(ConfigError, match=r"\.png"):
        plot_runs([tmp_path], tmp_path / "plot.jpeg")


def dots(image: str) -> list[list[bool]]:
    """The drawing's dots as [row][column], from the braille characters."""
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    lines = [line.split("┤")[1] for line in image.splitlines() if "┤" in line]
    return [[bool(ord(c) - 0x2800 & b) for c in line for b in row] for line in lines for row in bits]


def test_terminal_curve_runs_from_corner_to_corner():
    image = plot_curve([0, 10], [0.0, 1.0], bounds=(0, 1), percent=True, width=20, height=5)
    grid = dots(image)
    assert grid[-1][0]
    assert grid[0][-1]
    # Every column holds a dot, and neighbours touch.
    heights = [[r for r in range(len(grid)) if grid[r][c]] for c in range(len(grid[0]))]
    assert all(heights)
    assert all(min(a) - 1 <= max(b) for a, b in pairwise(heights))
    assert "100%" in image
    assert "0%" in image
    assert "10 environment steps" in image


def test_terminal_curve_has_no_gaps_at_a_jump():
    grid = dots(plot_curve([0, 1, 1.001, 2], [0, 0, 1, 1], bounds=(0, 1), width=20, height=5))
    assert all(any(row) for row in grid)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [-1e6, 2e6]])
def test_terminal_curve_fits_any_values(values):
    grid = dots(plot_curve(list(range(len(values))), values))
    assert all(any(row[c] for row in grid) for c in range(len(grid[0])))


def test_terminal_curve_refuses_nothing_to_draw():
    with pytest.raises(ValueError, match="one value per step"):
        plot_curve([], [])


def test_a_damaged_row_costs_itself_alone_and_is_named(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "eval", "a": 1}\n{"kind": "ev\n[1]\n{"kind": "eval", "a": 2}\n{"kind": "half')
    assert [row["a"] for row in read_rows(path)] == [1, 2]
    for number, named in ((1, False), (2, True), (3, True), (4, False), (5, False)):
        assert (f"line {number} is damaged" in caplog.text) == named


@pytest.fixture
def logged(tmp_path):
    """Three rows as a run writes them."""
    logger = Logger(tmp_path)
    logger.open()
    for step in (1000, 2000, 3000):
        logger.write("eval", {"env_steps": step, "agent_steps": step, "updates": 0, "return_mean": 0.1 * step})
    logger.close()
    return tmp_path / "metrics.jsonl"


def test_every_changed_bit_of_a_row_is_noticed_and_costs_no_other(logged, caplog):
    """Whichever of a line: digit, name, hash or line break (which costs the line behind it too)."""
    whole, content = read_rows(logged), logged.read_bytes()
    ends = [at for at, byte in enumerate(content) if byte == ord("\n")]
    for at in range(len(content)):
        logged.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        caplog.clear()
        line = sum(end < at for end in ends)
        lost = {line, line + 1} if at in ends else {line}
        assert read_rows(logged) == [row for index, row in enumerate(whole) if index not in lost], at
        assert f"{logged}, line {line + 1} is damaged" in caplog.text, at


def test_what_the_clock_decides_is_no_part_of_the_hash():
    """Rows of two runs that are equal otherwise stay equal with it; the names of those fields are a part."""
    row = {"kind": "train", "env_steps": 5, "seconds": 1.5, "loss": 0.25}
    lines = [sealed_row({**row, "seconds": seconds}) for seconds in (1.5, 2.25)]
    assert len({json.loads(line)["digest"] for line in lines}) == 1
    assert read_row(lines[1].encode()) == ({**row, "seconds": 2.25}, True)
    for line in (lines[0].replace("seconds", "secands"), lines[0].replace("0.25", "0.5")):
        with pytest.raises(ValueError, match="does not match"):
            read_row(line.encode())


def test_a_row_without_a_hash_cannot_follow_one_that_has(logged, caplog):
    """A run of an older version goes on with rows that have one; the other way about, the hash was removed."""
    whole, lines = read_rows(logged), logged.read_text().splitlines()
    old = [json.dumps(row) for row in whole]
    logged.write_text("\n".join([*old, *lines]) + "\n")
    assert read_rows(logged) == [*whole, *whole]
    assert not caplog.text
    logged.write_text("\n".join([*lines, old[0]]) + "\n")
    assert read_rows(logged) == whole
    assert "line 4 is damaged (its checksum is missing)" in caplog.text


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_row_that_is_still_being_written_is_left_out_and_not_named(logged, caplog, cut):
    whole = read_rows(logged)
    logged.write_bytes(logged.read_bytes()[:-cut])
    assert read_rows(logged) == (whole if cut == 1 else whole[:2])
    assert not caplog.text
