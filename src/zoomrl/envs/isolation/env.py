"""An environment whose simulator runs in another Python environment, and looks as if it ran in this one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, Env, Observation
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.isolation.process import Simulator
from zoomrl.envs.processes import DEATHS_IN_A_ROW, START_TIMEOUT_S, SimulatorDied
from zoomrl.errors import WorkerError

_log = logging.getLogger("zoomrl.envs")


class IsolatedEnv(Env):
    """The environment of ``config``, run by the interpreter ``config.python``.

    Observations, rewards, flags, experts and images are those of the environment itself, bit for bit where both
    interpreters have the same versions. Of its info, numbers, truth values and strings arrive.

    Args:
        config: with ``python`` set.

    Raises:
        ConfigError: for an interpreter that cannot be used, or what the environment refuses.
        MissingDependencyError: when the interpreter lacks NumPy or the simulator.
        WorkerError: when the environment raises anything but zoomrl's own errors (its traceback is in the
            message), or its simulator dies three times in a row without completing a step.
        SimulatorDied: when it crashes or hangs. The next ``reset`` starts it again.
    """

    def __init__(self, config: EnvConfig) -> None:
        self._config = config
        self._deaths = 0
        self._closed = False
        self._simulator: Simulator | None = Simulator(config)
        super().__init__(self._simulator.spec)
        self.has_expert = self._simulator.has_expert

    @property
    def pid(self) -> int | None:
        """Process id of the simulator, another one after it died; None where there is none."""
        return None if self._simulator is None else self._simulator.pid

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one agent step; see :meth:`Env.step`. Raises SimulatorDied when the simulator crashes or hangs."""
        self.send_step(action)
        return self.receive_step()

    def send_step(self, action: NDArray[np.float32]) -> None:
        """The first half of :meth:`step`, which does not wait: several simulators can so work at the same time."""
        accepted = self._accepted(action)
        simulator = self._alive()
        simulator.block.action[...] = accepted
        simulator.send("step")

    def receive_step(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """The second half of :meth:`step`."""
        reply = self._receive(self._alive())
        self._deaths = 0
        terminated, truncated = reply["terminated"], reply["truncated"]
        self._running = not (terminated or truncated)
        return self._observe(), reply["reward"], terminated, truncated, reply["info"]

    def _render(self) -> NDArray[np.uint8]:
        """The simulator's image, uint8 [H, W, 3]."""
        simulator = self._alive()
        shape = tuple(self._ask(simulator, "render")["shape"])
        return simulator.block.image(shape).copy()

    def close(self) -> None:
        """End the simulator's process. Safe to call twice."""
        self._closed, self._running = True, False
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None

    def _begin(self, seed: int) -> Mapping[str, Any]:
        # No episode is lost when a simulator dies here, so the reset is simply tried again.
        while True:
            try:
                if self._simulator is None and not self._closed:
                    self._simulator = self._start_again()
                info: Mapping[str, Any] = self._ask(self._alive(), "reset", seed=seed)["info"]
            except SimulatorDied as death:
                _log.warning("Starting it again: %s", death)
            else:
                return info

    def _observe(self) -> Observation:
        return {name: place.copy() for name, place in self._alive().block.observation.items()}

    def _expert(self) -> NDArray[Any] | None:
        simulator = self._alive()
        return simulator.block.action.copy() if self._ask(simulator, "expert")["known"] else None

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        raise NotImplementedError("whole agent steps cross to the simulator, never single control steps")

    # ---- life and death ----------------------------------------------------------------------------------

    def _ask(self, simulator: Simulator, name: str, **arguments: Any) -> dict[str, Any]:
        simulator.send(name, **arguments)
        return self._receive(simulator)

    def _receive(self, simulator: Simulator) -> dict[str, Any]:
        try:
            return simulator.receive()
        except SimulatorDied as death:
            raise self._record_crash(death) from None

    def _alive(self) -> Simulator:
        if self._simulator is None:
            what = "the environment is closed" if self._closed else "its simulator died; reset() starts it again"
            raise WorkerError(f"{self.env_spec.id}: {what}")
        return self._simulator

    def _start_again(self) -> Simulator:
        try:
            simulator = Simulator(self._config)
        except SimulatorDied as death:
            raise self._record_crash(death) from None
        if simulator.spec != self.env_spec:
            simulator.close()
            raise WorkerError(f"{self.env_spec.id} is another environment after its simulator was started again")
        return simulator

    def _record_crash(self, death: SimulatorDied) -> WorkerError:
        """What to raise: the death itself, or that it was one too many."""
        self._simulator = None
        self._running = False
        self._deaths += 1
        if self._deaths < DEATHS_IN_A_ROW:
            return death
        return WorkerError(
            f"{self.env_spec.id} died {self._deaths} times in a row without completing a step. If it was killed for "
            "want of memory, use fewer environments; if it is merely slow, raise env.timeout "
            f"({self._config.timeout:g} s). The last time: {death}"
        )


def worst_case_timeout(config: EnvConfig) -> float:
    """Seconds that the environment of ``config`` may take to answer.

    An isolated simulator is watched over by its own parent, which starts it again; who watches that parent has to
    let it finish.
    """
    if not config.python:
        return config.timeout
    # A start is a greeting and a build, and then comes an answer.
    return DEATHS_IN_A_ROW * (START_TIMEOUT_S + max(START_TIMEOUT_S, config.timeout) + config.timeout)
