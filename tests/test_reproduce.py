"""Experiments of papers: registered before they run, resumed cell by cell, judged by what was registered."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from benchmarks import reproduce_record
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from zoomrl.analysis import statistics
from zoomrl.cli.main import main
from zoomrl.cli.reproduce import Reproduce, _Progress
from zoomrl.control.config import ControlConfig
from zoomrl.data.episode import Episode
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.layout import DATA_DIR
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import CheckpointError, ConfigError, DemonstrationError, MissingDependencyError
from zoomrl.files import read_json, write_json
from zoomrl.math.grid import snap
from zoomrl.reproduce.cells import (
    Outcome,
    check_configs,
    check_numbers,
    drop_stale,
    failure_file,
    keep,
    outcomes,
    result_file,
    runs,
    seconds_left,
    trained_with,
    training,
)
from zoomrl.reproduce.experiment import Arm, Cell, Claim, Contrast, Experiment, Scale
from zoomrl.reproduce.experiments import bc_terms
from zoomrl.reproduce.experiments.ensemble import LENGTH, coarse_chunks, replays
from zoomrl.reproduce.experiments.return_to_go import WINDOW, inputs, windows
from zoomrl.reproduce.page import estimate_in_words, in_words, write_page
from zoomrl.reproduce.read import EPISODES, SUCCESS, practice_numbers
from zoomrl.reproduce.registration import register
from zoomrl.reproduce.registry import MODULES, experiments, find
from zoomrl.reproduce.sources import source_digest
from zoomrl.reproduce.verdict import conclude, improvement, interval, judge, mean_of
from zoomrl.reproduce.work import Collecting, Work, alone, check_needs, forget_failures, measure_one
from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.rows import sealed_row
from zoomrl.training.scripted import scripted_demos, scripted_path

ENV = "gym:benchmarks.chaos.toy:Chaos-v0"
CLAIM = Claim("Left is more than right.", "nobody, figure 0", "direction only")
SMALL = {
    "preset": "cqn-gym",
    "steps": 60,
    "seed_steps": 10,
    "control.uniform_steps": 10,
    "replay.batch_size": 8,
    "replay.capacity": 200,
    "agent.hidden_dim": 8,
    "eval.every": 30,
    "eval.episodes": 2,
    "eval.final_episodes": 2,
    "env.time_limit": 12,
}


def measured(arm, task, seed, scale, place):
    """The seed, and more of it where the arm says so. Spawned processes find it by its name."""
    if arm.options.get("dies"):
        raise RuntimeError("on purpose")
    while (place.parent / "hang").exists() and seed == 2:
        (place.parent / "pid").write_text(str(os.getpid()))
        time.sleep(0.02)
    return {"score": seed + arm.options["more"]}


def final_return(directory):
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {"score": next(row["return_mean"] for row in rows if row["kind"] == "final")}


def contrast(expected="above", threshold=0.0, left="more", right="base", name="more or less", **changes):
    return Contrast(name, "score", left, right, expected, CLAIM, threshold, **changes)


def experiment(arms=None, contrasts=None, scale=None, **changes):
    arms = arms or (
        Arm("base", "as it is", {"more": 0.0}, measured=True),
        Arm("more", "with more", {"more": 1.0}, measured=True),
    )
    fields = {
        "name": "toy",
        "title": "Is more more?",
        "claims": (CLAIM,),
        "arms": arms,
        "scales": {"small": scale or Scale(("a:one", "a:two"), (1, 2), seconds=0.1)},
        "contrasts": (contrast(),) if contrasts is None else contrasts,
        "metrics": {"score": "points"},
        "stop_rule": "all cells",
        "measure": measured,
        "read": final_return,
    }
    return Experiment(**{**fields, **changes})


def measure_all(of, directory, cells=None):
    """Measure cells in this process."""
    scale = of.scale("small")
    for cell in cells or of.cells(scale):
        measure_one(of.measure, of.arm(cell.arm), cell, scale, directory)


# ---- what an experiment is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrasts": (contrast(left="mroe"),)}, "arm of the contrast more or less 'mroe'. Did you mean more"),
        ({"contrasts": (dataclasses.replace(contrast(), metric="scoer"),)}, "Did you mean score"),
        ({"contrasts": (contrast(right="", ratio=True),)}, "ratio of one arm alone"),
        ({"arms": (Arm("a", ""), Arm("a", ""))}, "two arms of one name"),
        ({"contrasts": (contrast(), contrast())}, "two contrasts of one name: more or less, more or less"),
        ({"scale": Scale(("a:b",), (1,), 1.0, only={"base": ("a:c",)})}, "task of an arm of toy 'a:c'"),
        ({"scale": Scale(("a:b",), (1, 2, 1), 1.0)}, "has a seed or task twice"),
        ({"scale": Scale(("a:b",), (1,), 1.0, arms=("mor",))}, "arm of a scale of toy 'mor'"),
        ({"scale": Scale(("a:b",), (1,), 1.0, only={"bas": ()})}, "arm of a scale of toy 'bas'"),
        ({"measure": None}, "no measurement"),
        ({"arms": (Arm("base", ""), Arm("more", "")), "read": None}, "reads nothing of its runs"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        experiment(**changes)


def test_cells_go_seed_by_seed_and_leave_out_what_a_scale_does():
    of = experiment(scale=Scale(("a:one", "a:two"), (1, 2), 1.0, only={"more": ("a:two",)}))
    names = [cell.name for cell in of.cells(of.scale("small"))]
    assert names[:3] == ["base-a-one-s1", "base-a-two-s1", "more-a-two-s1"]
    assert len(names) == 6
    few = experiment(scale=Scale(("a:one",), (1,), 1.0, arms=("base",)))
    assert [cell.arm for cell in few.cells(few.scale("small"))] == ["base"]
    assert few.contrasts_of(few.scale("small")) == ()
    with pytest.raises(ConfigError, match="scale of toy"):
        of.scale("big")


@pytest.mark.long
@pytest.mark.parametrize("name", MODULES)
def test_every_experiment_builds_the_configs_of_all_cells(name, tmp_path):
    found = find(name)
    assert found.name == name
    for scale in ("small", "full"):
        size = found.scale(scale)
        cells = list(found.cells(size))
        configs = runs(found, scale, tmp_path)
        assert len({cell.name for cell in cells}) == len(cells)
        assert len(configs) == sum(not found.arm(cell.arm).measured for cell in cells)
        assert found.contrasts_of(size), "a scale that answers nothing"
        for cell in cells:
            if cell.name in configs:
                assert (configs[cell.name].seed, configs[cell.name].env.id) == (cell.seed, cell.task)
        # Runs of two arms that are one and the same would be no comparison.
        alike = [repr(config.to_dict()) for config in configs.values()]
        assert len(set(alike)) == len(alike)
    claims = {claim.text for claim in found.claims}
    assert {one.claim.text for one in found.contrasts} == claims
    assert len(found.scale("small").seeds) >= 4 or "few seeds" in " ".join(found.deviations)


@pytest.mark.parametrize(("scale", "total", "before"), [("small", 1500, 1000), ("full", 100_000, 66_667)])
def test_arms_of_cal_ql_make_equally_many_updates(tmp_path, scale, total, before):
    for name, config in runs(find("cal-ql"), scale, tmp_path).items():
        while_practising = round(config.steps * config.updates_per_step)
        assert config.offline_updates + while_practising == total, name
        arm = name.partition("-metaworld")[0].partition("-bigym")[0]
        assert config.offline_updates == {"offline": total, "offline-online": before, "online": 0}[arm]


def test_experiments_are_listed_with_what_they_take(capsys):
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    for one in experiments():
        assert one.name in printed
        assert one.title[:40] in printed
    assert re.search(r"return-to-go .* 120: 1\.6 h ", printed)
    assert re.search(r"resnet .* 8: 0\.1 h ", printed)  # less, and not nothing


def test_a_name_that_is_not_known_is_refused(capsys):
    assert main(["reproduce", "return-to-og"]) == 2
    assert "Did you mean return-to-go" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_run_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "bc-terms", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[1] == "it needs: the simulators of metaworld"
    assert re.search(r"lambda-0 +│ +2 │ +4 │ +0 │ +0 │ +8 │", printed)
    assert "stop rule: " in printed
    assert len(lines) < 60
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_the_cells_of_each_arm_and_names_thresholds(tmp_path, monkeypatch, capsys):
    of = experiment(
        arms=(Arm("base", "", {"more": 0.0}, True), Arm("more", "", {"dies": True}, True)),
        contrasts=(contrast(threshold=0.25), contrast(ratio=True, threshold=3.0, expected="below", name="times")),
        scale=Scale(("a:one", "a:two"), (1, 2), 1.0, only={"more": ("a:two",)}),
    )
    monkeypatch.setattr("zoomrl.reproduce.registry.find", lambda name: of)
    register(of, "small", tmp_path / "x")
    measure_all(of, tmp_path / "x", list(of.cells(of.scale("small")))[:3])
    assert Reproduce("toy", out=tmp_path / "x", dry_run=True).run() == 0
    printed = capsys.readouterr().out
    assert re.search(r"base +│ +2 │ +2 │ +2 │ +0 │ +2 │", printed)
    assert re.search(r"more +│ +1 │ +2 │ +0 │ +1 │ +1 │", printed)
    assert re.search(r"score: more - base +│ above 0.25", printed)
    assert re.search(r"score: more / base +│ below 3", printed)
    assert "registered: 2" in printed


def test_a_dry_run_names_the_sets_of_all_tasks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demos" / "move_plate").mkdir(parents=True)
    for name in ("sequence-length", "return-to-go"):  # the one trains, the other measures
        assert main(["reproduce", name, "--scale", "full", "--dry-run"]) == 0
        printed = capsys.readouterr().out
        assert "  demos/move_plate: there\n" in printed
        assert "  demos/saucepan_to_hob: not there\n" in printed
        assert "{task}" not in printed


def test_a_dry_run_refuses_what_the_command_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zoomrl.reproduce.registry.find", lambda name: experiment(stop_rule="soon"))
    register(experiment(), "small", tmp_path / "x")
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "thesis.tex").touch()
    for dry_run in (True, False):
        with pytest.raises(CheckpointError, match='stop_rule: "all cells" -> "soon"'):
            Reproduce("toy", out=tmp_path / "x", dry_run=dry_run).run()
        with pytest.raises(CheckpointError, match="not empty"):
            Reproduce("toy", out=tmp_path / "y", dry_run=dry_run).run()
        with pytest.raises(ConfigError, match="--workers must be at least 0, got -1"):
            Reproduce("toy", out=tmp_path / "z", dry_run=dry_run, workers=-1).run()
    assert not (tmp_path / "z").exists()


def test_a_simulator_that_is_not_there_is_named(tmp_path, monkeypatch):
    of = experiment(scale=Scale(("rlbench:open_drawer",), (1,), 1.0))
    monkeypatch.setitem(sys.modules, "rlbench", None)
    with pytest.raises((MissingDependencyError, ConfigError), match=r"(?i)rlbench"):
        check_needs(of, "small", tmp_path)


def test_a_set_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DemonstrationError, match=r"needs BiGym.* no demos/\w+ here"):
        check_needs(find("sequence-length"), "full", tmp_path)


# ---- registration ----------------------------------------------------------------------------------------------


def test_a_registration_is_kept_and_another_is_refused_by_what_differs(tmp_path):
    first = register(experiment(), "small", tmp_path / "x")
    assert first["arms"][1]["options"] == {"more": 1.0}
    assert first["stop_rule"] == "all cells"
    assert {"zoomrl", "date"} <= first.keys()
    assert register(experiment(), "small", tmp_path / "x") == first
    reworded = experiment(title="Is it?", deviations=("found out later",), metrics={"score": "points of 10"})
    assert register(reworded, "small", tmp_path / "x") == first, "words may become better"
    other = experiment(
        contrasts=(contrast(threshold=0.5),), scale=Scale(("a:one", "a:two"), (1, 2, 3), 9.0), stop_rule="soon"
    )
    with pytest.raises(CheckpointError) as error:
        register(other, "small", tmp_path / "x")
    message = str(error.value)
    assert "contrasts.more or less.threshold: 0.0 -> 0.5" in message
    assert "seeds: [1, 2] -> [1, 2, 3]" in message
    assert 'stop_rule: "all cells" -> "soon"' in message
    assert "--out" in message
    fewer = experiment(arms=(experiment().arms[0],), contrasts=())
    with pytest.raises(CheckpointError, match=r"arms\.more: \{.* -> nothing"):
        register(fewer, "small", tmp_path / "x")


def test_what_differs_is_told_in_order_down_to_the_part_and_counted(tmp_path):
    """Two of the long texts are alike for longer than is shown."""
    text = "The return is told better by actions that follow than by any that came before, " * 2
    arms = tuple(Arm(f"a{number:02}", "", {"more": 0.0}, measured=True) for number in range(12))
    claims = Claim(text + "today.", "nobody", "no"), Claim(text + "tomorrow.", "nobody", "no")
    first, second = (experiment(arms=arms, contrasts=(), claims=(CLAIM, one)) for one in claims)
    register(first, "small", tmp_path / "x")
    with pytest.raises(CheckpointError) as error:
        register(second, "small", tmp_path / "x")
    (line,) = [line for line in str(error.value).splitlines() if line.startswith("  - ")]
    assert re.fullmatch(r'  - claims\[1\]\.text: "?\.\.\..*today\." -> "?\.\.\..*tomorrow\."', line)
    changed = tuple(dataclasses.replace(arm, options={"more": 1.0}) for arm in arms)
    other = experiment(arms=changed, contrasts=(), claims=(CLAIM, claims[0]), name="another")
    with pytest.raises(CheckpointError) as error:
        register(other, "small", tmp_path / "x")
    lines = [line for line in str(error.value).splitlines() if line.startswith("  - ")]
    assert lines[:2] == ['  - experiment: "toy" -> "another"', "  - arms.a00.options.more: 0.0 -> 1.0"]
    assert len(lines) == 11
    assert lines[-1] == "  - and 3 more"


def test_a_registration_that_was_edited_is_refused_without_saying_how_to_hide_it(tmp_path):
    register(experiment(), "small", tmp_path)
    path = tmp_path / "registration.json"
    written = path.read_text()
    edited = re.sub(r'"date": "\d{4}', '"date": "1999', written)
    without = "".join(line for line in edited.splitlines(keepends=True) if '"digest"' not in line)
    plain = json.dumps(json.loads(without.replace("\n}", "}").replace(",}", "}")))
    anew = json.dumps(json.loads(written))  # its digest in another layout
    for content in (edited, without, plain, anew, written[:-20]):
        path.write_text(content)
        with pytest.raises(CheckpointError, match="is not what was written there") as error:
            register(experiment(), "small", tmp_path)
        assert "remove" not in str(error.value)
        with pytest.raises(CheckpointError, match="is not what was written there"):
            conclude(experiment(), "small", tmp_path, "")
    path.write_text(written)
    assert register(experiment(), "small", tmp_path)["stop_rule"] == "all cells"


def test_a_directory_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(CheckpointError, match="not empty"):
        register(experiment(), "small", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_one_process_at_a_time(tmp_path):
    with alone(tmp_path / "x"), pytest.raises(CheckpointError, match="another process"), alone(tmp_path / "x"):
        pass


# ---- cells ------------------------------------------------------------------------------------------------------


def test_a_measurement_is_kept_and_a_failure_is_named(tmp_path):
    of = experiment(arms=(Arm("base", "", {"more": 0.0}, True), Arm("more", "", {"dies": True}, True)))
    register(of, "small", tmp_path)
    states = outcomes(of, "small", tmp_path)
    assert {(one.problem, one.over) for one in states} == {("not run yet", False)}
    measure_all(of, tmp_path)
    found = {one.cell: one for one in outcomes(of, "small", tmp_path)}
    assert found[Cell("base", "a:two", 2)].numbers == {"score": 2.0}
    assert found[Cell("more", "a:two", 2)].problem == "failed: RuntimeError: on purpose"
    assert all(one.over for one in found.values())
    kept = read_json(result_file(tmp_path, Cell("base", "a:one", 1)))
    assert kept["seconds"] >= 0
    verdict = conclude(of, "small", tmp_path, "zoomrl reproduce toy")
    assert len(verdict["missing"]) == 4
    assert verdict["claims"][0]["pairs"] == 0
    assert verdict["claims"][0]["missing"] == 4
    assert "no pair of cells" in in_words(verdict["claims"][0])
    assert all(one["failed"] for one in verdict["missing"])
    assert "on purpose" in write_page(verdict, tmp_path).read_text()
    forget_failures(of, "small", tmp_path)
    assert not failure_file(tmp_path, Cell("more", "a:two", 2)).exists()


def test_a_measurement_of_other_options_is_not_taken(tmp_path):
    of = experiment()
    cell = next(iter(of.cells(of.scale("small"))))
    measure_all(of, tmp_path, [cell])
    assert outcomes(of, "small", tmp_path)[0].numbers == {"score": 1.0}
    arms = (Arm("base", "as it is", {"more": 0.5}, measured=True), of.arms[1])
    with pytest.raises(CheckpointError, match=r"was made with another config"):
        outcomes(experiment(arms=arms), "small", tmp_path)


def test_cells_say_where_they_were_made_and_the_page_names_each_machine_once(tmp_path, monkeypatch):
    of = experiment()
    register(of, "small", tmp_path)
    cells = list(of.cells(of.scale("small")))
    measure_all(of, tmp_path, cells[:3])
    there = {"cpu": "Another CPU", "cores": 64, "memory_gb": 512.0, "system": "Linux"}
    monkeypatch.setattr("zoomrl.reproduce.cells.hardware", lambda: there)
    measure_all(of, tmp_path, cells[3:])
    verdict = conclude(of, "small", tmp_path, "")
    assert [one["source"] for one in verdict["made_on"]] == [source_digest()] * 2
    assert there in [one["hardware"] for one in verdict["made_on"]]
    page = write_page(verdict, tmp_path).read_text()
    assert page.count("64 cores of Another CPU") == 1
    assert page.count(" cores of ") == 2
    assert "states of the source" not in page


def test_the_time_left_is_that_of_the_arms_cells():
    def of(arm, seconds=None, over=True):
        numbers = None if seconds is None else {"score": 1.0}
        return Outcome(Cell(arm, "a:one", 1), numbers, over=over, seconds=seconds or 0.0)

    found = [of("base", 10.0), of("more", 40.0), of("base"), *[of("base", over=False)] * 4]
    assert seconds_left(found, 1) == 40.0, "one that failed tells nothing"
    assert seconds_left(found, 2) == 20.0
    assert seconds_left([*found, of("third", over=False)], 8) == 25.0, "a cell takes its own time, however many work"
    assert seconds_left(found[:3], 2) == 0
    assert seconds_left(found[3:], 2) is None


def test_how_far_it_is_is_told_with_the_time_left(tmp_path, capsys):
    progress = _Progress(experiment(), "small", tmp_path, 2)
    done = Outcome(Cell("base", "a:one", 1), {"score": 1.0}, seconds=90.0)
    progress.say_counts([done, *[Outcome(done.cell, None, over=False)] * 4])
    progress.say_counts([done])
    said = ["1 of 5 cells over, about 00:03:00 left", "1 of 1 cell over"]
    assert capsys.readouterr().err.splitlines() == said


def test_a_collection_is_told_when_it_begins_and_when_it_ends(tmp_path, monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now.__setitem__(0, now[0] + 2) or now[0])
    os.utime(touched(tmp_path / ".killed.lock"), (1.0, 1.0))
    watch = Collecting(tmp_path, said.append)
    watch.look()
    assert said == []
    touched(tmp_path / ".a.lock")
    (tmp_path / "a").mkdir()
    watch.look()
    watch.look()
    assert said == [f"collecting demonstrations into {tmp_path / 'a'}; the cells that learn from them wait"]
    (tmp_path / "a" / DATA_DIR).mkdir()
    watch.look()
    watch.look()
    assert said[1:] == [f"collected {tmp_path / 'a'}"]


def test_a_collection_that_was_killed_is_told_again_when_it_goes_on(tmp_path, monkeypatch):
    config, env, said = DemoConfig(episodes=1, directory=str(tmp_path)), EnvConfig(id=ENV), []
    path = scripted_path(config, env)
    os.utime(touched(tmp_path / f".{path.name}.lock"), (1.0, 1.0))
    watch = Collecting(tmp_path, said.append)

    def collect(*_):
        watch.look()
        raise DemonstrationError("killed again")

    monkeypatch.setattr("zoomrl.training.scripted._collect", collect)
    with pytest.raises(DemonstrationError, match="killed again"):
        scripted_demos(config, env, Console(quiet=True))
    assert said == [f"collecting demonstrations into {path}; the cells that learn from them wait"]


def touched(path):
    path.touch()
    return path


@pytest.mark.parametrize("numbers", [{}, {"score": float("nan")}, {"score": 1.0, "other": float("inf")}])
def test_no_number_is_no_result(numbers):
    with pytest.raises(ValueError, match=r"no number|is nan|is inf"):
        check_numbers(numbers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path, data: path.write_text(path.read_text().replace('"score": 1', '"score": 9')),
            "Remove it to run",
        ),
        (lambda path, data: path.write_text(json.dumps(data)), "was damaged or edited since. Remove it"),
        (lambda path, data: write_json(path, {**data, "seed": 2}), "is of another cell, .*'seed': 2"),
        (lambda path, data: write_json(path, {**data, "numbers": {"score": True}}), "holds no numbers"),
    ],
)
def test_a_measurement_that_is_not_the_one_that_was_made_is_refused(tmp_path, change, message):
    of = experiment()
    measure_all(of, tmp_path)
    path = result_file(tmp_path, Cell("base", "a:one", 1))
    change(path, read_json(path))
    with pytest.raises(CheckpointError, match=message):
        outcomes(of, "small", tmp_path)


def test_a_cell_that_would_run_otherwise_than_registered_is_refused(tmp_path):
    """As when a preset has changed: steps and evaluations too, which a run by itself may change."""

    def of(**options):
        arms = (Arm("base", "as it is"), Arm("more", "without zoom", {"agent.levels": 1}))
        return experiment(arms=arms, measure=None, scale=Scale((ENV,), (1,), 1.0, options={**SMALL, **options}))

    register(of(), "small", tmp_path)
    check_configs(of(), "small", tmp_path)
    Work(of(), "small", tmp_path, 1, lambda text: None)
    check_configs(of(), "small", tmp_path)
    with pytest.raises(
        CheckpointError, match=r"base-.*-s1 would not run as it was registered: eval.final_episodes: .* -> 77"
    ):
        check_configs(of(**{"eval.final_episodes": 77}), "small", tmp_path)
    with pytest.raises(CheckpointError, match=r"steps: .* -> 77"):
        Work(of(steps=77), "small", tmp_path, 1, lambda text: None)


def test_numbers_of_a_run_with_another_config_are_refused(tmp_path):
    """As those of another version, or of a directory with other options, that were copied here."""

    def of(**options):
        scale = Scale((ENV,), (1,), 1.0, options={**SMALL, **options})
        return experiment(arms=(Arm("base", ""), Arm("more", "")), measure=None, scale=scale)

    cell = Cell("base", ENV, 1)
    config = runs(of(), "small", tmp_path)[cell.name]
    keep(tmp_path, cell, {"score": 3.0}, 1.0, trained_with(config))
    found = {one.cell: one for one in outcomes(of(), "small", tmp_path)}
    assert found[cell].numbers == {"score": 3.0}
    assert not found[Cell("more", ENV, 1)].over
    with pytest.raises(CheckpointError, match=r"was made with another config.*remove it"):
        outcomes(of(**{"eval.final_episodes": 77}), "small", tmp_path)
    keep(tmp_path, cell, {"score": 3.0}, 1.0, "")
    with pytest.raises(CheckpointError, match="was made with another config"):
        outcomes(of(), "small", tmp_path)
    # Where demonstrations lie is no part of it: each machine has a place of its own for them.
    demos = dataclasses.replace(config.demos, directory="elsewhere")
    keep(tmp_path, cell, {"score": 4.0}, 1.0, trained_with(dataclasses.replace(config, demos=demos)))
    assert outcomes(of(), "small", tmp_path)[0].numbers == {"score": 4.0}


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 20])
def test_parts_are_all_cells_once_and_about_equally_many(parts):
    of = experiment(scale=Scale(("a:one", "a:two"), tuple(range(5)), 1.0))
    size = of.scale("small")
    found = [of.part(size, f"{number + 1}/{parts}") for number in range(parts)]
    assert [cell for part in found for cell in part] == of.part(size, "") == list(of.cells(size))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("which", ["0/2", "3/2", "2", "1/2/3", "-1/2", "a/b", "1/21", "1/0", " 1/2", "1/999999999999"])
def test_a_part_that_is_none_is_refused_before_anything_is_written(which, tmp_path, monkeypatch):
    of = experiment(scale=Scale(("a:one", "a:two"), tuple(range(5)), 1.0))
    monkeypatch.setattr("zoomrl.reproduce.registry.find", lambda name: of)
    with pytest.raises(ConfigError, match="--part must be K/N with K from 1 to N and N at most 20"):
        Reproduce("toy", out=tmp_path / "x", part=which).run()
    assert not (tmp_path / "x").exists()


@pytest.mark.long
def test_parts_of_two_machines_are_judged_together(tmp_path, monkeypatch, capsys):
    of = experiment()
    monkeypatch.setattr("zoomrl.reproduce.registry.find", lambda name: of)
    monkeypatch.setattr("zoomrl.reproduce.work.check_needs", lambda *which: None)
    for number in (1, 2):
        place = tmp_path / str(number)
        assert Reproduce("toy", out=place, part=f"{number}/2", workers=2).run() == 0
        said = capsys.readouterr()
        assert "0 of 4 cells over" in said.err
        assert f"part {number}/2 is over. With the files of {place / 'cells'} of all parts in one" in said.out
        assert {read_json(path)["seed"] for path in (place / "cells").iterdir()} == {number}
        assert read_json(place / "verdict.json")["finished"] is False
        assert Reproduce("toy", out=place, part=f"{number}/2", dry_run=True).run() == 0
        assert f"4 cells: part {number}/2 of arms" in capsys.readouterr().out
    for path in (tmp_path / "2" / "cells").iterdir():
        shutil.copy(path, tmp_path / "1" / "cells")
    assert Reproduce("toy", out=tmp_path / "1").run() == 0
    assert "is over" not in capsys.readouterr().out
    verdict = read_json(tmp_path / "1" / "verdict.json")
    assert verdict["finished"] is True
    assert len(verdict["cells"]) == 8
    assert "--part" not in verdict["command"]


def test_two_states_of_the_source_are_told(tmp_path, monkeypatch):
    of, digests = experiment(), iter(["a", "a", "b", "c"])
    register(of, "small", tmp_path)
    monkeypatch.setattr("zoomrl.reproduce.sources.source_digest", lambda: next(digests))
    for _ in range(3):
        Work(of, "small", tmp_path, 1, lambda text: None)
    monkeypatch.setattr("zoomrl.reproduce.cells.source_digest", lambda: "b")
    measure_all(of, tmp_path)
    Work(of, "small", tmp_path, 1, lambda text: None)  # which has nothing to do
    verdict = conclude(of, "small", tmp_path, "")
    assert [one["digest_of_source"] for one in verdict["sources"]] == ["a", "b"]
    verdict["cells"][0]["seconds"] = 63.0 - sum(cell["seconds"] for cell in verdict["cells"][1:])
    page = write_page(verdict, tmp_path).read_text()
    assert "Cells were made by 2 states of the source." in page
    assert " 1 min 03 s of cells." in page
    (tmp_path / "sources.json").write_text('{"sources": []}')
    with pytest.raises(CheckpointError, match="restore it from a copy"):
        conclude(of, "small", tmp_path, "")


def test_the_digest_of_the_source_is_of_names_and_contents(tmp_path):
    seen = set()
    for name, content in (("a.py", "1"), ("a.py", "2"), ("b.py", "1"), ("c/a.py", "1")):
        package = tmp_path / str(len(seen))
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text(content)
        (package / "other.txt").write_text(str(len(seen)))
        seen.add(source_digest(package))
    assert len(seen) == 4
    assert source_digest() == source_digest()


@pytest.mark.long
def test_cells_go_on_after_a_kill(tmp_path):
    """The parent is killed while a cell hangs: what was measured stays, and the rest follows."""
    directory, code = tmp_path / "x", "import test_reproduce as t; t.work_on({!r})"
    register(experiment(), "small", directory)
    (directory / "hang").touch()
    words = [sys.executable, "-c", code.format(str(directory))]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": paths}, start_new_session=True)
    first = [result_file(directory, Cell(arm, task, 1)) for arm in ("base", "more") for task in ("a:one", "a:two")]
    while not all(path.exists() for path in (*first, directory / "pid")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What measured for it ends too: else it would measure next to whoever goes on.
    began, measuring = time.monotonic(), int((directory / "pid").read_text() or 0)
    while psutil.pid_exists(measuring) and psutil.Process(measuring).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    before = {path: path.read_bytes() for path in first}
    (directory / "hang").unlink()
    said = []
    assert Work(experiment(), "small", directory, 2, said.append).run()
    assert {path: path.read_bytes() for path in first} == before
    assert sorted(line for line in said if "measured" in line) == [
        f"{arm}-a-{task}-s2: measured" for arm in ("base", "more") for task in ("one", "two")
    ]
    assert all(one.numbers for one in outcomes(experiment(), "small", directory))


def work_on(directory):
    Work(experiment(), "small", Path(directory), 1, lambda text: None).run()


def test_a_kept_cell_counts_where_its_run_cannot_be_read_and_a_damaged_one_gives_way(tmp_path, monkeypatch):
    of = experiment(
        arms=(Arm("base", ""), Arm("more", "")), measure=None, scale=Scale((ENV,), (1,), 1.0, options=SMALL)
    )
    register(of, "small", tmp_path)
    cell = Cell("base", ENV, 1)
    keep(tmp_path, cell, {"x": 3.0}, 5.0, trained_with(runs(of, "small", tmp_path)[cell.name]))
    broken = {cell.name: Outcome(cell, None, "its run cannot be read: x")}
    monkeypatch.setattr("zoomrl.reproduce.cells._run", lambda of, sweep, cell: broken.get(cell.name))
    assert outcomes(of, "small", tmp_path)[0].numbers == {"x": 3.0}
    result_file(tmp_path, cell).write_text("")
    broken[cell.name] = Outcome(cell, {"x": 4.0})
    found = outcomes(of, "small", tmp_path)
    assert found[0].numbers == {"x": 4.0}
    drop_stale(found, tmp_path)
    assert not result_file(tmp_path, cell).exists()


@pytest.mark.long
def test_a_stop_leaves_what_is_under_way(tmp_path):
    register(experiment(), "small", tmp_path)
    (tmp_path / "hang").touch()
    work = Work(experiment(), "small", tmp_path, 1, lambda text: None)

    def stop_at_the_hang():
        if len(list((tmp_path / "cells").glob("*.json"))) == 4:
            work.stop()

    assert not work.run(stop_at_the_hang)
    verdict = conclude(experiment(), "small", tmp_path, "")
    assert verdict["finished"] is False
    assert verdict["claims"][0]["verdict"] == "unfinished"
    assert len(verdict["missing"]) == 4
    assert not any(one["failed"] for one in verdict["missing"])
    page = write_page(verdict, tmp_path).read_text()
    assert "not finished" in page
    assert "4 cells not at their end" in page


@pytest.mark.long
def test_a_cell_whose_process_dies_each_time_fails_by_name(tmp_path):
    of = experiment(arms=(Arm("base", "", measured=True),), contrasts=(), measure=os_exit)
    of = dataclasses.replace(of, scales={"small": Scale(("a:one",), (1,), 1.0)})
    register(of, "small", tmp_path)
    assert Work(of, "small", tmp_path, 1, lambda text: None).run()
    assert "status 7, 4 times" in outcomes(of, "small", tmp_path)[0].problem


def os_exit(*_):
    os._exit(7)


@pytest.mark.long
def test_a_whole_experiment_that_trains(tmp_path, monkeypatch, capsys):
    arms = (Arm("base", "as it is"), Arm("more", "without zoom", {"agent.levels": 1}))
    of = experiment(arms=arms, measure=None, scale=Scale((ENV,), (1, 2), 1.0, options=SMALL))
    monkeypatch.setattr("zoomrl.reproduce.registry.find", lambda name: of)
    command = Reproduce("toy", out=tmp_path / "x", workers=2)
    assert command.run() == 0
    verdict = read_json(tmp_path / "x" / "verdict.json")
    assert verdict["finished"] is True
    assert verdict["missing"] == []
    assert {(cell["arm"], cell["seed"]) for cell in verdict["cells"]} == {
        (a, s) for a in ("base", "more") for s in (1, 2)
    }
    sweep = training(of, "small", tmp_path / "x")
    assert len(list((sweep.directory / "runs").iterdir())) == 4
    own = {cell["arm"]: cell["numbers"]["score"] for cell in verdict["cells"] if cell["seed"] == 1}
    for arm, score in own.items():
        assert final_return(sweep.run_dir(Cell(arm, ENV, 1).name))["score"] == score
    printed = capsys.readouterr().out
    assert "more or less: difference" in printed
    page = (tmp_path / "x" / "index.html").read_text()
    assert "Left is more than right." in page
    assert "://" not in page
    (tmp_path / "x" / "verdict.json").unlink()
    stale = Cell("more", ENV, 1)
    keep(tmp_path / "x", stale, {"score": 99.0}, 1.0, trained_with(sweep.runs[stale.name]))
    assert command.run() == 0  # nothing is run again
    assert read_json(result_file(tmp_path / "x", stale))["numbers"] == {"score": own["more"]}
    again = read_json(tmp_path / "x" / "verdict.json")
    assert again["cells"] == verdict["cells"]
    assert again["claims"] == verdict["claims"]
    # Elsewhere, with the numbers of all cells but one and no run: that one is run, and nothing else.
    shutil.copytree(tmp_path / "x" / "cells", tmp_path / "y" / "cells")
    shutil.copy(tmp_path / "x" / "registration.json", tmp_path / "y")
    result_file(tmp_path / "y", Cell("more", ENV, 2)).unlink()
    assert Reproduce("toy", out=tmp_path / "y").run() == 0
    elsewhere = read_json(tmp_path / "y" / "verdict.json")
    assert [path.name for path in (training(of, "small", tmp_path / "y").directory / "runs").iterdir()] == [
        Cell("more", ENV, 2).name
    ]
    assert [cell["numbers"] for cell in elsewhere["cells"]] == [cell["numbers"] for cell in verdict["cells"]]
    assert elsewhere["claims"] == verdict["claims"]


def test_practice_is_read_by_quarters(tmp_path):
    write_json(
        tmp_path / "config.json", runs(find("hard-tasks"), "small", tmp_path)["cqn-metaworld-push-wall-s1"].to_dict()
    )
    ends = {200: False, 4_800: True, 5_000: False, 5_001: True, 15_000: True, 15_100: True, 20_000: False}
    final = {"kind": "final", "updates": 9, "env_steps": 20_000, "episodes": 200, "success_rate": 0.25}

    def read(rows):
        (tmp_path / "metrics.jsonl").write_text("".join(f"{sealed_row(row)}\n" for row in [*rows, final]))
        return practice_numbers(tmp_path)

    rows = [{"kind": "episode", "env_steps": at, "success": success} for at, success in ends.items()]
    assert read(rows) == {"success": 0.25, "episodes": 200, "solved": 4, "first_quarter": 1 / 3, "last_quarter": 0.5}
    assert read(rows[:4]).keys() == {"success", "episodes", "solved", "first_quarter"}, "none ended in the last quarter"
    assert read([]) == read([{**rows[0], "success": None}]) == {"success": 0.25, "episodes": 200}


# ---- verdicts ---------------------------------------------------------------------------------------------------


def values(left, right):
    """Arms more and base, [tasks, seeds] each, as cells hold them."""
    arms = {"more": left, "base": right}
    return {
        arm: {f"t{i}": {j: {"score": float(x)} for j, x in enumerate(row)} for i, row in enumerate(rows)}
        for arm, rows in arms.items()
    }


def judged(more, base, over=True, **changes):
    tasks = [f"t{i}" for i in range(len(more))]
    return judge(contrast(**changes), values(more, base), tasks, range(max(map(len, more))), over)


NOISE = np.array([[0.1, -0.1, 0.05, -0.05], [0.08, -0.08, 0.1, -0.1]])


def test_agrees_differs_and_underpowered_by_construction():
    base = np.zeros((2, 4))
    assert judged(base + 1 + NOISE, base).verdict == "agrees"
    assert judged(base + 1 + NOISE, base, expected="below").verdict == "differs"
    assert judged(base - 1 + NOISE, base).verdict == "differs"
    assert judged(base - 1 + NOISE, base, expected="below").verdict == "agrees"
    weak = judged(base + 0.02 + NOISE, base)
    assert weak.verdict == "underpowered"
    assert weak.pairs == 8
    assert weak.pairs_needed > 8
    assert judged(base + 1 + NOISE, base, threshold=2.0).verdict == "differs"
    assert judged(base + 1 + NOISE, base, over=False).verdict == "unfinished"
    alone = judged(base + 1 + NOISE, base, right="", threshold=0.5)
    assert alone.verdict == "agrees"
    assert alone.estimate.value == pytest.approx(1.0)
    one_seed = judged([[5.0]], [[0.0]])
    assert one_seed.verdict == "underpowered", "a single seed shows no spread"
    assert one_seed.pairs_needed is None
    assert judged(base, base).verdict == "underpowered", "no difference is on neither side of 0"


def test_the_pairs_that_are_said_to_be_needed_would_decide():
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(2, 4))
    noise -= noise.mean()
    weak = judged(noise * 0.5 + 0.3, noise * 0)
    assert weak.verdict == "underpowered"
    many = weak.pairs_needed // 2
    whole = generator.normal(size=(2, many))
    whole = (whole - whole.mean(1, keepdims=True)) / whole.std(1, ddof=1, keepdims=True)
    spread = (noise * 0.5).std(1, ddof=1, keepdims=True)
    assert judged(whole * spread + 0.3, whole * 0).verdict == "agrees"


def test_as_many_pairs_as_the_episodes_ask_for_are_named():
    """Seeds that agree by chance hide what 20 episodes alone make of a success rate."""

    tasks = ("a:one", "a:two")

    def cells(rate):
        return {task: {seed: {SUCCESS: rate, EPISODES: 20.0} for seed in (1, 2, 3, 4)} for task in tasks}

    asked = Contrast("x", SUCCESS, "left", "right", "above", CLAIM)
    found = judge(asked, {"left": cells(0.90), "right": cells(0.85)}, tasks, (1, 2, 3, 4), True)
    assert found.verdict == "underpowered"
    variance = (0.9 * 0.1 + 0.85 * 0.15) / 20  # of one pair
    assert found.pairs_needed > 8
    assert found.pairs_needed == pytest.approx(4 * variance / 0.05**2, rel=0.3)


def test_more_pairs_than_anybody_counts_are_not_told():
    even = NOISE - NOISE.mean() + 1e-6
    assert judged(even, even * 0).verdict == "underpowered"
    assert judged(even, even * 0).pairs_needed is None


def test_a_ratio_is_judged_without_division():
    base = np.ones((2, 4))
    found = judged(6 * base + NOISE, base + NOISE / 10, ratio=True, threshold=5.0)
    assert found.verdict == "agrees"
    assert found.estimate.value == pytest.approx(6.0, abs=0.01)
    assert found.estimate.low < 6 < found.estimate.high
    assert judged(4 * base + NOISE, base, ratio=True, threshold=5.0).verdict == "differs"


@pytest.mark.parametrize("left", [-0.1, 0.0, 0.4])
@pytest.mark.parametrize("right", [-0.1, 0.0, 0.01])
def test_a_ratio_to_what_may_be_0_or_less_tells_nothing(left, right):
    """A bias of -0.1 is not five times one of -0.1, although -0.1 + 0.5 lies above 0."""
    base = np.ones((2, 4))
    found = judged(left * base + NOISE / 10, right * base + NOISE, ratio=True, threshold=5.0)
    assert found.verdict == "underpowered"
    assert (found.estimate.low, found.estimate.high) == (-np.inf, np.inf)


def test_the_interval_of_a_ratio_is_that_of_the_verdict():
    """Thresholds within it do not decide, those beyond it do."""
    generator = np.random.default_rng(4)
    left, right = generator.normal(6, 1, (2, 4)), generator.normal(2, 0.3, (2, 4))
    found = judged(left, right, ratio=True).estimate
    assert found.value == pytest.approx(left.mean() / right.mean())
    assert 1 < found.low < found.value < found.high < 10
    for threshold, verdict in (
        (found.low - 0.01, "agrees"),
        (found.low + 0.01, "underpowered"),
        (found.high - 0.01, "underpowered"),
        (found.high + 0.01, "differs"),
    ):
        assert judged(left, right, ratio=True, threshold=threshold).verdict == verdict
    lone = judged([[6.0]], [[2.0]], ratio=True, threshold=2.0)
    assert lone.verdict == "underpowered"
    assert lone.estimate.low == -np.inf


def test_rates_that_are_equal_by_chance_do_not_decide():
    """One success of 50 in each of four seeds: the seeds show no spread, and the episodes do."""

    def both(rate, episodes):
        one = {"t0": {seed: {"success": rate, "episodes": episodes} for seed in range(4)}}
        none = {"t0": {seed: {"success": 0.0, "episodes": episodes} for seed in range(4)}}
        question = dataclasses.replace(contrast(), metric="success")
        return judge(question, {"more": one, "base": none}, ["t0"], range(4), True)

    few = both(0.02, 50.0)
    assert few.verdict == "underpowered"
    assert few.estimate.low < 0 < few.estimate.high
    variance = sum((k + 2) / 204 * (1 - (k + 2) / 204) / 204 for k in (4, 0))
    assert few.estimate.high == pytest.approx(0.02 + 3.1824 * variance**0.5, rel=1e-4)
    assert both(0.3, 50.0).verdict == "agrees"


def test_what_failed_cells_leave_is_not_judged():
    """The pairs that are left may be another question: runs whose values explode are those that fail."""
    left, right = values([[1.0, 1.1, 0.9, 1.0]] * 2, [[0.0] * 4] * 2).values()
    question, asked = contrast(), (["t0", "t1"], range(4), True)
    assert judge(question, {"more": left, "base": right}, *asked).verdict == "agrees"
    del left["t0"][1]
    assert judge(question, {"more": left, "base": right}, *asked).verdict == "agrees", (
        "a number that has no meaning there"
    )
    for arm, task, verdict in (("more", "t0", "incomplete"), ("other", "t0", "agrees"), ("base", "t9", "agrees")):
        assert judge(question, {"more": left, "base": right}, *asked, {(arm, task, 1)}).verdict == verdict
    del left["t0"]
    whole = judge(question, {"more": left, "base": right}, *asked)
    assert (whole.verdict, whole.pairs, whole.missing) == ("incomplete", 4, 4)
    assert judge(question, {"more": {}, "base": right}, *asked).verdict == "incomplete"


def test_missing_cells_are_counted_and_pairs_are_of_both_arms():
    left, right = values([[1.0, 2.0, 3.0]] * 2, [[0.0] * 3] * 2).values()
    del left["t0"][1]
    del right["t1"][2]
    found = judge(contrast(), {"more": left, "base": right}, ["t0", "t1"], [0, 1, 2], True)
    assert (found.pairs, found.missing) == (4, 2)
    assert found.estimate.value == pytest.approx(np.mean([np.mean([1, 3]), np.mean([1, 2])]))


def slow_bootstrap(blocks, reps=4000):
    """The percentiles, one resampled seed at a time."""
    generator = np.random.default_rng(7)
    means = []
    for _ in range(reps):
        tasks = []
        for block in blocks:
            total = 0.0
            for _ in block:
                total += block[generator.integers(len(block))]
            tasks.append(total / len(block))
        means.append(sum(tasks) / len(tasks))
    return np.percentile(means, [2.5, 97.5])


def slow_student(blocks):
    """Mean over tasks of means over seeds; standard error and freedom by Welch and Satterthwaite, written out."""
    from scipy.stats import t

    squared = [sum((x - sum(b) / len(b)) ** 2 for x in b) / (len(b) - 1) / len(b) / len(blocks) ** 2 for b in blocks]
    freedom = sum(squared) ** 2 / sum(s**2 / (len(b) - 1) for s, b in zip(squared, blocks, strict=True))
    mean = sum(sum(b) / len(b) for b in blocks) / len(blocks)
    half = t.ppf(0.975, freedom) * sum(squared) ** 0.5
    return mean - half, mean + half


@pytest.mark.parametrize("seeds", [4, pytest.param(30, marks=pytest.mark.long)])
def test_an_interval_is_the_wider_of_the_bootstrap_and_student(seeds):
    generator = np.random.default_rng(1)
    blocks = [generator.normal(1, 1, seeds), generator.exponential(1, seeds), generator.normal(0, 3, seeds - 1)]
    found = interval(blocks)
    boot, student = slow_bootstrap(blocks, 1500), slow_student(blocks)
    tolerance = 0.06 * (boot[1] - boot[0])
    assert found.value == pytest.approx(np.mean([block.mean() for block in blocks]))
    assert found.low == pytest.approx(min(boot[0], student[0]), abs=tolerance)
    assert found.high == pytest.approx(max(boot[1], student[1]), abs=tolerance)
    assert found.low <= student[0] + 1e-9
    assert found.high >= student[1] - 1e-9


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6), st.lists(st.floats(-3, 3), min_size=2, max_size=6))
def test_the_probability_of_improvement_counts_pairs(left, right):
    count = min(len(left), len(right))
    block = np.array([left[:count], right[:count]]).T
    expected = sum((a > b) + (a == b) / 2 for a in block[:, 0] for b in block[:, 1]) / count**2
    found = improvement([block])
    assert found.value == pytest.approx(expected)
    assert found.low <= found.high


@pytest.mark.long
def test_the_probability_of_improvement_is_that_of_the_reference():
    generator = np.random.default_rng(3)
    blocks = [generator.normal(size=(6, 2)).round(1) for _ in range(3)]
    left, right = (np.stack([block[:, side] for block in blocks], 1) for side in (0, 1))
    expected, found = statistics.improvement(left, right), improvement(blocks)
    assert found.value == pytest.approx(expected.value)
    assert found.low == pytest.approx(expected.low, abs=0.04)
    assert found.high == pytest.approx(expected.high, abs=0.04)


def test_the_verdict_file_says_where_it_comes_from(tmp_path):
    of = experiment(contrasts=(contrast(methods=True), contrast(ratio=True, threshold=1.2, name="many times")))
    register(of, "small", tmp_path)
    measure_all(of, tmp_path)
    verdict = conclude(of, "small", tmp_path, "zoomrl reproduce toy --scale small")
    assert verdict == {key: value for key, value in read_json(tmp_path / "verdict.json").items() if key != "digest"}
    first = verdict["claims"][0]
    assert first["claim"]["published"] == "direction only"
    assert first["estimate"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert first["verdict"] == "agrees"
    assert first["improvement"]["value"] == 0.875  # 2 against 1, 2 ties with 2, 3 against 1 and 2
    assert verdict["command"] == "zoomrl reproduce toy --scale small"
    assert {"versions", "hardware", "date", "registered", "deviations"} <= verdict.keys()
    assert verdict["hardware"].keys() == {"cpu", "cores", "memory_gb", "system"}
    assert verdict["hardware"]["memory_gb"] > 0.1
    base = next(arm for arm in verdict["arms"] if arm["name"] == "base")
    assert base["metrics"]["score"]["tasks"]["a:one"]["value"] == 1.5
    assert base["metrics"]["score"]["tasks"]["a:one"]["seeds"] == 2


def test_a_mean_over_some_of_the_tasks_is_not_shown_as_that_over_all(tmp_path):
    of = experiment()
    register(of, "small", tmp_path)
    measure_all(of, tmp_path, [Cell("base", "a:one", 1), Cell("more", "a:one", 1), Cell("more", "a:two", 1)])
    verdict = conclude(of, "small", tmp_path, "")
    base, more = (arm["metrics"]["score"] for arm in verdict["arms"])
    assert base["all"] is None
    assert more["all"]["value"] == 2.0
    page = write_page(verdict, tmp_path).read_text()
    assert page.count("1 of 2 tasks") == 1
    assert "2 of 2 tasks" not in page


def test_a_page_escapes_and_says_everything(tmp_path):
    of = experiment(title="<script>alert(1)</script>", deviations=("not as <b>published</b>",))
    register(of, "small", tmp_path)
    measure_all(of, tmp_path)
    page = write_page(conclude(of, "small", tmp_path, "zoomrl reproduce toy"), tmp_path).read_text()
    assert "<script>" not in page
    assert "not as &lt;b&gt;published" in page
    for text in (
        "agrees",
        "Left is more than right.",
        "nobody, figure 0",
        "zoomrl reproduce toy",
        "Stop rule: all cells",
    ):
        assert text in page
    assert "default-src 'none'" in page


def test_numbers_have_the_digits_that_their_interval_deserves():
    assert estimate_in_words({"value": 0.12345, "low": 0.1, "high": 0.15}) == "0.123 (0.100 to 0.150)"
    assert estimate_in_words({"value": 123.45, "low": 10.0, "high": 250.0}) == "123 (10 to 250)"
    assert estimate_in_words({"value": 1400.0, "low": 1400.0, "high": 1400.0}) == "1400 (1400 to 1400)"
    assert estimate_in_words({"value": 0.5, "low": None, "high": None}) == "0.5 (no interval)"
    assert estimate_in_words({"value": None, "low": None, "high": None}) == "infinite"


# ---- return-to-go -----------------------------------------------------------------------------------------------


def episode(length, success, seed=0):
    generator = np.random.default_rng(seed)
    rewards = np.zeros(length, np.float32)
    rewards[-1] = float(success)
    return Episode(
        {"state": generator.normal(size=(length + 1, 3)).astype(np.float32)},
        np.arange(length, dtype=np.float32)[:, None] + 1,
        rewards,
        terminated=success,
        truncated=not success,
        success=success,
    )


def test_windows_lie_within_the_episode_and_know_its_return():
    made = [episode(40, True), episode(20, True), episode(50, False)]
    found = windows(made, 0.9)
    per_episode = [max(0, len(one) - 2 * WINDOW + 1) for one in made]
    assert per_episode == [9, 0, 19]
    assert np.bincount(found.episodes, minlength=3).tolist() == per_episode
    first = found.future[0, :, 0]
    assert first.tolist() == list(range(17, 33)), "from the 17th action on"
    assert found.past[0, :, 0].tolist() == list(range(16, 0, -1)), "the newest first"
    assert found.returns[0] == pytest.approx(0.9 ** (39 - 16))
    assert found.returns[-1] == 0
    assert (found.states[0] == made[0].observations["state"][16]).all()
    with pytest.raises(DemonstrationError, match="32 actions"):
        windows([episode(20, True)], 0.9)


def test_no_input_tells_where_an_episode_ends():
    """Every start shows 16 whole actions, also the last one before the end: nothing is padded, nothing is masked."""
    found = windows([episode(60, True), episode(60, False)], 0.9)
    assert (found.future != 0).all()
    assert (found.past != 0).all()
    generator = np.random.default_rng(0)
    for length in (1, 16):
        seen = inputs(found, {"actions": "future", "length": length}, generator)
        assert seen.shape == (len(found.returns), 3 + 16)
        assert ((seen[:, 3:] != 0).sum(1) == length).all(), "equally many for every start"
    # Up to the reward itself, actions of success and failure are alike here: no arm can do better than the state.
    success = found.episodes == 0
    assert np.array_equal(found.future[success], found.future[~success])


def test_arms_see_what_they_say():
    found = windows([episode(60, True)], 0.9)
    generator = np.random.default_rng(0)
    assert not inputs(found, {"actions": "none"}, generator)[:, 3:].any()
    past = inputs(found, {"actions": "past", "length": 16}, generator)[:, 3:]
    assert np.array_equal(past, found.past[..., 0])
    shuffled = inputs(found, {"actions": "future", "length": 16, "shuffled": True}, generator)[:, 3:]
    assert not np.array_equal(shuffled, found.future[..., 0])
    assert np.array_equal(np.sort(shuffled[:, 0]), np.sort(found.future[:, 0, 0])), "actions of others, all of them"
    assert (np.diff(shuffled, axis=1) == 1).all(), "each chunk as a whole"


@pytest.mark.long
def test_a_return_that_actions_tell_is_regressed_from_them(tmp_path, monkeypatch):
    """What decides success here is the 16th action ahead: 16 see it, 1 and the past do not."""
    module = sys.modules[find("return-to-go").measure.__module__]
    generator = np.random.default_rng(0)
    made = []
    for number in range(40):
        one = episode(48, bool(number % 2), number)
        actions = generator.normal(size=(48, 1)).astype(np.float32)
        actions[31:] += 4 if one.success else -4
        made.append(dataclasses.replace(one, actions=actions))
    monkeypatch.setattr(module, "_episodes", lambda task, options, place: made)
    of = find("return-to-go")
    scale = Scale(("a:b",), (1,), 1.0, options={"discount": 0.99, "updates": 300})
    found = {
        arm: of.measure(of.arm(arm), "a:b", 1, scale, tmp_path)["best_l1"]
        for arm in ("future-16", "future-1", "past-16", "shuffled-16")
    }
    assert found["future-16"] < 0.7 * min(found["future-1"], found["past-16"], found["shuffled-16"])


# ---- ensemble ---------------------------------------------------------------------------------------------------


def test_coarse_chunks_by_hand():
    actions = torch.linspace(-0.9, 0.9, 40)[:, None]
    exact = coarse_chunks(actions, 0)
    assert exact.shape == (40, LENGTH, 1)
    assert torch.equal(exact[3, :, 0], actions[3:19, 0])
    assert torch.equal(exact[39, :, 0], actions[39, 0].expand(LENGTH)), "the last action goes on"
    each = coarse_chunks(actions, 16)
    assert torch.allclose(each, snap(exact, 3, 5))
    two = coarse_chunks(actions, 2)
    ends = snap(exact[:, [0, -1]], 3, 5)
    for step in range(LENGTH):
        assert torch.allclose(two[:, step], ends[:, 0] + (ends[:, 1] - ends[:, 0]) * step / 15, atol=1e-6)
    four = coarse_chunks(torch.rand(40, 2) * 2 - 1, 4)
    assert torch.allclose(four[:, [0, 5, 10, 15]], snap(four[:, [0, 5, 10, 15]], 3, 5)), "points lie on the grid"


class Corridor:
    """Solved by executing the demonstrated actions to the letter, within a tolerance."""

    def __init__(self, wanted, tolerance):
        from zoomrl.spec import ArraySpec, EnvSpec

        self.wanted, self.tolerance, self.step_number = wanted, tolerance, 0
        self.env_spec = EnvSpec(
            "toy:corridor", {"state": ArraySpec((1,))}, ArraySpec((1,), low=(-1.0,), high=(1.0,)), 20.0, len(wanted)
        )
        self.worst = 0.0

    def reset(self, seed):
        self.step_number, self.worst = 0, 0.0
        return {}, {}

    def step(self, action):
        self.worst = max(self.worst, float(abs(action - self.wanted[self.step_number]).max()))
        self.step_number += 1
        over = self.step_number == len(self.wanted)
        return {}, 0.0, False, over, {"success": over and self.worst < self.tolerance}


def test_replays_execute_chunks_as_the_executor_says():
    wanted = np.where(np.arange(48) % 8 < 4, 0.8, -0.8).astype(np.float32)[:, None]  # no line, and on the grid
    made = dataclasses.replace(episode(48, True), actions=wanted)
    env = Corridor(wanted, 0.01)
    every, all_16 = (ControlConfig(executor="receding_horizon", replan_every=n) for n in (1, 16))
    exact, two = coarse_chunks(torch.from_numpy(wanted), 16), coarse_chunks(torch.from_numpy(wanted), 2)
    assert replays(env, made, exact, all_16), "every step told by its own point"
    assert replays(env, made, two, every), "the first point is the action itself"
    assert not replays(env, made, two, all_16)
    assert replays(env, made, exact, ControlConfig()), "equal predictions average to themselves"
    assert not replays(env, made, two, ControlConfig())


# ---- bc-terms ---------------------------------------------------------------------------------------------------


def test_half_life_and_the_fall_by_hand():
    spreads = [(1064, 0.4), (1192, 0.5), (1256, 0.45), (1320, 0.26), (1384, 0.25), (1448, 0.1)]
    assert bc_terms.half_life(spreads, 1200) == (184, True)
    assert bc_terms.half_life(spreads[:4], 1200) == (120, False)
    with pytest.raises(CheckpointError, match="both sides"):
        bc_terms.half_life(spreads[:2], 1200)
    assert bc_terms.fell_at([(0, 0.0), (100, 0.5), (200, 0.45), (300, 0.3), (400, 0.2)]) == 300
    assert bc_terms.fell_at([(0, 0.0), (100, 0.5), (200, 0.3), (300, 0.5)]) is None, "it came back"
    assert bc_terms.fell_at([(0, 0.0), (100, 0.1), (200, 0.3)]) is None


def test_a_collapse_is_read_from_a_run(tmp_path):
    of = find("bc-terms")
    config = runs(of, "small", tmp_path)["lambda-0-metaworld-coffee-push-s1"]
    write_json(tmp_path / "config.json", config.to_dict())
    write_json(tmp_path / "demonstrations.json", {"demonstrations": 10, "rewarded": 10, "length_90": 90.0})
    rows = [{"kind": "eval", "updates": 1000, "env_steps": 0, "episodes": 20, "success_rate": 0.5}]
    for updates in range(1064, 2600, 64):
        spread = 0.4 * 0.5 ** (max(0, updates - 1200) / 256)
        rows.append({"kind": "train", "updates": updates, "env_steps": updates, "sibling_spread": spread})
        if updates in (1960, 2344):
            success = 0.1 if updates == 2344 else 0.45
            rows.append({"kind": "eval", "updates": updates, "env_steps": 9, "episodes": 20, "success_rate": success})
    rows.append({"kind": "final", "updates": 2600, "env_steps": 2000, "episodes": 50, "success_rate": 0.04})
    (tmp_path / "metrics.jsonl").write_text("".join(f"{sealed_row(row)}\n" for row in rows))
    found = bc_terms.read(tmp_path)
    assert found["success"] == 0.04
    assert found["half_life"] == 1512 - 1200, "the first row with half of 0.4 or less is at 1512"
    assert found["halved"] == found["warned"] == found["fell"] == 1
    assert found["alarm"] == 0
    assert found["spread_kept"] == pytest.approx(0.5 ** ((2536 - 1200) / 256), rel=1e-6)
    assert found["lead"] == 1960 - 1832, "a fifth is left after 595 updates: told at 1832, and it stood at 1960"
    silent = [{**row, "sibling_spread": 0.4} if row["kind"] == "train" else row for row in rows]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{sealed_row(row)}\n" for row in silent))
    assert bc_terms.read(tmp_path)["lead"] == 1200 - 2536, "what is never said comes after all"


def test_the_warning_comes_with_the_first_loss_of_agreement_once_nothing_is_imitated(tmp_path):
    """A small network is slow to agree, which is no alarm; an alarm before the switch is counted apart."""
    of = find("bc-terms")
    config = runs(of, "small", tmp_path)["lambda-0-metaworld-coffee-push-s1"]
    agreements = {1064: (0.42, 1.0), 1192: (0.49, 1.0), 1256: (0.45, 0.0), 1320: (0.29, 0.0), 1384: (0.25, 0.0)}
    rows = [
        {
            "kind": "train",
            "updates": updates,
            "sibling_spread": 0.03,
            "demo_agreement": agreement,
            "imitation_weight": w,
        }
        for updates, (agreement, w) in agreements.items()
    ]
    demos = {"demonstrations": 10}
    assert bc_terms.warned_at(rows, Facts(config, demos)) == (1256, 1256), (
        "values lie together, and nothing is imitated"
    )
    apart = [{**row, "sibling_spread": 0.2} for row in rows]
    assert bc_terms.warned_at(apart, Facts(config, demos)) == (1320, 1320)
    assert bc_terms.warned_at(apart[:3], Facts(config, demos)) == (None, None)
    early = [{**row, "demo_agreement": 0.3} for row in rows]
    assert bc_terms.warned_at(early, Facts(config, demos)) == (1064, 1256)
    assert bc_terms.warned_at(rows[:2] + apart[2:], Facts(config)) == (None, None)


# ---- records ----------------------------------------------------------------------------------------------------


def test_a_verdict_is_kept_with_its_own_origin(tmp_path):
    of = experiment(scale=Scale(("a:one",), (1, 2, 3, 4), seconds=0.1))
    register(of, "small", tmp_path)
    measure_all(of, tmp_path, list(of.cells(of.scale("small")))[:3])
    conclude(of, "small", tmp_path, "zoomrl reproduce toy")
    with pytest.raises(SystemExit, match="not finished: 5 cells"):
        reproduce_record.result(tmp_path)
    measure_all(of, tmp_path)
    verdict = conclude(of, "small", tmp_path, "/some/python -m zoomrl reproduce toy --scale small --out /some/where")
    kept = reproduce_record.result(tmp_path, "abc")
    assert kept["name"] == "reproduce_toy"
    assert kept["command"] == "zoomrl reproduce toy --scale small"
    assert (kept["commit"], kept["date"], kept["versions"]) == ("abc", verdict["date"], verdict["versions"])
    assert kept["registration"]["seeds"] == [1, 2, 3, 4]
    assert "/some" not in json.dumps(kept)
    line = reproduce_record.table([kept]).splitlines()[2]
    first, contrast = line.split(" | ")[:2]
    assert first == "| [toy](../../benchmarks/results/reproduce_toy.json)"
    assert contrast == "more or less: `score` of `more` - `base` above 0"
    assert line.endswith("| difference 1 (1 to 1) | 4 | agrees |")
    assert "Looks" not in reproduce_record.table([kept])


def test_a_look_is_named_below_the_table_of_verdicts(tmp_path):
    of = experiment(scale=Scale(("a:one",), (1, 2), seconds=0.1))
    register(of, "small", tmp_path)
    measure_all(of, tmp_path)
    conclude(of, "small", tmp_path, "zoomrl reproduce toy")
    kept = reproduce_record.result(tmp_path, "abc")
    link = "[toy](../../benchmarks/results/reproduce_toy.json)"
    named = f"Looks, with fewer than 4 seeds: {link}."
    assert reproduce_record.table([kept]) == f"No verdict is kept yet.\n\n{named}\n"
    whole = {**kept, "registration": {**kept["registration"], "seeds": [1, 2, 3, 4]}}
    lines = reproduce_record.table([whole, kept]).splitlines()
    assert [line.startswith(f"| {link} |") for line in lines] == [False, False, True, False, False]
    assert lines[-1] == named


def test_the_arms_of_an_experiment_are_shown_task_by_task(tmp_path, monkeypatch):
    scale = Scale(("a:one", "a:two"), (1, 2), 1.0, only={"more": ("a:two",)})
    of = experiment(arms=(*experiment().arms, Arm("mute", "without", {"more": 5.0}, True)), scale=scale)
    register(of, "small", tmp_path)
    measure_all(of, tmp_path)
    conclude(of, "small", tmp_path, "")
    result = reproduce_record.result(tmp_path, "abc")
    del result["arms"][2]["metrics"]["score"]
    rows = [
        "|  | one | two | all |",
        "|---|---|---|---|",
        "| as it is | 2 (-5 to 8) | 2 (-5 to 8) | 1.5 (-0.0 to 3.0) |",
        "| with more | - | 2 (-4 to 9) | - |",
    ]
    assert reproduce_record.arms_table(result, "score").splitlines() == rows
    monkeypatch.setattr(reproduce_record, "kept", lambda: [result])
    page = "Before.\n<!-- arms of toy: score -->\nold\n<!-- end of arms -->\nAfter.\n"
    table = "\n".join(rows)
    shown = f"Before.\n<!-- arms of toy: score -->\n{table}\n<!-- end of arms -->\nAfter.\n"
    assert reproduce_record.written(page) == reproduce_record.written(shown) == shown
    with pytest.raises(KeyError, match="reproduce_other"):
        reproduce_record.written(page.replace("toy", "other"))


def test_the_tables_of_verdicts_are_up_to_date():
    pages = {path: path.read_text() for path in reproduce_record.DOCS.rglob("*.md")}
    assert reproduce_record.TABLE.search(pages[reproduce_record.PAGE]) is not None
    assert sum(reproduce_record.ARMS.search(text) is not None for text in pages.values()) >= 1
    stale = [str(path) for path, text in pages.items() if reproduce_record.written(text) != text]
    assert stale == [], "run: python benchmarks/reproduce_record.py"


def test_the_page_of_the_documentation_names_every_experiment():
    text = reproduce_record.PAGE.read_text()
    assert [name for name in MODULES if f"| `{name}` |" not in text] == []


def test_the_mean_of_a_fraction_stays_between_0_and_1():
    rates = [np.array([0.0, 0.0, 0.1, 0.0]), np.array([1.0, 0.9, 1.0, 1.0])]
    for metric, bounded in (("success", True), ("auc", True), ("last_quarter", True), ("score", False)):
        low, high = (mean_of(metric, [block], [0.0]) for block in rates)
        assert (low.low == 0) == bounded
        assert (high.high == 1) == bounded
        assert low.value == pytest.approx(0.025)
        assert low.high > 0.1
