"""Answering: questions that a model on this machine answers, in batches and in a given form.

What all questions of a call begin with, such as the long instructions of a verb, is read once, and
questions that wait are answered side by side, those of a length together. An answer with a form is
an object of its schema, and takes no more tokens than that can need. Invariant: what is answered to
a question depends on no other, but for the rounding of half precision. Does not: check what an
answer says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alicebob.errors import UsageError
from alicebob.policies.answer import Completion
from alicebob.policies.chat import Form, Question, seed_of
from alicebob.policies.conversation import Conversation
from alicebob.policies.faithful import reader_of
from alicebob.policies.forms import Grammar, Matcher, longest, narrow
from alicebob.policies.reading import Held, Reader
from alicebob.policies.template import Template
from alicebob.policies.writing import draw, write
from alicebob.progress import tell

__all__ = ["LocalChat"]

WIDEST = 16  # questions that are answered together
HELD = 32_768  # tokens whose keys and values are kept at once, questions and answers together


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as the model reads it, and the tokens that its answer may take."""

    question: Question
    ids: list[int]
    form: Form | None
    most: int

    @property
    def room(self) -> int:
        return len(self.ids) + self.most


class LocalChat:
    """A model on this machine; `load` is called at the first question.

    `context` bounds question and answer together, in tokens; UsageError where one does not fit. A
    tokenizer that no grammar can be made for leaves the form to the model, which is told on stderr.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Any, Any]],
        template: Template | None = None,
        *,
        context: int = 8192,
        max_new_tokens: int = 1024,
        temperature: float = 0.7,
        top_p: float = 1.0,
    ) -> None:
        self._load, self._template = load, template
        self._loaded: tuple[Reader, Conversation, Grammar | None] | None = None
        self.context, self.max_new_tokens = context, max_new_tokens
        self.temperature, self.top_p = temperature, top_p

    def answers(
        self, questions: Sequence[Question], forms: Sequence[Form] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer batch by batch; see `Chat`. The same questions get the same answers."""
        if not questions:
            return
        reader, talk, _ = self._ready()
        asked = [
            _Asked(question, talk.question(question), form, self._most(form))
            for question, form in zip_longest(questions, forms)
        ]
        fullest = max(asked, key=lambda each: each.room)
        if fullest.room > self.context:
            raise UsageError(
                f"A question of {len(fullest.ids)} tokens and an answer of {fullest.most} do not "
                f"fit into a context of {self.context}; raise alice.context."
            )
        shared = _beginning([each.ids for each in asked])
        order = sorted(range(len(asked)), key=lambda i: len(asked[i].ids))
        width = min(WIDEST, max(1, HELD // fullest.room))
        for first in range(0, len(order), width):
            some = order[first : first + width]
            rows = [Held(slot=slot) for slot in range(len(some))]
            reader.start(len(rows), fullest.room)
            found = self._batch(rows, shared, [asked[i] for i in some])
            yield from zip(some, found, strict=True)

    def _most(self, form: Form | None) -> int:
        """Return the tokens of an answer: of its form none writes less than a character."""
        return int(min(self.max_new_tokens, longest(form) + 1 if form else self.max_new_tokens))

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _batch(
        self, rows: Sequence[Held], shared: list[int], asked: Sequence[_Asked]
    ) -> list[Completion]:
        """Return the answers to questions that begin with `shared`, one in each empty row."""
        begun = time.monotonic()
        reader, talk, grammar = self._ready()
        chances = [np.random.default_rng(seed_of(each.question)) for each in asked]
        held: dict[int, Matcher] = {
            i: grammar.begin(each.form) for i, each in enumerate(asked) if grammar and each.form
        }

        def choose(logits: Tensor, going: Sequence[int], _: object) -> list[int]:
            if formed := [place for place, i in enumerate(going) if i in held]:
                some = logits[formed]
                narrow(some, [held[going[place]] for place in formed])
                logits[formed] = some
            drawn = draw(logits, [chances[i] for i in going], self.temperature, self.top_p)
            for i, token in zip(going, drawn, strict=True):
                if i in held:
                    held[i].consume_token(token)
            return drawn

        def over(i: int, ids: Sequence[int]) -> bool:
            ended = ids[-1] == talk.end[-1] or (i in held and held[i].is_stopped())
            return ended or len(ids) >= asked[i].most

        reader.share(rows, shared)
        written = write(reader, rows, [each.ids[len(shared) :] for each in asked], choose, over)
        took = time.monotonic() - begun
        return [
            Completion(talk.decode(ids), len(each.ids), len(ids), seconds=took)
            for each, ids in zip(asked, written, strict=True)
        ]

    def _ready(self) -> tuple[Reader, Conversation, Grammar | None]:
        if self._loaded is None:
            model, tokenizer = self._load()
            talk = Conversation(tokenizer, template=self._template)
            reader = reader_of(model, self.context)
            self._loaded = (reader, talk, _grammar(talk))
        return self._loaded


def _grammar(talk: Conversation) -> Grammar | None:
    try:
        return Grammar(talk)
    except ValueError as error:
        tell(
            f"Warning: alice.model cannot be held to the form of its answers ({error}); they are "
            "asked for in words alone."
        )
        return None


def _beginning(asked: Sequence[list[int]]) -> list[int]:
    """Return the tokens that all begin with, short of all of any."""
    least, most = min(asked), max(asked)  # all others are between them
    shortest = min(map(len, asked)) - 1
    same = 0
    while same < shortest and least[same] == most[same]:
        same += 1
    return least[:same]
