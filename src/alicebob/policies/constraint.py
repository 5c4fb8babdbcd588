"""Constraint: what a local model may write, so that its reply names an action there is.

Works on the text that a token adds where it stands, whatever its tokenizer does with spaces: after
"Action:" only tokens are left that go on with the name of an admissible action, and the reply's end
once a name is whole; what is free in one stays on its line, without a second mark. Where the model
would end without an action, or the rest of its tokens is what the longest name needs, "Action:" is
written for it. Invariants: a reply that is begun can be ended within `max_new_tokens`; nothing else
is taken from the model's choice before "Action:"; where nothing is left, that is an error. Does
not: draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from alicebob.envs.hooks import FREE
from alicebob.errors import UsageError
from alicebob.policies import Live
from alicebob.policies.conversation import Conversation
from alicebob.sight import as_shown

__all__ = ["Choices"]

MARK = "Action:"
REMEMBERED = 10_000  # states whose tokens are kept
#: By the block of parameters that wants it: how to do without.
WITHOUT = {"bob": "set bob.constrained: false", "alice": "set alice.explore: embedded"}


class Choices:
    """The tokens that are left at each step of a reply of at most `max_new_tokens`.

    Raises UsageError where an action is longer than a reply may be, where it has characters that no
    token writes, or where there is no admissible action; `whose` is the block of parameters that it
    speaks of.
    """

    def __init__(self, conversation: Conversation, max_new_tokens: int, whose: str = "bob") -> None:
        self._whose, self._without = whose, WITHOUT[whose]
        self._named = self._without.removeprefix("set ").partition(":")[0]
        self._conversation, self._most = conversation, max_new_tokens
        self._end = conversation.end[-1]
        self._ids = _texts(conversation)
        self._longest = max(map(len, self._ids))
        self._crossing = _crossing(self._ids)
        self._colons = {text: ids for text, ids in self._ids.items() if ":" in text}
        ends = (ids for text, ids in self._ids.items() if len(f"{text}.".splitlines()) > 1)
        self._ends = [self._end, *(number for ids in ends for number in ids)]  # of a line or reply
        # Some tokenizers have a word in brackets begin with the space that it has elsewhere.
        plain = conversation.plain
        self._spaced = plain("[a") == plain("[") + plain(" a")
        self._known: dict[tuple[str, tuple[str, ...], bool, int], list[int] | None] = {}
        self._costs: dict[str, int] = {}

    def narrow(
        self, logits: Tensor, lives: Sequence[Live], written: Sequence[Sequence[int]]
    ) -> None:
        """Set to minus infinity, in place, what a row (rows, vocabulary) may not go on with."""
        for row, (live, ids) in enumerate(zip(lives, written, strict=True)):
            text = self._conversation.decode(ids)
            actions = live.info.get("admissible_actions", ())
            shown = tuple(as_shown(action, live.observation) for action in actions)
            room = self._most - len(ids)
            _, found, tail = text.rpartition(MARK)
            if found:
                spaced = bool(ids) and ids[-1] in self._ids.get(" ", ())
                left = self.left(tail, shown, spaced, room)
                if left is None:
                    logits[row, self._straying(tail)] = float("-inf")
            else:
                logits[row, self._misnaming(text, shown)] = float("-inf")
                ends = int(logits[row].argmax()) == self._end
                logits[row, self._end] = float("-inf")
                left = self._form(text, shown, room, ends)
            if left is not None:
                kept = logits[row, left].clone()
                logits[row] = float("-inf")
                logits[row, left] = kept

    def left(
        self, tail: str, actions: tuple[str, ...], spaced: bool = False, room: int | None = None
    ) -> list[int] | None:
        """Return the tokens that may follow what stands after the mark; None for any.

        `spaced` says that the last token was a space, which a text does not show after a bracket;
        `room` are the tokens that there are, the end included. Raises UsageError for none at all.
        """
        ample = max((self._cost(f" {action}") for action in actions), default=0) + 4
        room = ample if room is None else min(room, ample)
        key = (tail, actions, spaced, room)
        if key not in self._known:
            if len(self._known) > REMEMBERED:
                self._known.clear()
            self._known[key] = self._left(tail, actions, spaced, room)
        if self._known[key] == []:
            raise UsageError(
                f"{self._named}: after {MARK + tail!r} no token goes on with one of the "
                f"{len(actions)} admissible actions{_some(actions)} within "
                f"{self._whose}.max_new_tokens ({self._most}). Raise that, or {self._without}."
            )
        return self._known[key]

    def _left(
        self, tail: str, actions: tuple[str, ...], spaced: bool, room: int
    ) -> list[int] | None:
        found: set[int] = set()
        for action in actions:
            whole = f" {action}"
            name, free, close = whole.partition(FREE)
            if free and tail.startswith(name):
                return self._free(tail, name, close, room)
            if tail == whole:
                found.add(self._end)
                continue
            target = name if free else whole
            if not target.startswith(tail):
                continue
            # What is free takes a token at least, and what closes it has to be written too.
            after = self._cost(close) + 1 if free else 0
            rest = target[len(tail) :]
            bracket = self._spaced and tail.endswith("[") and not spaced
            for way in (rest, f" {rest}") if bracket else (rest,):
                for length in range(1, min(len(way), self._longest) + 1):
                    ids = self._ids.get(way[:length], ())
                    if ids and self._cost(way[length:]) + after + 2 <= room:
                        found.update(ids)
        return sorted(found)

    def _free(self, tail: str, name: str, close: str, room: int) -> list[int] | None:
        """Return what may follow in what is free: the model's to say; what closes it ends it."""
        said = len(tail) > len(name)
        if said and tail.endswith(close) and len(tail) > len(name + close):
            return [self._end]
        if not said or room > self._cost(close) + 2:
            return None
        free = tail[len(name) + 1 :]  # its first character closes nothing
        begun = next(n for n in range(len(close), -1, -1) if free.endswith(close[:n]))
        return self._first(close[begun:])

    def _straying(self, tail: str) -> list[int]:
        """Return the tokens that would end the line or the reply, or write the mark once more."""
        begun = tail[1 - len(MARK) :]
        marks = (ids for text, ids in self._colons.items() if MARK in begun + text)
        return [*self._ends, *(number for ids in marks for number in ids)]

    def _form(self, text: str, actions: tuple[str, ...], room: int, ends: bool) -> list[int] | None:
        """Return what goes on with "Action:" where it must be written now, else None."""
        line = text.rpartition("\n")[2].lstrip()
        rest = MARK.removeprefix(line) if MARK.startswith(line) else f"\n{MARK}"
        names = (self._cost(f" {action.replace(FREE, '')}") for action in actions)
        # Two more than it takes: a token before it may undo what was begun of the mark.
        most = self._most - self._cost(f"\n{MARK}") - 3
        fitting = [cost for cost in names if cost <= most]
        if not fitting:
            raise UsageError(
                f"{self._named}: none of the {len(actions)} admissible actions{_some(actions)} "
                f"fits into {self._whose}.max_new_tokens ({self._most}) after 'Action:'. Raise "
                f"that, or {self._without}."
            )
        need = self._most - most + max(fitting)
        return self._first(rest) if ends or room <= need else None

    def _misnaming(self, text: str, actions: tuple[str, ...]) -> list[int]:
        """Return the tokens that would write the mark and what begins no action in one."""
        return [
            number
            for before, tokens in self._crossing.items()
            if text.endswith(before)
            for tail, number in tokens
            if not any(f" {action}".startswith(tail) for action in actions)
        ]

    def _first(self, text: str) -> list[int]:
        """Return the longest token that a text begins with, nothing where there is none."""
        for length in range(min(len(text), self._longest), 0, -1):
            if text[:length] in self._ids:
                return self._ids[text[:length]][:1]
        raise UsageError(
            f"{self._named}: no token of {self._whose}.model writes {text[0]!r}; {self._without}."
        )

    def _cost(self, text: str) -> int:
        """Return how many tokens a text takes, the longest first."""
        if text not in self._costs:
            self._costs[text] = sum(1 for _ in self._pieces(text))
        return self._costs[text]

    def _pieces(self, text: str) -> Iterator[str]:
        while text:
            sizes = range(min(len(text), self._longest), 0, -1)
            size = next((n for n in sizes if text[:n] in self._ids), 1)
            yield text[:size]
            text = text[size:]


def _texts(conversation: Conversation) -> dict[str, list[int]]:
    """Return the tokens by the text that each adds in the middle of a reply.

    A tokenizer may drop the space before the first word of a text, so each stands after another.
    """
    tokenizer = conversation.tokenizer
    special = set(tokenizer.added_tokens_decoder)
    anchor = conversation.plain("a")
    before = tokenizer.decode(anchor)
    found: dict[str, list[int]] = {}
    for number in range(len(tokenizer)):
        text = tokenizer.decode([*anchor, number])
        added = text.removeprefix(before)
        if number not in special and "\ufffd" not in text and added not in ("", text):
            found.setdefault(added, []).append(number)
    return found


def _crossing(ids: Mapping[str, Sequence[int]]) -> dict[str, list[tuple[str, int]]]:
    """Return the tokens that end the mark and go on: by what stands before, with what they add."""
    found: dict[str, list[tuple[str, int]]] = {}
    for text, numbers in ids.items():
        head, colon, tail = text.rpartition(":")
        if not colon or not tail or not (MARK.endswith(head + ":") or head.endswith(MARK[:-1])):
            continue
        before = MARK[: -len(head) - 1] if MARK.endswith(head + ":") else ""
        found.setdefault(before, []).extend((tail, number) for number in numbers)
    return found


def _some(actions: Sequence[str]) -> str:
    return f" ({', '.join(sorted(actions, key=len)[-3:])})" if actions else ""
