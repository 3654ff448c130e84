"""What stands still: grippers keep their bounds, frozen actions are not learnt, constant states not magnified."""

import dataclasses

import numpy as np
import pytest
import torch

from batches import ACTIONS, ONLY_STATE, STATE, make_batch
from toy import demo_set, run, tiny
from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2PlusConfig
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import TD3Config
from zoomrl.agents.td7.config import TD7Config
from zoomrl.control.config import ControlConfig
from zoomrl.control.scaling import make_scaler
from zoomrl.data.episode import Episode
from zoomrl.demos.check.states import StateSpread, constant_entries, name_entries
from zoomrl.demos.check.survey import conclude, survey_set
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import write_json
from zoomrl.math import grid
from zoomrl.nets.normalize import CLIP, FLOOR, Normalizer
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.policy import load_policy
from zoomrl.training.run_files import POLICY, read_policy_file

FROZEN = 1
"""The dimension that cannot be moved."""
MOVABLE = torch.tensor([index != FROZEN for index in range(ACTIONS)])
CQNS = {
    "cqn": CQNConfig(hidden_dim=6, trunk_dim=0, levels=2, bins=4, atoms=5, v_min=0.0, v_max=1.0),
    "cqn, one critic": CQNConfig(hidden_dim=6, trunk_dim=0, levels=2, atoms=5, double_q=False),
    "cqn, scalar": CQNConfig(hidden_dim=6, trunk_dim=0, levels=2, value="scalar", dueling="none"),
    "cqn_as": CQNASConfig(hidden_dim=6, trunk_dim=0, levels=2, atoms=5, chunk_length=3),
}
ACTOR_CRITICS = {
    "drqv2_plus": DrQv2PlusConfig(hidden_dim=6, atoms=5),
    "drqv2_as": DrQv2ASConfig(hidden_dim=6, atoms=5, chunk_length=3),
    "taco": TACOConfig(hidden_dim=6, state_hidden=(6,), sequence=1, bc_lambda=1.0),
    "tcrl": TCRLConfig(hidden_dim=6),
    "td3": TD3Config(hidden=(6,), bc_lambda=1.0, policy_delay=1),
    "td7": TD7Config(hidden_dim=6, embedding_dim=4, bc_lambda=1.0, policy_delay=1),
    "sac": SACConfig(hidden=(6,)),
}
IMITATION = {
    "bc": BCConfig(hidden=(6,), chunk_length=3),
    "act": ACTConfig(dim=8, heads=2, feedforward=8, encoder_layers=1, style_dim=2, chunk_length=3),
}


def made(config, movable=MOVABLE):
    return assemble(config, ONLY_STATE, ACTIONS, seed=1, movable=movable)


def batch_of(agent, seed=0):
    """Stored actions are 0 in the frozen dimension."""
    batch = make_batch(ONLY_STATE, agent.chunk_length, seed=seed, sequence_length=agent.sequence_length)
    batch["actions"][..., FROZEN] = 0
    return batch


# ---- grippers --------------------------------------------------------------------------------------------

RLBENCH = ArraySpec((3,), "float32", (-0.2, -0.2, 0.0), (0.2, 0.2, 1.0))
MEANING = ("delta", "delta", "gripper")


def opened(*joints):
    """A demonstration whose gripper is open all along."""
    actions = np.array([[*joint, 1.0] for joint in joints], np.float32)
    count = len(actions)
    return Episode(
        {"state": np.zeros((count + 1, 1), np.float32)}, actions, np.zeros(count, np.float32), True, False, True, True
    )


DEMOS = [opened((-0.1, 0.05), (0.05, 0.1))]


@pytest.mark.parametrize(("margin", "top"), [(0.0, 1.0), (0.2, 1.2)])
def test_grippers_keep_the_bounds_of_the_environment(margin, top):
    config = ControlConfig(action_range="demos", action_margin=margin)
    scaler = make_scaler(config, RLBENCH, DEMOS, MEANING)
    np.testing.assert_allclose([scaler.low[2], scaler.high[2]], [0, top], rtol=1e-6)
    np.testing.assert_allclose(scaler.high[:2], [0.05 + margin * 0.05, 0.1 + margin * 0.1], rtol=1e-6)
    # One that was always open can close, and what is executed stays within the bounds.
    np.testing.assert_allclose(scaler.to_env(np.array([0, 0, -1], np.float32))[2], 0)
    assert scaler.to_env(np.array([0, 0, 1], np.float32))[2] == 1
    assert scaler.movable.all()
    # Without knowing what it is, its range is that of the demonstrations.
    assert not make_scaler(ControlConfig(action_range="demos"), RLBENCH, DEMOS).movable[2]


def test_zeros_of_rlbench_are_the_published_command():
    """Published: normalised 0 is the middle of the joints' range and 0.6 of the gripper, open +0.667, closed -1."""
    scaler = make_scaler(ControlConfig(action_range="demos", action_margin=0.2), RLBENCH, DEMOS, MEANING)
    command = scaler.to_env(np.zeros(3, np.float32))
    np.testing.assert_allclose(command, [(-0.12 + 0.06) / 2, (0.04 + 0.12) / 2, 0.6], atol=1e-6)
    stored = scaler.to_unit(np.array([[0, 0, 1], [0, 0, 0]], np.float32))[:, 2]
    np.testing.assert_allclose(stored, [2 / 3, -1], atol=1e-6)


def test_demonstrations_that_never_move_leave_nothing_to_choose():
    still = [opened((0.0, 0.0), (0.0, 0.0))]
    with pytest.raises(ConfigError, match="nothing to choose"):
        make_scaler(ControlConfig(action_range="demos"), RLBENCH, still)
    scaler = make_scaler(ControlConfig(action_range="demos"), RLBENCH, still, MEANING)
    assert scaler.movable.tolist() == [False, False, True]
    assert (scaler.to_unit(np.full((2, 3), 0.1, np.float32))[:, :2] == 0).all()


# ---- frozen actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CQNS)
def test_a_frozen_dimension_is_no_part_of_the_loss(case):
    """The same loss and metrics, and the same gradients of the others, whatever the critic says of its bins."""
    agent = made(CQNS[case])
    batch, noise = batch_of(agent), None
    losses, gradients = [], []
    for size in (0.0, 3.0):
        for critic in (agent.critic, agent.target_critic):
            with torch.no_grad():
                rows = critic.advantage.bias.view(*critic.shape)
                rows[FROZEN] = size * torch.randn(rows[FROZEN].shape, generator=torch.Generator().manual_seed(1))
        noise = agent.sample_noise(len(batch)) if noise is None else noise
        loss, metrics = agent.loss(batch, noise)
        agent.critic.zero_grad()
        loss.backward()
        gradients.append(agent.critic.advantage.bias.grad.view(*agent.critic.shape).clone())
        losses.append({name: float(value) for name, value in {"loss": loss.detach(), **metrics}.items()})
    assert losses[0] == losses[1]
    assert (gradients[1][FROZEN] == 0).all()
    assert torch.equal(gradients[0], gradients[1])
    assert gradients[0].any()


@pytest.mark.parametrize("case", CQNS)
def test_a_frozen_dimension_is_chosen_where_it_is_stored(case):
    agent, config = made(CQNS[case]), CQNS[case]
    with torch.no_grad():
        for critic in (agent.critic, agent.target_critic):
            critic.advantage.bias.view(*critic.shape)[FROZEN, 0] += 5  # the lowest bin looks best
    chunk = agent.act({"state": torch.randn(4, STATE)}, torch.Generator().manual_seed(0))
    zero = grid.snap(torch.zeros(()), config.levels, config.bins)
    assert (chunk.actions[..., FROZEN] == zero).all()
    free = made(CQNS[case], None).act({"state": torch.randn(4, STATE)}, torch.Generator().manual_seed(0))
    assert (free.actions[..., FROZEN] != zero).any()


@pytest.mark.parametrize("case", {**CQNS, **ACTOR_CRITICS})
def test_a_mask_of_ones_changes_nothing(case):
    config = {**CQNS, **ACTOR_CRITICS}[case]
    plain, masked = made(config, None), made(config, torch.ones(ACTIONS, dtype=torch.bool))
    assert masked.movable is None
    for seed in range(2):
        first, second = (agent.update(batch_of(agent, seed), 0.1) for agent in (plain, masked))
        assert {n: v.tolist() for n, v in first.items()} == {n: v.tolist() for n, v in second.items()}


@pytest.mark.parametrize("case", ACTOR_CRITICS)
def test_critics_never_see_what_an_actor_says_of_a_frozen_dimension(case):
    """Actors that differ there alone have the same losses, plans and entropy; the plan is what is stored."""
    agents = [made(ACTOR_CRITICS[case]) for _ in range(2)]
    with torch.no_grad():
        for actor in (agents[1].actor, getattr(agents[1], "target_actor", None)):
            if actor is not None:
                last = [module for module in actor.modules() if isinstance(module, torch.nn.Linear)][-1]
                last.bias[FROZEN::ACTIONS] += 1.0  # of SAC its spread too
    observation = {"state": torch.randn(4, STATE)}
    plans = [agent.act(observation, torch.Generator().manual_seed(0), explore=True) for agent in agents]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert (plans[0].actions[..., FROZEN] == 0).all()
    assert torch.equal(plans[0].value, plans[1].value)
    for step in range(2):
        metrics = [agent.update(batch_of(agent, step), 0.1) for agent in agents]
        assert {n: v.tolist() for n, v in metrics[0].items()} == {n: v.tolist() for n, v in metrics[1].items()}
    if case == "sac":
        assert agents[0].target_entropy == -(ACTIONS - 1)


@pytest.mark.parametrize("case", IMITATION)
def test_a_frozen_dimension_is_no_part_of_the_error_of_imitation(case):
    """It neither divides the error of the others nor adds to it, and the chunk holds what is stored."""
    agents = [made(IMITATION[case]) for _ in range(2)]
    last = [[module for module in agent.modules() if isinstance(module, torch.nn.Linear)][-1] for agent in agents]
    with torch.no_grad():
        last[1].bias[FROZEN::ACTIONS] += 1.0
    observation = {"state": torch.randn(4, STATE)}
    plans = [agent.act(observation, torch.Generator().manual_seed(0)).actions for agent in agents]
    assert torch.equal(*plans)
    assert (plans[0][..., FROZEN] == 0).all()
    batch = batch_of(agents[0])
    found = [agent.validate(batch)["validation_loss"] for agent in agents]
    assert found[0] == found[1]
    free = assemble(IMITATION[case], ONLY_STATE, ACTIONS, seed=1)
    assert free.validate(batch)["validation_loss"] != found[0]
    for agent, layer in zip(agents, last, strict=True):
        agent.update(batch, 0.0)
        assert (layer.bias.grad[FROZEN::ACTIONS] == 0).all()
        assert layer.bias.grad.any()


def frozen_set(path):
    """Toy demonstrations whose second action is 0.5 throughout, and whose first state entry stands still."""
    demos = read_demos(demo_set(path / "moving"))
    episodes = []
    for episode in demos.episodes:
        actions, states = episode.actions.copy(), np.array(episode.observations["state"])
        actions[:, 1], states[:, 0] = 0.5, 3.0
        episodes.append(dataclasses.replace(episode, actions=actions, observations={"state": states}))
    write_demos(path / "frozen", episodes, demos.spec)
    return path / "frozen"


@pytest.mark.long
def test_a_run_names_what_stands_still_and_its_policy_knows(tmp_path):
    demos = frozen_set(tmp_path)
    config = tiny(tmp_path / "run", demos, control__action_range="demos", agent__normalize="demos", steps=20)
    _, said = run(config)
    assert "dimension 1 has one value in the demonstrations" in said
    assert "state: 1 of 3 entries have a constant value in the demonstrations" in said
    held = read_policy_file(tmp_path / "run")
    assert held.action_low[1] == held.action_high[1] == 0.5
    policy = load_policy(tmp_path / "run")
    actions = [policy.act(np.random.default_rng(i).normal(size=3).astype(np.float32)) for i in range(5)]
    assert {float(a[1]) for a in actions} == {0.5}
    assert policy.controller._agent.movable.tolist() == [True, False]


@pytest.mark.long
def test_a_run_of_another_action_range_is_not_continued(tmp_path):
    config = tiny(tmp_path / "run", demo_set(tmp_path / "demos"), control__action_range="demos", steps=10)
    run(config)
    held = read_policy_file(tmp_path / "run")
    other = dataclasses.replace(held, action_high=[high + 0.1 for high in held.action_high])
    write_json(tmp_path / "run" / POLICY, dataclasses.asdict(other))
    with pytest.raises(CheckpointError, match="another range of actions"):
        run(dataclasses.replace(config, steps=20))


# ---- constant states -------------------------------------------------------------------------------------


def test_a_constant_entry_is_not_magnified():
    mean, std = torch.tensor([0.3, 0.0, 500.0, 0.0, 1.0]), torch.tensor([0.0, 4e-4, 3e-4, 5e-3, 2.0])
    scaled = Normalizer(5, (mean, std))(mean + 0.2)
    assert scaled.tolist() == pytest.approx([0.2, 0.2, 0.2 / 500, min(0.2 / FLOOR, CLIP), 0.1], rel=1e-3)


def test_entries_that_move_are_scaled_as_ever():
    mean, std = torch.linspace(-3, 3, 9), torch.linspace(1e-3, 2, 9)
    x = torch.randn(20, 9, generator=torch.Generator().manual_seed(0)) * 5
    expected = ((x - mean) / std.clamp(min=0.01)).clamp(-10, 10)
    assert torch.equal(Normalizer(9, (mean, std))(x), expected)


def test_a_shift_of_a_constant_entry_hardly_moves_the_action():
    mean, std = torch.zeros(STATE), torch.ones(STATE)
    std[0] = 0.0
    config = DrQv2PlusConfig(hidden_dim=32, trunk_dim=16, normalize="demos", atoms=5)
    agent = assemble(config, ONLY_STATE, ACTIONS, 0, (mean, std))
    state = torch.randn(50, STATE, generator=torch.Generator().manual_seed(0))
    state[:, 0] = 0
    shifted = state.clone()
    shifted[:, 0] += 0.2
    first, second = (agent.act({"state": s}, torch.Generator()).actions for s in (state, shifted))
    assert (first - second).abs().max() < 0.2


def test_constant_entries_are_found_and_named():
    random = np.random.default_rng(0)
    states = [random.normal(size=(7, 6)).astype(np.float32) for _ in range(3)]
    for part in states:
        part[:, [1, 2, 3]], part[:, 5] = 1000.1, 1e-5 * part[:, 5]
    assert constant_entries(states) == (1, 2, 3, 5)
    states[2][:, 2] += 1
    assert constant_entries(states) == (1, 3, 5)
    assert constant_entries([]) == ()
    spec = EnvSpec("x", {"state": ArraySpec((6,))}, RLBENCH, 0, 5)
    assert name_entries((1, 2, 3, 5), spec) == "1-3, 5"
    spread = StateSpread()
    spread.add(states[0])
    assert spread.constant() == (1, 2, 3, 5)


def test_checking_a_set_names_its_constant_entries(tmp_path):
    report = conclude(survey_set(frozen_set(tmp_path)))
    (note,) = [f for f in report.findings if f.kind == "constant-state"]
    assert "1 of 3 state entries have a constant value in all demonstrations: 0" in note.message
    (action,) = [f for f in report.findings if f.kind == "constant-dimension"]
    assert action.dimension == 1
    assert "never moved" in action.remedy


# ---- as released -----------------------------------------------------------------------------------------
