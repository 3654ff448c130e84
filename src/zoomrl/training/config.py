"""Everything that defines a run. Plain data: importing this module loads no torch and no simulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dacite

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.field_docs import with_field_docs
from zoomrl.intervention.config import InterventionConfig
from zoomrl.math.schedules import parse_schedule
from zoomrl.ranges import at_least, choices
from zoomrl.training.collect.config import CollectConfig
from zoomrl.training.renamed import with_new_names


@with_field_docs
@dataclass(frozen=True)
class EvalConfig:
    """Evaluation, in environments and with seeds of its own.

    Raises:
        ConfigError: a number is out of its range.
    """

    every: int = 2500
    """Environment steps between evaluations; 0 evaluates at the end only."""
    episodes: int = 25
    """Episodes per evaluation during training (published: 25 with demonstrations, 10 otherwise). 0 measures the losses
    on demonstrations held out alone."""
    final_episodes: int = 50
    """Episodes of the evaluation at the end, with seeds not used before; 0 makes none."""
    num_envs: int = 1
    """Evaluation environments stepped together."""
    keep_best: bool = False
    """Evaluate at the end, and act afterwards, with the weights of the best evaluation during training (by success,
    then by return) instead of the last ones."""
    video: bool = True
    """Video the first episode of the evaluation at the end, where rendering works."""

    def __post_init__(self) -> None:
        at_least(self, "eval.", every=0, episodes=0, final_episodes=0, num_envs=1)
        if self.keep_best and not self.episodes:
            raise ConfigError("eval.keep_best chooses by episodes, and eval.episodes is 0; raise it, or keep the last")


@with_field_docs
@dataclass(frozen=True)
class LogConfig:
    """What is written while training. JSON lines are always written.

    Raises:
        ConfigError: a number is out of its range.
    """

    every: int = 500
    """Environment steps between rows of learning metrics; before the first step, updates."""
    tensorboard: bool = True
    """Write TensorBoard event files."""
    csv: bool = False
    """Write a table per kind of row, ``csv/train.csv`` and so on."""
    wandb: str = ""
    """Weights & Biases project to log to; empty for none."""
    trackio: str = ""
    """Trackio project to log to; empty for none."""

    def __post_init__(self) -> None:
        at_least(self, "log.", every=1)


@with_field_docs
@dataclass(frozen=True)
class CheckpointConfig:
    """Saved states.

    Raises:
        ConfigError: a number is out of its range.
    """

    every: int = 5000
    """Environment steps between checkpoints; one is also written at the end, on SIGTERM and on Ctrl-C."""
    keep: int = 2
    """Newest checkpoints kept."""

    def __post_init__(self) -> None:
        at_least(self, "checkpoint.", every=1, keep=1)


@with_field_docs
@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Raises:
        ConfigError: a number is out of its range, or two options cannot go together; says which, and what to do.
    """

    preset: str = "quickstart"
    """Name of the recipe that the other defaults come from."""
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=CQNASConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    demos: DemoConfig = field(default_factory=DemoConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    intervene: InterventionConfig = field(default_factory=InterventionConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    log: LogConfig = field(default_factory=LogConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    steps: int = 5000
    """Environment steps of online training."""
    seed: int = 1
    """Seed of everything random."""
    offline_updates: int = 0
    """Updates on the demonstrations before the first step."""
    offline_eval_every: int = 0
    """Updates between evaluations before the first step; 0 for none."""
    seed_steps: int = 0
    """Environment steps before the first online update."""
    updates_per_step: float = 1.0
    """Updates per agent step; 0.5 updates every second step."""
    lr_schedule: str = "1"
    """Factor of every learning rate over the updates: a number, linear(init,final,duration),
    cosine(init,final,duration) or step_linear(init,f1,d1,f2,d2)."""
    update_at: Literal["step", "episode"] = "step"
    """Make updates as steps call for them, or save them up until an episode ends."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the agent learns and acts; auto takes the GPU if PyTorch finds one."""
    speed: Literal["eager", "compile", "graph"] = "eager"
    """Run updates as they are written, compiled, or compiled and captured as one CUDA graph (GPU)."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Arithmetic of the networks: float32; with matrix multiplications rounded by the GPU's tensor cores (tf32); or
    encoder and hidden layers in bfloat16, refused where it changes the loss by more than ``precision_tolerance``."""
    precision_tolerance: float = 0.01
    """Relative change of the critic's loss that bfloat16 may make in the first updates; the gradient may change ten
    times as much."""
    threads: int = 0
    """CPU threads for learning; 0 measures which number is fastest on this machine."""
    callback: tuple[str, ...] = ()
    """Hooks into the run, made without arguments: early_stopping, names of installed packages, or module:Class."""
    init_from: str = ""
    """Run whose weights this one begins with (its newest checkpoint, or its best with eval.keep_best), or a checkpoint
    file of it; empty for none."""
    init_part: Literal["all", "encoder"] = "all"
    """Take all weights from there, or those of the encoder of images (of the latent, for an agent that has one)."""
    fork: str = ""
    """Run that this one goes on from, with its weights, optimizers and replay, and other options; empty for none."""
    run_dir: str = ""
    """Where everything is written; empty for runs/<preset>-<agent>-<environment>-s<seed>."""
    resume: bool = True
    """Continue the run in ``run_dir`` if one with this config is there; otherwise such a run is an error."""

    def __post_init__(self) -> None:
        choices(self)
        counts = ("steps", "offline_updates", "offline_eval_every", "seed_steps", "updates_per_step", "threads", "seed")
        at_least(self, "", **dict.fromkeys(counts, 0), precision_tolerance=0)
        try:
            schedule = parse_schedule(self.lr_schedule)
        except ValueError as error:
            raise ConfigError(f"lr_schedule: {error}") from error
        if self.speed == "graph" and schedule[0] != "constant":
            raise ConfigError(
                "lr_schedule changes the learning rate, and a captured step (speed=graph) keeps the one that it was "
                "captured with; use speed=compile"
            )
        if self.init_from and self.fork:
            raise ConfigError("a fork has the weights of its origin: give init_from or fork, not both")
        if self.intervene.source != "none" and not self.steps:
            raise ConfigError(
                "corrections are made while environments are stepped: give steps, or intervene.source=none"
            )
        if self.collect.lag:
            self._check_collect()
        chunk = self.agent.chunk_length
        if self.control.random_prefix > chunk:
            raise ConfigError(
                f"control.random_prefix={self.control.random_prefix} exceeds the chunks of {self.agent.name}: "
                f"agent.chunk_length is {chunk}"
            )
        if self.control.executor == "receding_horizon" and self.control.replan_every > chunk:
            raise ConfigError(
                f"control.replan_every={self.control.replan_every} exceeds the chunks of {self.agent.name}: "
                f"agent.chunk_length is {chunk}"
            )
        if self.control.random_prefix and chunk == 1:
            raise ConfigError(
                f"control.random_prefix has no effect on single actions, which {self.agent.name} chooses; leave it at 0"
            )
        if self.control.random_prefix and not self.steps:
            raise ConfigError("control.random_prefix is about training episodes, and steps=0 makes none")
        if getattr(self.agent, "prefix_targets", False) and self.replay.n_step != 1:
            raise ConfigError(
                "with agent.prefix_targets the place of a step in its chunk says after how many steps it bootstraps, "
                f"and replay.n_step={self.replay.n_step} has no effect: use replay.n_step 1"
            )
        if getattr(self.agent, "prefix_targets", False) and self.replay.tail == "exclude":
            raise ConfigError(
                "with agent.prefix_targets only the last step of a chunk would learn from the end of an episode, since "
                "replay.tail=exclude leaves out the starts near it: use replay.tail shorten"
            )
        self._check_coarse_to_fine()
        self._check_padding()
        if self.control.snap and self.agent.grid is None:
            raise ConfigError(f"control.snap needs a zoom grid, and {self.agent.name} has none; turn it off")
        if self.replay.sampling == "priority" and not self.agent.gives_priorities:
            raise ConfigError(
                f'replay.sampling="priority" samples by the priorities that an agent gives, and '
                f'{self.agent.name} gives none; use replay.sampling="transition"'
            )
        if self.agent.imitation:
            self._check_imitation()
        elif self.demos.validation:
            raise ConfigError(
                f"demos.validation={self.demos.validation} keeps demonstrations from {self.agent.name}, which has no "
                "loss to measure on them; use demos.validation=0"
            )
        if self.offline_eval_every and not self.offline_updates:
            raise ConfigError(
                "offline_eval_every needs updates before the first step: set offline_updates, or leave it"
            )
        if self.eval.keep_best and not (self.eval.every or self.offline_eval_every):
            raise ConfigError("eval.keep_best needs evaluations to choose from; set eval.every or offline_eval_every")
        if self.demos.source == "none" and self.offline_updates:
            raise ConfigError(
                f"offline_updates={self.offline_updates} needs demonstrations, but demos.source is 'none'"
            )

    def _check_padding(self) -> None:
        """Refuse values of steps beyond an episode's end where no agent has any."""
        valued = not self.agent.imitation and self.agent.chunk_length > 1
        if self.replay.padding == "absorbing" and not valued:
            raise ConfigError(
                "replay.padding=absorbing is about values of the later steps of a chunk, and "
                f"{self.agent.name} has none here; leave replay.padding at mask"
            )

    def _check_coarse_to_fine(self) -> None:
        """Refuse options of coarse-to-fine agents that the rest of the config leaves without effect or sense."""
        agent = self.agent
        if not isinstance(agent, CQNConfig):
            return
        shown = self.demos.source != "none" or self.intervene.source != "none"
        if agent.proposals.count and not shown and not self.replay.relabel_successes:
            raise ConfigError(
                "agent.proposals imitates demonstrations, and there is none: give demos.source, or let successful "
                "episodes count with replay.relabel_successes"
            )
        below = self.env.reward == "native" and self.env.id.startswith("ogbench:")  # minus a number of objects
        if agent.atom_spacing == "geometric" and (self.env.reward == "dense" or below):
            raise ConfigError(
                f"agent.atom_spacing=geometric is for rewards of 0 and 1; use env.reward=sparse, got {self.env.reward}"
            )
        if agent.coarse_values == "refuse" and (self.demos.source == "none" or self.env.reward == "dense"):
            raise ConfigError(
                "agent.coarse_values=refuse compares atoms with the value that successful demonstrations "
                f"have at their start, and demos.source={self.demos.source}, env.reward={self.env.reward} tell none"
            )

    @property
    def evaluates(self) -> bool:
        """Whether episodes are made to evaluate the agent, during training or at the end."""
        during = self.eval.episodes and (self.eval.every or self.offline_eval_every)
        return bool(during or self.eval.final_episodes)

    @property
    def cores(self) -> int:
        """CPU cores that the run keeps busy on its machine; a number of threads that is yet to be measured is one."""
        return max(1, self.threads) + (self.collect.actors if self.collect.backend == "process" else 0)

    def _check_collect(self) -> None:
        """Refuse what cannot be made ahead of learning."""
        lag, keyboard = f"collect.lag={self.collect.lag}", self.intervene.source == "keyboard"
        if not self.steps:
            raise ConfigError(f"{lag} makes episodes ahead of learning, and steps=0 makes none; use collect.lag=0")
        if self.env.num_envs > 1:
            raise ConfigError(
                f"{lag} makes each episode by itself; use env.num_envs=1, and collect.actors for several at once"
            )
        if self.agent.judges_by_episodes:
            raise ConfigError(
                f"{self.agent.name} judges its newest policy by the next episodes, which {lag} makes with an older "
                "one. Use collect.lag=0, or --agent.no-checkpoints"
            )
        if keyboard and (self.collect.backend == "ray" or self.collect.actors > 1):
            raise ConfigError(
                "a person corrects one actor, on this machine: with intervene.source=keyboard use "
                "collect.backend=process and collect.actors=1"
            )

    def _check_imitation(self) -> None:
        """Refuse what an agent without rewards cannot do."""
        if self.demos.source == "none":
            raise ConfigError(f"{self.agent.name} imitates demonstrations, but demos.source is 'none'")
        if self.steps:
            raise ConfigError(
                f"{self.agent.name} learns from demonstrations alone: use steps=0 and say how long to learn with "
                f"offline_updates, got steps={self.steps}"
            )
        if not self.offline_updates:
            raise ConfigError(f"{self.agent.name} learns in offline_updates alone, and they are 0; say how many")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable form; the agent's algorithm is named with its hyperparameters."""
        data = dataclasses.asdict(self)
        data["agent"] = {"name": self.agent.name, **data["agent"]}
        return data

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TrainConfig:
        """Inverse of :meth:`to_dict`; configs of earlier versions are read too.

        Raises:
            ConfigError: for an unknown field or agent, a value of the wrong type, or what the class refuses.
            KeyError: there is no agent, or it has no name.
        """
        fields = with_new_names(data)
        agent = fields["agent"]
        name = agent.pop("name")
        if name not in AGENT_CONFIGS:
            raise unknown_name("agent", name, AGENT_CONFIGS)
        strict = dacite.Config(strict=True, cast=[tuple])
        try:
            fields["agent"] = dacite.from_dict(AGENT_CONFIGS[name], agent, strict)
            return dacite.from_dict(TrainConfig, fields, strict)
        except dacite.DaciteError as error:
            raise ConfigError(f"the config holds what this version of zoomrl does not take: {error}") from error


def run_directory(config: TrainConfig) -> Path:
    """Where ``config`` writes."""
    if config.run_dir:
        return Path(config.run_dir)
    if config.fork:
        return Path("runs") / f"{Path(config.fork).resolve().name}-fork"
    names = [config.preset, config.env.id.replace(":", "-").replace("/", "-"), f"s{config.seed}"]
    if not config.preset.startswith(f"{config.agent.name}-"):
        names.insert(1, config.agent.name)
    return Path("runs") / "-".join(names)


FREE_TO_CHANGE = frozenset(
    {"steps", "threads", "run_dir", "resume", "log", "checkpoint", "eval", "env.python", "env.timeout", "env.workers"}
    | {"intervene.port", "intervene.step", "precision_tolerance"}
    | {"collect.backend", "collect.actors", "collect.deadline"}
    | {"collect.probe_steps", "collect.allow_mixed"}
)
"""Fields, and groups of them, that a resumed run may change: they do not alter what has been learnt so far."""


KNOWN_BY_CONTENT = frozenset({"demos.source", "demos.directory"})
"""Fields that say where demonstrations lie: a resumed run compares their content instead."""


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Fields that keep ``new`` from continuing a run made with ``old``, as ``name: old -> new``."""
    changed = changes(old.to_dict(), new.to_dict())
    return [
        f"{key}: {before!r} -> {after!r}"
        for key, (before, after) in changed.items()
        if key not in KNOWN_BY_CONTENT
        # Frames in memory and on disk give the same batches; a GPU gathers them by itself.
        and not (key == "replay.storage" and {before, after} == {"ram", "disk"})
        # Of recordings alone, the content is compared too. A run that makes no steps may learn for longer.
        and not (key == "env.id" and all(str(value).startswith("demos:") for value in (before, after)))
        and not (key == "offline_updates" and not old.steps and not new.steps)
    ]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields of two configs as dictionaries that differ, and that a resumed run may not change: ``name: (old, new)``.

    A field that only one of them has is None in the other.
    """
    before, after = flat(old), flat(new)
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before | after)
        if not {key, key.split(".")[0]} & FREE_TO_CHANGE and before.get(key) != after.get(key)
    }


def changed_evaluations(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Fields of the evaluations that a resumed run changes, as ``name: old -> new``: its results are then another's."""
    before, after = flat(old.to_dict()), flat(new.to_dict())
    names = sorted(name for name in before if name.startswith("eval.") and before[name] != after.get(name))
    return [f"{name}: {before[name]!r} -> {after.get(name)!r}" for name in names]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a config as a dictionary by their full names, ``replay.n_step``."""
    fields: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields
