"""Explore: go where little was tried, and try there what was tried least.

An episode goes from aim to aim. Where an action is untried she tries it, the rarer its kind in the
long run the sooner; else she goes to a known situation that promises news, by transitions known to
lead there or, from a reset, by the way it was first reached; where nothing is left, to what was
reported once and not yet in this episode. Wishes send her to what they name, and in an unknown
world make her prefer the kinds of action that once led to it. A way that shows another situation
than expected is given up. Invariant: an episode depends on its task, the memory, the wishes and its
own draws. Does not: know any rule of a world.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from numpy.random import Generator

from alicebob.alice.anywhere.chart import Atlas, Chart, Spot, Step
from alicebob.alice.anywhere.memory import Memory
from alicebob.alice.anywhere.situation import kind, verb, world_of
from alicebob.alice.anywhere.watch import Trail
from alicebob.alice.room import EVIDENCE
from alicebob.envs.hooks import FREE
from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.sight import run_of_words
from alicebob.trace import INTENT

__all__ = ["Explorer"]

BURST = 12  # turns in vain in one situation after which she goes elsewhere
LOOKED = 400  # situations looked at when she chooses one
GAIN = 2.0  # how much more a situation promises that something was reported before
NEAR = 6.0  # how much she prefers what is near
WISHED = 16.0  # how much she prefers the kinds of action that led to what is wished for
SURE = 2  # how much longer a way may be for having been gone as a whole
GIVEN_UP = 3  # ways that failed after which a wish is dropped for the episode
ENDS, ENDED = 5, 0.5  # taken so often, with this share of episodes ended in vain, a kind of action
LAST = 0.05  # draws so much less, and is tried with this chance where nothing else is untried
SPOKEN = 3  # words put where an action is free to fill in
IDLE = "look"  # where nothing was ever admissible

Choice = tuple[str, str]  # an action and what it is for


class Explorer:
    """The policy: one mind per live episode, all on the same memory.

    `without` names priors to leave out, and is for other rooms: this one has none.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        wishes: Mapping[str, float] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.memory = memory or Memory()
        self.wishes = dict(sorted((wishes or {}).items()))
        self.atlas = Atlas(self.memory)
        self.verbs: dict[str, int] = {}
        for name, (taken, _, _) in self.memory.kinds.items():
            self.verbs[verb(name)] = self.verbs.get(verb(name), 0) + taken

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with what was known before the wave.

        Raises UsageError where the environment does not list what can be done.
        """
        for live in wave:
            if "admissible_actions" not in live.info:
                raise UsageError(
                    "The embedded Alice explores worlds that list their actions, and env.spec "
                    "names one that has no 'admissible_actions' in info; add them, or let a "
                    "language model explore it (alice.explore: model)."
                )
            live.memory = _Mind(self, live)

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Decide for each episode; a tag says what for: "intent:find ..." or "intent:try ..."."""
        replies = []
        for live in lives:
            mind: _Mind = live.memory
            action, intent = mind.decide(live)
            mind.trail.before(live, action)
            replies.append(Reply(action, tags=(f"{INTENT}{intent}",)))
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        mind: _Mind = live.memory
        return {EVIDENCE: mind.trail.close(live)}


class _Mind:
    """What Alice has in mind in one episode."""

    def __init__(self, explorer: Explorer, live: Live) -> None:
        self.explorer, self.draw, self.turns = explorer, live.draw, live.task.max_turns
        self.trail = Trail()
        root = self.trail.arrive(live)
        self.chart: Chart = explorer.atlas.chart(world_of(live.task), root)
        self.kinds: dict[str, int] = {}  # taken in this episode
        self.verbs: dict[str, int] = {}
        self.done: set[str] = set()  # what was reported in this episode
        self.shut: set[str] = set()  # situations with nothing left to try but what ends it all
        self.asked: dict[str, int] = {}  # how much was done when a wished action was last tried
        self.plan: list[Step] = []  # the last step first
        self.aim = ""
        self.stuck = self.failures = self.rest = 0
        self.wish, self.recipe = "", frozenset[str]()
        self._draw_wish()

    def decide(self, live: Live) -> Choice:
        """Return the next action and what it is for."""
        here = self.trail.arrive(live)
        self._learn(live, here)
        if self.plan and self.plan[-1][1] != here:
            self.plan, self.failures = [], self.failures + 1
        step = (
            self._follow()
            or self._grant(here)
            or self._try_here(live, here)
            or self._go_on(here)
            or self._anything(live, here)
        )
        name = kind(step[0])
        self.kinds[name] = self.kinds.get(name, 0) + 1
        self.verbs[verb(name)] = self.verbs.get(verb(name), 0) + 1
        return step

    def _learn(self, live: Live, here: str) -> None:
        """Take note of what the last action led to."""
        self.chart.arrive(here, len(self.trail.actions))
        if not live.turns:
            return
        turn = live.turns[-1]
        before, name = self.trail.keys[-2], kind(turn.action)
        news = turn.events or ((name,) if turn.reward > 0 else ())
        self.chart.link(before, turn.action, here, news)
        self.done.update(news)
        if before != here and name in self.explorer.atlas.lasting:
            self.done.add(name)
        self.stuck = self.stuck + 1 if before == here and not news else 0
        if self.wish in self.done:
            self._draw_wish()

    def _follow(self) -> Choice | None:
        """Take the next step of the plan, if it can be taken."""
        if not self.plan:
            return None
        action, _ = self.plan.pop()
        if action in self.trail.actions or any(FREE in other for other in self.trail.actions):
            return action, self.aim
        self.plan, self.failures = [], self.failures + 1
        return None

    def _draw_wish(self) -> None:
        """Choose what to go for; wishes of weight 1 are followed half of the time."""
        wishes = {n: w for n, w in self.explorer.wishes.items() if n not in self.done}
        total, memory = sum(wishes.values()), self.explorer.memory
        self.wish = ""
        if total and self.draw.random() < total / (1.0 + total):
            self.wish = list(wishes)[_drawn(list(wishes.values()), self.draw)]
        length, play = min(memory.ways.get(self.wish, {}).values(), default=(0, ""))
        actions = memory.plays[play].actions[:length] if length else ()
        self.recipe = frozenset(map(kind, actions)) | {self.wish}

    def _grant(self, here: str) -> Choice | None:
        """Do what once brought what is wished: here, if it can be, else where it was reported."""
        if not self.wish:
            return None
        makers = self.explorer.memory.makers.get(self.wish, {})
        for action in self.trail.actions:
            # What did not work may work once something else was reported.
            maker = kind(action) in makers or kind(action) == self.wish
            if maker and self.asked.get(action, -1) < len(self.done):
                self.asked[action] = len(self.done)
                return self._tried(action)
        if self.failures >= GIVEN_UP or self.rest > 0:
            self.rest -= 1
            return None
        step = self._fetch(here, {self.wish})
        self.rest = 0 if step else BURST
        return step

    def _fetch(self, here: str, names: Collection[str]) -> Choice | None:
        """Go to the nearest action that once brought one of the names, and take it.

        From a reset the way by which it was brought is sure, and taken where there is time for it.
        """
        way = self._to_news(here, names)
        if len(self.trail.keys) == 1:
            known = [self.chart.recorded(n) for n in sorted(names) if n in self.chart.ways]
            sure = min(known, key=len, default=[])
            way = sure if sure and (not way or 2 * len(sure) <= self.turns) else way
        return self._go(way)

    def _to_news(self, here: str, names: Collection[str]) -> list[Step]:
        for key, spot, _ in self.chart.nearest(here, LOOKED):
            for action, news in spot.news.items():
                if any(name in names for name in news):
                    return [*self.chart.way(key), (action, key)]
        return []

    def _go(self, way: list[Step]) -> Choice | None:
        """Set out on a way, if there is one."""
        if not way:
            return None
        self.plan, self.aim = way[::-1], f"find {way[-1][1][:8]}"
        return self._follow()

    def _try_here(self, live: Live, here: str) -> Choice | None:
        """Try what is untried here, unless all was in vain for long."""
        spot = self.chart.at(here)
        if spot is None or here in self.shut or self.stuck >= BURST:
            return None
        untried = [a for a in self.trail.actions if a not in spot.tried]
        if not untried:
            return None
        if all(map(self._ends, untried)) and self.draw.random() >= LAST:
            self.shut.add(here)
            return None
        return self._attempt(live, untried)

    def _attempt(self, live: Live, actions: Sequence[str]) -> Choice:
        action = actions[_drawn([self._appeal(a) for a in actions], self.draw)]
        if FREE in action:
            words = run_of_words(live.observation[:2000], SPOKEN, self.draw)
            action = action.replace(FREE, words)
        return self._tried(action)

    def _tried(self, action: str) -> Choice:
        return action, f"try {' '.join(action[:200].split())[:40]}"

    def _appeal(self, action: str) -> float:
        """Return how much an action draws: a rare kind, of what changes something."""
        name = kind(action)
        taken, changed, _ = self.explorer.memory.kinds.get(name, (0, 0, 0))
        uses = taken + self.kinds.get(name, 0)
        first = verb(name)
        common = self.explorer.verbs.get(first, 0) + self.verbs.get(first, 0)
        share = (changed + 1.0) / (taken + 2.0)
        wished = WISHED if name in self.recipe else 1.0
        rare = 1.0 / (math.sqrt(1.0 + common) * (1.0 + uses))
        return wished * share * rare * (LAST if self._ends(action) else 1.0)

    def _ends(self, action: str) -> bool:
        taken, _, ended = self.explorer.memory.kinds.get(kind(action), (0, 0, 0))
        return taken >= ENDS and ended >= ENDED * taken

    def _go_on(self, here: str) -> Choice | None:
        """Go to a situation that promises news; where none does, to what was reported elsewhere."""
        self.stuck = 0
        found = self._promising(here)
        if found:
            weights = [_promise(spot, steps) for spot, steps in found.values()]
            key = list(found)[_drawn(weights, self.draw)]
            return self._go(self._way(key))
        spots = [spot for _, spot, _ in self.chart.nearest(here, LOOKED)]
        fresh = {n for spot in spots for news in spot.news.values() for n in news} - self.done
        return self._fetch(here, fresh) if fresh else None

    def _way(self, key: str) -> list[Step]:
        """Return the way to a situation: put together or, from a reset, as it was first gone."""
        way = self.chart.way(key)
        if len(self.trail.keys) > 1 or key not in self.chart.ways:
            return way
        recorded = self.chart.recorded(key)
        return recorded if not way or len(recorded) <= SURE * len(way) else way

    def _promising(self, here: str) -> dict[str, tuple[Spot, int]]:
        """Return the situations to go to, where something is untried, with the steps to them."""
        found = {key: (spot, n) for key, spot, n in self.chart.nearest(here, LOOKED) if n}
        if len(self.trail.keys) == 1:
            for key, (steps, _) in self.chart.ways.items():
                spot = self.chart.at(key)
                if spot is not None and steps and key not in found:
                    found[key] = spot, steps
        return {k: v for k, v in found.items() if v[0].open and k not in self.shut}

    def _anything(self, live: Live, here: str) -> Choice:
        """Try what was tried least here; where nothing is admissible, what was done before."""
        spot, actions = self.chart.at(here), self.trail.actions
        if not actions:
            return (live.turns[-1].action if live.turns else IDLE), "try again"
        tried = spot.tried if spot is not None else {}
        least = min(tried.get(action, 0) for action in actions)
        return self._attempt(live, [a for a in actions if tried.get(a, 0) == least])


def _promise(spot: Spot, steps: int) -> float:
    """Return how much going to a situation promises: much untried, seldom there, near."""
    share = math.sqrt(spot.open / max(1, spot.choices))
    promise = share * (1.0 + GAIN * spot.gain) / (1.0 + spot.turns) ** 0.25
    return float((promise / (1.0 + steps)) ** NEAR)


def _drawn(weights: Sequence[float], draw: Generator) -> int:
    """Return an index, drawn by weights."""
    place = draw.random() * sum(weights)
    for index, weight in enumerate(weights):
        place -= weight
        if place < 0:
            return index
    return len(weights) - 1
