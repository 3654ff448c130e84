"""Options of environments: each is read or refused, and what is built is what was asked for."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from test_demos_collect import PointEnv
from test_demos_scripted import changed
from zoomrl.envs import make_env, make_vector_env
from zoomrl.envs.check.check import check_env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.mujoco import cameras
from zoomrl.envs.options import COMMON, Options, differences
from zoomrl.envs.registry import SUITES, honours
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import ConfigError
from zoomrl.spec import ArraySpec, EnvSpec

IDS = {
    "metaworld": "metaworld:drawer-open",
    "dmc": "dmc:pendulum-swingup",
    "bigym": "bigym:reach_target_single",
    "humanoidbench": "humanoidbench:h1-walk",
    "rlbench": "rlbench:reach_target",
    "ogbench": "ogbench:puzzle-3x3",
    "gym": "gym:Pendulum-v1",
    "demos": "demos:nowhere",
}
FIELDS = [field.name for field in dataclasses.fields(EnvConfig)]
# Besides the adapter's own module: what it hands its config to.
HELPERS = {"gym": ["suites/gym/observation.py", "mujoco/cameras.py"]}
ENVS = Path(cameras.__file__).parents[1]


def read_in(*files: Path) -> set[str]:
    """The attributes of ``config`` that these files read."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    reads = [n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    return {n.attr for n in reads if n.value.id in ("config", "self._config")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("domain", SUITES)
@pytest.mark.parametrize("name", FIELDS)
def test_every_option_is_read_or_refused(domain: str, name: str) -> None:
    adapter = Path(inspect.getfile(SUITES[domain]))
    helpers = [ENVS / file for file in HELPERS.get(domain, ["mujoco/cameras.py"])]
    config = EnvConfig(IDS[domain])
    if honours(config.id, name):
        if domain == "demos" and name not in COMMON - {"action_repeat"}:
            return  # held against the set by `differences`, which test_recorded_env tries one by one
        if name == "reward" and "dense" not in (SUITES[domain].options.choices["reward"] or ()):
            return  # it has one reward, asked for by each of its names
        common = [ENVS / file for file in ("registry.py", "vector/make.py", "isolation/env.py", "isolation/process.py")]
        assert name in read_in(adapter, *helpers, *(common if name in COMMON else [])), "declared, and never read"
        return
    # Before the simulator is imported, so that none is needed here.
    with pytest.raises(ConfigError, match=rf"^{config.id}: {name} .* {SUITES[domain].options.suite}; "):
        make_env(changed(config, name))


def test_every_option_is_declared_by_somebody() -> None:
    declared = {name for adapter in SUITES.values() for name in adapter.options.choices}
    assert declared.isdisjoint(COMMON)
    assert declared | COMMON == set(FIELDS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EnvConfig(IDS["dmc"], reward="sparse"), "reward 'sparse' is not available for dmc.*choose 'native'"),
        (EnvConfig(IDS["gym"], state="robot"), "state 'robot'.*choose 'full' or 'none'"),
        (EnvConfig(IDS["rlbench"], reward="dense"), "choose 'sparse' or 'native'"),
        (EnvConfig(IDS["bigym"], terminate_on_success=False), "terminate_on_success cannot be switched off"),
        (
            EnvConfig(IDS["metaworld"], control_hz=20.0),
            "control_hz 20.0 is not available.*one rate each; leave it at 0",
        ),
    ],
)
def test_a_refusal_says_what_works_instead(config: EnvConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(config)


def test_what_was_not_declared_is_refused() -> None:
    """An adapter that declares nothing honours the defaults alone: an option that is added later is not ignored."""
    Options("mine", {}).check(EnvConfig("mine:x", time_limit=3, num_envs=2), "mine:x")
    with pytest.raises(ConfigError, match="image_size 64 is not available for mine"):
        Options("mine", {}).check(EnvConfig("mine:x", image_size=64), "mine:x")


SPEC = EnvSpec(
    "mine:x",
    {"state": ArraySpec((3,)), "rgb": ArraySpec((2, 32, 32, 3), "uint8")},
    ArraySpec((1,), low=(-1.0,), high=(1.0,)),
    control_hz=10.0,
    time_limit=50,
    action_repeat=2,
    reward="sparse",
    cameras=("front", "wrist"),
    rendering=("shadows",),
)


@pytest.mark.parametrize(
    ("option", "gap"),
    [
        ({"time_limit": 60}, "time_limit: asked for 60, got 50"),
        ({"action_repeat": 4}, "action_repeat: asked for 4, got 2"),
        ({"control_hz": 50.0}, "control_hz: asked for 50.0, got 20.0"),
        ({"reward": "dense"}, "reward: asked for 'dense', got 'sparse'"),
        ({"cameras": ("wrist", "front")}, r"cameras: asked for \('wrist', 'front'\), got \('front', 'wrist'\)"),
        ({"cameras": ("none",)}, "cameras: asked for the state alone"),
        ({"image_size": 64}, "image_size: asked for 64, got 32"),
        ({"state": "none"}, "state: asked for 'none', got 3 numbers"),
        ({"shadows": False}, "shadows: asked for False, got True"),
    ],
)
def test_the_spec_is_held_against_the_options(option: dict[str, Any], gap: str) -> None:
    asked = EnvConfig("mine:x", time_limit=50, action_repeat=2, control_hz=20.0, cameras=("front", "wrist"))
    asked = dataclasses.replace(asked, image_size=32, reward="sparse", antialiasing=False)
    assert list(differences(asked, SPEC)) == []
    found = list(differences(dataclasses.replace(asked, **option), SPEC))
    assert len(found) == 1
    assert re.fullmatch(f"{gap}.*", found[0]), found


class Line(gymnasium.Env):  # type: ignore[type-arg]
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), 0.0, False, False, {}


def test_an_environment_wrapped_before_must_have_the_options_of_the_config() -> None:
    env = wrap_gym_env(Line(), EnvConfig("gym:line", time_limit=50))
    assert wrap_gym_env(env, EnvConfig("gym:line", time_limit=50)) is env
    with pytest.raises(ConfigError, match=r"wrapped already.*time_limit: asked for 9, got 50"):
        make_vector_env(EnvConfig("gym:line", time_limit=9), 1, lambda: env)


def test_an_environment_of_the_caller_that_ends_at_success_is_not_taken_for_one_that_goes_on() -> None:
    """Its spec does not say so."""
    config = EnvConfig("fake:point", terminate_on_success=False)
    with pytest.raises(ConfigError, match=r"wrapped already.*terminate_on_success: asked for False, got True"):
        wrap_gym_env(PointEnv(), config)


def test_the_check_compares_what_was_asked_with_what_is_shown() -> None:
    def make(config: EnvConfig) -> Any:
        return wrap_gym_env(Line(), EnvConfig("gym:line", time_limit=5))

    found = check_env(EnvConfig("mine:line", time_limit=9, shadows=False), steps=5, make=make)
    options = [(check.status, check.detail) for check in found if check.name == "options"]
    assert options[0] == ("error", "time_limit: asked for 9, got 5")
    assert options[1][0] == "note"
    assert "shadows do nothing" in options[1][1]
    fine = check_env(EnvConfig("mine:line", time_limit=5), steps=5, make=make)
    assert [(c.status, c.detail) for c in fine if c.name == "options"] == [("ok", "time_limit")]
