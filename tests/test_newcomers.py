"""What stopped people who tried the library for the first time."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from envs_toy import ImageToy, ToyEnv
from toy import run, tiny
from zoomrl import load_policy, preset, train
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import ConfigError
from zoomrl.plugins import import_named
from zoomrl.training.callbacks import make_callbacks


@pytest.mark.slow
def test_a_run_that_ends_before_its_first_update_says_so(tmp_path):
    _, said = run(tiny(tmp_path / "run", steps=6, seed_steps=6))
    assert "warning: nothing will be learnt" in said
    assert "seed_steps=6" in said
    _, said = run(tiny(tmp_path / "other", steps=6, seed_steps=3))
    assert "nothing will be learnt" not in said


def test_what_is_no_config_is_named():
    with pytest.raises(ConfigError, match=r"train takes a config, as preset\(\"cqn-gym\"\) makes one, got 'cqn-gym'"):
        train("cqn-gym")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="steps"):
        preset("cqn-gym", steps="many")


def test_options_of_images_are_refused_where_there_are_none():
    for options in ({"image_fit": "letterbox"}, {"image_crop": (0, 0, 4, 4)}):
        with pytest.raises(ConfigError, match="observes none here"):
            wrap_gym_env(ToyEnv(), EnvConfig(id="gym:toy", time_limit=5, **options))


class Jointed(gymnasium.Wrapper):
    """Shows its state in two parts, of which the second comes first by name."""

    observation_space = gymnasium.spaces.Dict(
        {
            "velocity": gymnasium.spaces.Box(-9, 9, (1,), np.float32),
            "position": gymnasium.spaces.Box(-9, 9, (2,), np.float32),
        }
    )

    def reset(self, **options):
        shown, info = self.env.reset(**options)
        return {"velocity": shown[2:], "position": shown[:2]}, info

    def step(self, action):
        shown, *rest = self.env.step(action)
        return {"velocity": shown[2:], "position": shown[:2]}, *rest


@pytest.mark.long
def test_a_policy_takes_what_the_environment_itself_shows(tmp_path):
    config = tiny(tmp_path / "run", steps=20)
    train(config, make_env=lambda: Jointed(ToyEnv()))
    wrapped = wrap_gym_env(Jointed(ToyEnv()), config.env)
    bare = Jointed(ToyEnv())
    shown = [env.reset(seed=4)[0] for env in (wrapped, bare)]
    assert set(shown[1]) == {"velocity", "position"}
    policies = [load_policy(tmp_path / "run") for _ in shown]
    for policy in policies:
        policy.reset()
    actions = [policy.act(observation) for policy, observation in zip(policies, shown, strict=True)]
    assert np.array_equal(*actions)
    assert "cqn_as on gym:toy, step 20" in repr(policies[0])
    with pytest.raises(ValueError, match=r"'position' must hold 2 numbers for each environment, got \[3\]"):
        policies[0].act({**shown[1], "position": np.zeros(3)})


@pytest.mark.long
def test_a_policy_takes_cameras_and_entries_together(tmp_path):
    agent = CQNConfig(hidden_dim=6, atoms=5, levels=2)
    options = {"env__id": "gym:toy-images", "env__cameras": ("front",), "env__image_size": 16, "env__state": "full"}
    run(tiny(tmp_path / "run", agent=agent, control__executor="open_loop", steps=4, **options))
    policy = load_policy(tmp_path / "run")
    policy.reset()
    assert policy.act(ImageToy().reset(seed=1)[0]).shape == (2,)


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_hooks_here.py").write_text("from zoomrl import Callback\nclass Mine(Callback): ...\n")
    with pytest.raises(ConfigError, match="my_hooks_here"):
        make_callbacks(["my_hooks_here:Mine"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    assert type(make_callbacks(["my_hooks_here:Mine"])[0]).__name__ == "Mine"
    with pytest.raises(ModuleNotFoundError):
        import_named("not_there_at_all")
