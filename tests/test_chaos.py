"""The attack of ``make chaos``, in short; and that it would notice."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.program import main
from benchmarks.chaos.report import Account
from benchmarks.chaos.runs import Material, kinds

from forked import Forked
from toy import checkpoint_files, run, tiny
from zoomrl.agents.registry import AGENT_CONFIGS


def attack(*words: str, out: Path) -> dict[str, dict[str, object]]:
    """Summary of an attack that found nothing."""
    log = out.with_suffix(".log")
    options = [*words, "--short", "--jobs", "1", "--out", str(out)]
    assert Forked(lambda: sys.exit(main(options)), log).wait() == 0, log.read_text()
    summary: dict[str, dict[str, object]] = json.loads(out.read_text())["summary"]
    assert all(str(kind["outcome"]).startswith("held") for kind in summary.values())
    return summary


@pytest.mark.long
@pytest.mark.slow
def test_a_short_attack_finds_nothing(tmp_path):
    summary = attack("kills", "flips", "--seed", "2", out=tmp_path / "chaos.json")
    done = {name: kind["counts"][name] for name, kind in summary.items()}  # type: ignore[index]
    assert done == {"kills": 3, "flips": 5}


@pytest.mark.slow
def test_a_short_attack_of_every_kind_finds_nothing(tmp_path):
    assert len(attack(out=tmp_path / "chaos.json")) == 9


def test_every_agent_is_attacked_in_every_way():
    ways = Counter(agent for agent, _ in kinds())
    assert set(ways) == set(AGENT_CONFIGS)
    assert ways == {agent: 2 if agent in ("bc", "act") else 6 for agent in AGENT_CONFIGS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert run(tiny(directory, steps=30, eval__every=0))[0].finished
    return directory


def _raise_weight(directory: Path) -> None:
    path = checkpoint_files(directory)[-1]
    state = torch.load(path, weights_only=True)
    next(value for value in state["agent"].values() if isinstance(value, dict)).popitem()
    torch.save(state, path)


def _change_row(directory: Path) -> None:
    path = directory / "metrics.jsonl"
    path.write_text(path.read_text().replace('"updates": ', '"updates": 1', 1))


def _lose_segment(directory: Path) -> None:
    sorted((directory / "replay").glob("*.npz"))[-1].unlink()


def _leave_a_file(directory: Path) -> None:
    (directory / "checkpoints" / ".step.pt.1.tmp").write_bytes(b"half")


@pytest.mark.parametrize("change", [_raise_weight, _change_row, _lose_segment, _leave_a_file])
@pytest.mark.long
def test_runs_that_differ_are_told_apart(change, finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    assert differences(finished, copy) == []
    change(copy)
    assert differences(finished, copy)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (Found(Counter(hits=3)), "held"),
        (Found(Counter(hits=2)), "missed: 2 of 3 hits"),
        (Found(Counter(hits=3), ["lost"]), "missed: 1 faults"),
        (Found(skipped="no disk"), "held; 1 skipped: no disk"),
    ],
)
def test_a_bar_is_missed_by_a_fault_or_by_too_few_tries(found, outcome, tmp_path):
    kind = Attack("hits", "nothing is lost", "hits", least=3, short=1, per_try=3, attempt=lambda _: found)
    account = Account(kind, wanted=3)
    account.add(Try("hits", 7, 3, 1, tmp_path, Material(tmp_path, tmp_path)), found)
    assert account.outcome == outcome
    assert account.held == outcome.startswith("held")
    assert all("hits --seed 1 --only 7 --count 3" in fault for fault in account.faults)
