"""Hooks into a run: callbacks see its steps, episodes, updates, evaluations and checkpoints, and may end it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from zoomrl.errors import CheckpointError, ConfigError, unknown_name
from zoomrl.plugins import Registry, import_named

if TYPE_CHECKING:
    from zoomrl.agents.contract import Agent, Metrics
    from zoomrl.data.episode import Episode
    from zoomrl.data.replay import ReplayBuffer
    from zoomrl.training.config import TrainConfig
    from zoomrl.training.evaluate import Evaluation


class Run(Protocol):
    """What a callback is given.

    Attributes:
        config: of the run.
    """

    config: TrainConfig

    @property
    def directory(self) -> Path:
        """Where the run writes."""
        ...

    @property
    def agent(self) -> Agent:
        """What learns. Changing it changes the run."""
        ...

    @property
    def replay(self) -> ReplayBuffer:
        """What it learns from. Changing it changes the run."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """``env_steps``, ``agent_steps`` and ``updates`` so far."""
        ...

    @property
    def seconds(self) -> float:
        """Wall time spent on the run so far, also before it was resumed, in seconds."""
        ...

    def log(self, metrics: Mapping[str, float]) -> None:
        """Report numbers: the next row of learning metrics holds their means, as ``callback/NAME``."""
        ...

    def end(self, reason: str) -> None:
        """End the run early, with its evaluation at the end, as if all steps had been made."""
        ...


class Callback:
    """A hook into a run. Override what you need; what depends on the past belongs into the state."""

    def on_start(self, run: Run) -> None:
        """Everything is built or restored, and nothing has been done yet in this process."""

    def on_step(self, run: Run) -> None:
        """An agent step was taken in every environment, and the updates that it called for were made."""

    def on_episode(self, run: Run, episode: Episode, row: Mapping[str, Any]) -> None:
        """A training episode ended and is in the replay; ``row`` is its row in ``metrics.jsonl``."""

    def on_update(self, run: Run, metrics: Metrics) -> None:
        """The agent made an update; ``metrics`` are 0-d tensors on its device, which a GPU must wait for if read."""

    def on_metrics(self, run: Run, row: Mapping[str, float]) -> None:
        """A row of learning metrics is due: means since the last one, with the counters, the time and the speed."""

    def on_evaluation(self, run: Run, evaluation: Evaluation, row: Mapping[str, Any]) -> None:
        """An evaluation during training has its result; ``row`` is its row in ``metrics.jsonl``."""

    def on_checkpoint(self, run: Run, path: Path) -> None:
        """A checkpoint was written to ``path``. It holds the state of before this call."""

    def on_end(self, run: Run, finished: bool) -> None:
        """Training is over, or was interrupted (``finished`` is False). The evaluation at the end is yet to come."""

    def state_dict(self) -> dict[str, Any]:
        """What is to be saved in checkpoints: tensors, numbers, text, and lists and dictionaries of these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""


class EarlyStopping(Callback):
    """Ends a run after some evaluations in a row that are no better than the best before.

    Of two evaluations the one that lost fewer episodes to the simulator is the better, then the one with more success,
    then the one with the higher mean return.

    Args:
        patience: how many, 1 or more.
    """

    def __init__(self, patience: int = 5) -> None:
        if patience < 1:
            raise ConfigError(f"patience must be at least 1, got {patience}")
        self.patience = patience
        self._best: list[float] | None = None
        self._since = 0

    def on_evaluation(self, run: Run, evaluation: Evaluation, row: Mapping[str, Any]) -> None:
        """Compare it with the best, and end the run after ``patience`` evaluations that were no better."""
        score = None if evaluation.score is None else list(evaluation.score)
        if score is not None and (self._best is None or score > self._best):
            self._best, self._since = score, 0
            return
        self._since += 1
        if self._since >= self.patience:
            run.end(f"no evaluation of the last {self._since} is better than the best before")

    def state_dict(self) -> dict[str, Any]:
        """The best score, and how many evaluations ago."""
        return {"best": self._best, "since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._best, self._since = state["best"], state["since"]


CALLBACKS: Registry[type[Callback]] = Registry(
    "zoomrl.callbacks", {"early_stopping": "zoomrl.training.callbacks:EarlyStopping"}, Callback
)
"""Callbacks by name: classes that are made without arguments."""


class Callbacks:
    """Several callbacks as one.

    Args:
        own: of zoomrl itself, called first. Their states are entries of the run's own state.
        others: what the user adds, in the order in which they are called. Their states are kept by name.
    """

    def __init__(self, own: Iterable[Callback], others: Iterable[Callback] = ()) -> None:
        self._own = list(own)
        self._by_name: dict[str, Callback] = {}
        seen: Counter[str] = Counter()
        for callback in others:
            kind = f"{type(callback).__module__}:{type(callback).__qualname__}"
            seen[kind] += 1
            self._by_name[kind if seen[kind] == 1 else f"{kind} {seen[kind]}"] = callback

    def call(self, hook: str, *arguments: Any) -> None:
        """Call the method ``hook`` of each."""
        for callback in (*self._own, *self._by_name.values()):
            getattr(callback, hook)(*arguments)

    def state_dict(self) -> dict[str, Any]:
        """Their states.

        Raises:
            ConfigError: a state holds what a checkpoint cannot be read with again.
        """
        states = {name: callback.state_dict() for name, callback in self._by_name.items()}
        for name, state in states.items():
            if wrong := _not_savable(state, "state"):
                raise ConfigError(
                    f"the state of the callback {name} cannot be saved: {wrong}. Use tensors, numbers, text, None, and "
                    "lists and dictionaries of these"
                )
        own = {key: value for callback in self._own for key, value in callback.state_dict().items()}
        return {"callbacks": states, **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; other entries are left alone. A state without any callbacks' begins them anew.

        Raises:
            CheckpointError: the run had other callbacks.
        """
        for callback in self._own:
            callback.load_state_dict(state)
        if "callbacks" not in state:  # of an earlier version, or of the run that this one is a fork of
            return
        states = state["callbacks"]
        if states.keys() != self._by_name.keys():
            had, has = (", ".join(names) or "none" for names in (states, self._by_name))
            raise CheckpointError(
                f"the run was trained with other callbacks: {had} then, {has} now. Pass the same ones to resume it, or "
                "choose another --run-dir"
            )
        for name, callback in self._by_name.items():
            callback.load_state_dict(states[name])


def _not_savable(value: Any, place: str) -> str:
    """What of a state is not plain data, in words; empty where all is. Checkpoints are read without running code."""
    if type(value) in (bool, int, float, str, type(None), torch.Tensor):
        return ""
    if type(value) in (list, tuple):
        return next(filter(None, (_not_savable(one, f"{place}[{n}]") for n, one in enumerate(value))), "")
    if type(value) is dict and all(type(key) in (str, int) for key in value):
        return next(filter(None, (_not_savable(one, f"{place}[{key!r}]") for key, one in value.items())), "")
    return f"{place} is of type {type(value).__module__}.{type(value).__qualname__}"


def make_callbacks(names: Sequence[str]) -> list[Callback]:
    """The callbacks called ``names``: of :data:`CALLBACKS`, or ``module:Class``, made without arguments.

    Raises:
        ConfigError: one cannot be found, is no callback, or needs arguments.
    """
    return [_make(name) for name in names]


def _make(name: str) -> Callback:
    module, colon, attribute = name.partition(":")
    if not colon:
        if name not in CALLBACKS:
            raise unknown_name("callback", name, [*CALLBACKS, "module:Class"])
        kind: Any = CALLBACKS[name]
    else:
        try:
            kind = getattr(import_named(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"the callback {name!r} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Callback)):
        raise ConfigError(f"the callback {name!r} must be a subclass of zoomrl.Callback, and is {kind!r:.80}")
    try:
        return kind()
    except TypeError as error:
        raise ConfigError(
            f"the callback {name!r} cannot be made without arguments ({error}); pass an instance to "
            "train(config, callbacks=[...])"
        ) from error
