"""A robot without a simulator: its recordings are the environment, a run learns from them and makes no episodes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from toy import assert_equal_trees
from zoomrl import evaluate, export, load_policy, make_env, plot_runs, preset, train
from zoomrl.cli.main import main
from zoomrl.data.episode import Episode
from zoomrl.demos.formats import ImportOptions, read
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import can_step
from zoomrl.errors import CheckpointError, ConfigError, DemonstrationError
from zoomrl.runtime import ObservationError
from zoomrl.training.checkpoint import read_state

RNG = np.random.default_rng(0)
LENGTHS = (12, 17, 9)


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    """Imported without an environment, with a camera of 24 x 40 pixels that is cropped."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "theirs").mkdir()
    for index, steps in enumerate(LENGTHS):
        arrays = {
            # The last one never moves, and must not be moved.
            "actions": np.stack([RNG.uniform(-1, 1, steps), np.full(steps, 0.3)], 1).astype(np.float32),
            "state": RNG.normal(size=(steps, 3)).astype(np.float32),
            "wrist": RNG.integers(0, 256, (steps, 24, 40, 3), np.uint8),
        }
        np.savez(folder / "theirs" / f"episode_{index}.npz", **arrays)
    options = ImportOptions(cameras=("wrist",), image_size=16, image_fit="crop", control_hz=25)
    found = read("npz", folder / "theirs", options)
    write_demos(folder / "set", found.episodes, found.spec, meta=found.meta)
    return folder / "set"


def small(demos: Path, **changes):
    options = {"replay.batch_size": 8, "threads": 1, "agent.hidden": (16,), "agent.encoder.channels": 4}
    options |= {"offline_updates": 6, "offline_eval_every": 3, "demos.validation": 0.4, **changes}
    return preset("bc-demos", env=f"demos:{demos}", **options)


def test_it_shows_what_was_recorded(demos):
    spec = make_env(f"demos:{demos}").env_spec
    assert spec.time_limit == max(LENGTHS)
    assert make_env(f"demos:{demos}", time_limit=40).env_spec.time_limit == 40
    assert (spec.state_dim, spec.action_dim, spec.control_hz) == (3, 2, 25)
    assert (spec.cameras, spec.image_fit, spec.camera_sizes) == (("wrist",), "crop", ((24, 40),))
    assert not can_step(f"demos:{demos}")
    assert can_step("gym:Pendulum-v1")


def test_there_is_nothing_to_step(demos):
    env = make_env(f"demos:{demos}")
    with pytest.raises(ConfigError, match="is known by its recordings alone, and there is nothing to step"):
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ("front",)}, r"cameras: asked for \('front',\), got \('wrist',\)"),
        ({"image_size": 64}, "image_size: asked for 64, got 16"),
        ({"control_hz": 10.0}, "control_hz: asked for 10.0, got 25"),
        ({"action_repeat": 2}, "action_repeat: asked for 2, got 1"),
        ({"shadows": False}, "shadows cannot be switched off for a demonstration set"),
    ],
)
def test_what_was_recorded_cannot_be_chosen(demos, options, message):
    with pytest.raises(ConfigError, match=message):
        make_env(f"demos:{demos}", **options)


def test_what_was_recorded_may_be_named(demos):
    config = EnvConfig(f"demos:{demos}", cameras=("wrist",), image_size=16, image_fit="crop", control_hz=25.0)
    assert make_env(config).env_spec == make_env(f"demos:{demos}").env_spec


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DemonstrationError, match="no demonstration set at"):
        make_env(f"demos:{tmp_path / 'nothing'}")


@pytest.mark.parametrize("name", ["bc-demos", "act-demos", "quickstart", "cqn_as-metaworld-pixels"])
def test_every_preset_learns_from_the_set_and_makes_no_episodes(name):
    config = preset(name, env="demos:demos/lift")
    assert (config.demos.source, config.demos.episodes, config.steps) == ("demos/lift", 0, 0)
    assert config.control.action_range == "demos"
    assert config.env == EnvConfig("demos:demos/lift")
    assert not config.evaluates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval.episodes": 2}, "eval.episodes=2, eval.final_episodes=0 cannot be had"),
        ({"eval.final_episodes": 2}, "eval.final_episodes=2 cannot be had"),
        ({"demos.source": "scripted"}, "demos.source=scripted cannot be had"),
    ],
)
def test_episodes_are_refused(demos, tmp_path, options, message):
    with pytest.raises(ConfigError, match=f"is a demonstration set, and there is nothing to step: .*{message}"):
        train(small(demos, run_dir=str(tmp_path / "run"), **options))
    assert not (tmp_path / "run").exists()


def test_steps_are_refused(demos, tmp_path):
    with pytest.raises(ConfigError, match="there is nothing to step: steps=100 cannot be had"):
        train(preset("quickstart", env=f"demos:{demos}", steps=100, run_dir=str(tmp_path / "run")))


def test_a_run_that_would_learn_nothing_is_refused(demos, tmp_path):
    with pytest.raises(ConfigError, match="offline_updates=0 learns nothing from it; say how many"):
        train(preset("quickstart", env=f"demos:{demos}", run_dir=str(tmp_path / "run")))


def test_from_recordings_to_a_policy(demos, tmp_path, capsys):
    """Trained, exported and acting, and nowhere was an episode made; losses on what is held out are measured."""
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    result = train(small(demos, run_dir=str(run)))
    assert result.finished
    assert result.evaluation is not None
    assert result.evaluation.returns == result.evaluation.lost == []
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["updates"] for row in rows if row["kind"] == "eval" and row["validation_loss"] > 0] == [3, 6]
    assert json.loads((run / "result.json").read_text())["episodes"] == 0

    export(run, bundle, observations=5)
    facts = json.loads((bundle / "policy.json").read_text())
    assert str(demos) not in (bundle / "policy.json").read_text()
    assert facts["observations"]["rgb"]["camera_sizes"] == [[24, 40]]
    policy = load_policy(bundle)
    for _ in range(5):
        action = policy.act({"state": RNG.normal(size=3), "wrist": RNG.integers(0, 256, (24, 40, 3), np.uint8)})
        assert abs(action[1] - 0.3) < 1e-6
    with pytest.raises(ObservationError, match=r"'rgb' is missing: the policy expects .* parts wrist, got state"):
        policy.act({"state": np.zeros(3)})
    card = (bundle / "README.md").read_text()
    assert "6 updates on demonstrations alone, seed 1.\nNo episodes were made to evaluate it." in card
    assert "model-index" not in card

    with pytest.raises(ConfigError, match="there is nothing to step: no episode can be made"):
        evaluate(run, episodes=1)
    with pytest.raises(CheckpointError, match="makes no episodes, and there is nothing to plot"):
        plot_runs([run], tmp_path / "a.png")
    words = ["train", "--preset", "bc-demos", "--env", f"demos:{demos}", "--run-dir", str(run), "--threads", "1"]
    words += ["--replay.batch-size", "8", "--agent.hidden", "16", "--agent.encoder.channels", "4"]
    words += ["--offline-updates", "6", "--offline-eval-every", "3", "--demos.validation", "0.4"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "is finished already" in said
    assert "no episodes were made (eval.final_episodes is 0); loss on demonstrations held out: " in said
    assert said.splitlines()[-1].startswith("next ")
    assert f"export {run} --out bundles/run" in said


@pytest.mark.slow
def test_a_moved_set_is_known_by_its_content_and_a_run_may_learn_for_longer(demos, tmp_path, capsys):
    moved, run = tmp_path / "moved", tmp_path / "run"
    train(small(demos, run_dir=str(run), offline_updates=4, offline_eval_every=0))
    assert json.loads((run / "result.json").read_text())["validation_loss"] > 0
    shutil.copytree(demos, moved)
    console = Console(file=io.StringIO(), width=500)
    train(small(moved, run_dir=str(run), offline_updates=7, offline_eval_every=0), console=console)
    assert "resuming at update 4 from " in console.file.getvalue()
    assert json.loads((run / "result.json").read_text())["updates"] == 7
    whole = train(small(demos, run_dir=str(tmp_path / "whole"), offline_updates=7, offline_eval_every=0))
    states = [next((path / "checkpoints").glob("*0007.pt")) for path in (run, whole.directory)]
    one, other = (read_state(state)["agent"] for state in states)
    assert_equal_trees(one, other)
    with pytest.raises(ConfigError, match="has made 7 updates already, beyond offline_updates=5"):
        train(small(moved, run_dir=str(run), offline_updates=5, offline_eval_every=0))
    shutil.rmtree(moved)
    with pytest.raises(CheckpointError, match=r"has no observation to compare the graph on: .*moved\) cannot be read"):
        export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert "the demonstrations are not compared: no demonstration set at" in capsys.readouterr().err.replace("\n", " ")
    assert main(["env", "check", f"demos:{demos}"]) == 2
    assert "examine it with: zoomrl demos check" in capsys.readouterr().err


def test_what_is_named_wrongly_is_told_how_to_name_it(tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "episode_0.hdf5").touch()
    with pytest.raises(
        DemonstrationError, match=r"make one of them: zoomrl demos import auto .*recordings --out demos/re"
    ):
        make_env(f"demos:{tmp_path / 'recordings'}")
    with pytest.raises(DemonstrationError, match="or make one of recordings with: zoomrl demos import"):
        make_env(f"demos:{tmp_path / 'nothing'}")
    with pytest.raises(ConfigError, match="no environment is named: name one with --env"):
        make_env(preset("act-demos").env)


def test_a_run_may_leave_out_its_evaluation_at_the_end(tmp_path):
    """Of an environment that can be stepped too."""
    options = {"steps": 30, "seed_steps": 10, "eval.every": 0, "eval.final_episodes": 0, "threads": 1}
    result = train(preset("cqn-gym", run_dir=str(tmp_path), **options, **{"env.time_limit": 10}))
    assert result.evaluation is not None
    assert (result.evaluation.returns, result.video_problem) == ([], "eval.video is off")
    assert json.loads((tmp_path / "result.json").read_text())["env_steps"] == 30


def test_the_best_cannot_be_kept_without_episodes():
    with pytest.raises(ConfigError, match=r"eval.keep_best chooses by episodes, and eval.episodes is 0"):
        preset("quickstart", **{"eval.keep_best": True, "eval.episodes": 0})


def test_lengths_are_read_without_images(demos, monkeypatch):
    """A set may be larger than memory: its time limit must not read what fills it."""
    from zoomrl.demos.store import reader

    asked = []
    whole = reader._Source.episode

    def episode(self, index: int, observed: bool = True) -> Episode:
        asked.append(observed)
        return whole(self, index, observed)

    monkeypatch.setattr(reader._Source, "episode", episode)
    make_env(f"demos:{demos}")
    assert asked == [False] * len(LENGTHS)
