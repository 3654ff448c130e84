"""Each option of an agent is read by that agent: by its networks, its updates, or what the run asks of its config."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from batches import ACTIONS, BOTH, ONLY_STATE, make_batch, make_observation
from zoomrl.agents.build import assemble
from zoomrl.agents.config import AgentConfig
from zoomrl.agents.cqn.config import CQNConfig, ProposalConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig, RepresentationConfig

pytestmark = pytest.mark.long

SMALL: dict[str, Any] = {
    "hidden_dim": 8,
    "hidden": (8,),
    "dim": 8,
    "heads": 2,
    "feedforward": 8,
    "embedding_dim": 6,
    "chunk_length": 3,
    "atoms": 5,
    "levels": 2,
    "bins": 3,
    "token_hidden": 6,
    "state_hidden": (8,),
    "encoder.channels": 2,
    "representation.dim": 8,
    "representation.encoder_hidden": (8,),
    "representation.model_hidden": (8,),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "imitates too, scalar, targets at every update": {"bc_lambda": 1.0, "value": "scalar", "target_interval": 1},
    "categorical, on a latent of levels, strided": {
        "value": "categorical",
        "encoder.kind": "strided",
        "representation.kind": "self_predictive",
        "representation.quantise": True,
        "representation.reward_coef": 1.0,
    },
    "on a latent without levels, resnet": {
        "encoder.kind": "resnet18",
        "encoder.share_views": True,
        "representation.kind": "self_predictive",
        "representation.quantise": False,
        "representation.reconstruction_coef": 1.0,
        "representation.projection_dim": 3,
    },
    "atoms by steps to go, imitation that falls": {
        "value": "categorical",
        "v_min": 0.0,
        "v_max": 1.0,
        "atom_spacing": "geometric",
        "bc_schedule": "linear(1,0,9)",
    },
    "one of the chunks that are proposed": {
        "proposals.count": 2,
        "proposals.choose": "random",
        "proposals.hidden": (6,),
    },
    "a target for each prefix": {"prefix_targets": True},
    "policies judged by several episodes": {"checkpoint_after": 3, "policy_delay": 1},
}
"""Options that make others count, by name; those that an agent does not have are left out."""


@contextmanager
def reads(config: AgentConfig) -> Iterator[set[str]]:
    """Full names of the fields of ``config`` that are read meanwhile, those of its encoder and latent included."""
    seen: set[str] = set()
    watched = {id(config): "", id(config.encoder): "encoder.", id(config.representation): "representation."}
    if isinstance(config, CQNConfig):
        watched[id(config.proposals)] = "proposals."
    kinds = {type(config), EncoderConfig, RepresentationConfig, ProposalConfig}
    originals = {kind: kind.__getattribute__ for kind in kinds}

    def spy(kind: type) -> Any:
        def read(self: Any, name: str) -> Any:
            if id(self) in watched and name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
                seen.add(watched[id(self)] + name)
            return originals[kind](self, name)

        return read

    try:
        for kind in kinds:
            kind.__getattribute__ = spy(kind)  # type: ignore[method-assign]
        yield seen
    finally:
        for kind in kinds:
            del kind.__getattribute__


def variant(config: AgentConfig, changes: dict[str, Any]) -> AgentConfig | None:
    """``config``, small, with those of the ``changes`` that it has; None where it has none of them."""
    own = {field.name for field in dataclasses.fields(config)}
    if changes and not any(name.partition(".")[0] in own for name in changes):
        return None
    taken: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in {**SMALL, **changes}.items():
        group, dot, field = name.rpartition(".")
        if (group or field) in own:
            (parts.setdefault(group, {}) if dot else taken)[field] = value
    latent = parts.get("representation", {})
    if latent and latent.get("kind", config.representation.kind) == "none":
        del parts["representation"]  # what is small of a latent is refused without one
    # At once: some are refused without others.
    taken |= {group: dataclasses.replace(getattr(config, group), **values) for group, values in parts.items()}
    return config.replaced(**taken)


def live(config: AgentConfig) -> None:
    """What an agent goes through: it is built, learns, acts, and is asked by the run."""
    shape = ONLY_STATE if not any(f.name == "encoder" for f in dataclasses.fields(config)) else BOTH
    statistics = (torch.zeros(shape.state), torch.ones(shape.state))
    agent = assemble(config, shape, ACTIONS, 0, statistics)
    for seed in range(max(config.policy_delay, 2)):
        agent.update(make_batch(shape, agent.chunk_length, size=4, seed=seed, sequence_length=agent.sequence_length))
    agent.act(make_observation(shape, 2, torch.Generator()), torch.Generator().manual_seed(0))
    agent.validate(make_batch(shape, agent.chunk_length, size=4, seed=0, sequence_length=agent.sequence_length))
    agent.episode_ended(1.0)
    agent.episode_ended(2.0)
    agent.update(make_batch(shape, agent.chunk_length, size=4, seed=9, sequence_length=agent.sequence_length))
    agent.episode_ended(3.0)
    config.task_defaults()
    config.grid, config.support, getattr(config, "coarse_values", None)


@pytest.mark.parametrize(
    "name",
    [name if name in ("cqn_as", "td3") else pytest.param(name, marks=pytest.mark.slow) for name in AGENT_CONFIGS],
)
def test_every_option_of_an_agent_is_read_by_it(name):
    plain = AGENT_CONFIGS[name]()
    wanted = {field.name for field in dataclasses.fields(plain)}
    groups = {"encoder": EncoderConfig, "representation": RepresentationConfig, "proposals": ProposalConfig}
    for group, kind in groups.items():
        if group in wanted:
            wanted |= {f"{group}.{field.name}" for field in dataclasses.fields(kind)}
    wanted -= set(plain.unused)
    found: set[str] = set()
    for changes in VARIANTS.values():
        config = variant(plain, changes)
        if config is not None:
            with reads(config) as seen:
                live(config)
            found |= seen
    assert wanted - found == set(), f"{name}: nobody reads {sorted(wanted - found)}"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tcrl", {"trunk_dim": 32}, "agent.trunk_dim has no effect on tcrl; leave it at 64"),
        ("act", {"encoder": EncoderConfig(layers=1)}, "agent.encoder.layers has no effect on act; leave it at 0"),
    ],
)
def test_an_option_without_use_is_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        AGENT_CONFIGS[name](**changes)


def test_an_option_that_nobody_reads_is_seen():
    from zoomrl.agents.td3.config import TD3Config

    @dataclasses.dataclass(frozen=True)
    class Own(TD3Config):
        forgotten: int = 1

    config = Own()
    with reads(config) as seen:
        live(config)
    assert "forgotten" not in seen
    assert {"lr", "policy_delay"} <= seen
