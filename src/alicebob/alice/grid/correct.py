"""Correct: what Alice would do where somebody else has got to, and whether what he does will do.

Her senses are on his episode from its beginning, so that she knows of it what she would know had
she acted; her planner then works from his situation. She tries nothing there: what she counsels is
what she has seen to work, and its thought is the one that her skills have. His action is right
where it is hers, where it leads to another side of what she is after, or, while that is in nobody's
sight and he is after nothing else that he sees, anywhere open. Invariant: what she says depends on
the task, what she knew, and the episode. Does not: act.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from alicebob.alice.grid.explore import Mind
from alicebob.alice.grid.intents import STANDING, about, thing
from alicebob.alice.grid.interface import MOVES
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.planner import USE
from alicebob.alice.grid.watch import plain, take
from alicebob.alice.room import Counsel
from alicebob.draws import generator
from alicebob.policies import Live
from alicebob.sight import sides, with_side
from alicebob.trace import AGAIN, AIM, AIMLESS, ASLEEP

__all__ = ["GridGuide"]

ALONE = 1e9  # the weight of a task's own event: no other comes into question


class GridGuide:
    """Her counsel in one episode; the event of its task, if it has one, is what she is after."""

    @classmethod
    def trying(cls, memory: Knowledge, without: Collection[str], live: Live) -> GridGuide:
        """Return one that tries what is not known to work, and goes for all that may serve."""
        return cls(memory, without, live, tries=True)

    def __init__(
        self, memory: Knowledge, without: Collection[str], live: Live, tries: bool = False
    ) -> None:
        task = live.task
        wishes = {task.target: ALONE} if task.target else {}
        own = replace(live, draw=generator("counsel", task.id, task.seed))
        left_out = tuple(without) if tries else (*without, "hoard")
        self._mind = Mind(memory, wishes, left_out, own, tries)
        self._senses = self._mind.senses
        self._action, self._intent, self._tries = "", "", tries

    def counsel(self, live: Live) -> Counsel:
        """Return what she would do in the situation that he is in."""
        if live.turns:
            self._senses.observe(live.info, plain(live.turns[-1].action))
        self._action, self._intent = self._mind.decide()
        return self._said(live, self._action)

    def approves(self, live: Live, action: str, thought: str) -> Counsel | None:
        """Return what she would have said to his action, None where it is wrong."""
        hers, his = self._said(live, self._action), self._said(live, plain(action))
        as_good = his.action == hers.action or AIMLESS in hers.tags or ASLEEP in hers.tags
        looking = not sides(thought)
        return his if as_good or self._leads_there(his, hers, looking) else None

    def saw(self, live: Live, action: str) -> None:
        """Take note of the action that is taken."""
        if plain(action) != self._action:
            take(self._senses, live, action)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the knowledge that the episode gave."""
        self._senses.observe(live.info, plain(live.turns[-1].action))
        return self._senses.close().to_json()

    def _leads_there(self, his: Counsel, hers: Counsel, looking: bool) -> bool:
        """Say whether his move is over open ground and for the same as hers."""
        if his.action not in MOVES or hers.action not in MOVES:
            return False
        (x, y), (dx, dy) = self._senses.position, MOVES[his.action]
        if self._senses.cost(self._senses.map.at(x + dx, y + dy)) != 1:
            return False
        aim = self._aim()
        return his.thought != aim or (looking and hers.thought == aim)

    def _said(self, live: Live, action: str) -> Counsel:
        """Return an action with the thought and the tags that it has where it serves her aim."""
        aim = self._aim()
        done = aim in self._senses.done or aim in STANDING
        tags = [AGAIN] * done + ([f"{AIM}{aim}"] if aim else [AIMLESS])
        tags += [ASLEEP] * bool(live.info.get("sleeping"))
        thought = aim and with_side(aim, thing(self._intent), action, live.observation)
        return Counsel(action, thought, tuple(tags))

    def _aim(self) -> str:
        """Return the event that her intent leads to as a rule, or its standing aim; "" for none."""
        model, focus = self._senses.model, self._mind.aims.focus
        on = about(self._intent)
        if focus and (focus in model.events or not self._tries):
            return focus if focus in model.events else ""
        for name in (USE + on, on):
            if name in model.intents and (events := model.intents[name].events):
                return max(sorted(events), key=lambda event: events[event])
        if on in STANDING:
            return on
        return STANDING[0] if self._intent.startswith("find ") else ""
