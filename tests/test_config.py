"""Run configs: round trips, refusals, presets."""

import dataclasses
import functools
import subprocess
import sys

import pytest

from zoomrl.agents.convert import convert
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2PlusConfig
from zoomrl.agents.td3.config import IQRLConfig
from zoomrl.agents.td7.config import TD7Config
from zoomrl.cli.main import main
from zoomrl.control.config import ControlConfig
from zoomrl.errors import ConfigError
from zoomrl.nets.config import RepresentationConfig
from zoomrl.recipes.compose import preset
from zoomrl.training.config import EvalConfig, ReplayConfig, TrainConfig, differences
from zoomrl.training.renamed import RENAMED


def test_published_numbers():
    """A few cells of the published table, typed in by hand."""
    bigym, humanoid, dmc = preset("cqn_as-bigym"), preset("cqn_as-humanoid"), preset("cqn-dmc")
    assert (bigym.agent.chunk_length, bigym.agent.lr, bigym.replay.batch_size) == (16, 5e-5, 512)
    assert (bigym.agent.target_tau, bigym.agent.target_interval) == (0.02, 1)
    assert (preset("cqn-bigym").agent.target_tau, preset("cqn-bigym").agent.target_interval) == (1.0, 50)
    assert preset("cqn_as-rlbench").agent.bc_margin == 0.01
    assert preset("cqn_as-rlbench").control.action_margin == 0.2
    assert (humanoid.agent.hidden_dim, humanoid.updates_per_step, humanoid.replay.n_step) == (1024, 0.5, 3)
    assert (dmc.agent.hidden_bias, dmc.control.noise, dmc.seed_steps) == (True, "0.1", 8000)


def test_unknown_preset_suggests():
    with pytest.raises(ConfigError, match="Did you mean quickstart"):
        preset("quikstart")


def test_bad_values_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"replay.batch_size must be at least 1, got 0"):
        TrainConfig(replay=ReplayConfig(batch_size=0))
    with pytest.raises(ConfigError, match=r"demo_fraction must lie in 0 .. 1"):
        TrainConfig(replay=ReplayConfig(demo_fraction=1.5))
    with pytest.raises(ConfigError, match="needs demonstrations"):
        dataclasses.replace(preset("cqn-dmc"), offline_updates=5)
    for fields, words in (
        ({"levels": 10}, r"must not exceed 1048576"),
        ({"bins": 1}, r"agent.bins must be at least 2, got 1"),
        ({"chunk_length": 0}, r"agent.chunk_length must be at least 1"),
        ({"v_min": 3.0}, r"agent.v_max must exceed agent.v_min"),
        ({"v_least": 0.3}, r"agent.v_least=0.3 has no effect without agent.atom_spacing=geometric; leave it at 0.05"),
        ({"value": "scalar", "v_min": 0.0, "atom_spacing": "geometric"}, r"without agent.value=categorical"),
        ({"value": "scalar", "coarse_values": "refuse"}, r"agent.coarse_values=refuse has no effect without"),
        ({"chunk_length": 1, "prefix_targets": True}, r"prefix_targets=True has no effect without chunks of several"),
        ({"bc_lambda": 0.0, "bc_schedule": "0.5"}, r"has no effect without an agent.bc_lambda above bc_floor"),
        ({"bc_lambda": 0.002, "bc_schedule": "linear(1,0,9)"}, r"without an agent.bc_lambda above bc_floor"),
        ({"bc_floor": 0.0}, r"agent.bc_floor=0.0 has no effect without an agent.bc_schedule; leave it at 0.003"),
    ):
        with pytest.raises(ConfigError, match=words):
            TrainConfig(agent=CQNASConfig(**fields))
    for changes, words in (
        ({"control.executor": "receding_horizon", "control.replan_every": 5}, r"replan_every=5 exceeds the chunks of"),
        ({"replay.padding": "absorbing", "agent": "cqn"}, r"padding=absorbing is about values of the later steps"),
        ({"replay.padding": "absorbing", "agent": "bc"}, r"of a chunk, and bc has none here; leave replay.padding at"),
        ({"control.random_prefix": 5}, r"control.random_prefix=5 exceeds the chunks of cqn_as"),
        ({"control.random_prefix": 2, "steps": 0}, r"is about training episodes, and steps=0 makes none"),
        ({"agent.coarse_values": "refuse", "env.reward": "dense"}, r"env.reward=dense tell none"),
        (
            {"agent.atom_spacing": "geometric", "env.reward": "dense"},
            r"agent.atom_spacing=geometric is for rewards of 0 and 1; use env.reward=sparse, got dense",
        ),
        (
            {"agent.atom_spacing": "geometric", "env.reward": "native", "env.id": "ogbench:scene"},
            r"rewards of 0 and 1; use env.reward=sparse, got native",
        ),
        ({"control.replan_every": 2}, r"replan_every=2 has no effect without control.executor=receding_horizon"),
        (
            {"control.executor": "open_loop", "control.ensemble_gain": 1.0},
            r"ensemble_gain=1.0 has no effect without control.executor=temporal_ensemble; leave it at 0.01",
        ),
        (
            {"control.executor": "open_loop", "control.ensemble_favours": "newest"},
            r"ensemble_favours=newest has no effect without",
        ),
        (
            {"agent": "cqn", "control.random_prefix": 1},
            r"random_prefix has no effect on single actions, which cqn chooses; leave it at 0",
        ),
        (
            {"agent.proposals.count": 2, "demos.source": "none", "offline_updates": 0, "agent.normalize": "none"}
            | {"control.action_range": "env", "replay.relabel_successes": False},
            r"agent.proposals imitates demonstrations, and there is none",
        ),
        (
            {"agent.prefix_targets": True, "replay.n_step": 1, "replay.tail": "exclude"},
            r"only the last step of a chunk would learn from the end of an episode",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            preset("cqn_as-metaworld", **changes)
    with pytest.raises(ConfigError, match=r"control.noise: expected a number, linear"):
        TrainConfig(control=ControlConfig(noise="cosine(1)"))
    data = preset("quickstart").to_dict()
    with pytest.raises(ConfigError, match=r"unknown agent 'cqnas'\. Did you mean cqn_as"):
        TrainConfig.from_dict({**data, "agent": {**data["agent"], "name": "cqnas"}})
    with pytest.raises(ConfigError, match="this version of zoomrl does not take"):
        TrainConfig.from_dict({**data, "speling": 1})


def test_differences_name_the_field_and_ignore_what_may_change():
    old = preset("quickstart")
    assert differences(old, dataclasses.replace(old, steps=9, eval=EvalConfig(episodes=3))) == []
    elsewhere = dataclasses.replace(old.env, python="/other/bin/python", timeout=9.0, workers="process")
    assert differences(old, dataclasses.replace(old, env=elsewhere)) == []
    new = dataclasses.replace(old, agent=CQNASConfig(**{**vars(old.agent), "lr": 0.5}))
    assert differences(old, new) == ["agent.lr: 0.001 -> 0.5"]


def test_configs_and_presets_load_no_heavy_library():
    code = (
        "import sys, zoomrl.recipes.presets, zoomrl.training.config;"
        "heavy = {'torch', 'torchrl', 'gymnasium', 'numpy', 'h5py', 'matplotlib', 'mujoco'} & set(sys.modules);"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_variants_of_drqv2_keep_what_makes_them_variants():
    """`--agent drqv2_plus` on a DrQ-v2 preset is DrQ-v2+, not DrQ-v2 under another name."""
    base = dataclasses.replace(preset("drqv2-dmc").agent, hidden_dim=256)
    plus = convert(base, DrQv2PlusConfig)
    assert plus == DrQv2PlusConfig(hidden_dim=256)
    chunked = convert(dataclasses.replace(plus, v_min=0.0), DrQv2ASConfig)
    assert chunked == DrQv2ASConfig(hidden_dim=256, v_min=0.0)


def test_the_support_of_a_scalar_value_is_not_carried_over():
    assert convert(preset("drqv2-dmc").agent, CQNConfig) == CQNConfig()
    support = convert(CQNConfig(v_min=0.0, v_max=1.0, normalize="demos"), DrQv2PlusConfig)
    assert support == DrQv2PlusConfig(v_min=0.0, v_max=1.0, normalize="demos")


def test_snapping_needs_a_grid():
    with pytest.raises(ConfigError, match=r"control\.snap"):
        TrainConfig(agent=DrQv2PlusConfig(), control=ControlConfig(snap=True))


LATENT = RepresentationConfig("self_predictive", fsq_levels=(2, 4))


@pytest.mark.parametrize(
    ("name", "agent", "value"),
    [
        ("agent.horizon", CQNASConfig(chunk_length=7), 7),
        ("agent.refresh", TD7Config(target_interval=9), 9),
        (
            "agent.representation.levels",
            IQRLConfig(representation=RepresentationConfig("self_predictive", fsq_levels=(2, 4))),
            (2, 4),
        ),
    ],
)
def test_a_config_with_an_earlier_name_is_read(name, agent, value):
    config = dataclasses.replace(preset("td3-dmc"), agent=agent)
    old = config.to_dict()
    *path, last = RENAMED[name].split(".")
    place = functools.reduce(dict.get, path, old)
    place[name.rpartition(".")[2]] = place.pop(last)
    assert value in place.values()
    assert TrainConfig.from_dict(old) == config


@pytest.mark.parametrize("old", RENAMED)
def test_an_option_by_its_earlier_name_is_refused_with_the_new_one(old, capsys):
    option = f"--{old}".replace("_", "-")
    assert main(["train", option, "3"]) == 2
    assert f"{option} is called --{RENAMED[old]} now".replace("_", "-") in capsys.readouterr().err
