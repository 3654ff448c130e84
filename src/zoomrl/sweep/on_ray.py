"""A sweep on a Ray cluster: one task for each run, on whatever node has room. All nodes see the sweep's directory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoomrl.errors import plural
from zoomrl.sweep.plan import Sweep, read_sweep
from zoomrl.sweep.predict import Needs
from zoomrl.sweep.worker import HELD_S, Outcome, fail, run_one
from zoomrl.training.ray_cluster import joined

CRASHES = -1
"""Times that Ray begins a task again whose node or worker died: a run that is resumed is exact, however often."""


def work(
    sweep: Sweep,
    names: tuple[str, ...],
    needs: Mapping[str, Needs],
    *,
    address: str = "",
    retries: int = 3,
    say: Callable[[str], None] = lambda text: None,
    on_poll: Callable[[], None] = lambda: None,
) -> bool:
    """Work off the runs ``names``; whether all are done. Stops when the sweep is asked to.

    Args:
        sweep: whose runs.
        names: those that are not done.
        needs: memory of each, which Ray reserves.
        address: of the cluster; empty takes the one that runs here, or begins one on this machine.
        retries: times that a run is begun again whose process was killed on a node that lives.
        say: prints a line.
        on_poll: called about once a second.

    Raises:
        ConfigError: no cluster answers at ``address``.
        MissingDependencyError: without the extra ``zoomrl[ray]``.
    """
    ray, _ = joined(address)
    task = ray.remote(max_retries=CRASHES)(_run)
    killed: Counter[str] = Counter()
    waiting = dict.fromkeys(names, 0.0)
    """Run -> when it may be given out."""
    given: dict[Any, str] = {}
    while waiting or given:
        if sweep.stop_file.exists():
            for future in given:
                ray.cancel(future, force=False)
            ray.wait(list(given), num_returns=len(given), timeout=120)
            return False
        for name in [name for name, due in waiting.items() if time.monotonic() >= due]:
            del waiting[name]
            config = sweep.runs[name]
            cpus, gpus = config.cores, float(config.device == "cuda")
            options = task.options(num_cpus=cpus, num_gpus=gpus, memory=needs[name].memory if name in needs else None)
            given[options.remote(str(sweep.directory.absolute()), name)] = name
        done, _ = ray.wait(list(given), timeout=1.0) if given else ([], None)
        for future in done:
            name = given.pop(future)
            outcome = _outcome(ray, future)
            if outcome in ("held", "stopped"):
                waiting[name] = time.monotonic() + HELD_S
            elif outcome == "killed":
                killed[name] += 1
                if killed[name] > retries:
                    fail(sweep, name, f"its process was killed {plural(killed[name], 'time')}")
                else:
                    waiting[name] = time.monotonic()
            if outcome == "failed":
                say(f"{name}: failed: see {sweep.log(name)}")
        on_poll()
        if not given:
            time.sleep(0.2)
    return True


def _run(directory: str, name: str) -> Outcome:
    """The task."""
    return run_one(read_sweep(Path(directory)), name)


def _outcome(ray: Any, future: Any) -> Outcome:
    try:
        found: Outcome = ray.get(future)
    except ray.exceptions.RayError:  # its node died, more often than Ray itself begins it again
        return "killed"
    return found
