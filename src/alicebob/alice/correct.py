"""Correct: Bob acts, and Alice judges every step as it happens (STeP, arXiv 2505.20023).

What Bob does is done: a wrong step is an action of the environment, so that what comes of it is
seen and the episode replays. Then Alice may take the next turn, with a reflection on what was
wrong, and the episode goes on from there. Beside each of Bob's turns stands what she would have
replied, whether or not it was followed. Invariant: an episode depends on its task, its wave, what
Alice knew and Bob's weights. Does not: know how a room judges, or what is learnt from it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.random import Generator

from alicebob.alice.room import EVIDENCE, Counsel, Guide, Room
from alicebob.draws import generator
from alicebob.errors import UsageError
from alicebob.policies import Live, Policy, Reply
from alicebob.policies.conversation import parse_reply, write_reply
from alicebob.rollout import Actor, Build
from alicebob.trace import CORRECTION, COUNSEL, ERROR, REFLECTION, RIGHT, Turn

__all__ = ["Corrected", "beside", "counsel_in"]


def beside(
    room: Room,
    actor: Actor,
    memory: Any,
    lead: float,
    reflects: bool,
    without: Collection[str] = (),
) -> Actor:
    """Return who plays as an actor does while Alice watches.

    She takes the turn after a wrong one with the chance `lead`, and says why where she `reflects`.
    Raises UsageError where her room has no counsel.
    """
    if room.guide is None:
        raise UsageError(
            "The embedded Alice of this environment cannot correct Bob as he plays: she knows no "
            "better than he does what to do in it. Use another method, e.g. rft."
        )
    guide = functools.partial(room.guide, memory, tuple(without))
    return replace(actor, build=functools.partial(_build, actor.build, guide, lead, reflects))


def _build(build: Build, guide: Any, lead: float, reflects: bool) -> Policy:
    return Corrected(build(), guide, lead, reflects)


@dataclass(slots=True)
class _Watched:
    guide: Guide
    draw: Generator


class Corrected:
    """The policy: `student` acts, and a guide made by `guide` watches each episode."""

    def __init__(self, student: Policy, guide: Any, lead: float, reflects: bool) -> None:
        self.student, self.guide, self.lead, self.reflects = student, guide, lead, reflects
        self._watched: dict[int, _Watched] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode."""
        self.student.start(wave)
        self._watched = {
            id(live): _Watched(self.guide(live), generator("lead", live.task.id, live.task.seed))
            for live in wave
        }

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Return the student's replies, judged, or the teacher's where she leads."""
        replies = self.student.act(lives)
        return [self._judged(live, reply) for live, reply in zip(lives, replies, strict=True)]

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the student noted, and what the episode taught the teacher."""
        watched = self._watched.pop(id(live))
        return {**self.student.finish(live), EVIDENCE: watched.guide.close(live)}

    def _judged(self, live: Live, reply: Reply) -> Reply:
        watched = self._watched[id(live)]
        hers = watched.guide.counsel(live)
        last = live.turns[-1] if live.turns else None
        if last and ERROR in last.tags and watched.draw.random() < self.lead:
            taken = self._corrected(last, hers, reply)
        elif (nod := watched.guide.approves(live, reply.action, reply.thought)) is not None:
            taken = _noted(reply, nod, RIGHT)
        else:
            taken = _noted(reply, hers, ERROR)
        watched.guide.saw(live, taken.action)
        return taken

    def _corrected(self, wrong: Turn, hers: Counsel, reply: Reply) -> Reply:
        """Return her turn after a wrong one; what the student wrote for it counts all the same."""
        thought, tags = hers.thought, (CORRECTION, *hers.tags)
        if self.reflects:
            thought, tags = f"{_reflection(wrong)} {thought}".strip(), (*tags, REFLECTION)
        spent = reply.prompt_tokens, reply.reply_tokens
        return Reply(hers.action, thought, tags, prompt_tokens=spent[0], reply_tokens=spent[1])


def _noted(reply: Reply, counsel: Counsel, verdict: str) -> Reply:
    said = COUNSEL + write_reply(counsel.thought, counsel.action)
    return replace(reply, tags=(*reply.tags, verdict, said, *counsel.tags))


def counsel_in(turn: Turn) -> tuple[str, str]:
    """Return the thought and the action that the teacher had for a student's turn."""
    said = next(tag for tag in turn.tags if tag.startswith(COUNSEL))
    return parse_reply(said.removeprefix(COUNSEL))


def _reflection(wrong: Turn) -> str:
    """Return why a turn was wrong, in the words of what the teacher would have done."""
    thought, action = counsel_in(wrong)
    return f"{wrong.action} was wrong: {thought or 'it'} asks for {action}."
