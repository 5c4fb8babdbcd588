"""Constraint: what a local model may write after "Action:", so that it names an action there is.

Works on the tokens' own texts: at every step only tokens that go on with the name of an admissible
action are left, and the reply's end once a name is whole. Invariant: nothing is taken from the
model's choice before "Action:". Does not: draw.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from alicebob.envs.hooks import FREE
from alicebob.policies import Live
from alicebob.policies.conversation import Conversation
from alicebob.sight import as_shown

__all__ = ["Choices"]

MARK = "Action:"
REMEMBERED = 10_000  # states whose tokens are kept


class Choices:
    """The tokens that are left at each step of a reply."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._end = conversation.end[-1]
        self._ids: dict[str, list[int]] = {}  # by the text that a token adds
        special = set(conversation.tokenizer.added_tokens_decoder)
        for number in range(len(conversation.tokenizer)):
            text = conversation.tokenizer.decode([number])
            if number not in special and text and "\ufffd" not in text:
                self._ids.setdefault(text, []).append(number)
        # Some tokenizers have a word in brackets begin with the space that it has elsewhere.
        plain = conversation.plain
        self._spaced = plain("[a") == plain("[") + plain(" a")
        self._known: dict[tuple[str, tuple[str, ...], bool], list[int]] = {}

    def narrow(
        self, logits: Tensor, lives: Sequence[Live], written: Sequence[Sequence[int]]
    ) -> None:
        """Set to minus infinity, in place, what a row (rows, vocabulary) may not go on with."""
        for row, (live, ids) in enumerate(zip(lives, written, strict=True)):
            _, found, tail = self._conversation.decode(ids).rpartition(MARK)
            if not found:
                continue
            actions = live.info.get("admissible_actions", ())
            shown = tuple(as_shown(action, live.observation) for action in actions)
            left = self.left(tail, shown, spaced=ids[-1] in self._ids.get(" ", ()))
            if left:
                kept = logits[row, left].clone()
                logits[row] = float("-inf")
                logits[row, left] = kept

    def left(self, tail: str, actions: tuple[str, ...], spaced: bool = False) -> list[int]:
        """Return the tokens that may follow what stands after the mark, none for no constraint.

        `spaced` says that the last token was a space, which a text does not show after a bracket.
        """
        key = (tail, actions, spaced)
        if key not in self._known:
            if len(self._known) > REMEMBERED:
                self._known.clear()
            self._known[key] = self._left(tail, actions, spaced)
        return self._known[key]

    def _left(self, tail: str, actions: tuple[str, ...], spaced: bool) -> list[int]:
        found: set[int] = set()
        for action in actions:
            whole = f" {action}"
            name, free, close = whole.partition(FREE)
            if free and tail.startswith(name):
                # What is free is the model's to say; what closes it ends the reply.
                return [self._end] if tail.endswith(close) and len(tail) > len(name + close) else []
            if free:
                whole = name
            if tail == whole:
                found.add(self._end)
            elif whole.startswith(tail):
                rest = whole[len(tail) :]
                bracket = self._spaced and tail.endswith("[") and not spaced
                ways = (rest, f" {rest}") if bracket else (rest,)
                for way in ways:
                    for length in range(1, len(way) + 1):
                        found.update(self._ids.get(way[:length], ()))
        return sorted(found)
