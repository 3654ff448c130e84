"""How often `zoomrl compare` calls two methods different that are not, next to the percentile bootstrap.

Usage: python benchmarks/verdicts.py [--pairs 2000] [--name verdict_errors]

Pairs of methods with the same true success rates on three tasks: seeds vary around them, and each is measured on 50
episodes. The verdict's interval and the stratified percentile bootstrap of the mean difference see the same numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance import keep, provenance
from zoomrl.analysis import compare, statistics
from zoomrl.analysis.scores import Score, Scores

RATES, SPREAD, EPISODES = (0.3, 0.5, 0.7), 0.1, 50
REPS = 1000
CASES = ((4, True), (8, True), (4, False))
"""Seeds of each task, and whether both methods have the same."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    statistics.REPS = 2  # of the probability of improvement, which is not looked at
    rows = [measure(seeds, paired, options.pairs) for seeds, paired in CASES]
    for row in rows:
        print(row)
    if options.name:
        about = {"pairs": options.pairs, "true_rates": RATES, "spread_of_seeds": SPREAD, "episodes": EPISODES}
        keep({"name": options.name, **provenance(["python", "benchmarks/verdicts.py"]), **about, "runs": rows})


def measure(seeds: int, paired: bool, pairs: int) -> dict[str, Any]:
    """Fractions of pairs that are called different."""
    rng = np.random.default_rng(seeds)
    called = bootstrapped = 0
    for _ in range(pairs):
        first, second = (rates(rng, seeds) for _ in range(2))
        found = compare.compare(scores("first", first), scores("second", second, 0 if paired else seeds))
        called += found.verdict in ("above", "below")
        rows = rng.integers(0, seeds, (REPS, seeds, len(RATES)))
        means = np.take_along_axis((first - second)[None], rows, 1).mean((1, 2))
        low, high = np.percentile(means, [2.5, 97.5])
        bootstrapped += bool(low > 0 or high < 0)
    wrong = {"verdict": called / pairs, "bootstrap": bootstrapped / pairs}
    return {"seeds": seeds, "paired": paired, "called_different": wrong}


def rates(rng: np.random.Generator, seeds: int) -> NDArray[np.float64]:
    """Measured success rates, [seeds, tasks]."""
    true = np.clip(rng.normal(RATES, SPREAD, (seeds, len(RATES))), 0, 1)
    return rng.binomial(EPISODES, true) / EPISODES


def scores(name: str, measured: NDArray[np.float64], first_seed: int = 0) -> Scores:
    """The same as `zoomrl compare` reads them of runs."""
    tasks = {
        f"task {task}": {
            first_seed + seed: Score(float(rate), EPISODES, round(rate * EPISODES), Path())
            for seed, rate in enumerate(column)
        }
        for task, column in enumerate(measured.T)
    }
    return Scores(name, "success", tasks, {task: {} for task in tasks})


if __name__ == "__main__":
    main()
