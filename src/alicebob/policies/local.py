"""A local model as policy: a batch of live episodes decoded together, its cache kept between turns.

Each episode has a row of its own, so that what a turn costs is what it adds (as far as the model
allows, see `alicebob.policies.reading`); only when the oldest turns must go is that episode's
window read again. Sampling draws one number per token from the episode's own generator. Invariant:
tokens in are tokens out: a reply stays in the context as it was generated, never tokenised anew.
Does not: train.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from alicebob.policies import Live, Reply
from alicebob.policies.constraint import Choices
from alicebob.policies.conversation import Conversation, parse_reply, window_start
from alicebob.policies.reading import Held, Kept, Reader
from alicebob.policies.writing import draw, write

__all__ = ["Local"]


@dataclass(slots=True, kw_only=True)
class _Row(Held):
    """What is known of one episode and its place among the rows."""

    live: Live
    head: int  # tokens of the instruction
    start: int = 0  # first turn of the window
    pending: list[int] = field(default_factory=list)  # the end of the last reply, not yet read
    reads: list[int] = field(default_factory=list)  # tokens of each observation
    replies: list[list[int]] = field(default_factory=list)


class Local:
    """Plays with a Hugging Face causal language model.

    `context` bounds prompt and reply together, `turns` the turns in it (0 is no bound);
    `temperature` 0 is greedy; `top_p` draws from the likeliest tokens that make up that share
    (nucleus sampling). A reply ends where one of `stop` stands in it; with `constrained` it
    names an admissible action of that turn, and `whose` is the block of parameters that wants it.
    `reader` is how the model is read, by default with its keys and values kept;
    `alicebob.policies.faithful` says which way is right for a model. Raises UsageError where an
    instruction and one observation do not fit.
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
    ) -> None:
        self.model = model.eval()
        self.conversation = conversation
        self.context, self.turns, self.max_new_tokens = context, turns, max_new_tokens
        self.temperature, self.top_p = temperature, top_p
        self.stop = tuple(stop)
        self._choices = Choices(conversation, max_new_tokens, whose) if constrained else None
        self._rows: dict[int, _Row] = {}
        self._reader = reader or Kept(model)

    def start(self, wave: Sequence[Live]) -> None:
        """Give each episode of the wave an empty row."""
        self._rows = {
            id(live): _Row(
                slot=slot, live=live, head=self.conversation.head_length(live.task.instruction)
            )
            for slot, live in enumerate(wave)
        }
        room = self.context + self.max_new_tokens + len(self.conversation.end)
        self._reader.start(len(wave), room)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Read each episode's new observation and write a reply to it."""
        rows = self._gathered(lives)
        prompts = [self._prompt(row) for row in rows]
        choose = functools.partial(self._choose, [row.live for row in rows])
        written = write(self._reader, rows, prompts, choose, self._over)
        return [
            self._reply(row, len(prompt), ids)
            for row, prompt, ids in zip(rows, prompts, written, strict=True)
        ]

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Forget the episode."""
        del self._rows[id(live)]
        return {}

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
        return ended or (bool(self.stop) and self._stopped(written))

    def _stopped(self, written: Sequence[int]) -> bool:
        text = self.conversation.decode(written)
        return any(mark in text for mark in self.stop)

    def _gathered(self, lives: Sequence[Live]) -> list[_Row]:
        """Return the rows of the episodes, moved together where some have ended."""
        rows = [self._rows[id(live)] for live in lives]
        self._reader.keep([row.slot for row in rows])
        for slot, row in enumerate(rows):
            row.slot = slot
        return rows

    def _prompt(self, row: _Row) -> list[int]:
        """Return the tokens to read now; where the window moved, all after what is still right."""
        live = row.live
        read = self.conversation.next(live.observation)
        row.reads.append(len(read))
        reserve = self.max_new_tokens + len(self.conversation.end)
        lengths = [r + len(w) for r, w in zip(row.reads, row.replies, strict=False)]
        start = window_start(
            row.start, [*lengths, len(read) + reserve], row.head, self.context, self.turns
        )
        if start == row.start and row.replies:
            return row.pending + read
        row.start = start
        window = self._window(row)
        kept = min(_agreeing(row.cached, window), len(window) - 1)
        del row.cached[kept:]
        return window[kept:]

    def _window(self, row: _Row) -> list[int]:
        seen = [turn.observation for turn in row.live.turns[row.start :]]
        ids = self.conversation.first(row.live.task.instruction, [*seen, row.live.observation][0])
        for observation, reply in zip(
            [*seen[1:], row.live.observation], row.replies[row.start :], strict=False
        ):
            ids += reply + self.conversation.next(observation)
        return ids

    def _reply(self, row: _Row, read: int, written: list[int]) -> Reply:
        stop = self.conversation.end
        ended = written[-1] == stop[-1]
        ids = written if ended else [*written, *stop]
        row.replies.append(ids)
        row.pending = ids[len(written) - 1 :]
        text = self.conversation.decode(written)
        for mark in self.stop:
            text = text.partition(mark)[0]
        thought, action = parse_reply(text)
        return Reply(
            action=action[:200],
            thought=thought[:400],
            token_ids=tuple(ids),
            loss_mask=(1,) * len(written) + (0,) * (len(ids) - len(written)),
            prompt_tokens=read,
            reply_tokens=len(written),
        )


def _agreeing(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
