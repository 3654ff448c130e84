"""The straightforward loop of the benchmarks learns what ours learns: equal losses, equal steps, equal windows."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from peers.loader import Samples, make_loader, write_episode
from peers.update import Peer, random_shift
from zoomrl.agents.cqn.config import CQNASConfig
from zoomrl.agents.cqn.learner import CQN
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.nets.augment import shift
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.perception import ObservationShape
from zoomrl.spec import ArraySpec, EnvSpec

SHAPE, ACTIONS = ObservationShape(8, views=2, frames=2, size=32), 3
TINY = {"chunk_length": 3, "hidden_dim": 12, "atoms": 11, "lr": 1e-2}
CASES = {
    "small": CQNASConfig(**TINY, trunk_dim=0, dueling="shared", encoder=EncoderConfig(channels=4, shift=3)),
    "as published": CQNASConfig(**TINY, trunk_dim=5, encoder=EncoderConfig(channels=4, layers=2)),
}


def make_batch(size=10):
    g = torch.Generator().manual_seed(0)

    def observation():
        rgb = torch.randint(256, (size, 2, 2, 32, 32, 3), generator=g, dtype=torch.uint8)
        return {"state": torch.randn(size, 8, generator=g), "rgb": rgb}

    valid = torch.rand(size, 3, generator=g) < 0.7
    valid[:, 0] = True
    batch = {
        "obs": observation(),
        "next_obs": observation(),
        "actions": torch.rand(size, 3, ACTIONS, generator=g) * 2 - 1,
        "valid": valid,
        "reward": (torch.rand(size, generator=g) < 0.3).float(),
        "discount": torch.where(torch.rand(size, generator=g) < 0.3, 0.0, 0.97),
        "is_demo": torch.rand(size, generator=g) < 0.5,
    }
    return TensorDict(batch, [size])


def for_peer(batch):
    """The same batch as the straightforward loop's loader would make it."""

    def nchw(rgb):
        return rgb.permute(0, 2, 1, 5, 3, 4).flatten(2, 3).float()

    obs, next_obs = batch["obs"], batch["next_obs"]
    images = {"rgb": nchw(obs["rgb"]), "next_rgb": nchw(next_obs["rgb"])}
    rest = {name: batch[name].float() for name in ("actions", "valid", "reward", "discount", "is_demo")}
    return {**images, **rest, "state": obs["state"], "next_state": next_obs["state"]}


@pytest.mark.parametrize("normalize", ["none", "demos"])
@pytest.mark.parametrize("name", CASES)
def test_peer_and_agent_take_the_same_steps(name, normalize):
    config = dataclasses.replace(CASES[name], normalize=normalize)
    statistics = (torch.linspace(-1, 1, 8), torch.linspace(0.5, 2, 8))
    agent = CQN(config, SHAPE, ACTIONS, statistics=statistics)
    for critic in (agent.critic, agent.target_critic):
        for head in (critic.advantage, critic.value):
            torch.nn.init.normal_(head.weight, std=0.5)
    agent.target_critic.load_state_dict(agent.critic.state_dict())
    peer, batch = Peer(agent), make_batch()
    for _ in range(3):
        noise = agent.sample_noise(len(batch))
        theirs = peer.update(for_peer(batch), noise)
        ours = agent.run_step(batch, noise)
        for metric in ("loss", "critic_loss", "dominance_loss", "margin_loss"):
            assert theirs[metric] == pytest.approx(float(ours[metric]), rel=2e-3), metric


def test_sampling_grid_is_the_crop():
    batch = make_batch()
    offsets = torch.randint(9, (2, 10, 2), generator=torch.Generator().manual_seed(1))
    ours = shift(batch["obs", "rgb"], 4, offsets)
    theirs = random_shift(for_peer(batch)["rgb"], 4, offsets)
    torch.testing.assert_close(
        theirs, for_peer({**batch, "obs": {**batch["obs"], "rgb": ours}})["rgb"], atol=0.1, rtol=0
    )


def make_episode(terminated):
    steps, random = 7, np.random.default_rng(0)
    observations = {
        "state": random.normal(size=(steps + 1, 4)).astype(np.float32),
        "rgb": random.integers(0, 256, (steps + 1, 2, 8, 8, 3)).astype(np.uint8),
    }
    actions = random.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32)
    return Episode(observations, actions, np.arange(steps, dtype=np.float32), terminated, not terminated, terminated)


@pytest.mark.parametrize("terminated", [True, False])
def test_loader_draws_the_windows_of_the_replay(tmp_path, terminated):
    config = ReplayConfig(capacity=20, batch_size=64, n_step=3, frame_stack=2)
    episode = make_episode(terminated)
    arrays = {"state": ArraySpec((4,)), "rgb": ArraySpec((2, 8, 8, 3), "uint8")}
    spec = EnvSpec("test", arrays, ArraySpec((ACTIONS,), low=(-1.0,) * ACTIONS, high=(1.0,) * ACTIONS), 50, 100)
    replay = ReplayBuffer(config, spec, 3, [episode], lambda action: action)
    write_episode(tmp_path, 0, episode, is_demo=False)
    theirs = next(iter(make_loader(tmp_path, config, 3, 64, workers=1)))
    ours = for_peer(replay.sample())

    def windows(batch):
        """Every window once, by the state that it starts with."""
        rows = zip(*(batch[name] for name in sorted(batch)), strict=True)
        return {tuple(batch["state"][i].tolist()): row for i, row in enumerate(rows)}

    ours, theirs = windows(ours), windows(theirs)
    assert len(ours) == 7
    assert ours.keys() == theirs.keys()
    for start in ours:
        for a, b in zip(ours[start], theirs[start], strict=True):
            torch.testing.assert_close(a.float(), b.float())
    assert Samples(tmp_path, config, 3).episodes == {}
