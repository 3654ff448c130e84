"""Behaviour cloning and ACT, with our own hyperparameters: on Meta-World, to compare with CQN-AS, and of recordings."""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.bc.config import BCConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.nets.config import EncoderConfig
from zoomrl.recipes.recipe import Recipe
from zoomrl.recipes.small import cqn_as_metaworld, cqn_as_metaworld_pixels
from zoomrl.training.config import CheckpointConfig, TrainConfig


def bc_metaworld() -> TrainConfig:
    """Behaviour cloning of chunks on Meta-World from state, demonstrations alone. Our own hyperparameters."""
    base = cqn_as_metaworld()
    return replace(
        base,
        preset="bc-metaworld",
        agent=BCConfig(hidden=(256, 256)),
        demos=replace(base.demos, validation=0.1),
        replay=replace(base.replay, demo_fraction=1.0, n_step=1),
        eval=replace(base.eval, every=0, keep_best=True),
        steps=0,
        offline_updates=5000,
        offline_eval_every=1000,
    )


def act_metaworld() -> TrainConfig:
    """ACT on Meta-World from state, demonstrations alone: small transformers for a CPU. Our own hyperparameters."""
    agent = ACTConfig(
        chunk_length=16, dim=64, heads=4, feedforward=128, encoder_layers=2, decoder_layers=2, style_dim=8, lr=3e-4
    )
    return replace(bc_metaworld(), preset="act-metaworld", agent=agent)


def bc_metaworld_pixels() -> TrainConfig:
    """Behaviour cloning of chunks on Meta-World from two cameras and the robot's own state. Our own hyperparameters."""
    return _with_cameras(bc_metaworld(), "bc-metaworld-pixels")


def act_metaworld_pixels() -> TrainConfig:
    """ACT on Meta-World from two cameras and the robot's own state. Our own hyperparameters."""
    return _with_cameras(act_metaworld(), "act-metaworld-pixels")


def bc_demos() -> TrainConfig:
    """Behaviour cloning of a robot's recordings alone, without a simulator: name them with --env demos:FOLDER."""
    return _of_recordings(bc_metaworld(), "bc-demos")


def act_demos() -> TrainConfig:
    """ACT of a robot's recordings alone, without a simulator: name them with --env demos:FOLDER."""
    return _of_recordings(act_metaworld(), "act-demos")


def _of_recordings(base: TrainConfig, preset: str) -> TrainConfig:
    assert isinstance(base.agent, BCConfig | ACTConfig)
    return replace(
        base,
        preset=preset,
        env=EnvConfig(id=""),
        agent=replace(base.agent, encoder=EncoderConfig(channels=16, shift=3)),
        replay=replace(base.replay, capacity=1_000_000),
        eval=replace(base.eval, keep_best=False),
        checkpoint=CheckpointConfig(every=250),
        offline_eval_every=250,
    )


def _with_cameras(base: TrainConfig, preset: str) -> TrainConfig:
    pixels = cqn_as_metaworld_pixels()
    assert isinstance(base.agent, BCConfig | ACTConfig)
    agent = replace(base.agent, encoder=EncoderConfig(channels=16, shift=3))
    return replace(
        base,
        preset=preset,
        env=pixels.env,
        agent=agent,
        replay=replace(base.replay, capacity=pixels.replay.capacity),
        eval=replace(base.eval, num_envs=1, episodes=10),
        offline_updates=3000,
    )


PRESETS: dict[str, Recipe] = {
    "bc-metaworld": Recipe(bc_metaworld, "metaworld"),
    "act-metaworld": Recipe(act_metaworld, "metaworld"),
    "bc-metaworld-pixels": Recipe(bc_metaworld_pixels, "metaworld"),
    "act-metaworld-pixels": Recipe(act_metaworld_pixels, "metaworld"),
    "bc-demos": Recipe(bc_demos, "demos"),
    "act-demos": Recipe(act_demos, "demos"),
}
