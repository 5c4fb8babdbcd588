"""The map that Alice keeps of one episode: what she saw where, and how far it is.

Cells hold ids of thing names; 0 is a cell she has not seen. Distances run over cells that a vector
of costs per thing allows (0 means that it cannot be entered), four ways, from where she stands.
Invariant: ties are broken by the order of cells, never by chance. Does not: know what a thing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["FAR", "STEPS", "WorldMap"]

FAR = 30_000
AROUND = 12  # steps she goes about rather than open a cell that is shunned
MARGIN = 16  # cells kept free around what was seen
STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))

Ids = NDArray[np.int16]
Numbers = NDArray[np.int32]


class WorldMap:
    """A growing grid of what was seen, with distances from the player.

    Where it does not recall, things are found in the last view alone; ways and edges always.
    """

    def __init__(self, recalls: bool = True) -> None:
        self._recalls = recalls
        self.names: list[str] = [""]  # by id; 0 is "never seen"
        self._ids: dict[str, int] = {"": 0}
        self.cells: Ids = np.zeros((0, 0), np.int16)
        self._x = self._y = 0  # position of cells[0, 0]
        self._low = (0, 0)
        self._high = (0, 0)  # the corners of what was seen, as indices, high exclusive
        self._at = (0, 0)  # the player, as indices
        self._view = (0, 0)  # its size
        self._dist: Numbers = np.zeros((0, 0), np.int32)
        self._first: NDArray[np.int8] = np.zeros((0, 0), np.int8)
        self._nearest: Numbers = np.zeros((0, 3), np.int32)
        self._shun: NDArray[np.int32] = np.zeros((0, 0), np.int32)
        self.position = (0, 0)
        self.clock = 0

    def id(self, name: str) -> int:
        """Return the id of a name, a new one for a new name."""
        if name not in self._ids:
            self._ids[name] = len(self.names)
            self.names.append(name)
        return self._ids[name]

    def see(self, view: Sequence[Sequence[str]], position: tuple[int, int]) -> tuple[Ids, Ids]:
        """Write down a view, the player in its middle; return the cells before and after."""
        known = self._ids
        try:
            patch = np.array([[known[name] for name in row] for row in view], np.int16).T
        except KeyError:
            patch = np.array([[self.id(name) for name in row] for row in view], np.int16).T
        width, height = self._view = patch.shape
        x, y = position[0] - width // 2, position[1] - height // 2
        self._hold(x, y, x + width, y + height)
        i, j = x - self._x, y - self._y
        window = self.cells[i : i + width, j : j + height]
        before = window.copy()
        under = before[width // 2, height // 2]
        window[:] = patch
        window[width // 2, height // 2] = under or patch[width // 2, height // 2]  # hidden by her
        self._at = (position[0] - self._x, position[1] - self._y)
        self.position = position
        self._low = (min(self._low[0], i), min(self._low[1], j))
        self._high = (max(self._high[0], i + width), max(self._high[1], j + height))
        self.clock += 1
        return before, patch

    def _hold(self, x0: int, y0: int, x1: int, y1: int) -> None:
        """Make the grid large enough for the cells from (x0, y0) to (x1, y1), exclusive."""
        width, height = self.cells.shape
        held = self._x <= x0 and self._y <= y0
        if held and x1 <= self._x + width and y1 <= self._y + height:
            return
        if width:
            nx0, ny0 = min(self._x, x0 - MARGIN), min(self._y, y0 - MARGIN)
            nx1, ny1 = max(self._x + width, x1 + MARGIN), max(self._y + height, y1 + MARGIN)
        else:
            nx0, ny0, nx1, ny1 = x0 - 32, y0 - 32, x1 + 32, y1 + 32
        cells = np.zeros((nx1 - nx0, ny1 - ny0), np.int16)
        shun = np.zeros(cells.shape, np.int32)
        i, j = self._x - nx0, self._y - ny0
        if width:
            cells[i : i + width, j : j + height] = self.cells
            shun[i : i + width, j : j + height] = self._shun
            self._low = (self._low[0] + i, self._low[1] + j)
            self._high = (self._high[0] + i, self._high[1] + j)
        else:
            self._low = (x0 - nx0, y0 - ny0)
            self._high = (x1 - nx0, y1 - ny0)
        self.cells, self._shun = cells, shun
        self._dist = np.full(cells.shape, FAR, np.int32)
        self._first = np.full(cells.shape, -1, np.int8)
        self._x, self._y = nx0, ny0

    def at(self, x: int, y: int) -> str:
        """Return the name seen last at a position, "" where nothing was seen."""
        i, j = x - self._x, y - self._y
        if 0 <= i < self.cells.shape[0] and 0 <= j < self.cells.shape[1]:
            return self.names[int(self.cells[i, j])]
        return ""

    def write(self, x: int, y: int, name: str) -> None:
        """Correct one cell that was seen before."""
        self.cells[x - self._x, y - self._y] = self.id(name)

    def shun(self, x: int, y: int, steps: int) -> None:
        """Do not give this cell as a nearest one for some steps, and rather not open it."""
        self._shun[x - self._x, y - self._y] = self.clock + steps

    def measure(self, costs: Numbers) -> None:
        """Compute distances from the player, and the nearest cell of each thing.

        `costs` has one entry per id. Must be called after `see` and before the questions below.
        """
        self._nearest = np.full((len(self.names), 3), FAR, np.int32)
        _measure(
            self.cells, costs, *self._at, *self._box(), self._dist, self._first,
            *self._found(), self._nearest, self._shun, self.clock,
        )  # fmt: skip

    def _found(self) -> tuple[int, int, int, int]:
        """Return the corners of where things are found, as indices."""
        box = self._box()
        if self._recalls:
            return box
        (i, j), (width, height) = self._at, self._view
        low, high = (i - width // 2, j - height // 2), (i + width // 2 + 1, j + height // 2 + 1)
        return max(box[0], low[0]), max(box[1], low[1]), min(box[2], high[0]), min(box[3], high[1])

    def _box(self) -> tuple[int, int, int, int]:
        width, height = self.cells.shape
        return (
            max(1, self._low[0] - 1),
            max(1, self._low[1] - 1),
            min(width - 1, self._high[0] + 1),
            min(height - 1, self._high[1] + 1),
        )

    def nearest(self, name: str) -> tuple[int, int, int] | None:
        """Return (x, y, distance to a cell next to it) of the nearest thing of a name."""
        number = self._ids.get(name, 0)
        if not 0 < number < len(self._nearest):
            return None
        distance, i, j = self._nearest[number].tolist()
        return None if distance >= FAR else (i + self._x, j + self._y, distance)

    def distance(self, x: int, y: int) -> int:
        """Return the cost of going to a cell."""
        i, j = x - self._x, y - self._y
        if 0 <= i < self._dist.shape[0] and 0 <= j < self._dist.shape[1]:
            return int(self._dist[i, j])
        return FAR

    def beside(self, x: int, y: int) -> tuple[int, int, int]:
        """Return (x, y, distance) of the cell next to a position that is easiest to reach."""
        options = [(self.distance(x + dx, y + dy), x + dx, y + dy) for dx, dy in STEPS]
        distance, bx, by = min(options)
        return bx, by, distance

    def step(self, x: int, y: int) -> tuple[int, int]:
        """Return the first step of the way to a reachable cell; (0, 0) when there."""
        number = int(self._first[x - self._x, y - self._y])
        return STEPS[number] if number >= 0 else (0, 0)

    def places(self, name: str) -> list[tuple[int, int]]:
        """Return all positions where a thing was seen last, in order."""
        number = self._ids.get(name)
        if not number:
            return []
        i0, j0, i1, j1 = self._found()
        found = np.argwhere(self.cells[i0:i1, j0:j1] == number)
        return [(int(i) + i0 + self._x, int(j) + j0 + self._y) for i, j in found]

    def frontier(self, appeal: NDArray[np.float64]) -> tuple[int, int, int] | None:
        """Return (x, y, distance) of the best reachable cell next to what was never seen.

        Best by distance less the `appeal` of its thing, one entry per id.
        """
        i, j = _frontier(self.cells, self._dist, *self._box(), appeal, self._shun, self.clock)
        if i < 0:
            return None
        return int(i) + self._x, int(j) + self._y, int(self._dist[i, j])

    def open_ended(self, x: int, y: int) -> bool:
        """Say whether a cell has a neighbour that was never seen."""
        return any(self.at(x + dx, y + dy) == "" for dx, dy in STEPS)

    def surroundings(self) -> dict[str, dict[str, int]]:
        """Return for each thing how often each other stands within two cells of it."""
        i0, j0, i1, j1 = self._box()
        table = _surroundings(self.cells[i0:i1, j0:j1], len(self.names))
        return {
            self.names[i]: {self.names[j]: int(n) for j, n in enumerate(row.tolist()) if j and n}
            for i, row in enumerate(table)
            if i and row[1:].any()
        }


@njit(cache=True)  # type: ignore[untyped-decorator]
def _measure(
    cells: Any,
    costs: Any,
    pi: int,
    pj: int,
    i0: int,
    j0: int,
    i1: int,
    j1: int,
    dist: Any,
    first: Any,
    f0: int,
    g0: int,
    f1: int,
    g1: int,
    nearest: Any,
    shun: Any,
    clock: int,
) -> None:
    """Fill in distances, first steps and nearest things: label-correcting search in a queue."""
    for i in range(i0 - 1, i1 + 1):
        for j in range(j0 - 1, j1 + 1):
            dist[i, j] = FAR
            first[i, j] = -1
    height = dist.shape[1]
    size = (i1 - i0) * (j1 - j0) + 1
    queue = np.empty(size, np.int32)
    queued = np.zeros((i1 - i0, j1 - j0), np.bool_)
    dist[pi, pj] = 0
    queue[0] = pi * height + pj
    head, tail = 0, 1
    while head != tail:
        i, j = queue[head] // height, queue[head] % height
        head = (head + 1) % size
        queued[i - i0, j - j0] = False
        for d in range(4):
            ni = i + (-1 if d == 0 else 1 if d == 1 else 0)
            nj = j + (-1 if d == 2 else 1 if d == 3 else 0)
            if ni < i0 or nj < j0 or ni >= i1 or nj >= j1:
                continue
            cost = costs[cells[ni, nj]]
            if cost > 1 and shun[ni, nj] > clock:
                cost += AROUND
            if cost <= 0 or dist[i, j] + cost >= dist[ni, nj]:
                continue
            dist[ni, nj] = dist[i, j] + cost
            first[ni, nj] = d if (i == pi and j == pj) else first[i, j]
            if not queued[ni - i0, nj - j0]:
                queued[ni - i0, nj - j0] = True
                queue[tail] = ni * height + nj
                tail = (tail + 1) % size
    for i in range(f0, f1):
        for j in range(g0, g1):
            kind = cells[i, j]
            if kind == 0 or shun[i, j] > clock:
                continue
            best = min(dist[i - 1, j], dist[i + 1, j], dist[i, j - 1], dist[i, j + 1])
            if best < nearest[kind, 0]:
                nearest[kind, 0], nearest[kind, 1], nearest[kind, 2] = best, i, j


@njit(cache=True)  # type: ignore[untyped-decorator]
def _frontier(
    cells: Any,
    dist: Any,
    i0: int,
    j0: int,
    i1: int,
    j1: int,
    appeal: Any,
    shun: Any,
    clock: int,
) -> tuple[int, int]:
    best, bi, bj = 1e9, -1, -1
    for i in range(i0, i1):
        for j in range(j0, j1):
            if dist[i, j] >= FAR or shun[i, j] > clock:
                continue
            unseen = 0
            for k in range(i - 1, i + 2):
                for m in range(j - 1, j + 2):
                    unseen += cells[k, m] == 0
            edge = (
                cells[i - 1, j] == 0
                or cells[i + 1, j] == 0
                or cells[i, j - 1] == 0
                or cells[i, j + 1] == 0
            )
            if not edge:
                continue
            score = dist[i, j] - appeal[cells[i, j]] - 0.3 * unseen
            if score < best:
                best, bi, bj = score, i, j
    return bi, bj


@njit(cache=True)  # type: ignore[untyped-decorator]
def _surroundings(cells: Any, count: int) -> Any:
    table = np.zeros((count, count), np.int64)
    width, height = cells.shape
    for i in range(width):
        for j in range(height):
            for k in range(max(0, i - 2), min(width, i + 3)):
                for m in range(max(0, j - 2), min(height, j + 3)):
                    if k != i or m != j:
                        table[cells[i, j], cells[k, m]] += 1
    return table
