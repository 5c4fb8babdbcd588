"""Places: how many requests are under way at once, which follows from how soon they are answered.

A server that computes one after the other takes n times as long for n, and what a client gives up
it computes all the same: more of them then end nothing. So it begins with one; an answer within a
third of the timeout makes room for one more where somebody waits, one that takes two thirds halves
the room, and so does none in time. Invariants: what was given up keeps its place for as long again,
or until one that was sent later is answered, for it may still be computed; who came first goes
first, so that begun episodes end before others begin. Does not: send anything.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from alicebob.policies.wire import Lost
from alicebob.progress import tell

__all__ = ["LONGER", "Places"]

#: What helps, in messages.
LONGER = "--timeout, ALICEBOB_ALICE_TIMEOUT or ALICEBOB_BOB_TIMEOUT may be longer"


class Places:
    """Room for `most` requests at once, fewer where answers near the timeout of `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._room, self._fell = 1, -math.inf  # and when it last became less
        self._live = 0
        self._given_up: list[float] = []  # when
        self._ranks: dict[int, int] = {}  # of threads, in the order in which they came
        self._waiting: list[int] = []  # a heap of ranks
        self._open = self._said = False
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """How many requests could be sent now."""
        until = monotonic() - self._seconds
        self._given_up = [when for when in self._given_up if when > until]
        return self._room - self._live - len(self._given_up)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a place and hold it; what leaves with an error other than `Lost` was no answer.

        It may be left as soon as the place is had, where nothing should be sent any more.
        """
        self._enter()
        sent = monotonic()
        try:
            yield
            self._answered(sent)
        except Lost as trouble:
            if trouble.late:
                self._late(sent)
            raise
        finally:
            with self._changed:
                self._live -= 1
                self._changed.notify_all()

    def open(self) -> None:
        """Let everybody through, one after the other, because nothing more will be sent."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def _enter(self) -> None:
        with self._changed:
            mine = self._ranks.setdefault(threading.get_ident(), len(self._ranks))
            heapq.heappush(self._waiting, mine)
            while self._waiting[0] != mine or not (self._open or self.free > 0):
                self._changed.wait(self._seconds / 20 if self._given_up else None)
            heapq.heappop(self._waiting)
            self._live += 1
            self._changed.notify_all()  # there may be room for the next one too

    def _answered(self, sent: float) -> None:
        took = monotonic() - sent
        with self._changed:
            self._given_up = [when for when in self._given_up if when > sent]
            if took < self._seconds / 3:
                self._room = min(self._most, self._room + bool(self._waiting))
                return
            if self._waiting and not self._said:
                self._said = True
                tell(
                    f"An answer took {took:.3g} s with {self._live} at once: no more are asked for "
                    f"while that is over a third of the timeout, {self._seconds:g} s ({LONGER})."
                )
            if took > self._seconds * 2 / 3:
                self._fall(sent)

    def _late(self, sent: float) -> None:
        with self._changed:
            self._given_up.append(monotonic())
            self._fall(sent)

    def _fall(self, sent: float) -> None:
        """Halve the room, once for all that were under way together."""
        if sent >= self._fell:
            self._room, self._fell = max(1, self._room // 2), monotonic()
