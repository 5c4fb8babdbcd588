"""The committee of language models: each judge is asked about each skill, and does not see others.

Invariant: a verdict that does not fit its schema is a no, and says that there is none. Does not:
count votes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from alicebob.alice.backward import Stretch
from alicebob.alice.committee import Verdicts
from alicebob.alice.model.asking import Answer, Asker, Tally, prompt
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import quoted, shown
from alicebob.policies.chat import Chat
from alicebob.trace import Skill

__all__ = ["judged"]

WHY = 200  # characters of a reason


class Vote(Answer):
    """Whether a judge accepts, and if not why."""

    accept: bool
    why: str = Field(max_length=WHY)


def judged(
    skills: Sequence[tuple[Skill, Stretch]],
    judges: int,
    chat: Chat,
    journal: Path,
    done: Callable[[], object] = lambda: None,
) -> tuple[list[Verdicts], Tally]:
    """Return for each skill the verdicts of so many judges: "" for yes, else why not."""

    def check(_: int, vote: Vote) -> None:
        if not vote.accept and not vote.why.strip():
            raise ValueError("It does not say why not.")

    form = {"anyOf": [record(accept=True, why=""), record(accept=False, why=line(1, WHY))]}
    asker = Asker(chat, Vote, journal, check, lambda _: form)
    prompts = [
        prompt(
            "committee",
            number=str(number + 1),
            judges=str(judges),
            instruction=quoted(skill.instruction),
            turns=shown(skill.turns, stretch.after, thoughts=True),
        )
        for skill, stretch in skills
        for number in range(judges)
    ]
    votes = iter(asker.ask(prompts, done))
    found: list[Verdicts] = [
        {f"model {n + 1}": _said(next(votes)) for n in range(judges)} for _ in skills
    ]
    return found, asker.tally


def _said(vote: Vote | None) -> str:
    if vote is None:
        return "there is no verdict"
    return "" if vote.accept else " ".join(vote.why.split())
