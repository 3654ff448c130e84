"""The comparison of fast updates with plain ones agrees with what is right, and with nothing else."""

import dataclasses

import pytest
import torch

from toy import tiny
from zoomrl.agents import engine
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.drqv2.config import DrQv2PlusConfig
from zoomrl.agents.engine import Captured
from zoomrl.agents.td3.config import TD3Config
from zoomrl.cli.main import main
from zoomrl.errors import ConfigError
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.build import agent as building
from zoomrl.training.config import differences
from zoomrl.training.measure.parity import GRADIENT_TOLERANCE, TOLERANCE, Parity, compare
from zoomrl.training.measure.trial import Trial

CPU = torch.device("cpu")
SPEC = EnvSpec("toy:state", {"state": ArraySpec((6,))}, ArraySpec((2,), low=(-1.0,) * 2, high=(1.0,) * 2), 20.0, 100)
AGENTS = {
    "cqn_as": CQNASConfig(chunk_length=3, hidden_dim=32, trunk_dim=0, atoms=11, v_min=0.0, v_max=1.0, lr=1e-3),
    "cqn, scalar": CQNConfig(hidden_dim=32, value="scalar", dueling="none", bc_lambda=0.0, critic_lambda=1.0),
    "drqv2_plus": DrQv2PlusConfig(hidden_dim=32, trunk_dim=0, v_min=0.0, v_max=1.0),
}


def config(tmp_path, name):
    return tiny(tmp_path, agent=AGENTS[name], replay__batch_size=32)


def one(tmp_path, name, precision="bf16", updates=3):
    (result,) = compare(config(tmp_path, name), SPEC, CPU, updates, [("eager", precision)])
    return result


@pytest.mark.parametrize("name", AGENTS)
def test_the_same_updates_agree_exactly(name, tmp_path):
    result = one(tmp_path, name, "float32")
    assert result.agrees
    assert result.loss_difference == result.gradient_difference == result.weight_difference == 0


@pytest.mark.parametrize("name", AGENTS)
def test_bfloat16_differs_and_agrees(name, tmp_path):
    result = one(tmp_path, name)
    assert result.agrees
    assert result.loss_difference > 0
    assert result.gradient_difference > 0


FAULTS = {
    "noise": lambda x: x * (1 + 0.6 * torch.randn_like(x)),
    "zero": lambda x: x * 0,
    "negated": lambda x: -x,
}


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_broken_arithmetic_disagrees(name, fault, tmp_path, monkeypatch):
    def broken(module, device):
        plain = module.forward
        module.forward = lambda *inputs: FAULTS[fault](plain(*inputs))

    monkeypatch.setattr(engine, "_lower", broken)
    assert not one(tmp_path, name).agrees


@pytest.mark.parametrize("name", AGENTS)
def test_a_capture_that_never_takes_new_inputs_disagrees(name, tmp_path, monkeypatch):
    class Stale:
        def warm_up(self, work):
            return work()

        def capture(self, work):
            results = work()
            return lambda: results.update(work()), results

    def stale(agent, speed, precision):
        if speed == "graph":
            agent.run_step = Captured(agent.step, Stale())
            monkeypatch.setattr(torch.Tensor, "copy_", lambda self, other, non_blocking=False: self, raising=True)

    monkeypatch.setattr("zoomrl.training.measure.trial.accelerate", stale)
    (result,) = compare(config(tmp_path, name), SPEC, CPU, 8, [("graph", "float32")])
    assert not result.agrees


@pytest.mark.parametrize("updates", [10, 11])
@pytest.mark.long
def test_captures_of_two_kinds_agree_whichever_ran_last(updates, tmp_path, gpu, monkeypatch):
    """Of updates with and without a step of the actor, each writes its gradients to places of its own."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    agent = TD3Config(hidden=(16, 16))
    assert agent.policy_delay == 2
    settings = tiny(tmp_path, agent=agent, replay__batch_size=16)
    (result,) = compare(settings, SPEC, torch.device("cuda", 0), updates, [("graph", "float32")])
    assert result.problem is None
    assert result.agrees, result


def test_batches_of_a_trial_differ(tmp_path):
    trial = Trial(config(tmp_path, "cqn_as"), SPEC, CPU)
    one, two = (trial._replay.sample() for _ in range(2))
    assert not torch.equal(one["obs", "state"], two["obs", "state"])
    assert len(one["reward"].unique()) > 1


def test_what_is_missing_is_named(tmp_path):
    results = list(compare(config(tmp_path, "cqn_as"), SPEC, CPU, 2, [("graph", "float32"), ("eager", "tf32")]))
    assert ["CUDA graphs" in results[0].problem, "tf32" in results[1].problem] == [True, True]
    assert not any(result.agrees for result in results)


def test_training_in_bfloat16_is_refused_where_it_is_too_coarse(tmp_path, monkeypatch):
    import io

    from rich.console import Console

    said = Console(file=io.StringIO())
    low = config(tmp_path, "cqn_as")
    low = dataclasses.replace(low, precision="bf16")
    assert (low.precision_tolerance, building.GRADIENT_RATIO * low.precision_tolerance) == (
        TOLERANCE["bf16"],
        GRADIENT_TOLERANCE["bf16"],
    )
    # A check of the start, which a resumed run may answer otherwise.
    assert differences(low, dataclasses.replace(low, precision_tolerance=0.5)) == []
    building.check_precision(low, SPEC, CPU, said)
    assert "bf16 changes the loss by" in said.file.getvalue()
    monkeypatch.setattr(building, "compare", lambda *_: [Parity("eager", "bf16", loss_difference=0.02)])
    with pytest.raises(ConfigError, match=r"changes the loss by 2\.0%"):
        building.check_precision(low, SPEC, CPU, said)
    building.check_precision(dataclasses.replace(low, precision_tolerance=0.02), SPEC, CPU, said)
    monkeypatch.setattr(building, "compare", lambda *_: [Parity("eager", "bf16", gradient_difference=0.3)])
    with pytest.raises(ConfigError, match=r"2% and 20% are allowed \(precision_tolerance=0\.02\)"):
        building.check_precision(dataclasses.replace(low, precision_tolerance=0.02), SPEC, CPU, said)
    with pytest.raises(ConfigError, match="precision_tolerance must be at least 0, got -1"):
        dataclasses.replace(low, precision_tolerance=-1)


@pytest.mark.parametrize(("difference", "code"), [(1e-5, 0), (0.5, 1)])
def test_the_command_says_so_by_its_exit_code(difference, code, monkeypatch, capsys):
    results = [Parity("eager", "bf16", loss_difference=difference), Parity("graph", "bf16", problem="no GPU")]
    monkeypatch.setattr("zoomrl.training.measure.parity.compare", lambda *_: iter(results))
    assert main(["parity", "--preset", "cqn-dmc", "--env", "gym:Pendulum-v1"]) == code
    shown = capsys.readouterr().out
    assert "not available: no GPU" in shown
    assert ("DISAGREES" in shown) == bool(code)
