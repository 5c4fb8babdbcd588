"""The room for worlds seen as a grid: a map, what things are good for, plans that chain backwards.

Its environments tell beside their texts a `view` of names, `facing`, `position`, `inventory`,
`events` and whether the player sleeps. Does not: know what any name means beyond `interface`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from alicebob.alice.grid import advise, correct, explore, judge, label, memory, think, watch
from alicebob.alice.room import Room
from alicebob.envs import World
from alicebob.envs.hooks import told
from alicebob.settings import Params
from alicebob.trace import Episode, Skill

__all__ = ["ROOM"]

PRIORS = {
    "explore": {
        "mend": "A vital that is low makes her want what has raised it, the more the lower.",
        "heal": "Life returns by itself and in sleep: only sleep is credited with it, and who has "
        "little of it rests.",
        "shelter": "A place that is closed on all sides is safe to rest in, and walls close it.",
        "fight": "What hurts is pressed on as soon as it stands beside her.",
        "tend": "What she made and what changes by itself may become what is wished for: it is "
        "made, and looked at now and then.",
        "fence": "What is tended wants walls on all sides.",
        "hoard": "What never worked may take much: all that can be got is got, and what was made "
        "is had near.",
        "chain": "What a thing takes is got first, and what that takes before it.",
        "recall": "What was seen and is out of sight is gone back to.",
        "beside": "What is looked for is beside what it stood beside before.",
    },
    "label": {
        "unused": "What was gathered once more and never used up is not worth learning.",
    },
}


def _label(episodes: Sequence[Episode], round_id: str, world: World, params: Params) -> list[Skill]:
    return label.label(
        episodes,
        round_id,
        told=told(world()),
        open_play=params.skills.open_play,
        open_play_share=params.skills.open_play_share,
        max_turns=params.skills.max_turns,
        without=getattr(params.alice, "without", ()),
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
    priors=MappingProxyType({**PRIORS, "correct": PRIORS["explore"]}),
    guide=correct.GridGuide,
    attempt=correct.GridGuide.trying,
)
