"""Text: what is seen in the words of SmartPlay, the field's standard, or in few for tiny models.

Does not: look at the world beside what is handed over.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from crafter import constants, objects

from alicebob.envs.crafter.view import NAMES, REACH_X, REACH_Y, Notes, Standing, Window, nearest

__all__ = [
    "ACTIONS",
    "NOTED_WORDS",
    "WORDS",
    "compact",
    "refusal",
    "smartplay",
    "spoken",
    "unchanged",
]

ACTIONS: tuple[str, ...] = tuple(constants.actions)
VITALS = ("health", "food", "drink", "energy")
COMPASS = {"up": "north", "down": "south", "left": "west", "right": "east"}
SIDES = {(-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}
TOOLS = ("pickaxe", "sword")  # held once; all else is counted
PLANT, RIPE = NAMES.index("plant"), NAMES.index("ripe_plant")


SOLID = [name for name in NAMES[1:] if name not in constants.walkable and name != "player"]


def _words() -> tuple[str, ...]:
    """Return the words of the compact text: a thing with its side, an item with its number."""
    sided = [f"{name}_{side}" for name in SOLID for side in SIDES.values()]
    counted = [n for n in constants.items if not n.endswith(TOOLS)]
    return (
        *NAMES,
        "unchanged",
        *sided,
        *(word for item in constants.items for word in (item, *item.split("_"))),
        *(f"{name}{count}" for name in counted for count in range(10)),
    )


WORDS = _words()
NOTED_WORDS = (
    *WORDS,
    *("know", "done", *constants.achievements),
    *(f"{name}_corner" for name in SOLID),
)


def spoken(action: str) -> str:
    """Return an action's name in SmartPlay's words: move_left is 'Move West'."""
    words = [COMPASS.get(w, w) if action.startswith("move_") else w for w in action.split("_")]
    return " ".join(words).title()


def refusal(action: str) -> str:
    """Say that an action is not one; the name is shortened and kept on one line."""
    shown = " ".join(action.split())[:60]
    return f"{shown!r} is not an action; you did nothing.\n\n"


def _faced(window: Window, player: objects.Player) -> str:
    fx, fy = player.facing
    return NAMES[int(window[REACH_X + fx, REACH_Y + fy])]


def smartplay(window: Window, player: objects.Player, action: str | None) -> str:
    """Describe as SmartPlay does (src/smartplay/crafter/crafter_env.py), also at the map's edge."""
    window = np.where(window == RIPE, PLANT, window)  # SmartPlay has one word for both
    parts = [f"You took action {spoken(action).lower().replace(' ', '_')}."] if action else []
    if player.sleeping:
        parts.append(
            "You are sleeping, and will not be able take actions until energy is full.\n\n"
        )
    elif player.health <= 0:
        parts.append("You died.\n\n")
    head = "".join(parts)
    seen = []
    for name, dx, dy in nearest(window):
        where = ["north"] * (dy < 0) + ["south"] * (dy > 0)
        where += ["west"] * (dx < 0) + ["east"] * (dx > 0)
        seen.append(f"- {name} {abs(dx) + abs(dy)} steps to your {'-'.join(where)}")
    body = "You see:\n" + "\n".join(seen) if seen else "You see nothing away from you."
    status = "\n".join(f"- {name}: {player.inventory[name]}/9" for name in VITALS)
    items = [f"- {n}: {c}" for n, c in player.inventory.items() if n not in VITALS and c]
    held = (
        "Your inventory:\n" + "\n".join(items) if items else "You have nothing in your inventory."
    )
    facing = f"You face {_faced(window, player)} at your front."
    blocks = ([head] if head else []) + [body, facing, f"Your status:\n{status}", held]
    return "\n\n".join(blocks)


def unchanged(before: Standing, after: Standing) -> bool:
    """Say whether an action did nothing to be seen: vitals that sink are not its doing."""
    if before[0] != after[0] or after[0][-1]:
        return False
    was, is_ = before[1], after[1]
    return all(is_[k] <= was[k] if k in VITALS else is_[k] == was[k] for k in is_)


def compact(
    window: Window, player: objects.Player, unchanged: bool, notes: Notes | None = None
) -> str:
    """Describe in few words, each to be understood by itself: a thing and where it is are one word.

    Vitals, and whether the last action did nothing; what is held; the faced side and cell; what
    stands next to the player; the nearest of each kind in view, nearest first, a word for each of
    its directions. Open ground is left out. With `notes` what stands at the player's corners is
    next to him too, as the game has it where it asks for a table, and what one who plays alone
    would keep in mind is told: what was seen and is out of sight, and what has been achieved.
    """
    vitals = " ".join(f"{name}{player.inventory[name]}" for name in VITALS)
    items = [
        name if name.endswith(TOOLS) else f"{name}{count}"
        for name, count in player.inventory.items()
        if name not in VITALS and count
    ]
    state = " asleep" if player.sleeping else " dead" if player.health <= 0 else ""
    state += " unchanged" if unchanged else ""
    near = [f"{name}_{side}" for step, side in SIDES.items() if (name := _solid(window, *step))]
    seen = sorted(nearest(window), key=lambda found: abs(found[1]) + abs(found[2]))
    lines = [
        vitals + state,
        _line("have", items),
        f"facing {SIDES[player.facing]} {_faced(window, player)}",
        _line("next", near + (_corners(window) if notes else [])),
        _line("see", _sided(seen)),
    ]
    if notes:
        done = [name for name, count in player.achievements.items() if count]
        lines.append(_line("know", _sided(notes.elsewhere(window, *player.pos))))
        lines.append(_line("done", done))
    return "\n".join(lines)


def _line(begin: str, words: Iterable[str]) -> str:
    return f"{begin} {' '.join(words) or 'nothing'}"


def _solid(window: Window, dx: int, dy: int) -> str:
    """Return the name of what stands at some steps from the player, "" for open ground."""
    name = NAMES[int(window[REACH_X + dx, REACH_Y + dy])]
    return "" if name in constants.walkable else name


def _corners(window: Window) -> list[str]:
    """Return a word for each kind that stands at a corner of the player's cell."""
    names = [_solid(window, dx, dy) for dx in (-1, 1) for dy in (-1, 1)]
    return [f"{name}_corner" for name in dict.fromkeys(names) if name]


def _sided(found: Iterable[tuple[str, int, int]]) -> list[str]:
    """Return a word for each direction in which a thing is, open ground left out."""
    words = []
    for name, dx, dy in found:
        if name not in constants.walkable:
            words += [f"{name}_left"] * (dx < 0) + [f"{name}_right"] * (dx > 0)
            words += [f"{name}_up"] * (dy < 0) + [f"{name}_down"] * (dy > 0)
    return words
