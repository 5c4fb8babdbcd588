"""Explore: Alice plays without a task, steered by what she has learned and by wishes.

She knows the interface (see `interface`) and no recipe; how to learn and how to stay alive is built
in, and much of that can be left out (see the room's `priors`). In each episode she keeps a map,
goes for what is new in this episode and seems cheapest to reach, chaining backwards through what
she knows, tries what was never tried in such a situation, mends low vitals, and fights what hurts.
Invariant: an episode depends on its task, the knowledge and wishes given, and its own draws. Does
not: carry out a goal (see `pursuit`), or share what one episode teaches with another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from alicebob.alice.grid.affordance import Affordance
from alicebob.alice.grid.aims import Aims
from alicebob.alice.grid.interface import NO_THING
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.planner import USE, Step
from alicebob.alice.grid.pursuit import WALK, Choice, Pursuit
from alicebob.alice.grid.senses import Senses
from alicebob.alice.grid.worldmap import STEPS
from alicebob.alice.room import EVIDENCE
from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.trace import ASLEEP, INTENT

__all__ = ["Curious", "Mind"]

DANGER = 0.03  # hurt per step next to a thing, from which it is fought
REPLAN = 8  # steps after which a goal is thought over
DOUBT = 0.03  # chance of trying an action where not all is as it was when it worked
RETRY = 0.03  # chance of trying again what failed in all but this combination
PAUSE = 12  # steps from one trial of a never-worked action to the next, in the long run


class Curious:
    """The policy: one mind per live episode, `without` some of the priors of the room."""

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        wishes: Mapping[str, float] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.knowledge, self.without = knowledge or Knowledge(), without
        self.wishes = dict(sorted((wishes or {}).items()))

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with what was known before the wave.

        Raises UsageError where the environment does not show the grid that she sees with.
        """
        for live in wave:
            if "view" not in live.info:
                raise UsageError(
                    "The embedded Alice explores worlds seen as a grid, and env.spec names one "
                    "that shows none; let a language model explore it (alice.explore: model)."
                )
            live.memory = Mind(self.knowledge, self.wishes, self.without, live)

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Decide for each episode; a tag says what for, e.g. "intent:use tree".

        Where the environment says that the player sleeps, and so heeds no action, another tag says
        that too.
        """
        replies = []
        for live in lives:
            mind: Mind = live.memory
            if live.turns:
                mind.senses.observe(live.info, live.turns[-1].action)
            action, intent = mind.decide()
            asleep = (ASLEEP,) if live.info.get("sleeping") else ()
            replies.append(Reply(action, tags=(INTENT + intent, *asleep)))
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        mind: Mind = live.memory
        mind.senses.observe(live.info, live.turns[-1].action)
        return {EVIDENCE: mind.senses.close().to_json()}


class Mind:
    """What Alice has in mind in one episode: her goal, and what comes before it.

    One that tries nothing only does what she knows to work.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        wishes: Mapping[str, float],
        without: Collection[str],
        live: Live,
        tries: bool = True,
    ) -> None:
        actions = list(live.info.get("admissible_actions", ()))
        self.draw, self.fights, self.tries = live.draw, "fight" not in without, tries
        granted = live.task.options.get("inventory", ())
        self.senses = Senses(knowledge, live.info, without, granted)
        self.aims = Aims(self.senses, actions, wishes, live.draw, without)
        self.pursuit = Pursuit(self.senses, self.aims, live.draw)
        self.goal: Step | None = None
        self.goal_age = 0
        self.trials: dict[str, int] = {}  # presses of actions that never worked
        self.tried: set[tuple[Any, ...]] = set()

    def decide(self) -> Choice:
        """Return the next action and the intent that it serves."""
        senses = self.senses
        if senses.settled:
            self.goal = None
        if senses.info.get("sleeping") and senses.attempt is not None:
            choice = (senses.attempt.intent, senses.attempt.intent)
        else:
            senses.take_stock()
            choice = (
                (self.fights and self._defend()) or (self.tries and self._trial()) or self._pursue()
            )
        senses.aim(choice[0])
        return choice

    def _pursue(self) -> Choice:
        """Go on with the goal; think again when it is old, and once more when it has gone away."""
        self.goal_age += 1
        if self.goal is None or self.goal_age > REPLAN:
            self.goal, self.goal_age = self.aims.choose(), 0
        choice = self.pursuit.follow(self.goal)
        if choice is None:
            self.goal, self.goal_age = self.aims.choose(), 0
            choice = self.pursuit.follow(self.goal) or self.pursuit.sidestep("wander")
        return choice

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
        return self.pursuit.press(USE + name, (x + dx, y + dy))

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
                return self.pursuit.press(action, senses.faced)
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
