"""Images of Gymnasium environments: entries of the observation, and what the environment draws of itself."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from zoomrl.cli.tree import parse
from zoomrl.envs import make_env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym import observation as gym_observation
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import ConfigError, MissingDependencyError
from zoomrl.training.config import TrainConfig

IMAGE = {"low": 0, "high": 255, "dtype": np.uint8}


class Drawn(gymnasium.Env):  # type: ignore[type-arg]
    """Observes samples of a space, and draws an image whose left half is as bright as its step count."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, space: spaces.Space[Any], render_mode: str | None = "rgb_array") -> None:
        self.observation_space = space
        self.render_mode = render_mode
        self.steps = self.frames = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.observation_space.seed(seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self._obs(), 0.0, False, False, {}

    def _obs(self) -> Any:
        self.last = self.observation_space.sample()
        return self.last

    def render(self) -> Any:
        if self.render_mode is None:
            return None
        self.frames += 1
        frame = np.zeros((20, 40, 3), np.uint8)
        frame[:, :20] = self.steps
        return frame


def own(space: Any, render_mode: str | None = "rgb_array", **options: Any) -> Any:
    return wrap_gym_env(Drawn(space, render_mode), EnvConfig(**{"time_limit": 9, **options}))


def mixed() -> spaces.Dict:
    return spaces.Dict(
        {
            "wrist": spaces.Box(shape=(3, 6, 8), **IMAGE),
            "head": spaces.Dict({"grey": spaces.Box(shape=(6, 8, 1), **IMAGE), "pan": spaces.Box(-1, 1, (2,))}),
            "arm": spaces.Box(-1, 1, (1, 3), np.float64),
            "counts": spaces.Box(0, 9, (2,), np.uint8),
        }
    )


def test_images_of_a_dict_become_views() -> None:
    env = own(mixed(), cameras=("all",))
    spec = env.env_spec
    assert (spec.cameras, spec.rendering, spec.state_dim) == (("head/grey", "wrist"), (), 7)
    assert spec.observations["rgb"].shape == (2, 6, 8, 3)
    obs, _ = env.reset(seed=0)
    raw = env._sim.last
    assert env.observation_space.contains(obs)
    np.testing.assert_array_equal(obs["rgb"][0], np.repeat(raw["head"]["grey"], 3, axis=-1))
    np.testing.assert_array_equal(obs["rgb"][1], raw["wrist"].transpose(1, 2, 0))
    expected = np.concatenate([raw["arm"].ravel(), raw["counts"], raw["head"]["pan"]])
    np.testing.assert_array_equal(obs["state"], expected.astype(np.float32))
    raw["wrist"][:] = 0
    assert obs["rgb"][1].any(), "the image must be a copy"


def test_images_are_used_only_where_they_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise an agent of state vectors would learn from pixels, many times slower, because they are there."""
    gym_observation._mention_unused.cache_clear()
    plain = own(mixed())
    assert (list(plain.reset(seed=0)[0]), plain.env_spec.cameras, plain.env_spec.state_dim) == (["state"], (), 7)
    own(mixed())
    said = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert len(said) == 1, "once in a process"
    assert "head/grey, wrist" in said[0]
    gym_observation._mention_unused.cache_clear()
    caplog.clear()
    for options in ({"cameras": ("none",)}, {"state": "full"}, {"cameras": "none"}):
        assert own(mixed(), **options).env_spec == plain.env_spec
    assert not caplog.records, "who asks for it need not be told"
    own(mixed(), cameras=("wrist",))
    assert not caplog.records


def test_cameras_none_is_a_spelling_of_no_cameras() -> None:
    assert EnvConfig(cameras=("none",)) == EnvConfig(cameras=(), state="full")
    assert EnvConfig(cameras=("none",), state="robot") == EnvConfig(state="robot")
    command: Any = parse(["train", "--preset", "cqn_as-metaworld-pixels", "--env.cameras", "none"])
    config = command.to_config()
    assert config.env.cameras == ()
    # As a config is written and read again.
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    spelled = {**config.to_dict(), "env": {**config.to_dict()["env"], "cameras": ["none"]}}
    assert TrainConfig.from_dict(spelled) == config
    assert EnvConfig(cameras=["front"]) == EnvConfig(cameras=("front",))  # type: ignore[arg-type]


def test_cameras_choose_and_state_none_drops() -> None:
    env = own(mixed(), cameras=("wrist",), state="none")
    obs, _ = env.reset(seed=0)
    assert (list(obs), obs["rgb"].shape, env.env_spec.cameras) == (["rgb"], (1, 6, 8, 3), ("wrist",))


@pytest.mark.parametrize(
    ("shape", "size"), [((6, 8, 3), (6, 8)), ((3, 6, 8), (6, 8)), ((6, 8, 1), (6, 8)), ((1, 6, 8), (6, 8))]
)
def test_a_bare_image(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    env = own(spaces.Box(shape=shape, **IMAGE))
    obs, _ = env.reset(seed=0)
    assert (env.env_spec.cameras, list(obs), obs["rgb"].shape) == (("pixels",), ["rgb"], (1, *size, 3))
    channels_last = env._sim.last if shape[-1] in (1, 3) else np.moveaxis(env._sim.last, 0, -1)
    np.testing.assert_array_equal(obs["rgb"][0], np.broadcast_to(channels_last, (*size, 3)))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (6, 8, 3), np.float32),
        spaces.Box(shape=(6, 8), **IMAGE),
        spaces.Box(shape=(6, 8, 4), **IMAGE),
    ],
)
def test_other_boxes_are_vectors(space: spaces.Box) -> None:
    spec = own(space).env_spec
    assert (spec.state_dim, spec.cameras) == (int(np.prod(space.shape)), ())


def test_rendered_once_per_agent_step_and_averaged() -> None:
    env = own(spaces.Box(-1, 1, (2,)), cameras=("render",), action_repeat=3, image_size=5)
    env.reset(seed=0)
    env._sim.frames = 0
    obs, *_ = env.step(np.zeros(1, np.float32))
    assert env._sim.frames == 1
    assert (obs["rgb"].shape, obs["state"].shape) == ((1, 5, 5, 3), (2,))
    # Three steps bright on the left, black on the right; the middle column covers half of each.
    assert obs["rgb"][0, :, :, 0].tolist() == [[3, 3, 2, 0, 0]] * 5


def test_render_next_to_an_entry_of_its_size() -> None:
    env = own(spaces.Box(shape=(4, 4, 3), **IMAGE), cameras=("pixels", "render"), image_size=4)
    obs, _ = env.reset(seed=0)
    assert obs["rgb"].shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(obs["rgb"][0], env._sim.last)


def test_entries_that_are_not_observed_may_be_anything() -> None:
    assert list(own(spaces.Discrete(3), cameras=("render",), state="none").reset(seed=0)[0]) == ["rgb"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ("wrist", "render"), "image_size": 4}, "must have one size, got wrist 6 x 8, render 4 x 4"),
        ({"cameras": ("wrist",), "image_size": 64}, "image_size 64 is not available.*6 x 8.*Leave it at 84"),
        ({"cameras": ("all", "wrist")}, "'all' stands alone"),
        ({"cameras": ("none", "wrist")}, "'none' stands alone"),
        ({"cameras": ("none",), "state": "none"}, "leave nothing to observe"),
        ({"state": "none"}, "would show nothing.*head/grey, wrist, or 'all'"),
        ({"cameras": ("arm",)}, "unknown image of gym:Drawn 'arm'.*head/grey, render, wrist"),
        ({"cameras": ("head/gray",)}, "Did you mean head/grey"),
        ({"cameras": ("wrist", "wrist")}, "once"),
        ({"state": "robot"}, "'robot' is not available for gym"),
        ({"shadows": False}, "shadows cannot be switched off for gym.*add --env.shadows.*shadows=True"),
        ({"reflections": False}, "reflections cannot"),
        ({"antialiasing": False}, "antialiasing cannot"),
        ({"cameras": ("render",), "render_mode": None}, "renders of itself, and that fails.*does not render"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own(mixed(), **options)


def test_refusals_by_space() -> None:
    with pytest.raises(ConfigError, match="would show nothing"):
        own(spaces.Box(-1, 1, (2,)), state="none")
    for options in ({"state": "full"}, {"cameras": ("none",)}):
        with pytest.raises(ConfigError, match="images alone"):
            own(spaces.Box(shape=(6, 8, 3), **IMAGE), **options)
    with pytest.raises(ConfigError, match="'all' names none"):
        own(spaces.Box(-1, 1, (2,)), cameras=("all",))
    with pytest.raises(ConfigError, match="Discrete observations"):
        own(spaces.Discrete(3), cameras=("render",))
    sizes = spaces.Dict({"a": spaces.Box(shape=(6, 8, 3), **IMAGE), "b": spaces.Box(shape=(8, 8, 3), **IMAGE)})
    with pytest.raises(ConfigError, match="got a 6 x 8, b 8 x 8"):
        own(sizes)
    choice = spaces.Dict({"robot": spaces.Dict({"mode": spaces.Discrete(3), "x": spaces.Box(-1, 1, (2,))})})
    with pytest.raises(ConfigError, match="Discrete observations in entry 'robot/mode'"):
        own(choice)
    twins = spaces.Dict({"a/b": spaces.Box(-1, 1, (1,)), "a": spaces.Dict({"b": spaces.Box(-1, 1, (1,))})})
    with pytest.raises(ConfigError, match="several entries of one name: a/b"):
        own(twins)


def test_what_renders_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Drawn) -> None:
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    monkeypatch.setattr(Drawn, "render", missing)
    with pytest.raises(MissingDependencyError, match="cannot render itself: pygame"):
        own(spaces.Box(-1, 1, (2,)), cameras=("render",))


@pytest.mark.skipif(importlib.util.find_spec("pygame") is None, reason="needs pygame")
def test_pendulum_renders_itself() -> None:
    env = make_env("gym:Pendulum-v1", cameras=("render",), image_size=32)
    obs, _ = env.reset(seed=0)
    assert (obs["rgb"].shape, obs["state"].shape) == ((1, 32, 32, 3), (3,))
    assert obs["rgb"].std() > 5


@pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="needs Box2D")
def test_car_racing_observes_a_image() -> None:
    env = make_env("gym:CarRacing-v3")
    obs, _ = env.reset(seed=0)
    assert (env.env_spec.cameras, obs["rgb"].shape, list(obs)) == (("pixels",), (1, 96, 96, 3), ["rgb"])


UNUSABLE = {
    "a stack, channels first": spaces.Box(0, 255, (12, 84, 84), np.uint8),
    "a stack of frames": spaces.Box(0, 255, (4, 84, 84, 3), np.uint8),
    "floats about 0, channels first": spaces.Box(-1, 1, (1, 84, 84), np.float64),
    "floats up to 255": spaces.Box(0, 255, (84, 84, 3), np.float32),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_images_that_cannot_be_used_are_no_state(kind: str) -> None:
    """They would be vectors of thousands of numbers otherwise, without a word."""
    space = spaces.Dict({"eye": UNUSABLE[kind], "joints": spaces.Box(-1, 1, (3,))})
    with pytest.raises(ConfigError, match=r"'eye' .* no image that can be used.*uint8 \[H, W, 3\]"):
        own(space)
    listed = re.escape(str(list(UNUSABLE[kind].shape)))
    with pytest.raises(ConfigError, match=f"{listed}, which is no image that can be used.*frame-stack.*state none"):
        own(space, cameras=("eye",), state="none")
    assert list(own(space, cameras=("render",), state="none").env_spec.observations) == ["rgb"]


def test_matrices_of_numbers_are_state() -> None:
    assert own(spaces.Box(-1, 1, (20, 30))).env_spec.state_dim == 600
    assert own(spaces.Box(-1, 1, (20, 30, 4))).env_spec.state_dim == 2400
    assert own(spaces.Box(0, 255, (4, 5), np.uint8)).env_spec.state_dim == 20
