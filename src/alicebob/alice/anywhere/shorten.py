"""Shorten: the shortest part of an episode that still shows something when it is played again.

First loops are cut, where a situation comes again; then parts are left out and the rest is played
again from the reset, for as long as it shows what it should (delta debugging). Invariant: what
comes out was played and shown, and its actions are the episode's, in their order. Replays are
bounded, by skill and in steps over all. Does not: say what should be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any

from alicebob.alice.anywhere.memory import Memory
from alicebob.alice.anywhere.situation import normal
from alicebob.alice.anywhere.watch import Trail
from alicebob.draws import generator
from alicebob.envs import World
from alicebob.policies import Live, Task
from alicebob.replay import retraced
from alicebob.trace import INTENT, Episode, Turn

__all__ = ["Played", "Stage", "ways"]

REPLAYS = 80  # for one skill
WHOLE = 200  # turns up to which a way is played again
MEMORY = 3  # situations that must be the same to cut a loop, at most


@dataclass(frozen=True, slots=True)
class Played:
    """Turns as they came out when they were played, what was seen then, and whether it was won."""

    turns: tuple[Turn, ...]
    final: str
    won: bool


ODD = "invalid_action"
Shows = Callable[[Played], bool]


class Stage:
    """An environment to play parts of episodes in again, for at most so many steps over all."""

    def __init__(self, world: World, steps: int) -> None:
        self._world, self._left = world, steps
        self._env: Any = None
        self._tries = 0

    def __enter__(self) -> Stage:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the environment, where it can be."""
        getattr(self._env, "close", lambda: None)()

    @property
    def env(self) -> Any:
        """The environment, built when it is first asked for."""
        if self._env is None:
            self._env = self._world()
        return self._env

    def shorten(self, episode: Episode, ways: Iterable[list[int]], shows: Shows) -> Played | None:
        """Return the shortest part of a way, its last turn in it, that was found to show it.

        Of the ways, turns of the episode, it is the first that shows it; None where none does.
        """
        turns: list[int] = []
        played = None
        for way in ways:
            if way != turns and len(way) < WHOLE:
                turns, played = way, self._play(episode, way, shows)
            if played is not None:
                break
        if played is None:
            return None
        self._tries = REPLAYS
        size = max(1, len(turns) // 2)
        while self._tries > 0:
            shorter = self._pass(episode, turns, size, shows)
            if shorter is None and size == 1:
                break
            turns, played = shorter or (turns, played)
            size = max(1, size // 2)
        return played

    def _pass(
        self, episode: Episode, turns: list[int], size: int, shows: Shows
    ) -> tuple[list[int], Played] | None:
        """Leave out what can be of so many turns at once, the latest first; None for nothing."""
        shorter = None
        for at in reversed(range(0, len(turns) - 1, size)):
            if self._tries <= 0:
                break
            self._tries -= 1
            rest = turns[:at] + turns[min(at + size, len(turns) - 1) :]
            found = self._play(episode, rest, shows)
            if found is not None:
                turns, shorter = rest, (rest, found)
        return shorter

    def _play(self, episode: Episode, numbers: Sequence[int], shows: Shows) -> Played | None:
        """Play turns of an episode from its reset; None where they do not show it."""
        if self._left < len(numbers):
            return None
        self._left -= len(numbers)
        try:
            played = self._played(episode, numbers)
        except Exception:  # noqa: BLE001 - whatever an environment raises, this is not shown
            return None
        return played if played is not None and shows(played) else None

    def _played(self, episode: Episode, numbers: Sequence[int]) -> Played | None:
        """Play turns; None where the episode is over too soon, or an action no longer is one."""
        seen, info = self.env.reset(seed=episode.seed, options=dict(episode.options))
        turns: list[Turn] = []
        for number in numbers:
            turn = episode.turns[number]
            after, reward, terminated, truncated, info = self.env.step(turn.action)
            odd = bool(info.get("invalid_action"))
            over = (terminated or truncated) and number != numbers[-1]
            if over or (odd and ODD not in turn.tags):
                return None
            tags = [tag for tag in turn.tags if tag.startswith(INTENT)] + [ODD] * odd
            events, earned = tuple(info.get("events", ())), round(float(reward), 6)
            turns.append(Turn(seen, turn.action, "", earned, events, tuple(tags)))
            seen = after
        return Played(tuple(turns), seen, bool(info.get("success")))

    def retrace(self, episode: Episode) -> tuple[list[str], Memory]:
        """Return the situation before each turn and what the episode teaches, by playing it again.

        Where it does not come out as recorded, by its texts, and nothing.
        """
        try:
            found = self._retraced(episode)
        except Exception:  # noqa: BLE001 - whatever an environment raises, it does not replay
            found = None
        texts = [normal(turn.observation) for turn in episode.turns]
        return found or (texts, Memory())

    def _retraced(self, episode: Episode) -> tuple[list[str], Memory] | None:
        task = Task(episode.id, episode.seed, options=dict(episode.options), max_turns=0)
        live = Live(task, "", {}, generator("retrace", episode.id))
        trail = Trail()
        for number, (seen, info) in enumerate(retraced(self.env, episode, len(episode.turns) - 1)):
            if seen != episode.turns[number].observation:
                return None
            live.observation, live.info = seen, info
            trail.before(live, episode.turns[number].action)
            live.turns.append(episode.turns[number])
        return trail.keys, Memory.from_json(trail.close(live))


def ways(keys: Sequence[str], marks: Sequence[int]) -> Iterator[list[int]]:
    """Yield ways by all of the turns `marks` from the start to the last, the shortest first.

    `keys` are the situations before each turn. Loops between the marks are cut, where a situation
    comes again; then, for that may not tell all, where it does with those before it; then none.
    """
    for last in range(1, MEMORY + 1):
        grams = ["\n".join(keys[max(0, i + 1 - last) : i + 1]) for i in range(marks[-1] + 1)]
        yield [turn for a, b in pairwise([-1, *marks]) for turn in _direct(grams, a + 1, b)]
    yield list(range(marks[-1] + 1))


def _direct(keys: Sequence[str], start: int, end: int) -> list[int]:
    """Return the fewest turns from `start` to `end`, both included, that join by situations."""
    best: dict[str, tuple[int, int]] = {}  # by situation: turns to the end, the first of them
    then: dict[int, int] = {}
    for turn in range(end, start - 1, -1):
        if turn == end:
            best[keys[turn]] = 1, turn
        elif keys[turn + 1] in best:
            length, then[turn] = best[keys[turn + 1]]
            best[keys[turn]] = min(best.get(keys[turn], (length + 1, turn)), (length + 1, turn))
    turns = [best[keys[start]][1]]
    while turns[-1] in then:
        turns.append(then[turns[-1]])
    return turns
