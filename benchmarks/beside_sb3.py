"""Learning curves next to Stable-Baselines3: same environment, same steps, same machine, each with its own numbers.

Usage: python benchmarks/beside_sb3.py run FOLDER --sb3-python PYTHON [--agents td3 sac] [--seeds 1 2 3]
       python benchmarks/beside_sb3.py write FOLDER NAME
       python benchmarks/beside_sb3.py plot NAME IMAGE

`run` trains one run after the other on one thread, and leaves out what FOLDER holds already. Stable-Baselines3 is not
among zoomrl's dependencies: PYTHON is an interpreter that has it. Of its defaults two are changed, in the way of its
own collection of tuned numbers for MuJoCo: TD3 explores with noise of 0.1 (its default is none), and the first
SEED_STEPS actions are random, as in zoomrl's runs. `cqn` runs CQN on Pendulum, which Stable-Baselines3 does not have.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NOTE = "Wall times are those of a machine that did other work too, not the same for all runs: they compare nothing."
TASKS = {"td3": "HalfCheetah-v5", "sac": "HalfCheetah-v5", "cqn": "Pendulum-v1"}
STEPS = {"td3": 50_000, "sac": 50_000, "cqn": 15_000}
SEED_STEPS = 5_000
EVALUATIONS = 10
"""During training, evenly spaced, of EVALUATED episodes each; then one of FINAL episodes."""
EVALUATED, FINAL = 10, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("folder", type=Path)
    run.add_argument("--sb3-python", required=True)
    run.add_argument("--agents", nargs="+", choices=TASKS, default=list(TASKS))
    run.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    one = commands.add_parser("sb3")
    one.add_argument("agent", choices=TASKS)
    one.add_argument("seed", type=int)
    one.add_argument("out", type=Path)
    write = commands.add_parser("write")
    write.add_argument("folder", type=Path)
    write.add_argument("name")
    write.add_argument("--commit", help="that the runs were made with; the present one by default")
    plot = commands.add_parser("plot")
    plot.add_argument("name")
    plot.add_argument("image", type=Path)
    options = parser.parse_args()
    if options.command == "plot":
        plot_curves(options.name, options.image)
    elif options.command == "sb3":
        learn_with_sb3(options.agent, options.seed, options.out)
    elif options.command == "run":
        for seed in options.seeds:
            for agent in options.agents:
                learn(options.folder, agent, seed, options.sb3_python)
    else:
        keep_results(options.folder, options.name, options.commit)


def learn(folder: Path, agent: str, seed: int, sb3_python: str) -> None:
    """One run of each library."""
    steps, task = STEPS[agent], TASKS[agent]
    place = folder / f"zoomrl-{agent}-{seed}"
    words = ["train", "--preset", f"{agent}-gym", "--env", f"gym:{task}", "--steps", steps, "--seed", seed]
    words += ["--threads", 1, "--run-dir", place, "--eval.every", steps // EVALUATIONS]
    words += ["--eval.episodes", EVALUATED, "--eval.final-episodes", FINAL]
    if agent != "cqn":
        words += ["--seed-steps", SEED_STEPS, "--control.uniform-steps", SEED_STEPS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not (place / "result.json").exists():
        subprocess.run([sys.executable, "-m", "zoomrl", *map(str, words)], env=environment, check=True)
    out = folder / f"sb3-{agent}-{seed}.json"
    if agent != "cqn" and not out.exists():
        subprocess.run([sb3_python, __file__, "sb3", agent, str(seed), str(out)], env=environment, check=True)


def learn_with_sb3(agent: str, seed: int, out: Path) -> None:
    import gymnasium
    import mujoco
    import numpy as np
    import stable_baselines3 as sb3
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.noise import NormalActionNoise

    torch.set_num_threads(1)
    env, tester = (Monitor(gymnasium.make(TASKS[agent])) for _ in range(2))
    tester.reset(seed=10_000 + seed)
    rows: list[dict[str, float]] = []
    started = time.perf_counter()

    def evaluate(model: Any, episodes: int) -> None:
        seconds = time.perf_counter() - started
        returns, _ = evaluate_policy(model, tester, episodes, return_episode_rewards=True)
        rows.append({"env_steps": model.num_timesteps, "return": float(np.mean(returns)), "seconds": seconds})

    class Evaluate(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % (STEPS[agent] // EVALUATIONS) == 0:
                evaluate(self.model, EVALUATED)
            return True

    options: dict[str, Any] = {"learning_starts": SEED_STEPS, "seed": seed, "device": "cpu"}
    if agent == "td3":
        shape = env.action_space.shape
        options["action_noise"] = NormalActionNoise(np.zeros(shape), 0.1 * np.ones(shape))
    model = getattr(sb3, agent.upper())("MlpPolicy", env, **options)
    model.learn(STEPS[agent], callback=Evaluate())
    evaluate(model, FINAL)
    versions = {module.__name__: module.__version__ for module in (sb3, torch, gymnasium, mujoco)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"rows": rows[:-1], "final": rows[-1], "versions": versions}))


def keep_results(folder: Path, name: str, commit: str | None) -> None:
    """Runs that are not finished are left out."""
    import numpy as np

    from provenance import keep, provenance
    from zoomrl.training.intervals import mean_interval

    runs: list[dict[str, Any]] = []
    for place in sorted(folder.glob("zoomrl-*-*")):
        _, agent, seed = place.name.split("-")
        if not (place / "result.json").exists():
            continue
        lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        curve = [
            {"env_steps": row["env_steps"], "return": row["return_mean"], "seconds": row["seconds"]}
            for row in lines
            if row["kind"] == "eval"
        ]
        final = json.loads((place / "result.json").read_text())["return_mean"]
        runs.append({"library": "zoomrl", "agent": agent, "seed": int(seed), "final": final, "curve": curve})
    for file in sorted(folder.glob("sb3-*-*.json")):
        _, agent, seed = file.stem.split("-")
        held = json.loads(file.read_text())
        runs.append(
            {
                "library": "stable-baselines3",
                "agent": agent,
                "seed": int(seed),
                "final": held["final"]["return"],
                "curve": held["rows"],
                "versions": held["versions"],
            }
        )
    summary = []
    for library, agent in sorted({(run["library"], run["agent"]) for run in runs}):
        chosen = [run for run in runs if (run["library"], run["agent"]) == (library, agent)]
        finals = [run["final"] for run in chosen]
        summary.append(
            {
                "library": library,
                "agent": agent,
                "environment": TASKS[agent],
                "steps": STEPS[agent],
                "runs": len(chosen),
                "final_return": float(np.mean(finals)),
                "final_return_interval": mean_interval(float(np.mean(finals)), float(np.std(finals)), len(finals)),
            }
        )
    origin = provenance(["python", "benchmarks/beside_sb3.py", "run", "FOLDER", "--sb3-python", "PYTHON"], commit)
    keep(
        {"name": name, **origin, "threads": 1, "final_episodes": FINAL, "note": NOTE, "summary": summary, "runs": runs}
    )


COLOURS = {"zoomrl": "#0072B2", "stable-baselines3": "#D55E00"}


def plot_curves(name: str, image: Path) -> None:
    """Each seed as a thin line, their mean as a thick one, by algorithm."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    from provenance import RESULTS

    runs = json.loads((RESULTS / f"{name}.json").read_text())["runs"]
    figure = Figure(figsize=(9.6, 3.4), dpi=150, layout="constrained")
    for axes, agent in zip(figure.subplots(1, 3), ("sac", "td3", "cqn"), strict=True):
        for library, colour in COLOURS.items():
            curves = [
                {row["env_steps"]: row["return"] for row in run["curve"] if row["env_steps"]}
                for run in runs
                if (run["library"], run["agent"]) == (library, agent)
            ]
            for curve in curves:
                axes.plot(list(curve), list(curve.values()), color=colour, linewidth=0.8, alpha=0.5)
            if curves:
                steps = list(curves[0])
                mean = [sum(curve[step] for curve in curves) / len(curves) for step in steps]
                axes.plot(steps, mean, color=colour, linewidth=2.4, label=f"{library}, mean of {len(curves)} seeds")
        axes.set_title(f"{agent.upper()}, {TASKS[agent]}", loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("Environment steps")
        axes.grid(True, color="0.9", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.axes[0].set_ylabel("Return of an episode")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image)


if __name__ == "__main__":
    main()
