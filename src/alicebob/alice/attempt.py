"""Attempt: Alice carries out tasks, by what she knows, and tries what she does not know.

What she does at a turn is what she would counsel another there, so that her turns have thoughts;
where her room has no counsel she explores, with a wish.
Invariant: an episode depends on its task and on what she knew before it. Does not: know how a room
works out its counsel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from alicebob.alice.room import EVIDENCE, Counsel, Guide, Room
from alicebob.policies import Live, Policy, Reply
from alicebob.trace import AIM, INTENT

__all__ = ["Attempting", "made_for"]

WISH = 100.0  # the weight of a task's own event

Made = Callable[[Any, Collection[str], Live], Guide]


def made_for(room: Room) -> Made:
    """Return what makes, in a room, the guide that Alice follows about a task."""
    return room.attempt or functools.partial(Exploring, room.explorer)


class Exploring:
    """The guide of a room without one: it explores, with the event of the task as its wish."""

    def __init__(
        self, explorer: Callable[..., Policy], memory: Any, without: Collection[str], live: Live
    ) -> None:
        self._policy = explorer(
            memory, {live.task.target: WISH} if live.task.target else {}, without
        )
        self._policy.start([live])

    def counsel(self, live: Live) -> Counsel:
        """Return what it does, which is then done."""
        (reply,) = self._policy.act([live])
        return Counsel(reply.action, reply.thought, reply.tags)

    def approves(self, live: Live, action: str, thought: str) -> Counsel | None:
        """Judge nobody."""
        return None

    def saw(self, live: Live, action: str) -> None:
        """Take note of nothing: what is done is its own."""

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        taught: Mapping[str, Any] = self._policy.finish(live)[EVIDENCE]
        return taught


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
        tags = tuple(tag for tag in said.tags if not tag.startswith((AIM, INTENT)))
        return Reply(said.action, said.thought, tags)
