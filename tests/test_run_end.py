"""The end of a run: the result is on the disk first, and no renderer, encoder, plot or full disk takes it away."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium
import imageio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console

from envs_toy import ToyEnv
from forked import Forked
from toy import rows, tiny
from zoomrl.cli import report
from zoomrl.cli.main import main
from zoomrl.deploy.evaluate import evaluate
from zoomrl.envs.image import as_image
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import WorkerError
from zoomrl.files import read_json, write_json
from zoomrl.training import finish
from zoomrl.training.result import RunResult
from zoomrl.training.run import train
from zoomrl.training.video import VideoRecorder, announcement

# ---- what a renderer returns -------------------------------------------------------------------------------

COLOURS = np.array([[[0, 128, 255]] * 5] * 4, np.uint8)


@pytest.mark.parametrize(
    "rendered",
    [
        COLOURS,
        COLOURS.astype(np.int64),
        COLOURS.astype(np.float32),
        COLOURS / 255,
        np.moveaxis(COLOURS, -1, 0),
        np.concatenate([COLOURS, COLOURS[..., :1]], -1),
        COLOURS.tolist(),
    ],
    ids=["uint8", "int64", "0..255", "0..1", "channels first", "alpha", "list"],
)
def test_other_forms_of_an_image_are_read(rendered):
    image = as_image(rendered)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOURS)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(5, 9), st.integers(5, 9))))
def test_grey_is_repeated(grey):
    expected = np.repeat(grey[..., None], 3, -1)
    for form in (grey, grey[..., None], grey[None]):
        np.testing.assert_array_equal(as_image(form), expected)
    np.testing.assert_array_equal(as_image(grey > 9), 255 * (expected > 9))


def test_an_image_is_a_copy():
    canvas = np.zeros((4, 4, 3), np.uint8)
    image = as_image(canvas)
    canvas[:] = 9
    assert not image.any()
    image[:] = 1  # and can be written to


@pytest.mark.parametrize(
    ("rendered", "came"),
    [
        (None, "NoneType"),
        (np.array([None, 1], object), r"object\[2\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"uint8\[2, 4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8\[0, 4, 3\]"),
        (np.zeros((5, 5, 7)), r"float64\[5, 5, 7\]"),
        (np.full((4, 4, 3), 300), r"int64\[4, 4, 3\] with values from 300 to 300"),
        (np.full((4, 4, 3), -0.5), r"float64\[4, 4, 3\] with values from -0.5 to -0.5"),
        (np.full((4, 4, 3), np.nan), r"float64\[4, 4, 3\] with values from nan to nan"),
        ("image", "str"),
    ],
)
def test_what_is_no_image_is_named(rendered, came):
    with pytest.raises(ValueError, match=f"the renderer returned {came}"):
        as_image(rendered)


# ---- the recorder ------------------------------------------------------------------------------------------


def frame(level: int = 0, height: int = 16) -> np.ndarray:
    return np.full((height, 16, 3), level, np.uint8)


def recorded(*frames: Any, **options: Any) -> VideoRecorder:
    recorder = VideoRecorder(**options)
    recorder.begin()
    for rendered in frames:
        recorder.take(lambda rendered=rendered: rendered)
    return recorder


def raising(*_: Any) -> Any:
    raise RuntimeError("the context is lost\nand a traceback")


def test_a_video_is_read_back(tmp_path):
    recorder = recorded(*(frame(20 * k, height=17) for k in range(6)))
    path = recorder.save(tmp_path / "new" / "video.mp4", 10)
    assert path is not None
    means = [float(np.mean(image)) for image in imageio.mimread(path)]
    assert means == pytest.approx([0, 20, 40, 60, 80, 100], abs=4)
    assert os.listdir(path.parent) == ["video.mp4"]


def test_an_episode_that_begins_anew_is_videoed_from_its_beginning(tmp_path):
    recorder = recorded(frame(200), frame(200))
    recorder.begin()
    recorder.take(lambda: frame(10))
    (image,) = imageio.mimread(recorder.save(tmp_path / "video.gif", 10))
    assert np.mean(image[..., :3]) == pytest.approx(10, abs=4)


def test_the_first_problem_is_kept(tmp_path):
    recorder = recorded(frame(), frame(height=18), None)
    assert "frame 2 could not be rendered: ValueError: the renderer changed the size" in str(recorder.problem)
    assert "16x16 and then 16x18 pixels" in str(recorder.problem)
    assert recorder.save(tmp_path / "video.mp4", 10) is None
    recorder = recorded(frame())
    recorder.take(raising)
    assert recorder.problem == "frame 2 could not be rendered: RuntimeError: the context is lost"
    assert recorder.save(tmp_path / "video.mp4", 10) is None
    assert recorded().save(tmp_path / "video.mp4", 10) is None
    assert not list(tmp_path.iterdir())


def test_a_very_long_episode_is_cut(tmp_path, caplog):
    recorder = recorded(*(frame(k) for k in range(9)), max_bytes=3 * frame().nbytes)
    path = recorder.save(tmp_path / "video.gif", 10)
    assert path is not None
    assert len(imageio.mimread(path)) == 3
    assert "the video ends after 3 frames" in caplog.text


def full_disk(source: Any, target: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(target))


@pytest.mark.parametrize("fault", ["disk", "codec", "place"])
def test_a_video_that_cannot_be_written_leaves_nothing(fault, tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"of an earlier run")
    if fault == "disk":
        monkeypatch.setattr(os, "replace", full_disk)
    elif fault == "codec":
        monkeypatch.setattr(imageio, "mimwrite", lambda *_, **__: raising())
    else:
        path = path / "below a file" / "video.mp4"
    recorder = recorded(frame(), frame(1))
    assert recorder.save(path, 10) is None
    expected = {"disk": "No space left", "codec": "RuntimeError: the context is lost", "place": "Error: "}[fault]
    assert re.fullmatch(rf"it could not be written: .*{expected}.*", str(recorder.problem))
    assert os.listdir(tmp_path) == ["video.mp4"]
    assert (tmp_path / "video.mp4").read_bytes() == b"of an earlier run"


# ---- a run -------------------------------------------------------------------------------------------------


class Rendering(ToyEnv):
    """A toy with a renderer, which the class may tell what to do wrong."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    kind = "fine"

    def __init__(self, render_mode: str = "rgb_array") -> None:
        self.render_mode = render_mode

    def render(self) -> Any:
        if self.kind == "fraction":
            return np.full((16, 16, 3), 0.5, np.float32)
        if self.kind == "loses its context" and self.clock > 1:
            raise RuntimeError("the context is lost")
        if self.kind == "exits" and self.clock > 1:
            sys.exit("no display")
        if self.kind == "aborts" and self.clock > 1:
            os.abort()
        return frame(128)


def finished(directory: Path, **changes: Any) -> RunResult:
    """A run without updates, recorded on video at its end."""
    config = tiny(directory, eval__every=0, eval__video=True, seed_steps=1000, steps=20)
    config = dataclasses.replace(config, **changes)
    return train(config, make_env=Rendering, console=Console(file=io.StringIO()))


def test_a_video_is_announced_before_its_first_frame(tmp_path, caplog, monkeypatch):
    said = io.StringIO()
    first = VideoRecorder.take

    def take(self: VideoRecorder, render: Any) -> None:
        assert "rendering a video of" in said.getvalue()
        first(self, render)

    monkeypatch.setattr(VideoRecorder, "take", take)
    config = tiny(tmp_path / "run", eval__every=0, eval__video=True, seed_steps=1000, steps=20)
    result = train(config, make_env=Rendering, console=Console(file=said, width=400))
    assert result.video is not None
    (line,) = [line for line in said.getvalue().splitlines() if "rendering a video" in line]
    limit = read_json(tmp_path / "run" / "policy.json")["spec"]["time_limit"]
    assert f"rendering a video of at most {limit} frames for {result.video} ..." in line
    monkeypatch.undo()
    with caplog.at_level("INFO", logger="zoomrl.deploy"):
        evaluate(tmp_path / "run", make_env=Rendering, episodes=2, video=tmp_path / "later.gif")
    assert re.fullmatch(r"rendering a video of at most \d+ frames for .*later\.gif \.\.\.", *caplog.messages)


@pytest.mark.parametrize(("limit", "words"), [(107, "of at most 107 frames "), (1, "of at most 1 frame "), (0, "for ")])
def test_the_announcement_tells_what_is_known(limit, words):
    assert announcement(Path("video.mp4"), limit).startswith(f"rendering a video {words}")


def result_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("fraction", None),
        ("loses its context", "frame 3 could not be rendered: SimulatorError: "),
        ("exits", "frame 3 could not be rendered: SystemExit: no display"),
    ],
)
@pytest.mark.slow
def test_a_renderer_costs_the_video_alone(kind, problem, tmp_path, monkeypatch):
    monkeypatch.setattr(Rendering, "kind", kind)
    result = finished(tmp_path / "run")
    assert result.finished
    assert result_of(tmp_path / "run")["episodes"] == 2
    assert result_of(tmp_path / "run")["video_problem"] == result.video_problem
    if problem is None:
        assert result.video == tmp_path / "run" / "video.mp4"
        assert np.mean(imageio.mimread(result.video)[0]) == pytest.approx(128, abs=3)
    else:
        assert result.video is None
        assert str(result.video_problem).startswith(problem)
        assert kind == "exits" or "RuntimeError: the context is lost" in str(result.video_problem)
        assert not (tmp_path / "run" / "video.mp4").exists()


@pytest.mark.long
def test_a_renderer_that_ends_the_process_leaves_the_result(tmp_path):
    """Nothing is rendered before the result is on the disk."""

    def work() -> None:
        Rendering.kind = "aborts"
        finished(tmp_path / "run")

    assert Forked(work).wait() == -signal.SIGABRT
    assert result_of(tmp_path / "run")["episodes"] == 2
    assert result_of(tmp_path / "run")["video_problem"] == "the process ended before the video was written"


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that has ended. Read only."""
    directory = tmp_path_factory.mktemp("ended") / "run"
    assert finished(directory).video is not None
    return directory


@pytest.mark.slow
def test_the_result_is_there_before_the_video(ended, tmp_path, monkeypatch):
    """A process that is killed over its video has lost nothing but that."""
    directory = tmp_path / "run"
    shutil.copytree(ended, directory)
    (directory / "result.json").unlink()

    def killed(self: VideoRecorder, *_: Any) -> None:
        assert rows(directory)[-1]["kind"] == "final"
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoRecorder, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        finished(directory)
    result = result_of(directory)
    assert result["returns"] == result_of(ended)["returns"]
    assert result["video_problem"] == "the process ended before the video was written"


@pytest.mark.slow
def test_an_environment_that_cannot_be_closed_does_not_take_the_result_away(ended, tmp_path, monkeypatch, caplog):
    def refuse(self: Rendering) -> None:
        raise RuntimeError("closed twice")

    monkeypatch.setattr(Rendering, "close", refuse)
    shutil.copytree(ended, tmp_path / "run")
    assert finished(tmp_path / "run").finished
    assert "could not be closed (RuntimeError: closed twice)" in caplog.text


@pytest.mark.long
def test_a_finished_run_that_is_stopped_while_it_evaluates_again_keeps_its_result(ended, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    shutil.copytree(ended, directory)
    before = (directory / "result.json").read_bytes()
    monkeypatch.setattr(finish, "evaluate", lambda *_, **__: None)
    assert not finished(directory).finished
    assert (directory / "result.json").read_bytes() == before


@pytest.mark.slow
def test_a_disk_that_fills_over_the_video_leaves_the_result(ended, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    shutil.copytree(ended, directory)
    (directory / "result.json").unlink()
    replace = os.replace
    wrote: list[str] = []

    def filling(source: Any, target: Any) -> None:
        wrote.append(Path(target).name)
        if "video.mp4" in wrote:
            full_disk(source, target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", filling)
    result = finished(directory)
    assert "No space left" in str(result.video_problem)
    assert result_of(directory)["returns"] == result_of(ended)["returns"]
    assert wrote[-3:] == ["result.json", "video.mp4", "result.json"]
    assert not list(directory.rglob("*.tmp"))


class Dying(SerialVectorEnv):
    """Its worker dies over the third frame of a run's last evaluation, and with it its episode."""

    rendered = 0

    def render(self, index: int) -> np.ndarray:
        self.rendered += 1
        if self.rendered == 5:  # one was rendered for the memory that frames take, and one to see whether it works
            self.dead = index
            raise WorkerError("worker 0 died while rendering (killed by signal 9)\n\nIts traceback: long")
        return super().render(index)

    def _step_some(self, actions: Any) -> Any:
        outcomes = super()._step_some(actions)
        if hasattr(self, "dead"):
            outcomes[self.dead] = None
            del self.dead
        return outcomes


@pytest.mark.slow
def test_a_worker_that_dies_over_a_frame_costs_the_video_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("zoomrl.envs.vector.make.SerialVectorEnv", Dying)
    result = finished(tmp_path / "run")
    expected = "frame 3 could not be rendered: WorkerError: worker 0 died while rendering (killed by signal 9)"
    assert result.video_problem == expected
    assert result_of(tmp_path / "run")["episodes"] == 2


# ---- what is printed ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered():
    gymnasium.register("Rendering-v0", entry_point=Rendering, max_episode_steps=12)
    yield "gym:Rendering-v0"
    del gymnasium.registry["Rendering-v0"]


@pytest.mark.slow
def test_a_plot_that_fails_costs_the_plot_alone(registered, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "plot_runs", lambda *_, **__: raising())
    words = f"train --preset cqn-dmc --env {registered} --threads 1 --steps 20 --seed-steps 100 --agent.hidden-dim 8"
    words += " --eval.every 0 --eval.final-episodes 2 --eval.video --log.no-tensorboard"
    directory = tmp_path / "run"
    assert main([*words.split(), "--run-dir", str(directory)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^(success|return) .* fresh episodes", out)
    assert re.search("^plot +none: RuntimeError: the context is lost", out, re.MULTILINE)
    assert re.search(r"^video +.*/video\.mp4$", out, re.MULTILINE)
    # What was said of the video is said again, until `zoomrl eval` has made one.
    (directory / "video.mp4").unlink()
    result = read_json(directory / "result.json")
    write_json(directory / "result.json", {**result, "video_problem": "the codec is missing"})
    assert main([*words.split(), "--run-dir", str(directory)]) == 0
    assert re.search("^video +none: the codec is missing", capsys.readouterr().out, re.MULTILINE)
    evaluation = ["eval", str(directory), "--episodes", "1", "--video", str(directory / "video.mp4")]
    capsys.readouterr()
    assert main(evaluation) == 0
    assert "rendering a video of at most 12 frames for " in capsys.readouterr().err
    os.utime(directory / "result.json", (1, 1))
    capsys.readouterr()
    assert main([*words.split(), "--run-dir", str(directory)]) == 0
    assert re.search(r"^video +.*/video\.mp4$", capsys.readouterr().out, re.MULTILINE)
    # An evaluation is printed, whatever becomes of the video that was asked for.
    monkeypatch.setattr(Rendering, "kind", "loses its context")
    assert main([*evaluation, "--json"]) == 1
    said = capsys.readouterr()
    row = json.loads(said.out)
    assert row["episodes"] == 1
    assert row["video_problem"].startswith("frame 3 could not be rendered: ")
    assert "RuntimeError: the context is lost" in row["video_problem"]
    assert "error: no video was made: frame 3" in said.err
    monkeypatch.setattr(Rendering, "render", raising)
    assert main(evaluation) == 1
    assert "no video can be made: " in capsys.readouterr().err
