"""Ahead of learning: whole episodes are made by tickets while the agent learns, and taken in their order.

Episode i is made with the weights from before the learner took episode ``i - lag``: a function of i, and not of who was
fast. The learner goes through each episode step by step as if it stepped the environment itself, so that updates, rows,
evaluations and checkpoints come at the same steps whoever made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoomrl.agents.contract import Agent
from zoomrl.data.replay import ReplayBuffer
from zoomrl.intervention.corrector import Corrector
from zoomrl.spec import EnvSpec
from zoomrl.training.collect.contract import Ended
from zoomrl.training.collect.ticket import Collected, Desk, Ticket, packed


@dataclass
class _Walk:
    """The episode that the learner goes through.

    Attributes:
        found: what was made; its episode is not there yet where there is ``saved``.
        taken: agent steps so far.
        saved: what a checkpoint holds of an episode that was under way, until it is made once more; None otherwise.
    """

    found: Collected
    taken: int = 0
    saved: Mapping[str, Any] | None = None


class AheadCollector:
    """Goes through episodes that actors have made.

    Args:
        lag: episodes that acting is behind learning, 1 or more.
        spec: of the environment.
        agent: whose weights are published.
        replay: takes the episodes.
        desk: where tickets are given out.
        agent_here: hash of what this machine computes (:class:`~zoomrl.training.collect.ticket.Greeting`).
        corrector: keeps what a person corrected, or None.
        say: prints a line for the user.
    """

    num_envs = 1

    def __init__(
        self,
        lag: int,
        spec: EnvSpec,
        agent: Agent,
        replay: ReplayBuffer,
        desk: Desk,
        agent_here: str,
        corrector: Corrector | None,
        say: Callable[[str], None],
    ) -> None:
        self.episodes_lost = 0
        self._lag = lag
        self._spec = spec
        self._agent = agent
        self._replay = replay
        self._desk = desk
        self._agent_here = agent_here
        self._corrector = corrector
        self._say = say
        self._next = 0
        self._walk: _Walk | None = None
        self._issued: dict[int, Ticket] = {}
        self._versions: dict[int, Tensor] = {}
        self._mixed: list[str] = []

    @property
    def mixed(self) -> list[str]:
        """Actors that compute other numbers and were taken, and other machines that this run was resumed from."""
        return sorted({*self._mixed, *self._desk.mixed})

    def act(self, env_steps: int) -> NDArray[np.float32] | None:
        """The action [1, A] that was executed at this step, zeros in a lost episode; None when asked to stop."""
        if self._walk is None and not self._begin(env_steps):
            return None
        walk = self._walk
        assert walk is not None
        if walk.saved is not None and not self._make_again(walk, walk.saved):
            return None
        episode = walk.found.episode
        if episode is None:
            return np.zeros((1, self._spec.action_dim), np.float32)
        return episode.actions[walk.taken][None]

    def step(self, action: NDArray[np.float32]) -> list[Ended]:
        """Go one agent step on; the episode where it ends."""
        walk = self._walk
        assert walk is not None
        walk.taken += 1
        if walk.taken < walk.found.steps:
            return []
        self._walk = None
        found = walk.found
        if found.episode is None:
            self._lose(found.fault)
            return []
        self._replay.add(found.episode)
        total = float(sum(map(float, found.episode.rewards)))
        row: dict[str, Any] = {"env": 0, "return": total, "length": len(found.episode)}
        if self._spec.reports_success:
            row["success"] = found.episode.success
        if self._corrector is not None:
            self._corrector.keep(found.episode)
            row["corrected"] = self._corrector.last_fraction
        return [Ended(found.episode, total, row | dict(found.logged or {}))]

    def state_dict(self) -> dict[str, Any]:
        """Tickets that are out, the weights that they name, the episode under way, and what the corrector keeps."""
        return {
            "episodes_lost": self.episodes_lost,
            "corrections": None if self._corrector is None else self._corrector.state_dict(),
            "tickets": {
                "next": self._next,
                "issued": [[one.index, one.version, one.start] for one in self._issued.values()],
                "versions": dict(self._versions),
                "walk": self._walk_state(),
                "mixed": self.mixed,
                "agent": self._agent_here,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`, and give out again what was out."""
        if self._corrector is not None:
            self._corrector.load_state_dict(state["corrections"])
        self.episodes_lost = state["episodes_lost"]
        tickets = state["tickets"]
        self._next = tickets["next"]
        self._mixed = list(tickets["mixed"])
        if tickets["agent"] and tickets["agent"] != self._agent_here:
            self._mixed.append(f"the learner, from episode {self._next} on")
            self._say(
                "this machine computes other numbers than the one that this run was saved on (another processor, "
                "renderer or version): it goes on, and is not exact"
            )
        for version, weights in tickets["versions"].items():
            self._keep(version, weights)
        self._walk = self._under_way(tickets["walk"])
        for index, version, start in tickets["issued"]:
            self._issue(Ticket(index, version, start))

    # ---- from episode to episode -------------------------------------------------------------------------

    def _begin(self, env_steps: int) -> bool:
        """Publish the newest weights, give out the ticket that they are for, and take the next episode."""
        index = self._next
        if index not in self._versions:
            weights = packed(self._agent)
            before = self._versions.get(index - 1)
            # Where nothing was learnt, one copy serves both, in checkpoints too.
            self._keep(index, weights if before is None or not torch.equal(before, weights) else before)
            for ahead in range(0 if not index else self._lag, self._lag + 1):
                self._issue(Ticket(index + ahead, index, env_steps + self._steps_of(ahead, env_steps)))
        found = self._desk.take(index)
        if found is None:
            return False
        del self._issued[index]
        self._next = index + 1
        oldest = max(0, self._next - self._lag)
        self._desk.retire(oldest)
        self._versions = {version: weights for version, weights in self._versions.items() if version >= oldest}
        for why in found.lost_resets:
            self._lose(why)
        self._walk = _Walk(found)
        if self._corrector is not None:
            self._corrector.begin(found.corrected)
        return True

    def _steps_of(self, episodes: int, env_steps: int) -> int:
        """Environment steps that ``episodes`` to come are taken to have: as many as those before had in the mean."""
        longest = self._spec.time_limit * self._spec.action_repeat
        return round(episodes * (env_steps / self._next if self._next else longest))

    def _keep(self, version: int, weights: Tensor) -> None:
        self._versions[version] = weights
        self._desk.publish(version, weights)

    def _issue(self, ticket: Ticket) -> None:
        self._issued[ticket.index] = ticket
        self._desk.issue(ticket)

    def _lose(self, why: str) -> None:
        self.episodes_lost += 1
        self._say(f"environment 0 {why}")

    # ---- the episode under way, on resuming --------------------------------------------------------------

    def _walk_state(self) -> dict[str, Any] | None:
        walk = self._walk
        if walk is None:
            return None
        if walk.saved is not None:  # not made again yet: as it was saved before
            return dict(walk.saved)
        found = walk.found
        state = {"index": found.index, "steps": found.steps, "fault": found.fault, "taken": walk.taken}
        if found.episode is not None:
            shown = {name: torch.from_numpy(np.array(rows[-1])) for name, rows in found.episode.observations.items()}
            actions = torch.from_numpy(np.array(found.episode.actions))
            state |= {"seed": found.episode.seed, "actions": actions, "shown": shown}
        return state

    def _under_way(self, saved: Mapping[str, Any] | None) -> _Walk | None:
        if saved is None:
            return None
        found = Collected(saved["index"], saved["steps"], None, saved["fault"])
        if "actions" not in saved:  # it was lost
            return _Walk(found, saved["taken"])
        self._desk.issue(Ticket(found.index, -1, 0, saved["actions"].numpy(), saved["seed"]))
        return _Walk(found, saved["taken"], saved)

    def _make_again(self, walk: _Walk, saved: Mapping[str, Any]) -> bool:
        """Put the repeated episode in its place, or what became of it; False when asked to stop."""
        found = self._desk.take(walk.found.index)
        if found is None:
            return False
        if found.episode is not None:
            last = {name: rows[-1] for name, rows in found.episode.observations.items()}
            if not all(np.array_equal(last[name], shown.numpy()) for name, shown in saved["shown"].items()):
                why = f"did not repeat its episode in flight after resuming (other observations after {found.steps} "
                found = replace(found, episode=None, fault=f"{why}steps); the episode is dropped")
        walk.found, walk.saved = found, None
        return True
