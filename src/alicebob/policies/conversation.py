"""The conversation: how an episode becomes the tokens that Bob reads and writes.

Append-only: a turn adds tokens and changes none before it, so a cache of keys and values survives.
Invariants: the ids are those of the tokenizer's chat template over the whole conversation; content
(observations, instructions, replies) can never create a special token. When the context is full
the oldest turns go in one block (`window_start`), the same for training rows and for acting.
Does not: run a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from alicebob.errors import UsageError
from alicebob.policies.template import SYSTEM, Template

__all__ = [
    "Conversation",
    "PromptTooLong",
    "opening",
    "parse_reply",
    "window_start",
    "write_reply",
]

REMEMBERED = 10_000  # replies and instructions: few differ, and many turns share them
AFTER = ""  # what stands before a text: a special token
PREAMBLES = ("brief", "full")
_THOUGHT = re.compile(r"Thought:[ \t]*(.*?)\s*(?=\bAction:|\Z)", re.DOTALL)


def opening(instruction: str, actions: Sequence[str]) -> str:
    """Return what stands before the first observation: task, form of a reply, actions."""
    return (
        f"{instruction.strip()}\n\nAt every turn, answer with one line 'Thought: ' that says "
        "what you are about, and one line 'Action: ' with one of these actions: "
        f"{', '.join(actions)}.\n\n"
    )


def write_reply(thought: str, action: str) -> str:
    """Return a reply as Bob should write it; without a thought, the action alone."""
    return f"Thought: {thought}\nAction: {action}" if thought else f"Action: {action}"


def parse_reply(text: str) -> tuple[str, str]:
    """Return (thought, action) of a reply, the one reading of it there is.

    The action is the first line after the last "Action:"; a reply without one is an action as it
    stands, so that the environment reports it. Both are kept on one line.
    """
    head, found, tail = text.rpartition("Action:")
    if not found:
        return "", " ".join(text.split())
    thought = _THOUGHT.search(head)
    line = tail.strip().splitlines()[0] if tail.strip() else ""
    return " ".join(thought.group(1).split()) if thought else "", " ".join(line.split())


class PromptTooLong(UsageError):
    """An instruction and one observation are more than the context holds."""


def window_start(
    start: int, lengths: Sequence[int], head: int, context: int, turns: int = 0
) -> int:
    """Return the first turn to keep, so that the next decision fits into the context.

    `lengths[i]` are the tokens of turn i (for the last one, what it may grow to), `head` those of
    the instruction. While all from `start` on fit, nothing changes; else the oldest turns go until
    a third of the context is filled, but the last turn stays. `turns` bounds the turns too, 0 for
    no bound: when there would be more, only the last stays. Raises PromptTooLong where it alone
    does not fit.
    """
    if turns and len(lengths) - start > turns:
        start = len(lengths) - 1
    used = head + sum(lengths[start:])
    if used <= context:
        return start
    while start < len(lengths) - 1 and used > context // 3:
        used -= lengths[start]
        start += 1
    if used > context:
        raise PromptTooLong(
            f"A prompt of {used} tokens does not fit into a context of {context}. Raise "
            "bob.context, or choose a shorter observation format."
        )
    return start


class Conversation:
    """Turns instructions, observations and replies into token ids through a chat template.

    `preamble` "brief" shows the instruction alone, "full" also the actions and the form of a reply.
    Raises UsageError where the tokenizer has no chat template or one that rewrites earlier turns.
    What a template writes at the beginning of every reply it asks for, such as an empty block of
    thoughts, stays where it is in later turns.
    """

    def __init__(
        self,
        tokenizer: Any,
        preamble: str = "brief",
        actions: Sequence[str] = (),
        template: Template | None = None,
    ) -> None:
        if preamble not in PREAMBLES:
            raise UsageError(
                f"bob.preamble must be one of {', '.join(PREAMBLES)}, not {preamble!r}."
            )
        self.tokenizer = tokenizer
        self.preamble, self.actions = preamble, actions
        known = tokenizer.added_tokens_decoder.items()
        self._special = {token.content: number for number, token in known if token.special}
        template = template or Template()
        frame = template.frame(tokenizer)
        self._head, self._middle, self._begun = frame.head, frame.middle, frame.begun
        self._close, self._open = _after_first(frame.glue, self._special)
        around = ("", self._head, self._middle, self._begun, self._open, self._close)
        self._pieces = {text: _pieces(text, self._special, template.text) for text in around}
        last = self._pieces[self._middle][-1:]
        self._asked = last[0] if last and isinstance(last[0], str) else AFTER
        self._fresh = self._begins_anew()
        self._heads: dict[str, int] = {}
        self._replies: dict[str, list[int]] = {}
        #: The ids that end a reply: the last of them is where to stop generating.
        self.end: list[int] = self._ids(self._close)
        if not self.end:
            raise UsageError("The chat template does not end a reply with a special token.")

    def first(self, instruction: str, observation: str) -> list[int]:
        """Return the ids of a prompt that begins with this observation."""
        told = self._opening(instruction) + observation.strip()
        return self._ids(self._head, told, self._middle, anchor=None)

    def next(self, observation: str) -> list[int]:
        """Return the ids that follow a finished reply, up to where the next one begins."""
        return self._ids(self._open, observation.strip(), self._middle)

    def reply(self, text: str) -> list[int]:
        """Return the ids of a whole reply, its end included."""
        known = self._replies.get(text)
        if known is None:
            known = self._replies[text] = self._ids(
                self._begun, text.strip(), self._close, self._asked
            )
            if len(self._replies) > REMEMBERED:
                self._replies.clear()
        return list(known)

    def question(self, texts: Sequence[str]) -> list[int]:
        """Return the ids of a conversation of plain texts, from user and model in turn.

        The last one is the user's; the ids end where the model's next reply begins.
        """
        ids = self._ids(self._head, texts[0].strip(), self._middle, anchor=None)
        for said, asked in zip(texts[1::2], texts[2::2], strict=True):
            ids += self.reply(said) + self.next(asked)
        return ids

    def head_length(self, instruction: str) -> int:
        """Return how many tokens the instruction adds to the first observation of a window."""
        if instruction not in self._heads:
            length = len(self.first(instruction, "x")) - len(self.next("x"))
            if len(self._heads) > REMEMBERED:
                self._heads.clear()
            self._heads[instruction] = length
        return self._heads[instruction]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a generated reply, without its end."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _opening(self, instruction: str) -> str:
        if self.preamble == "brief":
            return f"{instruction.strip()}\n"
        return opening(instruction, self.actions)

    def plain(self, text: str) -> list[int]:
        """Tokenise plain text, in which special tokens count as letters."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            return list(ids)
        backend.encode_special_tokens = True  # set each time: other calls of the library unset it
        return list(backend.encode(text, add_special_tokens=False).ids)

    def _begins_anew(self) -> bool:
        """Tell whether a word after a special token has the ids that it has where a text begins."""
        for name in self._special:
            ids = self.tokenizer.encode(f"{name}a", add_special_tokens=False)
            return list(ids[1:]) == self.plain("a")
        return True

    def _after(self, anchor: str, text: str) -> list[int]:
        """Tokenise plain text as it is tokenised after other plain text."""
        ids, head = self.plain(anchor + text), self.plain(anchor)
        return ids[len(head) :] if ids[: len(head)] == head else self.plain(text)

    def _run(self, text: str, anchor: str | None) -> list[int]:
        if anchor is None or (anchor == AFTER and self._fresh):
            return self.plain(text)
        return self._after(anchor or "\n", text)

    def _ids(
        self, before: str, content: str = "", after: str = "", anchor: str | None = AFTER
    ) -> list[int]:
        """Tokenise template text, content and template text as one run.

        Special tokens are taken from the template's text only; plain text that touches the content
        is tokenised with it, as the whole conversation would be. `anchor` is the plain text that
        stands before, AFTER for a special token, None for nothing.
        """
        head, tail = self._pieces[before], self._pieces[after]
        runs: list[str | int] = [*head, *([content] if content else []), *tail]
        ids: list[int] = []
        plain = ""
        for run in [*runs, None]:
            if isinstance(run, str):
                plain += run
                continue
            if plain:
                ids += self._run(plain, anchor)
            plain = ""
            if run is not None:
                ids.append(run)
                anchor = AFTER
        return ids


def _pieces(text: str, special: dict[str, int], system: str) -> list[str | int]:
    """Split template text into plain strings and ids of special tokens; put in the system text."""
    if not text:
        return []
    names = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    parts = re.split(f"({names})", text) if special else [text]
    return [special.get(part, part.replace(SYSTEM, system)) for part in parts if part]


def _after_first(glue: str, special: dict[str, int]) -> tuple[str, str]:
    """Split what follows a reply after its first special token: the reply's end, and the rest."""
    pieces = re.split(f"({'|'.join(re.escape(n) for n in special)})", glue, maxsplit=1)
    return ("".join(pieces[:2]), pieces[2]) if len(pieces) == 3 else ("", glue)
