"""Watching: what an episode teaches the embedded Alice, whoever acts in it.

A language model that explores is watched with her senses, and what they find goes into her
knowledge as if she had acted herself, so that each part of her can be a rule whoever explores.
Worlds in which she has no senses teach nothing. Does not: act.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from alicebob.alice.interface import MOVES, PRESS
from alicebob.alice.knowledge import Knowledge
from alicebob.alice.planner import USE
from alicebob.alice.senses import Senses
from alicebob.alice.shop.shopper import Reader
from alicebob.policies import Live, Policy, Reply
from alicebob.policies.curious import EVIDENCE

__all__ = ["GridWatch", "ShopWatch", "Watch", "Watched"]


class Watch(Protocol):
    """The senses on one episode."""

    def before(self, live: Live, action: str) -> None:
        """Take in what is there before an action is taken."""

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught, as plain data."""


class Watched:
    """A policy whose episodes are watched; `watch` makes the senses for the info of a reset."""

    def __init__(self, policy: Policy, watch: Callable[[Mapping[str, Any]], Watch | None]) -> None:
        self.policy, self._watch = policy, watch
        self._watches: dict[int, Watch] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode of the wave."""
        self.policy.start(wave)
        made = {id(live): self._watch(live.info) for live in wave}
        self._watches = {key: watch for key, watch in made.items() if watch is not None}

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Let the policy act, and watch what it does."""
        replies = self.policy.act(lives)
        for live, reply in zip(lives, replies, strict=True):
            if id(live) in self._watches:
                self._watches[id(live)].before(live, reply.action)
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the policy notes and what the episode taught."""
        noted = dict(self.policy.finish(live))
        watch = self._watches.pop(id(live), None)
        if watch is not None:
            noted[EVIDENCE] = watch.close(live)
        return noted


class GridWatch:
    """Watches worlds seen as a grid."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._senses = Senses(Knowledge(), info)

    def before(self, live: Live, action: str) -> None:
        """Take an action for what it is: a move, or an attempt at something."""
        senses, action = self._senses, _plain(action)
        if live.turns:
            senses.observe(live.info, _plain(live.turns[-1].action))
        senses.take_stock()
        if action in MOVES or action not in live.info.get("admissible_actions", ()):
            senses.aim(action)
            return
        if not (live.info.get("sleeping") and senses.attempt is not None):
            senses.begin(f"{USE}{senses.front}" if action == PRESS else action, senses.faced)
        if senses.attempt is not None:
            senses.aim(senses.attempt.intent)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the knowledge that the episode gave."""
        self._senses.observe(live.info, _plain(live.turns[-1].action))
        return self._senses.close().to_json()


class ShopWatch:
    """Watches shops: reads every page."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._reader = Reader()

    def before(self, live: Live, action: str) -> None:
        """Read the page."""
        self._reader.observe(live.observation, live.info)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the memory of what was read and bought."""
        return self._reader.close(live.info).to_json()


def _plain(action: str) -> str:
    """Return an action by the name that the environment gives it, if it has one."""
    return action.strip().lower().replace(" ", "_")
