"""Thinking by a language model: it writes the thoughts of skills after the fact.

Invariant: a thought that names what was seen only later is rejected; a skill whose thoughts were
rejected is dropped and counted. Does not: look at whole episodes of open play, whose thoughts are
those the explorer had.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from alicebob.alice.model.asking import Answer, Asker, Tally, one_line, prompt
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import shown
from alicebob.policies.chat import Chat
from alicebob.trace import OPEN_PLAY, Skill, Turn

__all__ = ["add_thoughts"]

LONGEST = 200  # characters of a thought
_WORD = re.compile(r"[a-z]{3,}")


class Thoughts(Answer):
    """A thought for each turn."""

    thoughts: list[Annotated[str, Field(max_length=LONGEST)]]


def add_thoughts(
    skills: Sequence[Skill],
    chat: Chat,
    journal: Path,
    done: Callable[[], object] = lambda: None,
) -> tuple[list[Skill], Tally]:
    """Return the skills with thoughts that the model wrote; those of open play as they are."""
    wanted = [skill for skill in skills if skill.name != OPEN_PLAY]

    def check(number: int, answer: Thoughts) -> None:
        skill = wanted[number]
        if len(answer.thoughts) != len(skill.turns):
            raise ValueError(
                f"It has {len(answer.thoughts)} thoughts; {len(skill.turns)} were asked for."
            )
        for index, thought in enumerate(answer.thoughts):
            one_line(thought)
            if word := _foreseen(thought, skill, index):
                raise ValueError(
                    f"Thought {index + 1} speaks of {word!r}, which was only seen later."
                )

    def form(number: int) -> dict[str, Any]:
        count = len(wanted[number].turns)
        each = line(1, LONGEST)
        some = {"type": "array", "items": each, "minItems": count, "maxItems": count}
        return record(thoughts=some)

    asker = Asker(chat, Thoughts, journal, check, form)
    prompts = [
        prompt(
            "think",
            instruction=skill.instruction,
            turns=shown([replace(turn, events=()) for turn in skill.turns], most=10_000),
            count=str(len(skill.turns)),
        )
        for skill in wanted
    ]
    answers = dict(zip((s.id for s in wanted), asker.ask(prompts, done), strict=True))
    found = []
    for skill in skills:
        answer = answers.get(skill.id)
        if skill.name == OPEN_PLAY:
            found.append(skill)
        elif answer is not None:
            turns = tuple(
                replace(turn, thought=thought.strip())
                for turn, thought in zip(skill.turns, answer.thoughts, strict=True)
            )
            found.append(replace(skill, turns=turns))
    return found, asker.tally


def _foreseen(thought: str, skill: Skill, index: int) -> str:
    """Return a word of a thought that was seen after its turn and not before, "" for none."""
    known = _words(skill.instruction)
    for turn in skill.turns[: index + 1]:
        known |= _words(turn.observation) | _words(turn.action)
    later = _seen(skill.turns[index + 1 :]) - known
    return min(later & _words(thought), default="")


def _seen(turns: Sequence[Turn]) -> set[str]:
    return {word for turn in turns for word in _words(turn.observation)}


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
