"""From one run to the next: its weights, a fork of it, and learning rates that change."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batches import ACTIONS, ONLY_STATE
from test_resume import CrashError, at_step, crash
from toy import assert_equal_trees, assert_same_run, demo_set, last_state, rows, run, tiny
from zoomrl import fork
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.agents.td3.config import IQRLConfig
from zoomrl.agents.td7.config import TD7Config
from zoomrl.cli.tree import parse
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.math.schedules import schedule
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.training.config import run_directory
from zoomrl.training.misfits import misfits, saved_weights

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return demo_set(tmp_path_factory.mktemp("demos") / "set")


@pytest.fixture(scope="module")
def origin(demos, tmp_path_factory):
    """A run stopped at step 30, in the middle of an episode. Read only."""
    directory = tmp_path_factory.mktemp("origin") / "run"
    run(tiny(directory, demos, steps=30))
    assert last_state(directory)["in_flight"][0]["actions"]
    return directory


def content(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def of_module(directory: Path, part: str) -> dict[str, Any]:
    return last_state(directory)["agent"][part]


# ---- forks -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_fork_with_no_other_option_ends_like_the_run_left_alone(origin, demos, tmp_path):
    before = content(origin)
    run(tiny(tmp_path / "whole", demos))
    config = dataclasses.replace(tiny(tmp_path / "fork", demos), fork=str(origin))
    _, said = run(config)
    assert f"a fork of {origin}" in said
    assert content(origin) == before, "the origin is not touched"
    whole, forked = last_state(tmp_path / "whole"), last_state(tmp_path / "fork")
    for name in ("agent", "sampler", "controller", "in_flight", "env_steps", "updates", "replay"):
        assert_equal_trees(whole[name], forked[name], name)
    later = [row for row in rows(tmp_path / "whole") if row["env_steps"] > 35]
    assert [row for row in rows(tmp_path / "fork") if row["env_steps"] > 35] == later
    assert min(row["env_steps"] for row in rows(tmp_path / "fork")) > 28


def test_a_fork_resumes_and_goes_on_with_its_own_options(origin, demos, tmp_path):
    changes: dict[str, Any] = {"agent__lr": 3e-4, "replay__batch_size": 4, "lr_schedule": "linear(1,0,40)"}
    config = dataclasses.replace(tiny(tmp_path / "whole", demos, **changes), fork=str(origin))
    run(config)
    broken = dataclasses.replace(config, run_dir=str(tmp_path / "broken"))
    with at_step(44, crash), pytest.raises(CrashError):
        run(broken)
    run(broken)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    rates = {group["lr"] for group in of_module(tmp_path / "whole", "optimizer")["param_groups"]}
    assert rates == {3e-4}, "kept as configured, and scaled again at each update"


def test_the_best_weights_do_not_depend_on_an_interruption_before_their_evaluation(tmp_path, demos):
    changes: dict[str, Any] = {"eval__keep_best": True, "eval__every": 10, "lr_schedule": "linear(1,0,40)", "steps": 45}
    run(tiny(tmp_path / "whole", demos, **changes))
    whole = torch.load(tmp_path / "whole/checkpoints/best.pt", weights_only=True)
    assert whole["env_steps"] > 0
    broken = tiny(tmp_path / "broken", demos, **changes)
    with at_step(whole["env_steps"] - 1, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert not run(broken)[0].finished
    run(broken)
    other = torch.load(tmp_path / "broken/checkpoints/best.pt", weights_only=True)
    assert_equal_trees(whole["agent"], other["agent"], "best.pt")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"env__num_envs": 2}, ConfigError, r"cannot change:\n  env\.num_envs: 1 -> 2"),
        ({"agent": CQNConfig(hidden_dim=12)}, ConfigError, r"agent\.name: 'cqn_as' -> 'cqn'"),
        ({"control__executor": "open_loop"}, ConfigError, r"control\.executor: 'temporal_ensemble' -> 'open_loop'"),
        ({"agent__v_max": 9.0}, ConfigError, r"agent\.v_max: .* -> 9\.0"),
        ({"agent__normalize": "demos"}, ConfigError, r"agent\.normalize: 'none' -> 'demos'"),
        ({"control__action_range": "demos"}, ConfigError, r"control\.action_range: 'env' -> 'demos'"),
        ({"replay__sampling": "transition"}, ConfigError, r"replay\.sampling: 'episode' -> 'transition'"),
        ({"replay__capacity": 20}, ConfigError, r"replay\.capacity: 35 -> 20, which is less"),
        ({"steps": 20}, ConfigError, "is at step 30 already, beyond steps=20"),
        ({"agent__hidden_dim": 8}, ConfigError, r"do not fit the options of its fork:\n  critic.*\[12.*\[8"),
        ({"agent__hidden_dim": 8}, ConfigError, r"\nOptions that differ: agent\.hidden_dim: 12 -> 8$"),
        ({"env__time_limit": 11}, CheckpointError, "time_limit 12 against 11"),
    ],
)
def test_what_was_saved_cannot_go_on_with_every_option(origin, demos, tmp_path, changes, error, message):
    config = dataclasses.replace(tiny(tmp_path / "fork", demos, **changes), fork=str(origin))
    with pytest.raises(error, match=message):
        run(config)
    assert not (tmp_path / "fork").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"callback": ("early_stopping",)},
        {"replay__n_step": 1, "replay__demo_fraction": 0.25, "replay__storage": "disk", "replay__capacity": 90},
        pytest.param(
            {"update_at": "episode", "seed": 77, "control__noise": "0.3", "offline_updates": 9}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"eval__keep_best": True, "agent__optimizer": "adam", "agent__double_q": False}, marks=pytest.mark.slow
        ),
    ],
)
def test_other_options_are_followed(origin, demos, tmp_path, changes):
    config = dataclasses.replace(tiny(tmp_path / "fork", demos, **changes), fork=str(origin))
    assert run(config)[0].finished
    assert run(config)[0].finished, "and it is known again"


@pytest.mark.slow
def test_the_optimizer_of_a_fork_is_its_own(origin, demos, tmp_path):
    changes: dict[str, Any] = {"agent__weight_decay": 0.02, "agent__optimizer": "adam"}
    assert tiny(tmp_path, demos).agent.optimizer == "adamw"
    run(dataclasses.replace(tiny(tmp_path / "fork", demos, **changes), fork=str(origin)))
    run(tiny(tmp_path / "new", demos, **changes, steps=4))
    forked, new = (of_module(tmp_path / name, "optimizer")["param_groups"] for name in ("fork", "new"))
    assert forked == new


def test_a_fork_whose_checkpoints_are_lost_is_not_begun_again(origin, demos, tmp_path):
    config = dataclasses.replace(tiny(tmp_path / "fork", demos, steps=36), fork=str(origin))
    assert run(config)[0].finished
    for path in (tmp_path / "fork" / "checkpoints").glob("step_*.pt"):
        path.unlink()
    before = content(tmp_path / "fork")
    with pytest.raises(CheckpointError, match=r"holds a run .* but no checkpoint to resume it from"):
        run(config)
    assert content(tmp_path / "fork").items() >= before.items()


def test_a_fork_that_begins_to_evaluate_offline_does_so_at_multiples(demos, tmp_path):
    run(tiny(tmp_path / "origin", demos, steps=0, offline_updates=20))
    changes: dict[str, Any] = {"steps": 0, "offline_updates": 30, "offline_eval_every": 4}
    run(dataclasses.replace(tiny(tmp_path / "fork", demos, **changes), fork=str(tmp_path / "origin")))
    assert [row["updates"] for row in rows(tmp_path / "fork") if row["kind"] == "eval"] == [24, 28, 30]


def test_priorities_go_on_in_the_slots_that_they_had(demos, tmp_path):
    changes: dict[str, Any] = {"replay__sampling": "priority", "offline_updates": 0, "replay__n_step": 1}
    changes |= {"replay__frame_stack": 1, "agent": TD7Config(hidden_dim=12)}
    run(tiny(tmp_path / "origin", demos, steps=30, **changes))
    for options, told in (
        ({"replay__capacity": 70}, r"replay\.capacity: 35 -> 70"),
        ({"demos__episodes": 1}, r"demos\.episodes: .* -> 1"),
    ):
        config = tiny(tmp_path / "fork", demos, steps=40, **changes, **options)
        with pytest.raises(ConfigError, match=told):
            run(dataclasses.replace(config, fork=str(tmp_path / "origin")))
    fine = dataclasses.replace(tiny(tmp_path / "fork", demos, steps=40, **changes), fork=str(tmp_path / "origin"))
    assert run(fine)[0].finished


def test_a_fork_needs_a_run_with_a_checkpoint(demos, tmp_path):
    with pytest.raises(CheckpointError, match="is no run directory"):
        run(dataclasses.replace(tiny(tmp_path / "fork", demos), fork=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="init_from or fork, not both"):
        dataclasses.replace(tiny(tmp_path / "fork", demos), fork="a", init_from="b")


def test_python_and_the_command_line_fork_alike(origin):
    options = {"agent.lr": 1e-4, "steps": 90}
    words = ["train", "--fork", str(origin), "--agent.lr", "1e-4", "--steps", "90"]
    config = fork(origin, **options)
    assert config == parse(words).to_config()  # type: ignore[attr-defined]
    assert (config.fork, config.run_dir, config.agent.lr) == (str(origin), "", 1e-4)
    assert run_directory(config) == Path("runs/run-fork")
    with pytest.raises(ConfigError, match="leave --preset out"):
        parse([*words, "--preset", "quickstart"])


# ---- weights -----------------------------------------------------------------------------------------------


def test_a_run_begins_with_the_weights_of_another(origin, demos, tmp_path):
    config = tiny(tmp_path / "next", demos, init_from=str(origin), steps=0, offline_updates=0, seed=9)
    _, said = run(config)
    assert "tensors of weights come from" in said
    begun, held = last_state(tmp_path / "next")["agent"], last_state(origin)["agent"]
    assert begun.keys() == held.keys()
    for part in ("perception", "critic", "target_critic"):
        assert_equal_trees(begun[part], held[part], part)
    assert begun["updates"] == 0
    assert not begun["optimizer"]["state"]
    assert "atoms of values" not in said


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"agent__v_max": 9.0}, True),
        ({"agent__v_min": 0.0, "agent__atom_spacing": "geometric"}, True),
        ({"agent__lr": 3e-4}, False),
    ],
)
def test_weights_of_values_on_other_atoms_are_told(origin, demos, tmp_path, changes, told):
    options = {"init_from": str(origin), "steps": 0, "offline_updates": 0, **changes}
    _, said = run(tiny(tmp_path / "next", demos, **options))
    assert ("the atoms of values are others there" in " ".join(said.split())) == told


@pytest.mark.slow
def test_a_resumed_run_does_not_begin_again_with_them(origin, demos, tmp_path):
    config = tiny(tmp_path / "whole", demos, init_from=str(origin))
    run(config)
    broken = dataclasses.replace(config, run_dir=str(tmp_path / "broken"))
    with at_step(40, crash), pytest.raises(CrashError):
        run(broken)
    run(broken)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_weights_that_do_not_fit_are_named(origin, demos, tmp_path):
    with pytest.raises(ConfigError, match=r"do not fit this agent:\n  .*: \[12, \d+\] there, \[8, \d+\] here"):
        run(tiny(tmp_path / "next", demos, init_from=str(origin), agent__hidden_dim=8))
    with pytest.raises(ConfigError, match="not there"):
        run(tiny(tmp_path / "next", demos, init_from=str(origin), agent__dueling="separate"))
    with pytest.raises(ConfigError, match="has no encoder here"):
        run(tiny(tmp_path / "next", demos, init_from=str(origin), init_part="encoder"))
    assert not (tmp_path / "next").exists()


def test_the_encoder_of_images_alone(tmp_path):
    """Into an agent of another kind and width."""
    eyes = EncoderConfig(channels=2, norm="none", activation="relu", feature_dim=4, shift=2)
    shown: dict[str, Any] = {"env__id": "gym:toy-images", "env__cameras": ("front",), "env__image_size": 16, "steps": 8}
    agent = CQNASConfig(chunk_length=3, hidden_dim=12, trunk_dim=6, atoms=7, bins=3, levels=2, encoder=eyes)
    run(tiny(tmp_path / "first", agent=agent, **shown))
    other = CQNConfig(hidden_dim=10, atoms=5, bins=3, levels=2, encoder=eyes)
    options: dict[str, Any] = {**shown, "control__executor": "open_loop", "steps": 0}
    run(tiny(tmp_path / "next", agent=other, init_from=str(tmp_path / "first"), init_part="encoder", **options))
    held, begun = (of_module(tmp_path / name, "perception") for name in ("first", "next"))
    names = [name for name in begun if name.startswith("encoder.")]
    assert names
    for name in names:
        assert torch.equal(held[name], begun[name]), name


@pytest.mark.parametrize("name", AGENT_CONFIGS)
def test_saved_weights_are_called_as_those_of_the_agent(name):
    agent = assemble(AGENT_CONFIGS[name](), ONLY_STATE, ACTIONS, seed=1)
    held, own = saved_weights(agent.state_dict()), agent.weights("all")
    assert list(held) == list(own)
    assert all(torch.equal(held[name], own[name]) for name in own)
    assert misfits(held, own) == ""
    assert bool(agent.weights("encoder")) == (name in ("iqrl", "tcrl"))


def test_the_encoder_of_a_latent_is_that_which_reads_and_its_target():
    latent = RepresentationConfig(kind="self_predictive", dim=12, encoder_hidden=(10,), model_hidden=(11,))
    agent = assemble(IQRLConfig(representation=latent, hidden=(8,)), ONLY_STATE, ACTIONS)
    names = set(agent.weights("encoder"))
    assert {name.split(".encoder.")[0].split(".target_encoder.")[0] for name in names} == {
        "perception.model",
        "perception",
    }
    assert not any("dynamics" in name for name in names)


# ---- learning rates ----------------------------------------------------------------------------------------


@given(st.floats(0, 2), st.floats(0, 2), st.integers(1, 1000), st.integers(0, 2000))
def test_cosine_is_half_a_wave(init, final, duration, step):
    value = schedule(f"cosine({init},{final},{duration})", step)
    done = min(step / duration, 1)
    assert value == pytest.approx(
        final * (1 - math.cos(math.pi * done)) / 2 + init * (1 + math.cos(math.pi * done)) / 2
    )
    assert min(init, final) - 1e-9 <= value <= max(init, final) + 1e-9


@pytest.mark.parametrize("name", AGENT_CONFIGS)
def test_every_rate_is_scaled_and_restored(name):
    agent, other = (assemble(AGENT_CONFIGS[name](), ONLY_STATE, ACTIONS, seed=1) for _ in range(2))

    def rates():
        parts = [part for part in agent.parts.values() if isinstance(part, torch.optim.Optimizer)]
        return [group["lr"] for part in parts for group in part.param_groups]

    before = rates()
    agent.scale_lr(0.25)
    assert rates() == [0.25 * rate for rate in before]
    agent.load_state_dict(agent.state_dict())
    assert rates() == before
    other.scale_lr(0.5)
    agent.load_state_dict(other.state_dict())
    assert rates() == before, "those of its own config"


def test_a_run_follows_its_schedule_and_logs_it(demos, tmp_path):
    run(tiny(tmp_path / "run", demos, lr_schedule="linear(1,0.5,20)", log__every=1))
    before, seen = 0, 0
    for row in rows(tmp_path / "run"):
        if "lr_factor" in row:
            made = range(before, row["updates"])
            mean = sum(schedule("linear(1,0.5,20)", update) for update in made) / len(made)
            assert row["lr_factor"] == pytest.approx(mean)
            before, seen = row["updates"], seen + 1
    assert seen > 5


def test_a_schedule_that_cannot_be_followed_is_refused(demos, tmp_path):
    with pytest.raises(ConfigError, match="lr_schedule: expected a number"):
        tiny(tmp_path, lr_schedule="step(1)")
    with pytest.raises(ConfigError, match="speed=graph"):
        tiny(tmp_path, lr_schedule="linear(1,0,10)", speed="graph")
