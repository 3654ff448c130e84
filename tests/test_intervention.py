"""Corrections by a person: what is executed, what is kept, what survives a stop, and the page they are made with."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import json
import re
import socket
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from envs_toy import ToyEnv
from toy import assert_same_run, demo_set, last_state, rows, run, tiny
from zoomrl.agents.td7.config import TD7Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.demos.formats.base import ImportOptions
from zoomrl.demos.formats.npz.reader import read as read_npz
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.intervention import corrector as correct
from zoomrl.intervention.config import InterventionConfig
from zoomrl.intervention.corrector import FOLDER
from zoomrl.intervention.keyboard import Keyboard, Keys
from zoomrl.intervention.page import Page
from zoomrl.intervention.source import Recording, corrections
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.run import train
from zoomrl.training.run_files import read_policy_file
from zoomrl.training.trainer import Trainer

SPEC = EnvSpec(
    "toy:arm",
    {"state": ArraySpec((2,))},
    ArraySpec((4,), low=(-1.0, -2.0, 0.0, 0.0), high=(1.0, 2.0, 4.0, 1.0)),
    control_hz=50.0,
    time_limit=10,
    action_meaning=("delta", "absolute", "absolute", "gripper"),
)


def episode(steps, *, terminated=True):
    return Episode(
        {"state": np.arange(2 * (steps + 1), dtype=np.float32).reshape(-1, 2)},
        np.arange(steps, dtype=np.float32)[:, None],
        np.arange(steps, dtype=np.float32) / 10,
        terminated=terminated,
        truncated=not terminated,
        success=True,
        seed=7,
    )


# ---- stretches ------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.booleans())
def test_stretches_hold_exactly_what_was_corrected(flags, terminated):
    whole = episode(len(flags), terminated=terminated)
    found = corrections(whole, np.array(flags))
    steps = [int(action) for stretch in found for action in stretch.actions[:, 0]]
    assert steps == [step for step, flag in enumerate(flags) if flag]
    for stretch in found:
        stretch.validate()
        first = int(stretch.actions[0, 0])
        assert stretch.meta["first_step"] == first
        assert (stretch.observations["state"] == whole.observations["state"][first : first + len(stretch) + 1]).all()
        assert (stretch.rewards == whole.rewards[first : first + len(stretch)]).all()
        assert first == 0 or not flags[first - 1], "a stretch is as long as it can be"
        last = first + len(stretch) == len(flags)
        assert last or not flags[first + len(stretch)]
        assert stretch.is_demo
        assert (stretch.terminated, stretch.truncated) == (last and terminated, not (last and terminated))
        assert stretch.success == last


# ---- a recording ----------------------------------------------------------------------------------------


def recording(path, entries):
    path.write_text("".join(json.dumps({"episode": e, "step": s, "action": a}) + "\n" for e, s, a in entries))
    return str(path)


STREAM = [(0, 1, [0.5, -1.5]), (0, 2, [1.0, 2.0]), (1, 0, [-0.25, 0.25]), (2, 3, [0.1, 0.1]), (2, 4, [0.2, 0.2])]


def kept_episodes(directory):
    from zoomrl.demos.formats.npz.file import read_episode

    return [read_episode(path, ()) for path in sorted((directory / FOLDER).glob("*.npz"))]


@pytest.mark.long
def test_corrections_are_executed_kept_and_learnt_from(tmp_path, monkeypatch):
    config = tiny(tmp_path / "run", intervene__source=recording(tmp_path / "stream.jsonl", STREAM))
    executed, fractions, protected = [], [], []
    step, keep = Trainer._step, Trainer.save

    def watched(self):
        step(self)
        collector = self._collector
        builder = collector._builders[0]
        if builder is not None:
            executed.append((collector._episodes_begun[0] - 1, len(builder) - 1, builder.actions[-1].tolist()))

    def saved(self):
        protected[:] = [(row.length, row.is_demo) for row in self.replay.rows if row.serial == -1]
        fractions[:] = [self.replay.protected_frames]
        return keep(self)

    monkeypatch.setattr(Trainer, "_step", watched)
    monkeypatch.setattr(Trainer, "save", saved)
    run(config)
    done = {(number, at): action for number, at, action in executed}
    assert done[0, 1] == [0.5, -1.5]
    assert done[0, 2] == [1.0, 2.0]
    assert done[1, 0] == [-0.25, 0.25]
    stretches = kept_episodes(tmp_path / "run")
    assert protected == [(len(stretch), True) for stretch in stretches]
    assert [len(stretch) for stretch in stretches][:2] == [2, 1]
    assert stretches[0].actions.tolist() == [[0.5, -1.5], [1.0, 2.0]]
    assert fractions == [config.intervene.capacity]
    episodes = [row for row in rows(tmp_path / "run") if row["kind"] == "episode"]
    assert episodes[0]["corrected"] == pytest.approx(2 / episodes[0]["length"])
    assert sum(row["corrected"] * row["length"] for row in episodes) == pytest.approx(sum(map(len, stretches)))


@pytest.mark.long
def test_a_chunk_that_was_broken_off_is_made_anew(tmp_path, monkeypatch):
    source = recording(tmp_path / "stream.jsonl", [(0, 1, [0.5, 0.5])])
    config = tiny(tmp_path / "run", intervene__source=source, control__executor="open_loop", steps=6)
    wanted = []
    step = Trainer._step

    def watched(self):
        wanted.append(bool(self._collector._controller._executor.needs_chunk()[0]))
        step(self)

    monkeypatch.setattr(Trainer, "_step", watched)
    run(config)
    # Chunks of three: a plan at 0; corrected at 1, so that another is made at 2.
    assert wanted[:4] == [True, False, True, False]


PRIORITIES = {
    "agent": TD7Config(hidden_dim=6, embedding_dim=5, target_interval=7),
    "replay": ReplayConfig(batch_size=6, capacity=35, sampling="priority", demo_fraction=0.0),
    "control": ControlConfig(executor="open_loop"),
}


@pytest.mark.parametrize(
    "changes", [pytest.param({}, id="cqn_as"), pytest.param(PRIORITIES, id="priorities", marks=pytest.mark.slow)]
)
@pytest.mark.long
def test_a_stopped_run_ends_like_one_left_alone(tmp_path, changes):
    source = recording(tmp_path / "stream.jsonl", STREAM + [(e, s, [0.3, -0.3]) for e in range(3, 9) for s in (2, 3)])
    config = tiny(tmp_path / "stopped", intervene__source=source, **changes)
    step = Trainer._step

    def deadly(self):
        if self.env_steps >= 40:
            raise KeyError("power cut")
        step(self)

    Trainer._step = deadly
    try:
        with pytest.raises(KeyError, match="power cut"):
            run(config)
    finally:
        Trainer._step = step
    _, said = run(config)
    assert "resuming at step" in said
    assert "corrections were made after the last checkpoint" in said
    assert list((tmp_path / "stopped" / FOLDER).glob("dropped_*/episode_*.npz")), "what a person did is not deleted"
    run(tiny(tmp_path / "straight", intervene__source=source, **changes))
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    names = [sorted(path.name for path in (tmp_path / name / FOLDER).glob("*.npz")) for name in ("straight", "stopped")]
    assert names[0] == names[1]
    assert last_state(tmp_path / "stopped")["corrections"]["kept"] == len(names[0]) > 2


@pytest.mark.long
def test_other_corrections_are_refused_on_resuming(tmp_path):
    path = tmp_path / "stream.jsonl"
    run(tiny(tmp_path / "run", intervene__source=recording(path, STREAM), steps=20))
    with pytest.raises(CheckpointError, match="the corrections are not those"):
        run(tiny(tmp_path / "run", intervene__source=recording(path, STREAM[1:]), steps=30))


@pytest.mark.long
def test_a_run_that_does_not_say_its_corrections_is_refused_on_resuming(tmp_path):
    source = recording(tmp_path / "stream.jsonl", STREAM)
    run(tiny(tmp_path / "run", intervene__source=source, steps=20))
    policy = tmp_path / "run" / "policy.json"
    held = json.loads(policy.read_text())
    del held["corrections_sha256"], held["digest"]
    policy.write_text(json.dumps(held))
    with pytest.raises(CheckpointError, match="the corrections are not those"):
        run(tiny(tmp_path / "run", intervene__source=source, steps=30))


@pytest.mark.long
def test_what_is_learnt_is_what_was_executed(tmp_path, monkeypatch):
    """Also where actions are scaled to the demonstrations' range, which the bounds exceed."""
    source = recording(tmp_path / "stream.jsonl", [(0, 0, [1.0, 2.0])])
    demos = demo_set(tmp_path / "demos")
    seen = []
    keep = Trainer.save

    def saved(self):
        seen[:] = [self._collector._corrector._bounds[1].tolist()]
        return keep(self)

    monkeypatch.setattr(Trainer, "save", saved)
    config = tiny(tmp_path / "run", demos, intervene__source=source, control__action_range="demos", steps=20)
    run(config)
    (stretch,) = kept_episodes(tmp_path / "run")
    assert stretch.actions.tolist() == [seen[0]]
    assert seen[0] != [1.0, 2.0]


@pytest.mark.long
def test_a_damaged_correction_is_named_on_resuming(tmp_path):
    config = tiny(tmp_path / "run", intervene__source=recording(tmp_path / "stream.jsonl", STREAM), steps=30)
    run(config)
    (tmp_path / "run" / FOLDER / "episode_000000.npz").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"correction of this run.*episode_000000\.npz"):
        run(tiny(tmp_path / "run", intervene__source=config.intervene.source, steps=40))


@pytest.mark.long
def test_a_full_region_is_said_once(tmp_path):
    source = recording(tmp_path / "stream.jsonl", STREAM)
    _, said = run(tiny(tmp_path / "run", intervene__source=source, intervene__capacity=3))
    assert said.count("room for corrections is full") == 1
    assert len(kept_episodes(tmp_path / "run")) > 1, "they are still saved"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1"),
        ('{"episode": 0, "step": 0}', "line 1.*'action'"),
        ('{"episode": 0, "step": 0, "action": [1]}', r"shape \[1\].*has 4"),
        ('{"episode": 0, "step": 0, "action": [1, 2, 3, NaN]}', "NaN"),
        ('{"episode": 0, "step": 0, "action": [1, 2.5, 3, 0]}', r"dimension 1 is 2\.5, outside the bounds -2 \.\. 2"),
        ('{"episode": "x", "step": 0, "action": [1, 2, 3, 4]}', "line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "stream.jsonl"
    path.write_text(line)
    with pytest.raises(ConfigError, match=message):
        Recording(path, SPEC)


@pytest.mark.long
def test_a_source_that_cannot_be_used_leaves_the_run_directory_free(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        run(tiny(tmp_path / "run", intervene__source=str(tmp_path / "typo.jsonl")))
    run(tiny(tmp_path / "run", intervene__source=recording(tmp_path / "stream.jsonl", STREAM), steps=10))


def test_an_environment_that_cannot_be_shown_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"intervene\.source=keyboard .* cannot be rendered"):
        run(tiny(tmp_path / "run", intervene__source="keyboard", intervene__port=0))


def test_a_missing_recording_or_environment_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        run(tiny(tmp_path / "a", intervene__source=str(tmp_path / "none.jsonl")))
    source = recording(tmp_path / "stream.jsonl", [])
    with pytest.raises(ConfigError, match=r"intervene\.env is 1, but the training environments are 0 to 0"):
        run(tiny(tmp_path / "b", intervene__source=source, intervene__env=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intervene__capacity": 0}, "intervene.capacity must be at least 1, got 0"),
        ({"intervene__port": 70_000}, "intervene.port must lie in 0 .. 65535, got 70000"),
        ({"intervene__step": 0.0}, "intervene.step must lie above 0"),
        ({"intervene__source": "keyboard", "steps": 0}, "corrections are made while environments are stepped"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        tiny(tmp_path, **changes)


# ---- keys and the page ----------------------------------------------------------------------------------


def test_keys_move_dimensions_by_what_they_mean():
    keys = Keys(SPEC, 0.5)
    proposed = np.array([0.9, 1.0, 3.0, 0.2], np.float32)
    assert keys.action(proposed, (), 0).tolist() == [0, 1, 3, np.float32(0.2)], "deltas stop, the rest holds"
    assert keys.action(proposed, {"d", "w"}, 0).tolist() == [0.5, 2, 3, np.float32(0.2)]
    assert keys.action(proposed, {"a", "w"}, 0)[:2].tolist() == [-0.5, 2], "clipped at the bound"
    assert keys.action(proposed, {"f"}, 0)[2] == 2
    assert keys.action(proposed, {" "}, 0)[3] == 1, "closed enough to open"
    assert keys.action(proposed, {" "}, 0)[3] == 1, "a held key is pressed once"
    assert keys.action(proposed, (), 0)[3] == 1
    assert keys.action(proposed, {" "}, 0)[3] == 0
    keys.begin()
    assert keys.action(-proposed, (), 0).tolist() == [0, -1, 0, 0], "a new episode holds what it begins with"
    keys.release()
    assert keys.action(proposed, (), 0)[1] == 1, "begins anew from the policy's action"


def test_many_dimensions_come_in_groups():
    spec = EnvSpec("toy:hand", {}, ArraySpec((19,), low=(-1.0,) * 19, high=(1.0,) * 19), 20.0, 10)
    keys = Keys(spec, 1.0)
    assert [len(group) for group in keys.groups] == [8, 8, 3]
    action = keys.action(np.ones(19, np.float32), {"d"}, 2)
    assert action.tolist() == [0.0] * 16 + [1.0, 0.0, 0.0]


def ask(page, method, path, body=None, host="127.0.0.1", origin=None, token=None):
    port, token = page.port, page.token if token is None else token
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Host": f"{host}:{port}"} | ({} if origin is None else {"Origin": origin})
    link.request(method, f"{path}?token={token}", body=body, headers=headers)
    answer = link.getresponse()
    return answer.status, answer.read()


def test_the_page_shows_images_and_tells_keys(monkeypatch):
    page = Page(0, {"env": "toy", "pairs": [], "groups": []})
    try:
        assert ask(page, "GET", "/")[0] == 200
        assert json.loads(ask(page, "GET", "/about")[1])["env"] == "toy"
        assert not page.watched
        assert ask(page, "GET", "/image")[0] == 204
        assert page.watched
        page.show(b"jpeg", 3, 14)
        assert ask(page, "GET", "/image")[1] == b"jpeg"
        said = json.dumps({"held": ["d"], "group": 1, "taken": True})
        assert json.loads(ask(page, "POST", "/keys", said)[1]) == {"episode": 3, "step": 14}
        assert page.commands() == (frozenset("d"), 1, True)
        for held in (["d", " "], ["d"]):
            ask(page, "POST", "/keys", json.dumps({"held": held, "group": 1, "taken": True}))
        assert page.commands()[0] == frozenset("d "), "a key that was tapped between two decisions counts"
        assert page.commands()[0] == frozenset("d")
        monkeypatch.setattr("zoomrl.intervention.page.SILENCE_S", 0.0)
        assert page.commands() == (frozenset(), 0, False), "a page that is gone holds nothing"
        for nonsense in ("{}", '{"held": [], "group": 1e999, "taken": true}'):
            assert ask(page, "POST", "/keys", nonsense)[0] == 400
        assert ask(page, "GET", "/other")[0] == 404
        assert ask(page, "GET", "/", host="evil.example")[0] == 403
        assert ask(page, "POST", "/keys", said, host="evil.example")[0] == 403
        assert ask(page, "POST", "/keys", said, origin="https://evil.example")[0] == 403
        assert ask(page, "POST", "/keys", said, origin=f"http://127.0.0.1:{page.port}")[0] == 200
    finally:
        page.close()
        page.close()


@pytest.mark.parametrize("path", ["/", "/about", "/image", "/keys", "/other"])
def test_nothing_is_said_without_the_token(path):
    page = Page(0, {"env": "secret"})
    try:
        for token in ("", "x" * 22, page.token[:-1], page.token + "x"):
            status, body = ask(page, "POST" if path == "/keys" else "GET", path, "{}", token=token)
            assert (status, b"secret" in body, page.watched) == (403, False, False)
    finally:
        page.close()


@pytest.mark.long
def test_half_open_connections_cost_no_thread_and_are_closed(monkeypatch):
    monkeypatch.setattr("zoomrl.loopback.IDLE_S", 1)
    monkeypatch.setattr("zoomrl.loopback.MAX_CONNECTIONS", 60)
    before = threading.active_count()
    page = Page(0, {})
    links = []
    try:
        for _ in range(50):
            links.append(socket.create_connection(("127.0.0.1", page.port)))
            links[-1].sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert ask(page, "GET", "/about")[0] == 200, "the page answers meanwhile"
        assert threading.active_count() - before <= 3
        for link in links:
            link.settimeout(10)
            assert link.recv(1000) == b"", "closed after a second of silence"
    finally:
        for link in links:
            link.close()
        page.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"POST /keys HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"POST /keys HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", b"400"),
    ],
)
def test_large_requests_are_refused_unread(request_text, status):
    page = Page(0, {})
    try:
        with socket.create_connection(("127.0.0.1", page.port), timeout=5) as link:
            link.sendall(request_text)
            assert status in link.recv(1000).partition(b"\r\n")[0]
    finally:
        page.close()


def test_a_person_takes_over_at_the_control_rate():
    said = []
    image = np.zeros((8, 8, 3), np.uint8)
    keyboard = Keyboard(InterventionConfig(source="keyboard", port=0), SPEC, lambda: image, said.append)
    page, port = keyboard._page, keyboard._page.port
    proposed = np.zeros(4, np.float32)
    try:
        assert f"http://127.0.0.1:{port}/?token={page.token}" in said[0]
        assert json.loads(ask(page, "GET", "/about")[1])["gripper"], "the page names the space bar"
        assert not Keys(dataclasses.replace(SPEC, action_meaning=()), 0.5).gripper
        assert keyboard.action(0, 0, proposed) is None
        ask(page, "GET", "/image")
        keyboard.action(0, 1, proposed)
        assert ask(page, "GET", "/image")[1][:2] == b"\xff\xd8", "a JPEG"
        ask(page, "POST", "/keys", json.dumps({"held": ["d"], "group": 0, "taken": True}))
        keyboard.action(0, 2, proposed)
        begun = time.monotonic()
        for step in range(5):
            assert keyboard.action(0, 3 + step, proposed)[0] == pytest.approx(0.25)
        assert time.monotonic() - begun >= 4 / SPEC.control_hz
        with pytest.raises(ConfigError, match=f"port {port}.*intervene.port"):
            Keyboard(InterventionConfig(source="keyboard", port=port), SPEC, lambda: image, said.append)
    finally:
        keyboard.close()


def test_a_renderer_that_fails_is_named_once_and_corrections_go_on():
    said = []

    def fail():
        raise RuntimeError("EGL context lost")

    keyboard = Keyboard(InterventionConfig(source="keyboard", port=0), SPEC, fail, said.append)
    try:
        for step in range(3):
            ask(keyboard._page, "GET", "/image")
            keyboard._imaged = 0.0
            assert keyboard.action(0, step, np.zeros(4, np.float32)) is None
        ask(keyboard._page, "POST", "/keys", json.dumps({"held": ["d"], "group": 0, "taken": True}))
        assert keyboard.action(0, 3, np.zeros(4, np.float32)) is not None
    finally:
        keyboard.close()
    assert said[1:] == ["corrections: the page shows no new images (RuntimeError: EGL context lost)"]


class Joined(ToyEnv):
    """Its state has two parts, in an order that is not that of their names."""

    parts = {"point": (2,), "clock": (1,)}  # noqa: RUF012
    observation_space = gymnasium.spaces.Dict(
        {name: gymnasium.spaces.Box(-10, 10, shape, np.float32) for name, shape in parts.items()}
    )

    def _show(self):
        shown = super()._show()
        return {"point": shown[:2], "clock": shown[2:]}


@pytest.mark.slow
def test_corrections_are_imported_with_the_entries_of_their_environment(tmp_path):
    source = recording(tmp_path / "stream.jsonl", STREAM)
    config = tiny(tmp_path / "run", intervene__source=source, env__state="full")
    train(config, make_env=Joined, console=Console(quiet=True))
    found = read_npz(tmp_path / "run" / FOLDER, ImportOptions())
    assert found.spec.state_entries == read_policy_file(tmp_path / "run").env_spec(Path("policy.json")).state_entries
    assert len(found.spec.state_entries) == 2
    assert found.episodes


class Diverging(ToyEnv):
    """NaN at the fifth step of every episode."""

    def _show(self):
        return super()._show() if self.clock != 5 else np.full(3, np.nan, np.float32)


@pytest.mark.long
def test_corrections_outlive_an_episode_that_is_lost(tmp_path):
    config = tiny(tmp_path / "run", intervene__source=recording(tmp_path / "stream.jsonl", STREAM))
    train(config, make_env=Diverging, console=Console(quiet=True))
    kept = kept_episodes(tmp_path / "run")
    assert [stretch.actions.tolist() for stretch in kept[:2]] == [[[0.5, -1.5], [1.0, 2.0]], [[-0.25, 0.25]]]
    assert all(np.isfinite(stretch.observations["state"]).all() for stretch in kept)


@pytest.mark.long
def test_a_correction_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(path, episode, cameras):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(correct, "write_episode", full)
    source = recording(tmp_path / "stream.jsonl", STREAM)
    with pytest.raises(CheckpointError, match=r"could not write .*corrections/episode_000000\.npz: No space left"):
        run(tiny(tmp_path / "run", intervene__source=source))


def test_the_toy_has_actions_of_two_dimensions():
    env = wrap_gym_env(ToyEnv(), EnvConfig(id="gym:toy", time_limit=12))
    assert env.env_spec.action_dim == 2, "the recordings above are made for it"
