"""Actors on a Ray cluster: nodes killed, actors killed and stopped, the learner killed; then resumed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.chaos.actors import until_training
from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.reference import left_alone
from benchmarks.chaos.runs import AHEAD, command
from benchmarks.chaos.starts import ROOT, Start, begin, stopping

_LONGER = ("--steps", "360", "--collect.deadline", "15")
_HOW = {"node": 4, "actor": 3, "silence": 1, "learner": 2}
_AGENTS = ("cqn_as", "td3", "sac")


def attempt(trial: Try) -> Found:
    """Strike at a cluster and at the learner, and compare what its runs leave with a run left alone."""
    rng, found = trial.rng, Found()
    if importlib.util.find_spec("ray") is None:
        found.skipped = "Ray is not installed"
        return found
    agent, seed = _AGENTS[trial.number % len(_AGENTS)], rng.randrange(1000)
    reference, _, problem = left_alone(trial, agent, AHEAD, seed, _LONGER)
    if problem:
        found.fault(problem)
        return found
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    os.environ |= {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        number = 0
        while found.counts["strikes"] < trial.amount:
            run = trial.place / f"run{number}"
            number += 1
            _run(trial, agent, seed, run, cluster, nodes, rng, found)
            if not (run / "result.json").exists():
                found.fault(f"{agent}, seed {seed}: the run did not come to its end")
            elif different := differences(reference, run):
                found.fault(f"{agent}, seed {seed}: the run is another: {'; '.join(different)}")
            else:
                found.counts["runs with the same end"] += 1
    finally:
        cluster.shutdown()
        del os.environ["RAY_ADDRESS"]
    return found


def _run(
    trial: Try, agent: str, seed: int, run: Path, cluster: Any, nodes: list[Any], rng: random.Random, found: Found
) -> None:
    """One run, begun again whenever its learner was killed."""
    while True:
        actors = ("--collect.backend", "ray", "--collect.actors", str(rng.choice((1, 2, 3))))
        words = command(agent, AHEAD, run, trial.material, seed, [*_LONGER, *actors])
        with stopping(begin(words, trial.place / f"{run.name}.log", fresh=True)) as start:
            for _ in range(3):
                until_training(start, run)
                time.sleep(rng.uniform(0, 1))
                if found.counts["strikes"] >= trial.amount or not start.running():
                    break
                how = rng.choices([*_HOW], [*_HOW.values()])[0]
                if not _strike(how, start, cluster, nodes, rng):
                    continue
                found.counts["strikes"] += 1
                found.counts[f"strikes at {how}"] += 1
            ended = start.wait()
        if ended.code == -signal.SIGKILL:
            continue
        if ended.code != 0 or not ended.clean:
            found.fault(f"{agent}, seed {seed}: the run did not go on: {ended.tail()}")
        return


def _strike(how: str, start: Start, cluster: Any, nodes: list[Any], rng: random.Random) -> bool:
    """Strike once; whether there was something to strike."""
    if how == "learner":
        start.send(signal.SIGKILL)
        return True
    if how == "node":
        cluster.remove_node(nodes.pop(rng.randrange(len(nodes))), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))
        return True
    actors = [one for one in psutil.process_iter() if _is_actor(one)]
    if not actors:
        return False
    with contextlib.suppress(psutil.Error):
        rng.choice(actors).send_signal(signal.SIGSTOP if how == "silence" else signal.SIGKILL)
    return True


def _is_actor(process: psutil.Process) -> bool:
    try:
        return "ray::Worker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


ATTACK = Attack(
    name="nodes",
    bar="every run ends byte-equal to one whose episodes were made one by one in the learner, left alone",
    unit="strikes",
    least=24,
    short=1,
    per_try=8,
    attempt=attempt,
)
