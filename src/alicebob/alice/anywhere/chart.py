"""Chart: the archive as it holds for one world, with what an episode adds to it.

Worlds of different seeds may differ in everything or be all the same; whether what was learnt in
one holds in another is itself learnt, from what was tried in several. Invariant: charts of equal
memories are equal, down to the order of what is searched. Does not: choose where to go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from alicebob.alice.anywhere.memory import Deed, Memory, Place, Play, Way
from alicebob.alice.anywhere.situation import kind

__all__ = ["END", "Atlas", "Chart", "Spot", "Step"]

END = ""  # where an action leads that ends the episode
SHARED = 5  # actions tried in several worlds from which these can be taken for alike
AGREED = 0.9  # and the share of them that must have led to the same

Step = tuple[str, str]  # an action, and the situation in which it is due


@dataclass(slots=True)
class Spot:
    """A situation in one world: how often each action was tried, where it leads, what it brought.

    `gain` says that something was reported on the way here.
    """

    choices: int = 0
    turns: int = 0
    tried: dict[str, int] = field(default_factory=dict)
    leads: dict[str, str] = field(default_factory=dict)
    news: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gain: bool = False

    @property
    def open(self) -> int:
        """How many actions were not tried."""
        return max(0, self.choices - len(self.tried))

    def copy(self) -> Spot:
        """Return a copy that can be added to."""
        return Spot(
            self.choices,
            self.turns,
            dict(self.tried),
            dict(self.leads),
            dict(self.news),
            self.gain,
        )


class Chart:
    """The spots of one world; what an episode adds is its own."""

    def __init__(
        self, known: Mapping[str, Spot], ways: Mapping[str, Way], plays: Mapping[str, Play]
    ) -> None:
        self.ways = ways  # from the reset to a spot, or to something reported
        self._known, self._plays = known, plays
        self._own: dict[str, Spot] = {}
        self._came: dict[str, tuple[str, str]] = {}  # in the last search: from where, by what

    def at(self, key: str) -> Spot | None:
        """Return a spot, None where nobody was."""
        return self._own.get(key) or self._known.get(key)

    def arrive(self, key: str, choices: int) -> None:
        """Take note of being somewhere."""
        if self.at(key) is None:
            self._own[key] = Spot(choices)

    def link(self, key: str, action: str, to: str, news: tuple[str, ...]) -> None:
        """Take note of what an action led to and brought."""
        spot = self._mine(key)
        spot.turns += 1
        spot.tried[action] = spot.tried.get(action, 0) + 1
        spot.leads[action] = to
        if news:
            spot.news[action] = news
            self._mine(to).gain = True
        else:
            spot.news.pop(action, None)

    def _mine(self, key: str) -> Spot:
        if key not in self._own:
            self._own[key] = self._known[key].copy()
        return self._own[key]

    def nearest(self, start: str, most: int) -> Iterator[tuple[str, Spot, int]]:
        """Yield up to `most` known spots with the steps to them, the nearest first, itself too."""
        self._came = {start: ("", "")}
        queue = deque([(start, 0)])
        for _ in range(most):
            if not queue:
                return
            key, steps = queue.popleft()
            spot = self.at(key)
            if spot is None:
                continue
            yield key, spot, steps
            for action, to in spot.leads.items():
                if to not in self._came and to != END:
                    self._came[to] = (key, action)
                    queue.append((to, steps + 1))

    def recorded(self, name: str) -> list[Step]:
        """Return one of `ways` as it was first gone from the reset."""
        length, play = self.ways[name]
        actions, keys = self._plays[play].actions[:length], self._plays[play].keys
        return list(zip(actions, keys, strict=False))

    def way(self, key: str) -> list[Step]:
        """Return the way to a spot that the last search came by, [] to any other."""
        steps: list[Step] = []
        while (came := self._came.get(key, ("", "")))[0]:
            steps.append((came[1], came[0]))
            key = came[0]
        return steps[::-1]


class Atlas:
    """The charts of a memory, one for each world, or one for all where they are alike."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.alike = _alike(memory)
        #: Kinds of action whose changes last, where nothing is reported.
        self.lasting = frozenset() if memory.reported else frozenset(memory.known())
        self._drawn: dict[tuple[str, str], tuple[dict[str, Spot], dict[str, Way]]] = {}

    def chart(self, world: str, root: str) -> Chart:
        """Return a chart of a world that begins with the situation `root`."""
        name = ("", root) if self.alike else (world, root)
        if name not in self._drawn:
            self._drawn[name] = self._spots(name[0]), self._ways(*name)
        return Chart(*self._drawn[name], self._memory.plays)

    def _spots(self, world: str) -> dict[str, Spot]:
        places = sorted(self._memory.places.items())
        found = {key: self._spot(key, place, world) for key, place in places}
        spots = {key: spot for key, spot in found.items() if spot is not None}
        for spot in list(spots.values()):
            for action in spot.news:
                if spot.leads[action] in spots and not self.lasting:
                    spots[spot.leads[action]].gain = True
        return spots

    def _spot(self, key: str, place: Place, world: str) -> Spot | None:
        """Return what holds of a situation in a world, None where it was not met there."""
        spot = Spot(place.choices)
        met = not world
        for action, deed in sorted(place.deeds.items()):
            to, times = self._outcome(deed, world)
            met = met or any(world in worlds for worlds in deed.led.values())
            if times:
                spot.tried[action], spot.leads[action] = times, to
                spot.turns += times
            if times and deed.brought:
                spot.news[action] = tuple(sorted(deed.brought))
            elif times and to != key and kind(action) in self.lasting:
                spot.news[action] = (kind(action),)
        return spot if met else None

    def _ways(self, world: str, root: str) -> dict[str, Way]:
        """Return the ways that can be gone from this reset, by situation and by what they bring."""
        named = [(key, place.way) for key, place in sorted(self._memory.places.items())]
        for name, by in sorted(self._memory.ways.items()):
            named += [(name, way) for way in sorted(by.values(), reverse=True)]  # the best last
        return {name: way for name, way in named if self._holds(way, world, root)}

    def _holds(self, way: Way, world: str, root: str) -> bool:
        play = self._memory.plays.get(way[1])
        if play is None or play.keys[:1] != (root,):
            return False
        return not world or play.world == world

    def _outcome(self, deed: Deed, world: str) -> tuple[str, int]:
        """Return where an action leads in a world, in any for "", and how often it was tried.

        What ended the longest episodes may have been a limit on their turns, and not the action.
        """
        counts: dict[str, int] = {}
        for to, worlds in deed.led.items():
            times = worlds.get(world, 0) if world else sum(worlds.values())
            if to.startswith("@"):
                if int(to[1:]) >= self._memory.longest and not deed.brought:
                    continue
                to = END
            if times:
                counts[to] = counts.get(to, 0) + times
        if not counts:
            return END, 0
        return min(counts, key=lambda to: (-counts[to], to)), sum(counts.values())


def _alike(memory: Memory) -> bool:
    """Say whether what was tried in several worlds led to the same in all of them."""
    shared = agreed = 0
    for place in memory.places.values():
        for deed in place.deeds.values():
            by_world: dict[str, set[str]] = {}
            for to, worlds in deed.led.items():
                for world in worlds:
                    by_world.setdefault(world, set()).add(to[:1] if to.startswith("@") else to)
            if len(by_world) > 1:
                shared += 1
                agreed += bool(set.intersection(*by_world.values()))
    return shared >= SHARED and agreed >= AGREED * shared
