"""Knowledge: what Alice has learned by acting, and nothing that she was told.

For each intent (a thing to use, an action to take) it keeps the situations in which it worked and
failed and what came of it; for each thing, whether it can be entered, whether it moves, and whether
being next to it hurt. A situation is a bag of features: items held with their number, and
`near:<thing>` for what stands within one cell, `low:<vital>`. Having more is taken never to hurt,
so one failure rules out every poorer situation, and the poorest success is what is needed.

Invariant: merging is order-independent but for the cap on remembered failures, and the JSON of
equal knowledge is equal bytes. Does not: decide what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData

__all__ = ["LOW", "NEAR", "Affordance", "Change", "Knowledge", "Thing"]

Features = dict[str, int]
NEAR = "near:"  # feature: stands within one cell
LOW = "low:"  # feature: a vital below what the episode began with
MOST_FAILURES = 24  # remembered per intent, the richest first
MOVER = 0.04  # share of sightings after which a thing is gone, from which it counts as a creature


def _meet(left: Features | None, right: Features | None) -> Features | None:
    """Return the poorest situation that both are at least as rich as; None is "no case yet"."""
    if left is None or right is None:
        return dict(right) if left is None and right is not None else left
    return {name: min(n, right[name]) for name, n in left.items() if name in right}


def _within(poor: Mapping[str, int], rich: Mapping[str, int]) -> bool:
    """Say whether every feature of the poorer situation is there in the richer."""
    return all(rich.get(name, 0) >= n for name, n in poor.items())


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


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
            if _within({n: a for n, a in needs.items() if not n.startswith(LOW)}, rich)
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
            if _within(situation, rich):
                fronts.update(faced)
        return front in fronts or len(fronts) >= (3 if front else 1)

    def success(self, situation: Features, front: str, change: Change) -> None:
        """Take note of an attempt that did something."""
        self._required = None
        self.tried += 1
        self.worked += 1
        self.presses += change.presses
        self.need = _meet(self.need, situation)
        self.uses = _meet(self.uses, change.uses)
        _add(self.gains, change.gains)
        _add(self.events, change.events)
        if change.made:
            _add(self.makes, {change.made: 1})
        self.fronts.setdefault(front, [0, 0])[0] += 1
        self.failed = [f for f in self.failed if not _within(situation, f[0])]

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
            if rich == situation or (_within(situation, rich) and set(fronts) <= set(faced)):
                kept.append((rich, sorted({*faced, *fronts})))
                fronts = []
            elif not (_within(rich, situation) and set(faced) <= set(fronts)):
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
        self.need = _meet(self.need, other.need)
        self.uses = _meet(self.uses, other.uses)
        for mine, more in (
            (self.gains, other.gains),
            (self.events, other.events),
            (self.makes, other.makes),
        ):
            _add(mine, more)
        for front, (worked, failed) in other.fronts.items():
            mine_here = self.fronts.setdefault(front, [0, 0])
            mine_here[0] += worked
            mine_here[1] += failed
        for situation, fronts in other.failed:
            if self.need is None or not _within(self.need, situation):
                self._fail(situation, list(fronts))
        if self.need is not None:
            self.failed = [f for f in self.failed if not _within(self.need or {}, f[0])]

    def to_json(self) -> dict[str, Any]:
        """Return plain data with sorted names."""
        return {
            "tried": self.tried,
            "worked": self.worked,
            "presses": self.presses,
            "need": _sorted(self.need),
            "uses": _sorted(self.uses),
            "gains": _sorted(self.gains),
            "events": _sorted(self.events),
            "makes": _sorted(self.makes),
            "fronts": _sorted(self.fronts),
            "failed": [[_sorted(situation), fronts] for situation, fronts in self.failed],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Affordance:
        """Rebuild an affordance; raises KeyError or TypeError on data of another shape."""
        return cls(**{**data, "failed": [(dict(s), list(f)) for s, f in data["failed"]]})


@dataclass(frozen=True, slots=True)
class Change:
    """What an attempt changed."""

    presses: int = 1
    uses: Features = field(default_factory=dict)
    gains: Features = field(default_factory=dict)
    events: Features = field(default_factory=dict)
    made: str = ""


@dataclass(slots=True)
class Thing:
    """What is known of one kind of thing, all in counts.

    `episodes` in which it was seen; `cells` seen, step by step, and how many of them had `changed`
    a step later without Alice's doing; times Alice tried to `enter` it, did (`entered`), and was
    dead after it (`killed`); steps next to it (`near`) and those in which she was hurt (`hurt`).
    """

    episodes: int = 0
    cells: int = 0
    changed: int = 0
    enter: int = 0
    entered: int = 0
    killed: int = 0
    near: int = 0
    hurt: int = 0

    @property
    def moves(self) -> bool:
        """True for a creature: something that does not stay where it is."""
        return self.changed >= 2 and self.changed > MOVER * self.cells

    @property
    def deadly(self) -> bool:
        """True where entering it was the end."""
        return self.killed > 0 and self.killed > 0.2 * self.entered

    @property
    def danger(self) -> float:
        """The share of steps next to it in which Alice was hurt."""
        return self.hurt / (self.near + 5.0)

    def merge(self, other: Thing) -> None:
        """Add another's counts."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, int]:
        """Return the counts that are not zero."""
        return {name: n for name in self.__slots__ if (n := getattr(self, name))}


@dataclass(slots=True)
class Knowledge:
    """All that Alice knows; empty before the first round.

    `events` counts the episodes in which each event happened, `beside` what is found within two
    cells of each thing, `becomes` what things turned into by themselves, and `rest` the steps
    slept and those in which she was hurt, "open" and "closed" on all sides.
    """

    episodes: int = 0
    steps: int = 0
    things: dict[str, Thing] = field(default_factory=dict)
    intents: dict[str, Affordance] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    beside: dict[str, dict[str, int]] = field(default_factory=dict)
    becomes: dict[str, dict[str, int]] = field(default_factory=dict)
    rest: dict[str, int] = field(default_factory=dict)

    def thing(self, name: str) -> Thing:
        """Return what is known of a thing, to be added to."""
        if name not in self.things:
            self.things[name] = Thing()
        return self.things[name]

    def intent(self, name: str) -> Affordance:
        """Return what is known of an intent, to be added to."""
        if name not in self.intents:
            self.intents[name] = Affordance()
        return self.intents[name]

    def makers(self, event: str) -> list[str]:
        """Return the intents that have led to an event, the most frequent first."""
        found = [(a.events[event], name) for name, a in self.intents.items() if event in a.events]
        return [name for _, name in sorted(found, key=lambda pair: (-pair[0], pair[1]))]

    def merge(self, other: Knowledge) -> None:
        """Add what another has learned, e.g. in one episode."""
        self.episodes += other.episodes
        self.steps += other.steps
        for name, thing in other.things.items():
            self.thing(name).merge(thing)
        for name, affordance in other.intents.items():
            self.intent(name).merge(affordance)
        _add(self.events, other.events)
        _add(self.rest, other.rest)
        for mine, more in ((self.beside, other.beside), (self.becomes, other.becomes)):
            for name, counts in more.items():
                _add(mine.setdefault(name, {}), counts)

    def copy(self) -> Knowledge:
        """Return a copy that can be added to without touching this one."""
        return Knowledge.from_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return plain data; equal knowledge gives equal data in equal order."""
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "things": {name: thing.to_json() for name, thing in sorted(self.things.items())},
            "intents": {name: a.to_json() for name, a in sorted(self.intents.items())},
            "events": _sorted(self.events),
            "beside": {name: _sorted(counts) for name, counts in sorted(self.beside.items())},
            "becomes": {name: _sorted(counts) for name, counts in sorted(self.becomes.items())},
            "rest": _sorted(self.rest),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Knowledge:
        """Rebuild knowledge; raises KeyError, TypeError or ValueError on another shape."""
        data = dict(json.loads(json.dumps(data)))  # shares nothing with what it was made from
        data["things"] = {name: Thing(**counts) for name, counts in data["things"].items()}
        data["intents"] = {name: Affordance.from_json(a) for name, a in data["intents"].items()}
        return cls(**data)

    def save(self, path: Path) -> None:
        """Write the knowledge to a file."""
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Knowledge:
        """Read knowledge from a file; raises DamagedData, with its path, for anything else."""
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedData(
                f"{path} does not hold Alice's knowledge ({type(error).__name__}: {error}). "
                "Restore it with 'dvc checkout', or delete it and run 'dvc repro'."
            ) from error


def _sorted(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else dict(sorted(values.items()))
