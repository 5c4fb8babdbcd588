"""Guard: close the open sides of a cell from outside, so that nothing can step next to it.

To put a wall on a cell, one must stand next to it and face it; who faces an open cell has just
walked towards it, so the way leads over two cells in line with it. Invariant: only what is passed
in is known of things. Does not: decide what is worth guarding.
"""

from __future__ import annotations

from collections.abc import Callable

from alicebob.alice.grid.worldmap import FAR, STEPS, WorldMap

__all__ = ["open_sides", "way"]

Cell = tuple[int, int]


def open_sides(world: WorldMap, target: Cell, entering: Callable[[str], int]) -> list[Cell]:
    """Return the cells next to a target that can be walked on."""
    x, y = target
    sides = [(x + dx, y + dy) for dx, dy in STEPS]
    return [side for side in sides if entering(world.at(*side)) == 1 or side == world.position]


def way(
    world: WorldMap, target: Cell, facing: Cell, entering: Callable[[str], int]
) -> tuple[str, Cell] | None:
    """Return what to do next: ("wall", direction), ("step", direction) or ("walk", cell).

    None where no open side can be closed.
    """
    best: tuple[float, str, Cell] | None = None
    for side in open_sides(world, target, entering):
        if side == world.position:
            continue
        for dx, dy in STEPS:
            stand = (side[0] - dx, side[1] - dy)
            run_up = (stand[0] - dx, stand[1] - dy)
            if target in (stand, run_up):
                continue
            option = _option(world, stand, run_up, (dx, dy), facing, entering)
            if option is not None and (best is None or option < best):
                best = option
    if best is not None:
        return best[1], best[2]
    return None


def _option(
    world: WorldMap,
    stand: Cell,
    run_up: Cell,
    step: Cell,
    facing: Cell,
    entering: Callable[[str], int],
) -> tuple[float, str, Cell] | None:
    """Return the cost of closing one side from one stand, and what to do first."""
    if world.position == stand and facing == step:
        return 0.0, "wall", step
    if stand != world.position and entering(world.at(*stand)) != 1:
        return None
    if world.position == run_up:
        return 1.0, "step", step
    if entering(world.at(*run_up)) != 1 or world.distance(*run_up) >= FAR:
        return None
    return 2.0 + world.distance(*run_up), "walk", run_up
