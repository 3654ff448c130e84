"""Turn finished runs into one result file under benchmarks/results/.

Usage: python benchmarks/record.py NAME [--commit SHA] RUN_DIR [RUN_DIR ...]
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from provenance import keep, provenance
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.recipes.compose import preset
from zoomrl.recipes.latent import ABLATIONS
from zoomrl.training.config import TrainConfig, differences
from zoomrl.training.intervals import mean_interval, wilson_interval
from zoomrl.training.rows import read_rows
from zoomrl.training.run_files import read_config

_TOLD = ("replay.n_step", "collect.lag")
"""Fields besides the agent's own that make a method of their own."""
COUNTED = ("episodes", "episodes_lost")
VALUES = ("value_predicted", "value_realised", "value_overestimation")
MEASURED = ("validation_loss", "latent_rank_1e-1", "latent_rank_1e-2", "latent_rank_1e-3", "codes_used")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--commit", help="commit that the runs were made with; the present one by default")
    parser.add_argument("--note", default="", help="anything a reader must know")
    options = parser.parse_args()
    runs = [read_run(path) for path in sorted(options.runs)]
    result = {
        "name": options.name,
        **provenance(sorted({run["command"] for run in runs}), options.commit),
        "note": options.note,
        "summary": summarise(runs),
        "runs": runs,
    }
    # One command a line is easier to repeat than one long line.
    result["command"] = sorted({run["command"] for run in runs})
    print(f"wrote {keep(result)}")
    print(json.dumps(result["summary"], indent=1))
    print("write the tables of the documents anew: python benchmarks/tables.py")


def read_run(path: Path) -> dict[str, Any]:
    """Command, curve and final evaluation of one run."""
    config = read_config(path)
    result = json.loads((path / "result.json").read_text())
    if not result["episodes"]:
        sys.exit(f"record: {path} has no result: the simulator failed in every episode of its final evaluation")
    rows = read_rows(path / "metrics.jsonl")
    columns = ("env_steps", "updates", "success_rate", "return_mean", "return_std", "seconds", *VALUES, *MEASURED)
    curve = [{k: row[k] for k in columns if k in row} for row in rows if row["kind"] == "eval"]
    return {
        "command": command(config),
        "preset": config.preset,
        "agent": label(config),
        "env": config.env.id,
        "reports_success": json.loads((path / "policy.json").read_text())["spec"]["reports_success"],
        "seed": config.seed,
        "steps": result["env_steps"],
        "updates": result["updates"],
        "training_seconds": round(result["training_seconds"], 1),
        "final": {
            k: result[k]
            for k in (
                "episodes",
                "episodes_lost",
                "success_rate",
                "success_low",
                "success_high",
                "return_mean",
                "return_std",
                *VALUES,
            )
            if k in result
        },
        "memory_gb": {k: result[f"{k}_memory_gb"] for k in ("expected", "peak") if f"{k}_memory_gb" in result},
        "final_returns": result["returns"],
        "curve": curve,
    }


def command(config: TrainConfig) -> str:
    """The command line that makes this run: the preset and what differs from it."""
    base = preset(config.preset, env=config.env.id)
    flags = [f"--preset {config.preset}", f"--env {config.env.id}", f"--seed {config.seed}"]
    if config.threads:
        flags.append(f"--threads {config.threads}")
    if config.steps != base.steps:
        flags.append(f"--steps {config.steps}")
    for line in differences(base, config):
        name, values = line.split(": ", 1)
        if name not in {"seed", "env.id"}:
            flags.append(option(name, ast.literal_eval(values.split(" -> ")[1])))
    # Not a difference of what is learnt, but without it the run may be refused.
    if config.precision_tolerance != base.precision_tolerance:
        flags.append(f"--precision-tolerance {config.precision_tolerance}")
    for name in ("every", "episodes", "final_episodes"):
        if getattr(config.eval, name) != getattr(base.eval, name):
            flags.append(f"--eval.{name.replace('_', '-')} {getattr(config.eval, name)}")
    return " ".join(["zoomrl train", *flags])


def option(name: str, value: Any) -> str:
    """One option with its value, as it is typed."""
    group, dot, last = name.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{group}{dot}{'' if value else 'no-'}{last}"
    words = value if isinstance(value, tuple | list) else [value]
    return " ".join([f"--{group}{dot}{last}", *(shlex.quote(str(word)) for word in words)])


def label(config: TrainConfig) -> str:
    """The agent, with what its name does not say."""
    name, latent = config.agent.name, getattr(config.agent, "representation", None)
    own = AGENT_CONFIGS[name]()
    if latent is not None and latent.kind != own.representation.kind:
        name += " on a latent"
    base = preset(config.preset, env=config.env.id)
    for part in (*ABLATIONS, "matched"):
        if f"-{part}-" in f"{config.preset}-":
            name += f", {part}"
    if type(base.agent) is not type(config.agent):
        return name
    changed = (line.partition(": ") for line in differences(base, config))
    told = [(key, after.partition(" -> ")[2]) for key, _, after in changed]
    more = [f"{key.split('.')[-1]} {value}" for key, value in told if key.startswith("agent.") or key in _TOLD]
    return ", ".join([name, *more]).replace("'", "")


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the runs of each agent: success of the final evaluations, and returns."""
    groups = defaultdict(list)
    for run in runs:
        groups[run["agent"]].append(run)
    summary = {}
    for agent, members in groups.items():
        refuse_mixtures(agent, members)
        finals = {f"{run['env']} s{run['seed']}": run["final"] for run in members}
        summary[agent] = {
            "runs": len(members),
            "final_return_mean": statistics.mean(final["return_mean"] for final in finals.values()),
            "final_return_by_run": {name: round(final["return_mean"], 2) for name, final in finals.items()},
            "training_seconds_mean": round(statistics.mean(run["training_seconds"] for run in members), 1),
        }
        if all(run["reports_success"] for run in members):
            episodes = sum(final["episodes"] for final in finals.values())
            successes = round(sum(final["success_rate"] * final["episodes"] for final in finals.values()))
            summary[agent] |= {
                "final_success_mean": statistics.mean(final["success_rate"] for final in finals.values()),
                "final_success_95": wilson_interval(successes, episodes),
                "final_success_by_run": {name: final["success_rate"] for name, final in finals.items()},
            }
        elif len({run["env"] for run in members}) == 1 < len({run["seed"] for run in members}):
            returns = [final["return_mean"] for final in finals.values()]
            summary[agent]["final_return_95"] = seeds_interval(returns)
    return summary


def refuse_mixtures(agent: str, members: list[dict[str, Any]]) -> None:
    """Runs of one name on one task must share their settings: a mean over others would say nothing."""
    settings = defaultdict(set)
    for run in members:
        settings[run["env"]].add(re.sub(r" --(seed|steps|threads) \S+", "", run["command"]))
    for env, commands in settings.items():
        if len(commands) > 1:
            sys.exit(f"record: runs called {agent!r} on {env} have different settings:\n" + "\n".join(sorted(commands)))


def seeds_interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean over seeds; wide for the two or three seeds that there are."""
    interval = mean_interval(statistics.mean(values), statistics.pstdev(values), len(values))
    assert interval is not None
    return round(interval[0], 2), round(interval[1], 2)


if __name__ == "__main__":
    main()
