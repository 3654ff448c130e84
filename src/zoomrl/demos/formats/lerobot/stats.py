"""The statistics that LeRobot keeps of every feature, per episode and over the set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_MOST_IMAGES = 100

Stats = dict[str, NDArray[Any]]


def episode_stats(array: NDArray[Any]) -> Stats:
    """Statistics over the first axis: of [T, D] per entry; of images [T, H, W, 3] per channel, [3, 1, 1], in 0 .. 1.

    Of many images, 100 that are evenly spread are measured.
    """
    images = array.ndim == 4
    if images:
        chosen = np.unique(np.linspace(0, len(array) - 1, _MOST_IMAGES).round().astype(int))
        rows = array[chosen].reshape(-1, 3) / 255.0
    else:
        chosen, rows = np.arange(len(array)), array.astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= {name: np.quantile(rows, fraction, axis=0) for name, fraction in QUANTILES.items()}
    shaped = {name: value.reshape(3, 1, 1) if images else value for name, value in found.items()}
    return shaped | {"count": np.array([len(chosen)])}


def joined(parts: list[Stats]) -> Stats:
    """Statistics of the whole from those of its ``parts``.

    Quantiles are averaged, weighted by count, as LeRobot does; everything else is exact.
    """
    counts = np.array([part["count"][0] for part in parts], np.float64)
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0] if name != "count"}

    def averaged(values: NDArray[Any]) -> NDArray[Any]:
        averages: NDArray[Any] = np.tensordot(counts, values, axes=1) / counts.sum()
        return averages

    mean = averaged(stacked["mean"])
    variance = averaged(stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2)
    whole = {name: averaged(stacked[name]) for name in QUANTILES}
    whole |= {"min": stacked["min"].min(0), "max": stacked["max"].max(0), "mean": mean, "std": np.sqrt(variance)}
    return whole | {"count": np.array([int(counts.sum())])}
