"""Answers: what the body of a chat server's reply says, and how many tokens it took.

Invariants: a choice that the model has finished is an answer, if an empty one, since asking again
would end and cost the same; whatever else comes is no answer, and never an empty one; every body
has a count of tokens, by estimate where the server's is none. Does not: ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Completion", "message", "read", "tokens"]

CHARACTERS = 3  # of a token, at least: the server's tokenizer is not known here
MOST = 10**8  # tokens that a count can mean
QUOTED = 200  # characters of a body that are told


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, and the tokens it took: as the server counted them, or `estimated`.

    `ids` are those of its tokens and `model` the name that answered, where the server says them.
    `seconds` is how long it took, beside what else was answered at the same time.
    """

    text: str
    prompt_tokens: int
    reply_tokens: int
    estimated: bool = False
    ids: tuple[int, ...] = ()
    model: str = ""
    seconds: float = field(default=0.0, compare=False)


def tokens(text: str) -> int:
    """Return how many tokens a text has at most, or about."""
    return len(text) // CHARACTERS + 1


def read(raw: bytes, most: tuple[int, int], plain: bool = False) -> tuple[Completion, str]:
    """Return what a body says, and why it is no answer, "" where it is one.

    `most` are the tokens that may have been read and written for it, by estimate; `plain` says that
    a text was to be gone on with, and not a conversation. A body that is no
    answer may have been paid for, and counts in full unless it says that there was an error.
    """
    text, usage, choice, model = None, None, {}, ""
    try:
        data = json.loads(raw, parse_int=_whole)
        if "error" in data and "choices" not in data:
            return Completion("", 0, 0), f"an error in a body: {message(raw)}"
        usage, model = data.get("usage"), str(data.get("model") or "")
        choice = data["choices"][0]
        text = _text(choice["text"] if plain else choice["message"].get("content"), choice)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    counts = usage if isinstance(usage, Mapping) else {}
    read = _count(counts.get("prompt_tokens"), 1)
    written = _count(counts.get("completion_tokens"), 1 if text else 0)
    found = Completion(
        text or "",
        most[0] if read is None else read,
        (tokens(text) if text else most[1]) if written is None else written,
        estimated=read is None or written is None,
        ids=_ids(choice) if text is not None else (),
        model=model,
    )
    return found, "" if text is not None else f"a body that is no answer: {_start(raw)!r}"


def message(raw: bytes) -> str:
    """Return what an error body says: its message where it has one, else its beginning."""
    try:
        data = json.loads(raw)
        error = data.get("error", data)
        found = error.get("message", error) if isinstance(error, Mapping) else error
        return found if isinstance(found, str) else json.dumps(found)
    except (ValueError, AttributeError, RecursionError):
        return _start(raw)


def _text(content: Any, choice: Mapping[str, Any]) -> str | None:
    """Return the text of a choice; None where there is none and the model has not finished it.

    A text may come in parts. Halves of characters, which nothing could store, are replaced.
    """
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content)
    if isinstance(content, str):
        return content.encode("utf-8", "replace").decode("utf-8")
    return "" if isinstance(choice.get("finish_reason"), str) else None


def _ids(choice: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ids of the tokens of a choice, none where it does not say them."""
    ids = choice.get("token_ids")
    known = isinstance(ids, list) and all(type(number) is int for number in ids)
    return tuple(ids) if known and ids else ()


def _whole(digits: str) -> float:
    """Return a number of JSON; one of thousands of digits, which `int` refuses, too."""
    return int(digits) if len(digits) < 20 else float(digits)


def _count(found: Any, least: int) -> int | None:
    """Return a count of tokens; None for what is no count, or one of nothing for something."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return int(found) if least <= found <= MOST and found == int(found) else None


def _start(raw: bytes) -> str:
    return raw[: 4 * QUOTED].decode("utf-8", "replace")
