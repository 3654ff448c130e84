"""Whole runs of the baselines in the toy environment: offline imitation, bursts of updates, the best kept, resuming."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from test_resume import CrashError, at_step, crash
from toy import assert_same_run, checkpoint_files, demo_set, rows, run, tiny
from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.agents.td7.config import TD7Config
from zoomrl.analysis.metrics import read_run
from zoomrl.cli.ablate import Ablate
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.nets.config import RepresentationConfig
from zoomrl.training.build.demos import hold_out
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.evaluator import Evaluator
from zoomrl.training.policy import load_policy
from zoomrl.training.trainer import Trainer

pytestmark = pytest.mark.long

LATENT = RepresentationConfig(
    kind="self_predictive", dim=8, encoder_hidden=(6,), model_hidden=(6,), horizon=3, activation="relu"
)
ACT = ACTConfig(chunk_length=3, dim=8, heads=2, feedforward=8, encoder_layers=1, decoder_layers=1, style_dim=2, lr=1e-3)
BC = BCConfig(chunk_length=3, hidden=(8,), lr=1e-2)
ONLINE = {
    "td3": TD3Config(hidden=(6, 6)),
    "iqrl": IQRLConfig(hidden=(6, 6), representation=LATENT),
    "cqn on a latent": CQNConfig(hidden_dim=6, trunk_dim=0, atoms=5, representation=LATENT),
    "tcrl": TCRLConfig(hidden_dim=6, representation=dataclasses.replace(LATENT, quantise=False, reward_coef=1.0)),
    "taco": TACOConfig(hidden_dim=6, sequence=2, state_hidden=(6,), token_hidden=4),
    "sac": SACConfig(hidden=(6, 6)),
    "td7": TD7Config(hidden_dim=6, embedding_dim=5, target_interval=7),
}


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return demo_set(tmp_path_factory.mktemp("demos") / "toy", count=5)


def online(directory, name, **changes):
    agent = ONLINE[name]
    td7 = {"replay__sampling": "priority", "update_at": "episode", "updates_per_step": 1.0} if name == "td7" else {}
    base = {"agent": agent, "control__executor": "open_loop", "offline_updates": 0, "replay__tail": "shorten"}
    return tiny(directory, None, **{**base, **td7, **changes})


def offline(directory, demos, agent=BC, **changes):
    base = {
        "steps": 0,
        "offline_updates": 24,
        "offline_eval_every": 6,
        "eval__every": 0,
        "eval__keep_best": True,
        "demos__validation": 0.3,
        "replay__demo_fraction": 1.0,
        "replay__n_step": 1,
    }
    return tiny(directory, demos, **{**base, **changes, "agent": agent})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("iqrl", "sac", "taco", "tcrl") else name
        for name in ONLINE
    ],
)
def test_an_interrupted_run_ends_like_one_left_alone(name, tmp_path):
    config = online(tmp_path / "straight", name)
    assert run(config)[0].finished
    trained = [row for row in rows(tmp_path / "straight") if row["kind"] == "train"]
    assert trained[-1]["updates"] > 20
    again = dataclasses.replace(config, run_dir=str(tmp_path / "again"))
    with at_step(37, crash), pytest.raises(CrashError):
        run(again)
    assert run(again)[0].finished
    assert_same_run(tmp_path / "straight", tmp_path / "again")


@pytest.mark.parametrize("agent", [BC, ACT], ids=["bc", "act"])
def test_offline_runs_validate_evaluate_and_keep_the_best(agent, demos, tmp_path, monkeypatch):
    scores = iter([0.0, 1.0, 1.0, 0.5])
    asked = []

    def scored(self):
        asked.append(self.updates)
        return {**{"validation_loss": 1.0 / self.updates}}

    def evaluate(self, step):
        score = next(scores)
        return Evaluation([score] * 2, [3, 3], [score == 1.0, score == 1.0], [1, 2])

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    config = offline(tmp_path / "run", demos, agent)
    result, said = run(config)
    assert result.finished
    evaluated = [row for row in rows(tmp_path / "run") if row["kind"] == "eval"]
    assert [row["updates"] for row in evaluated] == [6, 12, 18, 24]
    assert all(row["env_steps"] == 0 and row["validation_loss"] > 0 for row in evaluated)
    # The later one of two equals.
    best = Checkpoints(tmp_path / "run", 1).load_best({"best": [0.0, 0.0]})
    assert best["updates"] == 18
    assert "18 updates; these weights" in said
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (written["updates"], written["best_updates"]) == (24, 18)
    policy = load_policy(tmp_path / "run")
    for part, tensors in policy.controller._agent.state_dict().items():
        if isinstance(tensors, dict) and part != "optimizer":
            for name, tensor in tensors.items():
                if isinstance(tensor, torch.Tensor):
                    assert torch.equal(tensor, best["agent"][part][name]), (part, name)
    curve = read_run(tmp_path / "run").curve("return")
    assert [point.step for point in curve] == [6, 12, 18, 24]


@pytest.mark.parametrize("agent", [BC, ACT], ids=["bc", "act"])
def test_an_offline_run_resumes_to_the_same_end(agent, demos, tmp_path, monkeypatch):
    straight = offline(tmp_path / "straight", demos, agent, checkpoint__every=5)
    assert run(straight)[0].finished
    again = dataclasses.replace(straight, run_dir=str(tmp_path / "again"))
    real = Trainer._update

    def deadly(self):
        if self.updates == 13:
            raise CrashError
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", deadly)
        with pytest.raises(CrashError):
            run(again)
    assert run(again)[0].finished
    assert_same_run(tmp_path / "straight", tmp_path / "again")


def test_validation_samples_are_the_same_at_each_evaluation_and_not_learnt_from(demos, tmp_path, monkeypatch):
    seen, learnt = [], set()
    validate, update = Evaluator.validated, Trainer._update

    def watch(self):
        before = self._validation.sampler.state_dict()["generator"].clone()
        seen.append(self._validation.sample()["obs"]["state"])
        self._validation.sampler.load_state_dict({"generator": before})
        return validate(self)

    def note(self):
        before = self.replay.sampler.state_dict()
        learnt.update(tuple(s) for s in self.replay.sample()["obs"]["state"].tolist())
        self.replay.sampler.load_state_dict(before)
        return update(self)

    monkeypatch.setattr(Evaluator, "validated", watch)
    monkeypatch.setattr(Trainer, "_update", note)
    run(offline(tmp_path / "run", demos))
    assert len(seen) == 5  # four evaluations, and the end
    assert all(torch.equal(seen[0], other) for other in seen)
    assert not learnt & {tuple(s) for s in seen[0].tolist()}


def test_episodes_held_out():
    @dataclasses.dataclass
    class Fake:
        number: int
        is_demo: bool = True

    episodes = [Fake(0), Fake(1, False), Fake(2), Fake(3), Fake(4, False), Fake(5)]
    learn, held = hold_out(episodes, 0.5)
    assert [e.number for e in learn] == [0, 1, 2, 4]
    assert [e.number for e in held] == [3, 5]
    assert hold_out(episodes, 0.0) == (episodes, [])
    assert [e.number for e in hold_out(episodes, 0.01)[1]] == [5]
    with pytest.raises(ConfigError, match="leaves none to learn from"):
        hold_out(episodes, 1.0)


@pytest.mark.parametrize("name", ["td3", pytest.param("iqrl", marks=pytest.mark.slow)])
def test_updates_at_the_end_of_episodes_are_as_many(name, tmp_path):
    """They come in bursts, and none is lost but those of the episode in flight."""
    counted = {}
    for at in ("step", "episode"):
        run(online(tmp_path / at, name, update_at=at, steps=60, seed_steps=20, updates_per_step=0.5))
        found = rows(tmp_path / at)
        counted[at] = [row["updates"] for row in found if row["kind"] == "train"][-1]
        if at == "episode":
            ends = {row["env_steps"] for row in found if row["kind"] == "episode"}
            before = 0
            for row in found:
                if row["kind"] == "train" and row["updates"] > before:
                    # A burst lies between two rows, and so does the end of an episode.
                    assert any(row["env_steps"] - 7 <= end <= row["env_steps"] for end in ends), row
                    before = row["updates"]
    assert 0 < counted["step"] - counted["episode"] <= 12 or counted["step"] == counted["episode"]


def test_metrics_of_updates_without_the_actor_are_means_over_those_that_have_them(tmp_path, monkeypatch):
    seen = []
    real = Trainer._update

    def note(self):
        metrics = real(self)
        seen.append({name: float(value) for name, value in metrics.items()})
        return metrics

    monkeypatch.setattr(Trainer, "_update", note)
    run(online(tmp_path / "run", "td3", steps=20, log__every=20, eval__every=0))
    (row,) = [row for row in rows(tmp_path / "run") if row["kind"] == "train"]
    for name in ("critic_loss", "actor_loss"):
        values = [found[name] for found in seen if name in found]
        assert row[name] == pytest.approx(sum(values) / len(values), rel=1e-5)
    assert sum("actor_loss" in found for found in seen) == len(seen) // 2


@pytest.mark.slow
def test_the_diagnosis_does_not_disturb_training(tmp_path):
    """Evaluations measure latents of replayed samples; training goes on as if they had not."""
    for name, every in (("often", 10), ("seldom", 30)):
        run(online(tmp_path / name, "iqrl", eval__every=every))
    found = {name: [row for row in rows(tmp_path / name) if row["kind"] == "train"] for name in ("often", "seldom")}
    assert found["often"] == found["seldom"]
    measured = [row for row in rows(tmp_path / "often") if row["kind"] == "eval"][-1]
    assert 0 < measured["latent_rank_1e-3"] <= 100
    assert 0 < measured["codes_used"] <= 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 5}, "bc learns from demonstrations alone: use steps=0"),
        ({"demos__source": "none", "offline_updates": 0}, r"bc imitates demonstrations, but demos\.source is 'none'"),
        ({"demos__validation": 1.5}, r"demos\.validation must lie in 0 \.\. 1"),
        ({"offline_eval_every": -1}, "offline_eval_every must be at least 0"),
        ({"offline_updates": 0, "offline_eval_every": 0}, "bc learns in offline_updates alone"),
        ({"offline_eval_every": 0}, r"eval\.keep_best needs evaluations to choose from"),
    ],
)
def test_imitation_refuses_what_it_cannot_do(changes, message, demos, tmp_path):
    with pytest.raises(ConfigError, match=message):
        offline(tmp_path / "run", demos, **changes)


def test_keep_best_before_the_first_evaluation_takes_the_last_weights(demos, tmp_path):
    result, said = run(offline(tmp_path / "run", demos, offline_updates=5))
    assert result.finished
    assert "best evaluation" not in said
    assert load_policy(tmp_path / "run").env_steps == 0


def test_agents_without_a_validation_loss_refuse_to_hold_demonstrations_out(demos, tmp_path):
    with pytest.raises(ConfigError, match="which has no loss to measure on them"):
        tiny(tmp_path / "run", demos, demos__validation=0.2)


def test_imitation_needs_something_to_imitate(demos, tmp_path):
    everything = read_demos(demos)
    failed = [dataclasses.replace(e, is_demo=False, success=False) for e in everything.episodes]
    write_demos(tmp_path / "failed", failed, everything.spec)
    agent = dataclasses.replace(BC, normalize="none")
    with pytest.raises(ConfigError, match="none of the 6 episodes is one"):
        run(offline(tmp_path / "run", tmp_path / "failed", agent, demos__validation=0.0))


def test_a_damaged_checkpoint_of_offline_learning_leaves_the_one_before(demos, tmp_path):
    assert run(offline(tmp_path / "run", demos, checkpoint__every=8))[0].finished
    newest, before = checkpoint_files(tmp_path / "run")[::-1]
    assert [p.stem[-2:] for p in (before, newest)] == ["16", "24"]
    newest.write_bytes(b"torn")
    state, path = Checkpoints(tmp_path / "run", 2).load()
    assert (path, state["updates"]) == (before, 16)


def test_a_checkpoint_of_an_earlier_version_is_refused_by_name(tmp_path):
    config = online(tmp_path / "run", "td3", steps=30)
    run(config)
    path = checkpoint_files(tmp_path / "run")[-1]
    state = torch.load(path, weights_only=True)
    del state["due"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="saved by an earlier version"):
        run(dataclasses.replace(config, steps=60))


def test_ablations_train_once_and_fill_a_table(tmp_path, monkeypatch, capsys):
    trained = []

    def train(config, console):
        trained.append(config)
        directory = Path(config.run_dir)
        directory.mkdir(parents=True)
        eval_row = {"kind": "eval", "latent_rank_1e-1": 50.0, "latent_rank_1e-2": 75.0, "latent_rank_1e-3": 100.0}
        if config.agent.representation.quantise:
            eval_row["codes_used"] = 60.0
        train_row = {"kind": "train", "cosine_1": 0.9 if config.seed == 1 else 0.8}
        (directory / "metrics.jsonl").write_text(json.dumps(train_row) + "\n" + json.dumps(eval_row) + "\n")
        (directory / "result.json").write_text(json.dumps({"return_mean": 100.0 * config.seed}))
        return type("Result", (), {"finished": True})()

    monkeypatch.setattr("zoomrl.training.run.train", train)
    command = Ablate(
        env="dmc:cheetah-run",
        variants=("iqrl", "no_quantisation", "mse"),
        seeds=(1, 2),
        steps=5000,
        directory=str(tmp_path),
    )
    assert command.run() == 0
    assert [c.agent.representation.quantise for c in trained] == [True, True, False, False, True, True]
    assert [c.agent.representation.consistency for c in trained][-2:] == ["mse", "mse"]
    # The task's own schedule of exploration.
    assert {c.control.noise for c in trained} == {"step_linear(1.0,1.0,10000,0.1,150000)"}
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if "no_quantisation" in line]
    assert [cell for cell in shown[0] if cell != "│"] == ["no_quantisation", "150", "50", "75", "100", "-", "0.85"]


def test_ablations_refuse_unknown_variants():
    with pytest.raises(ConfigError, match="no_quantisation"):
        Ablate(variants=("no_quantization",)).run()
