"""Attempt: Alice carries out tasks, by what she knows, and tries what she does not know.

What she does at a turn is what she would counsel another there, so that her turns have thoughts.
Invariant: an episode depends on its task and on what she knew before it. Does not: know how a room
works out its counsel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from alicebob.alice.room import EVIDENCE, Guide, Room
from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.trace import AIM

__all__ = ["Attempting", "able"]

Made = Callable[[Any, Collection[str], Live], Guide]


def able(room: Room) -> Made:
    """Return how the Alice of a room carries out a task; UsageError where she cannot."""
    if room.attempt is None:
        raise UsageError(
            "The embedded Alice of this environment carries out no tasks. Let Bob play them "
            "(learn_by_interact.actor: bob) or a language model (alice.explore: model)."
        )
    return room.attempt


class Attempting:
    """The policy: in each episode she follows a guide of her own, which `made` makes."""

    def __init__(self, made: Made, memory: Any, without: Collection[str]) -> None:
        self._made = functools.partial(made, memory, without)
        self._guides: dict[int, Guide] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with what was known before the wave."""
        self._guides = {id(live): self._made(live) for live in wave}

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Do in each episode what she would counsel."""
        return [self._acted(live, self._guides[id(live)]) for live in lives]

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        return {EVIDENCE: self._guides.pop(id(live)).close(live)}

    def _acted(self, live: Live, guide: Guide) -> Reply:
        said = guide.counsel(live)
        guide.saw(live, said.action)
        tags = tuple(tag for tag in said.tags if not tag.startswith(AIM))
        return Reply(said.action, said.thought, tags)
