"""Which execution of its chunks suits a trained policy: chosen on episodes of their own, tested on others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoomrl.control.execution import execution_of, executions, with_execution
from zoomrl.deploy.evaluate import Factory, environments, episode_seeds, run_episodes
from zoomrl.errors import ConfigError
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.policy import TrainedAgent, load_agent, policy_of
from zoomrl.training.seeds import derive

Say = Callable[[str], None]


@dataclass(frozen=True)
class ExecutionChoice:
    """What was tried and chosen.

    Attributes:
        own: execution of the run.
        chosen: the best on the episodes to choose by.
        tried: evaluation of each on these episodes.
        tested: evaluations of the chosen one and the run's own on other episodes, the same for both.
    """

    own: str
    chosen: str
    tried: dict[str, Evaluation]
    tested: dict[str, Evaluation]


def executed(held: TrainedAgent, execution: str) -> TrainedAgent:
    """The same agent, whose chunks are executed in another way (:func:`zoomrl.control.execution.with_execution`)."""
    control = with_execution(held.config.control, execution, held.config.agent.chunk_length)
    return replace(held, config=replace(held.config, control=control))


def choose_execution(
    run: str | Path,
    *,
    among: Sequence[str] = (),
    choosing: int = 50,
    episodes: int = 50,
    seed: int = 0,
    num_envs: int = 1,
    make_env: Factory | None = None,
    say: Say = lambda text: None,
) -> ExecutionChoice:
    """Try executions on ``choosing`` episodes, and test the best on ``episodes`` others: those of ``zoomrl eval``.

    The best has the fewest episodes in which the simulator failed, and then the highest success rate, or mean return
    where no success is reported; of equal ones the run's own.

    Args:
        run: a run directory or checkpoint file, of an agent with chunks of several actions.
        among: executions to try; empty takes the ensemble, and 1, 2, 4 and so on up to all actions of a chunk.
        choosing: episodes to choose by.
        episodes: to test the chosen one and the run's own by.
        seed: of both; neither is seen in training.
        num_envs: environments stepped together.
        make_env: builds one environment of your own, as for :func:`zoomrl.train`.
        say: takes a line on what is being done.

    Raises:
        CheckpointError: there is no readable checkpoint.
        ConfigError: the chunks have one action, or an execution is none.
    """
    held = load_agent(run)
    length = held.config.agent.chunk_length
    if length == 1:
        raise ConfigError(f"{held.config.agent.name} proposes single actions: there is one way to execute them")
    own = execution_of(held.config.control, length)
    names = list(dict.fromkeys([own, *(among or executions(length))]))
    count = min(num_envs, choosing, episodes)
    policies = {name: policy_of(executed(held, name), num_envs=count, seed=seed) for name in names}
    choice_seeds = [derive(seed, "execution_env", index) for index in range(choosing)]
    with environments(policies[own], count, make_env) as envs:
        tried = {}
        for name in names:
            say(f"choosing: {name} ...")
            tried[name] = run_episodes(policies[name], envs, choice_seeds)
        chosen = max(names, key=lambda name: _rank(tried[name]))
        tested = {}
        for name in dict.fromkeys((chosen, own)):
            say(f"testing: {name} ...")
            again = policy_of(executed(held, name), num_envs=count, seed=seed)
            tested[name] = run_episodes(again, envs, episode_seeds(seed, episodes))
    return ExecutionChoice(own, chosen, tried, tested)


def _rank(result: Evaluation) -> tuple[int, float]:
    if not result.returns:
        return -len(result.lost), -math.inf
    return -len(result.lost), result.return_mean if result.success_rate is None else result.success_rate
