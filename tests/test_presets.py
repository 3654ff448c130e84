"""Presets: what they are, the numbers that a task changes, and the names that earlier versions had."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from zoomrl.cli.presets import preset_list
from zoomrl.cli.tree import parse
from zoomrl.envs.suites.bigym.experts import EXPERTS
from zoomrl.envs.suites.bigym.tasks import TASKS as BIGYM
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.recipes import published
from zoomrl.recipes.compose import preset
from zoomrl.recipes.grid import Grid
from zoomrl.recipes.presets import PRESETS
from zoomrl.recipes.recipe import canonical, with_field
from zoomrl.recipes.tasks import IQRL_EPISODES
from zoomrl.training.config import TrainConfig, differences
from zoomrl.training.renamed import renamed_preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = preset(name)
    assert config.preset == name
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", [name for name, recipe in PRESETS.items() if recipe.numbers])
def test_every_number_of_a_task_is_that_of_a_field_and_in_the_config(name):
    recipe = PRESETS[name]
    for env, numbers in recipe.numbers.items():
        assert canonical(env) == env
        config = recipe.config(env)
        assert (config.env.id, config.preset) == (env, name)
        for field, value in numbers.items():
            assert with_field(config, field, value) == config
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def numbers_of(name, env):
    return {line.partition(":")[0] for line in differences(preset(name), preset(name, env=env))} - {"env.id"}


def test_the_hard_tasks_have_three_disturbed_demonstrations_each_and_one_name_for_all():
    names = [name for name in PRESETS if name.endswith("-metaworld-hard")]
    assert len(names) == 4
    runs = Grid(preset=tuple(names), env=("metaworld-hard",), seeds=(1,)).runs()
    assert len(runs) == 48
    assert len({config.env.id for config in runs.values()}) == 12
    for config in runs.values():
        assert (config.demos.episodes, config.demos.noise, config.env.reward) == (3, 0.3, "auto")
        assert (config.env.time_limit, config.eval.final_episodes) == (200, 100)
        assert config.steps == (0 if config.agent.imitation else 20_000)
    practice, imitation = (preset(f"{agent}-metaworld-hard").to_dict() for agent in ("cqn_as", "act"))
    assert practice["demos"] == imitation["demos"]
    assert "cqn-metaworld-hard-lever-pull-s1" in runs
    with pytest.raises(ConfigError, match="two runs would be called lever-pull-s1"):
        Grid(env=("metaworld-hard", "metaworld:lever-pull"), seeds=(1,)).runs()


def test_published_numbers_of_tasks():
    """Cells of the published tables, typed in by hand."""
    for name in ("cqn-dmc", "cqn-dmc-pixels", "drqv2-dmc"):
        easy, medium = preset(name, env="dmc:finger-spin"), preset(name, env="dmc:finger-turn_hard")
        walker, humanoid = preset(name, env="dmc:walker-run"), preset(name, env="dmc:humanoid-run")
        assert [c.steps for c in (easy, medium, humanoid)] == [1_100_000, 3_100_000, 30_100_000]
        assert [c.agent.lr for c in (easy, medium, humanoid)] == [1e-4, 1e-4, 8e-5]
        assert (walker.steps, walker.replay.batch_size, walker.replay.n_step) == (3_100_000, 512, 1)
        assert (easy.replay.batch_size, easy.replay.n_step) == (256, 3)
        assert preset(name, env="dmc:quadruped-run").replay.capacity == 100_000
        assert preset(name, env="dmc:ball_in_cup-catch").steps == 1_100_000
    noise = [
        preset("drqv2-dmc", env=f"dmc:{task}").control.noise for task in ("walker-walk", "walker-run", "humanoid-run")
    ]
    assert noise == [f"linear(1.0,0.1,{steps})" for steps in (200_000, 1_000_000, 4_000_000)]
    assert preset("cqn-dmc-pixels", env="dmc:humanoid-walk").agent.encoder.feature_dim == 100
    assert preset("cqn-dmc-pixels", env="dmc:quadruped-walk").env.cameras == ("2",)
    assert preset("cqn-dmc", env="dmc:quadruped-walk").env.cameras == ()
    assert numbers_of("cqn-dmc", "dmc:walker-walk") == {"replay.batch_size", "replay.n_step"}
    assert numbers_of("drqv2-dmc", "dmc:walker-walk") == {"replay.batch_size", "replay.n_step"}


def test_published_numbers_of_iqrl():
    assert len(IQRL_EPISODES) == 27
    walker, dog = preset("iqrl-dmc", env="dmc:walker-walk"), preset("iqrl-dmc", env="dmc:dog-run")
    assert (walker.agent.representation.dim, walker.replay.n_step) == (1024, 1)
    assert (dog.agent.representation.dim, dog.replay.n_step) == (2048, 3)
    assert walker.control.noise == "step_linear(1.0,1.0,10000,0.1,50000)"
    assert dog.control.noise == "step_linear(1.0,1.0,10000,0.1,500000)"
    assert preset("iqrl-dmc", env="dmc:acrobot-swingup").agent.representation.target_tau == 5e-4
    assert preset("iqrl-dmc", env="dmc:fish-swim").agent.representation.projection_dim == 64
    assert preset("iqrl-dmc", env="dmc:humanoid-walk").replay.n_step == 1
    assert sum(preset("iqrl-dmc", env=f"dmc:{task}").replay.n_step == 3 for task in IQRL_EPISODES) == 9
    matched = preset("td3-dmc-matched", env="dmc:dog-run")
    assert (matched.control.noise, matched.replay, matched.agent.name) == (dog.control.noise, dog.replay, "td3")


def test_the_preset_for_harder_tasks_on_a_cpu():
    """It has cheetah-run's schedule of exploration."""
    small, medium = preset("iqrl-dmc-cpu"), preset("iqrl-dmc-cpu-medium")
    released = preset("iqrl-dmc", env="dmc:cheetah-run")
    assert medium.control.noise == released.control.noise
    assert (medium.env, medium.steps) == (released.env, 250_000)
    assert {line.partition(":")[0] for line in differences(small, medium)} == {
        "agent.activation",
        "agent.norm",
        "agent.representation.lr",
        "control.noise",
        "env.id",
        "preset",
        "replay.n_step",
    }


def test_published_budgets_of_bigym(monkeypatch):
    monkeypatch.setitem(sys.modules, "bigym", None)
    for agent in ("cqn", "cqn_as", "drqv2_plus", "drqv2_as"):
        for task, row in BIGYM.items():
            config = preset(f"{agent}-bigym", env=f"bigym:{task}")
            assert (config.agent.name, config.steps, config.env.state) == (agent, row.frames, "robot")
            assert config.env.cameras == ("head", "right_wrist", "left_wrist")
    small = preset("cqn_as-bigym-cpu")
    assert small.env.id.removeprefix("bigym:") in EXPERTS
    assert (small.env.cameras, small.demos.source) == ((), "scripted")


def test_the_humanoid_presets_for_a_cpu_are_smaller_and_shorter():
    for agent in ("cqn", "cqn_as"):
        small, large = preset(f"{agent}-humanoid-cpu"), preset(f"{agent}-humanoid", env="humanoidbench:h1hand-stand")
        assert small.env == large.env
        assert (small.steps, small.agent.hidden_dim) == (100_000, 128)
    assert preset("sac-humanoid").agent.name == "sac"


def test_another_suite_keeps_none_of_the_numbers_and_has_its_own_limit():
    assert numbers_of("cqn-dmc", "gym:walker-walk") == set()
    assert preset("quickstart", env="metaworld:reach").env.time_limit == 150
    assert preset("quickstart", env="dmc:walker-walk").env.time_limit is None


OLD = {
    "cqn_as-bigym-drawer-top-close": ("cqn_as-bigym", "bigym:drawer_top_close"),
    "drqv2_plus-rlbench-open-oven": ("drqv2_plus-rlbench", "rlbench:open_oven"),
    "cqn-humanoid-sit-simple": ("cqn-humanoid", "humanoidbench:h1hand-sit_simple"),
    "iqrl-dmc-cartpole-swingup-sparse": ("iqrl-dmc", "dmc:cartpole-swingup-sparse"),
    "td3-dmc-matched-cup-catch": ("td3-dmc-matched", "dmc:cup-catch"),
    "cqn-dmc-pixels-hard": ("cqn-dmc-pixels", "dmc:humanoid-walk"),
    "cqn-dmc-medium": ("cqn-dmc", "dmc:cheetah-run"),
    "drqv2-dmc-walker": ("drqv2-dmc", "dmc:walker-walk"),
    "tcrl-dmc-hard": ("tcrl-dmc", "dmc:humanoid-walk"),
}


@pytest.mark.parametrize("name", OLD)
def test_a_preset_of_before_is_refused_with_what_it_is_now_and_its_runs_are_read(name):
    now, env = OLD[name]
    with pytest.raises(ConfigError, match=f"{name} is --preset {now} --env {env} now"):
        preset(name)
    held = preset(now, env=env)
    assert TrainConfig.from_dict({**held.to_dict(), "preset": name}) == held


def test_no_preset_of_today_is_taken_for_one_of_before():
    assert [name for name in PRESETS if renamed_preset(name)] == []


# ---- the command -----------------------------------------------------------------------------------------


def shown(capsys, *words):
    parse(["presets", *words]).run()
    return capsys.readouterr().out


def test_the_list_has_every_preset_in_whole_sentences_below_its_domain(capsys):
    out = shown(capsys)
    assert all(f"  {name} " in out for name in PRESETS)
    assert [name for name, recipe in PRESETS.items() if not recipe.about.endswith(".")] == []
    assert out.index("DeepMind Control\n") < out.index("  cqn-dmc ") < out.index("BiGym\n")
    assert max(map(len, preset_list().splitlines())) <= 78


def test_it_is_filtered(capsys):
    found = [entry["name"] for entry in json.loads(shown(capsys, "--agent", "cqn", "--domain", "dmc", "--json"))]
    assert found == ["cqn-dmc", "cqn-dmc-pixels"]
    assert set(json.loads(shown(capsys, "--json"))[0]) == {"name", "about", "agent", "domain", "env", "steps", "tasks"}
    assert "iqrl-dmc-cpu-mse" in shown(capsys, "iqrl")
    with pytest.raises(ConfigError, match="no preset is like that"):
        shown(capsys, "--agent", "bc", "--domain", "dmc")
    with pytest.raises(ConfigError, match=r"unknown preset 'quickstrat'.*quickstart"):
        shown(capsys, "quickstrat")


def test_one_is_shown_with_the_numbers_of_its_tasks(capsys):
    out = shown(capsys, "cqn-dmc")
    assert "replay.batch_size 512, replay.n_step 1" in out
    assert "dmc:walker-stand, dmc:walker-walk" in out
    assert published.cqn_dmc.__doc__ in out


def test_a_preset_of_a_simulator_lets_gymnasium_render_as_it_does():
    name = "cqn_as-metaworld-pixels"
    assert not preset(name).env.shadows
    assert preset(name, env="gym:Pendulum-v1").env.shadows
    assert not preset(name, env="metaworld:reach").env.shadows
    assert not preset(name, env="gym:Pendulum-v1", **{"env.shadows": False}).env.shadows, "asked for, and refused later"


def test_the_reach_tasks_of_bigym_are_a_suite_that_an_expert_solves():
    from zoomrl.envs.suites.bigym.experts import EXPERTS
    from zoomrl.recipes.bigym import REACH

    assert {task.partition(":")[2] for task in REACH} < set(EXPERTS)
    runs = Grid(preset=("cqn_as-bigym-cpu", "cqn-bigym-cpu"), env=("bigym-reach",), seeds=(1, 2)).runs()
    assert len(runs) == 12
    chunks, single = (preset(name).to_dict() for name in ("cqn_as-bigym-cpu", "cqn-bigym-cpu"))
    for part in ("env", "replay", "demos", "eval", "steps"):
        assert chunks[part] == single[part]


def test_presets_of_play_say_how_play_is_made(tmp_path):
    from rich.console import Console

    from zoomrl.training.build.demos import load_demos

    config = preset("cqn_as-ogbench", env="ogbench:scene-task2", **{"demos.source": str(tmp_path / "none")})
    with pytest.raises(DemonstrationError, match=r"no play at .*collect-play SCENE.*--env ogbench:scene-task2`"):
        load_demos(config, None, False, Console())


@pytest.mark.parametrize("told", ["sparse", "native"])
def test_play_of_another_task_or_reward_is_refused(tmp_path, told):
    """The states and actions would fit; the rewards would be of what is not asked for."""
    from rich.console import Console

    from toy import demo_set
    from zoomrl.demos.store.reader import read_demos
    from zoomrl.demos.store.writer import write_demos
    from zoomrl.training.build.demos import load_demos

    demos = read_demos(demo_set(tmp_path / "a"))
    spec = dataclasses.replace(demos.spec, id="ogbench:scene-task2", reward="sparse")
    write_demos(tmp_path / "set", demos.episodes, dataclasses.replace(spec, reward=told))
    config = preset("cqn_as-ogbench", env="ogbench:scene-task2", **{"demos.source": str(tmp_path / "set")})
    if told == "sparse":
        assert load_demos(config, spec, False, Console(quiet=True)) is not None
        with pytest.raises(DemonstrationError, match=r"imported for ogbench:scene-task2.*--env ogbench:scene-task3"):
            load_demos(config, dataclasses.replace(spec, id="ogbench:scene-task3"), False, Console(quiet=True))
    else:
        with pytest.raises(DemonstrationError, match="reward native against sparse"):
            load_demos(config, spec, False, Console(quiet=True))
