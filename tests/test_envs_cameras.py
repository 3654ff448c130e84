"""Images of Meta-World and the DeepMind Control Suite, on the real simulators."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs_common import random_action
from zoomrl.envs import make_env, make_vector_env
from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.mujoco.backend import prefer_headless_gl
from zoomrl.envs.mujoco.cameras import EVERYTHING, SceneCameras
from zoomrl.envs.suites.metaworld import _ROLLED
from zoomrl.errors import ConfigError, MissingDependencyError

METAWORLD = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
FAST = {"shadows": False, "reflections": False, "antialiasing": False}


def opengl_problem() -> str:
    """Why nothing can be rendered here; empty when images can be rendered."""
    prefer_headless_gl()
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><camera name='eye'/></worldbody></mujoco>")
    try:
        SceneCameras("test", model, mujoco.MjData(model), ("eye",), 4).render()
    except MissingDependencyError as error:
        return str(error)
    return ""


PROBLEM = opengl_problem()
needs_opengl = pytest.mark.skipif(bool(PROBLEM), reason=f"needs OpenGL: {PROBLEM}")


def drawer(**options: Any) -> Any:
    return make_env("metaworld:drawer-open", **{"image_size": 16, "cameras": ("corner2", "gripperPOV"), **options})


def cartpole(**options: Any) -> Any:
    return make_env("dmc:cartpole-swingup", **{"image_size": 16, "cameras": ("0",), **options})


def images(env: Env, seed: int, steps: int = 2) -> np.ndarray:
    """All images of a short episode under random actions, uint8 [steps + 1, V, H, W, 3]."""
    rng = np.random.default_rng(seed)
    found = [env.reset(seed=seed)[0]["rgb"]]
    found += [env.step(random_action(env, rng))[0]["rgb"] for _ in range(steps)]
    return np.stack(found)


# ---- what is observed ----------------------------------------------------------------------------------


@needs_opengl
@pytest.mark.long
def test_metaworld_shows_images_and_the_robot() -> None:
    env = drawer()
    spec = env.env_spec
    assert (spec.cameras, spec.rendering) == (("corner2", "gripperPOV"), EVERYTHING)
    first, _ = env.reset(seed=0)
    now, *_ = env.step(np.ones(4, np.float32))
    for obs in (first, now):
        assert env.observation_space.contains(obs)
        assert (obs["rgb"].shape, obs["rgb"].dtype) == ((2, 16, 16, 3), np.uint8)
        assert obs["rgb"].flags.c_contiguous
        assert not np.array_equal(obs["rgb"][0], obs["rgb"][1])
    assert not np.array_equal(first["rgb"], now["rgb"]), "an earlier image must not be overwritten"
    assert (now["state"].shape, now["state"].dtype) == ((4,), np.float32)
    np.testing.assert_array_equal(now["state"], env._full_state[:4].astype(np.float32))
    assert env.expert_action() is not None
    env.close()
    env.close()


@needs_opengl
@pytest.mark.long
def test_the_dmc_shows_images_alone() -> None:
    env = cartpole(cameras=("0", "lookatcart"))
    obs, _ = env.reset(seed=0)
    assert list(obs) == ["rgb"] == list(env.observation_space.spaces)
    assert (env.env_spec.cameras, env.env_spec.state_dim) == (("0", "lookatcart"), 0)
    assert env.observation_space.contains(obs)
    both = cartpole(state="full").reset(seed=0)[0]
    np.testing.assert_array_equal(both["state"], make_env("dmc:cartpole-swingup").reset(seed=0)[0]["state"])
    np.testing.assert_array_equal(both["rgb"][0], obs["rgb"][0])


@pytest.mark.parametrize(
    ("env_id", "cameras", "state", "length"),
    [
        ("metaworld:reach", (), "auto", 39),
        ("metaworld:reach", (), "robot", 4),
        ("metaworld:reach", ("corner",), "auto", 4),
        ("metaworld:reach", ("corner",), "full", 39),
        ("metaworld:reach", ("corner",), "none", 0),
        ("dmc:cartpole-swingup", (), "auto", 5),
        ("dmc:cartpole-swingup", ("0",), "auto", 0),
        ("dmc:cartpole-swingup", ("fixed",), "full", 5),
    ],
)
def test_states(env_id: str, cameras: tuple[str, ...], state: Any, length: int) -> None:
    spec = make_env(env_id, cameras=cameras, state=state, image_size=20).env_spec
    assert spec.state_dim == length
    assert ("state" in spec.observations, "rgb" in spec.observations) == (length > 0, bool(cameras))
    assert not cameras or spec.observations["rgb"].shape == (1, 20, 20, 3)
    assert spec.rendering == (EVERYTHING if cameras else ())


@pytest.mark.long
def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"unknown camera 'corner9'. Did you mean corner.*has: topview \(0\)"):
        drawer(cameras=("corner9",))
    with pytest.raises(ConfigError, match=r"unknown camera '7'.*has: .*gripperPOV \(6\)"):
        drawer(cameras=("7",))
    with pytest.raises(ConfigError, match=r"unknown camera '-1'.*fixed \(0\), lookatcart \(1\)"):
        cartpole(cameras=("-1",))
    with pytest.raises(ConfigError, match="once, got cameras corner, corner"):
        drawer(cameras=("corner", "corner"))
    with pytest.raises(ConfigError, match=r"env\.image_size must be at least 1, got 0"):
        cartpole(image_size=0)
    with pytest.raises(ConfigError, match="'robot' is not available for dmc"):
        cartpole(state="robot")
    for build in (drawer, cartpole):
        with pytest.raises(ConfigError, match="would show nothing"):
            build(cameras=(), state="none")


def test_without_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    from mujoco import gl_context

    def broken(*args: int) -> None:
        raise ImportError("Cannot initialize a headless EGL display.")

    monkeypatch.setattr(gl_context, "GLContext", broken)
    env = drawer()  # What it shows can be asked without drawing it.
    with pytest.raises(MissingDependencyError, match=r"headless EGL display\.\n`zoomrl doctor`"):
        env.reset(seed=0)


# ---- how it is drawn -----------------------------------------------------------------------------------


def raw(env: Env, camera: str, size: int) -> np.ndarray:
    """The image as MuJoCo's own renderer draws it."""
    import mujoco

    sim: Any = env
    with mujoco.Renderer(sim._sim.model, size, size) as renderer:
        renderer.update_scene(sim._sim.data, camera=camera)
        return renderer.render()


@needs_opengl
@pytest.mark.slow
def test_metaworld_is_upright() -> None:
    env = drawer(cameras=METAWORLD, image_size=48)
    shown = dict(zip(METAWORLD, env.reset(seed=0)[0]["rgb"], strict=True))
    for camera, image in shown.items():
        # The second axis of a camera's frame points to the top of its image.
        upside_down = env._sim.data.camera(camera).xmat[7] < -0.1
        assert upside_down == (camera in _ROLLED)
        theirs = raw(env, camera, 48)
        np.testing.assert_array_equal(image, np.rot90(theirs, 2) if upside_down else theirs)
    for camera in ("corner2", "corner4"):
        # Upright, the grey void lies above the table, and the red robot stands on the left.
        image = shown[camera].astype(int)
        assert image[:3, 24:].std() < 3 < image[-3:].std()
        red = (image[..., 0] > 100) & (image[..., 1] < 60)
        assert red[:, :24].sum() > 4 * red[:, 24:].sum()


@needs_opengl
@pytest.mark.long
def test_the_dmc_equals_dm_control() -> None:
    env = make_env("dmc:quadruped-escape", cameras=("x",), image_size=48)
    ours = env.reset(seed=0)[0]["rgb"][0]
    np.testing.assert_array_equal(ours, env._sim.physics.render(48, 48, camera_id="x"))  # type: ignore[attr-defined]
    env.close()


@needs_opengl
@pytest.mark.parametrize("build", [pytest.param(drawer, marks=pytest.mark.slow), cartpole])
@pytest.mark.slow
def test_less_can_be_rendered(build: Any) -> None:
    import mujoco

    seen = {}
    for off in ((), *[(name,) for name in EVERYTHING], EVERYTHING):
        env = build(image_size=48, **dict.fromkeys(off, False))
        seen[off] = env.reset(seed=0)[0]["rgb"]
        assert env.env_spec.rendering == tuple(name for name in EVERYTHING if name not in off)
        flags = env._views._scene.flags
        assert flags[mujoco.mjtRndFlag.mjRND_SHADOW] == ("shadows" not in off)
        assert flags[mujoco.mjtRndFlag.mjRND_REFLECTION] == ("reflections" not in off)
        assert env._views._context.offSamples == (0 if "antialiasing" in off else 4)
        assert env._views._model.vis.quality.offsamples == 4, "the model is not ours to change"
        env.close()
    for off in (("shadows",), ("antialiasing",), EVERYTHING):
        assert not np.array_equal(seen[off], seen[()])
    # The scene is the same one: what differs are shades and edges.
    assert np.abs(seen[EVERYTHING].astype(int) - seen[()]).mean() < 25


@needs_opengl
@pytest.mark.parametrize("build", [pytest.param(drawer, marks=pytest.mark.slow), cartpole])
@pytest.mark.long
def test_videos_stay_as_they_are(build: Any) -> None:
    plain, fast = build(cameras=(), state="full"), build(**FAST)
    for env in (plain, fast):
        env.reset(seed=0)
    before = fast._observe()["rgb"]
    np.testing.assert_array_equal(plain.render(), fast.render())
    np.testing.assert_array_equal(fast._observe()["rgb"], before)
    plain.close()
    np.testing.assert_array_equal(fast._observe()["rgb"], before)
    assert fast.render().shape == (240, 240, 3)
    fast.close()


@needs_opengl
@pytest.mark.long
def test_the_first_image_shows_where_things_are() -> None:
    import mujoco

    env: Any = make_env("metaworld:window-close", cameras=("corner",), image_size=16)
    env.reset(seed=0)
    settled = copy.copy(env._sim.data)
    mujoco.mj_forward(env._sim.model, settled)
    # Upstream moves this window by 0.2 m without telling the renderer.
    np.testing.assert_allclose(env._sim.data.geom_xpos, settled.geom_xpos, atol=1e-6)


# ---- episodes ------------------------------------------------------------------------------------------


@needs_opengl
@pytest.mark.parametrize(
    ("env_id", "cameras"),
    [
        ("metaworld:pick-place", ("corner2", "gripperPOV")),
        ("dmc:walker-walk", ("0",)),
        ("dmc:quadruped-escape", ("global",)),  # Its terrain is made anew in each episode.
    ],
)
@pytest.mark.slow
def test_same_seed_same_images(env_id: str, cameras: tuple[str, ...]) -> None:
    fresh, used = (make_env(env_id, cameras=cameras, image_size=24, **FAST) for _ in range(2))
    images(used, 5)
    first = images(fresh, 3)
    np.testing.assert_array_equal(images(used, 3), first)
    np.testing.assert_array_equal(images(fresh, 3), first)
    assert not np.array_equal(images(fresh, 4)[0], first[0])


@needs_opengl
@pytest.mark.parametrize("env_id", ["metaworld:reach", "dmc:walker-walk"])
@pytest.mark.long
def test_images_do_not_change_the_episode(env_id: str) -> None:
    plain = make_env(env_id)
    shown = make_env(env_id, cameras=("0",), state="full", image_size=8)
    a, b = plain.reset(seed=0)[0], shown.reset(seed=0)[0]
    for _ in range(4):
        np.testing.assert_array_equal(a["state"], b["state"])
        action = np.full(plain.env_spec.action_dim, 0.5, np.float32)
        a, b = plain.step(action)[0], shown.step(action)[0]


@needs_opengl
@pytest.mark.parametrize("build", [pytest.param(drawer, marks=pytest.mark.slow), cartpole])
@pytest.mark.long
def test_one_image_per_agent_step(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    render, rendered = SceneCameras.render, []
    monkeypatch.setattr(SceneCameras, "render", lambda self: rendered.append(1) or render(self))
    repeated, single = build(action_repeat=4, **FAST), build(**FAST)
    repeated.reset(seed=0)
    single.reset(seed=0)
    rendered.clear()
    action = np.ones(single.env_spec.action_dim, np.float32)
    held = repeated.step(action)[0]
    assert len(rendered) == 1
    last = [single.step(action)[0] for _ in range(4)][-1]
    np.testing.assert_array_equal(held["rgb"], last["rgb"])


@needs_opengl
@pytest.mark.slow
def test_workers_draw() -> None:
    config = EnvConfig("dmc:cartpole-swingup", cameras=("0", "1"), image_size=12, num_envs=2, **FAST)
    rows = []
    for workers in ("serial", "process"):
        with make_vector_env(replace(config, workers=workers)) as envs:
            first = [envs.reset(index, seed=index)[0]["rgb"] for index in range(2)]
            later = [envs.step(np.ones((2, 1), np.float32)).obs["rgb"] for _ in range(2)]
            assert envs.render(0).shape == (240, 240, 3)
            rows.append(np.stack([*first, *np.concatenate(later)]))
    assert (rows[0].shape, rows[0].dtype) == ((6, 2, 12, 12, 3), np.uint8)
    assert rows[0].std() > 5
    np.testing.assert_array_equal(rows[0], rows[1])
