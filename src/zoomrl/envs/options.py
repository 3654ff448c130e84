"""Which options of :class:`EnvConfig` an environment honours, the refusal of the rest, and what came of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec

COMMON = frozenset({"id", "time_limit", "action_repeat", "num_envs", "workers", "python", "timeout"})
"""Options that hold for every environment: what runs it honours them, not its adapter."""

ANY = None
"""Choices of an option whose values the adapter checks itself."""

IMAGES: Mapping[str, tuple[Any, ...] | None] = {"cameras": ANY, "image_size": ANY}
"""Options of environments that show images."""

FITTED: Mapping[str, tuple[Any, ...] | None] = {**IMAGES, "image_fit": ANY, "image_crop": ANY}
"""Options of environments whose images come from elsewhere, and are cropped and fitted here."""

RENDERED: Mapping[str, tuple[Any, ...] | None] = {**IMAGES, "shadows": ANY, "reflections": ANY, "antialiasing": ANY}
"""Options of environments whose images are rendered here."""

IMAGE_OPTIONS = ("image_size", "image_fit", "image_crop", "shadows", "reflections", "antialiasing")
"""Options that mean nothing where no image is observed."""

_INSTEAD = {
    "control_hz": "its simulators have one rate each; leave it at 0",
    "image_fit": "its images are rendered at image_size, and nothing has to be fitted; leave it at 'none'",
    "image_crop": "its images are rendered at image_size, and nothing is cropped; leave it empty",
    "terminate_on_success": "an episode ends where the environment itself ends it; leave it on",
}
"""What is said of options that few environments honour."""

DEFAULTS: Mapping[str, Any] = {one.name: one.default for one in fields(EnvConfig)}


@dataclass(frozen=True)
class Options:
    """What an adapter declares to honour, besides :data:`COMMON` and every option's default.

    Attributes:
        suite: the name of its environments, for messages.
        choices: option -> the values that it can have, or :data:`ANY`.
        instead: option -> why it cannot be had, and what to do, where the choices alone do not say it.
    """

    suite: str
    choices: Mapping[str, tuple[Any, ...] | None]
    instead: Mapping[str, str] = field(default_factory=dict)

    def check(self, config: EnvConfig, env_id: str) -> None:
        """Refuse an option of ``config`` that the environment ``env_id`` does not honour.

        Raises:
            ConfigError: names the option, its value, why it cannot be had and what to do.
        """
        for name, default in DEFAULTS.items():
            value = getattr(config, name)
            if name in COMMON or value == default:
                continue
            choices = self.choices.get(name, ())
            if choices is not ANY and value not in choices:
                raise ConfigError(self._refusal(env_id, name, value, default))

    def honours(self, name: str) -> bool:
        """Whether the option called ``name`` can have another value than its default."""
        return name in COMMON or name in self.choices

    def _refusal(self, env_id: str, name: str, value: Any, default: Any) -> str:
        if default is True:
            what = f"{name} cannot be switched off for {self.suite}"
        else:
            what = f"{name} {value!r} is not available for {self.suite}"
        choices = self.choices.get(name) or ()
        others = " or ".join(repr(choice) for choice in choices)
        known = f"choose {others}, or leave it at {default!r}" if others else f"leave it at {default!r}"
        return f"{env_id}: {what}; {self.instead.get(name) or _INSTEAD.get(name) or known}"


def differences(config: EnvConfig, spec: EnvSpec) -> Iterator[str]:
    """Where an environment that shows ``spec`` is not what ``config`` asks for, both sides named.

    An option at its default asks for nothing. What a spec does not tell is not compared.
    """
    for name, got in _shown(config, spec).items():
        asked = getattr(config, name)
        same = abs(asked - got) < 1e-3 if name == "control_hz" else asked == got
        if asked != DEFAULTS[name] and not same:
            yield f"{name}: asked for {asked!r}, got {got!r}"
    if config.state != "auto" and (config.state != "none") != (spec.state_dim > 0):
        yield f"state: asked for {config.state!r}, got {spec.state_dim} numbers"
    if config.state == "full" and not config.cameras and spec.cameras:
        yield f"cameras: asked for the state alone, got {spec.cameras!r}"


def _shown(config: EnvConfig, spec: EnvSpec) -> dict[str, Any]:
    """What ``spec`` shows of options that it has in the same form."""
    shown: dict[str, Any] = {
        "time_limit": spec.time_limit,
        "action_repeat": spec.action_repeat,
        "control_hz": spec.control_hz * spec.action_repeat,
        "image_fit": spec.image_fit,
        "image_crop": spec.image_crop,
    }
    if config.reward != "native":  # a suite's own reward may be sparse
        shown["reward"] = spec.reward
    if config.cameras != ("all",):
        shown["cameras"] = spec.cameras
    if "rgb" in spec.observations:
        height, width = spec.observations["rgb"].shape[1:3]
        shown["image_size"] = height if height == width else (height, width)
    if spec.cameras:
        # An environment that renders by itself says nothing of it.
        effects = {name: name in spec.rendering for name in ("shadows", "reflections", "antialiasing")}
        shown |= effects if spec.rendering else {}
    return shown
