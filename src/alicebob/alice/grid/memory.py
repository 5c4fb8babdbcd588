"""Memory: what Alice has learned by acting, and nothing that she was told.

For each intent what is known of it (see `affordance`); for each thing, whether it can be entered,
whether it moves, and whether being next to it hurt. Invariant: merging is order-independent but for
the cap on an intent's remembered failures, and the JSON of equal knowledge is equal bytes. Does
not: decide what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.alice import storage
from alicebob.alice.grid.affordance import Affordance
from alicebob.alice.grid.features import add, ordered

__all__ = ["Knowledge", "Thing"]

MOVER = 0.04  # share of sightings after which a thing is gone, from which it counts as a creature


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
    slept and those in which she was hurt, "open" and "closed" on all sides. `vitals` are what an
    episode begins with where nothing is granted, and how much of it.
    """

    episodes: int = 0
    steps: int = 0
    things: dict[str, Thing] = field(default_factory=dict)
    intents: dict[str, Affordance] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    beside: dict[str, dict[str, int]] = field(default_factory=dict)
    becomes: dict[str, dict[str, int]] = field(default_factory=dict)
    rest: dict[str, int] = field(default_factory=dict)
    vitals: dict[str, int] = field(default_factory=dict)

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
        add(self.events, other.events)
        add(self.rest, other.rest)
        for mine, more in ((self.beside, other.beside), (self.becomes, other.becomes)):
            for name, counts in more.items():
                add(mine.setdefault(name, {}), counts)
        for name, amount in other.vitals.items():
            self.vitals[name] = max(amount, self.vitals.get(name, 0))

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
            "events": ordered(self.events),
            "beside": {name: ordered(counts) for name, counts in sorted(self.beside.items())},
            "becomes": {name: ordered(counts) for name, counts in sorted(self.becomes.items())},
            "rest": ordered(self.rest),
            "vitals": ordered(self.vitals),
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
        storage.save(path, self)

    @classmethod
    def load(cls, path: Path) -> Knowledge:
        """Read knowledge from a file; raises DamagedData, with its path, for anything else."""
        return storage.load(path, cls.from_json, "Alice's knowledge")
