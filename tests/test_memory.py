"""The memory announced before training is the memory used."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toy import run, tiny
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.nets.config import EncoderConfig
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.measure.memory import agent_steps, expected_frames, peak_rss, readable
from zoomrl.training.measure.trial import Trial
from zoomrl.training.trainer import Trainer

SPEC = EnvSpec(
    "toy:images",
    {"rgb": ArraySpec((1, 84, 84, 3), "uint8")},
    ArraySpec((2,), low=(-1.0,) * 2, high=(1.0,) * 2),
    control_hz=20.0,
    time_limit=100,
    action_repeat=2,
)

RUN = """
import dataclasses, sys
from pathlib import Path
import gymnasium, numpy as np
from envs_toy import ToyEnv
from toy import tiny
from zoomrl.training.run import train

class Images(ToyEnv):
    def __init__(self):
        size = (128, 128, 3)
        self.observation_space = gymnasium.spaces.Dict(
            {"state": ToyEnv.observation_space, "front": gymnasium.spaces.Box(0, 255, size, np.uint8)}
        )
        self.noise = np.random.default_rng(0).integers(1, 256, size, np.uint8)

    def _show(self):
        return {"state": super()._show(), "front": self.noise + np.uint8(self.clock)}

batch = int(sys.argv[5])
config = tiny(Path(sys.argv[1]), steps=int(sys.argv[2]), updates_per_step=0.002, seed_steps=0)
config = dataclasses.replace(
    config,
    # A plan for many steps: images are stored at every step, and encoded at few.
    agent=dataclasses.replace(config.agent, chunk_length=40),
    control=dataclasses.replace(config.control, executor="open_loop"),
    env=dataclasses.replace(config.env, cameras=("front",), image_size=128, time_limit=40),
    replay=dataclasses.replace(config.replay, capacity=int(sys.argv[3]), storage=sys.argv[4], batch_size=batch),
    eval=dataclasses.replace(config.eval, every=0),
    checkpoint=dataclasses.replace(config.checkpoint, every=700),
    log=dataclasses.replace(config.log, every=700),
)
train(config, make_env=Images)
"""


def test_arithmetic():
    config = tiny(Path("unused"), steps=10_001, env__num_envs=2, replay__capacity=1_000_000)
    assert agent_steps(config, SPEC) == 5002
    assert expected_frames(config, SPEC) == 5002 + 50 + 1
    assert expected_frames(tiny(Path("unused"), steps=10_001), SPEC) == ReplayConfig(capacity=35).capacity
    assert ReplayBuffer.frame_bytes(SPEC) == 84 * 84 * 3 + 4 * 3


def test_readable():
    assert [readable(n) for n in (12, 34_500, 1.2e6, 21.2e9)] == ["12 bytes", "34 kB", "1 MB", "21.2 GB"]


@pytest.mark.slow
def test_peak_follows_what_is_touched():
    before = peak_rss()
    held = np.ones(before + 50_000_000, np.uint8)
    assert peak_rss() >= held.nbytes


def test_a_trial_leaves_the_global_random_state_alone():
    import torch

    before = torch.get_rng_state()
    spec = EnvSpec("toy:state", {"state": ArraySpec((3,))}, SPEC.action, 20.0, 100)
    trial = Trial(tiny(Path("unused")), spec, torch.device("cpu"))
    trial.update()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.timing
@pytest.mark.parametrize(("capacity", "storage", "batch"), [(1_000_000, "ram", 64), (1300, "disk", 16)])
@pytest.mark.slow
def test_expected_memory_is_what_a_pixel_run_uses(capacity, storage, batch, tmp_path):
    steps = 2000
    root = Path(__file__).parents[1]
    words = [sys.executable, "-c", RUN, str(tmp_path / "run"), str(steps), str(capacity), storage, str(batch)]
    done = subprocess.run(words, cwd=root / "tests", capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    peak, expected = result["peak_memory_gb"], result["expected_memory_gb"]
    said = " ".join(done.stderr.split())
    assert f"memory: about {readable(expected * 1e9)} when the replay is full" in said
    assert f"memory: {readable(peak * 1e9)} at most; {readable(expected * 1e9)} were expected" in said
    frames = min(capacity, steps) * 128 * 128 * 3 / 1e9
    assert peak > frames
    assert expected == pytest.approx(peak, rel=0.1)


@pytest.mark.timing
@pytest.mark.slow
def test_expected_memory_of_a_small_run_counts_what_the_command_does_after_training(tmp_path):
    """The plot at the end takes a twentieth of a small run's memory."""
    words = "train --preset sac-dmc --env gym:Pendulum-v1 --env.time-limit 50 --steps 300 --threads 1 --eval.every 150 "
    words += "--eval.episodes 1 --eval.final-episodes 2 --eval.no-video --seed-steps 100 --control.uniform-steps 100"
    code = "import sys; from zoomrl.cli.main import main; from zoomrl.training.measure.memory import peak_rss; "
    code += "assert main(sys.argv[1:]) == 0; print('peak', peak_rss())"
    command = [sys.executable, "-c", code, *words.split(), "--run-dir", str(tmp_path / "run")]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    found = re.search(r"memory: about (\d+) MB when the replay is full", child.stderr)
    peak = re.search(r"peak (\d+)", child.stdout)
    assert found is not None
    assert peak is not None
    assert float(found[1]) * 1e6 == pytest.approx(float(peak[1]), rel=0.1)


@pytest.mark.long
def test_every_renderer_is_built_before_memory_is_measured(tmp_path, monkeypatch):
    """A renderer takes a hundred megabytes, at the first image of its environment."""
    drawn, begun = set(), []
    reset, train = VectorEnv.reset, Trainer.run

    def spy(self, index, seed):
        drawn.add((id(self), index))
        return reset(self, index, seed)

    def start(self):
        begun.append(len(drawn))
        return train(self)

    monkeypatch.setattr(VectorEnv, "reset", spy)
    monkeypatch.setattr(Trainer, "run", start)
    agent = CQNConfig(hidden_dim=8, atoms=5, encoder=EncoderConfig(channels=2, feature_dim=4))
    many = {"env__num_envs": 2, "eval__num_envs": 3, "steps": 4, "control__executor": "open_loop"}
    run(tiny(tmp_path / "run", env__id="gym:toy-images", env__cameras=("front",), agent=agent, **many))
    assert begun == [5]


@pytest.mark.long
@pytest.mark.slow
def test_the_peak_is_this_process_s_own():
    """What started it was larger: some systems count that too."""
    large = np.ones(40_000_000)  # 320 MB
    code = "from zoomrl.training.measure.memory import peak_rss; print(peak_rss())"
    command = [sys.executable, "-c", f"import resource; {code}"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert large.all()
    assert int(child.stdout) < own
