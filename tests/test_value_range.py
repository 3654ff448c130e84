"""Values that the atoms cannot hold: counted, warned of, and a range proposed; no alarm where they fit."""

import dataclasses
import io
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from rich.console import Console

from batches import ACTIONS, ONLY_STATE, make_batch
from toy import demo_set, rows, run, tiny
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig, ProposalConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2PlusConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.cli.train import defaults
from zoomrl.control.scaling import make_scaler
from zoomrl.data.episode import Episode, discounted_returns
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.errors import ConfigError
from zoomrl.math.categorical import outside, support
from zoomrl.recipes.compose import preset
from zoomrl.recipes.presets import PRESETS
from zoomrl.recipes.support import value_range
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.announce import announce_demonstrated
from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.watch import Watch
from zoomrl.training.run import train
from zoomrl.training.value_range import check_returns, propose

SMALL = {"hidden_dim": 6, "trunk_dim": 0, "v_min": -1.0, "v_max": 1.0, "atoms": 5}
SCALAR_BY_DEFAULT = {**SMALL, "value": "categorical"}
AGENTS = {
    "cqn": CQNConfig(**SMALL, levels=2),
    "cqn, one critic": CQNConfig(**SMALL, levels=2, double_q=False),
    "cqn_as": CQNASConfig(**SMALL, levels=2, chunk_length=3),
    "drqv2_plus": DrQv2PlusConfig(**SMALL),
    "drqv2_as": DrQv2ASConfig(**SMALL, chunk_length=3),
    "taco": TACOConfig(**SCALAR_BY_DEFAULT, state_hidden=(6,), sequence=1),
    "tcrl": TCRLConfig(**{**SCALAR_BY_DEFAULT, "trunk_dim": 64}),
}


def made(config):
    return assemble(config, ONLY_STATE, ACTIONS, seed=1)


def batch_of(agent, reward, discount):
    batch = make_batch(ONLY_STATE, agent.chunk_length, size=len(reward), sequence_length=agent.sequence_length)
    batch["reward"], batch["discount"] = torch.tensor(reward), torch.tensor(discount)
    return batch


# ---- counted ---------------------------------------------------------------------------------------------


def test_values_at_the_edge_are_inside():
    atoms = support(0.0, 200.0, 51)
    low, high = outside(torch.tensor([-1.0, -1e-5, 0.0, 100.0, 200.0, 200.001, 200.1]), atoms)
    assert low.tolist() == [True] + [False] * 6
    assert high.tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("name", AGENTS)
def test_the_fractions_of_clipped_targets_are_metrics(name):
    agent = made(AGENTS[name])
    # Terminal states: the targets are the rewards. A padded step of a chunk counts no more than it learns.
    batch = batch_of(agent, [-3.0, -2.0, 0.5, 1.0, 1.5, 1.0, -1.0, 0.0], [0.0] * 8)
    valid = batch["valid"].float()
    metrics = agent.update(batch, 0.1)
    low = float(valid[:2].sum() / valid.sum())
    high = float(valid[4].sum() / valid.sum())
    assert float(metrics["target_clipped_low"]) == pytest.approx(low, abs=1e-6)
    assert float(metrics["target_clipped_high"]) == pytest.approx(high, abs=1e-6)
    assert (float(metrics["value_bound_low"]), float(metrics["value_bound_high"])) == (-3.0, 1.5)


@pytest.mark.parametrize("name", ["cqn", "cqn_as", "drqv2_plus"])
def test_bootstrapped_targets_count_with_what_they_bootstrap(name):
    agent = made(AGENTS[name])
    # No value passes the fixed point of the extreme window: 1 / (1 - 0.75) = 4.
    metrics = agent.update(batch_of(agent, [1.0] * 8, [0.75] * 8), 0.0)
    assert float(metrics["value_bound_high"]) == pytest.approx(4.0)
    for _ in range(3):
        metrics = agent.update(batch_of(agent, [5.0, -5.0] * 4, [0.75] * 8), 0.0)
    assert float(metrics["target_clipped_low"] + metrics["target_clipped_high"]) == pytest.approx(1.0)


def test_scalar_values_have_nothing_to_clip():
    agent = made(CQNConfig(**{**SMALL, "value": "scalar"}))
    assert not [name for name in agent.update(batch_of(agent, [9.0] * 8, [0.9] * 8)) if "clipped" in name]


# ---- warned of -------------------------------------------------------------------------------------------


def looked(config, *means):
    said = []
    watch = Watch(Facts(config), said.append)
    for row in means:
        watch.on_metrics(None, row)
    return said


def row(low=0.0, high=0.0, bounds=(-1630.0, -0.3)):
    names = ("target_clipped_low", "target_clipped_high", "value_bound_low", "value_bound_high")
    return dict(zip(names, (low, high, *bounds), strict=True))


def test_a_run_warns_once_with_the_range_that_rewards_allow(tmp_path):
    config = tiny(tmp_path, agent__v_min=0.0, agent__v_max=1.0)
    (text,) = looked(config, {"loss": 1.0}, row(0.004, 0.005), row(0.98, 0.01), row(1.0))
    assert "agent.v_min=0 and agent.v_max=1, and 98% of the targets lie below and 1% above it" in text
    assert "values from -1.63e+03 to 0: use --agent.v-min -1700 --agent.v-max 0" in text
    undiscounted = looked(tiny(tmp_path, replay__discount=1.0), row(1.0))
    assert "--agent.v-min" not in undiscounted[0]
    assert looked(tiny(tmp_path, agent=CQNConfig(value="scalar")), row(1.0)) == []


@pytest.mark.long
def test_a_run_says_it_within_its_first_rows(tmp_path):
    # The toy pays minus a distance: never within 5..6.
    config = tiny(tmp_path / "run", agent__v_max=6.0, agent__v_min=5.0, steps=30)
    _, said = run(config)
    assert said.count("agent.v_min=5") == 1
    assert "100% of the targets lie below and 0% above it" in said
    first = next(r for r in rows(tmp_path / "run") if r["kind"] == "train" and "loss" in r)
    assert first["target_clipped_low"] == 1
    assert first["target_clipped_high"] == 0
    _, said = run(tiny(tmp_path / "wide", agent__v_min=-80.0, agent__v_max=0.0, steps=30))
    assert "warning" not in said


# ---- before training -------------------------------------------------------------------------------------


def episode(rewards, is_demo=True):
    count = len(rewards)
    arrays = {"state": np.zeros((count + 1, 2), np.float32)}, np.zeros((count, 1), np.float32)
    return Episode(*arrays, np.array(rewards, np.float32), True, False, True, is_demo)


def test_returns_are_discounted_to_the_end():
    np.testing.assert_allclose(discounted_returns([1, 0, 2], 0.5), [1.5, 1, 2])
    np.testing.assert_allclose(discounted_returns([0, 0, 1], 0.9), [0.81, 0.9, 1])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.3, 1.0, (0, 1)), (0, 37.2, (0, 38)), (-1628, -0.3, (-1700, 0)), (-0.0123, 4, (-0.013, 4)), (0, 0, (0, 1))],
)
def test_round_numbers_are_proposed(low, high, expected):
    assert propose(low, high) == pytest.approx(expected)


def test_returns_of_demonstrations_are_compared_before_training(tmp_path):
    config = tiny(tmp_path, agent__v_min=0.0, agent__v_max=1.0, replay__discount=0.5)
    said = []
    failed = episode([-100.0], is_demo=False)
    check_returns(config, [episode([0, 0, 1]), episode([1]), failed], said.append)
    assert said == []
    check_returns(config, [episode([8, 0, 4]), episode([-2]), failed], said.append)
    assert "reach from -2 to 9, beyond agent.v_min=0 and agent.v_max=1" in said[0]
    assert "use --agent.v-min -2 --agent.v-max 9," in said[0]
    # Within half an atom of the outermost one.
    nearly = [episode([1.08]), episode([-0.08])]
    check_returns(config, nearly, said.append)
    assert len(said) == 1


def test_a_run_compares_its_demonstrations(tmp_path):
    config = tiny(tmp_path / "run", demo_set(tmp_path / "demos"), agent__v_min=0.0, agent__v_max=1.0, steps=0)
    _, said = run(dataclasses.replace(config, offline_updates=1))
    assert "discounted returns of the demonstrations reach from -" in said


# ---- no false alarm --------------------------------------------------------------------------------------


class Sparse(gymnasium.Env):
    """One success worth 1 ends the episode, as on Meta-World, BiGym and RLBench."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.clock += 1
        done = self.clock == 5
        return self.np_random.normal(size=2).astype(np.float32).clip(-1, 1), float(done), done, False, {"success": done}


class Dense(Sparse):
    """Reward 1 at every step, and no end but the time limit, as on DeepMind Control at its best."""

    def step(self, action):
        return np.ones(2, np.float32), 1.0, False, False, {}


@pytest.mark.parametrize(
    ("name", "make", "action_repeat"),
    [("quickstart", Sparse, 1), ("cqn-bigym", Sparse, 1), ("cqn-dmc-pixels", Dense, 2)],
)
@pytest.mark.long
def test_presets_do_not_warn_on_tasks_like_theirs(tmp_path, name, make, action_repeat):
    """The agents, atoms and returns of the presets, on environments that pay as their tasks do."""
    base = preset(name)
    small = {"hidden_dim": 8, "trunk_dim": 0, "normalize": "none", "lr": 1e-2, "target_tau": 0.5, "target_interval": 1}
    config = tiny(
        tmp_path / "run",
        agent=dataclasses.replace(base.agent, **small),
        env__time_limit=12,
        env__action_repeat=action_repeat,
        replay__n_step=base.replay.n_step,
        replay__tail=base.replay.tail,
        steps=90,
        log__every=20,
        eval__every=0,
    )
    said = Console(file=io.StringIO(), width=1000)
    assert train(config, make_env=make, console=said).finished
    assert "warning" not in said.file.getvalue()
    learnt = [json.loads(line) for line in (Path(tmp_path) / "run" / "metrics.jsonl").read_text().splitlines()]
    clipped = [r["target_clipped_low"] + r["target_clipped_high"] for r in learnt if "target_clipped_low" in r]
    assert clipped
    assert max(clipped) == 0


# ---- another agent ---------------------------------------------------------------------------------------


def switched(*words):
    return defaults(words).to_config().agent


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--preset", "drqv2-dmc", "--agent", "cqn"), (0, 200)),
        (("--preset", "drqv2-dmc", "--agent", "drqv2_plus"), (0, 200)),
        (("--preset", "td3-dmc", "--agent=cqn_as", "--env.action-repeat", "4"), (0, 400)),
        (("--preset", "drqv2-dmc", "--agent", "cqn", "--replay.discount=0.9"), (0, 20)),
        (("--preset", "drqv2-dmc", "--agent", "cqn", "--env", "metaworld:drawer-open"), (0, 1)),
        (("--preset", "bc-ogbench", "--agent", "cqn_as"), (0, 1)),
        (("--preset", "cqn-dmc", "--agent.value", "categorical"), (0, 100)),
        (("--preset", "drqv2-dmc", "--agent", "cqn", "--env.id", "bigym:flip_cup"), (-2, 2)),
        (("--preset", "bc-metaworld", "--agent", "cqn_as", "--env.reward", "dense"), (0, 1000)),
    ],
)
def test_atoms_follow_the_task_when_the_preset_has_none(words, expected):
    agent = defaults(words).agent
    assert agent.support is not None
    assert (agent.v_min, agent.v_max) == pytest.approx(expected)


def test_humanoidbench_pays_without_bound():
    assert switched("--preset", "sac-humanoid", "--agent", "cqn").value == "scalar"
    with pytest.raises(ConfigError, match=r"range of returns on humanoidbench:.*--agent\.v-min"):
        defaults(["--preset", "sac-humanoid", "--agent", "cqn", "--agent.value", "categorical"])


def test_an_option_written_with_underscores_decides_on_the_range_like_one_with_dashes():
    words = ["--preset", "drqv2-dmc", "--agent", "cqn"]
    ranges = []
    for option in ("--env.action-repeat", "--env.action_repeat", "--env.action_repeat="):
        given = [f"{option}8"] if option.endswith("=") else [option, "8"]
        agent = defaults([*words, *given]).agent
        ranges.append((agent.v_min, agent.v_max))
    assert ranges[0] == ranges[1] == ranges[2] != (lambda a: (a.v_min, a.v_max))(defaults(words).agent)
    defaults([*words, "--env", "gym:Pendulum-v1", "--agent.v_min", "0", "--agent.v_max=5"])
    longer = [defaults([*words, *more]).agent for more in (["--env.no_terminate_on_success"], [])]
    assert longer[0] == longer[1]


def test_an_unknown_task_must_be_given_a_range():
    words = ["--preset", "td3-dmc", "--agent", "cqn", "--env", "gym:Pendulum-v1"]
    with pytest.raises(ConfigError, match=r"range of returns on gym:Pendulum-v1 is not known.*--agent\.v-min"):
        defaults(words)
    with pytest.raises(ConfigError, match="not known"):
        defaults([*words, "--agent.v-min", "-2"])
    assert defaults([*words, "--agent.v-min", "-1700", "--agent.v-max=0"]).agent.support is not None
    assert defaults([*words, "--agent.value", "scalar"]).agent_name == "cqn"
    assert defaults([*words, "--help"]).agent_name == "cqn"


def test_atoms_of_a_preset_stay_with_its_task():
    assert (switched("--agent", "drqv2_plus").v_min, switched("--agent", "drqv2_plus").v_max) == (0.0, 1.0)
    for name in PRESETS:
        config = preset(name)
        if config.agent.support is not None and config.env.id:
            dense = config.env.id.startswith("dmc:")
            low, high = value_range(config.env, config.replay.discount) if dense else (0.0, 1.0)
            assert config.agent.v_min <= low < high <= config.agent.v_max, name


def test_values_that_are_too_coarse_are_refused_where_that_is_asked_for(tmp_path):
    demos = demo_set(tmp_path / "demos")
    options = {"agent__v_min": -9.0, "agent__v_max": 9.0, "replay__discount": 0.8, "steps": 0, "offline_updates": 1}
    with pytest.raises(ConfigError, match=r"agent\.coarse_values=refuse: where a demonstration begins .* not told"):
        run(tiny(tmp_path / "refused", demos, agent__coarse_values="refuse", **options))
    result, _ = run(tiny(tmp_path / "warned", demos, **options))
    assert result.finished
    shown = read_demos(demos)
    play = [dataclasses.replace(one, success=False) for one in shown.episodes]
    write_demos(tmp_path / "play", play, shown.spec)
    with pytest.raises(ConfigError, match="cannot be judged: no demonstration says what a success is worth"):
        run(tiny(tmp_path / "unknown", tmp_path / "play", agent__coarse_values="refuse", **options))
    fine = {**options, "agent__v_min": 0.0, "agent__v_max": 1.0, "agent__atoms": 51}
    result, _ = run(tiny(tmp_path / "fine", demos, agent__coarse_values="refuse", **fine))
    assert result.finished


def test_demonstrations_that_are_left_out_are_told(tmp_path):
    demos = demo_set(tmp_path / "demos")
    held = len(read_demos(demos).demos)
    for asked, told in ((1, f"1 of the {held} demonstrations are used (--demos.episodes 0 uses all)"), (0, None)):
        _, said = run(tiny(tmp_path / str(asked), demos, demos__episodes=asked, steps=4))
        assert (told in said) if told else ("demonstrations are used" not in said)


@pytest.mark.parametrize(("executor", "length", "told"), [("temporal_ensemble", 3, 1), ("open_loop", 3, 0)])
def test_proposals_that_the_ensemble_would_average_are_told(tmp_path, executor, length, told):
    demos = demo_set(tmp_path / "demos")
    config = tiny(
        tmp_path,
        demos,
        agent__proposals=ProposalConfig(count=3),
        agent__chunk_length=length,
        control__executor=executor,
    )
    said: list[str] = []
    found = read_demos(demos)
    scaler = make_scaler(config.control, found.spec.action, [])
    announce_demonstrated(config, found.spec, found.episodes, scaler, said.append)
    assert sum("chunks that are proposed anew at every step are averaged" in line for line in said) == told


def test_a_fraction_of_successes_that_never_come_is_told(tmp_path):
    config = tiny(tmp_path, steps=0, agent__normalize="none", replay__success_fraction=0.25)
    action = ArraySpec((1,), low=(-1.0,), high=(1.0,))
    silent, telling = (
        EnvSpec("gym:x", {"state": ArraySpec((1,))}, action, 10.0, 9, reports_success=tells) for tells in (False, True)
    )
    scaler = make_scaler(config.control, silent.action, [])
    won = Episode(
        {"state": np.zeros((2, 1), np.float32)}, np.zeros((1, 1), np.float32), np.ones(1, np.float32), True, False, True
    )
    steps = dataclasses.replace(config, steps=9)
    warned = []
    for chosen, spec, episodes in ((steps, silent, []), (steps, silent, [won]), (steps, telling, [])):
        said: list[str] = []
        announce_demonstrated(chosen, spec, episodes, scaler, said.append)
        warned.append(any("replay.success_fraction=0.25 finds nothing to sample: gym:x" in line for line in said))
    assert warned == [True, False, False]
    announce_demonstrated(config, telling, [], scaler, said.append)
    assert "success_fraction=0.25 finds nothing to sample: no episode is made, and no" in said[-1]
    said.clear()
    announce_demonstrated(config, telling, [won], scaler, said.append)
    assert not any("success_fraction" in line for line in said)


def test_proposals_of_a_policy_that_never_learns_are_told(tmp_path):
    proposals = ProposalConfig(count=4, greedy=False)
    config = tiny(tmp_path, agent__normalize="none", agent__proposals=proposals, replay__relabel_successes=True)
    action = ArraySpec((1,), low=(-1.0,), high=(1.0,))
    scaler = make_scaler(config.control, action, [])
    for tells, told in ((False, True), (True, False)):
        said: list[str] = []
        spec = EnvSpec("gym:x", {"state": ArraySpec((1,))}, action, 10.0, 9, reports_success=tells)
        announce_demonstrated(config, spec, [], scaler, said.append)
        assert any("agent.proposals.count=4: the policy that proposes imitates" in line for line in said) == told
