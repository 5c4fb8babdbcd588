"""The room for any environment that lists what can be done: an archive of situations, no rules.

Its environments tell beside their texts `admissible_actions`; what they report (`events`, rewards,
`success`) is worth most, and a `state`, where they tell one, says better than the text where one
is. Each world is played VISITS times, so that what was found in it can be gone back to. Does not:
know any world.
"""

from __future__ import annotations

from types import MappingProxyType

from alicebob.alice.anywhere import advise, explore, judge, label, memory, think, watch
from alicebob.alice.room import Room

__all__ = ["ROOM"]

VISITS = 5

ROOM = Room(
    memory=memory.Memory,
    explorer=explore.Explorer,
    watch=watch.Trail.beside,
    label=label.label,
    think=think.think,
    bare=think.bare,
    reworded=label.reworded,
    names=label.names,
    judge=judge.judge,
    advise=advise.advise,
    reasons=MappingProxyType(judge.REASONS),
    reads=MappingProxyType(
        {"label": ("skills.open_play", "skills.open_play_share", "skills.max_turns")}
    ),
    visits=VISITS,
)
