"""Hyper-parameters of the agents. Plain data: importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, TypeVar

from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig

MAX_CELLS = 2**20
"""Finest action grid that float32 addresses without rounding into a neighbour."""


@dataclass(frozen=True)
class CQNConfig:
    """Coarse-to-fine Q-network (Seo et al. 2024). Defaults are the published ones for demo-driven robot tasks."""

    name: ClassVar[str] = "cqn"

    # The zoom grid.
    levels: int = 3
    """Zoom levels L."""
    bins: int = 5
    """Bins K per level."""

    # The critic.
    value: Literal["categorical", "scalar"] = "categorical"
    """Categorical (C51, cross-entropy) or scalar (mean squared error) values."""
    atoms: int = 51
    """Atoms Z of a categorical value."""
    v_min: float = -2.0
    """Lowest atom."""
    v_max: float = 2.0
    """Highest atom."""
    dueling: Literal["separate", "shared", "none"] = "separate"
    """Separate value and advantage streams, two heads on one shared stream, or a single head."""
    hidden_dim: int = 512
    """Width of the hidden layers."""
    hidden_bias: bool = False
    """Biases in the hidden layers."""
    trunk_dim: int = 64
    """Width of the state's trunk (Linear, LayerNorm, tanh); 0 feeds the state to the first layer."""
    normalize: Literal["none", "demos"] = "none"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    # Learning.
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW with decoupled weight decay, or Adam."""
    lr: float = 5e-5
    """Learning rate."""
    weight_decay: float = 0.1
    """Weight decay, on all parameters (AdamW)."""
    double_q: bool = True
    """Choose the bootstrap action with the online critic and value it with the target critic."""
    target_tau: float = 0.02
    """Step of the target critic towards the online one; 1 copies it."""
    target_interval: int = 1
    """Updates between target steps."""
    critic_lambda: float = 0.1
    """Weight of the temporal-difference loss."""
    bc_lambda: float = 1.0
    """Weight of the imitation losses on demonstrated samples; 0 turns them off."""
    bc_margin: float = 0.1
    """Margin by which a demonstrated bin's value must lead."""

    # Acting.
    act_with: Literal["target", "online"] = "target"
    """Critic that acts, in training and evaluation."""
    tie_threshold: float = 1e-4
    """Bins whose values differ by less are drawn at random; 0 always takes the first best."""

    def __post_init__(self) -> None:
        for name in ("levels", "atoms", "hidden_dim", "target_interval"):
            _at_least(self, name, 2 if name == "atoms" else 1)
        _at_least(self, "bins", 2)
        if self.bins**self.levels > MAX_CELLS:
            raise ConfigError(
                f"agent.bins ** agent.levels must not exceed {MAX_CELLS}, which float32 can address; "
                f"got {self.bins} ** {self.levels}"
            )
        _check_learning(self)
        for name in ("critic_lambda", "bc_lambda", "trunk_dim"):
            _at_least(self, name, 0)


@dataclass(frozen=True)
class CQNASConfig(CQNConfig):
    """CQN with action sequences (Seo & Abbeel 2024): values for every step of a chunk of T actions."""

    name: ClassVar[str] = "cqn_as"

    horizon: int = 4
    """Length T of the action sequence."""
    gru_layers: int = 1
    """Layers of the GRU over the sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, "horizon", 1)
        _at_least(self, "gru_layers", 1)


@dataclass(frozen=True)
class DrQv2Config:
    """DrQ-v2 (Yarats et al. 2021): deterministic actor, twin critics, random shifts. Defaults as published."""

    name: ClassVar[str] = "drqv2"

    # The networks.
    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(kind="drqv2", norm="none", activation="relu", feature_dim=50)
    )
    hidden_dim: int = 1024
    """Width of the hidden layers of actor and critics."""
    trunk_dim: int = 64
    """Width of the state's trunk (Linear, LayerNorm, tanh) in actor and critics; 0 passes the state on as it is."""
    normalize: Literal["none", "demos"] = "none"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    value: Literal["scalar", "categorical"] = "scalar"
    """Scalar values (mean squared error), or distributions learnt from the scalar target spread over its two
    neighbouring atoms (cross-entropy)."""
    atoms: int = 101
    """Atoms Z of a categorical value."""
    v_min: float = -2.0
    """Lowest atom."""
    v_max: float = 2.0
    """Highest atom."""

    # Learning.
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW with decoupled weight decay."""
    lr: float = 1e-4
    """Learning rate of encoder, actor and critics."""
    weight_decay: float = 0.0
    """Weight decay, on all parameters (AdamW)."""
    target_tau: float = 0.01
    """Step of the target critics towards the online ones; 1 copies them."""
    target_interval: int = 1
    """Updates between target steps."""
    noise_clip: float = 0.3
    """Largest noise on the actor's actions inside the losses. Its standard deviation is that of control.noise."""
    bc_lambda: float = 0.0
    """Weight of behaviour cloning on demonstrated samples in the actor's loss; 0 turns it off."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "target_interval"):
            _at_least(self, name, 1)
        _at_least(self, "atoms", 2)
        _check_learning(self)
        for name in ("noise_clip", "bc_lambda", "trunk_dim"):
            _at_least(self, name, 0)


@dataclass(frozen=True)
class DrQv2PlusConfig(DrQv2Config):
    """DrQ-v2+ (baseline of Seo et al. 2024): distributional critics, behaviour cloning, demonstrations."""

    name: ClassVar[str] = "drqv2_plus"

    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(norm="none", activation="relu"))
    value: Literal["scalar", "categorical"] = "categorical"
    """Scalar values, or distributions learnt from the scalar target."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or AdamW with decoupled weight decay."""
    weight_decay: float = 0.1
    """Weight decay, on all parameters (AdamW)."""
    target_tau: float = 1.0
    """Step of the target critics towards the online ones; 1 copies them."""
    target_interval: int = 100
    """Updates between target steps."""
    bc_lambda: float = 1.0
    """Weight of behaviour cloning on demonstrated samples in the actor's loss."""


@dataclass(frozen=True)
class DrQv2ASConfig(DrQv2PlusConfig):
    """DrQ-v2-AS+ (baseline of Seo & Abbeel 2024): DrQ-v2+ with a GRU over an action sequence in actor and critics."""

    name: ClassVar[str] = "drqv2_as"

    horizon: int = 4
    """Length T of the action sequence."""
    gru_layers: int = 1
    """Layers of each GRU over the sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, "horizon", 1)
        _at_least(self, "gru_layers", 1)


AgentConfig = CQNConfig | CQNASConfig | DrQv2Config | DrQv2PlusConfig | DrQv2ASConfig
AGENT_CONFIGS: dict[str, type[CQNConfig | DrQv2Config]] = {
    c.name: c for c in (CQNConfig, CQNASConfig, DrQv2Config, DrQv2PlusConfig, DrQv2ASConfig)
}
Config = TypeVar("Config", bound=CQNConfig | DrQv2Config)


def convert(config: AgentConfig, kind: type[Config]) -> Config:
    """The hyper-parameters of ``config`` for another algorithm; those that are not carried over are its defaults.

    Between CQN and CQN-AS all that both have; within the DrQ-v2 family what ``config`` changed of its own defaults,
    since the variants differ by theirs; between families what belongs to the task.
    """
    names = {f.name for f in fields(kind)} & {f.name for f in fields(config)}
    if isinstance(config, DrQv2Config) and issubclass(kind, DrQv2Config):
        default = type(config)()
        names = {name for name in names if getattr(config, name) != getattr(default, name)}
    elif not (isinstance(config, CQNConfig) and issubclass(kind, CQNConfig)):
        names &= {"normalize", "horizon"}
        if config.value == "categorical":  # a scalar value has no support that would mean anything
            names |= {"v_min", "v_max"}
    return kind(**{name: getattr(config, name) for name in names})


def chunked(config: AgentConfig) -> bool:
    """Whether the algorithm proposes action sequences."""
    return isinstance(config, CQNASConfig | DrQv2ASConfig)


def _at_least(config: AgentConfig, name: str, low: float) -> None:
    if not getattr(config, name) >= low:
        raise ConfigError(f"agent.{name} must be at least {low}, got {getattr(config, name)}")


def _check_learning(config: CQNConfig | DrQv2Config) -> None:
    for name, good, wanted in (
        ("lr", config.lr > 0, "positive"),
        ("weight_decay", config.weight_decay >= 0, "0 or more"),
        ("target_tau", 0 < config.target_tau <= 1, "above 0 and at most 1"),
    ):
        if not good:
            raise ConfigError(f"agent.{name} must be {wanted}, got {getattr(config, name)}")
    if not config.v_max > config.v_min:
        raise ConfigError(f"agent.v_max must exceed agent.v_min, got {config.v_max} and {config.v_min}")
    encoder = config.encoder
    for name, low in (("channels", 1), ("layers", 0), ("feature_dim", 1), ("shift", 0)):
        if getattr(encoder, name) < low:
            raise ConfigError(f"agent.encoder.{name} must be at least {low}, got {getattr(encoder, name)}")
