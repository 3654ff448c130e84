"""Cameras of any size from end to end: environments, runs, policies that act on the camera's own image, recordings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs_toy import ToyEnv
from toy import run, tiny
from zoomrl import load_policy
from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.cli.main import main
from zoomrl.data.episode import Episode, EpisodeBuilder
from zoomrl.demos.check.rollout import build_env, recorded_config
from zoomrl.demos.fit import check_fit
from zoomrl.demos.formats import ImportOptions, read, write
from zoomrl.demos.store.reader import DemoSet, read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs import make_vector_env
from zoomrl.envs.check.check import check_env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import CheckpointError, ConfigError, DemonstrationError, SimulatorError
from zoomrl.files import read_json, write_json
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.perception import ObservationShape
from zoomrl.runtime import fit_image
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.announce import announce_cameras
from zoomrl.training.policy import Policy

CAMERA = (480, 640)
ROWS, COLUMNS = np.mgrid[:480, :640]


class Camera(ToyEnv):
    """The toy's point in an image of 480 x 640 pixels of some ``form``, alongside the clock and a small grey camera."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, form: str = "rgb", render_mode: str = "rgb_array") -> None:
        self.form = form
        shape = {"rgb": (*CAMERA, 3), "grey first": (1, *CAMERA), "rgba": (*CAMERA, 4), "plane": CAMERA}
        front: Any = spaces.Box(0, 255, shape.get(form, (3, *CAMERA)), np.uint8)
        if form == "unit":
            front = spaces.Box(0, 1, (3, *CAMERA), np.float32)
        wrist = spaces.Box(0, 255, (1, 48, 36), np.uint8)
        self.observation_space = spaces.Dict({"clock": spaces.Box(0, 10, (1,)), "front": front, "wrist": wrist})

    def scene(self) -> np.ndarray:
        """The scene in colours, uint8 [480, 640, 3]."""
        image = np.empty((*CAMERA, 3), np.uint8)
        image[..., 0], image[..., 1], image[..., 2] = ROWS // 2, COLUMNS // 3, 20
        row, column = np.clip((self.point + 1) * (240, 320), 0, (439, 599)).astype(int)
        image[row : row + 40, column : column + 40] = 255 - 10 * self.clock
        return image

    def _show(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        scene = self.scene()
        front: Any = {
            "rgb": scene,
            "grey first": scene[None, ..., 1],
            "rgba": np.dstack([scene, scene[..., 0]]),
            "plane": scene[..., 1],
            "unit": np.moveaxis(scene, -1, 0).astype(np.float32) / 255,
        }[self.form]
        wrist = np.full((1, 48, 36), 7 * self.clock, np.uint8)
        self.last = {"clock": np.array([self.clock / 10], np.float32), "front": front, "wrist": wrist}
        return self.last

    def render(self) -> np.ndarray:
        return self.scene()


def colours(env: Camera) -> np.ndarray:
    """What the front camera shows as uint8 [480, 640, 3]."""
    scene = env.scene()
    return np.repeat(scene[..., 1:2], 3, -1) if env.form in ("grey first", "plane") else scene


FORMS = ("rgb", "grey first", "rgba", "plane", "unit")
TOY = "gym:CameraToy-v0"


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gymnasium.register("CameraToy-v0", Camera, max_episode_steps=12)
    yield
    gymnasium.registry.pop("CameraToy-v0")


def own(form: str = "rgb", **options: Any) -> Any:
    return wrap_gym_env(Camera(form), EnvConfig(**{"id": "gym:camera", "time_limit": 12, **options}))


# ---- environments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_fitted(form: str, fit: Any) -> None:
    env = own(form, cameras=("front",), image_fit=fit)
    spec = env.env_spec
    assert (spec.observations["rgb"].shape, spec.camera_sizes) == ((1, 84, 84, 3), (CAMERA,))
    assert (spec.image_fit, spec.image_crop, spec.state_dim) == (fit, (), 1)
    for call in (lambda: env.reset(seed=3), lambda: env.step(np.zeros(2, np.float32))):
        shown = call()[0]
        assert env.observation_space.contains(shown)
        np.testing.assert_array_equal(shown["rgb"][0], fit_image(colours(env.wrapped), (84, 84), fit))


def test_cameras_of_several_sizes_and_crops_become_views_of_one() -> None:
    crop = (40, 100, 400, 400, 0, 0, 0, 0)
    env = own(cameras=("all",), image_fit="letterbox", image_size=32, image_crop=crop)
    assert env.env_spec.camera_sizes == (CAMERA, (48, 36))
    shown, _ = env.reset(seed=0)
    assert shown["rgb"].shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(shown["rgb"][0], fit_image(env.wrapped.scene()[40:440, 100:500], (32, 32), "stretch"))
    np.testing.assert_array_equal(shown["rgb"][1], fit_image(env.wrapped.last["wrist"], (32, 32), "letterbox"))


def test_a_crop_without_a_fit_is_the_part_itself() -> None:
    env = own(cameras=("front",), image_crop=(0, 80, 480, 480))
    shown, _ = env.reset(seed=0)
    np.testing.assert_array_equal(shown["rgb"][0], env.wrapped.scene()[:, 80:560])
    assert ObservationShape.of(env.env_spec, 1).size == 480


def test_the_rendering_is_a_camera_like_the_others() -> None:
    fitted = own(cameras=("render", "wrist"), image_fit="letterbox")
    shown, _ = fitted.reset(seed=0)
    assert fitted.env_spec.camera_sizes == (CAMERA, (48, 36))
    np.testing.assert_array_equal(shown["rgb"][0], fit_image(fitted.wrapped.scene(), (84, 84), "letterbox"))
    # As before there was an option: averaged down to the size.
    plain = own(cameras=("render",))
    np.testing.assert_array_equal(
        plain.reset(seed=0)[0]["rgb"][0], fit_image(plain.wrapped.scene(), (84, 84), "stretch")
    )
    assert (plain.env_spec.image_fit, plain.env_spec.camera_sizes) == ("none", ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_crop": (0, 0, 481, 640)}, r"camera 'front' of gym:camera: the crop of 481 x 640.*which has 480 x 640"),
        ({"image_crop": (0, 0, 9, 9) * 3}, "3 rectangles for 1 cameras"),
        ({"image_size": 64}, "image_size 64 is not available.*480 x 640, unless image_fit says how.*--env.image-fit"),
        (
            {"cameras": ("all",)},
            "must have one size, got front 480 x 640, wrist 48 x 36. Fit them to squares.*image-fit",
        ),
        ({"cameras": ("render",), "image_crop": (400, 0, 100, 640)}, "camera 'render'.*must lie within"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own(**{"cameras": ("front",), **options})


def test_images_that_are_not_square_name_the_option() -> None:
    with pytest.raises(ConfigError, match=r"480 x 640 pixels, and encoders need square ones.*--env.image-fit stretch"):
        ObservationShape.of(own(cameras=("front",)).env_spec, 1)


def test_simulators_that_render_at_the_size_refuse_a_fit() -> None:
    for option in ({"image_fit": "letterbox"}, {"image_crop": (0, 0, 4, 4)}):
        with pytest.raises(ConfigError, match="is not available for dmc; its images are rendered at image_size"):
            make_env("dmc:cartpole-swingup", cameras=("0",), **option)


def test_four_channels_are_read_as_colours_where_they_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Alone(Camera):
        def __init__(self) -> None:
            super().__init__("rgba")
            self.observation_space = self.observation_space["front"]

        def _show(self) -> Any:
            return super()._show()["front"]

    with pytest.raises(ConfigError, match=r"'pixels', uint8\[480, 640, 4\].*may be colours.*grey images. Name it in c"):
        wrap_gym_env(Alone(), EnvConfig(time_limit=9))
    named = wrap_gym_env(Alone(), EnvConfig(time_limit=9, cameras=("pixels",), image_fit="crop"))
    assert named.reset(seed=0)[0]["rgb"].shape == (1, 84, 84, 3)
    assert not caplog.records
    wrap_gym_env(Alone(), EnvConfig(time_limit=9, cameras=("all",), image_fit="crop"))
    assert "alpha channel that is left out. Stacks of four grey images are none" in caplog.text


def test_floats_beyond_their_space_are_no_image() -> None:
    env = own("unit", cameras=("front",), image_fit="crop")
    env.reset(seed=0)
    env.wrapped.scene = lambda: np.full((*CAMERA, 3), 256, int)
    with pytest.raises(SimulatorError, match=r"gym:camera, entry 'front'.*values from 1.00392.*not from 0 to 1"):
        env.step(np.zeros(2, np.float32))


@pytest.mark.long
def test_the_check_and_the_run_say_what_is_fitted_how(capsys: pytest.CaptureFixture[str]) -> None:
    config = EnvConfig(TOY, cameras=("all",), image_fit="letterbox")
    found = {check.name: check for check in check_env(config, steps=2) if check.group == "zoomrl"}
    said = "480 x 640, resized to 63 x 84, with black bars above and below to 84 x 84"
    wrist = "48 x 36, resized to 84 x 63, with black bars at the sides to 84 x 84"
    assert (found["images"].status, found["images"].detail) == ("ok", f"front: {said}; wrist: {wrist}")
    unfitted = check_env(EnvConfig(TOY, cameras=("front",)), steps=2)
    image = next(check for check in unfitted if check.name == "images")
    assert (image.status, image.detail.split(":")[1]) == ("error", " 480 x 640 as it comes")
    assert "--env.image-fit" in image.fix
    from rich.console import Console

    announce_cameras(config, make_env(config).env_spec, Console(width=500))
    assert capsys.readouterr().out.splitlines() == [
        "cameras: front, wrist, 84x84 pixels",
        f"  front: {said}",
        f"  wrist: {wrist}",
    ]


# ---- runs and policies ----------------------------------------------------------------------------------------------


def drqv2(directory: Path, **changes: Any) -> Any:
    """A tiny DrQ-v2 from images: some steps and updates."""
    agent = DrQv2Config(encoder=dataclasses.replace(DrQv2Config().encoder, channels=2, feature_dim=4), hidden_dim=8)
    env = {"env__id": TOY, "env__cameras": ("front",), "env__image_fit": "letterbox", "env__image_size": 84}
    options = {"steps": 14, "eval__every": 0, "eval__final_episodes": 1, "eval__num_envs": 1, "control__noise": "0.2"}
    return tiny(directory, **{"agent": agent, **env, **options, **changes})


def act_alike(directory: Path, env: Any, forms: dict[str, Any], steps: int = 3) -> None:
    """The policy acts on what each of ``forms`` makes of the raw observation as on what the environment shows."""
    reference, others = load_policy(directory), {name: load_policy(directory) for name in forms}
    shown, _ = env.reset(seed=9)
    actions = []
    for _ in range(steps):
        action = reference.act(shown)
        for name, form in forms.items():
            np.testing.assert_array_equal(others[name].act(form(env.wrapped.unwrapped.last)), action, err_msg=name)
        actions.append(action)
        shown, *_ = env.step(action)
    assert len(np.unique(actions, axis=0)) == steps, "the image matters"


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "fit"),
    [("rgb", "letterbox"), ("grey first", "crop"), pytest.param("rgba", "stretch", marks=pytest.mark.slow)],
)
def test_a_policy_acts_on_the_cameras_own_image_as_in_training(form: str, fit: str, tmp_path: Path) -> None:
    gymnasium.registry.pop("CameraToy-v0")
    gymnasium.register("CameraToy-v0", Camera, max_episode_steps=12, kwargs={"form": form})
    config = drqv2(tmp_path / "run", env__image_fit=fit, env__image_crop=(20, 40, 440, 560))
    result, said = run(config)
    assert f"  front: 480 x 640, cropped to 440 x 560 from row 20, column 40, {'its' if fit == 'crop' else ''}" in said
    stored = read_json(tmp_path / "run" / "policy.json")["spec"]
    assert (stored["image_fit"], stored["camera_sizes"]) == (fit, [[480, 640]])

    def raw(shown: Any) -> dict[str, Any]:
        return {"state": shown["clock"], "front": shown["front"]}

    def channels_first(shown: Any) -> dict[str, Any]:
        front = shown["front"]
        return {"state": shown["clock"], "front": front if form == "grey first" else np.moveaxis(front, -1, 0)}

    forms = {
        "by name": raw,
        "channels first": channels_first,
        "as rgb": lambda shown: {"state": shown["clock"], "rgb": shown["front"]},
        "as rgb, view by view": lambda shown: {"state": shown["clock"], "rgb": shown["front"][None]},
        "of one environment": lambda shown: {"state": shown["clock"][None], "front": shown["front"][None]},
    }
    env = make_env(config.env)
    act_alike(result.directory, env, forms)
    policy = load_policy(result.directory)
    state = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match=r"camera 'front': its images must be 480 x 640 pixels.*got 240 x 320"):
        policy.act({"state": state, "front": env.wrapped.unwrapped.scene()[::2, ::2]})
    with pytest.raises(ValueError, match=r"in place of 'rgb' the images of front, got \['back', 'state'\]"):
        policy.act({"state": state, "back": env.wrapped.unwrapped.scene()})
    with pytest.raises(ValueError, match=r"camera 'front': an image came as float64.*not from 0 to 1"):
        policy.act({"state": state, "front": env.wrapped.unwrapped.scene() * 1.0})


@pytest.mark.long
def test_two_cameras_two_environments_and_no_state(tmp_path: Path) -> None:
    config = drqv2(tmp_path / "run", env__cameras=("wrist", "front"), env__state="none", env__image_size=24)
    result, _ = run(config)
    env = make_env(config.env)
    act_alike(result.directory, env, {"by name": lambda shown: {name: shown[name] for name in ("front", "wrist")}})
    frames = [np.ascontiguousarray(env.wrapped.unwrapped.scene()[::flip]) for flip in (1, -1)]
    wrists = [np.full((48, 36), level, np.uint8) for level in (10, 90)]
    alone = [load_policy(result.directory).act({"front": f, "wrist": w}) for f, w in zip(frames, wrists, strict=True)]
    both = load_policy(result.directory, num_envs=2)
    np.testing.assert_allclose(both.act({"front": np.stack(frames), "wrist": np.stack(wrists)}), alone, atol=1e-6)
    with pytest.raises(ValueError, match=r"'front' must hold 2 images, got \[3, 480, 640, 3\]"):
        both.act({"front": np.stack([*frames, frames[0]]), "wrist": np.stack(wrists)})


@pytest.mark.long
def test_a_policy_of_images_alone_takes_the_bare_image(tmp_path: Path) -> None:
    config = drqv2(tmp_path / "run", env__state="none", env__image_size=24)
    result, _ = run(config)
    act_alike(result.directory, make_env(config.env), {"bare": lambda shown: shown["front"]})


class _Seen:
    """In place of a controller: keeps what it is shown."""

    def act(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        self.arrays = arrays
        return np.zeros((len(arrays["rgb"]), 2), np.float32)


def seen_by(spec: EnvSpec, observation: Any, num_envs: int = 1) -> np.ndarray:
    """The images [N, V, H, W, 3] that a policy of ``spec`` reads from ``observation``."""
    controller: Any = _Seen()
    Policy(None, spec, controller, 0, num_envs).act(observation)  # type: ignore[arg-type]
    return controller.arrays["rgb"]


def image_spec(*cameras: str, **options: Any) -> EnvSpec:
    arrays = {"rgb": ArraySpec((len(cameras), 6, 6, 3), "uint8")}
    options = {"image_fit": "crop", "cameras": cameras, **options}
    return EnvSpec("mine:x", arrays, ArraySpec((2,), low=(-1.0,) * 2, high=(1.0,) * 2), 0.0, 9, **options)


def test_in_which_forms_a_policy_takes_images() -> None:
    big = np.random.default_rng(0).integers(0, 256, (2, 2, 20, 30, 3), np.uint8)  # environments, cameras
    small = np.stack([[fit_image(one, (6, 6), "crop") for one in views] for views in big])
    both, one = image_spec("front", "wrist"), image_spec("rgb")
    for given in (small[0], small[:1], big[0], big[:1], {"rgb": big[0]}, {"front": big[0, 0], "wrist": big[0, 1]}):
        np.testing.assert_array_equal(seen_by(both, given), small[:1])
    for given in (small, big, {"rgb": np.moveaxis(big, -1, 2)}, {"front": big[:, 0], "wrist": big[:, 1]}):
        np.testing.assert_array_equal(seen_by(both, given, 2), small)
    # One camera may leave out its axis, and be called as the observation is.
    for given in (big[0, 0], big[0, :1], big[:1, :1], {"rgb": big[0, 0]}, np.moveaxis(big[0, 0], -1, 0)):
        np.testing.assert_array_equal(seen_by(one, given), small[:1, :1])
    for given in (big[:, 0], big[:, :1], small[:, :1]):
        np.testing.assert_array_equal(seen_by(one, given, 2), small[:, :1])
    grey = np.stack([[fit_image(big[0, 0, ..., 0], (6, 6), "crop")]])
    for given in (big[0, 0, ..., 0], big[0, :1, ..., 0], big[0, 0, ..., :1]):
        np.testing.assert_array_equal(seen_by(one, given), grey)
    for given, num_envs in ((big[0, 0], 1), (big[0], 2), (big[0, 0, 0], 1)):
        with pytest.raises(ValueError, match="must hold the images of front, wrist for"):
            seen_by(both, given, num_envs)


def test_without_a_fit_a_policy_takes_images_of_the_size_alone() -> None:
    spec = image_spec("front", image_fit="none")
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    for given in (image[None], {"front": image}, {"front": np.moveaxis(image, -1, 0)}):
        np.testing.assert_array_equal(seen_by(spec, given), image[None, None])
    with pytest.raises(ValueError, match=r"'rgb' must have shape \(1, 6, 6, 3\), got \(1, 7, 6, 3\)"):
        seen_by(spec, np.zeros((1, 7, 6, 3), np.uint8))
    with pytest.raises(ValueError, match=r"camera 'front': .* 7 x 6 pixels came where 6 x 6 are expected"):
        seen_by(spec, {"front": np.zeros((7, 6, 3), np.uint8)})


@pytest.mark.long
def test_runs_of_before_load_and_a_changed_fit_is_not_resumed(tmp_path: Path) -> None:
    """Files without the new fields: what was taken as it came."""
    images = {"env__id": "gym:toy-images", "env__image_fit": "none", "env__cameras": ("front",)}
    agent = dataclasses.replace(tiny(tmp_path).agent, encoder=EncoderConfig(channels=2, feature_dim=4))
    config = drqv2(tmp_path / "run", agent=agent, **images)
    run(config)
    folder = tmp_path / "run"
    shown = {"state": np.zeros(1, np.float32), "rgb": np.full((1, 16, 16, 3), 9, np.uint8)}
    action = load_policy(folder).act(shown)
    for file, part in (("policy.json", "spec"), ("config.json", "env")):
        content = read_json(folder / file)
        for name in ("image_fit", "image_crop", "camera_sizes"):
            content[part].pop(name, None)
        write_json(folder / file, content)
    np.testing.assert_array_equal(load_policy(folder).act(shown), action)
    np.testing.assert_array_equal(load_policy(folder).act({**shown, "front": shown["rgb"][0]}), action)
    with pytest.raises(ValueError, match="24 x 16 pixels came where 16 x 16 are expected, and no image_fit says how"):
        load_policy(folder).act({"state": shown["state"], "front": np.zeros((24, 16, 3), np.uint8)})
    run(dataclasses.replace(config, steps=16))  # goes on
    with pytest.raises(CheckpointError, match=r"env\.image_fit: 'none' -> 'crop'"):
        run(dataclasses.replace(config, steps=18, env=dataclasses.replace(config.env, image_fit="crop")))
    content = read_json(folder / "policy.json")
    content["spec"]["image_fit"] = "crop"
    write_json(folder / "policy.json", content)
    with pytest.raises(CheckpointError, match="image_fit 'crop' against 'none'"):
        run(dataclasses.replace(config, steps=18))


def test_workers_show_the_same() -> None:
    config = EnvConfig(TOY, cameras=("front",), image_fit="crop", image_crop=(0, 0, 400, 600))
    one = make_env(config)
    with make_vector_env(config, 2) as envs:
        assert envs.env_spec == one.env_spec
        assert EnvSpec.from_dict(json.loads(json.dumps(one.env_spec.to_dict()))) == one.env_spec


# ---- recordings -----------------------------------------------------------------------------------------------------


def recorded(env: Any, seeds: range = range(2), steps: int = 3) -> list[Episode]:
    """Episodes of ``env`` with given actions."""
    episodes = []
    for seed in seeds:
        shown, _ = env.reset(seed=seed)
        builder = EpisodeBuilder(shown, seed)
        for _ in range(steps):
            action = np.float32([0.3, -0.2])
            shown, reward, *_ = env.step(action)
            builder.add(action, reward, shown, True)
        episodes.append(builder.build(terminated=False, truncated=True, is_demo=True))
    return episodes


def same_images(found: list[Episode], expected: list[Episode], most: int = 0) -> None:
    for after, before in zip(found, expected, strict=True):
        difference = after.observations["rgb"].astype(int) - before.observations["rgb"]
        assert difference.shape == before.observations["rgb"].shape
        assert np.abs(difference).max() <= most


def raw_set(cameras: tuple[str, ...] = ("front",)) -> DemoSet:
    """A recording of 480 x 640 pixels, as another program would make it."""
    env = make_env(TOY, cameras=cameras)
    return DemoSet(env.env_spec, recorded(env))


FITTED = EnvConfig(TOY, cameras=("front",), image_fit="letterbox", image_crop=(40, 0, 400, 640))


@pytest.mark.parametrize("layout", ["last", "first", "grey"])
def test_an_npz_recording_is_fitted_as_the_environment_fits_its_own(layout: str, tmp_path: Path) -> None:
    expected = recorded(make_env(FITTED))
    for number, episode in enumerate(raw_set().episodes):
        front = episode.observations["rgb"][:, 0]
        if layout == "first":
            front = np.moveaxis(front, -1, 1)
        if layout == "grey":
            front = front[..., 1]
        arrays = {"actions": episode.actions, "clock": episode.observations["state"], "front": front}
        (tmp_path / "set").mkdir(exist_ok=True)
        np.savez_compressed(tmp_path / "set" / f"episode_{number}.npz", **arrays)
    found = read("npz", tmp_path / "set", ImportOptions(env=FITTED))
    assert found.faults == []
    if layout == "grey":
        grey = fit_image(front[0], (84, 84), "letterbox", FITTED.image_crop)
        np.testing.assert_array_equal(found.episodes[1].observations["rgb"][0, 0], grey)
    else:
        same_images(found.episodes, expected)
    assert found.spec.mismatches(make_env(FITTED).env_spec) == []
    assert "does_not_fit" not in found.meta
    assert found.meta["resized"] == (
        "images from 480 x 640 of the crop 40 0 400 640 to 84 x 84, letterbox, by area where they shrink, linearly "
        "where they grow"
    )


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("foreign", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.long
def test_a_lerobot_recording_is_fitted_as_the_environment_fits_its_own(
    video: bool, foreign: bool, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    if video:
        pytest.importorskip("av")
    write("lerobot", tmp_path / "set", raw_set(), video=video)
    if foreign:
        for own_file in ("zoomrl.json", "zoomrl.parquet"):
            (tmp_path / "set" / "meta" / own_file).unlink()
    found = read("lerobot", tmp_path / "set", ImportOptions(env=FITTED, control_hz=0.0))
    assert found.faults == []
    expected = recorded(make_env(FITTED))
    if foreign:  # it keeps T observations, of which the last is used twice
        for one in expected:
            one.observations["rgb"][-1] = one.observations["rgb"][-2]
    same_images(found.episodes, expected, most=16 if video else 0)
    assert found.spec.image_fit == "letterbox"


def test_without_an_environment_the_options_say_how(tmp_path: Path) -> None:
    write("npz", tmp_path / "set", raw_set())
    (tmp_path / "set" / "spec.json").unlink()
    raw = raw_set().episodes[0].observations["rgb"][0, 0]
    for fit in ("auto", "letterbox", "crop"):
        options = ImportOptions(cameras=("front",), image_fit=fit, image_crop=(0, 0, 480, 320), image_size=20)  # type: ignore[arg-type]
        found = read("npz", tmp_path / "set", options)
        way = "stretch" if fit == "auto" else fit
        expected = fit_image(raw, (20, 20), way, (0, 0, 480, 320))
        np.testing.assert_array_equal(found.episodes[0].observations["rgb"][0, 0], expected)
        assert (found.spec.image_fit, found.spec.image_crop) == (way, (0, 0, 480, 320))


def test_each_camera_of_a_recording_has_its_crop(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    front, side = (np.random.default_rng(n).integers(0, 256, (4, 60, 80, 3), np.uint8) for n in range(2))
    arrays = {"actions": np.zeros((3, 2)), "front": front, "side": np.moveaxis(side[:, :48], -1, 1)}
    np.savez(tmp_path / "set" / "episode_0.npz", **arrays)
    options = ImportOptions(
        cameras=("side", "front"), image_crop=(0, 0, 0, 0, 4, 5, 20, 30), image_fit="crop", image_size=8
    )
    found = read("npz", tmp_path / "set", options)
    rgb = found.episodes[0].observations["rgb"]
    np.testing.assert_array_equal(rgb[2, 0], fit_image(side[2, :48], (8, 8), "crop"))
    np.testing.assert_array_equal(rgb[2, 1], fit_image(front[2, 4:24, 5:35], (8, 8), "crop"))
    assert found.meta["resized"].split("; ")[0].startswith("images from 48 x 80 to 8 x 8, crop, by area")
    assert found.meta["resized"].split("; ")[1].startswith("images from 60 x 80 of the crop 4 5 20 30 to 8 x 8, crop")
    assert (found.spec.image_crop, found.spec.camera_sizes) == (options.image_crop, ((48, 80), (60, 80)))
    with pytest.raises(ConfigError, match="2 rectangles for 1 cameras"):
        read("npz", tmp_path / "set", dataclasses.replace(options, cameras=("front",)))


def test_a_recording_of_fewer_cameras_than_the_environment_has(tmp_path: Path) -> None:
    """It does not fit, which is said; its spec is still one."""
    write("npz", tmp_path / "set", raw_set())
    config = dataclasses.replace(FITTED, cameras=("front", "wrist"), image_crop=(0, 0, 480, 480, 0, 0, 0, 0))
    with pytest.raises(ConfigError, match="2 rectangles for 1 cameras"):
        read("npz", tmp_path / "set", ImportOptions(env=config, cameras=("front",)))
    options = ImportOptions(env=config, cameras=("front",), image_crop=(0, 0, 480, 480))
    found = read("npz", tmp_path / "set", options)
    assert (found.spec.cameras, found.spec.image_crop, found.spec.camera_sizes) == (("front",), (0, 0, 480, 480), ())
    assert "does_not_fit" in found.meta
    state = read("npz", tmp_path / "set", ImportOptions(env=EnvConfig(TOY), state=("state",)))
    assert (state.spec.image_fit, state.spec.cameras) == ("none", ())


def test_the_inspection_says_how_images_were_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = make_env(FITTED)
    write_demos(tmp_path / "set", recorded(env), env.env_spec)
    assert main(["demos", "inspect", str(tmp_path / "set")]) == 0
    assert "letterbox of the crop 40 0 400 640" in capsys.readouterr().out


def test_a_recording_at_another_size_needs_its_own_crop(tmp_path: Path) -> None:
    demos = raw_set()
    half = [
        dataclasses.replace(one, observations={**one.observations, "rgb": one.observations["rgb"][:, :, ::2, ::2]})
        for one in demos.episodes
    ]
    shape = dataclasses.replace(demos.spec.observations["rgb"], shape=(1, 240, 320, 3))
    spec = dataclasses.replace(demos.spec, observations={**demos.spec.observations, "rgb": shape})
    write("npz", tmp_path / "set", DemoSet(spec, half))
    with pytest.raises(DemonstrationError, match=r"episode_0.npz: its images must be 480 x 640 pixels.*got 240 x 320"):
        read("npz", tmp_path / "set", ImportOptions(env=FITTED))
    found = read("npz", tmp_path / "set", ImportOptions(env=FITTED, image_crop=(20, 0, 200, 320)))
    assert found.episodes[0].observations["rgb"].shape == (4, 1, 84, 84, 3)
    with pytest.raises(DemonstrationError, match="must lie within the image, which has 240 x 320"):
        read("npz", tmp_path / "set", ImportOptions(env=FITTED, image_crop=(0, 0, 400, 320)))
    with pytest.raises(ConfigError, match="fits its images by 'letterbox', and image_fit 'crop' was asked for"):
        read("npz", tmp_path / "set", ImportOptions(env=FITTED, image_fit="crop"))


def test_what_was_fitted_is_not_cropped_again(tmp_path: Path) -> None:
    env = make_env(FITTED)
    episodes = recorded(env)
    write("npz", tmp_path / "set", DemoSet(env.env_spec, episodes))
    found = read("npz", tmp_path / "set", ImportOptions(env=FITTED))
    same_images(found.episodes, episodes)
    assert (found.spec, "resized" in found.meta) == (env.env_spec, False)
    again = read("npz", tmp_path / "set")
    assert again.spec == env.env_spec


def test_a_set_of_the_cameras_own_images_is_fitted_when_it_is_used() -> None:
    demos, spec = raw_set(), make_env(FITTED).env_spec
    fitted = check_fit(demos, spec)
    same_images(fitted.episodes, recorded(make_env(FITTED)))
    assert fitted.spec.mismatches(spec) == []
    # Of another size than the crop is counted in, or fitted in another way, it stays what it is.
    other = make_env(dataclasses.replace(FITTED, image_fit="crop")).env_spec
    with pytest.raises(DemonstrationError, match="images fitted by letterbox of the crop 40 0 400 640 against crop of"):
        check_fit(fitted, other)
    elsewhere = dataclasses.replace(spec, camera_sizes=((240, 320),))
    with pytest.raises(DemonstrationError, match=r"observation 'rgb' uint8\[1, 480, 640, 3\] against uint8\[1, 84, 84"):
        check_fit(demos, elsewhere)


def test_a_set_of_the_runs_size_is_cropped_where_the_environment_crops() -> None:
    class Square(Camera):
        def scene(self) -> np.ndarray:
            return super().scene()[:84, :84]

        def __init__(self) -> None:
            super().__init__()
            self.observation_space["front"] = spaces.Box(0, 255, (84, 84, 3), np.uint8)

    plain = EnvConfig("gym:square", cameras=("front",), time_limit=12)
    cropped = dataclasses.replace(plain, image_fit="stretch", image_crop=(0, 0, 42, 42))
    env, other = wrap_gym_env(Square(), plain), wrap_gym_env(Square(), cropped)
    assert env.env_spec.observations == other.env_spec.observations
    demos = DemoSet(env.env_spec, recorded(env))
    same_images(check_fit(demos, other.env_spec).episodes, recorded(other))
    stretched = wrap_gym_env(Square(), dataclasses.replace(plain, image_fit="stretch"))
    assert check_fit(demos, stretched.env_spec).spec == demos.spec, "nothing to be done"


@pytest.mark.slow
def test_a_run_learns_from_a_recording_of_large_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("npz", tmp_path / "npz", raw_set())
    fit = ["--env.image-fit", "letterbox", "--env.cameras", "front"]
    assert (
        main(["demos", "import", "npz", str(tmp_path / "npz"), "--out", str(tmp_path / "set"), "--env", TOY, *fit]) == 0
    )
    assert "resized: images from 480 x 640 to 84 x 84, letterbox" in capsys.readouterr().out
    spec = read_demos(tmp_path / "set").spec
    assert (spec.image_fit, spec.camera_sizes) == ("letterbox", (CAMERA,))
    changes = {"demos__source": str(tmp_path / "set"), "demos__episodes": 0, "offline_updates": 2}
    _, said = run(drqv2(tmp_path / "run", **changes))
    assert "demonstrations' images" not in said
    # The same set without an import: fitted when it is read.
    write_demos(tmp_path / "raw", raw_set().episodes, raw_set().spec)
    _, said = run(drqv2(tmp_path / "raw-run", **{**changes, "demos__source": str(tmp_path / "raw")}))
    assert "the demonstrations' images of 480 x 640 pixels are cropped and fitted as the environment's" in said


def test_the_environment_of_a_set_is_built_as_it_was() -> None:
    env = make_env(FITTED)
    config, _ = recorded_config(env.env_spec, [_Account()])
    assert (config.image_fit, config.image_crop, config.image_size) == ("letterbox", FITTED.image_crop, 84)
    built, assumed = build_env(config, env.env_spec)
    assert (built.env_spec, assumed) == (env.env_spec, [])


class _Account:
    length, success, terminated = 3, False, False
