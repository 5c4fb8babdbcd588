"""Senses: what Alice notices in one episode, and what she learns from it at once.

Keeps the map, what is held and low, and the attempt going on, and turns every step into evidence:
what could be entered, what moved, what hurt, what an attempt changed. Invariant: what is noticed
depends on what the environment shows and on what was known before, never on chance. Does not:
decide what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alicebob.alice.grid.affordance import Affordance, Change
from alicebob.alice.grid.evidence import Evidence
from alicebob.alice.grid.features import LOW, NEAR
from alicebob.alice.grid.interface import LIFE, MOVES, NO_THING, PRESS
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.planner import USE
from alicebob.alice.grid.shelter import Shelter
from alicebob.alice.grid.worldmap import STEPS, WorldMap

__all__ = ["Attempt", "Senses"]

Cell = tuple[int, int]
BALK = 10  # steps for which an intent that failed is left alone
SHUN = 60  # steps for which a target that did not yield is left alone
PATIENCE = 6  # presses on what never worked
FLUSH = 20  # steps after which counts of cells are written down


@dataclass(slots=True)
class Attempt:
    """An intent being carried out: how things stood when the pressing began."""

    intent: str
    situation: dict[str, int]
    front: str
    held: dict[str, int]
    target: Cell
    presses: int = 0
    events: dict[str, int] = field(default_factory=dict)


class Senses:
    """The state of one episode as Alice sees it, and the evidence it gives.

    What it begins with she takes for her vitals, and how much for what is full; of what was
    `granted` to begin with, only what is known to be a vital is one, once any is known.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        info: Mapping[str, Any],
        without: Collection[str] = (),
        granted: Collection[str] = (),
    ) -> None:
        self.evidence = Evidence(knowledge)
        self.model = self.evidence.model
        self.seen = self.evidence.seen
        self.map = WorldMap("recall" not in without)
        self.info = info
        self._heals = "heal" not in without  # a prior
        known = knowledge.vitals
        doubted = granted if known else ()
        full = {n: known.get(n, 0) if n in doubted else a for n, a in info["inventory"].items()}
        self.full = {name: amount for name, amount in full.items() if amount > 0}
        self.vitals = list(self.full)
        if not granted:
            self.evidence.found.vitals |= self.full
        self.held: dict[str, int] = {}
        self.front = ""
        self.done: dict[str, int] = {}
        self.steps = 0
        self.attempt: Attempt | None = None
        self.settled = False  # an attempt ended with the last step
        self.balked: dict[str, int] = {}  # until when an intent that failed is left alone
        self.shelter: Shelter | None = None  # the place that is being closed
        self._aimed = ""  # the thing that the last move was towards
        self._beside: set[str] = set()
        self._cost: dict[str, int] = {}
        _, patch = self.map.see(info["view"], self.position)
        self.evidence.sight(self._names(patch))

    @property
    def position(self) -> Cell:
        """Where she stands."""
        x, y = self.info["position"]
        return x, y

    @property
    def facing(self) -> Cell:
        """Which way she faces."""
        dx, dy = self.info["facing"]
        return dx, dy

    @property
    def faced(self) -> Cell:
        """The cell in front of her."""
        (x, y), (dx, dy) = self.position, self.facing
        return x + dx, y + dy

    def observe(self, info: Mapping[str, Any], action: str) -> None:
        """Take in the state after an action and learn from what it did."""
        last, own = self.info, self.faced
        self.info = info
        self.steps += 1
        self.settled = False
        before, after = self.map.see(info["view"], self.position)
        for event in info.get("events", ()):
            self.done[event] = self.done.get(event, 0) + 1
        self._change(before, after, own)
        self._enter(last, action)
        self._hurt(last)
        self._rest(last)
        self._judge(last, action)
        if self.steps % FLUSH == 0:
            self.evidence.flush(self.map.names)

    def take_stock(self) -> None:
        """Bring what is held and faced up to date, and measure the ways from here."""
        self.held = {name: n for name, n in self.info["inventory"].items() if n > 0}
        self.front = self.map.at(*self.faced)
        self._cost = {name: self._entering(name) for name in self.map.names}
        self.map.measure(np.array(list(self._cost.values()), np.int32))

    def aim(self, action: str) -> None:
        """Note what an action is about to move towards."""
        if action in MOVES:
            (x, y), (dx, dy) = self.position, MOVES[action]
            self._aimed = self.map.at(x + dx, y + dy)

    def close(self) -> Knowledge:
        """Return what the episode taught."""
        self.evidence.flush(self.map.names)
        return self.evidence.close(self.steps, self.done, self.map.surroundings())

    # what she can tell of the moment

    def cost(self, name: str) -> int:
        """Return the steps that entering a thing takes now, 0 where it cannot be entered."""
        return self._cost.get(name, 0)

    def _entering(self, name: str) -> int:
        if name in ("", "unknown"):
            return 0
        if name == "player":
            return 1
        thing = self.model.thing(name)
        if thing.deadly:
            return 0
        if thing.moves:
            return 5
        if thing.entered:
            return 1
        if not thing.enter:
            return 3
        use = self.model.intents.get(USE + name)
        if use is None or not use.worked or not self.ready(use):
            return 0
        return 1 + round(use.effort) if any(self.walkable(made) for made in use.makes) else 0

    def walkable(self, name: str) -> bool:
        """Say whether she has ever entered a thing."""
        return self.model.thing(name).entered > 0

    def ready(self, use: Affordance) -> bool:
        """Say whether all items that an intent needs are held."""
        required = use.required()
        return all(":" in name or self.held.get(name, 0) >= n for name, n in required.items())

    def items(self) -> dict[str, int]:
        """Return what is held, vitals left out: the situation of a press on a thing."""
        return {name: n for name, n in self.held.items() if name not in self.vitals}

    def situation(self) -> dict[str, int]:
        """Return the situation of an action: items and what stands near."""
        features = self.items()
        x, y = self.position
        around = {self.map.at(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        for name in sorted(around):
            fixed = name not in NO_THING and not self.model.thing(name).moves
            if fixed and not self.walkable(name):
                features[NEAR + name] = 1
        return features

    def low(self) -> list[str]:
        """Return the features of the vitals that are below what she began with."""
        return [LOW + v for v in self.vitals if self.info["inventory"][v] < self.full[v]]

    def sheltered(self) -> bool:
        """Say whether she is in her shelter and it is closed on all sides."""
        if self.shelter is None or self.map.position not in self.shelter.cells:
            return False
        return all(
            self.cost(self.map.at(x + dx, y + dy)) != 1 for (x, y), (dx, dy) in self.shelter.border
        )

    # attempts

    def begin(self, intent: str, target: Cell) -> None:
        """Begin an attempt, or go on with the one of the same intent."""
        acting = not intent.startswith(USE)
        if self.attempt is not None and self.attempt.intent == intent and not acting:
            self.attempt.target, self.attempt.front = target, self.front
            return
        self._break_off()
        situation = self.items()
        if acting:
            situation = self.situation() | dict.fromkeys(self.low(), 1)
        self.attempt = Attempt(intent, situation, self.front, dict(self.held), target)

    def _break_off(self) -> None:
        """Count an attempt that was not brought to an end as failed, if it never worked yet."""
        attempt = self.attempt
        if attempt is None or attempt.presses < 2 or self.model.intent(attempt.intent).worked:
            return
        self.evidence.failure(attempt.intent, attempt.situation, attempt.front)

    def _judge(self, last: Mapping[str, Any], action: str) -> None:
        """Judge the attempt going on, if the action was part of it."""
        attempt = self.attempt
        if attempt is None or not self._served(attempt, last, action):
            return
        for event in self.info.get("events", ()):
            attempt.events[event] = attempt.events.get(event, 0) + 1
        attempt.presses += 1
        if self.info.get("sleeping") and self.info["inventory"][LIFE] > 0:
            return  # goes on until she wakes
        asleep = bool(last.get("sleeping"))
        change = self._outcome(attempt, asleep)
        if change.events or change.gains or change.uses or change.made or asleep:
            self.evidence.success(attempt.intent, attempt.situation, attempt.front, change)
        elif attempt.presses < self._patience(attempt.intent):
            return
        else:
            self._fail(attempt)
        self.attempt = None
        self.settled = True

    def _served(self, attempt: Attempt, last: Mapping[str, Any], action: str) -> bool:
        expected = PRESS if attempt.intent.startswith(USE) else attempt.intent
        return bool(last.get("sleeping")) or action == expected

    def _outcome(self, attempt: Attempt, asleep: bool) -> Change:
        """Compare how things stand with how they stood when the attempt began.

        Life returns by itself, so only sleep is credited with it; and what comes and goes by itself
        is nothing that an action made.
        """
        held, had = self.info["inventory"], attempt.held
        gains = {
            name: n - had.get(name, 0)
            for name, n in held.items()
            if n > had.get(name, 0) and (name != LIFE or asleep or not self._heals)
        }
        uses = {
            name: n - held.get(name, 0)
            for name, n in had.items()
            if name not in self.vitals and held.get(name, 0) < n
        }
        made = self.map.at(*attempt.target)
        by_chance = not attempt.intent.startswith(USE) and not (uses or attempt.events)
        moving = any(self.model.thing(name).moves for name in (attempt.front, made) if name)
        if made == attempt.front or made in NO_THING or moving or by_chance:
            made = ""
        return Change(attempt.presses, uses, gains, attempt.events, made)

    def _fail(self, attempt: Attempt) -> None:
        situation = {n: a for n, a in attempt.situation.items() if not n.startswith(LOW)}
        self.evidence.failure(attempt.intent, situation, attempt.front)
        self.map.shun(*attempt.target, SHUN)
        self.balked[attempt.intent] = self.steps + BALK

    def _patience(self, intent: str) -> int:
        """Return the presses after which an attempt is given up."""
        if not intent.startswith(USE):
            return 1
        known = self.model.intents.get(intent)
        if known is None or not known.worked:
            return PATIENCE
        return int(2.5 * known.presses / known.worked) + 3

    # evidence

    def _names(self, patch: NDArray[np.int16]) -> list[str]:
        return [self.map.names[number] for number in np.unique(patch).tolist()]

    def _change(self, before: NDArray[np.int16], after: NDArray[np.int16], own: Cell) -> None:
        """Learn from what is to be seen, and from what became of it without her doing."""
        x, y = self.position
        corner = (x - before.shape[0] // 2, y - before.shape[1] // 2)
        self.evidence.step(before, after, corner, (own, (x, y)), self.map.names)
        self.evidence.sight(self._names(after))

    def _enter(self, last: Mapping[str, Any], action: str) -> None:
        """Learn from a move whether its thing can be entered, and whether it kills."""
        thing = self._aimed
        if action not in MOVES or last.get("sleeping"):
            return
        if thing in NO_THING or self.model.thing(thing).moves:
            return
        moved = self.info["position"] != last["position"]
        dead = self.info["inventory"][LIFE] <= 0
        killed = dead and moved and last["inventory"][LIFE] > 2
        self.evidence.entering(thing, moved, killed)

    def _hurt(self, last: Mapping[str, Any]) -> None:
        """Blame a loss of life on the creatures next to her, unless want explains it."""
        drop = last["inventory"][LIFE] - self.info["inventory"][LIFE]
        want = any(self.info["inventory"][v] == 0 for v in self.vitals if v != LIFE)
        x, y = self.position
        before, self._beside = self._beside, {self.map.at(x + dx, y + dy) for dx, dy in STEPS}
        creatures = [
            name
            for name in sorted(before | self._beside)
            if name not in NO_THING and self.model.thing(name).moves
        ]
        self.evidence.beside(creatures, drop > (1 if want else 0))

    def _rest(self, last: Mapping[str, Any]) -> None:
        """Count the steps asleep and the life lost in them, apart for open and closed places."""
        change = self.info["inventory"][LIFE] - last["inventory"][LIFE]
        if last.get("sleeping"):
            place = "closed" if self.sheltered() else "open"
            self.evidence.rest({place: 1, f"{place} lost": max(0, -change)})
        else:
            self.evidence.rest({"healed": int(change > 0)})
