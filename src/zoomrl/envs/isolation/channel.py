"""What an isolated simulator and its parent share: a line of messages, and a block of memory for arrays.

NumPy and the standard library alone, since the simulator's interpreter may have nothing else.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.gym_base import Observation
from zoomrl.spec import EnvSpec

_SHARED_MEMORY = "/dev/shm"
# Arrays begin at multiples of this, a cache line.
_ALIGNMENT = 64


class Channel:
    """Messages over a connected socket, each a JSON object on a line of its own."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def send(self, message: dict[str, Any]) -> None:
        """Send; OSError when nobody is there to receive."""
        self._connection.sendall(_encode(message).encode() + b"\n")

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next message.

        Args:
            deadline: when to give up, of ``time.monotonic``; None waits for ever.

        Raises:
            TimeoutError: at the deadline.
            EOFError: when the other side is gone.
        """
        while b"\n" not in self._received:
            try:
                # 0 would not wait, not even for what is there already.
                self._connection.settimeout(deadline and max(1e-4, deadline - time.monotonic()))
                part = self._connection.recv(65536)
            except TimeoutError:
                raise
            except OSError as error:
                raise EOFError from error
            if not part:
                raise EOFError
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def shut_down(self) -> None:
        """End the conversation; both sides see it, also one that waits in another thread. OSError when it is over."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Block:
    """The action, the observation and an image of one environment, in memory that both sides see.

    Both sides compute the same places from the spec. The memory is a file without a name, so that nothing is
    left of it when both are gone, however they went.

    Args:
        descriptor: the file, of :func:`nameless_file`.
        spec: shapes and dtypes.
        allocate: whether to make the file large enough; the simulator's side does.

    Raises:
        OSError: when there is not enough memory.
    """

    def __init__(self, descriptor: int, spec: EnvSpec, *, allocate: bool) -> None:
        self._descriptor, self._allocate = descriptor, allocate
        places: dict[str, int] = {}
        end = _padded(4 * spec.action_dim)
        for name, array in spec.observations.items():
            places[name] = end
            end = _padded(end + int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize)
        memory = self._map(end)
        self.action: NDArray[np.float32] = np.ndarray(spec.action.shape, np.float32, memory)
        self.observation: Observation = {
            name: np.ndarray(array.shape, array.dtype, memory, places[name])
            for name, array in spec.observations.items()
        }
        self._image_at = end
        self._with_image = memory

    def image(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The image's place, uint8 of this shape; the file grows to hold it."""
        end = self._image_at + int(np.prod(shape))
        if end > len(self._with_image):
            self._with_image = self._map(end)
        return np.ndarray(shape, np.uint8, self._with_image, self._image_at)

    def _map(self, size: int) -> mmap.mmap:
        if self._allocate:
            # Writing to memory that is promised but not there would be a crash instead of an error.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, size)
            else:
                os.ftruncate(self._descriptor, size)
        return mmap.mmap(self._descriptor, size)


def nameless_file() -> int:
    """Descriptor of an empty file without a name, in memory where the system offers that."""
    folder = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


def scalars(info: Any) -> dict[str, Any]:
    """The numbers, truth values and strings of a simulator's info; the rest does not travel."""
    plain = (bool, int, float, str, np.bool_, np.integer, np.floating)
    return {str(name): value for name, value in info.items() if isinstance(value, plain)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not travel")


_encode = json.JSONEncoder(default=_plain).encode


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
