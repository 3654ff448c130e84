"""From a config to a finished run. Importing this module loads no torch: that begins with the first call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from zoomrl.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium
    from rich.console import Console

    from zoomrl.training.callbacks import Callback
    from zoomrl.training.config import TrainConfig
    from zoomrl.training.result import RunResult


def train(
    config: TrainConfig,
    *,
    make_env: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
) -> RunResult:
    """Train as ``config`` says, or continue the run that its directory holds.

    Args:
        config: the run; :func:`zoomrl.preset` makes one.
        make_env: builds one environment of your own (any Gymnasium environment with a Box of actions, and a Box or Dict
            of observations), in place of ``config.env.id``.
        callbacks: hooks into the run, besides those that ``config.callback`` names.
        console: where progress is shown; standard error by default.

    Returns:
        What came of it. A signal (SIGTERM, Ctrl-C) ends it too, after a checkpoint, and ``finished`` is then False.

    Raises:
        ConfigError: an option or combination that cannot work.
        DemonstrationError: the demonstrations are damaged or do not fit the environment.
        CheckpointError: the run directory holds another config, or cannot be read or written.
        NonFiniteLossError: learning diverged.
        MissingDependencyError: the simulator, or what was asked to log to, is not installed.
        WorkerError: an environment failed in a way that a restart does not mend; SimulatorError where it raised.
    """
    from zoomrl.training.config import TrainConfig

    if not isinstance(config, TrainConfig):
        raise ConfigError(f'train takes a config, as preset("cqn-gym") makes one, got {config!r:.80}')
    from zoomrl.training.session import run_session

    return run_session(config, make_env, callbacks, console)
