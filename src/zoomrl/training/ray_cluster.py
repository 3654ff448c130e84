"""Joining a Ray cluster, for sweeps and for actors."""

from __future__ import annotations

import os
import socket
from typing import Any

from zoomrl.errors import ConfigError, import_optional

_PATIENCE_S = 5.0
"""Ray itself tries for minutes, and says so in lines of its own."""


def joined(address: str = "") -> tuple[Any, bool]:
    """The module ``ray``, connected, and whether this call connected it.

    Args:
        address: of the cluster, host:port; empty takes ``RAY_ADDRESS``, or the one on this machine, or begins one.

    Raises:
        ConfigError: nothing answers at the address.
        MissingDependencyError: without the extra ``zoomrl[ray]``.
    """
    ray = import_optional("ray", "ray")
    if ray.is_initialized():
        return ray, False
    named = address or os.environ.get("RAY_ADDRESS", "")
    host, colon, port = named.rpartition(":")
    if colon and port.isdecimal() and "/" not in named:
        try:
            socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
        except OSError as error:
            raise ConfigError(
                f"no Ray cluster answers at {named} ({error.strerror or error}). Start one with: ray start --head "
                f"--port {port}; or leave the address (RAY_ADDRESS) out, to take this machine's cluster or begin one"
            ) from error
    ray.init(address=address or None, log_to_driver=False, include_dashboard=False)
    return ray, True
