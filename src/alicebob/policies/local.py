"""A local model as policy: a batch of live episodes decoded together, its cache kept between turns.

Each episode has a row of its own, so that what a turn costs is what it adds (as far as the model
allows, see `alicebob.policies.reading`); only when the oldest turns must go is that episode's
window read again. Sampling draws one number per token from the episode's own generator. Invariant:
tokens in are tokens out: a reply stays in the context as it was generated, never tokenised anew;
where a teacher's was taken instead, hers stands there.
Does not: train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from alicebob.policies import Live, Reply
from alicebob.policies.constraint import Choices
from alicebob.policies.conversation import (
    Conversation,
    parse_reply,
    window_start,
    write_reply,
)
from alicebob.policies.reading import Held, Kept, Reader

__all__ = ["Local"]

LIKELY = 64  # tokens that are put in order first


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
    names an admissible action of that turn. `reader` is how the model is
    read, by default with its keys and values kept; `alicebob.policies.faithful` says which way is
    right for a model. Raises UsageError where an
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
        reader: Reader | None = None,
    ) -> None:
        self.model = model.eval()
        self.conversation = conversation
        self.context, self.turns, self.max_new_tokens = context, turns, max_new_tokens
        self.temperature, self.top_p = temperature, top_p
        self.stop = tuple(stop)
        self._choices = Choices(conversation, max_new_tokens) if constrained else None
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
                break
            # Rows that are done ride along unread: leaving them out would copy the cache.
            last = set(going)
            logits = self._reader.step(
                rows, [written[i][-1:] if i in last else [] for i in range(len(rows))]
            )[going]
        return [
            self._reply(row, len(prompt), ids)
            for row, prompt, ids in zip(rows, prompts, written, strict=True)
        ]

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Forget the episode."""
        del self._rows[id(live)]
        return {}

    def _stopped(self, written: Sequence[int]) -> bool:
        if not self.stop:
            return False
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
        replaced = self._replaced(row)
        read = self.conversation.next(live.observation)
        row.reads.append(len(read))
        reserve = self.max_new_tokens + len(self.conversation.end)
        lengths = [r + len(w) for r, w in zip(row.reads, row.replies, strict=False)]
        start = window_start(
            row.start, [*lengths, len(read) + reserve], row.head, self.context, self.turns
        )
        if start == row.start and row.replies and not replaced:
            return row.pending + read
        row.start = start
        window = self._window(row)
        kept = min(_agreeing(row.cached, window), len(window) - 1)
        del row.cached[kept:]
        return window[kept:]

    def _replaced(self, row: _Row) -> bool:
        """Say whether another reply than the last one given was taken, and put it in its place."""
        turn = row.live.turns[-1] if row.replies else None
        if turn is None or turn.token_ids == tuple(row.replies[-1]):
            return False
        row.replies[-1] = self.conversation.reply(write_reply(turn.thought, turn.action))
        return True

    def _window(self, row: _Row) -> list[int]:
        seen = [turn.observation for turn in row.live.turns[row.start :]]
        ids = self.conversation.first(row.live.task.instruction, [*seen, row.live.observation][0])
        for observation, reply in zip(
            [*seen[1:], row.live.observation], row.replies[row.start :], strict=False
        ):
            ids += reply + self.conversation.next(observation)
        return ids

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


def _agreeing(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
