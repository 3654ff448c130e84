"""What a step of an isolated simulator costs beyond the same step in this process, measured in turns in one run.

Beside the time on the clock stands that of the processor, of both processes together: on a busy machine the clock also
counts how long the two wait for their turn.

Usage: python benchmarks/isolation.py [--no-write]     (one thread; the same interpreter on both sides)
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from provenance import keep, provenance
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env

FRAMES = (84, 84)
CASES = {
    "no_simulation": EnvConfig("gym:isolation:Nothing-v0", time_limit=10**6),
    "no_simulation_two_images": EnvConfig("gym:isolation:Images-v0", time_limit=10**6, cameras=("left", "right")),
    "cartpole_state": EnvConfig("dmc:cartpole-swingup"),
    "drawer_open_state": EnvConfig("metaworld:drawer-open"),
    "cartpole_two_cameras": EnvConfig(
        "dmc:cartpole-swingup", cameras=("0", "1"), shadows=False, reflections=False, antialiasing=False
    ),
}
ECHO = "import socket, sys\ns = socket.socket(fileno=int(sys.argv[1]))\nwhile s.recv(1): s.send(b'.')"


class Nothing(gymnasium.Env):  # type: ignore[type-arg]
    """Simulates nothing: what a step of it takes is zoomrl's own work."""

    action_space = gymnasium.spaces.Box(-1, 1, (4,))
    observation_space = gymnasium.spaces.Box(-1, 1, (39,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.observation_space.low, {"success": False}

    def step(self, action: Any) -> Any:
        return self.observation_space.low, 0.0, False, False, {"success": False}


class Images(Nothing):
    """The same with two images, drawn beforehand: what comes on top is their copies."""

    observation_space = gymnasium.spaces.Dict(
        {name: gymnasium.spaces.Box(0, 255, (*FRAMES, 3), np.uint8) for name in ("left", "right")}
    )
    seen = {name: np.zeros((*FRAMES, 3), np.uint8) for name in ("left", "right")}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.seen, {"success": False}

    def step(self, action: Any) -> Any:
        return self.seen, 0.0, False, False, {"success": False}


if __name__ != "__main__":
    gymnasium.register("Nothing-v0", Nothing)
    gymnasium.register("Images-v0", Images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    # The other interpreter finds the environments above by this file.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    summary = {name: case(config, 40 if "cameras" in name else 300) for name, config in CASES.items()}
    result = {
        "name": "isolation_cpu",
        **provenance(["python", "benchmarks/isolation.py"]),
        "load_average": os.getloadavg()[0],
        "cores_allowed": len(os.sched_getaffinity(0)),
        "summary": summary,
    }
    print(json.dumps({"load_average": result["load_average"], **summary}, indent=1))
    if not options.no_write:
        keep(result)


def case(config: EnvConfig, steps: int) -> dict[str, Any]:
    """Microseconds of a step here and there, and of one byte sent to another Python process and back."""
    here, there = make_env(config), make_env(replace(config, python=sys.executable))
    actions = np.zeros(here.env_spec.action_dim, np.float32)
    for env in (here, there):
        env.reset(seed=0)
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()]):
        theirs.close()

        def round_trip() -> None:
            ours.send(b".")
            ours.recv(1)

        works = {"here": lambda: here.step(actions), "isolated": lambda: there.step(actions), "round_trip": round_trip}
        assert there.pid is not None  # type: ignore[attr-defined]
        times, cpu = in_turns(works, steps, there.pid)  # type: ignore[attr-defined]
        ours.close()
    for env in (here, there):
        env.close()
    median = {name: float(np.median(values)) for name, values in times.items()}
    quick = {name: float(np.percentile(values, 10)) for name, values in times.items()}
    return {
        "env": config.id,
        "here_us": median["here"],
        "isolated_us": median["isolated"],
        "added_us": median["isolated"] - median["here"],
        "added_tenth_percentile_us": quick["isolated"] - quick["here"],
        "added_processor_us": float(np.median(cpu["isolated"]) - np.median(cpu["here"])),
        "ratio": median["isolated"] / median["here"],
        "bare_round_trip_us": median["round_trip"],
        "steps": steps,
    }


def in_turns(
    works: dict[str, Callable[[], object]], steps: int, pid: int, turn: int = 20
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Microseconds of every call, and processor time per call of each turn, the process ``pid`` included.

    Runs of ``turn`` calls of each in turn, so that all meet the same load.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    while len(times["here"]) < steps:
        for name, work in works.items():
            work()  # the first of a turn meets cold caches
            before = processor_s(pid)
            for _ in range(turn):
                start = time.perf_counter()
                work()
                times[name].append(1e6 * (time.perf_counter() - start))
            cpu[name].append(1e6 * (processor_s(pid) - before) / turn)
    return times, cpu


def processor_s(pid: int) -> float:
    """Seconds that this thread and the main thread of process ``pid`` have computed (Linux)."""
    return time.thread_time() + 1e-9 * int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


if __name__ == "__main__":
    main()
