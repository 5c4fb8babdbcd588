"""Affordance: what is known of one intent, a thing to use or an action to take.

The situations in which it worked and failed, and what came of it. Having more is taken never to
hurt, so one failure rules out every poorer situation, and the poorest success is what is needed.
Invariant: merging is order-independent but for the cap on remembered failures. Does not: know what
it is an intent of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alicebob.alice.grid.features import LOW, Features, add, meet, ordered, within

__all__ = ["Affordance", "Change"]

MOST_FAILURES = 24  # remembered per intent, the richest first


@dataclass(frozen=True, slots=True)
class Change:
    """What an attempt changed."""

    presses: int = 1
    uses: Features = field(default_factory=dict)
    gains: Features = field(default_factory=dict)
    events: Features = field(default_factory=dict)
    made: str = ""


@dataclass(slots=True)
class Affordance:
    """What is known of one intent.

    `need` is the meet of all situations in which it worked, `uses` what every success took away,
    `gains` what successes gave in total (items and vitals), `makes` what the faced cell became,
    `fronts` for each faced thing how often it worked and failed with all needs there, and `failed`
    the richest situations in which it failed, each with the things then faced.
    """

    tried: int = 0
    worked: int = 0
    presses: int = 0
    need: Features | None = None
    uses: Features | None = None
    gains: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)
    fronts: dict[str, list[int]] = field(default_factory=dict)
    failed: list[tuple[Features, list[str]]] = field(default_factory=list)
    _required: Features | None = field(default=None, compare=False)  # kept until more is learned

    def familiar(self, situation: Features, front: str) -> bool:
        """Say whether all that is in a situation, two by two, was there in some failure."""
        most: dict[str, int] = {}
        for rich, _ in self.failed:
            for name, n in rich.items():
                most[name] = max(n, most.get(name, 0))
        if any(n > most.get(name, 0) for name, n in situation.items()):
            return False
        facing = [rich for rich, faced in self.failed if front in faced]
        kinds = sorted(situation)
        return bool(facing) and all(
            any(one in rich for rich in facing)
            and all(any(one in rich and two in rich for rich, _ in self.failed) for two in kinds)
            for one in kinds
        )

    @property
    def effort(self) -> float:
        """The mean number of presses for a success, failures with all needs there counted."""
        failed = sum(failed for _, failed in self.fronts.values())
        return (self.presses + 4.0 * failed) / max(1, self.worked)

    def required(self) -> Features:
        """Return what a success is thought to need: what it uses up, and what explains failures.

        Of all that every success had, the fewest are taken that each failure lacked one of. That a
        vital is low is a need of what mends it, and chance elsewhere.
        """
        if self._required is None:
            self._required = self._explain()
        return self._required

    def _explain(self) -> Features:
        needs = dict(self.uses or {})
        needs |= {
            name: 1
            for name in self.need or {}
            if name.startswith(LOW) and self.gains.get(name[len(LOW) :])
        }
        options = sorted(n for n in self.need or {} if n not in needs and not n.startswith(LOW))
        open_ = [
            rich
            for rich, fronts in self.failed
            if within({n: a for n, a in needs.items() if not n.startswith(LOW)}, rich)
            and any(self.suits(front) for front in fronts)
        ]
        while open_ and options:
            lacking = {name: sum(name not in rich for rich in open_) for name in options}
            best = min(options, key=lambda name: (-lacking[name], name))
            if not lacking[best]:
                break
            needs[best] = 1
            options.remove(best)
            open_ = [rich for rich in open_ if best in rich]
        return needs

    def gain(self, name: str) -> float:
        """Return the mean gain of an item or vital in a success."""
        return self.gains.get(name, 0) / self.worked if self.worked else 0.0

    def suits(self, front: str) -> bool:
        """Say whether facing a thing is no hindrance: it worked so, or changes nothing there."""
        worked, failed = self.fronts.get(front, [0, 0])
        return not self.makes or (worked > 0 and worked * 4 >= failed)

    def hopeless(self, situation: Features, front: str = "") -> bool:
        """Say whether a situation is known to be too poor: facing the same, or three others.

        Where it is not said what is faced, one failure is enough.
        """
        fronts: set[str] = set()
        for rich, faced in self.failed:
            if within(situation, rich):
                fronts.update(faced)
        return front in fronts or len(fronts) >= (3 if front else 1)

    def success(self, situation: Features, front: str, change: Change) -> None:
        """Take note of an attempt that did something."""
        self._required = None
        self.tried += 1
        self.worked += 1
        self.presses += change.presses
        self.need = meet(self.need, situation)
        self.uses = meet(self.uses, change.uses)
        add(self.gains, change.gains)
        add(self.events, change.events)
        if change.made:
            add(self.makes, {change.made: 1})
        self.fronts.setdefault(front, [0, 0])[0] += 1
        self.failed = [f for f in self.failed if not within(situation, f[0])]

    def failure(self, situation: Features, front: str) -> None:
        """Take note of an attempt that did nothing."""
        self.tried += 1
        self._required = None
        uses = self.uses or {}
        if self.need is not None and all(
            situation.get(name, 0) >= uses.get(name, 1)
            for name in self.need
            if not name.startswith(LOW)
        ):
            self.fronts.setdefault(front, [0, 0])[1] += 1
        else:
            self._fail(situation, [front])

    def _fail(self, situation: Features, fronts: list[str]) -> None:
        kept = []
        for rich, faced in self.failed:
            if rich == situation or (within(situation, rich) and set(fronts) <= set(faced)):
                kept.append((rich, sorted({*faced, *fronts})))
                fronts = []
            elif not (within(rich, situation) and set(faced) <= set(fronts)):
                kept.append((rich, faced))
        if fronts:
            kept.append((dict(sorted(situation.items())), sorted(fronts)))
        kept.sort(key=lambda f: (-len(f[0]), -sum(f[0].values()), sorted(f[0].items())))
        self.failed = kept[:MOST_FAILURES]

    def merge(self, other: Affordance) -> None:
        """Add what another has seen."""
        self._required = None
        self.tried += other.tried
        self.worked += other.worked
        self.presses += other.presses
        self.need = meet(self.need, other.need)
        self.uses = meet(self.uses, other.uses)
        for mine, more in (
            (self.gains, other.gains),
            (self.events, other.events),
            (self.makes, other.makes),
        ):
            add(mine, more)
        for front, (worked, failed) in other.fronts.items():
            mine_here = self.fronts.setdefault(front, [0, 0])
            mine_here[0] += worked
            mine_here[1] += failed
        for situation, fronts in other.failed:
            if self.need is None or not within(self.need, situation):
                self._fail(situation, list(fronts))
        if self.need is not None:
            self.failed = [f for f in self.failed if not within(self.need or {}, f[0])]

    def to_json(self) -> dict[str, Any]:
        """Return plain data with sorted names."""
        return {
            "tried": self.tried,
            "worked": self.worked,
            "presses": self.presses,
            "need": None if self.need is None else ordered(self.need),
            "uses": None if self.uses is None else ordered(self.uses),
            "gains": ordered(self.gains),
            "events": ordered(self.events),
            "makes": ordered(self.makes),
            "fronts": ordered(self.fronts),
            "failed": [[ordered(situation), fronts] for situation, fronts in self.failed],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Affordance:
        """Rebuild an affordance; raises KeyError or TypeError on data of another shape."""
        return cls(**{**data, "failed": [(dict(s), list(f)) for s, f in data["failed"]]})
