"""TD7 against a straightforward update, its assessment of policies, and its promises."""

import copy
import dataclasses
import itertools
import math

import pytest
import torch
from rich.console import Console

import slow_td7
from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, STATE, in_double, make_batch
from envs_toy import ToyEnv
from slow_td7 import SlowTD7
from toy import assert_same_run, last_state, run, tiny
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.agents.engine import WARM_UP, Captured, accelerate
from zoomrl.agents.td7.config import TD7Config
from zoomrl.agents.td7.learner import TD7
from zoomrl.agents.td7.policy_checkpoint import PolicyCheckpoint
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.errors import ConfigError, NonFiniteLossError
from zoomrl.math.avg_l1 import avg_l1_norm
from zoomrl.math.lap import lap_loss, lap_priority
from zoomrl.nets.perception import ObservationShape
from zoomrl.training.collect.stepwise import StepwiseCollector
from zoomrl.training.config import TrainConfig
from zoomrl.training.run import train
from zoomrl.training.trainer import Trainer

TINY = {"hidden_dim": 5, "embedding_dim": 4, "lr": 1e-2, "target_interval": 3}
CASES = {
    "plain": TD7Config(**TINY),
    "normalised, cloning, noisy": TD7Config(**TINY, normalize="demos", bc_lambda=0.1, target_noise=0.9, noise_clip=0.3),
    "actor at every update, refresh at every one": TD7Config(**{**TINY, "target_interval": 1}, policy_delay=1),
    "actor at every third": TD7Config(**TINY, policy_delay=3, priority_power=1.0),
}


def make(config=CASES["plain"], seed=3):
    return TD7(config, ONLY_STATE, ACTIONS, seed, (torch.linspace(-1, 1, STATE), torch.linspace(0.005, 2, STATE)))


def batch_of(seed, size=6, reward=3.0):
    """Rewards large enough for errors on both sides of 1."""
    batch = make_batch(ONLY_STATE, 1, size=size, seed=seed)
    batch["reward"] = batch["reward"] * reward + torch.linspace(-1, 1, size)
    return batch


def flat(*modules):
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])


def slow_flat(*networks):
    return torch.cat([t.detach().flatten() for network in networks for pair in network for t in pair])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_updates_equal_the_slow_version(case):
    """Losses, priorities, bounds, and the weights of all networks after each of several updates."""
    config = CASES[case]
    fast = make(config)
    for part in fast.parts.values():
        if isinstance(part, torch.nn.Module):
            part.double()
    slow = SlowTD7(fast)
    moved = []
    for step in range(7):
        batch = in_double(batch_of(step, size=4))
        low, high = slow.low, slow.high
        encoder_loss, critic_loss, actor_loss, priorities = slow.update(batch)
        metrics = fast.update(batch)
        moved.append("actor_loss" in metrics)
        assert metrics["encoder_loss"].item() == pytest.approx(encoder_loss.item(), rel=1e-9)
        assert metrics["critic_loss"].item() == pytest.approx(critic_loss.item(), rel=1e-9)
        assert metrics["priority"].tolist() == pytest.approx(priorities, rel=1e-9)
        assert (metrics["target_min"].item(), metrics["target_max"].item()) == pytest.approx((low, high), rel=1e-6)
        assert ("actor_loss" in metrics) == (actor_loss is not None)
        if actor_loss is not None:
            assert metrics["actor_loss"].item() == pytest.approx(actor_loss.item(), rel=1e-8)
        for ours, theirs in (
            (flat(fast.encoder), slow_flat(slow.online)),
            (flat(fast.fixed_encoder), slow_flat(slow.fixed)),
            (flat(fast.fixed_target), slow_flat(slow.fixed_target)),
            (flat(fast.actor), slow_flat(slow.actor)),
            (flat(fast.target_actor), slow_flat(slow.actor_target)),
            (flat(fast.critic), slow_flat(*slow.critics)),
            (flat(fast.target_critic), slow_flat(*slow.critics_target)),
        ):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)
    assert sum(moved) == 7 // config.policy_delay
    assert min(priorities) >= 1
    assert slow.high > slow.low


# Formulas.


def test_avg_l1_norm():
    rows = torch.tensor([[1.0, -3.0], [0.0, 0.0], [1e-9, 1e-9]])
    torch.testing.assert_close(avg_l1_norm(rows), torch.tensor([[0.5, -1.5], [0.0, 0.0], [0.1, 0.1]]))
    many = torch.randn(20, 7) * torch.logspace(-3, 3, 20)[:, None]
    torch.testing.assert_close(avg_l1_norm(many).abs().mean(-1), torch.ones(20))
    torch.testing.assert_close(slow_td7.average_norm(many[3]), avg_l1_norm(many[3]))


def test_lap_loss_and_priority():
    errors = torch.tensor([[0.0, 0.5, -0.999, 1.0, -3.0], [0.1, -0.2, 16.0, 0.3, 2.0]], requires_grad=True)
    loss = lap_loss(errors)
    wanted = [[0.0, 0.125, 0.4990005, 1.0, 3.0], [0.005, 0.02, 16.0, 0.045, 2.0]]
    torch.testing.assert_close(loss, torch.tensor(wanted))
    loss.sum().backward()
    slopes = [[0.0, 0.5, -0.999, 1.0, -1.0], [0.1, -0.2, 1.0, 0.3, 1.0]]
    torch.testing.assert_close(errors.grad, torch.tensor(slopes))
    priority = lap_priority(errors.detach(), 0.25)
    torch.testing.assert_close(priority, torch.tensor([1.0, 1.0, 2.0, 1.0, 3**0.25]))


# Where gradients go, and what targets see.


def test_each_loss_reaches_its_own_networks():
    agent, batch = make(), batch_of(0)
    parts = {name: part for name, part in agent.parts.items() if isinstance(part, torch.nn.Module)}

    def reached():
        found = {name for name, part in parts.items() if any(p.grad is not None for p in part.parameters())}
        for part in parts.values():
            part.zero_grad(set_to_none=True)
        return found

    agent.encoder_loss(batch).backward()
    assert all(p.grad.norm() > 0 for p in agent.encoder.parameters())
    assert reached() == {"encoder"}
    agent.critic_loss(batch, agent.sample_noise(len(batch))["target_noise"])[0].backward()
    assert reached() == {"critic"}
    agent.critic.requires_grad_(False)
    agent.actor_loss(batch)[0].backward()
    assert all(p.grad.norm() > 0 for p in agent.actor.parameters())
    assert reached() == {"actor"}


def test_the_actor_climbs_through_the_embedding_too():
    """With critics that are blind to the action itself, the value still depends on it."""
    agent, batch = make(), batch_of(0)
    with torch.no_grad():
        for network in agent.critic.networks:
            network.first.weight[:, -ACTIONS:] = 0
    agent.actor_loss(batch)[0].backward()
    assert flat(agent.actor).norm() > 0
    assert all(p.grad.norm() > 0 for p in agent.actor.parameters())


def test_before_the_first_refresh_only_the_reward_is_learnt():
    agent = make(TD7Config(**{**TINY, "target_interval": 4}))
    for step in range(4):
        batch = batch_of(step)
        _, target, _ = agent.critic_loss(batch, torch.zeros(len(batch), ACTIONS))
        assert torch.equal(target, batch["reward"])
        agent.update(batch)
    low, high = agent.bounds.low.item(), agent.bounds.high.item()
    rewards = torch.cat([batch_of(step)["reward"] for step in range(4)])
    assert (low, high) == (rewards.min().item(), rewards.max().item())
    assert low < 0 < high
    batch = batch_of(9)
    _, target, _ = agent.critic_loss(batch, torch.zeros(len(batch), ACTIONS))
    assert not torch.equal(target, batch["reward"])
    ended = batch["discount"] == 0
    assert torch.equal(target[ended], batch["reward"][ended])


def test_bounds_only_widen_and_clamp():
    agent = make(TD7Config(**{**TINY, "target_interval": 2}))
    spans = []
    for step in range(12):
        agent.update(batch_of(step, reward=5.0 / (step + 1)))
        spans.append((agent.bounds.low.item(), agent.bounds.high.item()))
    assert all(b[0] <= a[0] and b[1] >= a[1] for a, b in itertools.pairwise(spans[1:]))
    with torch.no_grad():
        for network in agent.target_critic.networks:
            network.body[-1].bias += 1e3
    batch = batch_of(5)
    _, target, _ = agent.critic_loss(batch, torch.zeros(len(batch), ACTIONS))
    torch.testing.assert_close(target, batch["reward"] + batch["discount"] * spans[-1][1])


def test_copies_are_made_in_order():
    agent = make(TD7Config(**{**TINY, "target_interval": 2}))
    agent.update(batch_of(0))
    before = {name: flat(getattr(agent, name)) for name in ("fixed_encoder", "fixed_target")}
    assert not torch.equal(flat(agent.encoder), before["fixed_encoder"])
    agent.update(batch_of(1))
    assert torch.equal(flat(agent.fixed_target), before["fixed_encoder"])
    assert torch.equal(flat(agent.fixed_encoder), flat(agent.encoder))
    for target, source in ((agent.target_actor, agent.actor), (agent.target_critic, agent.critic)):
        assert torch.equal(flat(target), flat(source))
    agent.update(batch_of(2))
    agent.update(batch_of(3))
    assert not torch.equal(flat(agent.fixed_target), flat(agent.fixed_encoder))


def test_the_published_sizes():
    """Specification: 256 everywhere; cheetah-run has 17 numbers and 6 actions."""
    agent = TD7(TD7Config(), ObservationShape(17), 6)
    count = {name: sum(p.numel() for p in getattr(agent, name).parameters()) for name in ("encoder", "critic", "actor")}
    square = 256 * 256 + 256
    encoder = (17 + 1) * 256 + 2 * square + (256 + 6 + 1) * 256 + 2 * square
    critic = (17 + 6 + 1) * 256 + (3 * 256 + 1) * 256 + square + 257
    actor = (17 + 1) * 256 + (2 * 256 + 1) * 256 + square + 257 * 6
    assert count == {"encoder": encoder, "critic": 2 * critic, "actor": actor}


@pytest.mark.parametrize("shape", [BOTH, ONLY_PIXELS])
def test_images_are_refused(shape):
    with pytest.raises(ConfigError, match="td7 learns from the state vector"):
        TD7(TD7Config(**TINY), shape, ACTIONS)


# Policies that are kept.


def judged(assessment, *returns, updates=1):
    return [assessment.record(value, updates) for value in returns]


def test_one_episode_judges_at_first():
    assessment = PolicyCheckpoint(TD7Config())
    assert not assessment.saved
    assert judged(assessment, 5.0, 4.0, 5.0, 7.0, 6.9) == ["save", "reject", "save", "save", "reject"]
    assert assessment.best == 7.0


def test_the_worst_of_several_episodes_counts():
    assessment = PolicyCheckpoint(TD7Config(first_episodes=3))
    assert judged(assessment, 5.0, 3.0, 9.0) == ["continue", "continue", "save"]
    assert assessment.best == 3.0
    assert judged(assessment, 4.0, 2.9) == ["continue", "reject"]
    assert judged(assessment, 3.0, 8.0, 3.5) == ["continue", "continue", "save"]
    assert assessment.best == 3.0


def test_later_more_episodes_judge_and_the_bar_is_lowered_once():
    config = TD7Config(checkpoint_after=100, later_episodes=2, reset_weight=0.9)
    assessment = PolicyCheckpoint(config)
    judged(assessment, 10.0, updates=99)
    assert judged(assessment, 9.5, updates=99) == ["reject"]
    assert judged(assessment, 9.1, updates=100) == ["continue"]
    assert assessment.best == pytest.approx(9.0)
    assert judged(assessment, 9.2, 9.5, updates=200) == ["save", "continue"]
    assert assessment.best == pytest.approx(9.1)
    # A negative return is lowered too.
    assessment = PolicyCheckpoint(config)
    judged(assessment, -10.0, updates=99)
    judged(assessment, -10.5, updates=100)
    assert assessment.best == pytest.approx(-11.0)
    # Nothing was kept yet: nothing to lower.
    assessment = PolicyCheckpoint(dataclasses.replace(config, reset_weight=1.0))
    assert judged(assessment, 1.0, 2.0, updates=100) == ["continue", "save"]


def test_evaluation_takes_the_policy_kept_and_training_the_current_one():
    agent = make(TD7Config(**TINY, first_episodes=2))
    observation = {"state": torch.randn(5, STATE)}

    def acted(explore):
        return agent.act(observation, torch.Generator(), explore=explore).actions

    for step in range(4):
        agent.update(batch_of(step))
    assert not agent.policy_checkpoint.saved
    assert torch.equal(acted(True), acted(False))
    assert not agent.episode_ended(5.0)
    assert agent.episode_ended(6.0)
    kept = acted(True)
    assert torch.equal(acted(False), kept)
    for step in range(4, 8):
        agent.update(batch_of(step))
    assert torch.equal(acted(False), kept)
    assert not torch.equal(acted(True), kept)
    # A worse policy is given up at once, and the one kept stays.
    assert agent.episode_ended(4.9)
    assert torch.equal(acted(False), kept)
    assert not agent.episode_ended(5.0)
    assert agent.episode_ended(5.5)
    assert torch.equal(acted(False), acted(True))
    assert not torch.equal(acted(False), kept)


def test_a_policy_that_has_learnt_nothing_is_judged_too():
    agent = make()
    assert agent.episode_ended(7.0)
    assert (agent.policy_checkpoint.saved, agent.policy_checkpoint.best) == (True, 7.0)
    agent.update(batch_of(0))
    assert agent.episode_ended(6.9)
    assert agent.policy_checkpoint.best == 7.0, "a worse one must not set the bar"


def test_without_checkpoints_the_newest_policy_is_evaluated():
    agent = make(TD7Config(**TINY, checkpoints=False))
    with pytest.raises(ConfigError, match=r"first_episodes=2 has no effect without agent\.checkpoints"):
        TD7Config(checkpoints=False, first_episodes=2)
    with pytest.raises(ConfigError, match=r"reset_weight must be at most 1"):
        TD7Config(reset_weight=5)
    agent.update(batch_of(0))
    assert agent.episode_ended(5.0)
    assert agent.episode_ended(1.0)
    agent.update(batch_of(1))
    observation = {"state": torch.randn(5, STATE)}
    plans = [agent.act(observation, torch.Generator(), explore=explore).actions for explore in (True, False)]
    assert torch.equal(*plans)


def test_the_value_is_the_smaller_critics():
    agent = make()
    for step in range(3):
        agent.update(batch_of(step))
    state = torch.randn(4, STATE)
    chunk = agent.act({"state": state}, torch.Generator())
    zs = agent.fixed_encoder(state)
    actions = agent.actor(state, zs)
    values = agent.critic(state, actions, agent.fixed_encoder.predict(zs, actions), zs)
    torch.testing.assert_close(chunk.actions[:, 0], actions)
    torch.testing.assert_close(chunk.value, values.amin(0))


# Saving, seeds, fast ways.


@pytest.mark.parametrize("case", CASES)
def test_state_dict_continues_bit_for_bit(case):
    one = make(dataclasses.replace(CASES[case], first_episodes=2), seed=0)
    for step in range(4):
        one.update(batch_of(step))
        one.episode_ended(float(-step))
    two = TD7(one.config, ONLY_STATE, ACTIONS, 9, (torch.zeros(STATE), torch.ones(STATE)))
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for step in range(4, 10):
        a, b = (agent.update(batch_of(step)) for agent in (one, two))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
        assert one.episode_ended(float(step % 3)) == two.episode_ended(float(step % 3))
        observation = {"state": torch.randn(5, STATE)}
        for explore in (True, False):
            plans = [agent.act(observation, torch.Generator(), explore=explore).actions for agent in (one, two)]
            assert torch.equal(*plans)
    assert one.policy_checkpoint.state_dict() == two.policy_checkpoint.state_dict()


def test_a_fresh_state_is_finite():
    """A state with infinity would be taken for one that diverged."""
    assert all(torch.isfinite(b).all() for b in make().bounds.buffers())


def test_the_seed_decides_the_weights():
    one, two, other = (flat(a.actor, a.critic, a.encoder) for a in (make(seed=1), make(seed=1), make(seed=2)))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_captured_updates_equal_eager_ones():
    """The actor's turn, refreshes and clamps all survive being replayed: nothing is decided by a value read back."""
    fast, plain = make(), make()
    captures = []

    class Capturer:
        def warm_up(self, work):
            return work()

        def capture(self, work):
            captures.append(work)
            results = {}

            def replay():
                for name, value in work().items():
                    results.setdefault(name, torch.zeros_like(value)).copy_(value)

            return replay, results

    fast.run_step, fast.run_propose = (
        Captured(fast.step, Capturer(), lambda: fast.phase),
        Captured(fast.propose, Capturer(), lambda: fast.acting_phase),
    )
    observation = {"state": torch.randn(2, STATE)}
    for step in range(6 * WARM_UP):
        a, b = (agent.update(batch_of(step)) for agent in (fast, plain))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
        for agent in (fast, plain):
            agent.episode_ended(float(step % 4))
        for explore in (True, False):
            plans = [agent.act(observation, torch.Generator(), explore=explore).actions for agent in (fast, plain)]
            assert torch.equal(*plans)
    # With and without the actor's turn, and acting with the current policy and with the saved one.
    assert len(captures) == 4


def test_low_precision_stays_near():
    low, plain = make(), make()
    accelerate(low, "eager", "bf16")
    a, b = (agent.update(batch_of(0, size=64)) for agent in (low, plain))
    assert a["critic_loss"].item() == pytest.approx(b["critic_loss"].item(), rel=2e-2)
    assert a["critic_loss"] != b["critic_loss"]


# In a run.


def td7_run(directory, **changes):
    agent = TD7Config(
        hidden_dim=8,
        embedding_dim=6,
        lr=1e-3,
        target_interval=7,
        first_episodes=2,
        checkpoint_after=20,
        later_episodes=3,
    )
    changes = {
        "agent": agent,
        "replay__sampling": "priority",
        "replay__demo_fraction": 0.0,
        "control": ControlConfig(executor="open_loop", noise="0.3", uniform_steps=10),
        "update_at": "episode",
        "updates_per_step": 1.0,
        **changes,
    }
    return tiny(directory, **changes)


class CrashError(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="episode"),
        pytest.param({"update_at": "step", "env__num_envs": 2}, id="step", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_crashed_run_ends_like_one_left_alone(changes, tmp_path, monkeypatch):
    """Checkpoints taken inside episodes and bursts, with a wrapped ring and priorities."""
    step = Trainer._step

    def crash_at(limit):
        def patched(self):
            if self.env_steps >= limit:
                raise CrashError
            step(self)

        monkeypatch.setattr(Trainer, "_step", patched)

    config = td7_run(tmp_path / "crashed", **changes)
    for limit in (24, 44):
        crash_at(limit)
        with pytest.raises(CrashError):
            run(config)
    monkeypatch.setattr(Trainer, "_step", step)
    assert run(config)[0].finished
    assert run(dataclasses.replace(config, run_dir=str(tmp_path / "straight")))[0].finished
    assert_same_run(tmp_path / "straight", tmp_path / "crashed")
    state = last_state(tmp_path / "straight")
    assert state["replay"]["oldest"] > 0, "nothing was evicted"
    assert len(state["sampler"]["priorities"].unique()) > 3, "priorities did not move"


@pytest.mark.long
def test_a_run_gives_priorities_back_and_waits_for_episodes(tmp_path, monkeypatch):
    given, ended = [], []
    update, judge = Trainer._update, TD7.episode_ended

    def patched(self):
        before = self.replay.sampler.state_dict()["priorities"]
        metrics = update(self)
        after = self.replay.sampler.state_dict()["priorities"]
        given.append((self.env_steps, self.updates, int((after > 0).sum()), int((before > 0).sum())))
        assert "priority" not in metrics
        assert "priority_mean" in metrics
        return metrics

    monkeypatch.setattr(Trainer, "_update", patched)
    monkeypatch.setattr(TD7, "episode_ended", lambda self, r: ended.append((r, judge(self, r))) or ended[-1][1])
    assert run(td7_run(tmp_path / "run"))[0].finished
    assert given
    assert all(after == before > 0 for _, _, after, before in given)
    # Several episodes are waited for, then all updates of their steps are made at once.
    verdicts = [may for _, may in ended]
    assert False in verdicts
    moments = sorted({steps for steps, *_ in given})
    assert len(moments) < len(ended)


class EndlessToy(ToyEnv):
    """Ends by the time limit alone."""

    def step(self, action):
        observation, reward, _, _, _ = super().step(action)
        return observation, reward, False, False, {"success": False}


@pytest.mark.long
def test_the_first_policy_is_judged_and_the_warm_up_is_not(tmp_path, monkeypatch):
    """As released: the first episode of the policy sets the bar, before any update."""
    seen, begun = [], []
    judge, begin = TD7.episode_ended, StepwiseCollector._begin_episode
    monkeypatch.setattr(TD7, "episode_ended", lambda self, r: seen.append(self.updates) or judge(self, r))
    monkeypatch.setattr(StepwiseCollector, "_begin_episode", lambda self, i: begun.append(steps[-1]) or begin(self, i))
    steps, act = [], StepwiseCollector.act
    monkeypatch.setattr(StepwiseCollector, "act", lambda self, step: steps.append(step) or act(self, step))
    agent = TD7Config(hidden_dim=8, embedding_dim=6, target_interval=7)
    control = ControlConfig(executor="open_loop", noise="0.3", uniform_steps=24)
    config = td7_run(tmp_path / "run", agent=agent, control=control, env__action_repeat=2, env__time_limit=6)
    config = dataclasses.replace(config, seed_steps=24, steps=60)
    assert train(config, make_env=EndlessToy, console=Console(quiet=True)).finished
    assert begun == [0, 12, 24, 36, 48]
    # Two random episodes, then three of policies: nothing learnt, and after each as many updates as it had decisions.
    assert seen == [0, 6, 12]
    assert last_state(tmp_path / "run")["agent"]["assessment"]["kept"]


@pytest.mark.long
def test_other_sampling_takes_no_notice_of_priorities(tmp_path):
    assert run(td7_run(tmp_path / "run", replay__sampling="transition", steps=30))[0].finished


def test_priorities_that_nobody_gives_are_refused_early():
    with pytest.raises(ConfigError, match=r'sampling="priority".*cqn gives none.*"transition"'):
        TrainConfig(agent=CQNConfig(), replay=ReplayConfig(sampling="priority"))


@pytest.mark.long
def test_diverged_priorities_end_the_run(tmp_path, monkeypatch):
    learn = TD7.learn

    def broken(self, batch, noise):
        metrics = learn(self, batch, noise)
        return {**metrics, "priority": metrics["priority"] * math.nan}

    monkeypatch.setattr(TD7, "learn", broken)
    with pytest.raises(NonFiniteLossError, match="priorities"):
        run(td7_run(tmp_path / "run"))


@pytest.mark.slow
def test_a_simple_task_is_learnt():
    """One step; the reward is highest where the action is minus the first two numbers of the state."""
    config = TD7Config(hidden_dim=32, embedding_dim=16, lr=3e-3, target_interval=50)
    agent = TD7(config, ONLY_STATE, 2, 0)
    generator = torch.Generator().manual_seed(0)

    def distance():
        state = torch.randn(256, STATE, generator=torch.Generator().manual_seed(1)) * 0.3
        actions = agent.act({"state": state}, torch.Generator()).actions[:, 0]
        return (actions + state[:, :2]).abs().mean().item()

    start = distance()
    for _ in range(400):
        batch = make_batch(ONLY_STATE, 1, size=64, actions=2, seed=int(torch.randint(10**6, (), generator=generator)))
        for name in ("obs", "next_obs"):
            batch[name, "state"] *= 0.3
        batch["reward"] = -(batch["actions"][:, 0] + batch["obs", "state"][:, :2]).square().sum(-1)
        batch["discount"] = torch.zeros(64)
        agent.update(batch)
    assert distance() < 0.4 * start
    assert distance() < 0.12
