"""The agents by name. Loads no torch."""

from __future__ import annotations

from zoomrl.agents.config import AgentConfig
from zoomrl.plugins import Registry

AGENT_CONFIGS: Registry[type[AgentConfig]] = Registry(
    "zoomrl.agents",
    {
        "cqn": "zoomrl.agents.cqn.config:CQNConfig",
        "cqn_as": "zoomrl.agents.cqn.config:CQNASConfig",
        "drqv2": "zoomrl.agents.drqv2.config:DrQv2Config",
        "drqv2_plus": "zoomrl.agents.drqv2.config:DrQv2PlusConfig",
        "drqv2_as": "zoomrl.agents.drqv2.config:DrQv2ASConfig",
        "taco": "zoomrl.agents.taco.config:TACOConfig",
        "tcrl": "zoomrl.agents.tcrl.config:TCRLConfig",
        "td3": "zoomrl.agents.td3.config:TD3Config",
        "iqrl": "zoomrl.agents.td3.config:IQRLConfig",
        "td7": "zoomrl.agents.td7.config:TD7Config",
        "sac": "zoomrl.agents.sac.config:SACConfig",
        "bc": "zoomrl.agents.bc.config:BCConfig",
        "act": "zoomrl.agents.act.config:ACTConfig",
    },
    AgentConfig,
)
"""Hyperparameters of each agent, whose ``learner`` names its update rule."""
