"""Terrain: the ground of a new world and what stands on it, drawn as upstream draws it.

Noise is computed for the whole map at once. Invariant: the same generator and place of the player
give the cells and creatures of `crafter.worldgen.generate_world`, and leave the generator as that
does. Does not: make the creatures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from crafter import constants
from numpy.random import RandomState
from numpy.typing import NDArray
from opensimplex.internals import _init as noise_tables
from opensimplex.internals import _noise3 as noise3

__all__ = ["AREA", "IDS", "fill"]

AREA = (64, 64)  # cells
IDS = {name: number for number, name in enumerate([None, *constants.materials])}
GRASS, PATH, COAL, IRON, DIAMOND = (IDS[n] for n in ("grass", "path", "coal", "iron", "diamond"))
LAVA, STONE, SAND, WATER, TREE = (IDS[n] for n in ("lava", "stone", "sand", "water", "tree"))
COW, ZOMBIE, SKELETON = 1, 2, 3
KINDS = {COW: "cow", ZOMBIE: "zombie", SKELETON: "skeleton"}


def fill(
    cells: NDArray[np.uint8], player: tuple[int, int], draw: RandomState
) -> list[tuple[str, Any]]:
    """Fill the map in place, (64, 64) of IDS; return the kind and place of each creature."""
    perm, gradients = noise_tables(draw.randint(0, 2**31 - 1))
    start = _start_noise(*AREA, *player, perm, gradients)
    start = 1 / (1 + np.exp(-start))
    tunnels = np.zeros(AREA, np.bool_)
    kinds = np.zeros(AREA, np.uint8)
    _with_draws(draw, lambda draws: _materials(cells, tunnels, start, perm, gradients, draws))
    _with_draws(draw, lambda draws: _creatures(kinds, cells, tunnels, *player, draws))
    return [(KINDS[int(kinds[x, y])], (x, y)) for x, y in np.argwhere(kinds)]


def _with_draws(draw: RandomState, use: Callable[[NDArray[np.float64]], int]) -> None:
    """Hand on as many draws as could be used, and take from the generator those that were."""
    state = draw.get_state()
    draws = draw.random_sample(3 * AREA[0] * AREA[1])
    used = use(draws)
    draw.set_state(state)
    draw.random_sample(used)


@numba.njit(cache=True)
def _start_noise(width, height, px, py, perm, gradients):  # type: ignore[no-untyped-def]
    """Return how much each cell belongs to the open start, before the logistic function."""
    start = np.zeros((width, height))
    for x in range(width):
        for y in range(height):
            value = 4 - np.sqrt((x - px) ** 2 + (y - py) ** 2)
            start[x, y] = value + 2 * noise3(x / 3, y / 3, 8.0, perm, gradients)
    return start


@numba.njit(cache=True)
def _materials(cells, tunnels, start, perm, gradients, draws):  # type: ignore[no-untyped-def]
    """Choose each cell's material as upstream's `_set_material`; return how many draws it took."""
    used = 0
    for x in range(cells.shape[0]):
        for y in range(cells.shape[1]):
            begin = start[x, y]
            water = noise3(x / 15, y / 15, 3.0, perm, gradients)
            water = water + 0.15 * noise3(x / 5, y / 5, 3.0, perm, gradients) + 0.1
            water -= 2 * begin
            mountain = noise3(x / 15, y / 15, 0.0, perm, gradients)
            mountain = mountain + 0.3 * noise3(x / 5, y / 5, 0.0, perm, gradients)
            mountain /= 1.3
            mountain -= 4 * begin + 0.3 * water
            if begin > 0.5:
                cells[x, y] = GRASS
                continue
            if mountain > 0.15:
                if noise3(x / 7, y / 7, 6.0, perm, gradients) > 0.15 and mountain > 0.3:
                    cells[x, y] = PATH
                    continue
                if noise3(2 * x / 3, y / 5 / 3, 7.0, perm, gradients) > 0.4:
                    cells[x, y] = PATH
                    tunnels[x, y] = True
                    continue
                if noise3(x / 5 / 3, 2 * y / 3, 7.0, perm, gradients) > 0.4:
                    cells[x, y] = PATH
                    tunnels[x, y] = True
                    continue
                if noise3(x / 8, y / 8, 1.0, perm, gradients) > 0:
                    used += 1
                    if draws[used - 1] > 0.85:
                        cells[x, y] = COAL
                        continue
                if noise3(x / 6, y / 6, 2.0, perm, gradients) > 0.4:
                    used += 1
                    if draws[used - 1] > 0.75:
                        cells[x, y] = IRON
                        continue
                if mountain > 0.18:
                    used += 1
                    if draws[used - 1] > 0.994:
                        cells[x, y] = DIAMOND
                        continue
                if mountain > 0.3 and noise3(x / 5, y / 5, 6.0, perm, gradients) > 0.35:
                    cells[x, y] = LAVA
                else:
                    cells[x, y] = STONE
            elif 0.25 < water <= 0.35 and noise3(x / 9, y / 9, 4.0, perm, gradients) > -0.2:
                cells[x, y] = SAND
            elif water > 0.3:
                cells[x, y] = WATER
            else:
                cells[x, y] = GRASS
                if noise3(x / 7, y / 7, 5.0, perm, gradients) > 0:
                    used += 1
                    if draws[used - 1] > 0.8:
                        cells[x, y] = TREE
    return used


@numba.njit(cache=True)
def _creatures(kinds, cells, tunnels, px, py, draws):  # type: ignore[no-untyped-def]
    """Choose what stands on each cell as upstream's `_set_object`; return the draws taken."""
    used = 0
    for x in range(cells.shape[0]):
        for y in range(cells.shape[1]):
            cell = cells[x, y]
            if cell != GRASS and cell != SAND and cell != PATH:
                continue
            distance = np.sqrt((x - px) ** 2 + (y - py) ** 2)
            if distance > 3 and cell == GRASS:
                used += 1
                if draws[used - 1] > 0.985:
                    kinds[x, y] = COW
                    continue
            if distance > 10:
                used += 1
                if draws[used - 1] > 0.993:
                    kinds[x, y] = ZOMBIE
                    continue
            if cell == PATH and tunnels[x, y]:
                used += 1
                if draws[used - 1] > 0.95:
                    kinds[x, y] = SKELETON
    return used
