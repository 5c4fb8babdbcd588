"""Chat: questions to a language model, answered one by one: served, or on this machine.

A question is a list of texts that alternate between user and model and end with the user's.
Invariant: content can never create a special token, neither here (see
`alicebob.policies.conversation`) nor at an endpoint, whose template is its own. Does not: check
what an answer says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Protocol

from alicebob.errors import ProviderError, UsageError
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Completion, Endpoint
from alicebob.policies.template import Template

__all__ = ["Chat", "LocalChat", "Question", "ServedChat"]

Question = Sequence[str]
BATCH = 8  # questions that a local model answers together


class Chat(Protocol):
    """A model that answers questions."""

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Completion]]:
        """Yield the number of a question and its answer, as they come.

        Raises ProviderError, after all other answers, where some could not be had.
        """


class ServedChat:
    """A model behind an endpoint; as many questions at once as the endpoint allows."""

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

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Completion]]:
        """Ask all, side by side; see `Chat`. Spent and ProviderError as the endpoint raises."""
        if questions:
            self.endpoint.reach()
        roles = ("user", "assistant")

        def ask(question: Question) -> Completion:
            messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(question)]
            return self.endpoint.complete(messages, seed=_seed(question), **self.sampling)

        lost: list[ProviderError] = []
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        try:
            asked = {pool.submit(ask, question): i for i, question in enumerate(questions)}
            for future in as_completed(asked):
                try:
                    yield asked[future], future.result()
                except ProviderError as error:
                    lost.append(error)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if lost:
            raise type(lost[-1])(f"{len(lost)} of {len(questions)} answers are owed: {lost[-1]}")


class LocalChat:
    """A model on this machine, which answers in batches; `load` is called at the first question.

    `context` bounds question and answer together, in tokens; UsageError where one does not fit.
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
        self._loaded: tuple[Any, Conversation] | None = None
        self.context, self.max_new_tokens = context, max_new_tokens
        self.temperature, self.top_p = temperature, top_p

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Completion]]:
        """Answer batch by batch; see `Chat`. The same questions get the same answers."""
        if self._loaded is None:
            from transformers import GenerationConfig

            model, tokenizer = self._load()
            model.generation_config = GenerationConfig()  # no penalties or cuts of a model's own
            self._loaded = (model.eval(), Conversation(tokenizer, template=self._template))
        for first in range(0, len(questions), BATCH):
            some = questions[first : first + BATCH]
            yield from enumerate(self._batch(some), start=first)

    def _batch(self, questions: Sequence[Question]) -> list[Completion]:
        import torch

        assert self._loaded is not None
        model, talk = self._loaded
        prompts = [talk.question(question) for question in questions]
        longest = max(len(prompt) for prompt in prompts)
        if longest + self.max_new_tokens > self.context:
            raise UsageError(
                f"A question of {longest} tokens and an answer of {self.max_new_tokens} do not fit "
                f"into a context of {self.context}; raise alice.context."
            )
        padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        seen = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        chance: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            chance = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p}
            chance["top_k"] = 0
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(_seed([text for question in questions for text in question]))
            found = model.generate(
                input_ids=torch.tensor(padded, device=model.device),
                attention_mask=torch.tensor(seen, device=model.device),
                max_new_tokens=self.max_new_tokens,
                eos_token_id=talk.end[-1],
                pad_token_id=talk.end[-1],
                **chance,
            )[:, longest:].tolist()
        return [self._completion(p, w, talk) for p, w in zip(prompts, found, strict=True)]

    def _completion(
        self, prompt: Sequence[int], written: list[int], talk: Conversation
    ) -> Completion:
        stop = talk.end[-1]
        ids = written[: written.index(stop) + 1] if stop in written else written
        return Completion(talk.decode(ids), len(prompt), len(ids))


def _seed(question: Question) -> int:
    """Return a seed that follows from a question, the same in every process."""
    digest = hashlib.sha256("\0".join(question).encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:4], "big") // 2
