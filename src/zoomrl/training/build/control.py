"""What turns observations into actions: for training, evaluation and the end."""

from __future__ import annotations

import torch

from zoomrl.agents.contract import Agent
from zoomrl.control.controller import Controller
from zoomrl.control.explore import Explorer
from zoomrl.control.scaling import ActionScaler
from zoomrl.math.grid import snap
from zoomrl.training.config import TrainConfig


def build_explorer(config: TrainConfig, seed: int) -> Explorer:
    """Exploration noise of training episodes, of ``seed``."""
    grid = config.agent.grid
    to_grid = None if grid is None else lambda action: snap(action, *grid)
    generator = torch.Generator().manual_seed(seed)
    return Explorer(config.control, to_grid, generator)


def build_controller(
    config: TrainConfig,
    agent: Agent,
    scaler: ActionScaler,
    num_envs: int,
    seed: int,
    explorer: Explorer | None = None,
) -> Controller:
    """From observations to actions in ``num_envs`` environments."""
    return Controller(agent, config.control, scaler, num_envs, config.replay.frame_stack, seed, explorer)
