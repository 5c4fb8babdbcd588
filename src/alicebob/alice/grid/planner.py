"""Planner: chain backwards through what Alice knows, from a wish to the first thing to do.

A plan for an intent is its cost in steps and the first intent on the way: what is lacking is got
by the cheapest intent that has given it before, what must stand near is walked to or made, and what
was never seen in this episode is looked for. Invariant: only learned affordances are used, ties are
broken by name. Does not: move, or decide which wish comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from alicebob.alice.grid.features import LOW, NEAR
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.worldmap import FAR, WorldMap

__all__ = ["USE", "Planner", "Step"]

USE = "use "  # the prefix of intents that press on a thing; other intents are actions
DEPTH = 7
FIND = 40.0  # steps to find a thing that is seen in every episode


@dataclass(frozen=True, slots=True)
class Step:
    """The first thing to do on the way to something, and the cost of the whole way.

    `kind` is "use" (press on the nearest `what`), "act" (take the action `what` at a place where
    all of `near` stand by), or "find" (look for `what`).
    """

    cost: float
    kind: str
    what: str
    near: tuple[str, ...] = ()


class Planner:
    """Plans from one situation: what is held, what is near, what the map shows."""

    def __init__(
        self,
        model: Knowledge,
        world: WorldMap,
        held: Mapping[str, int],
        low: Collection[str] = (),
        chains: bool = True,
    ) -> None:
        self.model = model
        self.low = low
        self.depth = DEPTH if chains else 0
        self.world = world
        self.held = held
        self._memo: dict[str, Step | None] = {}
        self._producers: dict[str, list[str]] = {}
        self._makers: dict[str, list[str]] = {}
        for name, affordance in sorted(model.intents.items()):
            for gain in affordance.gains:
                self._producers.setdefault(gain, []).append(name)
            for made in affordance.makes:
                self._makers.setdefault(made, []).append(name)

    def plan(self, intent: str) -> Step | None:
        """Return the plan for an intent that has worked before, or None where there is no way."""
        return self._plan(intent, frozenset())

    def makers(self, thing: str) -> list[str]:
        """Return the actions that have made a thing."""
        return [m for m in self._makers.get(thing, []) if not m.startswith(USE)]

    def gain(self, name: str) -> Step | None:
        """Return the cheapest plan for more of an item or vital."""
        return self._gain(name, 1, frozenset())

    def gather(self, wanted: Mapping[str, int], near: tuple[str, ...], action: str) -> Step | None:
        """Return the plan for taking an action in a situation that was never tried."""
        return self._act(action, dict(wanted), near, frozenset())

    def _plan(self, intent: str, stack: frozenset[str]) -> Step | None:
        if intent in stack or len(stack) > self.depth:
            return None
        if intent in self._memo:
            return self._memo[intent]
        step = self._fresh(intent, stack | {intent})
        if len(stack) <= 1 or step is not None:
            self._memo[intent] = step
        return step

    def _fresh(self, intent: str, stack: frozenset[str]) -> Step | None:
        affordance = self.model.intents.get(intent)
        if affordance is None or not affordance.worked:
            return None
        required = affordance.required()
        if any(name.startswith(LOW) and name not in self.low for name in required):
            return None
        near = tuple(sorted(n[len(NEAR) :] for n in required if n.startswith(NEAR)))
        items = {name: n for name, n in required.items() if ":" not in name}
        if not intent.startswith(USE):
            return self._act(intent, items, near, stack, affordance.effort)
        first, cost = self._collect(items, stack)
        if cost >= FAR:
            return None
        thing = intent[len(USE) :]
        found = self.world.nearest(thing)
        if found is not None:
            cost += found[2] + affordance.effort + 1
            return (
                Step(cost, first.kind, first.what, first.near)
                if first
                else Step(cost, "use", thing)
            )
        made = self._made(thing, stack)
        search = self._search(thing)
        if made is not None and made.cost < search:
            cost += made.cost + affordance.effort
            first = first or made
            return Step(cost, first.kind, first.what, first.near)
        cost += search + affordance.effort
        first = first or Step(cost, "find", thing)
        return Step(cost, first.kind, first.what, first.near)

    def _act(
        self,
        action: str,
        items: dict[str, int],
        near: tuple[str, ...],
        stack: frozenset[str],
        effort: float = 1.0,
    ) -> Step | None:
        """Plan an action: get the items, go or build where the near things are, act."""
        walk = self.stand(near) if near else 0.0
        build: list[str] = []
        if near:
            cost_of_building, build, extra = self._building(near, stack)
            if cost_of_building < walk:
                walk = cost_of_building
                for name, n in extra.items():
                    items[name] = items.get(name, 0) + n
            else:
                build = []
        if walk >= FAR:
            return None
        first, cost = self._collect(items, stack)
        cost += walk + effort
        if cost >= FAR:
            return None
        if first is None and build:
            first = self._plan(build[0], stack)
            if first is None:
                return None
        if first is None:
            return Step(cost, "act", action, near)
        return Step(cost, first.kind, first.what, first.near)

    def _building(
        self, near: tuple[str, ...], stack: frozenset[str]
    ) -> tuple[float, list[str], dict[str, int]]:
        """Return the cost, intents and items of making here what is not near yet."""
        here = self.around()
        cost = 0.0
        build: list[str] = []
        extra: dict[str, int] = {}
        present = [thing for thing in near if thing in here]
        for thing in near:
            if thing in present:
                continue
            makers = [m for m in self._makers.get(thing, []) if m not in stack]
            if not makers:
                return FAR, [], {}
            maker = makers[0]
            build.append(maker)
            cost += 2.0
            for name, n in (self.model.intents[maker].uses or {}).items():
                extra[name] = extra.get(name, 0) + n
                if self.held.get(name, 0) >= n:
                    cost += 2.0 * n  # what is spent must be got again some day
        return cost, build, extra

    def _collect(
        self, items: Mapping[str, int], stack: frozenset[str]
    ) -> tuple[Step | None, float]:
        """Return the first step and the cost of getting all items that are lacking."""
        first, cost = None, 0.0
        for name, n in sorted(items.items()):
            lacking = n - self.held.get(name, 0)
            if lacking <= 0:
                continue
            step = self._gain(name, lacking, stack)
            if step is None:
                return None, FAR
            if first is None or step.cost < first.cost:
                first = step
            cost += step.cost
        return first, cost

    def _gain(self, name: str, amount: int, stack: frozenset[str]) -> Step | None:
        best = None
        for producer in self._producers.get(name, []):
            gain = self.model.intents[producer].gain(name)
            if gain <= 0.05:
                continue
            step = self._plan(producer, stack)
            if step is None:
                continue
            more = max(0.0, amount / gain - 1)
            effort = self.model.intents[producer].effort + 2
            cost = step.cost + more * effort
            if best is None or cost < best.cost:
                best = Step(cost, step.kind, step.what, step.near)
        return best

    def _made(self, thing: str, stack: frozenset[str]) -> Step | None:
        plans = [self._plan(maker, stack) for maker in self._makers.get(thing, [])]
        return min((p for p in plans if p is not None), key=lambda p: p.cost, default=None)

    def _search(self, thing: str) -> float:
        seen = self.model.things.get(thing)
        share = seen.episodes / max(1, self.model.episodes) if seen else 0.0
        return FIND / max(0.1, min(1.0, share))

    def around(self) -> set[str]:
        """Return the things within one cell of where she stands."""
        x, y = self.world.position
        return {self.world.at(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}

    def stand(self, near: tuple[str, ...]) -> float:
        """Return the distance of the nearest cell with all things within one cell of it."""
        place = self.place(near)
        return FAR if place is None else float(self.world.distance(*place))

    def place(self, near: tuple[str, ...]) -> tuple[int, int] | None:
        """Return the nearest cell with all the given things within one cell of it."""
        groups = sorted((self.world.places(thing) for thing in near), key=len)
        if not groups or not groups[0]:
            return None
        best, best_distance = None, FAR
        for x, y in groups[0]:
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    distance = self.world.distance(x + i, y + j)
                    if distance < best_distance and all(
                        any(abs(x + i - ox) <= 1 and abs(y + j - oy) <= 1 for ox, oy in others)
                        for others in groups[1:]
                    ):
                        best, best_distance = (x + i, y + j), distance
        return best
