"""Correct: Bob acts, and Alice judges every step as it happens (STeP, arXiv 2505.20023).

What Bob does is done: a wrong step is an action of the environment, so that what comes of it is
seen and the episode replays. Then Alice may take the next turn, with a reflection on what was
wrong, and the episode goes on from there. Beside each of Bob's turns stands what she would have
replied, whether or not it was followed. Invariant: an episode depends on its task, its wave, what
Alice knew and Bob's weights. Does not: know how a room or a model judges, or what is learnt of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.random import Generator

from alicebob.alice.room import EVIDENCE, Counsel, Guide
from alicebob.draws import generator
from alicebob.policies import Live, Policy, Reply
from alicebob.policies.conversation import parse_reply, write_reply
from alicebob.rollout import Actor, Build
from alicebob.trace import AIMLESS, CORRECTION, COUNSEL, ERROR, REFLECTION, RIGHT, UNJUDGED, Turn

__all__ = ["Corrected", "Guided", "Judged", "Teacher", "Teaches", "beside", "counsel_in"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a teacher says of a turn.

    `hers` is what she would do there, None where she said nothing of use; `his` what she would have
    said to his action, None where it is wrong.
    """

    hers: Counsel | None
    his: Counsel | None


class Teacher(Protocol):
    """Who watches a wave of episodes and judges each step of them."""

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode; forget any former one."""

    def judge(self, lives: Sequence[Live], replies: Sequence[Reply]) -> list[Judged]:
        """Return a verdict on the student's reply in each live episode, in order."""

    def took(self, live: Live, action: str) -> None:
        """Take note of the action that is taken there, his or hers."""

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught, as plain data of a memory."""


Teaches = Callable[[], Teacher]  # made where it is used; can be pickled


class Guided:
    """The teacher that a room is: a guide in each episode, made by `guide`."""

    def __init__(self, guide: Callable[[Live], Guide]) -> None:
        self._guide = guide
        self.guides: dict[int, Guide] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode; see `Teacher`."""
        self.guides = {id(live): self._guide(live) for live in wave}

    def judge(self, lives: Sequence[Live], replies: Sequence[Reply]) -> list[Judged]:
        """Return the guides' verdicts; see `Teacher`."""
        found = []
        for live, reply in zip(lives, replies, strict=True):
            guide = self.guides[id(live)]
            hers = guide.counsel(live)
            found.append(Judged(hers, guide.approves(live, reply.action, reply.thought)))
        return found

    def took(self, live: Live, action: str) -> None:
        """Tell the guide; see `Teacher`."""
        self.guides[id(live)].saw(live, action)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught; see `Teacher`."""
        return self.guides.pop(id(live)).close(live)


def beside(actor: Actor, teaches: Teaches, lead: float, reflects: bool) -> Actor:
    """Return who plays as an actor does while a teacher watches.

    She takes the turn after a wrong one with the chance `lead`, and says why where she `reflects`.
    """
    return replace(actor, build=functools.partial(_build, actor.build, teaches, lead, reflects))


def _build(build: Build, teaches: Teaches, lead: float, reflects: bool) -> Policy:
    return Corrected(build(), teaches(), lead, reflects)


class Corrected:
    """The policy: `student` acts, `teacher` watches."""

    def __init__(self, student: Policy, teacher: Teacher, lead: float, reflects: bool) -> None:
        self.student, self.teacher, self.lead, self.reflects = student, teacher, lead, reflects
        self._draws: dict[int, Generator] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode."""
        self.student.start(wave)
        self.teacher.start(wave)
        self._draws = {id(each): generator("lead", each.task.id, each.task.seed) for each in wave}

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Return the student's replies, judged, or the teacher's where she leads."""
        replies = self.student.act(lives)
        judged = self.teacher.judge(lives, replies)
        taken = list(map(self._taken, lives, replies, judged))
        for live, reply in zip(lives, taken, strict=True):
            self.teacher.took(live, reply.action)
        return taken

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the student noted, and what the episode taught the teacher."""
        del self._draws[id(live)]
        return {**self.student.finish(live), EVIDENCE: self.teacher.close(live)}

    def _taken(self, live: Live, reply: Reply, judged: Judged) -> Reply:
        last = live.turns[-1] if live.turns else None
        leads = last and ERROR in last.tags and self._draws[id(live)].random() < self.lead
        if judged.hers is None:
            return replace(reply, tags=(*reply.tags, UNJUDGED, AIMLESS))
        if last and leads:
            return self._corrected(last, judged.hers, reply)
        if judged.his is not None:
            return _noted(reply, judged.his, RIGHT)
        return _noted(reply, judged.hers, ERROR)

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
    return f"Not {wrong.action} but {action}{f': {thought}' if thought else ''}."
