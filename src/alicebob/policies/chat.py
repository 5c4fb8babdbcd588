"""Chat: questions to a language model, answered one by one, and a served model that does.

A question is a list of texts that alternate between user and model and end with the user's.
Invariant: content can never create a special token, neither here (see
`alicebob.policies.conversation`) nor at an endpoint, whose template is its own. Does not: check
what an answer says.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Protocol

from alicebob.errors import ProviderError
from alicebob.policies.endpoint import Completion, Endpoint, Refused
from alicebob.progress import tell

__all__ = ["Chat", "Form", "Question", "ServedChat", "seed_of"]

Question = Sequence[str]
Form = Mapping[str, Any]  # a JSON schema


class Chat(Protocol):
    """A model that answers questions."""

    def answers(
        self, questions: Sequence[Question], forms: Sequence[Form] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Yield the number of a question and its answer, as they come.

        `forms` are the schemas that the answers should be objects of, one for each question, or
        none. Raises ProviderError, after all other answers, where some could not be had.
        """


class ServedChat:
    """A model behind an endpoint; as many questions at once as the endpoint allows.

    Forms are sent along (`response_format`). A server that refuses a question with one, and not
    without it, is sent no more of them, and that is told on stderr. An answer is not bounded by its
    form here: a model may think before it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_new_tokens: int = 1024,
        temperature: float = 0.7,
        top_p: float = 1.0,
    ) -> None:
        self.endpoint = endpoint
        self.sampling = {
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
        }
        self._formed, self._lock = True, threading.Lock()

    def answers(
        self, questions: Sequence[Question], forms: Sequence[Form] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Ask all, side by side; see `Chat`. Spent and ProviderError as the endpoint raises."""
        if questions:
            self.endpoint.reach()
        lost: list[ProviderError] = []
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        try:
            asked = {
                pool.submit(self._timed, question, form): i
                for i, (question, form) in enumerate(zip_longest(questions, forms))
            }
            for future in as_completed(asked):
                try:
                    yield asked[future], future.result()
                except ProviderError as error:
                    lost.append(error)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if lost:
            raise type(lost[-1])(f"{len(lost)} of {len(questions)} answers are owed: {lost[-1]}")

    def _timed(self, question: Question, form: Form | None) -> Completion:
        begun = time.monotonic()
        found = self._ask(question, form)
        return replace(found, seconds=time.monotonic() - begun)

    def _ask(self, question: Question, form: Form | None) -> Completion:
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(question)]
        ask = functools.partial(
            self.endpoint.complete, messages, seed=seed_of(question), **self.sampling
        )
        if form is None or not self._formed:
            return ask()
        schema = {"name": "answer", "schema": form, "strict": True}
        try:
            return ask(response_format={"type": "json_schema", "json_schema": schema})
        except Refused as refused:
            found = ask()
            with self._lock:
                if self._formed:
                    tell(f"{refused} Answers are asked for without their form (response_format).")
                self._formed = False
            return found


def seed_of(question: Question) -> int:
    """Return a seed that follows from a question, the same in every process."""
    digest = hashlib.sha256("\0".join(question).encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:4], "big") // 2
