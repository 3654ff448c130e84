"""A run says why it fails: each rule by its evidence, live and afterwards."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from toy import demo_set, run, tiny
from zoomrl.agents.cqn.config import ProposalConfig
from zoomrl.cli.main import main
from zoomrl.data.episode import Episode
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.diagnosis.causes.inputs import rows_of_padding
from zoomrl.training.diagnosis.facts import FEWEST, LATELY, RECENT, Facts, action_persistence, demo_facts, read_facts
from zoomrl.training.diagnosis.finding import Finding
from zoomrl.training.diagnosis.rules import RULES, diagnose, not_judged
from zoomrl.training.diagnosis.watch import Watch, warnings_of

HEALTHY: dict[str, Any] = {
    "updates": 2000,
    "critic_loss": 1.0,
    "sibling_spread": 0.4,
    "bin_gap": 0.1,
    "tied": 0.0,
    "demo_agreement": 0.9,
    "target_distance": 0.02,
    "demo_fraction": 0.5,
    "valid_fraction": 0.97,
    "demo_at_bound": 0.1,
    "demo_action_size": 0.4,
    "state_still": 0.1,
    "state_far": 0.0,
    "image_change": 0.1,
    "target_clipped_low": 0.0,
    "target_clipped_high": 0.0,
    "value_bound_low": 0.0,
    "value_bound_high": 1.0,
}
DEMOS = {
    "demonstrations": 20.0,
    "demonstrated_steps": 1000.0,
    "duplicates": 0.0,
    "length_90": 60.0,
    "first_value": 0.55,
    "lowest_value": 0.0,
    "highest_value": 1.0,
    "punished": 0.0,
    "small_actions": 0.0,
    "failed": 0.0,
    "unrewarded": 0.0,
    "rewarded": 20.0,
    "action_persistence": 0.9,
}
EVALUATED = {"episodes": 20, "value_predicted": 0.5, "value_auc": 0.8, "value_rank": 0.6, "returns": [0.0, 1.0]}
EPISODE = {"kind": "episode", "return": 1.0, "length": 40, "success": True, "terminated": True}


def facts(
    tmp_path, *train: dict[str, Any], demos=(), episodes=(), success=0.9, tested=(), tells=True, **changes: Any
) -> Facts:
    """A healthy run with rows of learning, of which the given ones differ in what they name."""
    options = {"agent__v_min": 0.0, "agent__v_max": 1.0, "agent__atoms": 21, "agent__normalize": "demos", **changes}
    action = ArraySpec((1,), low=(-1.0,), high=(1.0,))
    spec = EnvSpec("gym:toy", {"state": ArraySpec((2,))}, action, 10.0, 50, reports_success=tells)
    found = Facts(tiny(tmp_path, **options), {**DEMOS, **dict(demos)}, spec)
    for number, row in enumerate(train or ({}, {}, {})):
        moved = {"updates": 1000 * (number + 1), "target_norm": 9.0 + number}
        found.add({"kind": "train", **HEALTHY, **moved, **row})
    for updates in (1000, 2000):
        found.add({"kind": "eval", "updates": updates, **EVALUATED, "success_rate": success, **dict(tested)})
    found.add_all(episodes or [EPISODE] * 12)
    return found


def failed(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**EPISODE, "return": 0.0, "length": 50, "success": False, "terminated": False, **changes}] * count


BRIEF = [{**EPISODE, "length": 6}] * 12
SICK: dict[str, dict[str, Any]] = {
    "nothing-learnt": {"train": ({"target_distance": 0.0, "target_norm": 9.0},) * 3},
    "success-punished": {"demos": {"punished": 20.0, "lowest_value": -1.0}},
    "over-estimation": {"tested": {"value_predicted": 1.3}},
    "values-mis-ranked": {"tested": {"value_auc": 0.2, "value_rank": -0.3}, "success": 0.5},
    "imitated-in-vain": {"success": 0.0},
    "imitation-stops": {"agent__bc_schedule": "linear(1,0,40)", "agent__bc_floor": 0.0, "steps": 100},
    "critic-collapse": {"train": ({}, {"sibling_spread": 0.05})},
    "support-too-narrow": {"train": ({"target_clipped_high": 0.4},)},
    "values-too-coarse": {"demos": {"first_value": 0.14}},
    "no-reward": {"demos": {"rewarded": 0.0}, "episodes": failed(3)},
    "time-limit-as-end": {"episodes": failed(4, terminated=True)},
    "actions-mis-scaled": {"train": ({"demo_at_bound": 0.8},) * LATELY},
    "failures-imitated": {"demos": {"failed": 20.0}},
    "dead-camera": {"train": ({"image_change": 0.0},)},
    "constant-inputs": {"train": ({"state_still": 1.0},)},
    "normalizer-of-other-data": {"train": ({"state_far": 0.5},) * LATELY},
    "success-without-reward": {"episodes": [{**EPISODE, "return": 0.0}] * 4},
    "padding-trained": {"train": ({"valid_fraction": 1.0},) * FEWEST, "demos": {"length_90": 6.0}, "episodes": BRIEF},
    "few-demonstrations": {"demos": {"demonstrations": 3.0}, "train": ({"demo_agreement": 0.97},), "success": 0.1},
    "demonstrations-duplicated": {"demos": {"duplicates": 2.0}},
    "demonstrations-contradict": {"demos": {"action_persistence": 0.08}},
    "stale-weights": {"train": ({"target_distance": 0.8},), "agent__target_tau": 1e-6},
    "divergence": {"train": ({}, {"critic_loss": 2.0}, {"critic_loss": 9.0})},
    "choices-tied": {"train": ({"tied": 0.5},)},
    "exploration-too-loud": {"episodes": failed(20)},
}


@pytest.mark.parametrize(
    ("schedule", "floor", "told"),
    [
        ("step_linear(1,1,600,0,1)", 0.0, "to 0 at about update 602"),
        ("linear(1,0,1000)", 0.0, "to 0.002 at about update 998"),
        ("linear(1,0,1000)", 0.003, "to 0.003 at about update 998"),
        ("linear(1,0,1000)", 0.0125, None),
        ("linear(1,0,9000)", 0.0, None),  # beyond the end of the run
        ("step_linear(1,0,300,1,300)", 0.0, "to 0 at about update 300"),
    ],
)
def test_the_end_of_imitation_is_told_before_it_comes(tmp_path, schedule, floor, told):
    """By the config: once it has come, the policy is lost sooner than numbers of the run can say so."""
    options = {"agent__bc_schedule": schedule, "agent__bc_floor": floor, "steps": 4000, "updates_per_step": 0.5}
    found = facts(tmp_path, {"updates": 8}, **options)
    said = [one for one in diagnose(found) if one.cause == "imitation-stops"]
    assert len(said) == (told is not None)
    assert told is None or told in said[0].evidence


def test_a_healthy_run_has_no_finding(tmp_path):
    assert diagnose(facts(tmp_path)) == []


def test_every_rule_has_a_case_by_its_name_and_judges_it(tmp_path):
    assert set(SICK) == {rule.cause for rule in RULES}
    for rule in RULES:
        case = dict(SICK[rule.cause])
        found = facts(tmp_path, *case.pop("train", ()), **case)
        assert rule.judges(found), rule.cause
        finding = rule.look(found)
        assert finding is not None
        assert finding.cause == rule.cause


def test_what_cannot_be_judged_is_named(tmp_path):
    assert not_judged(Facts(tiny(tmp_path))) == [rule.cause for rule in RULES]
    unknown = not_judged(facts(tmp_path))
    assert unknown == ["actions-mis-scaled", "normalizer-of-other-data"], "three rows are not five"
    unpadded = not_judged(facts(tmp_path, *({"valid_fraction": 1.0},) * FEWEST))
    assert unpadded == ["padding-trained"], "none was seen, which is chance so far"
    early = Facts(tiny(tmp_path), dict(DEMOS))
    early.add({"kind": "train", **HEALTHY, "updates": 24})
    assert {"critic-collapse", "divergence", "few-demonstrations", "dead-camera"} < set(not_judged(early))
    assert "failures-imitated" not in not_judged(early)


def test_what_is_found_is_not_unknown_as_well(tmp_path):
    """Some causes are told by demonstrations alone, and it takes episodes to say that they are not there."""
    config = tiny(tmp_path, agent__v_min=0.0, agent__v_max=1.0, agent__atoms=21)
    early = Facts(config, {**DEMOS, "unrewarded": 2.0})
    assert [one.cause for one in diagnose(early)] == ["success-without-reward"]
    assert "success-without-reward" not in not_judged(early)
    assert "success-punished" in not_judged(early)


def test_an_evaluation_of_no_episode_is_none(tmp_path):
    found = Facts(tiny(tmp_path))
    found.add_all([{"kind": "final", "updates": 9, "episodes": 0}, {"kind": "eval", "updates": 9, "episodes": 5}])
    assert found.evaluations == 1


def test_without_demonstrations_values_may_come_close_to_one_another(tmp_path):
    """Seen on a run that had solved its task: nothing but the values keeps bins apart there."""
    lone = Facts(tiny(tmp_path))
    lone.add_all({"kind": "train", **HEALTHY, "updates": 800, "sibling_spread": spread} for spread in (0.73, 0.085))
    assert "critic-collapse" not in [one.cause for one in diagnose(lone)]
    assert "critic-collapse" in not_judged(lone)


def test_without_demonstrations_a_first_reward_may_take_its_time(tmp_path):
    lone = Facts(tiny(tmp_path))
    lone.add({"kind": "train", "updates": 1000})
    lone.add_all(failed(19))
    assert diagnose(lone) == []
    lone.add_all(failed(1))
    (found,) = diagnose(lone)
    assert found.evidence == "no demonstration and none of the newest 20 episodes holds a reward"


def test_a_critic_that_is_dead_is_told_by_one_row(tmp_path):
    """Offline, a run may have no more than that."""
    row = {"sibling_spread": 0.03, "demo_agreement": 0.34}
    (found,) = diagnose(facts(tmp_path, row, agent__bc_lambda=0.0))
    assert found.cause == "critic-collapse"


@pytest.mark.parametrize("cause", SICK)
def test_each_cause_is_told_by_its_evidence_and_no_other_is(tmp_path, cause):
    case = dict(SICK[cause])
    found = diagnose(facts(tmp_path, *case.pop("train", ()), **case))
    assert [one.cause for one in found] == [cause]
    assert found[0].evidence
    assert found[0].advice[0].isupper()


def test_a_critic_that_never_told_bins_apart_is_named(tmp_path):
    row = {"sibling_spread": 0.03, "demo_agreement": 0.3}
    (found, *_) = diagnose(facts(tmp_path, row, row, agent__bc_lambda=0.0))
    assert found.cause == "critic-collapse"
    assert found.evidence == "values of sibling bins lie 0.03 apart, and 30% of the demonstrated bins are the best"


def test_a_critic_that_learns_slowly_has_not_collapsed(tmp_path):
    slow = {"kind": "train", **HEALTHY, "sibling_spread": 0.0006, "demo_agreement": 0.34}
    for updates, causes in ((900, []), (1000, ["critic-collapse"])):
        found = Facts(tiny(tmp_path, agent__v_min=0.0, agent__v_max=1.0, agent__atoms=21), dict(DEMOS))
        found.add({**slow, "updates": updates})
        assert [one.cause for one in diagnose(found) if one.cause == "critic-collapse"] == causes


def test_a_policy_that_is_about_to_be_lost_is_told_before_its_values_lie_together(tmp_path):
    rows = ({}, {"demo_agreement": 0.78})
    (found,) = diagnose(facts(tmp_path, *rows, agent__bc_lambda=0.0))
    assert found.cause == "critic-collapse"
    assert found.evidence.endswith("78% of the demonstrated bins are the best, after 90% before")
    falling = {"agent__bc_schedule": "linear(1,0,1000)", "agent__bc_floor": 0.0}
    rows = ({"imitation_weight": 1.0}, {"imitation_weight": 0.0, "demo_agreement": 0.78})
    (found,) = diagnose(facts(tmp_path, *rows, **falling))
    assert found.advice.startswith("Raise --agent.bc-floor: the weight of imitation is 0 by now")
    rows = ({"imitation_weight": 1.0}, {"imitation_weight": 0.01, "demo_agreement": 0.78})
    assert diagnose(facts(tmp_path, *rows, **falling)) == []
    # The mean weight of a row is not 0 yet, but a fifth of what was known is lost.
    rows = ({"imitation_weight": 1.0}, {"imitation_weight": 0.14, "demo_agreement": 0.7})
    (found,) = diagnose(facts(tmp_path, *rows, **falling))
    assert found.evidence.endswith("70% of the demonstrated bins are the best, after 90% before")
    assert found.advice.startswith("Raise --agent.bc-floor: the weight of imitation is 0.14 by now")
    rows = ({"imitation_weight": 1.0}, {"imitation_weight": 0.6, "demo_agreement": 0.7})
    assert diagnose(facts(tmp_path, *rows, **falling)) == []


def test_bins_of_demonstrations_need_not_be_best_where_proposals_are_chosen(tmp_path):
    alone = {"agent__bc_lambda": 0.0, "agent__proposals": ProposalConfig(count=4, greedy=False)}
    assert diagnose(facts(tmp_path, {}, {"demo_agreement": 0.5}, **alone)) == []
    never = {"sibling_spread": 0.0007, "demo_agreement": 0.16}  # as seen on play of OGBench, of a critic that learnt
    assert diagnose(facts(tmp_path, never, never, **alone)) == []
    (found,) = diagnose(facts(tmp_path, {}, {"sibling_spread": 0.001}, **alone))
    assert found.cause == "critic-collapse"
    assert found.evidence.startswith("values of sibling bins lie 0.001 apart, after ")
    assert found.advice.startswith("Look at proposal_spread")
    falls = {
        "agent__bc_schedule": "linear(1,0,1000)",
        "agent__bc_floor": 0.0,
        "agent__proposals": alone["agent__proposals"],
    }
    (found,) = diagnose(
        facts(tmp_path, {"imitation_weight": 1.0}, {"imitation_weight": 0.0, "sibling_spread": 0.001}, **falls)
    )
    assert found.advice.startswith("Look at proposal_spread")


def test_a_critic_that_loses_what_it_imitates_is_told_with_all_the_weight_too(tmp_path):
    """In single rows of healthy runs a fifth was lost."""
    assert diagnose(facts(tmp_path, {}, {"demo_agreement": 0.9 * 0.72})) == []
    assert diagnose(facts(tmp_path, {}, {"demo_agreement": 0.9 * 0.68})) == [], "one row may be an accident"
    (found,) = diagnose(facts(tmp_path, {}, {"demo_agreement": 0.9 * 0.67}, {"demo_agreement": 0.9 * 0.68}))
    assert found.cause == "critic-collapse"
    assert found.advice.startswith("Look at demo_fraction")


def test_actions_whose_order_means_nothing_are_told_from_those_that_go_on(tmp_path):
    ramp = [np.linspace(-1, 1, 50, dtype=np.float32)[:, None] * [1, 0] for _ in range(3)]  # the second is still
    assert action_persistence(ramp) == pytest.approx(1 - (2 / 49) ** 2 / (2 * ramp[0][:, 0].var()))
    turning = [np.tile([[1.0], [-1.0]], (20, 1))]
    assert action_persistence(turning) == pytest.approx(-1)
    random = np.random.default_rng(0)
    assert abs(action_persistence([random.permutation(one) for one in ramp])) < 0.15
    for still in ([np.ones((5, 2))], [np.array([[0.1]]), np.array([[0.9]])]):
        assert action_persistence(still) == 1
    (found,) = diagnose(facts(tmp_path, demos={"action_persistence": 0.08}))
    assert found.cause == "demonstrations-contradict"
    assert diagnose(facts(tmp_path, demos={"action_persistence": 0.08, "demonstrated_steps": 60.0})) == []


def test_weights_that_outrun_a_target_that_follows_learn_too_fast(tmp_path):
    (found,) = diagnose(facts(tmp_path, {"target_distance": 0.5}, agent__target_tau=0.02, agent__target_interval=2))
    assert found.cause == "divergence"
    assert found.evidence == "the critic's weights change by 50% of their norm within about 100 updates"
    assert found.advice == "Lower --agent.lr"


def test_a_support_that_is_too_narrow_is_told_by_demonstrations_or_by_targets(tmp_path):
    """Where windows hold one reward, few targets are clipped: those without one are values of the support."""
    (found,) = diagnose(facts(tmp_path, {}, agent__v_max=0.3))
    assert found.cause == "support-too-narrow"
    assert "the demonstrations are worth 0 to 1: values beyond it cannot be learnt" in found.evidence
    assert found.advice.endswith("use --agent.v-min 0 --agent.v-max 1, or --agent.value scalar")
    costs = {"lowest_value": -30.0, "highest_value": 0.0, "first_value": 30.0}
    (found,) = diagnose(facts(tmp_path, {"value_bound_low": -41.0, "value_bound_high": -1.0}, demos=costs))
    assert found.advice.endswith("use --agent.v-min -30 --agent.v-max 0, or --agent.value scalar")
    known = Facts(tiny(tmp_path, agent__v_min=0.0, agent__v_max=1.0, agent__atoms=21))
    for highest in (4.0, 9.0, 7.0):
        known.add({"kind": "train", **HEALTHY, "target_clipped_high": 0.3, "value_bound_high": highest})
    (found,) = diagnose(known)
    assert "0% of the targets lie below and 30% above it" in found.evidence
    assert found.advice == (
        "Rewards so far allow values from 0 to 9: use --agent.v-min 0 --agent.v-max 9, or --agent.value scalar"
    )


def test_a_success_that_costs_is_told_from_steps_that_do(tmp_path):
    punished = {**EPISODE, "return": -1.0}
    (found,) = diagnose(facts(tmp_path, episodes=[punished] * 6 + failed(6)))
    assert found.cause == "success-punished"
    assert found.evidence == "successful episodes return -1 at most, and failed ones 0 at least"
    for episodes in (
        [punished] * 4 + failed(6),  # few
        [{**EPISODE, "return": -40.0}] * 6 + failed(6, **{"return": -50.0}),  # each step costs
        [{**EPISODE, "return": 20.0}] * 6 + failed(6, **{"return": 50.0}),  # an end cuts what is paid by the step
    ):
        assert diagnose(facts(tmp_path, episodes=episodes)) == []
    flipped = [episode(seed, reward=-1.0, steps=30) for seed in range(3)]
    by_step = dataclasses.replace(episode(5, steps=30), rewards=np.full(30, -1, np.float32))
    known = demo_facts([*flipped, by_step, episode(6)], 0.9, lambda actions: actions)
    assert known["punished"] == 3
    assert known["lowest_value"] == pytest.approx(-(1 - 0.9**30) / 0.1)
    assert known["highest_value"] == 1.0


def test_commands_that_are_small_in_most_dimensions_are_told(tmp_path):
    ramps = [dataclasses.replace(episode(0, steps=20), actions=np.linspace(-1, 1, 20, dtype=np.float32)[:, None])]
    small = demo_facts(ramps, 0.9, lambda actions: actions * np.float32(0.19))
    assert small["small_actions"] == 1.0
    assert demo_facts(ramps, 0.9, lambda actions: actions * np.float32(0.21))["small_actions"] == 0.0
    turning = [dataclasses.replace(ramps[0], actions=np.tile(np.float32([[0.1], [-0.1]]), (10, 1)))]
    assert demo_facts(turning, 0.9, lambda actions: actions)["small_actions"] == 1.0
    assert demo_facts(ramps, 0.9, np.zeros_like)["small_actions"] == 0.0, "no dimension moves"
    rows = ({"demo_action_size": 0.06},) * FEWEST
    (found,) = diagnose(facts(tmp_path, *rows, demos={"small_actions": 1.0}))
    assert found.evidence == (
        "demonstrated commands use 6.0% of the action range on average, and in 100% of its dimensions never 20%"
    )
    assert diagnose(facts(tmp_path, *rows, demos={"small_actions": 0.5})) == []


def test_a_target_that_is_never_updated_is_told_from_weights_that_run_away(tmp_path):
    rows = [{"target_distance": 0.2 * (at + 1), "target_norm": 9.0} for at in range(3)]
    (found,) = diagnose(facts(tmp_path, *rows, agent__target_tau=0.02))
    assert found.cause == "stale-weights"
    assert found.evidence.endswith("away from the one that learns, and has never moved")


def test_squared_errors_may_grow_with_the_values(tmp_path):
    growing = ({"critic_loss": 0.005}, {"critic_loss": 0.01}, {"critic_loss": 0.017, "q_target_max": 0.9})
    assert diagnose(facts(tmp_path, *growing, agent__value="scalar")) == []
    (found,) = diagnose(facts(tmp_path, *growing[:2], {"critic_loss": 5.0, "q_target_max": 0.9}, agent__value="scalar"))
    assert found.cause == "divergence"


def test_one_evaluation_may_find_values_upside_down_by_chance(tmp_path):
    upside_down = {"value_auc": 0.1, "value_rank": -0.4}
    found = facts(tmp_path, success=0.5)
    for at, values in enumerate((upside_down, {}, upside_down)):
        found.add({"kind": "eval", "updates": 3000 + at, **EVALUATED, "success_rate": 0.5, **values})
        assert diagnose(found) == []
    found.add({"kind": "final", "updates": 4000, **EVALUATED, "success_rate": 0.5, **upside_down})
    assert [one.cause for one in diagnose(found)] == ["values-mis-ranked"]


def test_play_need_not_be_foreseen(tmp_path):
    row = {"sibling_spread": 0.03, "demo_agreement": 0.2}
    play = {"demos": {"failed": 15.0}, "env__id": "ogbench:scene-task2"}
    assert diagnose(facts(tmp_path, row, row, **play)) == []
    (found,) = diagnose(facts(tmp_path, row, row))
    assert found.cause == "critic-collapse"


def test_what_is_not_finite_stands_for_nothing(tmp_path):
    broken = {"value_bound_high": np.inf, "target_clipped_high": 0.3, "critic_loss": np.nan}
    (found,) = diagnose(facts(tmp_path, {}, broken))
    assert found.cause == "support-too-narrow"


@pytest.mark.parametrize(
    ("cause", "case"),
    [
        ("critic-collapse", {"train": ({}, {"demo_agreement": 0.0, "demo_fraction": 0.0})}),  # of no sample
        ("over-estimation", {"tested": {"value_predicted": 1.05}}),
        ("over-estimation", {"tested": {"value_predicted": 9.0, "episodes": 5}}),
        ("over-estimation", {"tested": {"value_predicted": -1.0, "returns": [-9.0, -2.0]}}),  # costs, discounted
        ("values-mis-ranked", {"tested": {"value_auc": 0.1, "value_rank": -0.3, "episodes": 20}, "success": 0.9}),
        ("values-mis-ranked", {"tested": {"value_auc": 0.3, "value_rank": -0.3}, "success": 0.5}),
        ("imitated-in-vain", {"success": 0.0, "demos": {"demonstrations": 5.0}}),  # too few of them
        ("imitated-in-vain", {"success": 0.0, "train": ({"demo_agreement": 0.6},)}),
        ("imitated-in-vain", {"success": 0.2}),
        ("imitated-in-vain", {"success": 0.0, "tested": {"updates": 999}}),  # before anything was imitated
        ("nothing-learnt", {"train": ({"target_distance": 0.01, "target_norm": 9.0},) * 2}),
        ("critic-collapse", {"train": ({"sibling_spread": 0.01}, {"sibling_spread": 0.001})}),  # it never rose
        ("actions-mis-scaled", {"train": ({"demo_at_bound": 0.5},) + ({"demo_at_bound": 0.9},) * (FEWEST - 1)}),
        ("values-too-coarse", {"demos": {"first_value": 0.16}}),  # three of twenty intervals are 0.15
        ("values-too-coarse", {"demos": {"first_value": 0.14}, "agent__value": "scalar"}),
        ("values-too-coarse", {"demos": {"first_value": 0.14, "failed": 15.0}, "env__id": "ogbench:scene-task2"}),
        ("values-too-coarse", {"demos": {"first_value": 0.0, "rewarded": 0.0}}),  # another fault
        ("failures-imitated", {"demos": {"failed": 15.0}, "env__id": "ogbench:scene-task2"}),
        ("failures-imitated", {"demos": {"failed": 20.0}, "tells": False}),  # of no episode
        ("no-reward", {"demos": {"rewarded": 0.0}}),  # an episode has one
        ("no-reward", {"episodes": failed(30)}),  # the demonstrations have some
        ("time-limit-as-end", {"episodes": failed(12)}),
        ("normalizer-of-other-data", {"train": ({"state_far": 0.5},) * LATELY, "agent__normalize": "none"}),
        ("normalizer-of-other-data", {"train": ({"state_far": 0.5},) * (FEWEST - 1)}),
        (
            "normalizer-of-other-data",
            {"train": ({"state_far": 0.5},) * 5 + ({},) + ({"state_far": 0.5},) * (LATELY - 1)},
        ),
        ("success-without-reward", {"episodes": [{**EPISODE, "return": 0.0}] * 4, "env__reward": "dense"}),
        ("padding-trained", {**SICK["padding-trained"], "train": ({"valid_fraction": 1.0},) * (FEWEST - 1)}),
        ("padding-trained", {**SICK["padding-trained"], "replay__padding": "zeros"}),
        ("padding-trained", {**SICK["padding-trained"], "demos": {"length_90": 118.7}}),  # few of the samples hold some
        ("padding-trained", {**SICK["padding-trained"], "episodes": failed(3, length=200)}),
        ("few-demonstrations", {"demos": {"demonstrations": 3.0}, "train": ({"demo_agreement": 0.97},)}),
        ("demonstrations-contradict", {"train": ({"demo_agreement": 0.4},) * LATELY}),  # commands are noisy
        (
            "critic-collapse",  # it is on its way
            {"train": [{"sibling_spread": spread, "demo_agreement": 0.3} for spread in (0.001, 0.01)]},
        ),
        ("divergence", {"train": ({"critic_loss": -0.0},) * 3}),  # it has no weight
        ("choices-tied", {"train": ({"tied": 0.5},), "agent__proposals": ProposalConfig(count=4, greedy=False)}),
        ("exploration-too-loud", {"episodes": failed(11), "success": 0.2}),
    ],
)
def test_what_is_no_fault_is_not_told(tmp_path, cause, case):
    found = diagnose(facts(tmp_path, *case.pop("train", ()), **case))
    assert cause not in [one.cause for one in found]


@pytest.mark.parametrize(("chunk", "length", "batch"), [(4, 119.0, 64), (2, 500.0, 256), (16, 30.0, 8), (16, 8.0, 64)])
def test_padding_is_missed_by_chance_in_one_of_a_thousand_runs_at_most(tmp_path, chunk, length, batch):
    options = {"agent__chunk_length": chunk, "replay__batch_size": batch, "demos": {"length_90": length}}
    episodes = [{**EPISODE, "length": int(length)}]
    rows = rows_of_padding(facts(tmp_path, {"valid_fraction": 1.0}, episodes=episodes, **options))
    padded = min(1.0, (chunk - 1) / length)  # of the windows that begin at the steps of an episode
    assert (1 - padded) ** (rows * min(batch, 32)) < 1e-3
    assert rows == FEWEST or (1 - padded) ** ((rows - 1) * min(batch, 32)) > 1e-4, "no row more than that takes"


def test_warnings_are_dated_by_the_rows_that_gave_rise_to_them(tmp_path):
    known = Facts(tiny(tmp_path, agent__v_min=0.0, agent__v_max=1.0, agent__atoms=21), dict(DEMOS))
    bound = [{"kind": "train", **HEALTHY, "demo_at_bound": 0.9, "updates": 100 * (at + 1)} for at in range(LATELY)]
    rows = [*bound, {"kind": "train", **HEALTHY, "updates": 1000}, {**EPISODE, "updates": 1100}]
    rows[-2]["sibling_spread"] = 0.001
    assert warnings_of(known, rows) == {"actions-mis-scaled": 100 * FEWEST, "critic-collapse": 1000}
    assert [one.cause for one in diagnose(known)] == ["critic-collapse"]


def test_without_numbers_nothing_is_told(tmp_path):
    assert diagnose(Facts(tiny(tmp_path))) == []
    found = Facts(tiny(tmp_path))
    found.add_all([{"kind": "train", "updates": 5, "loss": 1.0}, {"kind": "eval"}, {"kind": "final"}])
    assert (found.updates, found.evaluations) == (5, 2)
    assert diagnose(found) == []


def test_each_cause_is_said_once(tmp_path):
    said: list[str] = []
    watch = Watch(facts(tmp_path), said.append)
    for _ in range(2):
        watch.on_metrics(None, {**HEALTHY, "sibling_spread": 0.01})  # type: ignore[arg-type]
    assert len(said) == 1
    assert said[0].startswith("warning: critic-collapse: values of sibling bins lie 0.01 apart, after 0.4 before. ")


def test_what_is_held_does_not_grow_with_the_run(tmp_path):
    found = facts(tmp_path)
    held = len(found.courses)
    for number in range(1000):
        found.add({"kind": "train", **HEALTHY, "critic_loss": 1.0 + number})
    assert len(found.courses) == held
    course = found.courses["critic_loss"]
    assert (course.first, course.lowest, course.newest, course.highest, course.count) == (1, 1, 1000, 1000, 1003)


def test_facts_hold_the_newest_episodes(tmp_path):
    found = facts(tmp_path, episodes=failed(RECENT + 10))
    assert len(found.episodes) == RECENT


def episode(seed, success=True, reward=1.0, is_demo=True, steps=4):
    random = np.random.default_rng(seed)
    rewards = np.zeros(steps, np.float32)
    rewards[-1] = reward
    arrays = {"state": np.zeros((steps + 1, 2), np.float32)}, random.normal(size=(steps, 1)).astype(np.float32)
    return Episode(*arrays, rewards, success, not success, success, is_demo)


def test_facts_of_demonstrations():
    def to_unit(actions):
        return actions * np.float32([0.5])

    assert demo_facts([], 0.5, to_unit) == demo_facts([episode(0, is_demo=False)], 0.5, to_unit) == {}
    episodes = [episode(0), episode(0), episode(1, success=False), episode(2, reward=0.0, steps=14)]
    assert demo_facts([*episodes, episode(9, is_demo=False)], 0.5, to_unit) == {
        "first_value": pytest.approx(0.2 * 0.125),  # of 0, 1/8 and 1/8: three steps before the reward
        "demonstrations": 4,
        "demonstrated_steps": 26,
        "duplicates": 1,
        "length_90": pytest.approx(11.0),
        "failed": 1,
        "unrewarded": 1,
        "punished": 0,
        "lowest_value": 0.0,
        "highest_value": 1.0,
        "small_actions": 0.0,
        "rewarded": 3,
        "action_persistence": pytest.approx(action_persistence([one.actions for one in episodes])),
    }


@pytest.mark.long
def test_the_command_tells_what_the_run_has_told(tmp_path, capsys):
    demos = demo_set(tmp_path / "demos")
    config = tiny(tmp_path / "run", demos, agent__v_max=6.0, agent__v_min=5.0, steps=30)
    _, said = run(config)
    told = "the support ends at agent.v_min=5 and agent.v_max=6, and the demonstrations are worth -1.36 to -0.132"
    assert f"warning: support-too-narrow: {told}: values beyond it cannot be learnt. Rewards so far allow" in said
    kept = read_facts(tmp_path / "run")
    assert kept.demos["demonstrations"] > 0
    assert kept.config.agent == config.agent
    assert [row["terminated"] for row in kept.episodes] == [row["length"] != 12 for row in kept.episodes]
    assert main(["diagnose", str(tmp_path / "run"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    told = [Finding(**one) for one in answer["findings"]]
    assert (answer["updates"], answer["evaluations"]) == (kept.updates, kept.evaluations)
    assert told == diagnose(kept)
    assert told[0].cause == "support-too-narrow"
    assert "critic-collapse" in answer["not_judged"]
    assert main(["diagnose", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("support-too-narrow\n  ")
    judged = len(RULES) - len(answer["not_judged"])
    assert f"{judged} of {len(RULES)} causes could be judged, after {kept.updates} updates" in said
    (tmp_path / "run/metrics.jsonl").unlink()
    assert main(["diagnose", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("support-too-narrow\n"), "demonstrations are enough for that"
    (tmp_path / "run/demonstrations.json").unlink()
    assert main(["diagnose", str(tmp_path / "run")]) == 0
    assert "metrics.jsonl is not there, though the run has checkpoints" in capsys.readouterr().out
    (tmp_path / "run/metrics.jsonl").touch()
    assert main(["diagnose", str(tmp_path / "run")]) == 0
    assert "metrics.jsonl holds no row that can be read" in capsys.readouterr().out
    for checkpoint in (tmp_path / "run/checkpoints").iterdir():
        checkpoint.unlink()
    assert main(["diagnose", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == "no update has been made: there is nothing to judge yet\n"
    assert main(["diagnose", str(tmp_path)]) == 1
    assert "is no run directory" in capsys.readouterr().err


@pytest.mark.long
def test_a_resumed_run_knows_what_was_before(tmp_path):
    demos = demo_set(tmp_path / "demos")
    config = tiny(tmp_path / "run", demos, steps=30)
    run(config)
    _, said = run(dataclasses.replace(config, steps=45))
    assert "resuming at step 30" in said
    steps = read_facts(tmp_path / "run").courses["env_steps"]
    assert steps.first < 30 < steps.newest
