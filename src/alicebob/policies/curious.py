"""The embedded Alice: explores without a task, steered by what she has learned and by wishes.

She knows the interface (`alicebob.alice.interface`) and no rule of the game. In each episode she
keeps a map, goes for what is new in this episode and seems cheapest to reach, chaining backwards
through her knowledge, tries what was never tried in such a situation, mends low vitals, and fights
what hurts. Invariant: an episode depends on its task, the knowledge and wishes given, and its own
draws. Does not: share what one episode teaches with another (`alicebob.alice.explorer`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alicebob.alice import guard, shelter
from alicebob.alice.aims import Aims
from alicebob.alice.interface import IDLE, MOVES, NO_THING, PRESS
from alicebob.alice.knowledge import Affordance, Knowledge
from alicebob.alice.planner import USE, Step
from alicebob.alice.senses import Senses
from alicebob.alice.worldmap import FAR, STEPS
from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.trace import ASLEEP

__all__ = ["EVIDENCE", "Curious"]

EVIDENCE = "evidence"  # the key of Episode.meta that holds what an episode taught

Choice = tuple[str, str]  # an action and the intent it serves
WALK = {step: action for action, step in MOVES.items()}
DANGER = 0.03  # hurt per step next to a thing, from which it is fought
REPLAN = 8  # steps after which a goal is thought over
DOUBT = 0.03  # chance of trying an action where not all is as it was when it worked
RETRY = 0.03  # chance of trying again what failed in all but this combination
PAUSE = 12  # steps from one trial of a never-worked action to the next, in the long run
REACHED = 200  # steps for which a place at the edge is not gone to again


class Curious:
    """The policy: one mind per live episode."""

    def __init__(
        self, knowledge: Knowledge | None = None, wishes: Mapping[str, float] | None = None
    ) -> None:
        self.knowledge = knowledge or Knowledge()
        self.wishes = dict(sorted((wishes or {}).items()))

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with what was known before the wave.

        Raises UsageError where the environment does not show the grid that she sees with.
        """
        for live in wave:
            if "view" not in live.info:
                raise UsageError(
                    "The embedded Alice explores worlds seen as a grid, and env.spec names one "
                    "that shows none; let a language model explore it (alice.explorer: model)."
                )
            live.memory = _Mind(self.knowledge, self.wishes, live)

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Decide for each episode; a tag says what for, e.g. "intent:use tree".

        Where the environment says that the player sleeps, and so heeds no action, another tag says
        that too.
        """
        replies = []
        for live in lives:
            mind: _Mind = live.memory
            if live.turns:
                mind.senses.observe(live.info, live.turns[-1].action)
            action, intent = mind.decide()
            asleep = (ASLEEP,) if live.info.get("sleeping") else ()
            replies.append(Reply(action, tags=(f"intent:{intent}", *asleep)))
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        mind: _Mind = live.memory
        mind.senses.observe(live.info, live.turns[-1].action)
        return {EVIDENCE: mind.senses.close().to_json()}


class _Mind:
    """What Alice has in mind in one episode: her goal, and how she carries it out."""

    def __init__(self, knowledge: Knowledge, wishes: Mapping[str, float], live: Live) -> None:
        actions = list(live.info.get("admissible_actions", ()))
        self.draw = live.draw
        self.senses = Senses(knowledge, live.info)
        self.aims = Aims(self.senses, actions, wishes, live.draw)
        self.goal: Step | None = None
        self.goal_age = 0
        self.edge: tuple[int, int] | None = None  # the place at the edge she is going to
        self.trials: dict[str, int] = {}  # presses of actions that never worked
        self.tried: set[tuple[Any, ...]] = set()
        self.blocked = 0

    def decide(self) -> Choice:
        """Return the next action and the intent that it serves."""
        senses = self.senses
        if senses.settled:
            self.goal = None
        if senses.info.get("sleeping") and senses.attempt is not None:
            choice = (senses.attempt.intent, senses.attempt.intent)
        else:
            senses.take_stock()
            choice = self._defend() or self._trial() or self._pursue()
        senses.aim(choice[0])
        return choice

    def _pursue(self) -> Choice:
        """Go on with the goal; think again when it is old, and once more when it has gone away."""
        self.goal_age += 1
        if self.goal is None or self.goal_age > REPLAN:
            self.goal, self.goal_age = self.aims.choose(), 0
        choice = self._follow(self.goal)
        if choice is None:
            self.goal, self.goal_age = self.aims.choose(), 0
            choice = self._follow(self.goal) or self._sidestep("wander")
        return choice

    def _press(self, intent: str, target: tuple[int, int]) -> Choice:
        self.senses.begin(intent, target)
        return (PRESS if intent.startswith(USE) else intent), intent

    def _defend(self) -> Choice | None:
        """Fight what stands next to her and is known to hurt."""
        senses = self.senses
        x, y = senses.position
        threats = []
        for dx, dy in STEPS:
            name = senses.map.at(x + dx, y + dy)
            if name in NO_THING:
                continue
            thing = senses.model.thing(name)
            known = senses.model.intents.get(USE + name)
            if not thing.moves or thing.danger <= DANGER or thing.near <= 3:
                continue
            if known is None or not known.hopeless(senses.items(), name):
                threats.append((-thing.danger, senses.facing != (dx, dy), dx, dy, name))
        if not threats:
            return None
        _, away, dx, dy, name = min(threats)
        if away:
            return WALK[dx, dy], USE + name
        return self._press(USE + name, (x + dx, y + dy))

    def _trial(self) -> Choice | None:
        """Try an action that never worked where it may now: it takes one step only."""
        senses = self.senses
        situation = senses.situation()
        signature = (senses.front, *sorted(situation.items()))
        if (signature, "all") in self.tried or senses.model.thing(senses.front).moves:
            return None
        for action in self.aims.unnamed:
            if self._worth_a_trial(action, situation, signature):
                self.tried.add((signature, action))
                self.trials[action] = self.trials.get(action, 0) + 1
                return self._press(action, senses.faced)
        self.tried.add((signature, "all"))
        return None

    def _worth_a_trial(
        self, action: str, situation: dict[str, int], signature: tuple[Any, ...]
    ) -> bool:
        senses = self.senses
        known = senses.model.intent(action)
        if known.worked and not self._doubts(known):
            return False
        if (signature, action) in self.tried:
            return False
        if self.trials.get(action, 0) > 2 + senses.steps / PAUSE:
            return False
        if known.hopeless(situation, senses.front):
            return False
        return not known.familiar(situation, senses.front) or self.draw.random() <= RETRY

    def _doubts(self, known: Affordance) -> bool:
        """Say whether to see if an action that has worked works here too, with less than then."""
        if not known.uses or any(event in self.senses.done for event in known.events):
            return False
        held = self.senses.held
        spare = all(held.get(name, 0) >= n for name, n in known.uses.items())
        return spare and self.draw.random() < DOUBT

    # carrying out a goal: each returns None where there is nothing left to do for it

    def _follow(self, goal: Step | None) -> Choice | None:
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
            return self._press(USE + name, senses.faced)
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
                return self._press(USE + senses.front, senses.faced)[0], intent
            if thing.moves:  # in the way: wait for it to go, then go about
                self.blocked += 1
                if self.blocked % 3 == 0:
                    return self._sidestep(intent)
        return WALK[step], intent

    def _sidestep(self, intent: str) -> Choice:
        return sorted(MOVES)[int(self.draw.integers(len(MOVES)))], intent

    def _take_action(self, goal: Step) -> Choice | None:
        """Go where all that must be near is near, face what suits, act."""
        senses, planner = self.senses, self.aims.planner()
        if any(thing not in planner.around() for thing in goal.near):
            place = planner.place(goal.near)
            return self._walk(*place, goal.what) if place is not None else None
        known = senses.model.intent(goal.what)
        if known.worked:
            suits = senses.front not in known.fronts or known.suits(senses.front)
        else:
            suits = senses.walkable(senses.front)
        if suits:
            return self._press(goal.what, senses.faced)
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
            return self._sidestep(intent)
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
            return self._press(sleep, senses.faced) if sleep else (IDLE, "rest")
        what, direction = step
        if what == "wall":
            return self._press(wall, senses.faced)[0], "rest"
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
            return self._press(wall, senses.faced)[0], "guard"
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
        if wanted not in beside:
            return appeal
        total = sum(beside[wanted].values())
        everything = sum(sum(counts.values()) for counts in beside.values())
        usual = np.array([sum(beside.get(name, {}).values()) for name in names]) / everything
        share = np.array([beside[wanted].get(name, 0) for name in names]) / total
        lift = np.divide(share, usual, out=np.zeros(len(names)), where=usual > 0)
        return appeal + 6.0 * np.minimum(3.0, lift)
