"""The game under text Crafter: upstream's rules, reproducible, and quick enough to explore with.

Invariant: the same seed and actions give upstream's own worlds and draws, given upstream's classes
with ordered chunks and no picture (`tests/test_crafter.py` compares them). Distances are computed
without arrays. Does not: change a rule, or describe anything.
"""

from __future__ import annotations

import collections
import functools
from typing import Any

import crafter
import numpy as np
from crafter import constants, engine, objects
from numpy.typing import NDArray

from alicebob.envs.crafter.terrain import AREA, IDS, fill

__all__ = ["Cow", "Game", "Player", "Skeleton", "Zombie"]

CHUNK, UPDATED = (12, 12), 18  # cells; things farther than 18 from the player rest

engine.Textures = functools.cache(engine.Textures)  # pictures are read once, not for every game


class _OrderedSet(dict[Any, None]):
    """A set that iterates in the order of insertion, for reproducible draws."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


class _World(engine.World):  # type: ignore[misc]
    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._chunks: collections.defaultdict[Any, _OrderedSet] = collections.defaultdict(
            _OrderedSet
        )


class _Near:
    """Distances in plain numbers: upstream's arrays of two take most of a step."""

    pos: Any
    world: Any
    walkable: Any

    def distance(self, target: Any) -> int:
        """Return the Manhattan distance in cells to a place or a thing."""
        (x, y), (u, v) = getattr(target, "pos", target), self.pos
        return int(abs(x - u) + abs(y - v))

    def is_free(self, target: Any, materials: Any = None) -> bool:
        """Return whether a place has nothing on it and ground of these materials."""
        x, y = int(target[0]), int(target[1])
        if not (0 <= x < AREA[0] and 0 <= y < AREA[1]):
            return False
        ground = self.world._mat_names[self.world._mat_map[x, y]]
        return not self.world._obj_map[x, y] and ground in (materials or self.walkable)

    def move(self, direction: Any) -> bool:
        """Step onto the next cell where it is free; return whether it was."""
        target = (int(self.pos[0]) + int(direction[0]), int(self.pos[1]) + int(direction[1]))
        free = self.is_free(target)
        if free:
            self.world.move(self, target)
        return free


class Player(_Near, objects.Player):  # type: ignore[misc]
    """Upstream's player."""


class Cow(_Near, objects.Cow):  # type: ignore[misc]
    """Upstream's cow."""


class Zombie(_Near, objects.Zombie):  # type: ignore[misc]
    """Upstream's zombie."""


class Skeleton(_Near, objects.Skeleton):  # type: ignore[misc]
    """Upstream's skeleton."""


def _no_view() -> None:
    """Stand in for the map of the whole world: no text needs it."""


class Game(crafter.Env):  # type: ignore[misc]
    """The game with an ordered world, a seed per episode and no picture."""

    def __init__(self, length: int) -> None:
        super().__init__(area=AREA, length=length, seed=0)
        self._world = _World(AREA, constants.materials, CHUNK)
        self._local_view._world = self._world
        self._sem_view = _no_view

    def start(self, seed: int) -> None:
        """Make the world that upstream makes for its first episode of this seed."""
        self._seed, self._episode = seed, 0
        self.reset()

    def reset(self) -> None:
        """Begin the next episode, as upstream does, with the whole map's noise at once."""
        self._episode += 1
        self._step = 0
        self._world.reset(seed=hash((self._seed, self._episode)) % (2**31 - 1))
        self._update_time()
        self._player = Player(self._world, (AREA[0] // 2, AREA[1] // 2))
        self._last_health = self._player.health
        self._world.add(self._player)
        self._unlocked: set[str] = set()
        self._populate()

    def _populate(self) -> None:
        """Fill the new world as `crafter.worldgen.generate_world` does, with the same draws."""
        world, player = self._world, self._player
        place = (int(player.pos[0]), int(player.pos[1]))
        for kind, cell in fill(world._mat_map, place, world.random):
            if kind == "cow":
                world.add(Cow(world, cell))
            else:
                world.add((Zombie if kind == "zombie" else Skeleton)(world, cell, player))

    def step(self, action: int) -> tuple[None, float, bool, dict[str, Any]]:
        """Take a step as upstream does; return (None, reward, done, info)."""
        self._step += 1
        self._update_time()
        player = self._player
        player.action = constants.actions[action]
        begun = len(self._world._objects)  # what appears during this step rests until the next
        player.update()
        for thing in self._around(begun):
            thing.update()
        if self._step % 10 == 0:
            for chunk, things in self._world.chunks.items():
                self._balance_chunk(chunk, things)
        reward = (player.health - self._last_health) / 10
        self._last_health = player.health
        unlocked = {
            name
            for name, count in player.achievements.items()
            if count > 0 and name not in self._unlocked
        }
        if unlocked:
            self._unlocked |= unlocked
            reward += 1.0
        dead = player.health <= 0
        done = dead or self._step >= self._length
        return None, reward, bool(done), {"discount": 1 - float(dead)}

    def picture(self, size: int) -> NDArray[np.uint8]:
        """Return a picture of the state, (size, size, 3), without touching the game.

        It has draws of its own: upstream's takes the game's at night.
        """
        self._size = np.array((max(9, size), max(9, size)))
        kept, self._world.random = self._world.random, np.random.RandomState(0)
        try:
            drawn: NDArray[np.uint8] = self.render()
        finally:
            self._world.random = kept
        return drawn

    def _around(self, begun: int) -> list[Any]:
        """Return the things but the player that are near enough to act, the oldest first."""
        x, y = (int(i) for i in self._player.pos)
        left, top = max(0, x - UPDATED), max(0, y - UPDATED)
        numbers = self._world._obj_map[left : x + UPDATED, top : y + UPDATED]
        dx, dy = np.nonzero(numbers)
        close = np.abs(dx + (left - x)) + np.abs(dy + (top - y)) < UPDATED
        chosen = np.sort(numbers[dx[close], dy[close]]).tolist()
        things = self._world._objects
        return [things[i] for i in chosen if 1 < i < begun]  # 1 is the player

    def _balance_chunk(self, chunk: Any, things: Any) -> None:
        """Balance creatures as upstream does, with the quicker classes."""
        light = self._world.daylight
        world, player = self._world, self._player
        self._balance_object(
            chunk, things, Zombie, "grass", 6, 0, 0.3, 0.4,
            lambda pos: Zombie(world, pos, player),
            lambda _, space: (0 if space < 50 else 3.5 - 3 * light, 3.5 - 3 * light),
        )  # fmt: skip
        self._balance_object(
            chunk, things, Skeleton, "path", 7, 7, 0.1, 0.1,
            lambda pos: Skeleton(world, pos, player),
            lambda _, space: (0 if space < 6 else 1, 2),
        )  # fmt: skip
        self._balance_object(
            chunk, things, Cow, "grass", 5, 5, 0.01, 0.1,
            lambda pos: Cow(world, pos),
            lambda _, space: (0 if space < 30 else 1, 1.5 + light),
        )  # fmt: skip

    def _balance_object(
        self,
        chunk: tuple[int, int, int, int],
        things: Any,
        kind: type,
        ground: str,
        span: int,
        despan: int,
        spawn: float,
        despawn: float,
        make: Any,
        aim: Any,
    ) -> None:
        """Add or remove one creature as upstream does; ground is listed only where one is added."""
        x0, x1, y0, y1 = chunk
        world, draw = self._world, self._world.random
        creatures = [thing for thing in things if isinstance(thing, kind)]
        fitting = world._mat_map[x0:x1, y0:y1] == IDS[ground]
        fewest, most = aim(len(creatures), np.count_nonzero(fitting))
        if len(creatures) < int(fewest) and draw.uniform() < spawn:
            xs, ys = np.nonzero(fitting)
            chosen = draw.randint(0, len(xs))
            place = np.array((xs[chosen] + x0, ys[chosen] + y0))
            if world[place][1] is None and self._player.distance(place) >= span:
                world.add(make(place))
        elif len(creatures) > int(most) and draw.uniform() < despawn:
            creature = creatures[draw.randint(0, len(creatures))]
            if self._player.distance(creature.pos) >= despan:
                world.remove(creature)
