"""Querying by a language model: before each turn it says what it would like to know.

Invariant: what is asked depends on the episode alone, so that it is the same when it is played
again. Does not: keep what was asked; the examples that were found are noted with the turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from alicebob.alice.model.asking import Answer, prompt, read_as
from alicebob.alice.model.role import Role
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import quoted, shown
from alicebob.alice.query import Queries, plainly
from alicebob.policies import Live
from alicebob.progress import tell

__all__ = ["asking"]

MOST = 200  # characters of a query
SHOWN = 6  # turns of what was done so far


class Query(Answer):
    """What is looked for."""

    query: str = Field(max_length=MOST)


def asking(role: Role) -> Queries:
    """Return the queries of the model that plays a role.

    Where it answers with none the embedded one stands in, which is told on stderr once.
    """
    chat, form = role.shared(), record(query=line(1, MOST))
    said: list[str] = []

    def ask(lives: Sequence[Live]) -> list[str]:
        questions = [[_prompt(live)] for live in lives]
        found = dict(chat.answers(questions, [form] * len(lives)))
        queries = [_read(found[number].text) for number in range(len(lives))]
        if not all(queries) and not said:
            said.append("Some queries of alice.model are no answers; the embedded ones stand in.")
            tell(said[0])
        own = plainly()(lives)
        return [query or instead for query, instead in zip(queries, own, strict=True)]

    return ask


def _prompt(live: Live) -> str:
    return prompt(
        "query",
        instruction=quoted(live.task.instruction),
        turns=shown(live.turns[-SHOWN:]) or "(nothing yet)",
        observation=quoted(live.observation),
    )


def _read(text: str) -> str:
    """Return the query in an answer, "" where it is none."""
    try:
        return " ".join(read_as(Query, text).query.split())
    except ValueError:
        return ""
