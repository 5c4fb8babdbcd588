"""Aims: all that Alice could do now, with what it is worth and the first step of the way.

New events of this episode are worth most, low vitals by their urgency, what was never tried by how
little is known of it; an episode may have one wished event in focus. The best aim is the one with
the highest worth for its cost. Invariant: worth and cost come from what was learned and from this
episode alone. Does not: move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.random import Generator

from alicebob.alice.grid import guard, shelter
from alicebob.alice.grid.affordance import Affordance
from alicebob.alice.grid.features import LOW, NEAR
from alicebob.alice.grid.interface import LIFE, is_plain
from alicebob.alice.grid.planner import USE, Planner, Step
from alicebob.alice.grid.senses import Senses
from alicebob.alice.grid.worldmap import FAR, STEPS

__all__ = ["Aims"]

Option = tuple[float, Step | None]
URGENCY = (9.0, 6.0, 3.5, 2.0, 1.0, 0.5, 0.2, 0.1, 0.03, 0.0)  # of a vital, by its level
NEED = 3.0  # worth of mending a vital of urgency 1; a new event is worth 1
FOCUS = 8.0  # worth of the event an episode is for; it decays with each time
OFTEN = 4  # times that the event in focus is gone for
NEW_USE = 0.8  # worth of pressing on what was never pressed on
AMBITION = 1.2  # worth of an action that never worked
EXPLORE = 0.14  # worth of a walk to the edge of what was seen
OVERHEAD = 4.0  # steps added to the cost of each plan
RISK = 20.0  # steps that a point of life lost is worth
WEARY = 0.8  # summed urgency of rest from which a closed place is looked for
WALLS = 6  # walls to have before giving up on a place
LOOK_IN = 60  # steps after which to look again at what is guarded


class Aims:
    """The aims of one episode."""

    def __init__(
        self,
        senses: Senses,
        actions: list[str],
        wishes: Mapping[str, float],
        draw: Generator,
        without: Collection[str] = (),
    ) -> None:
        self.senses = senses
        self.without = without  # the priors that are left out
        self.unnamed = [action for action in actions if not is_plain(action)]
        self.draw = draw
        self.focus = self._draw_focus(wishes)
        self.guarded = (0, 0)
        self.looked: dict[tuple[int, int], int] = {}  # when a guarded place was looked at
        self._puzzles: list[str] = []
        self._drawn: dict[str, int] = {}  # numbers of items, and whether to have things near

    def _draw_focus(self, wishes: Mapping[str, float]) -> str:
        """Draw the event to favour in this episode, "" for none, by the wishes' weights."""
        names = sorted(wishes)
        weights = np.array([1.0] + [max(0.0, wishes[name]) for name in names])
        pick = int(self.draw.choice(len(weights), p=weights / weights.sum()))
        return names[pick - 1] if pick else ""

    def planner(self) -> Planner:
        """Return a planner for this moment."""
        senses = self.senses
        chains = "chain" not in self.without
        return Planner(senses.model, senses.map, senses.held, senses.low(), chains)

    def choose(self) -> Step | None:
        """Weigh all that could be done now and return the first step of the best."""
        best, best_score = None, 0.0
        for worth, step in self._options(self.planner()):
            if step is None or step.cost >= FAR:
                continue
            score = worth / (step.cost + OVERHEAD)
            if score > best_score:
                best, best_score = step, score
        return best

    def _options(self, planner: Planner) -> Iterator[Option]:
        yield from self._events(planner)
        yield from self._vitals(planner)
        yield from self._new_uses()
        if "tend" not in self.without:
            yield from self._tending(planner)
        if "hoard" not in self.without:
            yield from self._ambitions(planner)
        yield EXPLORE, Step(10.0, "find", "")

    def _worth(self, event: str) -> float:
        """Return what an event is worth now: much when new in this episode."""
        times = self.senses.done.get(event, 0)
        if event == self.focus:
            return FOCUS / (1 + times) if times < OFTEN else 0.0
        return 0.0 if times else 1.0

    def _events(self, planner: Planner) -> Iterator[Option]:
        """Yield plans for events that are known to come from something."""
        senses = self.senses
        for event in sorted(senses.model.events | senses.done):
            worth = self._worth(event)
            for intent in senses.model.makers(event)[:2] if worth else ():
                if senses.balked.get(intent, 0) <= senses.steps:
                    yield worth, planner.plan(intent)

    def _vitals(self, planner: Planner) -> Iterator[Option]:
        """Yield plans for the vitals that are low; rest is best taken in a closed place."""
        senses = self.senses
        rest = senses.model.rest
        lost = (rest.get("open lost", 0) + 1.0) / (rest.get("open", 0) + 100.0)
        weary = 0.0
        for vital in senses.vitals:
            level = senses.info["inventory"][vital] * 9 // senses.full[vital]
            urgency = URGENCY[min(9, level)]
            heals = vital == LIFE and "heal" not in self.without
            step = None if heals or "mend" in self.without else planner.gain(vital)
            if step is not None and step.kind == "act" and self.sleeps(step.what):
                weary += urgency
                steps = senses.model.intents[step.what].effort
                step = Step(step.cost + RISK * lost * steps, step.kind, step.what, step.near)
            elif heals and rest.get("healed"):
                weary += urgency
            if step is not None and urgency > 0:
                yield NEED * urgency, step
        if "shelter" in self.without:
            return
        if weary >= WEARY or (weary > 0.1 and senses.sheltered()):
            yield NEED * weary, self._refuge(planner)

    def sleeps(self, action: str) -> bool:
        """Say whether an action is one that puts her to sleep: it takes many steps."""
        known = self.senses.model.intents.get(action)
        return known is not None and known.worked > 0 and known.presses > 3 * known.worked

    def _wall(self) -> tuple[str, str, int] | None:
        """Return an action that makes a wall she can open again, what it uses, and how much.

        Of several, the one whose wall she has opened most often.
        """
        senses = self.senses
        best, opened = None, 0
        for name, known in sorted(senses.model.intents.items()):
            if name.startswith(USE) or not known.worked or len(known.uses or {}) != 1:
                continue
            for made in known.makes:
                use = senses.model.intents.get(USE + made)
                ways = (
                    sum(n for left, n in use.makes.items() if senses.walkable(left)) if use else 0
                )
                solid = not senses.walkable(made) and not senses.model.thing(made).moves
                if ways > opened and solid:
                    item, amount = next(iter((known.uses or {}).items()))
                    best, opened = (name, item, amount), ways
        return best

    def _refuge(self, planner: Planner) -> Step | None:
        """Return the plan for a closed place to rest in: walls first, if they are lacking."""
        senses, wall = self.senses, self._wall()
        if wall is None:
            return None
        action, item, amount = wall
        if senses.sheltered():
            return Step(1.0, "rest", action)
        walls = senses.held.get(item, 0) // amount
        fronts = senses.model.intent(action).fronts
        senses.shelter = shelter.find(
            senses.map, senses.cost, lambda name: fronts.get(name, [0, 0])[0] > 0, walls
        )
        if senses.shelter is not None:
            return Step(senses.shelter.cost + 1.0, "rest", action)
        return planner.gain(item) if walls < WALLS else None

    def _new_uses(self) -> Iterator[Option]:
        """Yield presses on things in sight of memory that never yielded, or not to what is held.

        What she walks on is tried when it happens to be faced.
        """
        senses = self.senses
        held = senses.items()
        for name in sorted(senses.seen):
            known = senses.model.intents.get(USE + name)
            thing = senses.model.thing(name)
            if known is not None and known.worked and senses.ready(known):
                continue
            if known is not None and known.hopeless(held, name):
                continue
            found = senses.map.nearest(name)
            if found is None or thing.deadly or (thing.entered and name != senses.front):
                continue
            worth = NEW_USE
            if known is not None and known.familiar(dict.fromkeys(held, 1), name):
                worth /= 1 + known.tried
            yield worth, Step(found[2], "use", name)

    def _tending(self, planner: Planner) -> Iterator[Option]:
        """Yield plans for things she can make that become what is wished for: guard, look in.

        It takes long, so nothing is tended unasked.
        """
        worth = self._worth(self.focus) if self.focus else 0.0
        if worth <= 0:
            return
        senses, wall = self.senses, None if "fence" in self.without else self._wall()
        for thing in sorted(senses.model.becomes):
            makers = planner.makers(thing)
            if not makers or not self._promises(thing):
                continue
            places = [p for p in senses.map.places(thing) if senses.map.beside(*p)[2] < FAR]
            if not places:
                yield from ((worth, planner.plan(maker)) for maker in makers)
                continue
            place = min(places, key=lambda p: (senses.map.beside(*p)[2], p))
            step = self._guarding(place, wall, planner)
            if step is not None:
                self.guarded = place
                yield worth, step

    def _promises(self, thing: str) -> bool:
        """Say whether a thing may become what the wished event comes from, none of it there yet.

        Where nobody knows what the event comes from, it may be any one thing: one drawn by lot.
        """
        senses = self.senses
        if self.focus not in senses.model.events:
            return thing == self._puzzle() and self.focus not in senses.done
        for later in senses.model.becomes[thing]:
            use = senses.model.intents.get(USE + later)
            if use is not None and self.focus in use.events:
                return senses.map.nearest(later) is None
        return False

    def _puzzle(self) -> str:
        """Return a thing that she can make and that changes by itself, drawn once an episode."""
        if not self._puzzles:
            model = self.senses.model
            made = {m for n, a in model.intents.items() if not n.startswith(USE) for m in a.makes}
            things = sorted(m for m in made if m in model.becomes and not self.senses.walkable(m))
            self._puzzles = things and [things[int(self.draw.integers(len(things)))]]
        return self._puzzles[0] if self._puzzles else ""

    def _guarding(
        self, place: tuple[int, int], wall: tuple[str, str, int] | None, planner: Planner
    ) -> Step | None:
        """Return what to do for a place now: get walls, close it, look at it, or nothing."""
        senses, (x, y) = self.senses, place
        px, py = senses.position
        if abs(x - px) <= 2 and abs(y - py) <= 2:
            self.looked[place] = senses.steps
        for dx, dy in STEPS:
            if senses.cost(senses.map.at(x + dx, y + dy)) > 1:
                senses.map.shun(x + dx, y + dy, LOOK_IN)  # a wall of it: not to be taken away
        distance = float(senses.map.beside(*place)[2])
        sides = guard.open_sides(senses.map, place, senses.cost)
        if sides and wall is not None:
            action, item, amount = wall
            if senses.held.get(item, 0) < amount * len(sides):
                return planner.gain(item)
            return Step(distance + 5.0 * len(sides), "guard", action)
        if senses.steps - self.looked.get(place, 0) > LOOK_IN:
            return Step(distance, "visit", "")
        return None

    def _ambitions(self, planner: Planner) -> Iterator[Option]:
        """Yield plans for actions that never worked: much held, things that were made near."""
        model = self.senses.model
        unknown = [action for action in self.unnamed if not model.intent(action).worked]
        if not unknown:
            return
        wanted, near = self._riches()
        situation = wanted | {NEAR + station: 1 for station in near}
        worth = AMBITION if self.focus in ("", *model.events) else FOCUS
        for action in unknown:
            if not situation or model.intent(action).hopeless(situation):
                self._drawn.clear()  # this has failed before: another time with other numbers
            else:
                yield worth, planner.gather(wanted, near, action)

    def _riches(self) -> tuple[dict[str, int], tuple[str, ...]]:
        """Return items to hold and things to have near for what was never done.

        All that can be got, in numbers drawn for the moment; of what she can make, what anything is
        known to need, and half of the rest.
        """
        model = self.senses.model
        wanted: dict[str, int] = {}
        needed: set[str] = set()
        made: set[str] = set()
        for name, known in sorted(model.intents.items()):
            for gain in known.gains:
                if gain not in self.senses.vitals:
                    wanted[gain] = self._amount(gain, known) if name.startswith(USE) else 1
            if known.worked:
                needed.update(n[len(NEAR) :] for n in known.required() if n.startswith(NEAR))
            if not name.startswith(USE):
                made.update(m for m in known.makes if not self.senses.walkable(m))
        idle = Affordance()
        for station in sorted(made - needed):
            if station not in self._drawn:
                self._drawn[station] = int(self.draw.random() < 0.5)
        near = {
            s for s in made if self._drawn.get(s) and not model.intents.get(USE + s, idle).worked
        }
        return {item: n for item, n in wanted.items() if n}, tuple(sorted(needed | near))

    def _amount(self, item: str, producer: Affordance) -> int:
        """Return how many of an item to hold for what will be tried; of what is dear often none."""
        if item not in self._drawn:
            if producer.effort <= 3:
                self._drawn[item] = min(6, int(self.draw.geometric(0.6)))
            else:
                self._drawn[item] = int(self.draw.random() < 0.3)
        return self._drawn[item]

    def can_sleep(self) -> str:
        """Return the action that would put her to sleep now, "" if none."""
        low = self.senses.low()
        for action in self.unnamed:
            if self.sleeps(action):
                needs = self.senses.model.intent(action).required()
                if all(need in low for need in needs if need.startswith(LOW)):
                    return action
        return ""
