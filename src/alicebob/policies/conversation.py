"""The conversation: how an episode becomes the tokens that Bob reads and writes.

Append-only: a turn adds tokens and changes none before it, so a cache of keys and values survives.
Invariants: the ids are those of the tokenizer's chat template over the whole conversation; content
(observations, instructions, replies) can never create a special token. When the context is full
the oldest turns go in one block (`window_start`), the same for training rows and for acting.
Does not: run a model.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from alicebob.errors import UsageError

__all__ = ["Conversation", "opening", "parse_reply", "window_start", "write_reply"]

REMEMBERED = 10_000  # replies: few differ, and many turns share them
PREAMBLES = ("brief", "full")
_MARKS = ("qzxuserone", "qzxbobone", "qzxusertwo", "qzxbobtwo", "qzxuserthree")
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


def window_start(
    start: int, lengths: Sequence[int], head: int, context: int, turns: int = 0
) -> int:
    """Return the first turn to keep, so that the next decision fits into the context.

    `lengths[i]` are the tokens of turn i (for the last one, what it may grow to), `head` those of
    the instruction. While all from `start` on fit, nothing changes; else the oldest turns go until
    a third of the context is filled, but the last turn stays. `turns` bounds the turns too, 0 for
    no bound: when there would be more, only the last stays. Raises UsageError where it alone does
    not fit.
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
        raise UsageError(
            f"A prompt of {used} tokens does not fit into a context of {context}. Raise "
            "bob.context, "
            "or choose a shorter observation format."
        )
    return start


class Conversation:
    """Turns instructions, observations and replies into token ids through a chat template.

    `preamble` "brief" shows the instruction alone, "full" also the actions and the form of a reply.
    Raises UsageError where the tokenizer has no chat template or one that rewrites earlier turns.
    """

    def __init__(
        self, tokenizer: Any, preamble: str = "brief", actions: Sequence[str] = ()
    ) -> None:
        if preamble not in PREAMBLES:
            raise UsageError(
                f"bob.preamble must be one of {', '.join(PREAMBLES)}, not {preamble!r}."
            )
        self.tokenizer = tokenizer
        self.preamble, self.actions = preamble, actions
        known = tokenizer.added_tokens_decoder.items()
        self._special = {token.content: number for number, token in known if token.special}
        self._head, self._middle, glue = self._frame()
        self._close, self._open = _after_first(glue, self._special)
        frame = ("", self._head, self._middle, self._open, self._close)
        self._pieces = {text: _pieces(text, self._special) for text in frame}
        self._heads: dict[str, int] = {}
        self._replies: dict[str, list[int]] = {}
        #: The ids that end a reply: the last of them is where to stop generating.
        self.end: list[int] = self._ids(self._close)
        if not self.end:
            raise UsageError("The chat template does not end a reply with a special token.")

    def first(self, instruction: str, observation: str) -> list[int]:
        """Return the ids of a prompt that begins with this observation."""
        return self._ids(self._head, self._opening(instruction) + observation.strip(), self._middle)

    def next(self, observation: str) -> list[int]:
        """Return the ids that follow a finished reply, up to where the next one begins."""
        return self._ids(self._open, observation.strip(), self._middle)

    def reply(self, text: str) -> list[int]:
        """Return the ids of a whole reply, its end included."""
        known = self._replies.get(text)
        if known is None:
            known = self._replies[text] = self._ids("", text.strip(), self._close)
            if len(self._replies) > REMEMBERED:
                self._replies.clear()
        return list(known)

    def question(self, texts: Sequence[str]) -> list[int]:
        """Return the ids of a conversation of plain texts, from user and model in turn.

        The last one is the user's; the ids end where the model's next reply begins.
        """
        ids = self._ids(self._head, texts[0].strip(), self._middle)
        for said, asked in zip(texts[1::2], texts[2::2], strict=True):
            ids += self.reply(said) + self.next(asked)
        return ids

    def head_length(self, instruction: str) -> int:
        """Return how many tokens the instruction adds to the first observation of a window."""
        if instruction not in self._heads:
            length = len(self.first(instruction, "x")) - len(self.next("x"))
            self._heads[instruction] = length
        return self._heads[instruction]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a generated reply, without its end."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _opening(self, instruction: str) -> str:
        if self.preamble == "brief":
            return f"{instruction.strip()}\n"
        return opening(instruction, self.actions)

    def _frame(self) -> tuple[str, str, str]:
        """Return the template's text before the first content, before a reply and after it.

        As it is when another turn follows: a template may treat the very last reply otherwise, as
        Qwen3's does, which puts an empty thought block before it.
        """
        if not self.tokenizer.chat_template:
            raise UsageError("bob.model has no chat template; choose an instruction-tuned model.")
        roles = ("user", "assistant", "user", "assistant", "user")
        messages = [{"role": r, "content": c} for r, c in zip(roles, _MARKS, strict=True)]
        render = functools.partial(self.tokenizer.apply_chat_template, tokenize=False)
        try:
            text, prompt = render(messages), render(messages[:1], add_generation_prompt=True)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"The chat template of bob.model cannot be used ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]})."
            ) from error
        found = re.fullmatch(f"(.*){'(.*)'.join(_MARKS)}.*", text, re.DOTALL)
        if (
            not found
            or found.group(2, 3) != found.group(4, 5)
            or not prompt.endswith(found.group(2))
        ):
            raise UsageError(
                "The chat template of bob.model rewrites earlier turns, so prompts cannot grow "
                "turn by turn. Give the tokenizer a template that renders every turn alike."
            )
        return found.group(1), found.group(2), found.group(3)

    def plain(self, text: str) -> list[int]:
        """Tokenise plain text, in which special tokens count as letters."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            return list(ids)
        backend.encode_special_tokens = True  # set each time: other calls of the library unset it
        return list(backend.encode(text, add_special_tokens=False).ids)

    def _ids(self, before: str, content: str = "", after: str = "") -> list[int]:
        """Tokenise template text, content and template text as one run.

        Special tokens are taken from the template's text only; plain text that touches the content
        is tokenised with it, as the whole conversation would be.
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
                ids += self.plain(plain)
            plain = ""
            if run is not None:
                ids.append(run)
        return ids


def _pieces(text: str, special: dict[str, int]) -> list[str | int]:
    """Split template text into plain strings and ids of special tokens."""
    if not special or not text:
        return [text] if text else []
    names = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    return [special.get(piece, piece) for piece in re.split(f"({names})", text) if piece]


def _after_first(glue: str, special: dict[str, int]) -> tuple[str, str]:
    """Split what follows a reply after its first special token: the reply's end, and the rest."""
    pieces = re.split(f"({'|'.join(re.escape(n) for n in special)})", glue, maxsplit=1)
    return ("".join(pieces[:2]), pieces[2]) if len(pieces) == 3 else ("", glue)
