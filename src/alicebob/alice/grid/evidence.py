"""Evidence: what one episode teaches, written down step by step.

Invariant: all that is noted goes into two books alike, `model` (what was known before and since,
to act on) and `found` (since the episode began, to be shared after it). Does not: look at the
world, or judge what an attempt changed (see `senses`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alicebob.alice.grid.affordance import Change
from alicebob.alice.grid.interface import NO_THING
from alicebob.alice.grid.memory import Knowledge

__all__ = ["Evidence"]

Cell = tuple[int, int]
Ids = NDArray[np.int16]  # of names, as the map has them


class Evidence:
    """The two books of one episode."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.model = knowledge.copy()
        self.found = Knowledge()
        self.seen: set[str] = set()
        self._books = (self.model, self.found)
        self._counts = np.zeros((2, 64), np.int64)  # by id: cells seen, and of them changed

    def sight(self, names: Iterable[str]) -> None:
        """Count the episodes in which a thing was seen."""
        for name in names:
            if name not in self.seen and name not in NO_THING:
                self.seen.add(name)
                for book in self._books:
                    book.thing(name).episodes += 1

    def step(
        self, before: Ids, after: Ids, corner: Cell, own: Collection[Cell], names: Sequence[str]
    ) -> None:
        """Count what was seen, what of it was gone a step later, and what it became.

        `before` and `after` are the same cells, the first of them at `corner`; what happens to the
        cells `own` is Alice's doing.
        """
        if len(names) > self._counts.shape[1]:
            self._counts = np.pad(self._counts, ((0, 0), (0, len(names))))
        self._counts[0] += np.bincount(before.ravel(), minlength=self._counts.shape[1])
        for i, j in np.argwhere((before != after) & (before > 0)).tolist():
            was, now = names[before[i, j]], names[after[i, j]]
            if (corner[0] + i, corner[1] + j) in own or was in NO_THING or now in NO_THING:
                continue
            self._counts[1, before[i, j]] += 1
            if not self.model.thing(was).moves and not self.model.thing(now).moves:
                for book in self._books:
                    becomes = book.becomes.setdefault(was, {})
                    becomes[now] = becomes.get(now, 0) + 1

    def flush(self, names: Sequence[str]) -> None:
        """Write down the counts of cells."""
        for number, name in enumerate(names):
            if name in NO_THING or not self._counts[0, number]:
                continue
            for book in self._books:
                book.thing(name).cells += int(self._counts[0, number])
                book.thing(name).changed += int(self._counts[1, number])
        self._counts[:] = 0

    def success(self, intent: str, situation: dict[str, int], front: str, change: Change) -> None:
        """Note an attempt that did something."""
        for book in self._books:
            book.intent(intent).success(situation, front, change)

    def failure(self, intent: str, situation: dict[str, int], front: str) -> None:
        """Note an attempt that did nothing."""
        for book in self._books:
            book.intent(intent).failure(situation, front)

    def entering(self, thing: str, moved: bool, killed: bool) -> None:
        """Note a move towards a thing."""
        for book in self._books:
            known = book.thing(thing)
            known.enter += 1
            known.entered += moved
            known.killed += killed

    def beside(self, things: Iterable[str], hurt: bool) -> None:
        """Note a step next to creatures, and whether it hurt."""
        for name in things:
            for book in self._books:
                book.thing(name).near += 1
                book.thing(name).hurt += hurt

    def rest(self, counts: Mapping[str, int]) -> None:
        """Add to what is known of rest."""
        for book in self._books:
            for name, n in counts.items():
                book.rest[name] = book.rest.get(name, 0) + n

    def close(
        self, steps: int, events: Iterable[str], around: Mapping[str, Mapping[str, int]]
    ) -> Knowledge:
        """Return what the episode taught, with what only the whole of it shows.

        `around` says for each thing how often each other stands by it.
        """
        found = self.found
        found.episodes = 1
        found.steps = steps
        found.events = dict.fromkeys(sorted(events), 1)
        found.beside = {
            name: {other: n for other, n in counts.items() if other not in NO_THING}
            for name, counts in around.items()
            if name not in NO_THING
        }
        return found
