"""A sweep on a SLURM cluster: an array of jobs, each a worker that takes runs until all are done.

A job that is pre-empted, or whose time is over, asks its runs for a checkpoint and is queued again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomrl.errors import ConfigError, import_optional
from zoomrl.sweep.plan import Sweep, read_sweep
from zoomrl.sweep.worker import Worker

GRACE_S = 60.0
"""Seconds that runs get for their checkpoints, before the job is queued again."""


@dataclass(frozen=True)
class SlurmOptions:
    """What is asked of SLURM.

    Attributes:
        partition: to submit to; empty for the cluster's default.
        minutes: of each job; the runs of one that is over go on in the next.
        cluster: ``slurm``, or ``local`` for jobs on this machine, to try it.
        extra: further options of ``sbatch``, name -> value.
    """

    partition: str = ""
    minutes: int = 24 * 60
    cluster: str = "slurm"
    extra: Mapping[str, str] | None = None


def submit(sweep: Sweep, jobs: int, slots: int, gigabytes: float, options: SlurmOptions, retries: int = 3) -> list[Any]:
    """Submit ``jobs`` workers of ``slots`` runs each, as one array; the jobs of submitit.

    Args:
        sweep: whose runs; its directory is seen by all nodes.
        jobs: workers.
        slots: runs at once in each.
        gigabytes: of memory for each job.
        options: what else is asked of SLURM.
        retries: as of :class:`~zoomrl.sweep.worker.Worker`.

    Raises:
        MissingDependencyError: without the extra ``zoomrl[slurm]``.
        ConfigError: SLURM cannot be used here.
    """
    submitit = import_optional("submitit", "slurm")
    try:
        executor = submitit.AutoExecutor(folder=sweep.directory / "jobs", cluster=options.cluster)
    except Exception as error:  # submitit raises RuntimeError where sbatch is missing
        raise ConfigError(f"SLURM cannot be used here: {error}. --backend local works without it") from error
    cores = max((config.cores for config in sweep.runs.values()), default=1)
    executor.update_parameters(
        name=f"zoomrl-{sweep.directory.name}",
        timeout_min=options.minutes,
        cpus_per_task=cores * slots,
        mem_gb=max(1, round(gigabytes + 0.5)),
    )
    if options.cluster == "slurm":
        executor.update_parameters(
            slurm_array_parallelism=jobs,
            slurm_additional_parameters=dict(options.extra or {}),
            **({"slurm_partition": options.partition} if options.partition else {}),
        )
    work = Job(str(sweep.directory.absolute()), slots, retries)
    with executor.batch():
        return [executor.submit(work) for _ in range(jobs)]


class Job:
    """A worker as a job. It is pickled by submitit, into the sweep's own directory.

    Args:
        directory: of the sweep.
        slots: runs at once.
        retries: as of :class:`~zoomrl.sweep.worker.Worker`.
    """

    def __init__(self, directory: str, slots: int, retries: int) -> None:
        self._directory, self._slots, self._retries = directory, slots, retries
        self._worker: Worker | None = None

    def __call__(self) -> bool:
        """Work until everything is done; whether it is."""
        self._worker = Worker(read_sweep(Path(self._directory)), self._slots, self._retries, print)
        return self._worker.run()

    def checkpoint(self) -> Any:
        """Called by submitit before the job ends: save the runs, and queue it again."""
        submitit = import_optional("submitit", "slurm")
        if self._worker is not None:
            self._worker.stop()
            began = time.monotonic()
            while self._worker.busy and time.monotonic() - began < GRACE_S:
                time.sleep(0.2)
        return submitit.helpers.DelayedSubmission(Job(self._directory, self._slots, self._retries))
