"""Shelter: find a small place that can be closed on all sides, and how to close it.

A place is two cells side by side or a block of four. A side can be closed from inside only by
someone who faces it, and who faces an open cell has just walked towards it; so each open side needs
a free cell of the place behind the one it borders on. Invariant: only what is passed in is known of
things. Does not: decide when to hide, or stay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from alicebob.alice.grid.worldmap import FAR, STEPS, WorldMap

__all__ = ["Shelter", "find", "next_step"]

Cell = tuple[int, int]
RADIUS = 6
SHAPES = (((0, 0), (1, 0)), ((0, 0), (0, 1)), ((0, 0), (1, 0), (0, 1), (1, 1)))
NEAREST_FIRST = sorted(
    (abs(dx) + abs(dy), dx, dy)
    for dx in range(-RADIUS, RADIUS + 1)
    for dy in range(-RADIUS, RADIUS + 1)
    if abs(dx) + abs(dy) <= RADIUS
)
PLACING = 4.0  # steps that closing one side takes, roughly


@dataclass(frozen=True, slots=True)
class Shelter:
    """A place to close: its cells, its bordering cells, and the steps until it is closed."""

    cells: frozenset[Cell]
    border: tuple[tuple[Cell, Cell], ...]  # (cell inside, direction)
    cost: float


def find(
    world: WorldMap, entering: Callable[[str], int], closing: Callable[[str], bool], walls: int
) -> Shelter | None:
    """Return the cheapest place near by that can be closed, or None.

    `entering` gives the steps that entering a thing takes, 0 for never; `closing` says of a thing
    whether it can be replaced by a wall. With one step it is open, with more it must be opened and
    is as good as a wall until then. `walls` is the number of walls at hand.
    """
    px, py = world.position
    best: Shelter | None = None
    for away, dx, dy in NEAREST_FIRST:
        if best is not None and best.cost <= away - 2:
            break  # the walk alone costs more; a shape reaches back two cells at most
        for shape in SHAPES:
            cells = frozenset((px + dx + i, py + dy + j) for i, j in shape)
            found = _judge(world, cells, entering, closing, walls)
            if found is not None and (best is None or found.cost < best.cost):
                best = found
    return best


def _judge(
    world: WorldMap,
    cells: frozenset[Cell],
    entering: Callable[[str], int],
    closing: Callable[[str], bool],
    walls: int,
) -> Shelter | None:
    cost = 0.0
    for cell in cells:
        steps = 1 if cell == world.position else entering(world.at(*cell))
        if not steps:
            return None
        cost += steps - 1
    cost += min(world.distance(*cell) for cell in cells)
    if cost >= FAR:
        return None
    border = tuple(sorted(_border(cells)))
    lacking = 0
    for (x, y), (dx, dy) in border:
        name = world.at(x + dx, y + dy)
        if not name:
            return None
        if not _open(name, entering):
            continue
        if not closing(name) or (x - dx, y - dy) not in cells:
            return None
        lacking += 1
    if lacking > walls:
        return None
    return Shelter(cells, border, cost + PLACING * lacking)


def _open(name: str, entering: Callable[[str], int]) -> bool:
    return entering(name) == 1


def _border(cells: frozenset[Cell]) -> Iterator[tuple[Cell, Cell]]:
    for x, y in cells:
        for dx, dy in STEPS:
            if (x + dx, y + dy) not in cells:
                yield (x, y), (dx, dy)


def next_step(
    shelter: Shelter, world: WorldMap, facing: Cell, entering: Callable[[str], int]
) -> tuple[str, Cell] | None:
    """Return what to do inside to close the place: ("wall", direction), ("walk", direction).

    None means that all is closed. Raises nothing; ("stuck", (0, 0)) where no way is left.
    """
    wanted = {
        (cell, (dx, dy))
        for cell, (dx, dy) in shelter.border
        if _open(world.at(cell[0] + dx, cell[1] + dy), entering)
    }
    if not wanted:
        return None
    start = (world.position, facing)
    if start in wanted:
        return "wall", facing
    came: dict[tuple[Cell, Cell], Cell] = {start: (0, 0)}
    queue = deque([start])
    while queue:
        (x, y), face = queue.popleft()
        for dx, dy in STEPS:
            ahead = (x + dx, y + dy)
            if ahead in shelter.cells:
                state = (ahead, (dx, dy))
            elif not _open(world.at(*ahead), entering):
                state = ((x, y), (dx, dy))
            else:
                continue
            if state in came:
                continue
            came[state] = came[(x, y), face] if (x, y, face) != (*start[0], start[1]) else (dx, dy)
            if state in wanted:
                return "walk", came[state]
            queue.append(state)
    return "stuck", (0, 0)
