"""Can the return-to-go be regressed better from a longer action chunk? CQN-AS, figure 2a, with controls."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from zoomrl.data.episode import Episode, discounted_returns
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.reader import read_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import DemonstrationError
from zoomrl.reproduce.experiment import FULL, SMALL, Arm, Claim, Contrast, Experiment, Scale, named_for
from zoomrl.reproduce.experiments.papers import BIGYM, CQN_AS, HUMAN_DEMOS
from zoomrl.training.scripted import scripted_demos

WINDOW = 16
"""Actions after and before every start that is used, in all arms."""
TRAINED = 0.8
"""Fraction of the episodes that is learnt from; the others are for validation."""
_HIDDEN, _BATCH, _LR, _EVERY = 256, 256, 1e-3, 100
_LENGTHS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Windows:
    """Starts of several episodes.

    Attributes:
        states: [N, S].
        future: [N, 16, A], the actions from each start on.
        past: [N, 16, A], the actions before it, the newest first.
        returns: [N], discounted return from the start on.
        episodes: [N], which episode each comes from.
    """

    states: NDArray[np.float32]
    future: NDArray[np.float32]
    past: NDArray[np.float32]
    returns: NDArray[np.float32]
    episodes: NDArray[np.int64]


def windows(episodes: Sequence[Episode], discount: float) -> Windows:
    """All starts with 16 actions before and 16 from them on within the episode.

    No window reaches beyond an end: what stood there instead would tell how far the end is, and with it the return.
    The same starts serve all arms.

    Args:
        episodes: with a state; shorter ones than 32 actions have no start.
        discount: per agent step.

    Raises:
        DemonstrationError: no episode is long enough.
    """
    found: list[tuple[NDArray[np.float32] | np.float32, ...]] = []
    origins: list[int] = []
    for number, episode in enumerate(episodes):
        togo = np.append(discounted_returns(episode.rewards, discount), 0.0)
        for start in range(WINDOW, len(episode) - WINDOW + 1):
            past = episode.actions[start - WINDOW : start][::-1]
            future = episode.actions[start : start + WINDOW]
            found.append((episode.observations["state"][start], future, past, np.float32(togo[start])))
            origins.append(number)
    if not found:
        raise DemonstrationError(f"no episode has {2 * WINDOW} actions or more")
    states, futures, pasts, returns = (np.stack(column).astype(np.float32) for column in zip(*found, strict=True))
    return Windows(states, futures, pasts, returns, np.asarray(origins))


def inputs(of: Windows, options: Mapping[str, object], generator: np.random.Generator) -> NDArray[np.float32]:
    """What the network sees, [N, S + 16 * A]: the state, K actions, and zeros in the places of the others.

    Args:
        of: starts, all of training or all of validation.
        options: of an arm: ``actions`` are ``future``, ``past`` or ``none``; ``length`` is K; ``shuffled`` gives every
            start the actions of another.
        generator: of the shuffling.
    """
    chosen = np.zeros_like(of.future)
    length = int(str(options.get("length", 0)))
    if options["actions"] != "none":
        source = of.future if options["actions"] == "future" else of.past
        chosen[:, :length] = source[:, :length]
    if options.get("shuffled"):
        chosen = chosen[generator.permutation(len(chosen))]
    return np.concatenate([of.states, chosen.reshape(len(chosen), -1)], 1)


def measure(arm: Arm, task: str, seed: int, scale: Scale, place: Path) -> dict[str, float]:
    """Regress the return-to-go, and validate on held-out episodes.

    Returns:
        ``best_l1`` and ``last_l1``: mean absolute error on validation, lowest of all validations and the last one;
        ``constant_l1``: of the median of the training returns, whatever is seen.
    """
    options = {**scale.options, **arm.options}
    episodes = _episodes(task, options, place)
    every = windows(episodes, float(options["discount"]))
    generator = np.random.default_rng([seed, 0])
    order = generator.permutation(len(episodes))
    learnt = np.isin(every.episodes, order[: round(TRAINED * len(episodes))])
    parts = [Windows(*(column[mask] for column in vars(every).values())) for mask in (learnt, ~learnt)]
    shown = [torch.from_numpy(inputs(part, options, generator)) for part in parts]
    targets = [torch.from_numpy(part.returns) for part in parts]
    mean, std = shown[0].mean(0), shown[0].std(0).clamp(min=1e-3)
    shown = [(x - mean) / std for x in shown]
    curve = _regress(shown, targets, int(options["updates"]), seed)
    constant = float((targets[1] - targets[0].median()).abs().mean())
    return {"best_l1": min(curve), "last_l1": curve[-1], "constant_l1": constant}


def _episodes(task: str, options: Mapping[str, Any], place: Path) -> list[Episode]:
    """A set that the options name, or scripted demonstrations with the failed attempts among them."""
    if "demos.source" in options:
        return read_demos(Path(named_for(options["demos.source"], task))).episodes
    env = EnvConfig(id=task, time_limit=int(options["time_limit"]))
    demos = DemoConfig(episodes=int(options["episodes"]), noise=float(options["noise"]), directory=str(place))
    return scripted_demos(demos, env, Console(file=io.StringIO(), emoji=False)).episodes


def _regress(shown: Sequence[Tensor], targets: Sequence[Tensor], updates: int, seed: int) -> list[float]:
    """Validation L1 at every hundredth update."""
    torch.manual_seed(seed)  # a process of its own
    network = nn.Sequential(
        *(nn.Linear(shown[0].shape[1], _HIDDEN), nn.ReLU()),
        *(nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()),
        nn.Linear(_HIDDEN, 1),
    )
    optimizer = torch.optim.Adam(network.parameters(), _LR)
    curve = []
    for update in range(1, updates + 1):
        rows = torch.randint(len(shown[0]), (_BATCH,))
        loss = (network(shown[0][rows])[:, 0] - targets[0][rows]).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if update % _EVERY == 0:
            with torch.no_grad():
                curve.append(float((network(shown[1])[:, 0] - targets[1]).abs().mean()))
    return curve


_CLAIM = Claim(
    "The return-to-go is regressed with a lower validation error from a state and a longer action chunk.",
    f"{CQN_AS}, figure 2a",
    "validation L1 falls as the chunk grows (BiGym, human demonstrations; the numbers are in a figure only)",
)
_EXPLAINED = Claim(
    "What the chunk adds is what these actions will do, and not more of the past, nor a wider input.",
    "a control of our own; the paper has none",
    "none",
)
_ARMS = (
    *(
        Arm(f"future-{k}", f"the state and the next {k} actions", {"actions": "future", "length": k}, measured=True)
        for k in _LENGTHS
    ),
    Arm("state-only", "the state alone, zeros in place of actions", {"actions": "none"}, measured=True),
    Arm(
        "shuffled-16",
        "the state and 16 actions of another start",
        {"actions": "future", "length": 16, "shuffled": True},
        measured=True,
    ),
    Arm("past-16", "the state and the 16 actions before it", {"actions": "past", "length": 16}, measured=True),
)


def _below(name: str, other: str, claim: Claim, metric: str = "best_l1") -> Contrast:
    return Contrast(name, metric, "future-16", other, "below", claim)


EXPERIMENT = Experiment(
    name="return-to-go",
    title="Do longer action chunks tell the return-to-go better?",
    claims=(_CLAIM, _EXPLAINED),
    arms=_ARMS,
    scales={
        SMALL: Scale(
            ("metaworld:basketball", "metaworld:shelf-place", "metaworld:stick-pull"),
            (1, 2, 3, 4, 5),
            seconds=47,
            options={"episodes": 60, "noise": 0.3, "time_limit": 200, "discount": 0.99, "updates": 2000},
        ),
        FULL: Scale(
            tuple(f"bigym:{task}" for task in BIGYM),
            tuple(range(1, 9)),
            seconds=90,
            options={"demos.source": HUMAN_DEMOS, "discount": 0.99, "updates": 10_000},
            needs="BiGym, and its demonstrations with a state, imported into demos/<task>",
            guessed=True,
        ),
    },
    contrasts=(
        _below("16 against 1", "future-1", _CLAIM),
        _below("16 against 1, last validation", "future-1", _CLAIM, "last_l1"),
        _below("future against past", "past-16", _EXPLAINED),
        _below("actions against the state alone", "state-only", _EXPLAINED),
        _below("actions against those of another start", "shuffled-16", _EXPLAINED),
    ),
    metrics={
        "best_l1": "validation L1 of the return-to-go, best of all validations",
        "last_l1": "validation L1 of the return-to-go, at the last update",
        "constant_l1": "L1 of the median return, whatever is seen",
    },
    stop_rule="All cells; none is added after the verdict.",
    deviations=(
        "Scripted demonstrations of Meta-World with action noise 0.3, failed attempts kept, in place of human ones "
        "of BiGym; states in place of images.",
        "Starts with fewer than 16 actions before or after them are left out in all arms: a padded window would tell "
        "how far the end is.",
        "All arms have one network (two layers of 256) with inputs for 16 actions, zeros where an arm has fewer; L1 "
        "loss, Adam 1e-3, batches of 256. The paper does not say what it used.",
        "All seeds split the same episodes, each in its own way: the interval is of splits and initializations, and "
        "narrower than one of new demonstrations would be. OGBench's play is left out.",
        "Episodes are split 80/20 by episode; lengths and controls are compared on equal splits.",
        "The full scale takes the human demonstrations of BiGym by their states; images of three cameras are left out.",
    ),
    measure=measure,
)
