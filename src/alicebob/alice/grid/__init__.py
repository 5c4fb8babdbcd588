"""The room for worlds seen as a grid: a map, what things are good for, plans that chain backwards.

Its environments tell beside their texts a `view` of names, `facing`, `position`, `inventory`,
`events` and whether the player sleeps. Does not: know what any name means beyond `interface`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from alicebob.alice.grid import advise, explore, judge, label, memory, think, watch
from alicebob.alice.room import Room
from alicebob.envs import World
from alicebob.envs.hooks import told
from alicebob.settings import Params
from alicebob.trace import Episode, Skill

__all__ = ["ROOM"]


def _label(episodes: Sequence[Episode], round_id: str, world: World, params: Params) -> list[Skill]:
    return label.label(
        episodes,
        round_id,
        told=told(world()),
        open_play=params.skills.open_play,
        open_play_share=params.skills.open_play_share,
        max_turns=params.skills.max_turns,
    )


ROOM = Room(
    memory=memory.Knowledge,
    explorer=explore.Curious,
    watch=watch.GridWatch,
    label=_label,
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
)
