"""Hyperparameters of CQN and CQN-AS."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from zoomrl.agents.checks import check_learning, check_support
from zoomrl.agents.config import AgentConfig, TaskDefaults
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.math.schedules import parse_schedule
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.ranges import at_least, choices, positive, refuse_idle, refuse_idle_decay, widths

LEAST_ATOMS = 3
"""Even atoms that a value must be away from 0 to be told from it."""
MAX_CELLS = 2**20
"""Finest action grid that float32 addresses without rounding into a neighbour."""


@with_field_docs
@dataclass(frozen=True)
class ProposalConfig:
    """Chunks of a behaviour-cloning policy, of which the critic chooses the best, as in Q-chunking (Li et al. 2025).

    Paper: Li, Zhou, Levine, "Reinforcement Learning with Action Chunking" (2025).

    Raises:
        ConfigError: a number is out of its range, or an option needs proposals and there are none.
    """

    count: int = 0
    """Chunks proposed where the agent acts; 0 for none: the greedy chunk alone."""
    target_count: int = 4
    """Chunks proposed where the bootstrap action is chosen."""
    greedy: bool = True
    """Whether the greedy chunk is one of the candidates."""
    choose: Literal["critic", "random"] = "critic"
    """Take the candidate of the highest value, or any, which tells what the critic's choice adds."""
    steps: int = 5
    """Steps of Euler's method from noise to a chunk."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the flow."""
    lr: float = 3e-4
    """Its learning rate (AdamW without decay)."""

    def __post_init__(self) -> None:
        place = "agent.proposals."
        choices(self, place)
        at_least(self, place, count=0, target_count=1, steps=1)
        positive(self, place, "lr")
        widths(self, place, "hidden")
        others = ("target_count", "greedy", "choose", "steps", "hidden", "lr")
        refuse_idle(self, place, bool(self.count), "proposals, of which agent.proposals.count asks for some", *others)


@with_field_docs
@dataclass(frozen=True)
class CQNConfig(AgentConfig):
    """Coarse-to-fine Q-network (Seo et al. 2024). Defaults are the published ones for demo-driven robot tasks.

    Paper: Seo, Uruc, James, "Continuous Control with Coarse-to-fine Reinforcement Learning" (CoRL 2024).

    Raises:
        ConfigError: a number is out of its range, ``bc_schedule`` is no schedule, the atoms span nothing, or the grid
            has more cells than float32 can address.
    """

    name: ClassVar[str] = "cqn"
    learner: ClassVar[str] = "zoomrl.agents.cqn.learner:CQN"
    family: ClassVar[str] = "cqn"

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
    atom_spacing: Literal["even", "geometric"] = "even"
    """Atoms at equal distances, or one at 0 and the others in equal ratios from v_least to v_max: in equal numbers of
    steps to go, so that a success far away is told from a failure. For rewards of 0 and 1 alone."""
    v_least: float = 0.05
    """Lowest atom above 0 (geometric): gamma to the power of the longest way to a success, in steps."""
    coarse_values: Literal["warn", "refuse"] = "warn"
    """Where a success is worth too little at the first state of a demonstration to be told from 0 (three even atoms, or
    v_least): warn, or refuse to train."""
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
    representation: RepresentationConfig = field(default_factory=RepresentationConfig)

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
    bc_schedule: str = "1"
    """Factor on bc_lambda over the updates: a number, linear(init,final,duration) or another schedule."""
    bc_floor: float = 0.003
    """Weight of the imitation losses below which bc_schedule does not take it: without any the values of bins become
    equal, and the policy dies (a bc_lambda that is lower already stays)."""
    bc_margin: float = 0.1
    """Margin by which a demonstrated bin's value must lead."""

    # Choosing.
    proposals: ProposalConfig = field(default_factory=ProposalConfig)

    # Acting.
    act_with: Literal["target", "online"] = "target"
    """Critic that acts, in training and evaluation."""
    tie_threshold: float = 1e-4
    """Where the values of all bins lie within this, one of them is chosen at random; 0 always takes the first best.
    With geometric atoms, keep it well below v_least (1 - gamma): what a step is worth where values are least."""

    @property
    def grid(self) -> tuple[int, int]:
        """Levels L and bins K."""
        return self.levels, self.bins

    @property
    def support(self) -> tuple[float, float, int] | None:
        """Lowest and highest atom and their number, of a categorical value; None for scalar ones."""
        return (self.v_min, self.v_max, self.atoms) if self.value == "categorical" else None

    @property
    def least_value(self) -> float | None:
        """The smallest value that is told from 0: three even atoms, or the least of geometric ones."""
        if self.value == "scalar":
            return None
        even = LEAST_ATOMS * (self.v_max - self.v_min) / (self.atoms - 1)
        return even if self.atom_spacing == "even" else self.v_least

    def task_defaults(self) -> TaskDefaults:
        """Single actions are stored as the grid expresses them; chunks are averaged, which leaves the grid."""
        defaults = super().task_defaults()
        return defaults if self.chunked else replace(defaults, snap=True)

    def __post_init__(self) -> None:
        choices(self, "agent.")
        at_least(self, "agent.", levels=1, hidden_dim=1, target_interval=1, atoms=2, bins=2)
        # Two bins exceed it long before 64 levels; beyond, the power itself would take for ever.
        if self.levels > 64 or self.bins**self.levels > MAX_CELLS:
            raise ConfigError(
                f"agent.bins ** agent.levels must not exceed {MAX_CELLS}, which float32 can address; "
                f"got {self.bins} ** {self.levels}"
            )
        check_learning(self)
        check_support(self)
        if self.atom_spacing == "geometric" and not (self.v_min == 0 < self.v_least < self.v_max and self.atoms > 2):
            raise ConfigError(
                "geometric atoms lie at 0 and from agent.v_least to agent.v_max, three or more: agent.v_min must be 0, "
                f"got v_min={self.v_min:g}, v_least={self.v_least:g}, v_max={self.v_max:g}, atoms={self.atoms}"
            )
        at_least(self, "agent.", critic_lambda=0, bc_lambda=0, bc_floor=0, bc_margin=0, trunk_dim=0)
        refuse_idle_decay(self, "agent.")
        categorical, geometric = self.value == "categorical", self.atom_spacing == "geometric"
        refuse_idle(self, "agent.", categorical, "agent.value=categorical", "atom_spacing", "coarse_values")
        refuse_idle(self, "agent.", self.bc_lambda > 0, "an agent.bc_lambda above 0", "bc_margin")
        refuse_idle(self, "agent.", geometric, "agent.atom_spacing=geometric", "v_least")
        refuse_idle(self, "agent.", self.bc_schedule != "1", "an agent.bc_schedule", "bc_floor")
        refuse_idle(self, "agent.", self.bc_lambda > self.bc_floor, "an agent.bc_lambda above bc_floor", "bc_schedule")
        try:
            parse_schedule(self.bc_schedule)
        except ValueError as error:
            raise ConfigError(f"agent.bc_schedule: {error}") from error


@with_field_docs
@dataclass(frozen=True)
class CQNASConfig(CQNConfig):
    """CQN over action chunks (Seo & Abbeel 2024): values for every step of a chunk of T actions.

    Paper: Seo, Abbeel, "Reinforcement Learning with Action Sequence for Data-Efficient Robot Learning" (2024).

    Raises:
        ConfigError: as :class:`CQNConfig` does.
    """

    name: ClassVar[str] = "cqn_as"

    chunk_length: int = 4
    """Steps T of an action chunk."""
    gru_layers: int = 1
    """Layers of the GRU over the chunk."""
    prefix_targets: bool = False
    """Step t of a chunk bootstraps after t steps, from the state that they lead to; otherwise all steps share the
    n-step target of the chunk's first state."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, "agent.", chunk_length=1, gru_layers=1)
        refuse_idle(self, "agent.", self.chunk_length > 1, "chunks of several steps", "prefix_targets")
        if self.prefix_targets and self.representation.kind != "none":
            raise ConfigError(
                "agent.prefix_targets reads the states that a chunk leads to, and a latent has sequences of its own: "
                "use agent.representation.kind none, or turn agent.prefix_targets off"
            )
