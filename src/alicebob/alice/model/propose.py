"""Proposing by a language model: it makes tasks of documents.

Invariant: what does not fit its schema is rejected and counted. Does not: know whether a task can
be carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from alicebob.alice.model.asking import Answer, Asker, Tally, one_line, prompt
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import quoted
from alicebob.policies.chat import Chat
from alicebob.retrieval.documents import Document

__all__ = ["pose"]

LEAST, MOST = 3, 300  # characters of a task


class Tasks(Answer):
    """What could be asked for."""

    tasks: list[Annotated[str, Field(min_length=LEAST, max_length=MOST)]]


def pose(
    documents: Sequence[Document],
    each: int,
    chat: Chat,
    journal: Path,
    done: Callable[[], object] = lambda: None,
) -> tuple[list[str], Tally]:
    """Return up to `each` instructions for each document, document by document."""

    def check(_: int, answer: Tasks) -> None:
        if not 1 <= len(answer.tasks) <= each:
            raise ValueError(f"It has {len(answer.tasks)} tasks; up to {each} were asked for.")
        for task in answer.tasks:
            one_line(task)

    some = {"type": "array", "items": line(LEAST, MOST), "minItems": 1, "maxItems": each}
    asker = Asker(chat, Tasks, journal, check, lambda _: record(tasks=some))
    prompts = [
        prompt("propose", document=quoted(document.text), count=str(each)) for document in documents
    ]
    answers = asker.ask(prompts, done)
    found = [task.strip() for answer in answers if answer for task in answer.tasks]
    return found, asker.tally
