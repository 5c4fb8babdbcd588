"""Interface: the words of a world seen as a grid, all names that Alice is told.

What moves her which way, what presses on the faced thing, what does nothing, which vital is her
life, and which names in a view are no things. Any other action is just a name to her. Does not: say
what any of it is good for. A grid with other words needs them here and nothing else.
"""

from __future__ import annotations

import re

__all__ = ["IDLE", "LIFE", "MOVES", "NO_THING", "PRESS", "faced_in", "is_plain"]

MOVES = {"move_left": (-1, 0), "move_right": (1, 0), "move_up": (0, -1), "move_down": (0, 1)}
PRESS = "do"
IDLE = "noop"
LIFE = "health"
NO_THING = ("player", "unknown", "")


def is_plain(action: str) -> bool:
    """Say whether an action's meaning is part of the interface."""
    return action in MOVES or action in (PRESS, IDLE)


def faced_in(observation: str) -> str:
    """Return the faced thing by an observation's text, in either format, "" if neither says it."""
    found = re.search(r"^(?:facing \w+|You face) (\w+)", observation, re.MULTILINE)
    return found.group(1) if found else ""
