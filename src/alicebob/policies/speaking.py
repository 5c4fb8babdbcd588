"""Speaking: an episode as the tokens that Bob reads and writes, whoever computes his replies.

What is read at each turn, where the window begins and what a reply says is the same for a model on
this machine and for one behind a server. Invariant: tokens in are tokens out: a reply stays in the
context as it was generated, never tokenised anew; where a teacher's was taken instead, hers stands
there. Does not: run a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alicebob.policies import Live, Reference, Refers, Reply
from alicebob.policies.conversation import Conversation, parse_reply, window_start, write_reply
from alicebob.policies.reading import Held

__all__ = ["Row", "Speaker"]


@dataclass(slots=True, kw_only=True)
class Row(Held):
    """What is known of one episode and its place among the rows."""

    live: Live
    head: int  # tokens of what is told before the first observation
    told: str  # that is the instruction, with references before it
    start: int = 0  # first turn of the window
    pending: list[int] = field(default_factory=list)  # the end of the last reply, not yet read
    reads: list[int] = field(default_factory=list)  # tokens of each observation
    replies: list[list[int]] = field(default_factory=list)


class Speaker:
    """A policy that reads and writes tokens; who computes them says so in `_write`.

    `context` bounds prompt and reply together, `turns` the turns in it (0 is no bound). A reply
    ends where one of `stop` stands in it. `refer` gives references, anew at each turn, which stand
    before the instruction in the room that instruction, observation and reply leave. Raises
    UsageError where an instruction and one observation do not fit.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        context: int,
        turns: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        stop: Sequence[str],
        refer: Refers | None = None,
    ) -> None:
        self.conversation = conversation
        self.context, self.turns, self.max_new_tokens = context, turns, max_new_tokens
        self.temperature, self.top_p = temperature, top_p
        self.stop, self.refer = tuple(stop), refer
        self._rows: dict[int, Row] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Give each episode of the wave an empty row."""
        self._rows = {
            id(live): Row(slot=slot, live=live, told=told, head=self.conversation.head_length(told))
            for slot, live in enumerate(wave)
            for told in [live.task.instruction]
        }

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Read each episode's new observation and write a reply to it."""
        rows = [self._rows[id(live)] for live in lives]
        found = self._references(rows)
        prompts = [self._prompt(row, own.text) for row, own in zip(rows, found, strict=True)]
        written = self._write(rows, prompts)
        return [
            replace(self._reply(row, len(prompt), ids), tags=own.tags)
            for row, own, prompt, ids in zip(rows, found, prompts, written, strict=True)
        ]

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Forget the episode."""
        del self._rows[id(live)]
        return {}

    def _write(self, rows: Sequence[Row], prompts: Sequence[list[int]]) -> list[list[int]]:
        """Return the tokens of each row's reply.

        Each goes on from its `cached` with its prompt, and `cached` has then all but the last.
        """
        raise NotImplementedError

    def _references(self, rows: Sequence[Row]) -> list[Reference]:
        """Return what each row is told before its instruction."""
        if self.refer is None:
            return [Reference()] * len(rows)
        talk = self.conversation
        room = self.context - self.max_new_tokens - len(talk.end)
        left = [
            room
            - talk.head_length(row.live.task.instruction)
            - len(talk.next(row.live.observation))
            for row in rows
        ]
        return self.refer([row.live for row in rows], left)

    def _stopped(self, written: Sequence[int]) -> bool:
        if not self.stop:
            return False
        text = self.conversation.decode(written)
        return any(mark in text for mark in self.stop)

    def _prompt(self, row: Row, reference: str) -> list[int]:
        """Return the tokens to read now; where the window moved, all after what is still right."""
        live = row.live
        replaced = self._replaced(row)
        told = f"{reference}{live.task.instruction}"
        if told != row.told:
            row.told, row.head, replaced = told, self.conversation.head_length(told), True
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

    def _replaced(self, row: Row) -> bool:
        """Say whether another reply than the last one given was taken, and put it in its place."""
        turn = row.live.turns[-1] if row.replies else None
        if turn is None or turn.token_ids == tuple(row.replies[-1]):
            return False
        row.replies[-1] = self.conversation.reply(write_reply(turn.thought, turn.action))
        return True

    def _window(self, row: Row) -> list[int]:
        seen = [turn.observation for turn in row.live.turns[row.start :]]
        ids = self.conversation.first(row.told, [*seen, row.live.observation][0])
        for observation, reply in zip(
            [*seen[1:], row.live.observation], row.replies[row.start :], strict=False
        ):
            ids += reply + self.conversation.next(observation)
        return ids

    def _reply(self, row: Row, read: int, written: list[int]) -> Reply:
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
