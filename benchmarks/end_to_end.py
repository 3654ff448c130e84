"""A whole training loop next to the straightforward one (benchmarks/peers): same networks, batch and environment.

Usage: python benchmarks/end_to_end.py [--write]     (Meta-World drawer-open from two cameras; about six minutes)

Loops take turns: each runs some steps while the others stand still, several times over. Reported are medians over these
turns of the seconds for one environment step, in all and by what they were spent on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from peers.loop import PeerLoop
from provenance import RESULTS, keep, provenance
from zoomrl.control.scaling import make_scaler
from zoomrl.data.episode import Episode
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.recipes.compose import preset
from zoomrl.training.build.agent import build_agent
from zoomrl.training.build.control import build_controller, build_explorer
from zoomrl.training.build.demos import choose_episodes
from zoomrl.training.build.replay import build_replay
from zoomrl.training.callbacks import Callbacks
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.collect.stepwise import StepwiseCollector
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluator import Evaluator
from zoomrl.training.logger import Logger
from zoomrl.training.scripted import scripted_demos
from zoomrl.training.trainer import Trainer
from zoomrl.training.updater import Updater

NAMES = {
    "a": "straightforward, full rendering",
    "b": "straightforward, fast rendering",
    "c": "ours, full rendering",
    "d": "ours, fast rendering",
    "e": "ours, fast rendering, bf16",
}
RATIOS = ("a/c", "a/d", "b/d", "a/e", "b/e")
PHASES = ("act", "env", "sample", "update")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/end_to_end_pixels_cpu.json")
    parser.add_argument("--demos", default="demos", help="directory of scripted demonstrations; collected if missing")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every loop")
    parser.add_argument("--turns", type=int, default=5, help="turns of each loop that are measured; one more before")
    parser.add_argument("--steps", nargs=2, type=int, default=(50, 10), help="steps in a turn, at each update ratio")
    parser.add_argument("--batch", type=int, default=0, help="samples of an update; that of the preset by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    base = preset("cqn_as-metaworld-pixels")
    base = replace(base, eval=replace(base.eval, every=0), log=replace(base.log, tensorboard=False))
    base = replace(base, demos=replace(base.demos, directory=options.demos))
    if options.batch:
        base = replace(base, replay=replace(base.replay, batch_size=options.batch))
    cases = [
        {
            "updates_per_step": ratio,
            "steps_per_turn": steps,
            **compare(replace(base, updates_per_step=ratio), options.turns, steps, console),
        }
        for ratio, steps in zip((base.updates_per_step, 1.0), options.steps, strict=True)
    ]
    result = {
        "name": "end_to_end_pixels_cpu",
        **provenance(["python", "benchmarks/end_to_end.py", *sys.argv[1:]]),
        "threads": options.threads,
        "loader_workers": 2,
        "batch": base.replay.batch_size,
        "turns": options.turns,
        "load_average": os.getloadavg(),
        "loops": NAMES,
        "note": "seconds for one environment step, medians over turns; the straightforward loop has one loader process "
        "for each of its two stores, which also work while it waits for its turn, until their queues are full",
        "cases": cases,
    }
    for case in cases:
        console.print(table(case))
    print(json.dumps(result, indent=1))
    if options.write:
        console.print(f"wrote {keep(result).relative_to(RESULTS.parents[1])}")


def compare(config: TrainConfig, turns: int, steps: int, console: Console) -> dict[str, Any]:
    """Run all loops in turns."""
    fast = config
    full = replace(config, env=replace(config.env, shadows=True, reflections=True, antialiasing=True))
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # The straightforward ones first: their loader processes are forks, best taken of a small process.
        loops: dict[str, Loop] = {
            "a": Loop(*straightforward(full, directory / "a", stack, console)),
            "b": Loop(*straightforward(fast, directory / "b", stack, console)),
            "c": Loop(*ours(full, directory / "c", stack, console)),
            "d": Loop(*ours(fast, directory / "d", stack, console)),
            "e": Loop(*ours(replace(fast, precision="bf16"), directory / "e", stack, console)),
        }
        for turn in range(turns + 1):
            for name, loop in loops.items():
                seconds = loop.turn(steps if turn else max(steps // 2, round(2 / config.updates_per_step)))
                if turn:
                    measured[name].append(seconds)
                time.sleep(0.3)  # loader processes refill their queues: not in the next one's time
            console.print(f"turn {turn} of {turns}", highlight=False)
    medians = {
        name: {phase: float(np.median([row[phase] for row in rows])) for phase in ("total", *PHASES, "page_faults")}
        for name, rows in measured.items()
    }
    ratios = {pair: medians[pair[0]]["total"] / medians[pair[2]]["total"] for pair in RATIOS}
    # Each turn's own ratio shows how far the machine's other load moves it.
    totals = {name: [row["total"] for row in rows] for name, rows in measured.items()}
    spread = {
        pair: [round(one / two, 2) for one, two in zip(totals[pair[0]], totals[pair[2]], strict=True)]
        for pair in RATIOS
    }
    updates = {pair: medians[pair[0]]["update"] / medians[pair[2]]["update"] for pair in RATIOS}
    return {"seconds_per_step": medians, "ratios": ratios, "ratios_of_turns": spread, "update_alone_ratios": updates}


class Loop:
    """A loop that can be run for some steps, and says where their time went.

    Args:
        advance: takes that many environment steps.
        seconds: by phase, growing.
    """

    def __init__(self, advance: Callable[[int], None], seconds: dict[str, float]) -> None:
        self._advance, self._seconds = advance, seconds

    def turn(self, steps: int) -> dict[str, float]:
        """Seconds for one step: ``total`` and by phase."""
        before, start = dict(self._seconds), time.perf_counter()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self._advance(steps)
        spent = {"total": time.perf_counter() - start}
        spent |= {phase: self._seconds[phase] - before[phase] for phase in PHASES}
        spent["page_faults"] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        return {phase: value / steps for phase, value in spent.items()}


def straightforward(
    config: TrainConfig, directory: Path, stack: ExitStack, console: Console
) -> tuple[Callable[[int], None], dict[str, float]]:
    """The peer loop, beginning with the weights that ours begins with."""
    episodes = demonstrations(config, console)
    agent = agent_of(config, episodes)
    loop = PeerLoop(config, agent, episodes, directory)
    stack.callback(loop.close)
    return loop.advance, loop.seconds


def ours(
    config: TrainConfig, directory: Path, stack: ExitStack, console: Console
) -> tuple[Callable[[int], None], dict[str, float]]:
    """The product's own training loop, with a clock around its builders."""
    episodes = demonstrations(config, console)
    envs = stack.enter_context(make_vector_env(config.env))
    spec = envs.env_spec
    agent = agent_of(config, episodes)
    scaler = make_scaler(config.control, spec.action, episodes, spec.action_meaning)
    directory.mkdir(parents=True)
    replay = build_replay(config, spec, agent, episodes, scaler, directory, console)
    controller = build_controller(config, agent, scaler, 1, 0, build_explorer(config))
    say = partial(console.print, highlight=False)
    logger = Logger(directory)
    stack.callback(logger.close)
    logger.open()
    trainer = Trainer(
        config,
        StepwiseCollector(config.seed, envs, controller, replay, None, say),
        Updater(config, agent, replay, directory),
        Evaluator(lambda _: None, agent, replay, None),
        Checkpoints(directory, 1),
        Callbacks([logger]),
        lambda: False,
        say,
    )
    seconds = dict.fromkeys(PHASES, 0.0)
    for part, verb, phase in (
        (controller, "act", "act"),
        (envs, "step", "env"),
        (envs, "reset", "env"),
        (replay, "sample", "sample"),
        (agent, "update", "update"),
    ):
        setattr(part, verb, _clocked(getattr(part, verb), seconds, phase))

    def advance(steps: int) -> None:
        for _ in range(steps):
            trainer._step()
            trainer._end_step()

    return advance, seconds


def _clocked(function: Callable[..., Any], seconds: dict[str, float], phase: str) -> Callable[..., Any]:
    def clocked(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **options)
        seconds[phase] += time.perf_counter() - start
        return result

    return clocked


def demonstrations(config: TrainConfig, console: Console) -> list[Episode]:
    """The scripted set, collected at the first time. All loops learn from the quickly drawn images: what they show
    changes no duration."""
    fast = replace(config.env, shadows=False, reflections=False, antialiasing=False)
    return choose_episodes(config, scripted_demos(config.demos, fast, console))


def agent_of(config: TrainConfig, episodes: Sequence[Episode]) -> Any:
    """The agent as the product builds it."""
    with make_vector_env(replace(config.env, num_envs=1)) as envs:
        spec = envs.env_spec
    scaler = make_scaler(config.control, spec.action, episodes, spec.action_meaning)
    return build_agent(config, spec, episodes, torch.device("cpu"), scaler)


def table(case: dict[str, Any]) -> Table:
    """Milliseconds of one step, and the ratios."""
    ratios = "  ".join(f"{pair} {value:.2f}" for pair, value in case["ratios"].items())
    shown = Table(title=f"{case['updates_per_step']} updates per step, ms per environment step;  {ratios}")
    for title in ("loop", "total", *PHASES):
        shown.add_column(title, justify="left" if title == "loop" else "right")
    for name, row in case["seconds_per_step"].items():
        shown.add_row(f"{name} {NAMES[name]}", *(f"{1e3 * row[phase]:.1f}" for phase in ("total", *PHASES)))
    return shown


if __name__ == "__main__":
    main()
