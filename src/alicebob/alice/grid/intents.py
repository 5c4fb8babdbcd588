"""Intents: what turns were for, as their tags say, and what they led to.

To find a tree and to use one are one endeavour, about the tree. A turn that went to what an action
has to stand by names that too: "intent:make_wood_pickaxe by table". Invariant: nothing is said of a
turn that lies after the event it led to. Does not: know what any intent is good for.
"""

from __future__ import annotations

from collections.abc import Sequence

from alicebob.trace import INTENT, Turn

__all__ = ["BY", "about", "goals", "intent", "sought", "subject", "thing", "untagged"]

BY = " by "  # stands between an intent and the thing to stand by, on the way there

STRAYED = 8  # turns for other things after which an event is no longer what a turn was for
STANDING = ("explore", "rest")  # aims worth learning although no event ends them


def intent(turn: Turn) -> str:
    """Return what a turn was for, "" where it does not say."""
    return _tagged(turn).partition(BY)[0]


def subject(turn: Turn) -> str:
    """Return what a turn was about, "" where it does not say."""
    return about(_tagged(turn))


def sought(turn: Turn) -> str:
    """Return the thing that a turn went to or worked on, "" where it does not say."""
    return thing(_tagged(turn))


def about(meant: str) -> str:
    """Return what an intent is about."""
    return meant.partition(BY)[0].removeprefix("find ").removeprefix("use ")


def thing(meant: str) -> str:
    """Return the thing to go to or to work on: where one is to be stood by, that."""
    return meant.partition(BY)[2] or about(meant)


def _tagged(turn: Turn) -> str:
    return next((tag[len(INTENT) :] for tag in turn.tags if tag.startswith(INTENT)), "")


def untagged(turn: Turn) -> tuple[str, ...]:
    """Return the tags of a turn but for what it was for."""
    return tuple(tag for tag in turn.tags if not tag.startswith(INTENT))


def goals(turns: Sequence[Turn]) -> list[tuple[str, int]]:
    """Return for each turn what it led to, an event, a standing aim or "", and on which turn."""
    found = [("", -1)] * len(turns)
    ahead: dict[str, tuple[str, int, int]] = {}  # by subject: the event, its turn, turns elsewhere
    for index in range(len(turns) - 1, -1, -1):
        turn, on = turns[index], subject(turns[index])
        ahead = {
            other: (event, at, strayed + (other != on))
            for other, (event, at, strayed) in ahead.items()
            if strayed < STRAYED
        }
        if turn.events:
            ahead[on] = (turn.events[0], index, 0)
        if on in ahead:
            found[index] = ahead[on][:2]
        elif intent(turn).startswith("find ") or on in STANDING:
            found[index] = (on if on in STANDING else STANDING[0], index)
    return found
