"""For simulators that sample from numpy's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class GlobalStream:
    """A random stream of one simulator's own, lent to numpy's global generator for as long as the simulator runs."""

    def __init__(self, seed: int = 0) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start the stream again, from ``seed`` in 0 .. 2**32 - 1."""
        self._state = np.random.RandomState(seed).get_state()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let the global generator go on with this stream; it is put back as it was, also after an error."""
        before = np.random.get_state()
        np.random.set_state(self._state)
        try:
            yield
        finally:
            self._state = np.random.get_state()
            np.random.set_state(before)
