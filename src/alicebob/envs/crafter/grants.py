"""Grants: what an episode begins with, as the options of a reset ask for it.

Invariant: the same seed and options put the same things in the same places. Does not: change what
the world would otherwise be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from crafter import constants, objects

from alicebob.envs.crafter.game import Cow, Game, Skeleton, Zombie
from alicebob.errors import UnknownName, UsageError

__all__ = ["grant", "wanted"]

RIPE_AGE = 301  # steps; upstream's Plant.ripe asks for more than 300
CREATURES = {
    "cow": Cow,
    "zombie": Zombie,
    "skeleton": Skeleton,
    "plant": objects.Plant,
    "ripe_plant": objects.Plant,
}
NEAR = (*constants.materials, *CREATURES)
OPTIONS: dict[str, Any] = {"inventory": Mapping, "near": (list, tuple)}
SHAPES = {"inventory": "items with their numbers", "near": "a list of names"}


def wanted(options: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[str]]:
    """Return the inventory and the things near that reset options ask for, checked."""
    for option, value in options.items():
        if option not in OPTIONS:
            raise UnknownName("reset option", option, OPTIONS, "crafter")
        if not isinstance(value, OPTIONS[option]):
            raise UsageError(f"crafter: {option} must be {SHAPES[option]}; got {value!r}.")
    inventory, near = options.get("inventory", {}), options.get("near", [])
    for item, amount in inventory.items():
        if item not in constants.items:
            raise UnknownName("item", item, constants.items, "crafter")
        most = constants.items[item]["max"]
        if type(amount) is not int or not 0 <= amount <= most:
            raise UsageError(f"crafter: {item} must be between 0 and {most}, got {amount!r}.")
    for name in near:
        if name not in NEAR:
            raise UnknownName("thing to put near", str(name), NEAR, "crafter")
    return inventory, near


def grant(game: Game, inventory: Mapping[str, int], near: Sequence[str], seed: int) -> None:
    """Give the player items and put things near, the same for the same seed."""
    player = game._player
    player.inventory.update(inventory)
    # Health given is no reward: both of upstream's memories of it start at the new value.
    game._last_health = player._last_health = player.health
    draw = np.random.default_rng([seed, 1])
    for name in near:
        x, y = _free_cell(game, name, draw)
        if name not in CREATURES:
            game._world[x, y] = name
            continue
        game._world[x, y] = "grass"
        kind = CREATURES[name]
        takes_player = kind in (Zombie, Skeleton)
        thing = kind(game._world, (x, y), *([player] if takes_player else []))
        if name == "ripe_plant":
            thing.grown = RIPE_AGE
        game._world.add(thing)


def _free_cell(game: Game, name: str, draw: np.random.Generator) -> tuple[int, int]:
    """Draw a cell for a thing: what is built stands beside the player, the rest two steps off.

    Farther cells are taken where the nearer ones are not free; any ground will do but the player's.
    """
    px, py = (int(i) for i in game._player.pos)
    nearest = 1 if name in ("table", "furnace") else 2
    around = [(dx, dy) for dx in range(-3, 4) for dy in range(-3, 4) if (dx, dy) != (0, 0)]
    order = draw.permutation(len(around))
    cells = sorted(
        (around[int(i)] for i in order),
        key=lambda cell: (abs(cell[0]) + abs(cell[1]) < nearest, abs(cell[0]) + abs(cell[1])),
    )
    ground = [(px + dx, py + dy) for dx, dy in cells if _open(game, px + dx, py + dy, name)]
    if not ground:
        raise UsageError(f"crafter: there is no room for a {name} near the player of this world.")
    return ground[0]


def _open(game: Game, x: int, y: int, name: str) -> bool:
    """Return whether a thing can be put on a cell, and is not what the cell is made of."""
    width, height = game._world.area
    if not (0 <= x < width and 0 <= y < height):
        return False
    material, thing = game._world[x, y]
    return thing is None and material in constants.walkable and material != name
