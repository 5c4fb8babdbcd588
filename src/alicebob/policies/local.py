"""A local model as policy: a batch of live episodes decoded together, its cache kept between turns.

Each episode has a row of its own, so that what a turn costs is what it adds (as far as the model
allows, see `alicebob.policies.reading`); only when the oldest turns must go is that episode's
window read again. Sampling draws one number per token from the episode's own generator. Invariant:
tokens in are tokens out: a reply stays in the context as it was generated, never tokenised anew;
where a teacher's was taken instead, hers stands there.
Does not: train.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from alicebob.policies import Live, Refers
from alicebob.policies.constraint import Choices
from alicebob.policies.conversation import Conversation
from alicebob.policies.reading import Kept, Reader
from alicebob.policies.speaking import Row, Speaker
from alicebob.policies.writing import draw, write

__all__ = ["Local"]


class Local(Speaker):
    """Plays with a Hugging Face causal language model.

    `temperature` 0 is greedy; `top_p` draws from the likeliest tokens that make up that share
    (nucleus sampling). With `constrained` a reply names an admissible action of that turn, and
    `whose` is the block of parameters that wants it. `reader` is how the model is read, by default
    with its keys and values kept; `alicebob.policies.faithful` says which way is right for a model.
    Otherwise as `Speaker`.
    """

    def __init__(
        self,
        model: Any,
        conversation: Conversation,
        *,
        context: int,
        turns: int = 0,
        max_new_tokens: int = 16,
        temperature: float = 0.7,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        constrained: bool = False,
        whose: str = "bob",
        reader: Reader | None = None,
        refer: Refers | None = None,
    ) -> None:
        super().__init__(
            conversation,
            context=context,
            turns=turns,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
            refer=refer,
        )
        self.model = model.eval()
        self._choices = Choices(conversation, max_new_tokens, whose) if constrained else None
        self._reader = reader or Kept(model)

    def start(self, wave: Sequence[Live]) -> None:
        """Give each episode of the wave an empty row."""
        super().start(wave)
        room = self.context + self.max_new_tokens + len(self.conversation.end)
        self._reader.start(len(wave), room)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _write(self, rows: Sequence[Row], prompts: Sequence[list[int]]) -> list[list[int]]:
        self._gather(rows)
        choose = functools.partial(self._choose, [row.live for row in rows])
        return write(self._reader, rows, prompts, choose, self._over)

    def _choose(
        self,
        acting: Sequence[Live],
        logits: Tensor,
        going: Sequence[int],
        written: Sequence[Sequence[int]],
    ) -> list[int]:
        """Return the next token of each row that goes on."""
        lives = [acting[i] for i in going]
        if self._choices is not None:
            self._choices.narrow(logits, lives, written)
        return self._draw(logits, lives)

    def _draw(self, logits: Tensor, lives: Sequence[Live]) -> list[int]:
        return draw(logits, [live.draw for live in lives], self.temperature, self.top_p)

    def _over(self, _: int, written: Sequence[int]) -> bool:
        ended = written[-1] == self.conversation.end[-1] or len(written) >= self.max_new_tokens
        return ended or self._stopped(written)

    def _gather(self, rows: Sequence[Row]) -> None:
        """Move the rows together where some have ended."""
        self._reader.keep([row.slot for row in rows])
        for slot, row in enumerate(rows):
            row.slot = slot
