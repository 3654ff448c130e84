"""What a file of somebody's could start, and who has to say so before."""

from __future__ import annotations

from pathlib import Path

from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError


def check_code(path: Path, env: EnvConfig) -> None:
    """Refuse to run what the files at ``path`` name as their environment, unless that runs no code of theirs.

    Args:
        path: of a run or a bundle.
        env: options of its environment; without an interpreter that the caller has named.

    Raises:
        ConfigError: an interpreter would be started, or a module imported.
    """
    from zoomrl.envs.registry import code_named

    if named := code_named(env):
        raise ConfigError(
            f"{path} names an environment, and so asks to {' and to '.join(named)}, which could do anything on this "
            "machine. If it is yours, or you trust who made it, add --trust; `zoomrl eval` and `zoomrl lens` also take "
            "an interpreter with --env-python. The weights alone are safe to load: zoomrl.load_policy runs nothing"
        )
