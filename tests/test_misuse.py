"""Things that go wrong around a run: simulators that show NaN, settings that do not fit, files that are damaged."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from envs_toy import ToyEnv
from toy import checkpoint_files, demo_set, rows, run, tiny
from zoomrl.agents.cqn.learner import CQN
from zoomrl.cli.main import main
from zoomrl.control.chunk import ActionChunk
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.fit import check_fit
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import CheckpointError, ConfigError, DemonstrationError, NonFiniteLossError
from zoomrl.files import read_json, write_json
from zoomrl.nets.config import EncoderConfig
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.announce import announce_cameras
from zoomrl.training.config import CheckpointConfig, TrainConfig
from zoomrl.training.policy import load_policy
from zoomrl.training.run import train
from zoomrl.training.scripted import scripted_demos, scripted_path


class NanEnv(ToyEnv):
    """Shows NaN at the second step of every third episode."""

    episodes = 0

    def reset(self, **options):
        type(self).episodes += 1
        self.bad = type(self).episodes % 3 == 0
        return super().reset(**options)

    def step(self, action):
        observation, *rest = super().step(action)
        return (np.full(3, np.nan, np.float32) if self.bad and self.clock == 2 else observation), *rest


@pytest.mark.long
def test_nan_from_the_simulator_costs_one_episode(tmp_path):
    said = Console(record=True, quiet=False, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    result = train(tiny(tmp_path / "run", eval__every=0), make_env=NanEnv, console=said)
    assert result.finished
    assert "environment 0 showed NaN or infinite values at step 2" in said.export_text()
    assert all(np.isfinite(r["return"]) for r in rows(tmp_path / "run") if r["kind"] == "episode")


@pytest.mark.long
def test_fewer_steps_than_already_made_are_refused(tmp_path):
    run(tiny(tmp_path / "run"))
    with pytest.raises(ConfigError, match="is at step 60 already, beyond steps=30"):
        run(tiny(tmp_path / "run", steps=30))


@pytest.mark.slow
def test_a_damaged_older_checkpoint_does_not_stop_a_resumed_run(tmp_path):
    keep = CheckpointConfig(every=15, keep=9)
    run(tiny(tmp_path / "run", checkpoint=keep))
    oldest = checkpoint_files(tmp_path / "run")[0]
    oldest.write_bytes(b"junk")
    segments = set((tmp_path / "run" / "replay").iterdir())
    assert run(tiny(tmp_path / "run", checkpoint=keep, steps=90))[0].finished
    # What it needs is unknown: nothing is removed.
    assert oldest.read_bytes() == b"junk"
    assert segments <= set((tmp_path / "run" / "replay").iterdir())


@pytest.mark.long
def test_loading_a_policy_leaves_the_run_as_it_is(tmp_path):
    run(tiny(tmp_path / "run"))
    newest = checkpoint_files(tmp_path / "run")[-1]
    newest.write_bytes(b"junk")
    policy = load_policy(tmp_path / "run", num_envs=2)
    assert newest.read_bytes() == b"junk"
    policy.reset()
    policy.act(np.zeros((2, 3), np.float32))
    policy.reset(np.array([True, False]))
    assert policy.act(np.zeros((2, 3), np.float32)).shape == (2, 2)


@pytest.mark.slow
def test_demonstrations_of_another_environment_and_other_evaluations_are_said(tmp_path):
    """Both are allowed, and neither may be an accident that nobody sees."""
    demos = demo_set(tmp_path / "demos")
    other = dataclasses.replace(read_demos(demos), spec=dataclasses.replace(read_demos(demos).spec, id="gym:other"))
    write_demos(tmp_path / "other", other.episodes, other.spec)
    said = run(tiny(tmp_path / "run", tmp_path / "other", steps=10))[1]
    assert "the demonstrations were recorded in gym:other, and this run is of gym:toy" in said
    said = run(tiny(tmp_path / "plain", demos, steps=10))[1]
    assert "recorded in" not in said
    assert "other options" not in run(tiny(tmp_path / "plain", demos, steps=12))[1]
    assert "eval.final_episodes: 2 -> 3" in run(tiny(tmp_path / "plain", demos, steps=12, eval__final_episodes=3))[1]


@pytest.mark.slow
def test_a_resumed_run_follows_new_intervals(tmp_path):
    run(tiny(tmp_path / "run", eval__every=1000))
    run(tiny(tmp_path / "run", eval__every=10, steps=90))
    steps = [r["env_steps"] for r in rows(tmp_path / "run") if r["kind"] == "eval"]
    assert steps == [0, 70, 80, 90]


@pytest.mark.slow
def test_threads_are_measured_without_demonstrations_too(tmp_path):
    _, said = run(tiny(tmp_path / "run", threads=0))
    assert "measured per update: 1:" in said
    assert json.loads((tmp_path / "run" / "threads.json").read_text())["threads"] >= 1


def test_scripted_sets_of_different_options_do_not_share_a_place(tmp_path):
    base, demos = EnvConfig(), DemoConfig()
    others = [
        dataclasses.replace(base, reward="dense"),
        dataclasses.replace(base, terminate_on_success=False),
        dataclasses.replace(base, time_limit=99),
        dataclasses.replace(base, action_repeat=2),
    ]
    places = {scripted_path(demos, env) for env in (base, *others)}
    assert len(places) == 5
    with pytest.raises(ConfigError, match=r"demos\.episodes=0 means all of a set"):
        scripted_demos(DemoConfig(episodes=0, directory=str(tmp_path)), base, Console(quiet=True))


def test_sparse_demonstrations_do_not_fit_a_dense_environment(tmp_path):
    demos = read_demos(demo_set(tmp_path / "set"))
    sparse = dataclasses.replace(demos, spec=dataclasses.replace(demos.spec, reward="sparse"))
    with pytest.raises(DemonstrationError, match="reward sparse against dense"):
        check_fit(sparse, dataclasses.replace(demos.spec, reward="dense"))
    # A native reward may be anything; of the very same environment it is another one.
    check_fit(sparse, dataclasses.replace(demos.spec, reward="native", id="gym:other"))
    with pytest.raises(DemonstrationError, match="reward sparse against native"):
        check_fit(sparse, dataclasses.replace(demos.spec, reward="native"))


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("agent", "target_tau", -1.0),
        ("agent", "lr", 0.0),
        ("agent", "trunk_dim", -3),
        ("control", "ensemble_gain", float("nan")),
        ("control", "noise", "nan"),
        ("control", "noise", "-1"),
    ],
)
def test_numbers_without_meaning_are_refused_by_name(group, field, value):
    config = TrainConfig()
    with pytest.raises(ConfigError, match=rf"{group}\.{field}"):
        dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **{field: value})})


@pytest.mark.long
def test_an_action_that_is_not_finite_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    act = CQN.act

    def broken(self, observation, generator, *, explore=False):
        chunk = act(self, observation, generator)
        return chunk if self.updates < 20 else ActionChunk(chunk.actions * float("nan"), chunk.valid)

    monkeypatch.setattr(CQN, "act", broken)
    config = tiny(tmp_path / "run", control__executor="open_loop", eval__every=0, checkpoint__every=5)
    with pytest.raises(NonFiniteLossError, match=r"action became NaN.*last good checkpoint is"):
        run(config)


@pytest.mark.long
def test_a_run_does_not_change_its_device_silently(tmp_path):
    config = tiny(tmp_path / "run", steps=20, device="auto")
    run(config)
    path = tmp_path / "run" / "policy.json"
    write_json(path, {**read_json(path), "device": "cuda"})
    with pytest.raises(CheckpointError, match="was trained on cuda"):
        run(dataclasses.replace(config, steps=40))


def test_what_cannot_work_is_refused_before_demonstrations_are_collected(tmp_path, monkeypatch):
    def collect(*_):
        raise AssertionError("nothing should be collected")

    monkeypatch.setattr("zoomrl.training.session.load_demos", collect)
    with pytest.raises(ConfigError, match="CUDA graphs need"):
        run(tiny(tmp_path / "a", speed="graph", demos__source="scripted"))
    with pytest.raises(ConfigError, match="tf32"):
        run(tiny(tmp_path / "b", precision="tf32", demos__source="scripted"))
    encoder = EncoderConfig(kind="resnet18", weights="nothing.pt")
    agent = dataclasses.replace(tiny(tmp_path).agent, encoder=encoder)
    with pytest.raises(ConfigError, match=r"add --env\.cameras"):
        run(tiny(tmp_path / "c", agent=agent, demos__source="scripted"))


def test_a_replay_that_does_not_fit_on_the_disk_is_refused(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ConfigError, match="on disk, but 100 bytes are free"):
        run(tiny(tmp_path / "run", replay__storage="disk"))


def image_policy(tmp_path):
    encoder = EncoderConfig(channels=2, feature_dim=4)
    agent = dataclasses.replace(tiny(tmp_path).agent, encoder=encoder)
    images = {"env__id": "gym:toy-images", "env__cameras": ("front",)}
    config = tiny(tmp_path / "run", agent=agent, steps=15, eval__every=0, **images)
    return load_policy(run(config)[0].directory)


@pytest.mark.long
def test_a_policy_refuses_images_of_floats_and_raw_observations(tmp_path):
    policy = image_policy(tmp_path)
    policy.reset()
    shown = {"state": np.zeros(1, np.float32), "rgb": np.full((1, 16, 16, 3), 200, np.uint8)}
    assert policy.act(shown).shape == (2,)
    with pytest.raises(ValueError, match=r"'rgb' must be uint8 .* got float64"):
        policy.act({**shown, "rgb": shown["rgb"] / 255})
    for level, told in ((300, "got 200 to 300"), (-1, "got -1 to 200")):
        wide = shown["rgb"].astype(np.int64)
        wide[0, 0, 0, 0] = level
        with pytest.raises(ValueError, match=rf"'rgb' must lie in 0 \.\. 255, {told}"):
            policy.act({**shown, "rgb": wide})
    assert policy.act({**shown, "rgb": shown["rgb"].astype(np.int64)}).shape == (2,)
    with pytest.raises(ValueError, match=r"'state' must be numbers, got <U1"):
        policy.act({**shown, "state": np.array(["1"])})
    with pytest.raises(ValueError, match=r"'rgb': uint8\[1, 16, 16, 3\].*got \['front', 'time'\].*wrap_gym_env"):
        policy.act({"time": shown["state"], "front": shown["rgb"][0]})


@pytest.mark.long
def test_a_run_in_an_own_environment_is_evaluated_from_python(tmp_path, capsys):
    run(tiny(tmp_path / "run", steps=10, eval__every=0))
    assert main(["eval", str(tmp_path / "run"), "--episodes", "1"]) == 2
    assert "evaluate from Python: zoomrl.evaluate(RUN, make_env=...)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.long
def test_fast_drawing_is_never_silent(tmp_path):
    said = Console(record=True, width=200, file=io.StringIO())
    shape = {"rgb": ArraySpec((2, 64, 64, 3), "uint8")}
    spec = EnvSpec("x", shape, ArraySpec((1,), low=(-1,), high=(1,)), 0, 9, cameras=("eye", "hand"))
    announce_cameras(EnvConfig(shadows=False, antialiasing=False), spec, said)
    assert "cameras: eye, hand, 64x64 pixels, rendered without shadows, antialiasing" in said.export_text()
    announce_cameras(EnvConfig(), spec, said)
    assert "drawn" not in said.export_text()
    _, text = run(tiny(tmp_path / "state", steps=5, eval__every=0))
    assert "cameras" not in text
