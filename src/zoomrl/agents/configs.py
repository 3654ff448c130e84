"""Hyper-parameters of the agents. Plain data: importing this package loads no torch."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeGuard, TypeVar, get_args

from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.agents.td7.config import TD7Config
from zoomrl.nets.config import RepresentationConfig

__all__ = [
    "AGENT_CONFIGS",
    "IMITATION",
    "ACTConfig",
    "AgentConfig",
    "BCConfig",
    "CQNASConfig",
    "CQNConfig",
    "DrQv2ASConfig",
    "DrQv2Config",
    "DrQv2PlusConfig",
    "IQRLConfig",
    "SACConfig",
    "TACOConfig",
    "TCRLConfig",
    "TD3Config",
    "TD7Config",
    "categorical",
    "chunked",
    "convert",
]

AgentConfig = (
    CQNConfig
    | CQNASConfig
    | DrQv2Config
    | DrQv2PlusConfig
    | DrQv2ASConfig
    | TACOConfig
    | TCRLConfig
    | TD3Config
    | IQRLConfig
    | TD7Config
    | SACConfig
    | BCConfig
    | ACTConfig
)
AGENT_CONFIGS: dict[str, type[AgentConfig]] = {config.name: config for config in get_args(AgentConfig)}
Config = TypeVar("Config", bound=AgentConfig)
FAMILIES = (DrQv2Config, TD3Config)
"""Families whose variants differ by their defaults."""
IMITATION = (BCConfig, ACTConfig)
"""Agents that learn from demonstrations alone, and know no rewards."""


def convert(config: AgentConfig, kind: type[Config]) -> Config:
    """The hyper-parameters of ``config`` for another algorithm; those that are not carried over are its defaults.

    Between CQN and CQN-AS all that both have; within the families of DrQ-v2 and of TD3 what ``config`` changed of its
    own defaults, since the variants differ by theirs; between families what belongs to the task.
    """
    shared = {f.name for f in fields(kind)} & {f.name for f in fields(config)}
    if any(isinstance(config, family) and issubclass(kind, family) for family in FAMILIES):
        default, target = type(config)(), kind()
        names = {name for name in shared if getattr(config, name) != getattr(default, name)}
        if _latent(default) != _latent(target):
            names.discard("representation")  # whether there is one is what tells these two apart
    elif isinstance(config, CQNConfig) and issubclass(kind, CQNConfig):
        names = shared
    else:
        names = shared & {"normalize", "chunk_length"}
        # A scalar value has no support that would mean anything.
        if categorical(config):
            names |= shared & {"v_min", "v_max"}
    return kind(**{name: getattr(config, name) for name in names})


def _latent(config: AgentConfig) -> str:
    """Kind of representation; of agents that cannot have one too."""
    return getattr(config, "representation", RepresentationConfig()).kind


def categorical(config: AgentConfig) -> TypeGuard[CQNConfig | DrQv2Config]:
    """Whether values are distributions over atoms, between ``v_min`` and ``v_max``."""
    return isinstance(config, CQNConfig | DrQv2Config) and config.value == "categorical"


def chunked(config: AgentConfig) -> bool:
    """Whether the algorithm proposes action sequences."""
    return hasattr(config, "chunk_length")
