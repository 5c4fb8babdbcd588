"""Memory: an archive of situations, in the manner of Go-Explore (arXiv 1901.10995), without rules.

Of each situation it holds what was tried there, what that led to in which world, what was reported,
and the shortest known way there from a reset; over all worlds, how often each kind of action was
taken and what came of it, so that novelty is kept in the long run. Invariant: merging adds counts
and takes shortest ways, so that its order does not matter; the JSON of equal memories is equal.
What is written is bounded: KEPT situations stay, those where something was reported, then those
nearest to a reset. Does not: decide what to do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.alice import storage
from alicebob.alice.anywhere.situation import kind

__all__ = ["Deed", "Memory", "Place", "Play", "Way"]

KEPT = 2_000  # situations that are written
DEEDS = 100  # actions that are written of a situation
NAMES = 500  # names of events, and of what was reported
KINDS = 5_000  # kinds of action
WORLDS = 8  # worlds that are told apart for what an action led to; the others count together
UNDONE = 0.25  # share of a kind's changes that one action undoes, from which it only moves
SHOWS = 3  # kinds of action from which what undoes them moves or shows

Way = tuple[int, str]  # the first so many actions of a play


@dataclass(slots=True)
class Deed:
    """An action in a situation: how often it led where, by world, and what was reported of it.

    It leads to the key of a situation, or to "@" and the number of turns after which the episode
    then ended of itself.
    """

    led: dict[str, dict[str, int]] = field(default_factory=dict)
    brought: dict[str, int] = field(default_factory=dict)

    @property
    def times(self) -> int:
        """How often it was seen what it led to."""
        return sum(count for worlds in self.led.values() for count in worlds.values())


@dataclass(slots=True)
class Place:
    """A situation: how many actions there are, the shortest way there, what was tried."""

    choices: int
    way: Way
    deeds: dict[str, Deed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Play:
    """What an episode did: its world, its actions, and the situation in which it took each."""

    world: str
    actions: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(slots=True)
class Memory:
    """What exploring has taught.

    `events` counts the episodes in which each event happened; for episodes without events `gains`
    counts those in which a kind of action was rewarded, and without rewards too `changes` those in
    which it changed the text. `kinds` has for each kind of action how often it was taken, changed
    the situation, and ended the episode with nothing to show for it; `makers` which kinds brought
    each thing about, `ways` the shortest way to it in each world; `longest` is the number of turns
    of the longest episode.
    """

    episodes: int = 0
    longest: int = 0
    events: dict[str, int] = field(default_factory=dict)
    gains: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    makers: dict[str, dict[str, int]] = field(default_factory=dict)
    ways: dict[str, dict[str, Way]] = field(default_factory=dict)
    plays: dict[str, Play] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    def known(self) -> dict[str, int]:
        """Return what she can bring about, with the number of episodes: reports, else changes."""
        if self.reported:
            return dict(self.reported)
        moving = self.moves()
        return {name: count for name, count in self.changes.items() if name not in moving}

    @property
    def reported(self) -> dict[str, int]:
        """What environments reported: events or, where there never was one, gains."""
        return self.events or self.gains

    def moves(self) -> frozenset[str]:
        """Return the kinds of action that are no more than moves: one action undoes them.

        That one does can be seen only where it was tried: what was not tried counts in proportion.
        What undoes many kinds moves too, or shows again what stood there, and what never led to
        another situation only shows. Where all kinds are such, none are said to be moves.
        """
        undone: dict[str, float] = defaultdict(float)
        tried: dict[str, float] = defaultdict(float)
        undoes: dict[str, set[str]] = defaultdict(set)
        for key, action, then in self._steps():
            name, back = kind(action), [a for a, deed in then.deeds.items() if key in deed.led]
            tried[name] += len(then.deeds) / max(1, then.choices)
            undone[name] += not all(self._stays(key, other) for other in back)
            for other in back:
                undoes[kind(other)].add(name)
        found = {name for name, count in tried.items() if undone[name] > UNDONE * count}
        found |= {name for name, others in undoes.items() if len(others) >= SHOWS}
        found |= {name for name, (_, moved, ended) in self.kinds.items() if not (moved or ended)}
        return frozenset(found) if len(found) < len(self.kinds) else frozenset()

    def _steps(self) -> Iterator[tuple[str, str, Place]]:
        """Yield what led from one situation to another: the first, the action, and the other."""
        for key, place in self.places.items():
            for action, deed in place.deeds.items():
                for to in deed.led:
                    if to != key and to in self.places:
                        yield key, action, self.places[to]

    def _stays(self, key: str, action: str) -> bool:
        """Say whether an action in a situation is known to stay there, as looking around does."""
        deed = self.places[key].deeds.get(action)
        return deed is not None and key in deed.led

    def copy(self) -> Memory:
        """Return an independent copy."""
        mine = Memory()
        mine.merge(self)
        return mine

    def merge(self, other: Memory) -> None:
        """Add what another has learned."""
        self.episodes += other.episodes
        self.longest = max(self.longest, other.longest)
        _add(self.events, other.events)
        _add(self.gains, other.gains)
        _add(self.changes, other.changes)
        for name, counts in other.kinds.items():
            taken, changed, ended = self.kinds.get(name, (0, 0, 0))
            self.kinds[name] = taken + counts[0], changed + counts[1], ended + counts[2]
        for name, by in other.makers.items():
            _add(self.makers.setdefault(name, {}), by)
        for name, ways in other.ways.items():
            mine = self.ways.setdefault(name, {})
            mine.update({world: min(mine.get(world, way), way) for world, way in ways.items()})
        for name, play in other.plays.items():
            longest = max(self.plays.get(name, play), play, key=lambda known: len(known.actions))
            self.plays[name] = longest
        for key, place in other.places.items():
            _join(self.places.setdefault(key, Place(place.choices, place.way)), place)

    def to_json(self) -> dict[str, Any]:
        """Return plain data with sorted names, of the bounded size."""
        ways = {
            name: _most(by, WORLDS, lambda world, by=by: (by[world], world))
            for name, by in _most(
                self.ways, NAMES, lambda name: (-self.reported.get(name, 0), name)
            ).items()
        }
        places = _most(self.places, KEPT, lambda key: _worth(key, self.places[key]))
        needed: dict[str, int] = {}
        gone = [way for by in ways.values() for way in by.values()]
        for length, play in [*gone, *(place.way for place in places.values())]:
            needed[play] = max(length, needed.get(play, 0))
        return {
            "episodes": self.episodes,
            "longest": self.longest,
            "events": _most(self.events, NAMES, lambda name: (-self.events[name], name)),
            "gains": _most(self.gains, NAMES, lambda name: (-self.gains[name], name)),
            "changes": _most(self.changes, NAMES, lambda name: (-self.changes[name], name)),
            "kinds": {
                name: list(counts)
                for name, counts in _most(
                    self.kinds, KINDS, lambda name: (-self.kinds[name][0], name)
                ).items()
            },
            "makers": {name: _ordered(self.makers[name]) for name in ways if name in self.makers},
            "ways": {n: {w: list(way) for w, way in by.items()} for n, by in ways.items()},
            "plays": {
                name: [play.world, list(play.actions[:n]), list(play.keys[:n])]
                for name, play in sorted(self.plays.items())
                if (n := needed.get(name)) is not None
            },
            "places": {
                key: [place.choices, *place.way, _deeds(place)] for key, place in places.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Memory:
        """Rebuild a memory; raises KeyError, TypeError or ValueError on data of another shape."""
        return cls(
            int(data["episodes"]),
            int(data["longest"]),
            dict(data["events"]),
            dict(data["gains"]),
            dict(data["changes"]),
            {name: (int(a), int(b), int(c)) for name, (a, b, c) in data["kinds"].items()},
            {name: dict(by) for name, by in data["makers"].items()},
            {
                name: {world: (int(length), str(play)) for world, (length, play) in by.items()}
                for name, by in data["ways"].items()
            },
            {
                name: Play(str(world), tuple(actions), tuple(keys))
                for name, (world, actions, keys) in data["plays"].items()
            },
            {
                key: Place(
                    int(choices),
                    (int(length), str(play)),
                    {
                        action: Deed({to: dict(w) for to, w in led.items()}, dict(brought))
                        for action, (led, brought) in deeds.items()
                    },
                )
                for key, (choices, length, play, deeds) in data["places"].items()
            },
        )

    def save(self, path: Path) -> None:
        """Write the memory as JSON."""
        storage.save(path, self)

    @classmethod
    def load(cls, path: Path) -> Memory:
        """Read a memory; raises DamagedData, naming the file, for anything else."""
        return storage.load(path, cls.from_json, "what is known of a world")


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


def _join(mine: Place, other: Place) -> None:
    """Add what another knows of the same situation."""
    mine.choices = max(mine.choices, other.choices)
    mine.way = min(mine.way, other.way)
    for action, deed in other.deeds.items():
        known = mine.deeds.setdefault(action, Deed())
        _add(known.brought, deed.brought)
        for to, worlds in deed.led.items():
            _add(known.led.setdefault(to, {}), worlds)


def _most(known: Mapping[str, Any], most: int, rank: Any) -> dict[str, Any]:
    """Return at most so many entries, the first by rank, with sorted names."""
    names: Iterable[str] = known if len(known) <= most else sorted(known, key=rank)[:most]
    return {name: known[name] for name in sorted(names)}


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _worth(key: str, place: Place) -> tuple[bool, int, str]:
    return not any(deed.brought for deed in place.deeds.values()), place.way[0], key


def _deeds(place: Place) -> dict[str, Any]:
    def rank(action: str) -> tuple[bool, int, str]:
        deed = place.deeds[action]
        return not deed.brought, -deed.times, action

    return {
        action: [
            {to: _told_apart(worlds) for to, worlds in sorted(deed.led.items())},
            _ordered(deed.brought),
        ]
        for action, deed in _most(place.deeds, DEEDS, rank).items()
    }


def _told_apart(worlds: Mapping[str, int]) -> dict[str, int]:
    """Return counts by world, those of all but a few together under ""."""
    kept = sorted((w for w in worlds if w), key=lambda world: (-worlds[world], world))[:WORLDS]
    counts: Counter[str] = Counter()
    for world, count in worlds.items():
        counts[world if world in kept else ""] += count
    return _ordered(counts)
