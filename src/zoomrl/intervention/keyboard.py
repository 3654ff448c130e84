"""Corrections by keyboard: a page shows the environment, and held keys become actions."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from zoomrl.errors import ConfigError
from zoomrl.intervention.config import InterventionConfig
from zoomrl.intervention.page import Page
from zoomrl.spec import EnvSpec

Array = NDArray[np.float32]

PAIRS = (("d", "a"), ("w", "s"), ("r", "f"), ("e", "q"), ("l", "j"), ("i", "k"), ("o", "u"), ("y", "h"))
"""Keys that raise and lower a dimension; the number keys choose which eight dimensions they move."""
GRIP = " "
_IMAGES_PER_S = 10.0
_USUAL_HZ = 10.0


class Keys:
    """Held keys to actions, by what each dimension means.

    A delta is a fraction of its half range while a key is held and zero otherwise; an absolute position moves by that
    fraction at every agent step and stays where it is otherwise; the space bar opens and closes the grippers.
    Dimensions of unknown meaning, such as torques, are treated as deltas.

    Args:
        spec: of the environment.
        step: fraction of half the range.
    """

    def __init__(self, spec: EnvSpec, step: float) -> None:
        self._low = np.asarray(spec.action.low, np.float32)
        self._high = np.asarray(spec.action.high, np.float32)
        meaning = np.array(spec.action_meaning or ("delta",) * spec.action_dim)
        self._stays = meaning != "delta"
        self._grips = meaning == "gripper"
        self.gripper = bool(self._grips.any())
        self._moved = np.flatnonzero(~self._grips)
        self._reach = step * (self._high - self._low) / 2
        self._action: Array | None = None
        self._gripped = False

    @property
    def groups(self) -> list[list[int]]:
        """Dimensions that the keys of :data:`PAIRS` move, by number key."""
        dims = self._moved.tolist()
        return [dims[first : first + len(PAIRS)] for first in range(0, len(dims), len(PAIRS))]

    def begin(self) -> None:
        """A new episode: positions are held from where it begins. A held space bar stays held."""
        self._action = None

    def release(self) -> None:
        """The policy acts again."""
        self._action = None
        self._gripped = False

    def action(self, proposed: Array, held: Collection[str], group: int) -> Array:
        """The action [A] of the keys ``held``, which move the dimensions of ``group``; at first from ``proposed``."""
        last = proposed if self._action is None else self._action
        action = np.where(self._stays, last, np.float32(0)).astype(np.float32)
        for dim, (more, less) in zip(self.groups[group], PAIRS, strict=False):
            action[dim] += self._reach[dim] * ((more in held) - (less in held))
        if GRIP in held and not self._gripped:
            middle = (self._low + self._high) / 2
            action = np.where(self._grips, np.where(action > middle, self._low, self._high), action)
        self._gripped = GRIP in held
        self._action = np.clip(action, self._low, self._high).astype(np.float32)
        return self._action


class Keyboard:
    """A person in a browser on this machine (or through a tunnel), who may take over.

    While they do, agent steps are no faster than the environment's control rate; else training runs as fast as it can.
    A page that was closed, or that has lost its connection, gives control back.

    Args:
        config: port and step of the keys.
        spec: of the environment.
        render: its image [H, W, 3].
        say: prints a line for the user.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self,
        config: InterventionConfig,
        spec: EnvSpec,
        render: Callable[[], NDArray[np.uint8]],
        say: Callable[[str], None],
    ) -> None:
        self._keys = Keys(spec, config.step)
        self._render = render
        self._say = say
        self._blind = False
        self._period = 1.0 / (spec.control_hz or _USUAL_HZ)
        self._sent = self._due = 0.0
        names = spec.action_meaning or ("value",) * spec.action_dim
        groups = [[f"{dim} ({names[dim]})" for dim in group] for group in self._keys.groups]
        about = {"env": spec.id, "pairs": PAIRS, "groups": groups, "gripper": self._keys.gripper}
        try:
            self._page = Page(config.port, about)
        except OSError as error:
            raise ConfigError(
                f"the page for corrections cannot be served at port {config.port}: {error.strerror}. "
                "Choose another intervene.port"
            ) from error
        say(f"corrections: open {self._page.address} in a browser on this machine")

    def action(self, episode: int, step: int, proposed: Array) -> Array | None:
        """What the held keys say; None while nobody has taken over."""
        now = time.monotonic()
        if self._page.watched and now - self._sent >= 1 / _IMAGES_PER_S:
            self._sent = now
            self._show(episode, step)
        held, group, taken = self._page.commands()
        if not taken:
            self._keys.release()
            return None
        if step == 0:
            self._keys.begin()
        time.sleep(max(0.0, self._due - now))
        self._due = max(self._due, now) + self._period
        return self._keys.action(proposed, held, min(group, len(self._keys.groups) - 1))

    def _show(self, episode: int, step: int) -> None:
        """Show the environment now. A renderer that fails costs its image, and is named once."""
        try:
            image = _jpeg(self._render())
        except (Exception, SystemExit) as error:
            if not self._blind:
                self._blind = True
                self._say(f"corrections: the page shows no new images ({type(error).__name__}: {error})")
            return
        self._page.show(image, episode, step)

    def close(self) -> None:
        """Stop serving the page. Safe to call twice."""
        self._page.close()


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
