"""View: what the player sees, cell by cell, as names; 9 x 7 of them as in the game's own picture.

Does not: put it into words.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from crafter import constants, objects
from numpy.typing import NDArray

from alicebob.envs.crafter.game import Game
from alicebob.envs.crafter.terrain import AREA

__all__ = [
    "NAMES",
    "REACH_X",
    "REACH_Y",
    "Notes",
    "Standing",
    "Window",
    "nearest",
    "seen",
    "standing",
]

REACH_X, REACH_Y = 4, 3  # cells seen to each side
NAMES: list[str] = ["unknown", *constants.materials]
NAMES += ["player", "cow", "zombie", "skeleton", "arrow", "plant", "ripe_plant"]
PLAYER = NAMES.index("player")
Window = NDArray[np.int64]  # (9, 7), by column, of indices into NAMES; 0 is off the map
STAYING = "water tree stone coal iron diamond table furnace plant ripe_plant"
LASTING = np.isin(NAMES, STAYING.split())  # by kind: it stays, and may be gone back to
Standing = tuple[Any, dict[str, int]]  # place, facing and what is faced; the inventory


def seen(game: Game) -> Window:
    """Return the cells around the player."""
    world, (px, py) = game._world, game._player.pos
    window = np.zeros((2 * REACH_X + 1, 2 * REACH_Y + 1), np.int64)
    x0, y0 = max(0, px - REACH_X), max(0, py - REACH_Y)
    cells = (slice(x0, px + REACH_X + 1), slice(y0, py + REACH_Y + 1))
    ground = world._mat_map[cells]
    left, top = x0 - (px - REACH_X), y0 - (py - REACH_Y)
    window[left : left + ground.shape[0], top : top + ground.shape[1]] = ground
    things = world._obj_map[cells]
    for x, y in np.argwhere(things):
        thing = world._objects[things[x, y]]
        ripe = isinstance(thing, objects.Plant) and thing.ripe
        name = "ripe_plant" if ripe else type(thing).__name__.lower()
        window[left + x, top + y] = NAMES.index(name)
    return window


def standing(game: Game) -> Standing:
    """Return how the player stands to the world, and what he has."""
    player = game._player
    target = (player.pos[0] + player.facing[0], player.pos[1] + player.facing[1])
    faced = game._world[target]
    place = (*player.pos, *player.facing, faced[0], type(faced[1]), player.sleeping)
    return place, dict(player.inventory)


def nearest(window: Window) -> list[tuple[str, int, int]]:
    """Return (name, dx, dy) of the nearest cell of each kind in view, in order of kind.

    Nearest by Manhattan distance; a tie goes to the westernmost, then the northernmost, as
    SmartPlay's argmin has it. The player and cells off the map are left out.
    """
    found = _first_of_kind(np.ascontiguousarray(window).ravel(), BY_DISTANCE, len(NAMES))
    return [
        (NAMES[kind], cell // (2 * REACH_Y + 1) - REACH_X, cell % (2 * REACH_Y + 1) - REACH_Y)
        for kind, cell in enumerate(found.tolist())
        if cell >= 0 and kind not in (0, PLAYER)
    ]


class Notes:
    """What was seen last in each cell of a world, to be asked for what is out of sight now."""

    def __init__(self) -> None:
        width, height = AREA
        self._cells = np.zeros((width + 2 * REACH_X, height + 2 * REACH_Y), np.int64)

    def see(self, window: Window, x: int, y: int) -> None:
        """Note the cells around the player, who stands at (x, y)."""
        self._cells[x : x + window.shape[0], y : y + window.shape[1]] = window

    def elsewhere(self, window: Window, x: int, y: int) -> list[tuple[str, int, int]]:
        """Return (name, dx, dy) of the nearest of each lasting kind not in view, nearest first."""
        wanted = LASTING.copy()
        wanted[window] = False
        places = np.argwhere(wanted[self._cells])
        steps = places - (x + REACH_X, y + REACH_Y)
        order = np.abs(steps).sum(axis=1).argsort(kind="stable")
        kinds = self._cells[tuple(places[order].T)]
        firsts = np.sort(np.unique(kinds, return_index=True)[1])
        return [(NAMES[kinds[i]], *map(int, steps[order[i]])) for i in firsts]


def _by_distance() -> NDArray[np.int64]:
    """Return the cells of a window by Manhattan distance from its middle, ties by column."""
    dx, dy = np.indices((2 * REACH_X + 1, 2 * REACH_Y + 1))
    return np.argsort((np.abs(dx - REACH_X) + np.abs(dy - REACH_Y)).ravel(), kind="stable")


BY_DISTANCE = _by_distance()


@numba.njit(cache=True)
def _first_of_kind(cells, order, kinds):  # type: ignore[no-untyped-def]
    """Return for each kind the first cell in order that shows it, -1 for none."""
    found = np.full(kinds, -1)
    for cell in order:
        if found[cells[cell]] < 0:
            found[cells[cell]] = cell
    return found
