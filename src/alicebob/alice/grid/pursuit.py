"""Pursuit: carry out a goal, one action at a time.

Walks to a thing and presses on it, goes where an action may work and takes it, closes a place to
rest in or to guard, looks for what was not found yet. Invariant: a step of a goal is None where
nothing is left to do for it. Does not: choose the goal (see `explore`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from alicebob.alice.grid import guard, shelter
from alicebob.alice.grid.affordance import Affordance
from alicebob.alice.grid.aims import Aims
from alicebob.alice.grid.intents import BY
from alicebob.alice.grid.interface import IDLE, MOVES, NO_THING, PRESS
from alicebob.alice.grid.planner import USE, Step
from alicebob.alice.grid.senses import Senses
from alicebob.alice.grid.worldmap import FAR, STEPS

__all__ = ["WALK", "Choice", "Pursuit"]

Choice = tuple[str, str]  # an action and the intent it serves
WALK = {step: action for action, step in MOVES.items()}
REACHED = 200  # steps for which a place at the edge is not gone to again


class Pursuit:
    """How Alice carries out goals in one episode."""

    def __init__(self, senses: Senses, aims: Aims, draw: Generator) -> None:
        self.senses, self.aims, self.draw = senses, aims, draw
        self.edge: tuple[int, int] | None = None  # the place at the edge she is going to
        self.blocked = 0

    def press(self, intent: str, target: tuple[int, int]) -> Choice:
        """Begin, or go on with, an attempt at what is faced."""
        self.senses.begin(intent, target)
        return (PRESS if intent.startswith(USE) else intent), intent

    def follow(self, goal: Step | None) -> Choice | None:
        """Return the next step of a goal, None where nothing is left to do for it."""
        if goal is None:
            return None
        if goal.kind == "use":
            return self._use(goal.what)
        if goal.kind == "act":
            return self._take_action(goal)
        if goal.kind == "rest":
            return self._rest(goal.what)
        if goal.kind == "guard":
            return self._guard(goal.what)
        if goal.kind == "visit":
            return self._visit()
        if goal.what and self.senses.map.nearest(goal.what) is not None:
            return None
        return self._explore(goal.what)

    def _use(self, name: str) -> Choice | None:
        """Press on the nearest thing of a name."""
        senses = self.senses
        if senses.front == name:
            return self.press(USE + name, senses.faced)
        found = senses.map.nearest(name)
        return self._toward(found[0], found[1], USE + name) if found is not None else None

    def _toward(self, x: int, y: int, intent: str) -> Choice | None:
        """Walk until a position is faced; open what is in the way."""
        px, py = self.senses.position
        if abs(x - px) + abs(y - py) == 1:
            return WALK[x - px, y - py], intent
        bx, by, distance = self.senses.map.beside(x, y)
        return self._walk(bx, by, intent) if 0 < distance < FAR else None

    def _walk(self, x: int, y: int, intent: str) -> Choice | None:
        """Take a step of the way to a reachable cell, pressing on what must be opened."""
        senses = self.senses
        step = senses.map.step(x, y)
        if step == (0, 0):
            return None
        if senses.facing == step:
            thing = senses.model.thing(senses.front)
            shut = senses.front not in NO_THING and thing.enter and not thing.entered
            if shut and not thing.moves:
                return self.press(USE + senses.front, senses.faced)[0], intent
            if thing.moves:  # in the way: wait for it to go, then go about
                self.blocked += 1
                if self.blocked % 3 == 0:
                    return self.sidestep(intent)
        return WALK[step], intent

    def sidestep(self, intent: str) -> Choice:
        """Move any way."""
        return sorted(MOVES)[int(self.draw.integers(len(MOVES)))], intent

    def _take_action(self, goal: Step) -> Choice | None:
        """Go where all that must be near is near, face what suits, act."""
        senses, planner = self.senses, self.aims.planner()
        if lacking := set(goal.near) - planner.around():
            place, intent = planner.place(goal.near), f"{goal.what}{BY}{min(lacking)}"
            return self._walk(*place, intent) if place is not None else None
        known = senses.model.intent(goal.what)
        if known.worked:
            suits = senses.front not in known.fronts or known.suits(senses.front)
        else:
            suits = senses.walkable(senses.front)
        if suits:
            return self.press(goal.what, senses.faced)
        return self._turn(goal.what, known)

    def _turn(self, intent: str, known: Affordance) -> Choice:
        """Move or turn so that another thing is faced, one that has served before if any."""
        senses = self.senses
        x, y = senses.position
        options = []
        for dx, dy in STEPS:
            beside = senses.map.at(x + dx, y + dy)
            if beside in NO_THING:
                continue
            thing = senses.model.thing(beside)
            if thing.deadly or thing.moves:
                continue
            ahead = senses.map.at(x + 2 * dx, y + 2 * dy) if thing.entered else beside
            worked, failed = known.fronts.get(ahead, [0, 0])
            options.append((-(worked > failed), failed, float(self.draw.random()), dx, dy))
        if not options:
            return self.sidestep(intent)
        *_, dx, dy = min(options)
        return WALK[dx, dy], intent

    def _rest(self, wall: str) -> Choice | None:
        """Go to the chosen place, close it, and sleep or wait in it."""
        senses, place = self.senses, self.senses.shelter
        if place is None:
            return None
        lacking = [cell for cell in sorted(place.cells) if senses.map.distance(*cell) > 0]
        shut = [cell for cell in lacking if senses.cost(senses.map.at(*cell)) > 1]
        if senses.position not in place.cells or shut:
            target = min(shut or lacking, key=lambda cell: (senses.map.distance(*cell), cell))
            return self._walk(*target, "rest")
        step = shelter.next_step(place, senses.map, senses.facing, senses.cost)
        if step is None:
            sleep = self.aims.can_sleep()
            return self.press(sleep, senses.faced) if sleep else (IDLE, "rest")
        what, direction = step
        if what == "wall":
            return self.press(wall, senses.faced)[0], "rest"
        if what == "walk":
            return WALK[direction], "rest"
        senses.shelter = None
        return None

    def _guard(self, wall: str) -> Choice | None:
        """Put walls around the cell that is guarded."""
        senses = self.senses
        found = guard.way(senses.map, self.aims.guarded, senses.facing, senses.cost)
        if found is None:
            return None
        what, where = found
        if what == "wall":
            return self.press(wall, senses.faced)[0], "guard"
        if what == "step":
            return WALK[where], "guard"
        return self._walk(*where, "guard")

    def _visit(self) -> Choice | None:
        """Go and look at what is guarded."""
        place = self.aims.guarded
        if self.aims.looked.get(place) == self.senses.steps:
            return None
        return self._toward(*place, "visit")

    def _explore(self, wanted: str) -> Choice | None:
        """Walk to the edge of what was seen, where a wanted thing is likely."""
        world = self.senses.map
        intent = f"find {wanted}" if wanted else "explore"
        if self.edge is not None and not (
            world.open_ended(*self.edge) and world.distance(*self.edge) < FAR
        ):
            self.edge = None
        if self.edge is None:
            best = world.frontier(self._appeal(wanted))
            if best is None:
                return None
            self.edge = best[:2]
        if self.senses.position != self.edge:
            return self._walk(*self.edge, intent)
        x, y = self.edge
        world.shun(x, y, REACHED)
        self.edge = None
        unseen = [step for step in STEPS if world.at(x + step[0], y + step[1]) == ""]
        return (WALK[unseen[0]], intent) if unseen else None

    def _appeal(self, wanted: str) -> Any:
        """Return for each thing how much more often the wanted one is found beside it."""
        names, beside = self.senses.map.names, self.senses.model.beside
        appeal = self.draw.random(len(names)) * 2.0
        if wanted not in beside or "beside" in self.aims.without:
            return appeal
        total = sum(beside[wanted].values())
        everything = sum(sum(counts.values()) for counts in beside.values())
        usual = np.array([sum(beside.get(name, {}).values()) for name in names]) / everything
        share = np.array([beside[wanted].get(name, 0) for name in names]) / total
        lift = np.divide(share, usual, out=np.zeros(len(names)), where=usual > 0)
        return appeal + 6.0 * np.minimum(3.0, lift)
