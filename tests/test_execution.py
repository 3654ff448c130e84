"""How chunks are executed can be chosen after training: on seeds of their own."""

import dataclasses
import json

import pytest

from envs_toy import ToyEnv
from toy import demo_set, run, tiny
from zoomrl.cli.main import main
from zoomrl.control.config import ControlConfig
from zoomrl.control.execution import execution_of, executions, with_execution
from zoomrl.deploy.evaluate import episode_seeds, evaluate
from zoomrl.deploy.execution import _rank, choose_execution
from zoomrl.errors import ConfigError
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.seeds import derive


@pytest.mark.parametrize(
    ("length", "names"),
    [(2, ["ensemble", "1", "2"]), (4, ["ensemble", "1", "2", "4"]), (6, ["ensemble", "1", "2", "4", "6"])],
)
def test_what_is_worth_comparing(length, names):
    assert list(executions(length)) == names
    control = ControlConfig(executor="open_loop")
    assert execution_of(control, length) == str(length)
    for name in names:
        assert execution_of(with_execution(control, name, length), length) == name


def test_another_execution_leaves_nothing_idle_behind():
    quiet, averaged = ControlConfig(noise="0.3"), ControlConfig(noise="0.3", ensemble_gain=1.0)
    every_2 = with_execution(quiet, "2", 4)
    assert with_execution(averaged, "2", 4) == every_2
    assert with_execution(every_2, "ensemble", 4) == quiet
    assert with_execution(averaged, "ensemble", 4) == averaged


@pytest.mark.parametrize("wrong", ["0", "5", "averaged", "1.0", ""])
def test_what_is_no_execution_is_refused(wrong):
    with pytest.raises(ConfigError, match="chunks of 4 are executed by 'ensemble', or 1 to 4 actions of each; got"):
        with_execution(ControlConfig(), wrong, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("execution") / "run"
    run(tiny(place, demo_set(place.parent / "demos"), agent__chunk_length=4))
    return place


@pytest.mark.long
def test_the_best_on_its_own_seeds_is_chosen_and_tested_on_others(trained):
    choice = choose_execution(trained, choosing=6, episodes=5, seed=3, make_env=ToyEnv)
    assert set(choice.tried) == {"ensemble", "1", "2", "4"}
    scores = {name: result.row()["success_rate"] for name, result in choice.tried.items()}
    assert scores[choice.chosen] == max(scores.values())
    assert choice.own in ("ensemble",)
    if scores[choice.own] == max(scores.values()):
        assert choice.chosen == choice.own
    assert set(choice.tested) == {choice.own, choice.chosen}
    # The test is what `zoomrl eval` says of the run.
    again = evaluate(trained, make_env=ToyEnv, episodes=5, seed=3)
    assert choice.tested[choice.own].returns == again.returns
    assert not {derive(3, "execution_env", n) for n in range(6)} & set(episode_seeds(3, 5))


@pytest.mark.long
def test_an_execution_changes_what_is_done(trained):
    choice = choose_execution(trained, among=["1", "4"], choosing=6, episodes=2, make_env=ToyEnv)
    assert set(choice.tried) == {"ensemble", "1", "4"}, "the run's own is always compared"
    assert len({tuple(result.returns) for result in choice.tried.values()}) > 1


@pytest.mark.long
def test_single_actions_leave_no_choice(tmp_path):
    run(tiny(tmp_path / "run", agent__chunk_length=1))
    with pytest.raises(ConfigError, match="cqn_as proposes single actions: there is one way to execute them"):
        choose_execution(tmp_path / "run", make_env=ToyEnv)


def test_an_execution_that_breaks_the_simulator_is_not_the_best():
    """Its few episodes that ended may all have succeeded; where all broke it, there is no rate at all."""

    def result(successes, lost):
        count = len(successes)
        ended = [float(s) for s in successes], [3] * count, successes, list(range(count))
        return Evaluation(*ended, [], list(range(lost)))

    results = result([], 5), result([True], 4), result([True, False] * 2, 0), result([True] * 4, 0)
    ranks = [_rank(one) for one in results]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 4
    unreported = Evaluation([1.0, 5.0], [3, 3], [], [0, 1])
    assert _rank(unreported) == (0, 3.0)


def test_the_command_refuses_what_cannot_be(tmp_path, capsys):
    assert main(["execution", str(tmp_path / "none")]) != 0
    assert "is no run directory" in capsys.readouterr().err
    assert main(["execution", str(tmp_path), "--choosing", "0"]) != 0
    assert "--choosing must be at least 1, got 0" in capsys.readouterr().err


def test_results_are_printed(monkeypatch, tmp_path, capsys):
    from zoomrl.deploy import execution
    from zoomrl.envs.config import EnvConfig
    from zoomrl.training import run_files

    def result(successes):
        count = len(successes)
        return Evaluation([float(s) for s in successes], [3] * count, list(map(bool, successes)), list(range(count)))

    tried = {"ensemble": result([0, 1, 0]), "2": result([1, 1, 0]), "1": Evaluation([], [], [], [], [], [7, 8, 9])}
    choice = execution.ExecutionChoice("ensemble", "2", tried, {"2": result([1, 1]), "ensemble": result([0, 1])})
    monkeypatch.setattr(execution, "choose_execution", lambda *args, **options: choice)

    class Config:
        env = EnvConfig(id="gym:toy")

    monkeypatch.setattr(run_files, "read_config", lambda path: Config)
    assert main(["execution", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "2 of each chunk (chosen)" in said
    assert "ensemble (the run's own)" in said
    assert "--execution 2" in said
    assert "all, 3 lost" in said
    assert "chosen by luck" not in said
    worse = dataclasses.replace(choice, tested={"2": result([0, 1]), "ensemble": result([1, 1])})
    monkeypatch.setattr(execution, "choose_execution", lambda *args, **options: worse)
    assert main(["execution", str(tmp_path / "r")]) == 0
    assert "tested on other episodes, the chosen one is worse than the run's own" in capsys.readouterr().out
    monkeypatch.setattr(execution, "choose_execution", lambda *args, **options: choice)
    assert main(["execution", str(tmp_path / "r"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"] == "2"
    assert found["tested"]["ensemble"]["success_rate"] == 0.5
