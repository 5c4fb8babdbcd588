"""Intents: what turns were for, as their tags say, and what they led to.

To find a tree and to use one are one endeavour, about the tree. Invariant: nothing is said of a
turn that lies after the event it led to. Does not: know what any intent is good for.
"""

from __future__ import annotations

from collections.abc import Sequence

from alicebob.trace import INTENT, Turn

__all__ = ["goals", "intent", "subject", "untagged"]

STRAYED = 8  # turns for other things after which an event is no longer what a turn was for
STANDING = ("explore", "rest")  # aims worth learning although no event ends them


def intent(turn: Turn) -> str:
    """Return what a turn was for, "" where it does not say."""
    return next((tag[len(INTENT) :] for tag in turn.tags if tag.startswith(INTENT)), "")


def subject(turn: Turn) -> str:
    """Return what a turn was about, "" where it does not say."""
    return intent(turn).removeprefix("find ").removeprefix("use ")


def untagged(turn: Turn) -> tuple[str, ...]:
    """Return the tags of a turn but for what it was for."""
    return tuple(tag for tag in turn.tags if not tag.startswith(INTENT))


def goals(turns: Sequence[Turn]) -> list[tuple[str, int]]:
    """Return for each turn what it led to, an event, a standing aim or "", and on which turn."""
    found = [("", -1)] * len(turns)
    ahead: dict[str, tuple[str, int, int]] = {}  # by subject: the event, its turn, turns elsewhere
    for index in range(len(turns) - 1, -1, -1):
        turn, about = turns[index], subject(turns[index])
        ahead = {
            other: (event, at, strayed + (other != about))
            for other, (event, at, strayed) in ahead.items()
            if strayed < STRAYED
        }
        if turn.events:
            ahead[about] = (turn.events[0], index, 0)
        if about in ahead:
            found[index] = ahead[about][:2]
        elif intent(turn).startswith("find ") or about in STANDING:
            found[index] = (about if about in STANDING else STANDING[0], index)
    return found
