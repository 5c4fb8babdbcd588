"""Watch: what an episode teaches the embedded Alice, whoever acts in it.

A language model that explores is watched with her senses, and what they find goes into her memory
as if she had acted herself, so that each part of her can be a rule whoever explores. Does not: act.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alicebob.alice.grid.interface import MOVES, PRESS
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.planner import USE
from alicebob.alice.grid.senses import Senses
from alicebob.policies import Live

__all__ = ["GridWatch", "plain", "take"]


class GridWatch:
    """The senses on one episode, from its beginning."""

    def __init__(self, memory: Knowledge, live: Live) -> None:
        known, granted = Knowledge(vitals=memory.vitals), live.task.options.get("inventory", ())
        self._senses = Senses(known, live.info, granted=granted)

    def before(self, live: Live, action: str) -> None:
        """Take in the state before an action, and the action for what it is."""
        if live.turns:
            self._senses.observe(live.info, plain(live.turns[-1].action))
        self._senses.take_stock()
        take(self._senses, live, action)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the knowledge that the episode gave."""
        self._senses.observe(live.info, plain(live.turns[-1].action))
        return self._senses.close().to_json()


def take(senses: Senses, live: Live, action: str) -> None:
    """Take an action for what it is: a move, or an attempt at something."""
    action = plain(action)
    if action in MOVES or action not in live.info.get("admissible_actions", ()):
        senses.aim(action)
        return
    if not (live.info.get("sleeping") and senses.attempt is not None):
        senses.begin(f"{USE}{senses.front}" if action == PRESS else action, senses.faced)
    if senses.attempt is not None:
        senses.aim(senses.attempt.intent)


def plain(action: str) -> str:
    """Return an action by the name that the environment gives it, if it has one."""
    return action.strip().lower().replace(" ", "_")
