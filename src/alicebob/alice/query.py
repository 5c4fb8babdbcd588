"""Query: what somebody who acts would ask for, in words, of what others did before.

Learn-by-interact's query (arXiv 2501.10893, Table 35) follows from the instruction, what was done
so far and what is seen. The embedded one says just these. Does not: search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alicebob.policies import Live
from alicebob.words import goal

__all__ = ["Asks", "Queries", "plainly"]

LAST = 3  # actions that are told
Queries = Callable[[Sequence[Live]], list[str]]
Asks = Callable[[], Queries]  # made where it is used; can be pickled


def plainly() -> Queries:
    """Return the embedded Alice's queries."""
    return lambda lives: [_said(live) for live in lives]


def _said(live: Live) -> str:
    events = dict.fromkeys(event for turn in live.turns for event in turn.events)
    done = ", ".join(map(goal, events)) or "nothing"
    last = "; ".join(turn.action.replace("_", " ") for turn in live.turns[-LAST:]) or "nothing"
    return f"{live.task.instruction} Achieved: {done}. Last: {last}. Seen: {live.observation}"
