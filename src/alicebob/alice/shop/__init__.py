"""The room for shops made of pages: requests and what answers them, from what stands on the pages.

Its environments tell beside their texts which `page` is shown, the `product` looked at, the
`options` chosen, and at the end, as `result`, what was bought. Does not: know any product.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from alicebob.alice.room import Room
from alicebob.alice.shop import advise, correct, explore, judge, label, memory, think, watch
from alicebob.envs import World
from alicebob.settings import Params
from alicebob.trace import Episode, Skill

__all__ = ["ROOM"]

PRIORS = {
    "explore": {
        "persona": "Words of her persona are worth a search when she knows better ones too, and "
        "what reminds of them draws her.",
        "options": "Options are named in the search, and where a product has others, these are "
        "searched for.",
    },
    "label": {
        "templates": "A purchase is asked for in the sentences that the shop's own goals are in.",
    },
}


def _label(episodes: Sequence[Episode], round_id: str, world: World, params: Params) -> list[Skill]:
    without = getattr(params.alice, "without", ())
    return label.label(episodes, round_id, max_turns=params.skills.max_turns, without=without)


ROOM = Room(
    memory=memory.Memory,
    explorer=explore.Shopper,
    watch=watch.ShopWatch,
    label=_label,
    think=think.think,
    bare=think.bare,
    reworded=label.reworded,
    names=label.names,
    judge=judge.judge,
    advise=advise.advise,
    reasons=MappingProxyType(judge.REASONS),
    reads=MappingProxyType({"label": ("skills.max_turns",)}),
    priors=MappingProxyType(PRIORS),
    guide=correct.ShopGuide,
    attempt=correct.ShopGuide.acting,
)
