"""How long an action takes: policy.py of a bundle, and the same bundle served on loopback.

Usage: python benchmarks/deploy_speed.py BUNDLE [--actions 5000] [--name deploy_speed]

One core, and nothing else should run: pin it with taskset.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import connect

from provenance import keep, provenance
from serving import serving
from zoomrl.deploy.wire import pack, unpack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--actions", type=int, default=5000)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("policy", options.bundle / "policy.py")
    assert spec is not None
    assert spec.loader is not None
    policy = importlib.util.module_from_spec(spec)
    sys.modules["policy"] = policy
    spec.loader.exec_module(policy)
    robot = policy.load_policy(options.bundle)
    shown = observations(robot.facts, options.actions)
    summary = {"policy_py": in_words(timed(robot.act, shown)), "served": in_words(served(options.bundle, shown))}
    print(summary)
    if options.name:
        words = ["python", "benchmarks/deploy_speed.py", "BUNDLE", "--actions", str(options.actions)]
        about = {"agent": robot.facts["agent"], "environment": robot.facts["environment"]["id"]}
        keep({"name": options.name, **provenance(words), **about, "actions": options.actions, "summary": summary})


def observations(facts: dict[str, Any], count: int) -> list[dict[str, NDArray[Any]]]:
    """Random ones of the right shape."""
    rng = np.random.default_rng(0)

    def one(about: dict[str, Any]) -> NDArray[Any]:
        if about["dtype"] == "uint8":
            return rng.integers(0, 256, about["shape"], np.uint8)
        return rng.normal(size=about["shape"]).astype(np.float32)

    return [{name: one(about) for name, about in facts["observations"].items()} for _ in range(count)]


def timed(act: Any, shown: list[dict[str, NDArray[Any]]]) -> list[float]:
    """Milliseconds of each call, the first hundred left out."""
    taken = []
    for observation in shown:
        began = time.perf_counter()
        act(observation)
        taken.append(1e3 * (time.perf_counter() - began))
    return taken[100:]


def served(bundle: Path, shown: list[dict[str, NDArray[Any]]]) -> list[float]:
    """The same over loopback, from packing the observation to the unpacked action."""
    address = "ws://127.0.0.1:{}"
    with (
        serving(bundle, "--max-hz", 100_000) as (_, port),
        connect(address.format(port), compression=None) as connection,
    ):
        connection.recv()

        def ask(observation: dict[str, NDArray[Any]]) -> Any:
            connection.send(pack(observation))
            answer = connection.recv()
            assert isinstance(answer, bytes)
            return unpack(answer)["actions"]

        return timed(ask, shown)


def in_words(milliseconds: list[float]) -> dict[str, float]:
    return {f"p{quantile}_ms": float(np.percentile(milliseconds, quantile)) for quantile in (50, 99, 99.9)}


if __name__ == "__main__":
    main()
