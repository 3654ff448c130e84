"""HumanoidBench: what is done to make it run, seeding, observations, and the returns that count as success."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs_common import assert_action_repeat_sums, assert_honest_seeding, random_action
from zoomrl.analysis.metrics import read_run
from zoomrl.analysis.plot import plot_runs
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.global_seed import GlobalStream
from zoomrl.envs.suites.humanoidbench import compat
from zoomrl.envs.suites.humanoidbench.env import HumanoidBenchEnv, humanoidbench_tasks
from zoomrl.errors import ConfigError, MissingDependencyError
from zoomrl.recipes.compose import preset
from zoomrl.recipes.humanoid import TASKS
from zoomrl.spec import EnvSpec
from zoomrl.training.evaluate import Evaluation

simulated = pytest.mark.skipif(
    importlib.util.find_spec("humanoid_bench") is None,
    reason="HumanoidBench is not installed (docs/environments/humanoidbench.md says how)",
)


def make(task: str = "h1-stand", **options: Any) -> HumanoidBenchEnv:
    return HumanoidBenchEnv(task, EnvConfig(**options))


# ---- names -------------------------------------------------------------------------------------------------


@simulated
def test_tasks_are_those_with_a_scene() -> None:
    tasks = humanoidbench_tasks()
    assert list(tasks) == sorted(tasks)
    assert {f"h1hand-{task}" for task in TASKS} <= set(tasks)
    assert {"h1-walk", "g1-stand", "h1touch-door"} <= set(tasks)
    assert "h1-cube" not in tasks
    # 50 for the two robots of the published results; 192 are registered.
    assert sum(task.startswith(("h1-", "h1hand-")) for task in tasks) == 50
    assert len(compat.benchmark().tasks) == 192


@simulated
@pytest.mark.parametrize("name", ["stand", "h1hand-stand", "h1hand-stand-v0", "stand-v0"])
def test_the_robot_is_h1hand_by_default(name: str) -> None:
    assert make(name).env_spec.id == "humanoidbench:h1hand-stand"


@simulated
def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown HumanoidBench task 'h1hand-wolk'.*h1hand-walk"):
        make("h1hand-wolk")
    with pytest.raises(ConfigError, match=r"h1-cube is registered upstream.*no scene.*h1_pos_cube.xml.*h1hand-cube"):
        make("h1-cube")


@simulated
@pytest.mark.parametrize("option", [{"reward": "sparse"}, {"cameras": ("nowhere",)}])
def test_what_cannot_be_honoured_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"'native'|cam_default"):
        make(**option)


# ---- making it run -----------------------------------------------------------------------------------------

IMPORT = """
import logging, sys
import numpy as np
class Count(logging.Handler):
    said = []
    def emit(self, record): self.said.append(record.getMessage())
logging.getLogger("zoomrl.envs").addHandler(Count())
np.random.seed(3)
from zoomrl.envs.registry import make_env
make_env("humanoidbench:h1-stand").reset(seed=0)
make_env("humanoidbench:h1-walk").reset(seed=0)
assert np.random.rand() == np.random.RandomState(3).rand(), "the global generator was used"
import importlib.util
if importlib.util.find_spec("jax") is None:
    assert not [name for name in sys.modules if name.partition(".")[0] == "jax"]
print(len(Count.said))
print(*Count.said)
"""


@simulated
def test_what_was_changed_is_said_once_and_jax_is_not_left_behind() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    count, said = found.stdout.splitlines()
    # Nothing is changed under the MuJoCo that the benchmark pins.
    version = tuple(int(part) for part in importlib.metadata.version("mujoco").split(".")[:2])
    assert count == ("0" if version < (3, 2) else "1")
    assert count == "0" or "flex_xvert0" in said


def test_a_stand_in_ends_with_the_import_and_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with compat._stand_in("no_such_package", "no_such_package.numpy"):
        import no_such_package.numpy as inner

        assert sys.modules["no_such_package"].numpy is inner  # type: ignore[attr-defined]
    assert "no_such_package" not in sys.modules
    assert "no_such_package.numpy" not in sys.modules
    with pytest.raises(ZeroDivisionError), compat._stand_in("no_such_package"):
        1 / 0  # noqa: B018
    assert "no_such_package" not in sys.modules
    before = json.decoder
    with compat._stand_in("json", "json.decoder"):
        assert sys.modules["json"] is json
    assert sys.modules["json.decoder"] is before
    # Blocked, as by a test that another package is missing: it stays blocked.
    monkeypatch.setitem(sys.modules, "no_such_package", None)
    with compat._stand_in("no_such_package"):
        import no_such_package  # noqa: F401
    assert sys.modules["no_such_package"] is None


def test_arrays_that_mujoco_has_are_kept() -> None:
    pytest.importorskip("mujoco")
    sizes = {"mjmodel": {"qpos0": (), "gone": ()}, "mjdata": {"qpos": (), "gone_too": ()}}
    assert compat._fit(sizes) == ["gone", "gone_too"]
    assert sizes == {"mjmodel": {"qpos0": ()}, "mjdata": {"qpos": ()}}


def test_missing_humanoidbench(monkeypatch: pytest.MonkeyPatch) -> None:
    compat.benchmark.cache_clear()
    # Loaded or not, it is gone.
    for name in [name for name in sys.modules if name.partition(".")[0] == "humanoid_bench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "humanoid_bench", None)
    with pytest.raises(MissingDependencyError, match=r"docs/environments/humanoidbench.md"):
        make()
    monkeypatch.undo()
    assert compat.benchmark.cache_info().currsize == 0, "a failure is not remembered"


TEXTURE = """<mujoco><asset><texture name="t" type="2d" file="{file}"/><material name="m" texture="t"/></asset>
<worldbody><geom type="plane" size="1 1 1" material="m"/></worldbody></mujoco>"""


@pytest.mark.parametrize("pointer", [False, True])
def test_a_missing_texture_is_named(pointer: bool, tmp_path: Path) -> None:
    mujoco = pytest.importorskip("mujoco")
    file = tmp_path / "wood.png"
    if pointer:
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")

    def build(**kwargs: object) -> object:
        return mujoco.MjModel.from_xml_string(TEXTURE.format(file=file))

    registered = compat.Registered({}, 1000, tmp_path, None)
    benchmark = compat.Benchmark({"h1-push": registered}, ("h1",), build, ())
    with pytest.raises(MissingDependencyError, match=r"humanoidbench:h1-push needs the file .*wood.png.*git lfs pull"):
        benchmark.build("h1-push")


def test_a_scene_that_mujoco_refuses_names_the_version() -> None:
    mujoco = pytest.importorskip("mujoco")

    def build(**kwargs: object) -> object:
        return mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom/></worldbody></mujoco>")

    benchmark = compat.Benchmark({"h1-kitchen": compat.Registered({}, 1, Path(), None)}, ("h1",), build, ())
    with pytest.raises(ConfigError, match=rf"MuJoCo {mujoco.__version__} cannot load.*3\.1\.6.*--env.python"):
        benchmark.build("h1-kitchen")


@simulated
def test_a_small_robot_does_not_lower_the_others() -> None:
    """The constructor of a G1 task sets upstream's standing height for all robots."""
    tall = make("h1-stand")
    alone = rewards(tall, 0)
    short = make("g1-stand")
    first = rewards(short, 0)
    np.testing.assert_array_equal(rewards(tall, 0), alone)
    np.testing.assert_array_equal(rewards(make("h1-stand"), 0), alone)
    np.testing.assert_array_equal(rewards(short, 0), first)
    assert alone[0] > 0.5, "an H1 stands at its start"


def rewards(env: HumanoidBenchEnv, seed: int, steps: int = 15) -> np.ndarray:
    """Rewards of small random actions."""
    env.reset(seed=seed)
    rng = np.random.default_rng(0)
    return np.array([env.step(0.1 * random_action(env, rng))[1] for _ in range(steps)])


# ---- episodes ----------------------------------------------------------------------------------------------


@simulated
@pytest.mark.parametrize("task", ["h1-walk", "h1-package", "h1hand-basketball"])
def test_same_seed_same_episode(task: str) -> None:
    assert_honest_seeding(make(task), make(task))


@simulated
def test_the_global_generator_is_left_alone() -> None:
    env = make("h1-reach")
    np.random.seed(5)
    env.reset(seed=1)
    env.step(np.zeros(19, np.float32))
    assert np.random.rand() == np.random.RandomState(5).rand()


def test_a_stream_goes_on_where_it_was() -> None:
    one, reference = GlobalStream(3), np.random.RandomState(3)
    drawn = []
    for _ in range(2):
        with one.lent():
            drawn.append(np.random.rand())
        np.random.rand()
    assert drawn == [reference.rand(), reference.rand()]
    before = np.random.get_state()[1].copy()
    with pytest.raises(ZeroDivisionError), one.lent():
        1 / np.random.randint(1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@simulated
def test_the_first_observation_shows_the_new_goal() -> None:
    """Upstream observes where the destination of a package was before the reset."""
    env = make("h1-package")
    goals = slice(26 + 25, 26 + 25 + 3)
    for seed in (1, 2):
        first, _ = env.reset(seed=seed)
        after, *_ = env.step(np.zeros(19, np.float32))
        np.testing.assert_allclose(first["state"][goals], after["state"][goals], atol=1e-6)


@simulated
def test_what_an_episode_has_delivered_is_forgotten() -> None:
    """Upstream never puts the packages of the truck back on its lists."""
    env = make("h1-truck")
    first = rewards(env, 0)
    task = env._sim.task
    delivered = task.packages_on_truck[0]
    task.packages_on_truck.remove(delivered)
    task.packages_on_table.append(delivered)
    env._sim.model.geom_rgba[:] = 0.5
    np.testing.assert_array_equal(rewards(env, 0), first)
    assert delivered in task.packages_on_truck
    assert env._sim.model.geom_rgba.std() > 0.1


@simulated
def test_a_fall_terminates() -> None:
    env = make("h1-walk")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(400):
        state, _, terminated, truncated, info = env.step(random_action(env, rng))
        assert terminated == bool(state["state"][2] < 0.2), "the pelvis is below 0.2 m"
        if terminated or truncated:
            break
    assert (terminated, truncated, info["success"]) == (True, False, False)


@simulated
def test_the_registered_limit_truncates() -> None:
    assert make("h1hand-push").env_spec.time_limit == 500
    assert make("h1-stand", action_repeat=4).env_spec.time_limit == 250
    env = make("h1-crawl", time_limit=5)
    env.reset(seed=0)
    flags = [env.step(np.zeros(19, np.float32))[2:4] for _ in range(5)]
    assert flags == [(False, False)] * 4 + [(False, True)]


@simulated
def test_action_repeat() -> None:
    repeated = make("h1-stand", action_repeat=2)
    assert repeated.env_spec.control_hz == 25.0
    assert_action_repeat_sums(make("h1-stand"), repeated)


# ---- what is shown -----------------------------------------------------------------------------------------


@simulated
@pytest.mark.parametrize(
    ("task", "state", "actions", "positions"),
    [
        ("h1hand-stand", 151, 61, True),
        ("h1hand-reach", 157, 61, True),
        ("h1-walk", 51, 19, True),
        ("g1-stand", 87, 37, False),
    ],
)
def test_sizes(task: str, state: int, actions: int, positions: bool) -> None:
    spec = make(task).env_spec
    assert (spec.state_dim, spec.action_dim, spec.control_hz) == (state, actions, 50.0)
    assert spec.action.low == (-1.0,) * actions
    # The G1 is driven by torques, which are none of the meanings.
    assert spec.action_meaning == (("absolute",) * actions if positions else ())


@simulated
def test_state_is_upstreams_observation() -> None:
    env = make("h1-push")
    first, _ = env.reset(seed=2)
    assert first["state"].dtype == np.float32
    now, *_ = env.step(np.zeros(19, np.float32))
    data = env._sim.data
    np.testing.assert_allclose(now["state"][:26], data.qpos[:26], rtol=1e-6)
    np.testing.assert_allclose(now["state"][26:51], data.qvel[:25], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(now["state"][54:57], env._sim.task.goal, rtol=1e-6)


@simulated
def test_robot_state_is_proprioception() -> None:
    env = make("h1hand-push", state="robot")
    assert env.env_spec.state_dim == 69 + 69
    env.reset(seed=2)
    now, *_ = env.step(np.zeros(61, np.float32))
    model, data = env._sim.model, env._sim.data
    hinges = [j for j in range(model.njnt) if model.joint(j).name not in ("free_base", "free_object")]
    np.testing.assert_allclose(now["state"][:69], [data.qpos[model.jnt_qposadr[j]] for j in hinges], rtol=1e-6)
    speeds = [data.qvel[model.jnt_dofadr[j]] for j in hinges]
    np.testing.assert_allclose(now["state"][69:], speeds, rtol=1e-5, atol=1e-6)


@simulated
def test_images_of_the_head_and_from_outside() -> None:
    options = {"shadows": False, "reflections": False, "antialiasing": False, "image_size": 48}
    env = make("h1hand-stand", cameras=("left_eye_camera", "cam_default"), **options)
    assert env.env_spec.state_dim == 138, "proprioception beside images"
    first, _ = env.reset(seed=0)
    assert first["rgb"].shape == (2, 48, 48, 3)
    assert all(view.std() > 5 for view in first["rgb"])
    assert env.render().shape == (240, 240, 3)
    env.close()
    env.close()


@simulated
def test_a_robot_without_the_tasks_camera_is_videoed_by_its_own() -> None:
    env = make("g1-push")
    env.reset(seed=0)
    assert env.render().std() > 5
    env.close()


# ---- success -----------------------------------------------------------------------------------------------


@simulated
@pytest.mark.parametrize(
    ("task", "bar", "reports"),
    [
        *(("stand", 800, False), ("walk", 700, False), ("run", 700, False), ("reach", 12000, False)),
        *(("hurdle", 700, False), ("crawl", 700, False), ("maze", 1200, False), ("sit_simple", 750, False)),
        *(("push", 700, True), ("cabinet", 2500, True), ("bookshelf_simple", 2000, True)),
    ],
)
def test_returns_that_count_as_success(task: str, bar: float, reports: bool) -> None:
    assert compat.benchmark().tasks[f"h1hand-{task}"].success_bar == bar
    if task in ("stand", "push", "cabinet"):
        spec = make(f"h1hand-{task}").env_spec
        assert (spec.success_bar, spec.reports_success) == (bar, reports)


@simulated
def test_success_is_upstreams() -> None:
    env = make("h1-push")
    env.reset(seed=0)
    assert not env.step(np.zeros(19, np.float32))[4]["success"]
    env._sim.task.goal[:] = env._sim.data.qpos[-7:-4]
    _, reward, terminated, _, info = env.step(np.zeros(19, np.float32))
    assert (terminated, info["success"]) == (True, True)
    assert reward > 900


def test_a_spec_of_an_older_run_has_no_bar() -> None:
    data = {
        "id": "gym:X",
        "observations": {"state": {"shape": [2], "dtype": "float32", "low": None, "high": None}},
        "action": {"shape": [1], "dtype": "float32", "low": [-1], "high": [1]},
        "control_hz": 1.0,
        "time_limit": 5,
    }
    spec = EnvSpec.from_dict(data)
    assert spec.success_bar is None
    bar = EnvSpec.from_dict(json.loads(json.dumps(replace(spec, success_bar=800.0).to_dict())))
    assert bar.success_bar == 800.0
    assert not bar.mismatches(spec), "data are reused whatever counts as success"


def write_run(directory: Path, task: str, bar: float | None) -> Path:
    """A run directory whose return rises to 400."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(
        json.dumps(preset("cqn-humanoid", env=f"humanoidbench:h1hand-{task}").to_dict())
    )
    (directory / "policy.json").write_text(json.dumps({"spec": {"reports_success": False, "success_bar": bar}}))
    rows = []
    for index in range(5):
        returns = [100.0 * index + k for k in range(10)]
        row = Evaluation(returns, [1000] * 10, [False] * 10, list(range(10))).row()
        rows.append({"kind": "eval", "env_steps": 10_000 * index, **row})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def drawn_lines(
    monkeypatch: pytest.MonkeyPatch, runs: list[Path], out: Path, **options: Any
) -> list[tuple[float, str]]:
    from matplotlib.axes import Axes

    lines: list[tuple[float, str]] = []
    original = Axes.axhline

    def spy(self: Axes, y: float = 0, **look: Any) -> Any:
        lines.append((y, look.get("label", "")))
        return original(self, y, **look)

    monkeypatch.setattr(Axes, "axhline", spy)
    assert plot_runs(runs, out).exists()
    return lines


@pytest.mark.long
def test_the_bar_is_a_line_in_the_plot_of_returns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bars = {"stand": 800.0, "walk": 700.0, "run": 700.0}
    stand, walk, run = (write_run(tmp_path / task, task, bar) for task, bar in bars.items())
    none = write_run(tmp_path / "none", "maze", None)
    assert read_run(stand).success_bar == 800.0
    assert read_run(none).success_bar is None
    out = tmp_path / "plot.png"
    (line,) = drawn_lines(monkeypatch, [stand], out)
    assert line[0] == 800.0
    assert "800" in line[1]
    assert "humanoidbench:h1hand-stand" in line[1]
    lines = drawn_lines(monkeypatch, [stand, walk, run, none], out)
    assert [y for y, _ in lines] == [700.0, 800.0]
    assert lines[0][1].endswith("(humanoidbench:h1hand-walk, humanoidbench:h1hand-run)")
    assert drawn_lines(monkeypatch, [none], out) == []
