"""Comparisons: statistics against slow formulas and rliable, verdicts on known differences, published figures."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zoomrl import preset
from zoomrl.analysis import statistics
from zoomrl.analysis.compare import compare, compare_with, matrix_of, verdict_of
from zoomrl.analysis.references import Figure, Reference, reference, reference_names
from zoomrl.analysis.scores import Score, Scores, find_runs, read_scores
from zoomrl.analysis.statistics import Estimate, Sample
from zoomrl.cli.main import main
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import write_json
from zoomrl.training.rows import sealed_row

pytest.importorskip("rliable")
REPS = 200
"""Samples of the bootstrap where its intervals do not matter."""
TASKS = ("metaworld:hammer", "metaworld:assembly")


def scores(name, values, *, metric="success", episodes=50, **conditions):
    """``values``: task -> one for each seed, from 1."""
    tasks = {
        task: {
            seed: Score(value, episodes, round(value * episodes) if metric == "success" else None, Path("run"))
            for seed, value in enumerate(each, start=1)
        }
        for task, each in values.items()
    }
    return Scores(name, metric, tasks, {task: {"steps": 10_000, **conditions} for task in tasks})


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
    monkeypatch.setattr(statistics, "REPS", REPS)


# ---- statistics --------------------------------------------------------------------------------------------

numbers = st.floats(-100, 100)


@given(st.lists(numbers, min_size=2, max_size=8), st.lists(numbers, min_size=2, max_size=8))
@settings(max_examples=30)
def test_the_difference_of_one_task_is_welchs(first, second):
    if min(np.std(first), np.std(second)) < 1e-3:
        return
    sample = statistics.unpaired(statistics.sample_of(first), statistics.sample_of(second))
    found = statistics.estimate(sample)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-6, atol=1e-8)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
@settings(max_examples=30)
def test_paired_differences_are_students(pairs):
    first, second = zip(*pairs, strict=True)
    if np.std(np.subtract(first, second)) < 1e-3:
        return
    found = statistics.estimate(statistics.paired(first, second))
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-6, atol=1e-8)


def test_tasks_are_averaged_with_the_freedom_of_all_their_seeds():
    rng = np.random.default_rng(0)
    each = [statistics.sample_of(rng.normal(size=4)) for _ in range(5)]
    found = statistics.over_tasks(each)
    variances = [one.variance / 25 for one in each]
    assert found.mean == pytest.approx(np.mean([one.mean for one in each]))
    assert found.variance == pytest.approx(sum(variances))
    assert found.freedom == pytest.approx(sum(variances) ** 2 / sum(v**2 / 3 for v in variances))


def test_a_single_seed_has_no_bounds_and_equal_successes_are_no_certainty():
    assert statistics.estimate(statistics.sample_of([0.5])).low == -math.inf
    sure = statistics.estimate(statistics.sample_of([1.0] * 4, 200, 200))
    assert sure.low < 0.98
    assert statistics.estimate(statistics.sample_of([3.0] * 4)) == Estimate(3.0, 3.0, 3.0)


def test_aggregates_are_rliables_and_those_of_a_slow_computation(monkeypatch):
    monkeypatch.setattr(statistics, "REPS", 2000)
    from rliable import library, metrics

    matrix = np.random.default_rng(0).uniform(size=(6, 5))
    found = statistics.aggregates(matrix)
    flat = np.sort(matrix.ravel())
    low, high = int(0.25 * flat.size), flat.size - int(0.25 * flat.size)
    assert found["iqm"].value == pytest.approx(flat[low:high].mean())
    assert found["mean"].value == pytest.approx(matrix.mean())
    assert found["median"].value == pytest.approx(np.median(matrix.mean(0)))
    rng = np.random.default_rng(1)
    drawn = [
        np.mean([rng.choice(matrix[:, task], 6) for task in range(5)]) for _ in range(4000)
    ]  # seeds are drawn again within each task
    np.testing.assert_allclose((found["mean"].low, found["mean"].high), np.percentile(drawn, [2.5, 97.5]), atol=0.012)
    again = library.get_interval_estimates({"": matrix}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000)
    np.testing.assert_allclose(again[1][""][:, 0], (found["iqm"].low, found["iqm"].high), atol=0.02)
    assert statistics.aggregates(matrix) == found
    state = np.random.get_state()[1].tolist()
    statistics.aggregates(matrix)
    assert np.random.get_state()[1].tolist() == state


def test_probability_of_improvement_by_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, (4, 3)).astype(float), rng.integers(0, 5, (6, 3)).astype(float)
    pairs = [np.mean([(a > b) + 0.5 * (a == b) for a in first[:, task] for b in second[:, task]]) for task in range(3)]
    found = statistics.improvement(first, second)
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.low < found.value < found.high


def test_profiles_by_hand():
    matrix = np.array([[0.2, 0.8], [0.6, 0.4]])
    found, low, high = statistics.profiles({"x": matrix}, np.array([0.0, 0.3, 0.5, 1.0]))["x"]
    np.testing.assert_allclose(found, [1, 0.75, 0.5, 0])
    assert (low <= found).all()
    assert (found <= high).all()


def test_how_many_seeds_would_decide():
    sample = statistics.sample_of([0.2, 0.6, 0.4, 0.8])
    needed = statistics.seeds_needed(sample, 4, 0.05)
    half = stats.t.ppf(0.975, needed - 1) * math.sqrt(sample.variance * 4 / needed)
    shorter = stats.t.ppf(0.975, needed - 2) * math.sqrt(sample.variance * 4 / (needed - 1))
    assert half <= 0.05 < shorter
    assert statistics.seeds_needed(Sample(0, math.inf, 1), 1, 0.05) == 0


# ---- verdicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.3, "above"),
        (-0.3, -0.01, "below"),
        (-0.04, 0.03, "consistent"),
        (-0.2, 0.1, "underpowered"),
        (-0.04, 0.06, "underpowered"),
        (-math.inf, math.inf, "underpowered"),
    ],
)
def test_the_five_verdicts(low, high, verdict):
    assert verdict_of(Estimate(0.0, low, high), 0.05) == verdict


def drawn(rng, rates, seeds, spread, episodes=50):
    """Success rates of seeds that vary around their task's rate, each measured on so many episodes."""
    found = {}
    for task, rate in rates.items():
        true = np.clip(rng.normal(rate, spread, seeds), 0, 1)
        found[task] = (rng.binomial(episodes, true) / episodes).tolist()
    return found


@pytest.mark.parametrize(
    ("seeds", "offset"),
    [(4, 0), pytest.param(8, 0, marks=pytest.mark.slow), pytest.param(4, 100, marks=pytest.mark.slow)],
)
def test_verdicts_err_as_rarely_as_they_say(seeds, offset, monkeypatch):
    """Of pairs without a difference, no more than 5 % are called above or below; paired by seed, and unpaired."""
    monkeypatch.setattr(statistics, "improvement", lambda *_: None)
    rng, wrong, tries = np.random.default_rng(0), 0, 1000
    rates = {"a": 0.3, "b": 0.5, "c": 0.7}
    for _ in range(tries):
        first, second = (scores(name, drawn(rng, rates, seeds, 0.1)) for name in ("first", "second"))
        if offset:
            moved = {task: {seed + offset: s for seed, s in each.items()} for task, each in second.tasks.items()}
            second = dataclasses.replace(second, tasks=moved)
        wrong += compare(first, second).verdict in ("above", "below")
    # Three standard deviations around the stated rate.
    assert wrong / tries < 0.05 + 3 * math.sqrt(0.05 * 0.95 / tries)


def test_a_known_difference_is_found(monkeypatch):
    monkeypatch.setattr(statistics, "improvement", lambda *_: None)
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        first = scores("first", drawn(rng, {"a": 0.6, "b": 0.8, "c": 0.7}, 8, 0.1))
        second = scores("second", drawn(rng, {"a": 0.4, "b": 0.6, "c": 0.5}, 8, 0.1))
        found.append(compare(first, second).verdict)
    assert found.count("above") > 190
    assert "below" not in found
    same = scores("one", {"a": [0.5] * 20}, episodes=1000)
    assert compare(same, dataclasses.replace(same, name="two")).verdict == "consistent"


def test_a_comparison_in_full():
    first = scores("ours", {"a": [0.9, 0.8, 1.0, 0.9], "b": [0.5, 0.7, 0.6, 0.6], "only": [1.0]})
    second = scores("theirs", {"a": [0.4, 0.5, 0.4, 0.3], "b": [0.1, 0.2, 0.3]})
    found = compare(first, second)
    assert [row.task for row in found.rows] == ["a", "b"]
    assert [row.paired for row in found.rows] == [True, False]
    assert [row.seeds for row in found.rows] == [(4, 4), (4, 3)]
    assert found.rows[0].difference.value == pytest.approx(0.5)
    assert found.difference.value == pytest.approx((0.5 + 0.4) / 2)
    assert (found.verdict, found.margin, found.seeds_needed) == ("above", 0.05, 0)
    assert found.improvement.value == pytest.approx(1.0)
    low, high = found.rows[0].first.low, found.rows[0].first.high
    wilson = stats.binomtest(180, 200).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=1e-4)
    back = compare(second, first)
    assert back.verdict == "below"
    open_ended = compare(scores("x", {"a": [0.2, 0.8]}), scores("y", {"a": [0.3, 0.6]}))
    assert open_ended.verdict == "underpowered"
    assert open_ended.seeds_needed > 2


def test_other_conditions_are_no_comparison_unless_accepted():
    first, second = scores("x", {"a": [0.5, 0.6]}), scores("y", {"a": [0.5, 0.6]}, steps=20_000)
    found = compare(first, second)
    assert (found.verdict, found.why) == ("not comparable", ("a: steps 10000 against 20000",))
    assert compare(first, second, accept=("steps",)).verdict != "not comparable"
    apart = compare(first, scores("z", {"b": [1.0]}))
    assert (apart.verdict, apart.difference, apart.rows) == ("not comparable", None, ())
    assert apart.why == ("no task is in both: a against b",)
    with pytest.raises(ConfigError, match="success cannot be compared with return"):
        compare(first, scores("r", {"a": [1.0]}, metric="return"))
    with pytest.raises(ConfigError, match="margin must be 0 or more"):
        compare(first, second, margin=-1)


def test_tasks_with_more_seeds_are_cut_to_the_least():
    matrix, left_out = matrix_of(scores("x", {"a": [0.1, 0.2, 0.3], "b": [0.4, 0.5]}))
    assert matrix.tolist() == [[0.1, 0.4], [0.2, 0.5]]
    assert left_out == 1


# ---- published figures -------------------------------------------------------------------------------------


def test_every_published_figure_has_its_source_and_can_be_read():
    names = reference_names()
    assert len(names) == len(set(names)) > 30
    for name in names:
        found = reference(name)
        assert found.source
        assert found.metric in ("success", "return")
        for task, figures in found.tasks.items():
            assert ":" in task
            for figure in figures:
                assert figure.env_steps >= 0
                assert found.metric != "success" or 0 <= figure.mean <= 1
                assert figure.std is None or figure.std >= 0
    assert reference("bigym/cqn_as").tasks["bigym:drawer_top_close"] == (Figure(25_000, 1.0, 0.0),)
    assert reference("drqv2/drqv2").nearest("dmc:walker-walk", 900_000).mean == pytest.approx(766.87)
    for name in ("bigym/cqn_at", "bigim/cqn"):
        with pytest.raises(ConfigError, match="unknown reference"):
            reference(name)
    with pytest.raises(ConfigError, match=r"figures of several methods; name one: .*bigym/cqn_as"):
        reference("bigym")


def test_a_published_figure_is_compared_with_its_own_spread():
    figure = Figure(10_000, 0.5, 0.2, 8)
    about = Reference("x/y", "X", "a paper", "success", {"observed": "state"}, {"a": (figure, Figure(90_000, 0.9))})
    ours = scores("ours", {"a": [0.9, 0.95, 1.0, 0.9]})
    found = compare_with(ours, about)
    variance = 0.2**2 / 7
    own = statistics.sample_of([0.9, 0.95, 1.0, 0.9], 200, 188)
    freedom = (own.variance + variance) ** 2 / (own.variance**2 / 3 + variance**2 / 7)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(own.variance + variance)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.4375 - half, 0.4375 + half))
    assert (found.verdict, found.rows[0].seeds, found.improvement) == ("above", (4, 8), None)
    images = dataclasses.replace(about, conditions={"observed": "images"})
    assert compare_with(ours, images).why == ("a: observed state against images",)
    longer = compare_with(scores("ours", {"a": [0.9, 0.9]}, steps=60_000), about)
    assert longer.why == ("a: steps 60,000 against 90,000",)
    assert compare_with(scores("ours", {"b": [0.9]}), about).verdict == "not comparable"
    exact = dataclasses.replace(about, tasks={"a": (Figure(10_000, 0.9375),)})
    assert compare_with(ours, exact).rows[0].second == Estimate(0.9375, 0.9375, 0.9375)
    interval = dataclasses.replace(about, tasks={"a": (Figure(10_000, 0.5, low=0.4, high=0.6),)})
    shown = compare_with(ours, interval).rows[0].second
    assert (shown.low, shown.high) == pytest.approx((0.4, 0.6), abs=1e-4)


# ---- runs --------------------------------------------------------------------------------------------------


def run_of(place: Path, seed: int, rate: float | None, *, env="metaworld:hammer", **options) -> Path:
    """A finished run, as far as it is read here; ``rate`` None is one that goes on."""
    config = preset("cqn_as-metaworld", env=env, **options)
    place.mkdir(parents=True)
    write_json(place / "config.json", dataclasses.replace(config, seed=seed).to_dict())
    write_json(place / "policy.json", {"spec": {"reports_success": True}})
    rows = [{"kind": "eval", "env_steps": 10, "updates": 1, "episodes": 2, "success_rate": 0.5}]
    if rate is not None:
        made = [index < round(rate * 50) for index in range(50)]
        final = {"kind": "final", "env_steps": 20, "updates": 2, "episodes": 50, "success_rate": rate}
        rows.append(final | {"return_mean": 2 * rate, "successes": made})
    (place / "metrics.jsonl").write_text("".join(f"{sealed_row(row)}\n" for row in rows))
    return place


def test_runs_are_found_and_grouped(tmp_path):
    for env in TASKS:
        for seed, rate in ((1, 0.5), (2, 0.7)):
            for agent, more in (("cqn_as", 0.2), ("cqn", 0.0)):
                name = f"{env[10:]}-{agent}-s{seed}"
                run_of(tmp_path / "sweep" / "runs" / name, seed, rate + more, env=env, agent=agent)
    run_of(tmp_path / "sweep" / "runs" / "open", 3, None)
    (tmp_path / "sweep" / "sweep.json").touch()
    assert len(find_runs(tmp_path / "sweep")) == 9
    assert find_runs(tmp_path / "sweep" / "runs" / "open") == [tmp_path / "sweep" / "runs" / "open"]
    found = {one.name: one for one in read_scores(tmp_path / "sweep", by="agent.name")}
    assert found.keys() == {"cqn_as", "cqn"}
    assert {task: sorted(seeds) for task, seeds in found["cqn"].tasks.items()} == {key: [1, 2] for key in TASKS}
    assert found["cqn_as"].tasks[TASKS[0]][2].value == pytest.approx(0.9)
    assert found["cqn_as"].tasks[TASKS[0]][2].successes == 45
    assert found["cqn_as"].unfinished == (tmp_path / "sweep" / "runs" / "open",)
    returns = read_scores(tmp_path / "sweep", by="agent.name", metric="return")[0]
    assert returns.tasks[TASKS[0]][1].successes is None
    with pytest.raises(ConfigError, match=r"has two runs of metaworld:.* with seed 1: .* Tell them apart with --by"):
        read_scores(tmp_path / "sweep")
    with pytest.raises(ConfigError, match=r"unknown option 'agent\.nam'. Did you mean agent\.name"):
        read_scores(tmp_path / "sweep", by="agent.nam")
    with pytest.raises(ConfigError, match=r"unknown option 'bins'. Did you mean agent\.bins\?"):
        read_scores(tmp_path / "sweep", by="bins")
    with pytest.raises(CheckpointError, match="holds no runs"):
        read_scores(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="no run of open has reached its end yet"):
        read_scores(tmp_path / "sweep" / "runs" / "open")
    run_of(tmp_path / "two" / "a", 1, 0.5)
    run_of(tmp_path / "two" / "b", 2, 0.5, steps=77)
    with pytest.raises(ConfigError, match="the runs of two on metaworld:hammer differ in steps"):
        read_scores(tmp_path / "two")


def test_what_was_learnt_from_is_a_condition_and_names_are_printed_as_they_are(tmp_path, capsys):
    for seed in (1, 2):
        run_of(tmp_path / "[old]" / f"s{seed}", seed, 0.5)
        run_of(tmp_path / "new" / f"s{seed}", seed, 0.9, **{"demos.source": "/data/expert"})
        run_of(tmp_path / "else" / f"s{seed}", seed, 0.9, **{"demos.source": "/copy/expert"})
    folders = [str(tmp_path / name) for name in ("new", "[old]", "else")]
    assert main(["compare", *folders[:2]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not comparable: new against [old]" in said
    assert "demos.source expert against scripted" in said
    assert main(["compare", folders[0], folders[2]]) == 0
    assert "not comparable" not in capsys.readouterr().out, "a copy of the same set"
    assert main(["compare", *folders[:2], "--accept", "demos.source"]) == 0
    assert "not comparable" not in capsys.readouterr().out
    assert main(["compare", *folders[:2], "--accept", "demos.sauce"]) == 2
    assert "unknown condition 'demos.sauce'. Did you mean demos.source" in capsys.readouterr().err
    for seed in (1, 2):
        run_of(tmp_path / "x" / "new" / f"s{seed}", seed, 0.2)
    assert main(["compare", folders[0], str(tmp_path / "x" / "new")]) == 2
    assert "two methods have one name (new, new)" in capsys.readouterr().err


def test_the_command_line_compares(tmp_path, capsys):
    for seed in range(1, 5):
        run_of(tmp_path / "ours" / f"s{seed}", seed, 0.9 + 0.02 * seed)
        run_of(tmp_path / "theirs" / f"s{seed}", seed, 0.3 + 0.02 * seed, agent="cqn")
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    assert main(["compare", ours, theirs]) == 0
    said = capsys.readouterr().out
    assert "above: ours against theirs" in said
    assert "+60.0" in said
    assert "probability of improvement: 1.00" in said
    assert main(["compare", ours, "--reference", "metaworld/sac"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not comparable: ours against metaworld/sac" in said
    assert "metaworld:hammer: env.reward auto against dense" in said
    assert "curves released with TD-MPC2" in said
    image = tmp_path / "profile.png"
    assert main(["compare", ours, theirs, "--json", "--profile", str(image)]) == 0
    assert image.stat().st_size > 5000
    found = json.loads(capsys.readouterr().out)[0]
    assert (found["verdict"], found["names"]) == ("above", ["ours", "theirs"])
    assert main(["compare", "--list-references"]) == 0
    assert "rlbench/cqn_as" in capsys.readouterr().out
    assert main(["compare", ours]) == 2
    assert "two methods are compared" in capsys.readouterr().err
    assert main(["compare", ours, "--by", "agent.lr"]) == 2
    assert "all runs have the same agent.lr" in capsys.readouterr().err
