"""Backward by a language model: it writes both instructions of a stretch after the fact.

Invariant: a stretch whose words were rejected is left out and counted. Does not: choose stretches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from alicebob.alice.backward import REPLICATE, Stretch
from alicebob.alice.model.asking import Answer, Asker, Tally, one_line, prompt
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import shown
from alicebob.policies.chat import Chat
from alicebob.trace import Skill

__all__ = ["told_afterwards"]

LEAST, MOST = 3, 300  # characters of an instruction
ASKED = "asked"  # the name of a skill whose task a model wrote, where no event says what it is


class Told(Answer):
    """What was done, to be done again, and a task that it carries out."""

    summary: str = Field(min_length=LEAST, max_length=MOST)
    task: str = Field(min_length=LEAST, max_length=MOST)


def told_afterwards(
    found: Sequence[Stretch],
    round_id: str,
    chat: Chat,
    journal: Path,
    done: Callable[[], object] = lambda: None,
) -> tuple[list[tuple[Skill, Stretch]], Tally]:
    """Return two skills of each stretch, beside it, in order."""

    def check(_: int, answer: Told) -> None:
        one_line(answer.summary)
        one_line(answer.task)

    form = record(summary=line(LEAST, MOST), task=line(LEAST, MOST))
    asker = Asker(chat, Told, journal, check, lambda _: form)
    prompts = [prompt("backward", turns=shown(each.turns, each.after)) for each in found]
    skills: list[tuple[Skill, Stretch]] = []
    for each, answer in zip(found, asker.ask(prompts, done), strict=True):
        if answer is not None:
            events = [event for turn in each.turns for event in turn.events]
            name = events[-1] if events else ASKED
            skills.append((each.skill(round_id, REPLICATE, answer.summary.strip()), each))
            skills.append((each.skill(round_id, name, answer.task.strip()), each))
    return skills, asker.tally
