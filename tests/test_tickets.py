"""Episodes made ahead of learning: the bytes of a run depend on the tickets alone, whoever works them off."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from envs_toy import Failing, ImageToy, ToyEnv
from test_resume import CrashError, at_step, crash
from toy import assert_same_run, demo_set, last_state, rows, tiny
from zoomrl.agents.cqn.config import CQNASConfig
from zoomrl.agents.td7.config import TD7Config
from zoomrl.control.config import ControlConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.isolation.channel import nameless_file
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.errors import ConfigError, SimulatorError, WorkerError
from zoomrl.files import read_json
from zoomrl.intervention.config import InterventionConfig
from zoomrl.training.collect import actor as actor_module
from zoomrl.training.collect.actor import Actor
from zoomrl.training.collect.ahead import AheadCollector
from zoomrl.training.collect.arrays import read_arrays, write_arrays
from zoomrl.training.collect.config import CollectConfig
from zoomrl.training.collect.inline import TRIES, InlineDesk
from zoomrl.training.collect.pool import STARTS, Pool
from zoomrl.training.collect.process import ProcessHandle
from zoomrl.training.collect.ticket import ActorLostError, Collected, Greeting, Ticket, packed, unpack
from zoomrl.training.config import TrainConfig, differences
from zoomrl.training.run import train
from zoomrl.training.trainer import Trainer

LAG = 2


class Delayed(ToyEnv):
    """Takes its time, as chance will have it."""

    def step(self, action: np.ndarray) -> Any:
        if os.urandom(1)[0] < 40:
            time.sleep(os.urandom(1)[0] / 10_000)
        return super().step(action)


class FailingNow(Failing):
    fraction = 0.6


class FailingAtReset(FailingNow):
    where = "reset"


def ahead(directory: Path, actors: int = 0, lag: int = LAG, backend: str = "", **changes: Any) -> TrainConfig:
    kind: Any = backend or ("process" if actors else "inline")
    return tiny(directory, collect=CollectConfig(lag=lag, backend=kind, actors=actors), **changes)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tickets") / "straight"
    train(ahead(directory), make_env=ToyEnv)
    return directory


# ---- what a ticket says ----------------------------------------------------------------------------------------


def test_an_episode_is_made_with_the_weights_of_so_many_episodes_before(tmp_path, monkeypatch):
    """Against an account kept by other means: the agent's weights at the moment when each episode was begun."""
    begun: list[torch.Tensor] = []
    used: dict[int, tuple[int, torch.Tensor]] = {}
    begin, run = AheadCollector._begin, Actor.run

    def watched_begin(self: AheadCollector, env_steps: int) -> bool:
        begun.append(packed(self._agent).clone())
        return begin(self, env_steps)

    def watched_run(self: Actor, ticket: Ticket, weights: Any) -> Any:
        found = run(self, ticket, weights)
        used[ticket.index] = ticket.start, packed(self._agent).clone()
        return found

    monkeypatch.setattr(AheadCollector, "_begin", watched_begin)
    monkeypatch.setattr(Actor, "run", watched_run)
    train(ahead(tmp_path / "run", steps=90), make_env=ToyEnv)
    assert len(begun) > 6
    assert len({weights.numpy().tobytes() for weights in begun}) > 4
    for index, (_, weights) in used.items():
        assert torch.equal(weights, begun[max(0, index - LAG)]), index
    lengths = [row["length"] for row in rows(tmp_path / "run") if row["kind"] == "episode"]
    for index, (start, _) in used.items():
        before = sum(lengths[: max(0, index - LAG)])
        mean = before / (index - LAG) if index > LAG else 12
        assert start == before + round(mean * min(index, LAG)), index


def test_seeds_follow_from_the_number_alone(straight, tmp_path):
    train(ahead(tmp_path / "longer", lag=4), make_env=ToyEnv)
    first, second = ([row for row in rows(one) if row["kind"] == "episode"] for one in (straight, tmp_path / "longer"))
    assert first[0]["return"] == second[0]["return"]
    assert first != second


def test_without_a_lag_the_loop_is_the_one_that_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(Actor, "__init__", crash)
    train(tiny(tmp_path / "run"), make_env=ToyEnv)
    assert "tickets" not in last_state(tmp_path / "run")


@given(st.lists(st.sampled_from([torch.float32, torch.int64, torch.bool, torch.uint8, torch.float64]), max_size=6))
@settings(max_examples=30, deadline=None)
def test_weights_travel_as_bytes(kinds):
    class Agent:
        def __init__(self, seed: int) -> None:
            generator = torch.Generator().manual_seed(seed)
            self.tensors = {
                f"{number}": torch.rand((number % 3, 3) if number % 2 else (), generator=generator).mul(9).to(kind)
                for number, kind in enumerate(kinds)
            } | {"last": torch.rand(2, generator=generator)}

        def weights(self, part: str) -> dict[str, torch.Tensor]:
            return self.tensors

    one, other = Agent(1), Agent(2)
    unpack(other, packed(one))
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name])
    with pytest.raises(ValueError, match="bytes"):
        unpack(other, packed(one)[1:])


@given(
    st.dictionaries(
        st.text(max_size=5),
        arrays_of.arrays(
            st.sampled_from([np.uint8, np.float32, np.int64, np.bool_]),
            arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        ),
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_arrays_travel_through_shared_memory(held):
    descriptor = nameless_file()
    try:
        write_arrays(descriptor, {"before": np.ones(400)})
        found = read_arrays(descriptor, write_arrays(descriptor, held))
    finally:
        os.close(descriptor)
    assert list(found) == list(held)
    for name, array in held.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_full_shared_memory_is_named(monkeypatch):
    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(WorkerError, match=r"0\.8 MB .*No space left on device.*--shm-size"):
        write_arrays(0, {"a": np.zeros(100_000)})


# ---- the same bytes --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("actors", [1, 2, 4])
def test_the_run_is_the_same_with_any_number_of_actors(straight, tmp_path, actors):
    train(ahead(tmp_path / "run", actors), make_env=Delayed)
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("number", range(4))
def test_a_stopped_run_ends_like_one_left_alone(straight, tmp_path, number):
    """Also between the episodes, in the first one, and with another number of actors."""
    config = ahead(tmp_path / "run")
    with at_step((3, 17, 31, 46)[number], crash), pytest.raises(CrashError):
        train(config, make_env=ToyEnv)
    again = ahead(tmp_path / "run", actors=2) if number == 2 else config
    assert train(again, make_env=Delayed if number == 2 else ToyEnv).finished
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_is_stopped_everywhere_ends_like_one_left_alone(straight, tmp_path):
    """Asked to stop before every single step: each start makes one."""
    config = ahead(tmp_path / "run", checkpoint__every=1000)
    step = Trainer._step

    def one(self: Trainer) -> None:
        step(self)
        os.kill(os.getpid(), signal.SIGTERM)

    starts = 0
    Trainer._step = one  # type: ignore[method-assign]
    try:
        while not train(config, make_env=ToyEnv).finished:
            starts += 1
            assert starts < 70
    finally:
        Trainer._step = step  # type: ignore[method-assign]
    assert starts > 55
    kept = dataclasses.replace(config, run_dir=str(straight))
    assert not differences(kept, ahead(straight))
    assert rows(tmp_path / "run") == rows(straight)


@pytest.mark.slow
def test_with_demonstrations_and_updates_between_episodes(tmp_path):
    demos = demo_set(tmp_path / "demos")
    for name, actors in (("inline", 0), ("process", 2)):
        train(ahead(tmp_path / name, actors, demos=demos, update_at="episode"), make_env=ToyEnv)
    assert_same_run(tmp_path / "inline", tmp_path / "process")


@pytest.mark.long
@pytest.mark.parametrize("stopped", [25, 32])
def test_a_resumed_run_that_is_stopped_before_its_first_step_loses_nothing(straight, tmp_path, monkeypatch, stopped):
    """The episode under way has not been made again when it is saved for the second time."""
    config = ahead(tmp_path / "run", checkpoint__every=1000)
    with at_step(stopped, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert not train(config, make_env=ToyEnv).finished
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self: (os.kill(os.getpid(), signal.SIGTERM), run(self))[1])
    for _ in range(2):
        assert not train(config, make_env=ToyEnv).finished
    monkeypatch.undo()
    assert train(config, make_env=ToyEnv).finished
    assert rows(tmp_path / "run") == rows(straight)
    assert read_json(tmp_path / "run" / "result.json")["returns"] == read_json(straight / "result.json")["returns"]


def test_initial_weights_and_what_an_actor_is_known_by_do_not_depend_on_the_number_of_threads():
    spec = wrap_gym_env(ToyEnv(), EnvConfig(id="gym:toy", time_limit=12)).env_spec
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            made.append(packed(make_agent(CQNASConfig(chunk_length=3, hidden_dim=256, atoms=21), spec, seed=3)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    assert torch.equal(*made)


def test_a_fork_with_other_options_is_not_another_machine(straight, tmp_path, capsys):
    agent = dataclasses.replace(ahead(tmp_path).agent, act_with="online")  # type: ignore[call-arg]
    fork = ahead(tmp_path / "fork", agent=agent, steps=80, fork=str(straight))
    assert train(fork, make_env=ToyEnv).finished
    assert "computes other numbers" not in " ".join(capsys.readouterr().err.split())
    assert "mixed_actors" not in read_json(tmp_path / "fork" / "result.json")


@pytest.mark.slow
def test_environments_of_actors_are_closed(tmp_path):
    class Closing(ToyEnv):
        def close(self) -> None:
            (tmp_path / f"closed-{os.getpid()}").touch()

    train(ahead(tmp_path / "run", 2), make_env=Closing)
    assert len(list(tmp_path.glob("closed-*"))) == 3


@pytest.mark.slow
def test_an_actor_finds_modules_where_the_learner_does(straight, tmp_path, monkeypatch):
    """And not first of all in the current folder."""
    (tmp_path / "queue.py").write_text("raise RuntimeError('another queue')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    train(ahead(tmp_path / "run", 1), make_env=ToyEnv)
    assert_same_run(straight, tmp_path / "run")


def test_a_factory_that_cannot_be_sent_is_named(tmp_path):
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot be built in another process: .*lock.*make_env"):
        train(ahead(tmp_path / "run", 1), make_env=lambda: (lock, ToyEnv())[1])


def test_the_number_of_threads_of_the_learner_changes_no_episode(straight, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Actor, "_make", lambda self, ticket: seen.append(torch.get_num_threads()) or crash())
    with pytest.raises(CrashError):
        train(ahead(tmp_path / "run", threads=2), make_env=ToyEnv)
    assert seen == [1]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.slow
def test_images_travel_as_bytes(tmp_path):
    options: dict[str, Any] = {"env__id": "gym:toy-images", "env__cameras": ("front",), "env__image_size": 16}
    for name, actors in (("inline", 0), ("process", 2)):
        train(ahead(tmp_path / name, actors, **options), make_env=ImageToy)
    assert_same_run(tmp_path / "inline", tmp_path / "process")
    (file, *_) = sorted((tmp_path / "process" / "replay").glob("episodes_*.npz"))
    with np.load(file) as held:
        assert any(held[name].dtype == np.uint8 and held[name].ndim >= 4 for name in held.files)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FailingNow, FailingAtReset])
def test_episodes_that_the_simulator_spoils_are_dropped_alike(tmp_path, kind):
    for name, actors in (("inline", 0), ("process", 2)):
        train(ahead(tmp_path / name, actors), make_env=kind)
    assert_same_run(tmp_path / "inline", tmp_path / "process")
    lost = [row["episodes_lost"] for row in rows(tmp_path / "inline") if row["kind"] == "train"]
    assert lost[-1] > 2
    assert lost == sorted(lost)


def test_a_simulator_that_never_begins_is_an_error(tmp_path):
    class Never(FailingAtReset):
        fraction = 1.0

    with pytest.raises(SimulatorError, match="20 episodes in a row"):
        train(ahead(tmp_path / "run"), make_env=Never)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["temporal_ensemble", "receding_horizon"])
def test_a_persons_corrections_are_those_of_the_episode_wherever_it_is_made(tmp_path, executor):
    entries = [(0, 1), (0, 2), (2, 0), (2, 3), (3, 4), (4, 1)]
    path = tmp_path / "corrections.jsonl"
    path.write_text(
        "".join(f'{{"episode": {e}, "step": {s}, "action": [0.5, -1]}}\n' for e, s in entries), encoding="utf-8"
    )
    control = ControlConfig(noise="0.1", executor=executor)
    options: dict[str, Any] = {"intervene": InterventionConfig(str(path)), "control": control}
    train(ahead(tmp_path / "inline", **options), make_env=ToyEnv)
    stopped = ahead(tmp_path / "stopped", 2, **options)
    folder = tmp_path / "mines"  # an actor dies in the middle of an episode, which another makes anew
    folder.mkdir()
    (folder / f"0.{int(signal.SIGKILL)}").touch()
    with at_step(32, crash), pytest.raises(CrashError):
        train(stopped, make_env=mined(folder, os.getpid()))
    assert not list(folder.iterdir())
    train(ahead(tmp_path / "stopped", **options), make_env=ToyEnv)
    assert_same_run(tmp_path / "inline", tmp_path / "stopped")
    corrected = [row["corrected"] for row in rows(tmp_path / "inline") if row["kind"] == "episode"]
    assert corrected[0] > 0 == corrected[1]
    kept = sorted((tmp_path / "inline" / "corrections").glob("episode_*.npz"))
    assert [one.name for one in kept] == [
        one.name for one in sorted((tmp_path / "stopped" / "corrections").glob("episode_*.npz"))
    ]


def test_an_episode_that_does_not_repeat_on_resuming_is_dropped_by_name(tmp_path, capsys):
    class Other(ToyEnv):
        def reset(self, **options: Any) -> Any:
            _, info = super().reset(**options)
            self.fuse = 40
            self.point = self.point + 1
            return self._show(), info

    config = ahead(tmp_path / "run", checkpoint__every=1000)
    with at_step(25, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert not train(config, make_env=ToyEnv).finished
    assert train(config, make_env=Other).finished
    assert "did not repeat its episode in flight after resuming" in " ".join(capsys.readouterr().err.split())


def test_a_run_that_goes_on_where_other_numbers_are_computed_is_marked(tmp_path, monkeypatch, capsys):
    config = ahead(tmp_path / "run")
    with at_step(25, crash), pytest.raises(CrashError):
        train(config, make_env=ToyEnv)
    greeting = Actor.greeting
    monkeypatch.setattr(Actor, "greeting", lambda self, **how: greeting(self, **how)._replace(agent="other"))
    assert train(config, make_env=ToyEnv).finished
    assert "this machine computes other numbers" in " ".join(capsys.readouterr().err.split())
    assert read_json(tmp_path / "run" / "result.json")["mixed_actors"] == ["the learner, from episode 2 on"]


def test_a_robot_is_not_moved_before_its_first_episode(tmp_path, monkeypatch):
    moved = []

    class Robot(ToyEnv):
        def step(self, action: np.ndarray) -> Any:
            moved.append(action)
            return super().step(action)

    monkeypatch.setattr("zoomrl.training.build.collect._handles", crash)
    collect = CollectConfig(lag=1, backend="process", actors=1, probe_steps=0)
    with pytest.raises(TypeError):
        train(tiny(tmp_path / "run", collect=collect), make_env=Robot)
    assert len(moved) <= 4  # one for each environment, by which it is known whether it tells success
    assert ahead(tmp_path).collect.probe_steps == 100


# ---- what goes wrong with actors -------------------------------------------------------------------------------


def children(parent: int | None = None) -> list[psutil.Process]:
    return [one for one in psutil.Process(parent).children(recursive=True) if "collect.serve" in " ".join(_words(one))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def shared() -> set[str]:
    """What lies in shared memory by name, without the semaphores of whatever else runs."""
    found = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []
    return {name for name in found if not name.startswith("sem.")}


def mined(folder: Path, learner: int) -> type[ToyEnv]:
    """An environment whose actors meet what lies in ``folder``: each signal there strikes one of them, once."""

    class Mined(Delayed):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.fixed = seed is not None and seed < 1000  # of the steps by which an actor is known
            return super().reset(seed=seed)

        def step(self, action: np.ndarray) -> Any:
            if os.getpid() != learner and self.clock == 3 and not self.fixed:
                for mine in sorted(folder.iterdir()):
                    try:
                        mine.unlink()
                    except FileNotFoundError:  # another stepped on it
                        continue
                    os.kill(os.getpid(), int(mine.suffix[1:]))
                    break
            return super().step(action)

    return Mined


@pytest.mark.long
def test_killed_and_silent_actors_cost_time_alone(straight, tmp_path, capsys):
    """A stopped process never answers and never ends; it is given up at the deadline."""
    folder = tmp_path / "mines"
    folder.mkdir()
    blows = [signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL]
    for number, blow in enumerate(blows):
        (folder / f"{number}.{int(blow)}").touch()
    collect = CollectConfig(lag=LAG, backend="process", actors=2, deadline=4)
    train(tiny(tmp_path / "run", collect=collect), make_env=mined(folder, os.getpid()))
    assert_same_run(straight, tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert not list(folder.iterdir())
    assert said.count("an actor was lost (killed by signal 9)") == 2
    assert said.count("an actor was lost (did not answer within 4 s)") == 1
    assert not children()


@pytest.mark.slow
def test_actors_end_with_the_learner_however_it_ends(tmp_path):
    before = shared()
    program = tmp_path / "program.py"
    program.write_text(
        "from test_tickets import *\n"
        f"train(ahead(Path({str(tmp_path / 'run')!r}), 2, steps=100_000), make_env=Delayed)\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    learner = subprocess.Popen([sys.executable, str(program)], env={**os.environ, "PYTHONPATH": path})
    actors: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            actors = children(learner.pid)
            if len(actors) == 2 and (tmp_path / "run" / "metrics.jsonl").exists():
                break
            time.sleep(0.1)
        assert len(actors) == 2
        # Ctrl-C in a terminal is sent to the learner's group.
        assert all(os.getpgid(actor.pid) == actor.pid for actor in actors)
    finally:
        learner.kill()
        learner.wait()
    _, alive = psutil.wait_procs(actors, 10)
    assert not alive
    assert not shared() - before


@pytest.mark.slow
def test_a_run_is_stopped_while_it_waits_for_an_episode(straight, tmp_path):
    folder = tmp_path / "mines"
    folder.mkdir()
    (folder / f"0.{int(signal.SIGSTOP)}").touch()

    def stop() -> None:
        while list(folder.iterdir()):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    config, environment = ahead(tmp_path / "run", 1), mined(folder, os.getpid())
    thread = threading.Thread(target=stop)
    thread.start()
    began = time.monotonic()
    assert not train(config, make_env=environment).finished
    thread.join()
    assert time.monotonic() - began < 60
    assert train(config, make_env=environment).finished
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.parametrize("actors", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_an_environment_raises_arrives(tmp_path, actors):
    class Broken(ToyEnv):
        def step(self, action: np.ndarray) -> Any:
            if self.clock == 4:
                raise RuntimeError("the gripper fell off")
            return super().step(action)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            shown = super().reset(seed=seed)
            self.fuse = 3 if seed is not None and seed < 1000 else 30
            return shown

    with pytest.raises(SimulatorError, match="the gripper fell off"):
        train(ahead(tmp_path / "run", actors, seed_steps=1000), make_env=Broken)


class Double:
    """An actor as bad as one wants it: what it does with each ticket is told in advance."""

    def __init__(self, *deeds: str, greeting: Greeting | None = None) -> None:
        self.deeds = list(deeds)
        self.greeting = greeting or GREETING
        self.made: list[int] = []
        self.starts = 0

    def start(self) -> Greeting:
        self.starts += 1
        if self.deeds and self.deeds[0] == "stillborn":
            self.deeds.pop(0)
            raise ActorLostError("it exited with code 1")
        return self.greeting

    def run(self, ticket: Ticket, weights: Any, deadline_s: float) -> Collected:
        deed = self.deeds.pop(0) if self.deeds else "make"
        if deed == "slow":
            time.sleep(0.3)
        if deed == "die":
            raise ActorLostError("killed by signal 9")
        if deed == "raise":
            raise ConfigError("its environment is another")
        if deed == "break":
            raise KeyError("surprise")
        self.made.append(ticket.index)
        return Collected(ticket.index + (deed == "other"), 1, None, "spoilt")

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


VERSIONS = {"zoomrl": "1", "python": "3.11", "torch": "2.13", "numpy": "2"}
GREETING = Greeting("here, process 1", VERSIONS, "abc", "sim", 10)


def pool(*doubles: Double, allow_mixed: bool = False, stop: Any = lambda: False) -> tuple[Pool, list[str]]:
    said: list[str] = []
    made = Pool(doubles, GREETING, 1.0, allow_mixed, stop, said.append)
    return made, said


def taken(made: Pool, count: int) -> list[int]:
    for index in range(count):
        made.issue(Ticket(index, 0, 0))
    try:
        found = [made.take(index) for index in range(count)]
    finally:
        made.close()
    return [one.index for one in found if one is not None]


def test_tickets_are_taken_in_their_order_whoever_is_first():
    slow, fast = Double("slow", "slow"), Double("slow")
    assert taken(pool(slow, fast)[0], 8) == list(range(8))
    assert sorted(slow.made + fast.made) == list(range(8))


def test_a_lost_ticket_is_given_out_again():
    made, said = pool(Double("die", "make", "die", "die"), Double("slow", "die"))
    assert taken(made, 6) == list(range(6))
    assert sum("is made anew by another" in line for line in said) >= 3


def test_a_ticket_that_kills_every_actor_is_an_error_in_the_end():
    with pytest.raises(WorkerError, match=f"episode 0 was begun {TRIES} times .*killed by signal 9.*collect.deadline"):
        taken(pool(Double(*["die"] * 30))[0], 1)


def test_actors_that_do_not_start():
    one = Double(*["stillborn"] * (STARTS - 1))
    assert taken(pool(one)[0], 1) == [0]
    assert one.starts == STARTS
    message = f"could not be started {STARTS} times in a row: it exited with code 1"
    with pytest.raises(WorkerError, match=message):
        taken(pool(Double(*["stillborn"] * STARTS))[0], 1)
    made, said = pool(Double(*["stillborn"] * STARTS), Double("slow", "slow"))
    assert taken(made, 3) == [0, 1, 2]
    assert message in said[0]
    assert "goes on with 1 other actor" in said[0]


def test_an_error_waits_until_its_episode_is_due():
    """Whether a run meets it does not depend on who was fast."""
    made, _ = pool(Double("make", "make", "raise"))
    for index in range(4):
        made.issue(Ticket(index, 0, 0))
    while len(made._found) < 4:
        time.sleep(0.01)
    assert [made.take(index).index for index in (0, 1)] == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="its environment is another"):
        made.take(2)
    made.close()


def test_errors_of_actors_are_raised_where_episodes_are_taken():
    with pytest.raises(ConfigError, match="its environment is another"):
        taken(pool(Double("raise"))[0], 1)
    with pytest.raises(WorkerError, match="KeyError: 'surprise'"):
        taken(pool(Double("break"))[0], 1)
    with pytest.raises(WorkerError, match="answered ticket 1 in place of 0"):
        taken(pool(Double("other"))[0], 1)


def test_a_late_duplicate_is_dropped():
    made, _ = pool(Double())
    assert taken(made, 2) == [0, 1]
    made._deliver(1, Collected(1, 1, None, "late"))
    assert not made._found


def test_no_more_is_held_than_was_issued():
    made, _ = pool(Double(), Double(), Double())
    for index in range(5):
        made.issue(Ticket(index, 0, 0))
    time.sleep(0.3)
    assert sorted(made._found) == [0, 1, 2, 3, 4]
    assert [made.take(index).index for index in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert not made._found
    assert not made._outstanding
    made.close()


FOREIGN = Greeting("far, process 2", VERSIONS, "abd", "sim", 10)
OLDER = Greeting("old, process 3", {**VERSIONS, "torch": "2.11"}, "abc", "sim", 10)


def test_foreign_actors_are_refused_by_name_and_others_go_on():
    foreign = Double(greeting=FOREIGN)
    made, said = pool(Double("slow"), foreign)
    assert taken(made, 3) == [0, 1, 2]
    assert not foreign.made
    assert "far, process 2" in said[0]
    assert "computes other actions" in said[0]
    assert "--collect.allow-mixed" in said[0]
    with pytest.raises(ConfigError, match=r"old, process 3 .*torch 2\.11 there and 2\.13 here"):
        taken(pool(Double(greeting=OLDER))[0], 1)


def test_foreign_actors_that_are_allowed_are_remembered():
    made, said = pool(Double(greeting=FOREIGN), allow_mixed=True)
    assert taken(made, 3) == [0, 1, 2]
    assert made.mixed == ["far, process 2"]
    assert "the run is not exact" in said[0]


@pytest.mark.slow
def test_a_mixed_run_is_marked(tmp_path, monkeypatch):
    start = ProcessHandle.start
    monkeypatch.setattr(ProcessHandle, "start", lambda self: start(self)._replace(simulator="other", where="far"))
    with pytest.raises(ConfigError, match=r"the actor on far would make another run .*--collect\.allow-mixed"):
        train(ahead(tmp_path / "refused", 1), make_env=ToyEnv)
    collect = CollectConfig(lag=LAG, backend="process", actors=1, allow_mixed=True)
    train(tiny(tmp_path / "run", collect=collect), make_env=ToyEnv)
    assert read_json(tmp_path / "run" / "result.json")["mixed_actors"] == ["far"]


def test_the_numbers_tell_another_simulator_and_another_forward_pass(tmp_path, monkeypatch):
    found = []

    def watched(self: Actor, *, simulator: bool = True) -> Greeting:
        found.append(greeting(self))
        raise CrashError

    greeting = Actor.greeting
    monkeypatch.setattr(Actor, "greeting", watched)

    class Slippery(ToyEnv):
        def step(self, action: np.ndarray) -> Any:
            return super().step(action * np.float32(1.0001))

    def probe(env: Any, name: str) -> None:
        with pytest.raises(CrashError):
            train(ahead(tmp_path / name), make_env=env)

    probe(ToyEnv, "a")
    probe(ToyEnv, "b")
    probe(Slippery, "c")

    def rounding_otherwise(*arguments: Any, **options: Any) -> Any:
        agent = make_agent(*arguments, **options)
        act = agent.act

        def other(*given: Any, **how: Any) -> Any:
            chunk = act(*given, **how)
            return dataclasses.replace(chunk, value=chunk.value * (1 + 1e-6))

        agent.act = other  # type: ignore[method-assign]
        return agent

    monkeypatch.setattr(actor_module, "make_agent", rounding_otherwise)
    probe(ToyEnv, "d")
    assert found[0][1:4] == found[1][1:4]
    assert (found[2].agent, found[3].simulator) == (found[0].agent, found[0].simulator)
    assert found[2].simulator != found[0].simulator
    assert found[3].agent != found[0].agent
    assert found[0].memory > 10_000_000
    assert "its simulator answers otherwise" in found[2].differs(found[0])
    assert "its agent computes other actions" in found[3].differs(found[0])


make_agent = actor_module.make_agent


def test_an_actor_that_lacks_the_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(InlineDesk, "publish", lambda self, version, weights: None)
    with pytest.raises(WorkerError, match="is to be made with weights 0, and this actor holds weights -1"):
        train(ahead(tmp_path / "run"), make_env=ToyEnv)


# ---- options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 2, "actors": 2}, "needs somewhere to run"),
        ({"backend": "process", "actors": 2}, "collect.lag=0 .*Use collect.lag=2"),
        ({"backend": "ray", "lag": 1}, "needs collect.actors"),
        ({"lag": -1}, "collect.lag"),
        ({"lag": 1, "backend": "threads"}, "collect.backend"),
        ({"lag": 1, "deadline": 0.0}, "collect.deadline"),
    ],
)
def test_options_that_cannot_go_together_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CollectConfig(**options)


def test_runs_that_cannot_be_made_ahead_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"use env\.num_envs=1"):
        ahead(tmp_path, env__num_envs=2)
    with pytest.raises(ConfigError, match="td7 judges its newest policy"):
        ahead(tmp_path, agent=TD7Config(hidden_dim=8), update_at="episode")
    assert ahead(tmp_path, agent=TD7Config(hidden_dim=8, checkpoints=False))
    with pytest.raises(ConfigError, match=r"collect\.backend=process and collect\.actors=1"):
        ahead(tmp_path, 2, intervene=InterventionConfig("keyboard"))
    with pytest.raises(ConfigError, match=r"use collect\.lag=0"):
        tiny(tmp_path, steps=0, offline_updates=3, demos__source="x", collect=CollectConfig(lag=1))


def test_a_resumed_run_may_have_other_actors_and_no_other_lag(tmp_path):
    one = ahead(tmp_path)
    assert not differences(one, ahead(tmp_path, 3))
    assert differences(one, ahead(tmp_path, lag=3)) == ["collect.lag: 2 -> 3"]


def test_more_actors_than_can_be_at_work_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("zoomrl.training.build.collect._handles", crash)
    for actors, named in ((2, False), (3, True)):
        with pytest.raises(TypeError):
            train(ahead(tmp_path / f"{actors}", actors, lag=1), make_env=ToyEnv)
        assert (f"at most 2 actors of {actors} can be at work" in " ".join(capsys.readouterr().err.split())) == named
