"""A local model as policy: a batch of live episodes decoded together, its cache kept between turns.

Each episode has a row of its own, so that what a turn costs is what it adds (as far as the model
allows, see `alicebob.policies.reading`); only when the oldest turns must go is that episode's
window read again. Sampling draws one number per token from the episode's own generator. Invariant:
tokens in are tokens out: a reply stays in the context as it was generated, never tokenised anew.
Does not: train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from alicebob.policies import Live
from alicebob.policies.constraint import Choices
from alicebob.policies.conversation import Conversation
from alicebob.policies.reading import Kept, Reader
from alicebob.policies.speaking import Row, Speaker

__all__ = ["Local"]

LIKELY = 64  # tokens that are put in order first


class Local(Speaker):
    """Plays with a Hugging Face causal language model.

    `temperature` 0 is greedy; `top_p` draws from the likeliest tokens that make up that share
    (nucleus sampling). With `constrained` a reply names an admissible action of that turn. `reader`
    is how the model is read, by default with its keys and values kept; `alicebob.policies.faithful`
    says which way is right for a model. Otherwise as `Speaker`.
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
        reader: Reader | None = None,
    ) -> None:
        super().__init__(
            conversation,
            context=context,
            turns=turns,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
        )
        self.model = model.eval()
        self._choices = Choices(conversation, max_new_tokens) if constrained else None
        self._reader = reader or Kept(model)

    def start(self, wave: Sequence[Live]) -> None:
        """Give each episode of the wave an empty row."""
        super().start(wave)
        room = self.context + self.max_new_tokens + len(self.conversation.end)
        self._reader.start(len(wave), room)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _write(self, rows: Sequence[Row], prompts: Sequence[list[int]]) -> list[list[int]]:
        self._gather(rows)
        logits = self._reader.read(rows, prompts)
        written: list[list[int]] = [[] for _ in rows]
        going = list(range(len(rows)))
        stop = self.conversation.end[-1]
        while True:
            acting = [rows[i].live for i in going]
            if self._choices is not None:
                self._choices.narrow(logits, acting, [written[i] for i in going])
            for i, token in zip(going, self._draw(logits, acting), strict=True):
                written[i].append(token)
            going = [
                i
                for i in going
                if written[i][-1] != stop
                and len(written[i]) < self.max_new_tokens
                and not self._stopped(written[i])
            ]
            if not going:
                return written
            # Rows that are done ride along unread: leaving them out would copy the cache.
            last = set(going)
            logits = self._reader.step(
                rows, [written[i][-1:] if i in last else [] for i in range(len(rows))]
            )[going]

    def _gather(self, rows: Sequence[Row]) -> None:
        """Move the rows together where some have ended."""
        self._reader.keep([row.slot for row in rows])
        for slot, row in enumerate(rows):
            row.slot = slot

    def _draw(self, logits: Tensor, lives: Sequence[Live]) -> list[int]:
        """Return a token for each row: the likeliest, or drawn at the temperature."""
        if self.temperature == 0:
            return [int(i) for i in logits.argmax(-1)]
        scaled = logits.double() / self.temperature
        weights = torch.exp(scaled - scaled.amax(-1, keepdim=True))
        ids = None
        if self.top_p < 1:
            weights, ids = _nucleus(weights, self.top_p)
        weights = weights.cumsum(-1)
        drawn = torch.tensor([live.draw.random() for live in lives], dtype=weights.dtype)
        places = drawn.to(weights.device)[:, None] * weights[:, -1:]
        found = torch.searchsorted(weights, places, right=True).clamp(max=weights.shape[-1] - 1)
        return [int(i) for i in (found if ids is None else ids.gather(-1, found))[:, 0]]


def _nucleus(weights: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the likeliest tokens that reach a share of each row's sum: their weights, their ids.

    Holtzman et al., 2020 (arXiv 1904.09751), section 3.1; the likeliest token always stays, and
    tokens as likely as the last one that is needed stay with it. In the order of the ids, others
    with a weight of zero among them. Few are needed as a rule, so that all are put in order only
    where these do not reach.
    """
    whole, size, words = top_p * weights.sum(-1, keepdim=True), LIKELY, weights.shape[-1]
    while True:
        falling, ids = weights.topk(min(size, words))
        needed = (falling.cumsum(-1) - falling < whole).sum(-1, keepdim=True)
        least = falling.gather(-1, needed - 1)
        if size >= words or bool((falling[:, -1:] < least).all()):
            ids, order = ids.sort(-1)
            return falling.where(falling >= least, 0.0).gather(-1, order), ids
        size *= 16
