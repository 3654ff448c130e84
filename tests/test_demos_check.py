"""`zoomrl demos check`: a good set passes; each kind of damage is found, at its episode and step."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tyro
from rich.console import Console

from test_demos_store import released
from zoomrl.cli.demos_check import CheckDemos
from zoomrl.cli.main import main
from zoomrl.data.episode import Episode
from zoomrl.demos.check import survey as checking
from zoomrl.demos.check.actions import fit_grid, grid_findings, idle_stretches
from zoomrl.demos.check.manifest import manifest_path, read_manifest
from zoomrl.demos.check.rollout import difference, recorded_config, replay, with_overrides
from zoomrl.demos.check.survey import conclude, replay_survey, survey_set
from zoomrl.demos.collect import collect_demos, collection_meta
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.layout import FILE_KEY
from zoomrl.demos.store.reader import content_hash, read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.base import ControlStep, Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError
from zoomrl.seal import KEY
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.build.demos import load_demos
from zoomrl.training.config import TrainConfig

DRAWER = EnvConfig(id="metaworld:drawer-open", reward="sparse", time_limit=150)


class Walk(Env):
    """A point that is pushed about; its image is as bright as it is far. Success beyond 1."""

    def __init__(self, meaning=("delta", "gripper"), low=-1.0, gain=1.0):
        spec = EnvSpec(
            "fake:walk",
            {"state": ArraySpec((2,)), "rgb": ArraySpec((1, 4, 4, 3), "uint8")},
            ArraySpec((2,), low=(low, -1.0), high=(1.0, 1.0)),
            10.0,
            60,
            reports_success=True,
            cameras=("front",),
            action_meaning=meaning,
        )
        super().__init__(spec)
        self.gain = gain

    def _begin(self, seed):
        self.x = np.random.default_rng(seed).uniform(-0.5, 0.5, 2)
        return {}

    def _advance(self, action):
        self.x = self.x + 0.1 * self.gain * action
        return ControlStep(float(self.x[0]), success=bool(self.x[0] > 1))

    def _observe(self):
        level = np.clip(100 + 50 * self.x[0], 0, 255)
        return {"state": self.x.astype(np.float32), "rgb": np.full((1, 4, 4, 3), level, np.uint8)}

    def render(self):
        return np.zeros((4, 4, 3), np.uint8)


def walked(seed, steps=40, actions=None, env=None):
    """One episode of ``Walk`` under wandering actions that reach the goal."""
    env = env or Walk()
    rng = np.random.default_rng(seed)
    if actions is None:
        actions = np.stack([rng.uniform(0.2, 1, steps), np.sign(rng.uniform(-1, 1, steps))], 1)
    actions = np.asarray(actions, np.float32)
    seen, _ = env.reset(seed=seed)
    shown, rewards, success = [seen], [], False
    for action in actions:
        seen, reward, *_, info = env.step(action)
        shown.append(seen)
        rewards.append(reward)
        success |= info["success"]
    observations = {name: np.stack([row[name] for row in shown]) for name in seen}
    flags = {"terminated": False, "truncated": True, "success": success, "is_demo": success}
    return Episode(observations, actions, np.float32(rewards), **flags, seed=seed)


def stored(path, episodes, spec=None, meta=None):
    write_demos(path, episodes, spec or Walk().env_spec, meta=meta)
    return path


def checked(path, make=lambda config: Walk(), **options):
    survey = survey_set(path)
    replays, found = replay_survey(survey, make=make)
    return conclude(survey, replays, found, **options)


def found(report, *severities):
    """(kind, episode, step, dimension) of the findings of these severities."""
    wanted = severities or ("error", "warning")
    return [(f.kind, f.episode, f.step, f.dimension) for f in report.findings if f.severity in wanted]


def message(report, kind):
    return next(f.message for f in report.findings if f.kind == kind)


def edited(path, change):
    with h5py.File(Path(path) / "data" / "main_data.hdf5", "r+") as file:
        change(file)
    return released(Path(path))


# ---- a real simulator ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawer(tmp_path_factory):
    """Three demonstrations of a scripted expert, and a way to their environment that builds it once."""
    pytest.importorskip("metaworld")
    path = tmp_path_factory.mktemp("sets") / "drawer"
    env = make_env(DRAWER)
    write_demos(path, collect_demos(env, episodes=3, seed=0), env.env_spec, meta=collection_meta(env, seed=0))
    built = {}

    def make(config):
        # Asked for with exactly the options that were recorded.
        assert config == DRAWER
        env.close = lambda: None
        built["env"] = env
        return env

    yield path, make
    assert built
    del env.close
    env.close()


@pytest.fixture
def copy(drawer, tmp_path):
    return shutil.copytree(drawer[0], tmp_path / "set"), drawer[1]


@pytest.mark.long
def test_scripted_demonstrations_repeat(drawer):
    report = checked(*drawer)
    assert report.passed
    assert not found(report)
    assert report.replayed == 3
    for account in report.episodes:
        assert account.replay.success
        assert account.replay.ended == "terminated"
        assert account.replay.divergence is None
        assert account.replay.largest == {"state": 0.0}
        assert account.replay.rewards_sum == account.rewards_sum == 1.0


def test_a_changed_action_is_found_where_it_was_changed(copy):
    path, make = copy

    def change(file):
        file["episode_1/actions"][20, 0] += 0.3

    report = checked(edited(path, change), make)
    kinds = found(report)
    assert ("diverges", 1, 21, None) in kinds
    assert {episode for _, episode, *_ in kinds} == {1}
    assert "after action 20" in message(report, "diverges")


def test_a_changed_state_is_found_and_told_from_another_course(copy):
    path, make = copy

    def change(file):
        file["episode_2/observations/state"][30, 4] += 0.01

    report = checked(edited(path, change), make)
    assert found(report) == [("diverges", 2, 30, None)]
    assert "only 1 of" in message(report, "diverges")
    assert report.passed


def test_flags_that_the_replay_contradicts(copy):
    path, make = copy

    def change(file):
        file["episode_0"].attrs["success"] = False
        file["episode_0"].attrs["is_demo"] = False
        file["episode_1/actions"][40:, :] = 0.0

    report = checked(edited(path, change), make)
    assert ("replay-succeeded", 0, None, None) in found(report, "warning")
    assert found(report, "error") == [("replay-failed", 1, 41, None)]
    # The gripper still moved at step 40.
    assert ("idle", 1, 41, None) in found(report, "warning")
    assert report.failed_demos() == [1]


def test_a_damaged_episode_does_not_hide_the_others(copy):
    path, make = copy
    file_path = path / "data" / "main_data.hdf5"
    with h5py.File(file_path) as file:
        chunk = file["episode_1/actions"].id.get_chunk_info(0)
    data = bytearray(file_path.read_bytes())
    data[chunk.byte_offset + 5] ^= 0xFF
    file_path.write_bytes(data)
    assert "does not match its checksum" in message(checked(path, make), "unreadable")
    report = checked(released(path), make)
    assert found(report) == [("unreadable", 1, None, None)]
    assert report.sha256 == ""
    assert [account.replay is not None for account in report.episodes] == [True, False, True]


@pytest.mark.long
def test_a_set_recorded_with_other_options_is_replayed_with_them(tmp_path):
    pytest.importorskip("metaworld")
    config = replace(DRAWER, state="robot", action_repeat=2, reward="dense", terminate_on_success=False, time_limit=75)
    env = make_env(config)
    write_demos(tmp_path / "set", collect_demos(env, episodes=1, seed=1), env.env_spec)
    env.close()
    report = checked(tmp_path / "set", make_env)
    assert not found(report)
    assert report.replayed == 1
    assert "state robot" in message(report, "assumed")
    assert "success does not end an episode" in message(report, "assumed")


# ---- what can be said without a simulator, and with a small one ---------------------------------------


def test_a_truncated_file_is_checked_as_far_as_it_goes(copy):
    path, make = copy
    file = path / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:-500])
    report = checked(path, make)
    assert found(report) == [("unreadable", None, None, None), ("unreadable", 2, None, None)]
    assert "the file was cut" in message(report, "unreadable")
    assert [account.replay is not None and account.replay.success for account in report.episodes] == [True, True, False]
    assert report.sha256 == ""


def test_a_file_without_a_beginning_is_an_error_and_a_missing_one_is_refused(tmp_path):
    path = stored(tmp_path / "set", [walked(0)])
    file = path / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:20])
    report = checked(path)
    assert found(report) == [("unreadable", None, None, None)]
    assert "cannot be opened" in message(report, "unreadable")
    with pytest.raises(DemonstrationError, match="no demonstration set"):
        survey_set(tmp_path / "elsewhere")


@pytest.mark.timeout(60)
def test_a_number_of_episodes_that_is_merely_promised_takes_no_time(tmp_path):
    place = stored(tmp_path / "set", [walked(0), walked(1)])
    path = place / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    held = metadata["total_episodes"]
    metadata["total_episodes"] = 10**9
    path.write_text(json.dumps({name: value for name, value in metadata.items() if name not in (FILE_KEY, KEY)}))
    findings = survey_set(place).findings
    assert sum("is missing" in one.message for one in findings) == 100
    text = f"{10**9 - held - 100:,} more episodes are missing, of 1,000,000,000 promised"
    assert any(text in one.message for one in findings)


def test_nan_is_found_at_its_episode(tmp_path):
    def change(file):
        file["episode_1/observations/state"][3, 0] = np.nan

    path = edited(stored(tmp_path / "set", [walked(0), walked(1)]), change)
    report = checked(path)
    assert found(report) == [("unreadable", 1, None, None)]
    assert "'state' holds NaN" in message(report, "unreadable")


def test_images_and_rewards_are_compared(tmp_path):
    def change(file):
        file["episode_0/observations/rgb"][7] = 0
        file["episode_1/rewards"][11] += 0.5

    report = checked(edited(stored(tmp_path / "set", [walked(0), walked(1)]), change))
    assert set(found(report)) == {("diverges", 0, 7, None), ("rewards-differ", 1, 11, None)}
    assert "observation 'rgb' differs" in message(report, "diverges")
    assert report.episodes[0].replay.largest["state"] == 0
    assert report.episodes[0].replay.largest["rgb"] > 50


def test_images_are_compared_by_the_view_that_differs_most():
    one = np.full((2, 4, 4, 3), 100, np.uint8)
    two = one.copy()
    two[1] += 3
    assert difference(one, two) == (3.0, True)
    two = one.copy()
    two[1, 0, 0] = 110  # ten grey levels of one pixel in sixteen
    assert difference(one, two) == (10 / 16, False)
    assert difference(np.float32([1000.0]), np.float32([1000.05])) == (pytest.approx(0.05, rel=0.01), False)
    assert difference(np.float32([0.0]), np.float32([0.0002]))[1]
    assert difference(np.float32([0.0]), np.float32([np.nan])) == (np.inf, True)


def test_actions_outside_the_bounds(tmp_path):
    def change(file):
        file["episode_1/actions"][5:8, 0] = 1.5

    report = checked(edited(stored(tmp_path / "set", [walked(0), walked(1)]), change))
    assert found(report, "error") == [("outside-bounds", 1, 5, 0)]
    assert message(report, "outside-bounds").startswith("3 entries lie outside the bounds, in dimension 0")


def test_an_outlier_names_dimension_episode_and_step(tmp_path):
    episodes = [walked(seed) for seed in range(3)]
    assert not found(checked(stored(tmp_path / "good", episodes)))
    for episode in episodes:
        episode.actions[:, 0] *= 0.1
    episodes[1].actions[17, 0] = 1.0
    path = stored(tmp_path / "bad", [walked(e.seed, actions=e.actions) for e in episodes])
    edited(path, lambda file: [file[f"episode_{i}"].attrs.__setitem__("is_demo", True) for i in range(3)])
    report = checked(path)
    assert ("outlier", 1, 17, 0) in found(report, "warning")
    values = np.concatenate([e.actions[:, 0] for e in episodes])
    inner = np.sort(values)[2:-2]  # 120 values: the middle 98 % leave out two at each end
    expected = (values.max() - values.min()) / (inner.max() - inner.min())
    assert report.grid.spread[0] == pytest.approx(expected, rel=1e-6)
    assert "1 of 120 steps" in message(report, "outlier")
    # Failed attempts do not set the range.
    edited(path, lambda file: file["episode_1"].attrs.__setitem__("is_demo", False))
    assert "outlier" not in {kind for kind, *_ in found(checked(path))}


def test_a_gripper_that_closes_once_is_no_outlier():
    actions = np.full((200, 2), 0.5, np.float32)
    actions[:, 0] = np.linspace(-1, 1, 200)
    actions[100, 1] = -1
    grid = fit_grid({0: actions}, Walk().env_spec.action, 3, 5)
    assert grid.spread[1] is None
    assert grid.own[1] is not None
    actions[:, 1] = np.linspace(0, 0.2, 200)
    actions[100, 1] = -1
    for meanings, kinds in ((("delta", "gripper"), set()), (("delta", "delta"), {("outlier", 0, 100, 1)})):
        spec = Walk(meanings).env_spec
        findings = grid_findings({0: actions}, fit_grid({0: actions}, spec.action, 3, 5), spec)
        assert {(f.kind, f.episode, f.step, f.dimension) for f in findings if f.severity == "warning"} == kinds


@pytest.mark.parametrize(("levels", "bins"), [(1, 2), (2, 3), (3, 5)])
def test_steps_beyond_the_outermost_centres(levels, bins):
    values = np.random.default_rng(0).uniform(-0.2, 0.9, (500, 2)).astype(np.float32)
    grid = fit_grid({0: values[:200], 1: values[200:]}, Walk(low=-2.0).env_spec.action, levels, bins)
    for dims, ends in (
        (grid.bounds, [(-2.0, 1.0), (-1.0, 1.0)]),
        (grid.own, [*np.stack([values.min(0), values.max(0)], 1)]),
    ):
        for dim, (low, high) in enumerate(ends):
            half_cell = (float(high) - float(low)) / bins**levels / 2
            column = values[:, dim].astype(np.float64)
            beyond = (column < low + half_cell) | (column > high - half_cell)
            assert dims[dim].beyond_outermost == pytest.approx(beyond.mean(), abs=2e-3)


def test_constant_dimensions_copies_and_missing_seeds(tmp_path):
    first = walked(0, actions=np.stack([np.linspace(0.5, 1, 30), np.full(30, 0.25)], 1))
    other = walked(1, actions=first.actions)
    unseeded = replace(walked(2, actions=0.9 * first.actions + [[0, 0.025]]), seed=-1)
    report = checked(stored(tmp_path / "set", [first, other, first, unseeded], meta={"versions": {"numpy": "0.9"}}))
    duplicates = [f for f in report.findings if f.kind == "duplicate"]
    assert [f.message for f in duplicates] == [
        "episode 1 has the actions of episode 0, under other observations, rewards or flags",
        "episode 2 is a copy of episode 0",
    ]
    assert ("constant-dimension", None, None, 1) in found(report, "note")
    assert report.grid.own[1] is None
    assert "1 of 4 episodes have no seed" in message(report, "no-seed")
    assert report.replayed == 3
    assert f"numpy 0.9 (here {np.__version__})" in message(report, "other-versions")


def test_demonstrations_of_which_none_has_a_reward(tmp_path):
    def kinds(*rewards):
        episodes = [replace(walked(seed), rewards=np.float32(one)) for seed, one in enumerate(rewards)]
        survey = survey_set(stored(tmp_path / f"set{len(list(tmp_path.iterdir()))}", episodes))
        return {f.kind for f in conclude(survey).findings}

    nothing, last, punished = np.zeros(40), np.eye(40)[-1], np.full(40, -1)
    assert "no-reward" in kinds(nothing, nothing)
    assert "no-reward" not in kinds(nothing, last)
    assert "no-reward" not in kinds(punished, punished)
    assert "no-reward" not in kinds(np.eye(40)[-1] - np.eye(40)[0]), "which sum to 0"


def test_a_warning_is_not_nothing(tmp_path, capsys):
    paid, unpaid = walked(0), replace(walked(0), rewards=np.zeros(40, np.float32))
    for episode, verdict in ((paid, "nothing found against it, but"), (unpaid, "no error was found, but")):
        path = stored(tmp_path / verdict[:7].replace(" ", "-"), [episode])
        assert main(["demos", "check", str(path), "--no-write", "--no-replay"]) == 0
        assert f"{verdict} no episode was replayed" in " ".join(capsys.readouterr().out.split())


def test_recordings_of_others_need_no_seed_and_their_assumed_success_is_shown(tmp_path, capsys):
    made = [replace(walked(0), seed=-1, meta={"success": "assumed"}), replace(walked(1), seed=-1)]
    path = stored(tmp_path / "set", made, meta={"format": "aloha"})
    assert ("no-seed", None, None, None) in found(checked(path), "note")
    assert main(["demos", "check", str(path), "--no-write"]) == 0
    rows = [line.split("│")[4].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│  ")]
    assert rows[:2] == ["assumed", "yes"]


def slow_stretches(actions, meanings, least):
    runs, start = [], None
    for t in range(len(actions) + 1):
        still = t < len(actions) and all(
            (actions[t][d] == 0 if meaning == "delta" else t == 0 or actions[t][d] == actions[t - 1][d])
            for d, meaning in enumerate(meanings)
        )
        if still and start is None:
            start = t
        if not still and start is not None:
            runs += [(start, t - start)] if t - start >= least else []
            start = None
    return runs


@pytest.mark.parametrize("seed", range(5))
def test_standstill_depends_on_what_an_action_means(seed):
    rng = np.random.default_rng(seed)
    actions = rng.choice(np.float32([0, 0, 0, 0.5]), (80, 2))
    for meanings in (("delta", "gripper"), ("absolute", "absolute"), ("delta", "delta")):
        spec = Walk(meanings).env_spec
        for least in (1, 3, 5):
            assert idle_stretches(actions, spec, least) == slow_stretches(actions, meanings, least)
    unknown = idle_stretches(actions, Walk(()).env_spec, 2)
    assert unknown == slow_stretches(actions, ("delta", "delta"), 2)


def test_standstill_is_reported_with_its_place(tmp_path):
    episode = walked(0)
    actions = episode.actions.copy()
    actions[12:30] = [0, actions[11, 1]]
    report = checked(stored(tmp_path / "set", [walked(0, actions=actions)]), idle=18)
    assert found(report) == [("idle", 0, 12, None)]
    assert message(report, "idle").startswith("no motion is commanded for 18 steps from step 12: 18 of 40 steps")
    assert not found(conclude(survey_set(tmp_path / "set"), idle=19))


def test_ends_and_errors_of_the_replay(tmp_path):
    class Ends(Walk):
        def _advance(self, action):
            step = super()._advance(action)
            return replace(step, terminated=self._agent_steps == 9)

    class Breaks(Walk):
        def _advance(self, action):
            if self._agent_steps == 5:
                raise RuntimeError("the solver diverged")
            return super()._advance(action)

    path = stored(tmp_path / "set", [walked(0)])
    assert ("ends-early", 0, 10, None) in found(checked(path, lambda config: Ends()))
    report = checked(path, lambda config: Breaks())
    assert found(report, "error") == [("replay-stopped", 0, 5, None)]
    assert "RuntimeError: the solver diverged" in message(report, "replay-stopped")
    ended = replace(walked(0), terminated=True, truncated=False)
    assert ("ends-otherwise", 0, 40, None) in found(checked(stored(tmp_path / "ended", [ended])))


def test_an_environment_that_is_missing_or_another(tmp_path):
    path = stored(tmp_path / "set", [walked(0)])

    def missing(config):
        raise MissingDependencyError("'walk' is not installed")

    report = checked(path, missing)
    assert found(report) == [("not-replayed", None, None, None)]

    class Blind(Walk):
        def _observe(self):
            raise MissingDependencyError("no image can be rendered here")

    assert found(checked(path, lambda config: Blind())) == [("not-replayed", None, None, None)]
    report = checked(path, lambda config: Walk(low=-2.0))
    assert found(report) == [("does-not-fit", None, None, None)]
    assert "action low bound" in message(report, "does-not-fit")
    # The set's own id has no domain that is known.
    assert "unknown environment domain 'fake'" in message(checked(path, make_env), "not-replayed")


def test_the_options_of_a_recording():
    spec = replace(Walk().env_spec, id="dmc:walker-walk", reward="native", rendering=("shadows",), action_repeat=2)
    config, assumed = recorded_config(spec, ())
    expected = {"shadows": True, "reflections": False, "antialiasing": False}
    assert config == EnvConfig(
        id="dmc:walker-walk", action_repeat=2, time_limit=60, cameras=("front",), image_size=4, **expected
    )
    assert not assumed
    asked = EnvConfig(id="", python="/opt/other/python", time_limit=70)
    assert with_overrides(config, asked, EnvConfig(id="")) == replace(config, python="/opt/other/python", time_limit=70)
    plain = replace(spec, id="gym:Walk-v0", observations={"rgb": spec.observations["rgb"]}, rendering=())
    config, _ = recorded_config(plain, ())
    assert (config.state, config.shadows) == ("none", True)


def test_replay_of_another_world_fails(tmp_path):
    report = replay(Walk(gain=0.5), walked(3))
    assert report.divergence == 1
    assert report.differing == 40


# ---- the command and the manifest --------------------------------------------------------------------


@pytest.fixture
def walking(monkeypatch):
    """The command builds ``Walk``."""
    monkeypatch.setitem(checking.replay_survey.__kwdefaults__, "make", lambda config: Walk())


def command(path, *words):
    return tyro.cli(CheckDemos, args=[str(path), *words]).run()


def trained_on(path, spec=None):
    config = TrainConfig(demos=DemoConfig(source=str(path)))
    return load_demos(config, spec or Walk().env_spec, True, Console(quiet=True))


def test_the_command_reports_and_writes(tmp_path, capsys, walking):
    path = stored(tmp_path / "set", [walked(0), walked(1), walked(2)])
    assert command(path, "--json", "--no-write") == 0
    shown = capsys.readouterr().out
    report = json.loads(shown[: shown.rindex("}") + 1])
    assert (report["passed"], report["replayed"], report["counts"]["error"]) == (True, 3, 0)
    assert not manifest_path(path).exists()
    assert command(path, "--episodes", "2") == 0
    manifest = read_manifest(path)
    assert manifest["sha256"] == content_hash(path)
    assert [episode["replayed"] for episode in manifest["episodes"]] == [True, True, False]
    assert EnvSpec.from_dict(manifest["env_spec"]) == Walk().env_spec
    assert manifest["files"].keys() == {"main_data.hdf5", "metadata.json"}
    assert not list(path.glob(".manifest*"))
    assert "fit for training" in capsys.readouterr().out
    # The same manifest, however the set is named.
    assert manifest_path(path / "data") == manifest_path(path)
    assert command(path, "--no-replay") == 0
    assert read_manifest(path)["replayed"] == 0
    assert len(trained_on(path)) == 3


def test_failures_are_refused_until_they_are_marked(tmp_path, capsys, walking):
    short = walked(1, actions=np.full((30, 2), 0.05) * [1, -1])
    lie = replace(short, success=True, is_demo=True)
    path = stored(tmp_path / "set", [walked(0), lie], meta={"by": "hand"})
    assert command(path) == 1
    assert "NOT fit" in capsys.readouterr().out
    with pytest.raises(DemonstrationError, match=r"failed their check, with 1 error.*--mark-failed"):
        trained_on(path)
    assert command(path, "--mark-failed") == 0
    assert "1 episode (1)" in capsys.readouterr().out
    demos = trained_on(path)
    assert [episode.is_demo for episode in demos.episodes] == [True, False]
    assert demos.episodes[1].seed == 1
    assert demos.meta == {"by": "hand"}
    np.testing.assert_array_equal(demos.episodes[1].actions, lie.actions)
    assert read_manifest(path)["sha256"] == demos.sha256


@pytest.mark.long
def test_training_refuses_what_was_changed_after_the_check(tmp_path, capsys, walking):
    path = stored(tmp_path / "set", [walked(0), walked(1)])
    assert len(trained_on(path)) == 2  # never checked: as before
    command(path)
    edited(path, lambda file: file["episode_0/rewards"].__setitem__(0, 9.0))
    with pytest.raises(DemonstrationError, match=r"changed since they were checked.*Check the set again"):
        trained_on(path)
    command(path)
    trained_on(path)
    # The description is no part of the content's hash.
    metadata = path / "data" / "metadata.json"
    content = json.loads(metadata.read_text())
    content["zoomrl_spec"]["control_hz"] = 50.0
    metadata.write_text(json.dumps(content))
    with pytest.raises(
        DemonstrationError, match=r"checked for another environment[\s\S]*control rate 10 Hz against 50 Hz"
    ):
        trained_on(path, replace(Walk().env_spec, control_hz=50.0))
    manifest_path(path).write_text("{")
    with pytest.raises(DemonstrationError, match=r"manifest.json is damaged.*remove"):
        trained_on(path, replace(Walk().env_spec, control_hz=50.0))
    manifest_path(path).write_text('{"format": 99}')
    with pytest.raises(DemonstrationError, match="its format is 99"):
        trained_on(path, replace(Walk().env_spec, control_hz=50.0))
    manifest_path(path).unlink()
    trained_on(path, replace(Walk().env_spec, control_hz=50.0))


def test_a_manifest_is_replaced_or_left(tmp_path, monkeypatch, walking, capsys):
    path = stored(tmp_path / "set", [walked(0)])
    command(path)
    before = manifest_path(path).read_text()

    def full(*_):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("zoomrl.files.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        command(path)
    assert manifest_path(path).read_text() == before
    assert sorted(p.name for p in path.iterdir()) == ["data", "manifest.json"]


def test_misuse(tmp_path, walking, capsys):
    path = stored(tmp_path / "set", [walked(0)])
    for words in (["--bins", "1"], ["--idle", "0"], ["--episodes", "-1"], ["--mark-failed", "--no-replay"]):
        with pytest.raises(ConfigError):
            command(path, *words)
    file = path / "data" / "main_data.hdf5"
    whole = file.read_bytes()
    file.write_bytes(whole[:-500])
    assert command(path) == 1
    assert (read_manifest(path)["verdict"], read_manifest(path)["sha256"]) == ("failed", "")
    file.write_bytes(whole[:20])
    assert command(path) == 1
    assert "no manifest was written" in capsys.readouterr().out


def test_only_what_can_be_written_again_is_marked(tmp_path, walking, capsys):
    lie = replace(walked(1, actions=np.full((30, 2), 0.05) * [1, -1]), success=True, is_demo=True)
    path = stored(tmp_path / "set", [lie, walked(0)])
    edited(path, lambda file: file["episode_1/rewards"].__setitem__(0, np.nan))
    before = (path / "data" / "main_data.hdf5").read_bytes()
    with pytest.raises(DemonstrationError, match="left as it is: parts of it are damaged"):
        command(path, "--mark-failed")
    assert (path / "data" / "main_data.hdf5").read_bytes() == before


def test_read_demos_is_untouched_by_a_check(tmp_path, walking, capsys):
    path = stored(tmp_path / "set", [walked(0)])
    before = read_demos(path).sha256
    command(path)
    assert read_demos(path).sha256 == before


@pytest.mark.parametrize("as_json", [False, True])
def test_a_set_that_cannot_be_written_to_is_reported_all_the_same(tmp_path, monkeypatch, capsys, as_json):
    path = stored(tmp_path / "set", [walked(0)])
    before = manifest_path(path).exists()

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("zoomrl.demos.check.manifest.write_json", refuse)
    assert main(["demos", "check", str(path), "--no-replay", *(["--json"] if as_json else [])]) == 1
    said = capsys.readouterr()
    wanted = '"findings"' if as_json else "nothing found against it, but no episode was replayed"
    assert wanted in " ".join(said.out.split())
    assert f"could not be written: Read-only file system. --no-write checks without one: {path}" in said.err
    assert manifest_path(path).exists() == before


def test_a_checked_set_can_be_trained_on_and_a_changed_bit_of_its_manifest_is_noticed(tmp_path, capsys):
    path = stored(tmp_path / "set", [walked(0)])
    command(path)
    assert read_manifest(path)["sha256"] == read_demos(path).sha256
    file = manifest_path(path)
    file.write_text(file.read_text().replace('"warning": 0', '"warning": 1').replace('"length": ', '"length": 1'))
    with pytest.raises(DemonstrationError, match=r"manifest\.json is damaged.*checksum"):
        read_manifest(path)
