"""The runs that are attacked: every agent, in small, in every way of running that keeps files of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.toy import ENV_ID, TIME_LIMIT

STEPS = 60
SMALL: dict[str, str] = {
    "cqn": "--agent.hidden-dim 12 --agent.levels 2 --agent.bins 3 --agent.atoms 7 --agent.v-min 0 --agent.v-max 1",
    "cqn_as": "--agent.hidden-dim 12 --agent.levels 2 --agent.bins 3 --agent.atoms 7 --agent.v-min 0 --agent.v-max 1 "
    "--agent.chunk-length 3",
    "drqv2": "--agent.hidden-dim 8",
    "drqv2_plus": "--agent.hidden-dim 8 --agent.atoms 7 --agent.v-min 0 --agent.v-max 1",
    "drqv2_as": "--agent.hidden-dim 8 --agent.atoms 7 --agent.v-min 0 --agent.v-max 1 --agent.chunk-length 3",
    "taco": "--agent.hidden-dim 8 --agent.state-hidden 8",
    "tcrl": "--agent.hidden-dim 8 --agent.representation.dim 8 --agent.representation.encoder-hidden 8 "
    "--agent.representation.model-hidden 8 --agent.representation.horizon 2",
    "td3": "--agent.hidden 8",
    "iqrl": "--agent.hidden 8 --agent.critics 2 --agent.representation.dim 8 --agent.representation.encoder-hidden 8 "
    "--agent.representation.model-hidden 8 --agent.representation.horizon 2",
    "td7": "--agent.hidden-dim 8 --agent.embedding-dim 8 --agent.target-interval 10",
    "sac": "--agent.hidden 8",
    "bc": "--agent.hidden 8 --agent.chunk-length 3",
    "act": "--agent.dim 8 --agent.heads 2 --agent.feedforward 8 --agent.encoder-layers 1 --agent.style-dim 2 "
    "--agent.chunk-length 3",
}
"""Options that make each agent small."""
IMITATION = ("bc", "act")
AHEAD = "ahead"
"""The way whose episodes are made ahead of learning."""
WAYS: dict[str, str] = {
    "serial": "",
    "workers": "--env.num-envs 2 --env.workers process",
    "disk": "--replay.storage disk",
    "best": "--eval.keep-best",
    AHEAD: "--collect.lag 3",
    "corrections": "--intervene.source {corrections} --intervene.capacity 100",
}
"""Ways of running, and the options that choose them."""


@dataclass(frozen=True)
class Material:
    """Files that runs read."""

    demos: Path
    corrections: Path


def kinds() -> list[tuple[str, str]]:
    """Every agent with every way of running that it knows; neighbours differ in both."""
    pairs = [
        (agent, way)
        for way in WAYS
        for agent in SMALL
        if agent not in IMITATION or way in ("serial", "best")  # the others belong to acting
    ]
    return sorted(pairs, key=lambda pair: (list(SMALL).index(pair[0]) + 3 * list(WAYS).index(pair[1])) % len(SMALL))


def command(agent: str, way: str, run: Path, material: Material, seed: int, more: Sequence[str] = ()) -> list[str]:
    """The words of ``zoomrl`` that train ``agent`` in ``run``."""
    length = f"--steps {STEPS} --offline-updates 4 --seed-steps 3"
    if agent in IMITATION:
        length = f"--steps 0 --offline-updates {STEPS} --offline-eval-every 20"
    # Policies of earlier weights are no judgement of the newest.
    judged = "--agent.no-checkpoints" if agent == "td7" and way == AHEAD else ""
    line = (
        f"train --preset cqn_as-metaworld --agent {agent} --env {ENV_ID} --env.time-limit {TIME_LIMIT} --threads 1 "
        f"--seed {seed} {length} --demos.episodes 0 --updates-per-step 1 --control.noise linear(0.5,0.1,50) "
        "--replay.batch-size 6 --replay.capacity 35 --replay.n-step 2 --checkpoint.every 9 --log.every 7 "
        "--eval.every 20 --eval.episodes 2 --eval.final-episodes 2 --eval.num-envs 1 --eval.no-video "
        f"--log.no-tensorboard {SMALL[agent]} {judged} {WAYS[way].format(corrections=material.corrections)}"
    )
    return [*line.split(), "--demos", str(material.demos), "--run-dir", str(run), *more]


def write_corrections(path: Path) -> Path:
    """A recording that takes over for some agent steps of the first episodes."""
    lines = [
        {"episode": episode, "step": step, "action": [0.5 - 0.1 * step, -0.3]}
        for episode in range(0, 12, 2)
        for step in range(1, 4)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
