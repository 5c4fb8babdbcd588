"""Situation: what tells one place from another in a text, and one kind of action from another.

A situation is the observation, or the `state` that the environment tells, with the actions that are
admissible there. Runs of white space are one blank, and numbers that only count (turns, points, the
time) tell nothing apart; other numbers may be names. Invariant: equal situations have equal keys in
any process. Does not: remember anything.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.policies import Task

__all__ = [
    "actions_in",
    "changed",
    "digest",
    "kind",
    "normal",
    "passage",
    "situation",
    "spoken",
    "verb",
    "world_of",
]

LONG = 20_000  # characters of a text that are read
SHORT = 200  # characters of an action that are read
NAME = 60  # characters of a kind of action
SPOKEN = 80  # characters of an event's name that are said
_AMOUNT = r"\d[\d.,:/]{0,20}"
_COUNTER = r"(?:steps?|turns?|moves?|scores?|points?|time|clock|days?|hours?|minutes?|seconds?)"
_COUNTS = re.compile(
    rf"\b({_COUNTER}\b\W{{0,3}}){_AMOUNT}|(?<![\w.]){_AMOUNT}(\W{{0,3}}{_COUNTER}\b)", re.I
)
_MARK = re.compile(r"[.,:;!?]+(?:\s|$)")
_LETTERS = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"\w+(?:['-]\w+)*")


def digest(*texts: str) -> str:
    """Return a short name of texts, the same in every process."""
    found = hashlib.blake2b(digest_size=8)
    for text in texts:
        found.update(text.encode("utf-8", "backslashreplace") + b"\0")
    return found.hexdigest()


def world_of(task: Task) -> str:
    """Return a name for the world of a task: its seed, and what its reset was asked for."""
    if not task.options:
        return str(task.seed)
    return f"{task.seed} {digest(_plain(dict(task.options)))}"


def actions_in(info: Mapping[str, Any]) -> list[str]:
    """Return the actions that are admissible now, each once, in the environment's order."""
    return list(dict.fromkeys(info.get("admissible_actions", ())))


def situation(observation: str, info: Mapping[str, Any], actions: Sequence[str]) -> str:
    """Return the key of a situation."""
    state = _plain(info["state"]) if info.get("state") is not None else ""
    return digest(state or normal(observation), *sorted(actions))


def _plain(state: Any) -> str:
    """Return plain data as text, "" for what is not plain and may not be the same twice."""
    try:
        return json.dumps(state, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return ""


def normal(observation: str) -> str:
    """Return a text without what tells no situations apart."""
    return " ".join(_COUNTS.sub(r"\1\2", observation[:LONG]).split())


def kind(action: str) -> str:
    """Return the kind of an action, a name in its own words, digits off: "take_key"."""
    return _kind(action[:SHORT])


@functools.lru_cache(1 << 16)
def _kind(action: str) -> str:
    words = _LETTERS.findall(action.lower())
    return "_".join(words)[:NAME].strip("_") or " ".join(action.split())[:NAME] or "nothing"


def spoken(name: str) -> str:
    """Return the name of an event in words that are safe to say, whatever it is made of."""
    return " ".join(_WORD.findall(name[:LONG]))[:SPOKEN].strip().replace("_", " ") or "do it"


def verb(kind_: str) -> str:
    """Return the first word of a kind of action."""
    return kind_.partition("_")[0]


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the words that came and those that went from one text to the next, in order."""
    old, new = (dict.fromkeys(_WORD.findall(normal(text))) for text in (before, after))
    return [word for word in new if word not in old], [word for word in old if word not in new]


def passage(text: str, words: Sequence[str]) -> str:
    """Return the part of a text, between its marks, that has most of these words."""
    parts = _MARK.split(normal(text))
    wanted = set(words)
    return max(parts, key=lambda part: len(wanted.intersection(_WORD.findall(part)))).strip()
