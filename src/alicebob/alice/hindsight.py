"""Hindsight: a language model writes the instructions and thoughts of skills after the fact.

Where a stretch begins and ends, and what it achieved, remains the labeller's (a rule); the words
are the model's. Invariant: a thought that names what was seen only later is rejected; a skill whose
words were rejected is dropped and counted. Does not: look at whole episodes of open play, whose
thoughts are those the explorer had.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from alicebob.alice.asking import Answer, Asker, Tally, prompt
from alicebob.alice.labeller import OPEN_PLAY
from alicebob.alice.transcript import shown
from alicebob.alice.words import goal
from alicebob.chat import Chat
from alicebob.trace import Skill, Turn

__all__ = ["add_thoughts", "agrees", "relabel", "sample"]

UNTOLD = "(not said yet)"  # what stands on a page that shows the instruction
_WORD = re.compile(r"[a-z]{3,}")


class Instruction(Answer):
    """What could have been asked for before a stretch."""

    instruction: str = Field(min_length=3, max_length=300)


class Thoughts(Answer):
    """A thought for each turn."""

    thoughts: list[str]


def sample(skills: Sequence[Skill], most: int) -> tuple[list[Skill], int]:
    """Return at most `most` skills of a kind, spread evenly over them, and how many were left out.

    A model's words cost; of what is shown hundreds of times a part will do.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for skill in skills:
        by_name[skill.name].append(skill.id)
    kept: set[str] = set()
    for name, ids in by_name.items():
        count = len(ids) if name == OPEN_PLAY else min(most, len(ids))
        kept.update(ids[i * len(ids) // count] for i in range(count))
    chosen = [skill for skill in skills if skill.id in kept]
    return chosen, len(skills) - len(chosen)


def relabel(
    skills: Sequence[Skill],
    chat: Chat,
    journal: Path,
    reworded: Callable[[Skill, str], Skill],
    done: Callable[[], object] = lambda: None,
) -> tuple[list[Skill], Tally]:
    """Return the skills with instructions that the model wrote; those of open play as they are.

    `reworded` gives a skill another instruction (see `alicebob.alice.embedded`); the model is shown
    the skill without one. `journal` is a file that keeps the answers; ProviderError where some
    could not be had.
    """
    asker = Asker(chat, Instruction, journal, lambda _, answer: _one_line(answer.instruction))
    wanted = [skill for skill in skills if skill.name != OPEN_PLAY]
    prompts = [
        prompt("label", event=goal(skill.name), turns=shown(reworded(skill, UNTOLD).turns))
        for skill in wanted
    ]
    answers = dict(zip((s.id for s in wanted), asker.ask(prompts, done), strict=True))
    found = []
    for skill in skills:
        answer = answers.get(skill.id)
        if skill.name == OPEN_PLAY:
            found.append(skill)
        elif answer is not None:
            found.append(reworded(skill, answer.instruction.strip()))
    return found, asker.tally


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
            _one_line(thought)
            if word := _foreseen(thought, skill, index):
                raise ValueError(
                    f"Thought {index + 1} speaks of {word!r}, which was only seen later."
                )

    asker = Asker(chat, Thoughts, journal, check)
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


def agrees(skill: Skill) -> bool:
    """Say whether an instruction names what the environment says was achieved.

    A plain rule: a word of the event's own, its verb aside where it has others, stands in it; of a
    purchase, a word that was searched for.
    """
    if "goal" in skill.options:
        return bool(_words(skill.turns[0].action.partition("[")[2]) & _words(skill.instruction))
    words = skill.name.split("_")
    return any(word in skill.instruction.lower() for word in words[1:] or words)


def _one_line(text: str) -> None:
    if not text.strip() or len(text.strip().splitlines()) != 1 or not text.isprintable():
        raise ValueError("A text in it is empty or not one plain line.")


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
