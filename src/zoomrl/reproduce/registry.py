"""The experiments by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from zoomrl.errors import unknown_name
from zoomrl.reproduce.experiment import Experiment

MODULES = {
    "return-to-go": "return_to_go",
    "ensemble": "ensemble",
    "bc-terms": "bc_terms",
    "sequence-length": "sequence_length",
    "padding": "padding",
    "overestimation": "overestimation",
    "n-step": "n_step",
    "torque": "torque",
    "cal-ql": "cal_ql",
    "resnet": "resnet",
    "cqn-ablations": "cqn_ablations",
    "iqrl-ablations": "iqrl_ablations",
    "drqv2-ablations": "drqv2_ablations",
    "value-audit": "value_audit",
    "hard-options": "hard_options",
    "hard-tasks": "hard_tasks",
    "play": "play",
}
"""Name of an experiment -> its file in ``experiments``."""


def find(name: str) -> Experiment:
    """The experiment called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in MODULES:
        raise unknown_name("experiment", name, MODULES)
    module = importlib.import_module(f"zoomrl.reproduce.experiments.{MODULES[name]}")
    experiment: Experiment = module.EXPERIMENT
    return experiment


def experiments() -> Iterator[Experiment]:
    """All of them."""
    return map(find, MODULES)
