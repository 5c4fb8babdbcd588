"""Labelling by a language model: it writes the instructions of skills after the fact.

Where a stretch begins and ends, and what it achieved, remains the room's; the words are the
model's. Invariant: a skill whose words were rejected is dropped and counted. Does not: look at
whole episodes of open play.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from alicebob.alice.model.asking import Answer, Asker, Tally, one_line, prompt
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import shown
from alicebob.policies.chat import Chat
from alicebob.trace import OPEN_PLAY, Skill
from alicebob.words import goal

__all__ = ["relabel", "sample"]

UNTOLD = "(not said yet)"  # what stands on a page that shows the instruction


LEAST, MOST = 3, 300  # characters of an instruction


class Instruction(Answer):
    """What could have been asked for before a stretch."""

    instruction: str = Field(min_length=LEAST, max_length=MOST)


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

    `reworded` gives a skill another instruction (see `alicebob.alice.room`); the model is shown the
    skill without one. `journal` is a file that keeps the answers; ProviderError where some could
    not be had.
    """
    form = record(instruction=line(LEAST, MOST))
    asker = Asker(
        chat, Instruction, journal, lambda _, said: one_line(said.instruction), lambda _: form
    )
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
