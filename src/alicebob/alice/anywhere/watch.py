"""Watch: what an episode teaches, whoever acts in it.

Each turn's situation is taken in before its action, and at the end the episode becomes a memory of
its own, as if the embedded Alice had acted. Does not: act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.alice.anywhere.effects import brought, changes
from alicebob.alice.anywhere.memory import Deed, Memory, Place, Play
from alicebob.alice.anywhere.situation import actions_in, digest, kind, situation, world_of
from alicebob.policies import Live
from alicebob.trace import Turn

__all__ = ["Trail"]


class Trail:
    """The senses on one episode, from its beginning."""

    @classmethod
    def beside(cls, memory: Memory, live: Live) -> Trail:
        """Return the senses for an episode in which another acts; what is known is no matter."""
        return cls()

    def __init__(self) -> None:
        self.keys: list[str] = []  # the situation before each turn
        self.actions: list[str] = []  # what is admissible now
        self._choices: dict[str, int] = {}
        self._unlisted: set[int] = set()  # turns whose action was not among the admissible

    def arrive(self, live: Live) -> str:
        """Take in where one is before the next turn, once; return the key of the situation."""
        if len(self.keys) <= len(live.turns):
            self.actions = actions_in(live.info)
            self.keys.append(situation(live.observation, live.info, self.actions))
            self._choices.setdefault(self.keys[-1], len(self.actions))
        return self.keys[-1]

    def before(self, live: Live, action: str) -> None:
        """Take in what is there before an action is taken."""
        self.arrive(live)
        if action not in self.actions:
            self._unlisted.add(len(live.turns))

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the memory that the episode gave."""
        memory, turns = Memory(episodes=1, longest=len(live.turns)), live.turns
        world, keys = world_of(live.task), self.keys[: len(turns)]
        play = Play(world, tuple(turn.action for turn in turns), tuple(keys))
        name = digest(world, *play.actions)
        memory.plays[name] = play
        reported = brought(turns, bool(live.info.get("success")))
        for index, key in enumerate(keys):
            place = memory.places.setdefault(key, Place(self._choices[key], (index, name)))
            if turns[index].action not in place.deeds:
                place.deeds[turns[index].action] = Deed()
                place.choices += index in self._unlisted
            deed = place.deeds[turns[index].action]
            self._note(deed, index, live, world)
            for thing in reported[index]:
                deed.brought[thing] = deed.brought.get(thing, 0) + 1
                memory.ways.setdefault(thing, {}).setdefault(world, (index + 1, name))
                by = memory.makers.setdefault(thing, {})
                by[kind(turns[index].action)] = by.get(kind(turns[index].action), 0) + 1
        if any(turn.events for turn in turns):
            memory.events = _once(reported)
        elif any(reported):
            memory.gains = _once(reported)
        else:
            memory.changes = _once(changes(turns, live.observation, keys))
        self._count(memory, turns, reported, over=len(turns) < live.task.max_turns)
        return memory.to_json()

    def _note(self, deed: Deed, index: int, live: Live, world: str) -> None:
        """Note what a turn led to; of the last one nothing where the episode was cut off."""
        if index + 1 < len(live.turns):
            to = self.keys[index + 1]
        elif len(live.turns) < live.task.max_turns:
            to = f"@{len(live.turns)}"
        else:
            return
        led = deed.led.setdefault(to, {})
        led[world] = led.get(world, 0) + 1

    def _count(
        self,
        memory: Memory,
        turns: Sequence[Turn],
        reported: Sequence[tuple[str, ...]],
        over: bool,
    ) -> None:
        """Count the kinds of action, how often they changed the situation, ended it in vain."""
        for index, turn in enumerate(turns):
            last = index == len(turns) - 1
            moved = not last and self.keys[index] != self.keys[index + 1]
            vain = last and over and not reported[index]
            taken, changed, ended = memory.kinds.get(kind(turn.action), (0, 0, 0))
            memory.kinds[kind(turn.action)] = taken + 1, changed + moved, ended + vain


def _once(named: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """Return the names that stand anywhere, each counted once."""
    return dict.fromkeys((name for names in named for name in names), 1)
