"""The embedded Alice: explores without a task, model or network, steered by what she has learned.

She knows the interface (what is seen, that moves turn or walk, that one action presses on what is
faced, the names of the others) and no rule of the game. In each episode she keeps a map, goes for
what is new in this episode and seems cheapest to reach, chaining backwards through her knowledge
(`alicebob.alice.knowledge`), tries what was never tried in such a situation, mends low vitals, and
fights what hurts. Invariant: an episode depends on its task, the knowledge and wishes given, and
its own draws. Does not: share what one episode teaches with another (`alicebob.alice.explorer`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alicebob.alice import guard, shelter
from alicebob.alice.knowledge import LOW, NEAR, Affordance, Change, Knowledge
from alicebob.alice.planner import USE, Planner, Step
from alicebob.alice.worldmap import FAR, STEPS, WorldMap
from alicebob.policies import Live, Reply

__all__ = ["EVIDENCE", "Curious"]

EVIDENCE = "evidence"  # the key of Episode.meta that holds what an episode taught

# The interface of grid environments, Crafter's words for it. Another one would bring its own.
MOVES = {"move_left": (-1, 0), "move_right": (1, 0), "move_up": (0, -1), "move_down": (0, 1)}
PRESS = "do"
IDLE = "noop"
LIFE = "health"  # the vital that ends the episode
SELF = ("player", "unknown", "")  # what a view shows that is no thing

WALK = {step: action for action, step in MOVES.items()}
URGENCY = (9.0, 6.0, 3.5, 2.0, 1.0, 0.5, 0.2, 0.1, 0.03, 0.0)  # of a vital, by its level
DANGER = 0.03  # hurt per step next to a thing, from which it is fought
REPLAN = 8  # steps after which a goal is thought over
FOCUS = 8.0  # worth of the event an episode is for; it decays with each time
LOOK_IN = 60  # steps after which to look at it again
BALK = 10  # steps for which an intent that failed is left alone
DOUBT = 0.03  # chance of trying an action where not all is as it was when it worked
RETRY = 0.03  # chance of trying again what failed in all but this combination
PAUSE = 12  # steps from one trial of a never-worked action to the next, in the long run
OVERHEAD = 4.0  # steps added to the cost of each plan
RISK = 20.0  # steps that a point of life lost is worth
WEARY = 0.8  # summed urgency of rest from which a closed place is looked for
WALLS = 6  # walls to have before giving up on a place
EXPLORE = 0.14  # worth of a walk to the edge of what was seen; a new event is worth 1


@dataclass(slots=True)
class _Attempt:
    """An intent being carried out: where it stood when the pressing began."""

    intent: str
    situation: dict[str, int]
    front: str
    held: dict[str, int]
    target: tuple[int, int]
    presses: int = 0
    events: dict[str, int] = field(default_factory=dict)


class Curious:
    """The policy: one mind per live episode."""

    def __init__(
        self, knowledge: Knowledge | None = None, wishes: Mapping[str, float] | None = None
    ) -> None:
        self.knowledge = knowledge or Knowledge()
        self.wishes = dict(sorted((wishes or {}).items()))

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with what was known before the wave."""
        for live in wave:
            live.memory = _Mind(self.knowledge, self.wishes, live)

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Decide for each episode; the tag says what for, e.g. "intent:use tree"."""
        replies = []
        for live in lives:
            mind: _Mind = live.memory
            mind.observe(live.info, live.turns[-1].action if live.turns else "")
            action, intent = mind.decide()
            replies.append(Reply(action, tags=(f"intent:{intent}",)))
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        mind: _Mind = live.memory
        mind.observe(live.info, live.turns[-1].action)
        mind.close()
        return {EVIDENCE: mind.found.to_json()}


class _Mind:
    """What Alice thinks in one episode."""

    def __init__(self, knowledge: Knowledge, wishes: Mapping[str, float], live: Live) -> None:
        self.model = knowledge.copy()
        self.found = Knowledge()
        self.draw = live.draw
        self.map = WorldMap()
        self.done: dict[str, int] = {}
        self.wishes = wishes
        self.focus = self._choose_focus()
        self.actions = list(live.info.get("admissible_actions", ()))
        self.vitals = [n for n, amount in live.info["inventory"].items() if amount > 0]
        self.full = {n: live.info["inventory"][n] for n in self.vitals}
        self.info: Mapping[str, Any] | None = None
        self.attempt: _Attempt | None = None
        self.goal: Step | None = None
        self.goal_age = 0
        self.frontier: tuple[int, int] | None = None
        self.tries: dict[str, int] = {}
        self.bag: dict[str, int] = {}
        self.tried: set[tuple[Any, ...]] = set()
        self.dropped: dict[str, int] = {}
        self.seen: set[str] = set()
        self.counts = np.zeros((2, 64), np.int64)
        self.stuck = 0
        self.guarded = (0, 0)
        self.visited: dict[tuple[int, int], int] = {}
        self.balked: dict[str, int] = {}  # until when an intent that failed is left alone
        self.cost: dict[str, int] = {}
        self.neighbours: set[str] = set()
        self.shelter: shelter.Shelter | None = None
        self.steps = 0

    def _choose_focus(self) -> str:
        """Draw the event to favour in this episode, "" for none, by the wishes' weights."""
        names = sorted(self.wishes)
        weights = np.array([1.0] + [max(0.0, self.wishes[name]) for name in names])
        pick = int(self.draw.choice(len(weights), p=weights / weights.sum()))
        return names[pick - 1] if pick else ""

    # --- noticing what happened -------------------------------------------------------------

    def observe(self, info: Mapping[str, Any], action: str) -> None:
        """Take in the state and learn from what the last action did."""
        last, self.info = self.info, info
        position = tuple(info["position"])
        own = self._faced(last) if last else None
        before, after = self.map.see(info["view"], position)
        if last is None:
            self._sight(after)
            return
        self.steps += 1
        for event in info.get("events", ()):
            self.done[event] = self.done.get(event, 0) + 1
        self._changes(before, after, own, position)
        self._entering(last, action)
        self._hurt(last)
        self._rested(last)
        self._attempted(last, action)
        if self.steps % 20 == 0:
            self._flush()

    def _both(self) -> tuple[Knowledge, Knowledge]:
        return self.model, self.found

    def _faced(self, info: Mapping[str, Any]) -> tuple[int, int]:
        (x, y), (dx, dy) = info["position"], info["facing"]
        return x + dx, y + dy

    def _sight(self, patch: Any) -> None:
        for number in np.unique(patch).tolist():
            name = self.map.names[number]
            if name not in self.seen and name not in SELF:
                self.seen.add(name)
                for knowledge in self._both():
                    knowledge.thing(name).episodes += 1

    def _changes(self, before: Any, after: Any, own: Any, position: Any) -> None:
        """Count what was seen and what of it was gone a step later."""
        size = len(self.map.names)
        if size > self.counts.shape[1]:
            self.counts = np.pad(self.counts, ((0, 0), (0, size)))
        self.counts[0] += np.bincount(before.ravel(), minlength=self.counts.shape[1])
        differ = (before != after) & (before > 0)
        for i, j in np.argwhere(differ).tolist():
            x = position[0] + i - before.shape[0] // 2
            y = position[1] + j - before.shape[1] // 2
            if (x, y) == own or (x, y) == position:
                continue
            was, now = self.map.names[before[i, j]], self.map.names[after[i, j]]
            if was in SELF or now in SELF:
                continue
            self.counts[1, before[i, j]] += 1
            if not self.model.thing(was).moves and not self.model.thing(now).moves:
                for knowledge in self._both():
                    becomes = knowledge.becomes.setdefault(was, {})
                    becomes[now] = becomes.get(now, 0) + 1
        if len(self.seen) < len(self.map.names) or differ.any():
            self._sight(after)

    def _flush(self) -> None:
        for number, name in enumerate(self.map.names):
            if name in SELF or not self.counts[0, number]:
                continue
            for knowledge in self._both():
                thing = knowledge.thing(name)
                thing.cells += int(self.counts[0, number])
                thing.changed += int(self.counts[1, number])
        self.counts[:] = 0

    def _entering(self, last: Mapping[str, Any], action: str) -> None:
        """Learn from a move whether its thing can be entered, and whether it kills."""
        if action not in MOVES or last.get("sleeping"):
            return
        assert self.info is not None
        thing = self.aimed
        if thing in SELF or self.model.thing(thing).moves:
            return
        moved = self.info["position"] != last["position"]
        dead = self.info["inventory"][LIFE] <= 0
        for knowledge in self._both():
            known = knowledge.thing(thing)
            known.enter += 1
            known.entered += moved
            known.killed += dead and moved and last["inventory"][LIFE] > 2

    def _hurt(self, last: Mapping[str, Any]) -> None:
        """Blame a loss of life on the creatures near by, unless want explains it."""
        assert self.info is not None
        drop = last["inventory"][LIFE] - self.info["inventory"][LIFE]
        want = any(self.info["inventory"][v] == 0 for v in self.vitals if v != LIFE)
        hurt = drop > (1 if want else 0)
        close = self.neighbours | self._beside()
        self.neighbours = self._beside()
        for name in sorted(close):
            if name in SELF or not self.model.thing(name).moves:
                continue
            for knowledge in self._both():
                knowledge.thing(name).near += 1
                knowledge.thing(name).hurt += hurt

    def _beside(self) -> set[str]:
        """Return the things next to her, straight on four sides."""
        x, y = self.map.position
        return {self.map.at(x + dx, y + dy) for dx, dy in STEPS}

    def _rested(self, last: Mapping[str, Any]) -> None:
        """Count the steps asleep and the life lost in them, apart for open and closed places."""
        assert self.info is not None
        change = self.info["inventory"][LIFE] - last["inventory"][LIFE]
        if not last.get("sleeping"):
            for knowledge in self._both():
                knowledge.rest["healed"] = knowledge.rest.get("healed", 0) + (change > 0)
            return
        place = "closed" if self._closed() else "open"
        for knowledge in self._both():
            rest = knowledge.rest
            rest[place] = rest.get(place, 0) + 1
            rest[f"{place} lost"] = rest.get(f"{place} lost", 0) + max(0, -change)

    def _closed(self) -> bool:
        """Say whether the place she is in was closed on all sides."""
        if self.shelter is None or self.map.position not in self.shelter.cells:
            return False
        return all(
            self._cost(self.map.at(x + dx, y + dy)) != 1 for (x, y), (dx, dy) in self.shelter.border
        )

    def _attempted(self, last: Mapping[str, Any], action: str) -> None:
        """Judge the attempt going on, if this action was part of it."""
        attempt, info = self.attempt, self.info
        assert info is not None
        if attempt is None or not self._pressing(action, last):
            return
        for event in info.get("events", ()):
            attempt.events[event] = attempt.events.get(event, 0) + 1
        attempt.presses += 1
        if info.get("sleeping") and info["inventory"][LIFE] > 0:
            return  # goes on until she wakes
        held, asleep = info["inventory"], bool(last.get("sleeping"))
        gains = {
            n: held[n] - attempt.held.get(n, 0)
            for n in held
            if held[n] > attempt.held.get(n, 0) and (n != LIFE or asleep)
        }
        uses = {
            n: attempt.held[n] - held.get(n, 0)
            for n in attempt.held
            if n not in self.vitals and held.get(n, 0) < attempt.held[n]
        }
        now = self.map.at(*attempt.target)
        known = self.model.thing(attempt.front)
        acting = not attempt.intent.startswith(USE)
        made = now if now != attempt.front and not known.moves and now not in SELF else ""
        if made and (self.model.thing(made).moves or (acting and not (uses or attempt.events))):
            made = ""  # it happened to come or go
        if attempt.events or gains or uses or made or asleep:
            change = Change(attempt.presses, uses, gains, attempt.events, made)
            for knowledge in self._both():
                affordance = knowledge.intent(attempt.intent)
                affordance.success(attempt.situation, attempt.front, change)
            self.goal = None
        elif attempt.presses < self._patience(attempt.intent):
            return
        else:
            situation = {n: a for n, a in attempt.situation.items() if not n.startswith(LOW)}
            for knowledge in self._both():
                knowledge.intent(attempt.intent).failure(situation, attempt.front)
            self.map.shun(*attempt.target, 60)
            self.balked[attempt.intent] = self.steps + BALK
            self.goal = None
        self.attempt = None

    def _pressing(self, action: str, last: Mapping[str, Any]) -> bool:
        assert self.attempt is not None
        if last.get("sleeping"):
            return True
        expected = PRESS if self.attempt.intent.startswith(USE) else self.attempt.intent
        return action == expected

    def _patience(self, intent: str) -> int:
        """Return the presses after which an attempt is given up."""
        if not intent.startswith(USE):
            return 1
        known = self.model.intents.get(intent)
        if known is None or not known.worked:
            return 6
        return int(2.5 * known.presses / known.worked) + 3

    def close(self) -> None:
        """Write down what only the whole episode shows."""
        self._flush()
        found = self.found
        found.episodes = 1
        found.steps = self.steps
        found.events = dict.fromkeys(sorted(self.done), 1)
        found.beside = {
            name: {other: n for other, n in counts.items() if other not in SELF}
            for name, counts in self.map.surroundings().items()
            if name not in SELF
        }

    # --- deciding what to do ----------------------------------------------------------------

    def decide(self) -> tuple[str, str]:
        """Return the next action and the intent that it serves."""
        info = self.info
        assert info is not None
        if info.get("sleeping") and self.attempt is not None:
            return self._emit(self.attempt.intent, self.attempt.intent)
        self.held = {n: a for n, a in info["inventory"].items() if a > 0}
        self.front = self.map.at(*self._faced(info))
        self.map.measure(self._costs())
        choice = self._defend() or self._trial()
        if choice is None:
            self.goal_age += 1
            if self.goal is None or self.goal_age > REPLAN:
                self.goal, self.goal_age = self._choose(), 0
            choice = self._follow(self.goal)
            if choice is None:  # the goal has gone away: think again, then walk about
                self.goal, self.goal_age = self._choose(), 0
                choice = self._follow(self.goal) or self._wander()
        return self._emit(*choice)

    def _emit(self, action: str, intent: str) -> tuple[str, str]:
        """Note what a move aims at, for learning from it."""
        info = self.info
        assert info is not None
        if action in MOVES:
            (x, y), (dx, dy) = info["position"], MOVES[action]
            self.aimed = self.map.at(x + dx, y + dy)
        return action, intent

    def _costs(self) -> Any:
        costs = np.zeros(len(self.map.names), np.int32)
        self.cost = {name: self._judge_cost(name) for name in self.map.names}
        costs[:] = list(self.cost.values())
        return costs

    def _cost(self, name: str) -> int:
        """Return the steps that entering a thing takes, 0 where it cannot be entered."""
        return self.cost.get(name, 0)

    def _judge_cost(self, name: str) -> int:
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
        if use is None or not use.worked or not self._ready(use):
            return 0
        opened = any(self.model.thing(made).entered for made in use.makes)
        return 1 + round(use.effort) if opened else 0

    def _ready(self, use: Affordance) -> bool:
        """Say whether all that an intent needs is held (what must stand near left aside)."""
        required = use.required()
        return all(":" in n or self.held.get(n, 0) >= amount for n, amount in required.items())

    def _situation(self, acting: bool) -> dict[str, int]:
        """Return the features of the moment; for an action also what stands near and is low."""
        assert self.info is not None
        items = {n: a for n, a in self.held.items() if n not in self.vitals}
        if not acting:
            return items
        x, y = self.info["position"]
        around = {self.map.at(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        for name in sorted(around):
            if name not in SELF:
                thing = self.model.thing(name)
                if not thing.entered and not thing.moves:
                    items[NEAR + name] = 1
        return items | dict.fromkeys(self._low(), 1)

    def _low(self) -> list[str]:
        """Return the features of the vitals that are below what she began with."""
        assert self.info is not None
        return [LOW + v for v in self.vitals if self.info["inventory"][v] < self.full[v]]

    def _defend(self) -> tuple[str, str] | None:
        """Fight what stands next to her and is known to hurt."""
        assert self.info is not None
        x, y = self.info["position"]
        threats = []
        for dx, dy in STEPS:
            name = self.map.at(x + dx, y + dy)
            if name in SELF:
                continue
            thing = self.model.thing(name)
            known = self.model.intents.get(USE + name)
            if known is not None and known.hopeless(self._situation(False), name):
                continue
            if thing.moves and thing.danger > DANGER and thing.near > 3:
                faced = tuple(self.info["facing"]) == (dx, dy)
                threats.append((-thing.danger, not faced, dx, dy, name))
        if not threats:
            return None
        _, away, dx, dy, name = min(threats)
        if away:
            return WALK[dx, dy], USE + name
        return self._press(USE + name, (x + dx, y + dy))

    def _press(self, intent: str, target: tuple[int, int]) -> tuple[str, str]:
        """Begin or go on with an attempt."""
        acting = not intent.startswith(USE)
        attempt = self.attempt
        same = attempt is not None and attempt.intent == intent
        if not same or acting:
            self._give_up()
            self.attempt = _Attempt(
                intent, self._situation(acting), self.front, dict(self.held), target
            )
        else:
            assert attempt is not None
            attempt.target, attempt.front = target, self.front
        return (intent if acting else PRESS), intent

    def _give_up(self) -> None:
        """Count an attempt that was broken off as failed, where the intent never worked yet."""
        attempt = self.attempt
        if attempt is None or attempt.presses < 2 or self.model.intent(attempt.intent).worked:
            return
        for knowledge in self._both():
            knowledge.intent(attempt.intent).failure(attempt.situation, attempt.front)

    def _trial(self) -> tuple[str, str] | None:
        """Try an action that never worked, or not in such a situation, where it may now."""
        assert self.info is not None
        situation = self._situation(acting=True)
        situation = {n: a for n, a in situation.items() if not n.startswith(LOW)}
        signature = (self.front, *sorted(situation.items()))
        if (signature, "all") in self.tried or self.model.thing(self.front).moves:
            return None
        for action in self.actions:
            if action in MOVES or action in (PRESS, IDLE):
                continue
            known = self.model.intent(action)
            if known.worked and not self._doubtful(known):
                continue
            if (signature, action) in self.tried or self.tries.get(
                action, 0
            ) > 2 + self.steps / PAUSE:
                continue
            if known.hopeless(situation, self.front):
                continue
            if known.familiar(situation, self.front) and self.draw.random() > RETRY:
                continue
            self.tried.add((signature, action))
            self.tries[action] = self.tries.get(action, 0) + 1
            return self._press(action, self._faced(self.info))
        self.tried.add((signature, "all"))
        return None

    def _doubtful(self, known: Affordance) -> bool:
        """Say whether to see if an action that has worked works here too, with less than then."""
        if any(event in self.done for event in known.events):
            return False
        spent = all(self.held.get(n, 0) >= amount for n, amount in (known.uses or {}).items())
        return spent and bool(known.uses) and self.draw.random() < DOUBT

    def _choose(self) -> Step | None:
        """Weigh all that could be done now and return the first step of the best."""
        assert self.info is not None
        planner = Planner(self.model, self.map, self.held, self._low())
        best, best_score = None, 0.0
        for worth, step in self._options(planner):
            if step is None or step.cost >= FAR:
                continue
            score = worth / (step.cost + OVERHEAD)
            if score > best_score:
                best, best_score = step, score
        return best

    def _options(self, planner: Planner) -> Any:
        """Yield (worth, step) for events, vitals, unknown uses and unknown actions."""
        assert self.info is not None
        for event in sorted(self.model.events | self.done):
            worth = self._worth(event)
            if worth > 0:
                for intent in self.model.makers(event)[:2]:
                    if self.balked.get(intent, 0) > self.steps:
                        continue
                    yield worth, planner.plan(intent)
        yield from self._needs(planner)
        for name in sorted(self.seen):
            intent = USE + name
            known = self.model.intents.get(intent)
            thing = self.model.thing(name)
            if known is not None and known.worked and self._ready(known):
                continue
            if known is not None and known.hopeless(self._situation(False), name):
                continue
            if self.dropped.get(intent, 0) >= 3:
                continue
            found = self.map.nearest(name)
            if thing.entered and name != self.front:
                continue  # what she walks on is tried when it happens to be faced
            if found is not None and not thing.deadly:
                worth = 0.8
                kinds = dict.fromkeys(self._situation(False), 1)
                if known is not None and known.familiar(kinds, name):
                    worth /= 1 + known.tried
                yield worth, Step(found[2], "use", name)
        yield from self._tend(planner)
        yield from self._ambitions(planner)
        yield EXPLORE, Step(10.0, "find", "")

    def _needs(self, planner: Planner) -> Any:
        """Yield plans for the vitals that are low; rest is best taken in a closed place."""
        assert self.info is not None
        rest = self.model.rest
        lost = (rest.get("open lost", 0) + 1.0) / (rest.get("open", 0) + 100.0)
        weary = 0.0
        for vital in self.vitals:
            urgency = URGENCY[min(9, self.info["inventory"][vital] * 9 // self.full[vital])]
            step = None if vital == LIFE else planner.gain(vital)
            if step is not None and step.kind == "act" and self._slept(step.what):
                weary += urgency
                steps = self.model.intents[step.what].effort
                step = Step(step.cost + RISK * lost * steps, step.kind, step.what, step.near)
            elif vital == LIFE and rest.get("healed"):
                weary += urgency
            if step is not None and urgency > 0:
                yield 3.0 * urgency, step
        if weary >= WEARY or (weary > 0.1 and self._closed()):
            yield 3.0 * weary, self._refuge(planner)

    def _slept(self, action: str) -> bool:
        """Say whether an action is one that puts her to sleep: it takes more than one step."""
        known = self.model.intents.get(action)
        return known is not None and known.worked > 0 and known.presses > 3 * known.worked

    def _wall(self) -> tuple[str, str, int] | None:
        """Return an action that makes a wall she can open again, what it uses, and how much.

        Of several, the one whose wall she has opened most often.
        """
        best, opened = None, 0
        for name, known in sorted(self.model.intents.items()):
            if name.startswith(USE) or not known.worked or len(known.uses or {}) != 1:
                continue
            for made in known.makes:
                use = self.model.intents.get(USE + made)
                ways = sum(n for left, n in use.makes.items() if self._open(left)) if use else 0
                if ways > opened and not self._open(made) and not self.model.thing(made).moves:
                    item, amount = next(iter((known.uses or {}).items()))
                    best, opened = (name, item, amount), ways
        return best

    def _open(self, name: str) -> bool:
        return self.model.thing(name).entered > 0

    def _refuge(self, planner: Planner) -> Step | None:
        """Return the plan for a closed place to rest in: walls first, if they are lacking."""
        wall = self._wall()
        if wall is None:
            return None
        action, item, amount = wall
        if self._closed():
            return Step(1.0, "rest", action)
        walls = self.held.get(item, 0) // amount
        fronts = self.model.intent(action).fronts
        found = shelter.find(
            self.map, self._cost, lambda name: fronts.get(name, [0, 0])[0] > 0, walls
        )
        self.shelter = found
        if found is not None:
            return Step(found.cost + 1.0, "rest", action)
        if walls < WALLS:
            return planner.gain(item)
        return None

    def _worth(self, event: str) -> float:
        """Return what an event is worth now: much when new in this episode."""
        times = self.done.get(event, 0)
        if event == self.focus:
            return FOCUS / (1 + times) if times < 4 else 0.0
        return 0.0 if times else 1.0

    def _tend(self, planner: Planner) -> Any:
        """Yield plans for things she can make that become what is wished for: guard, look in.

        It takes long, so nothing is tended unasked.
        """
        wall, worth = self._wall(), self._worth(self.focus) if self.focus else 0.0
        if worth <= 0:
            return
        for thing in sorted(self.model.becomes):
            makers = planner.makers(thing)
            if not makers or not self._promised(thing):
                continue
            places = [p for p in self.map.places(thing) if self.map.beside(*p)[2] < FAR]
            if not places:
                yield from ((worth, planner.plan(maker)) for maker in makers)
                continue
            place = min(places, key=lambda p: (self.map.beside(*p)[2], p))
            x, y = self.map.position
            if abs(place[0] - x) <= 2 and abs(place[1] - y) <= 2:
                self.visited[place] = self.steps
            distance = float(self.map.beside(*place)[2])
            sides = guard.open_sides(self.map, place, self._cost)
            for dx, dy in STEPS:
                if self._cost(self.map.at(place[0] + dx, place[1] + dy)) > 1:
                    self.map.shun(place[0] + dx, place[1] + dy, LOOK_IN)
            if sides and wall is not None:
                action, item, amount = wall
                self.guarded = place
                if self.held.get(item, 0) < amount * len(sides):
                    yield worth, planner.gain(item)
                else:
                    yield worth, Step(distance + 5.0 * len(sides), "guard", action)
            elif self.steps - self.visited.get(place, 0) > LOOK_IN:
                self.guarded = place
                yield worth, Step(distance, "visit", thing)

    def _promised(self, thing: str) -> bool:
        """Say whether a thing may become what the wished event comes from, none of it there yet."""
        for later in self.model.becomes[thing]:
            use = self.model.intents.get(USE + later)
            if use is not None and self.focus in use.events:
                return self.map.nearest(later) is None
        return False

    def _ambitions(self, planner: Planner) -> Any:
        """Yield plans for actions that never worked: all kinds of things held, all made near."""
        unknown = [
            a
            for a in self.actions
            if a not in MOVES and a not in (PRESS, IDLE) and not self.model.intent(a).worked
        ]
        if not unknown:
            return
        wanted: dict[str, int] = {}
        stations = set()
        for name, affordance in sorted(self.model.intents.items()):
            for gain in affordance.gains:
                if gain not in self.vitals:
                    wanted[gain] = self._bag(gain, name) if name.startswith(USE) else 1
            for need in affordance.need or {}:
                if need.startswith(NEAR):
                    stations.add(need[len(NEAR) :])
            if not name.startswith(USE):
                stations |= {m for m in affordance.makes if not self.model.thing(m).entered}
        near = tuple(
            sorted(s for s in stations if self.model.intents.get(USE + s, Affordance()).worked == 0)
        )
        situation = dict(wanted) | {NEAR + s: 1 for s in near}
        worth = 1.2 if self.focus in ("", *self.model.events) else FOCUS
        for action in unknown:
            known = self.model.intent(action)
            if not situation or known.hopeless(situation):
                self.bag.clear()  # this has failed before: another time with other numbers
            else:
                yield worth, planner.gather(wanted, near, action)

    def _bag(self, item: str, producer: str) -> int:
        """Return how many of an item this episode means to hold for what it will try."""
        if item not in self.bag:
            effort = self.model.intents[producer].effort
            self.bag[item] = 1 if effort > 3 else min(6, int(self.draw.geometric(0.6)))
        return self.bag[item]

    # --- carrying it out --------------------------------------------------------------------

    def _follow(self, goal: Step | None) -> tuple[str, str] | None:
        """Return the action that brings the goal nearer, None where there is none left."""
        if goal is None:
            return None
        if goal.kind == "use":
            return self._use(goal.what)
        if goal.kind == "act":
            return self._do_action(goal)
        if goal.kind == "guard":
            return self._guard(goal.what)
        if goal.kind == "visit":
            if self.guarded in self.visited and self.visited[self.guarded] == self.steps:
                return None
            return self._toward(*self.guarded, "visit")
        if goal.kind == "rest":
            return self._rest(goal.what)
        if goal.what and self.map.nearest(goal.what) is not None:
            return None
        return self._explore(goal.what)

    def _rest(self, wall: str) -> tuple[str, str] | None:
        """Go to the chosen place, close it, and sleep or wait in it."""
        assert self.info is not None
        place = self.shelter
        if place is None:
            return None
        lacking = [c for c in sorted(place.cells) if self.map.distance(*c) > 0]
        shut = [c for c in lacking if self._cost(self.map.at(*c)) > 1]
        if self.map.position not in place.cells or shut:
            target = min(shut or lacking, key=lambda c: (self.map.distance(*c), c))
            return self._walk(*target, "rest")
        step = shelter.next_step(place, self.map, tuple(self.info["facing"]), self._cost)
        if step is None:
            sleep = next((a for a in self.actions if self._slept(a)), None)
            needs = self.model.intent(sleep).required() if sleep else {}
            if sleep and all(n in self._low() for n in needs if n.startswith(LOW)):
                return self._press(sleep, self._faced(self.info))
            return IDLE, "rest"
        what, direction = step
        if what == "wall":
            return self._press(wall, self._faced(self.info))[0], "rest"
        if what == "walk":
            return WALK[direction], "rest"
        self.shelter = None
        return None

    def _guard(self, wall: str) -> tuple[str, str] | None:
        """Put walls around the cell that is guarded."""
        assert self.info is not None
        found = guard.way(self.map, self.guarded, tuple(self.info["facing"]), self._cost)
        if found is None:
            return None
        what, where = found
        if what == "wall":
            return self._press(wall, self._faced(self.info))[0], "guard"
        if what == "step":
            return WALK[where], "guard"
        return self._walk(*where, "guard")

    def _use(self, name: str) -> tuple[str, str] | None:
        assert self.info is not None
        intent = USE + name
        faced = self._faced(self.info)
        if self.front == name:
            return self._press(intent, faced)
        found = self.map.nearest(name)
        if found is None:
            return None
        x, y, _ = found
        return self._toward(x, y, intent)

    def _toward(self, x: int, y: int, intent: str) -> tuple[str, str] | None:
        """Walk until a position is faced; open what is in the way."""
        assert self.info is not None
        px, py = self.info["position"]
        if abs(x - px) + abs(y - py) == 1:
            return WALK[x - px, y - py], intent
        bx, by, distance = self.map.beside(x, y)
        if distance >= FAR:
            return None
        if distance == 0:
            return None
        return self._walk(bx, by, intent)

    def _walk(self, x: int, y: int, intent: str) -> tuple[str, str] | None:
        """Take a step of the way to a reachable cell, pressing on what must be opened."""
        assert self.info is not None
        dx, dy = self.map.step(x, y)
        if (dx, dy) == (0, 0):
            return None
        px, py = self.info["position"]
        name = self.map.at(px + dx, py + dy)
        thing = self.model.thing(name)
        faced = tuple(self.info["facing"]) == (dx, dy)
        if faced and name not in SELF and thing.enter and not thing.entered and not thing.moves:
            return self._press(USE + name, (px + dx, py + dy))[0], intent
        if faced and thing.moves:  # in the way: press on it, it may give way
            self.stuck += 1
            if self.stuck % 3 == 0:
                return self._sidestep(intent)
        return WALK[dx, dy], intent

    def _sidestep(self, intent: str) -> tuple[str, str]:
        action = sorted(MOVES)[int(self.draw.integers(len(MOVES)))]
        return action, intent

    def _do_action(self, goal: Step) -> tuple[str, str] | None:
        """Go where all that must be near is near, face what suits, act."""
        assert self.info is not None
        planner = Planner(self.model, self.map, self.held, self._low())
        if any(thing not in planner.around() for thing in goal.near):
            place = planner.place(goal.near)
            if place is None:
                return None
            return self._walk(*place, goal.what)
        known = self.model.intent(goal.what)
        unknown = not known.worked and self._open(self.front)
        untried = bool(known.worked) and self.front not in known.fronts
        if unknown or untried or known.suits(self.front):
            return self._press(goal.what, self._faced(self.info))
        return self._turn(goal, known)

    def _turn(self, goal: Step, known: Affordance) -> tuple[str, str]:
        """Move or turn so that another thing is faced, one that has served before if any."""
        assert self.info is not None
        x, y = self.info["position"]
        options = []
        for dx, dy in STEPS:
            beside = self.map.at(x + dx, y + dy)
            walks = self.model.thing(beside).entered > 0 if beside not in SELF else False
            ahead = self.map.at(x + 2 * dx, y + 2 * dy) if walks else beside
            worked, failed = known.fronts.get(ahead, [0, 0])
            if beside in SELF or self.model.thing(beside).deadly or self.model.thing(beside).moves:
                continue
            options.append((-(worked > failed), failed, float(self.draw.random()), dx, dy))
        if not options:
            return self._sidestep(goal.what)
        _, _, _, dx, dy = min(options)
        return WALK[dx, dy], goal.what

    def _explore(self, wanted: str) -> tuple[str, str] | None:
        """Walk to the edge of what was seen, where a wanted thing is likely."""
        assert self.info is not None
        intent = f"find {wanted}" if wanted else "explore"
        if self.frontier is not None:
            x, y = self.frontier
            if not self.map.open_ended(x, y) or self.map.distance(x, y) >= FAR:
                self.frontier = None
        if self.frontier is None:
            best = self.map.frontier(self._appeal(wanted))
            if best is None:
                return None
            self.frontier = best[:2]
        if tuple(self.info["position"]) == self.frontier:
            x, y = self.frontier
            self.map.shun(x, y, 200)
            self.frontier = None
            for dx, dy in STEPS:
                if self.map.at(x + dx, y + dy) == "":
                    return WALK[dx, dy], intent
            return None
        return self._walk(*self.frontier, intent)

    def _appeal(self, wanted: str) -> Any:
        """Return for each thing how much more often the wanted one is found beside it."""
        appeal = np.zeros(len(self.map.names))
        appeal += self.draw.random(len(appeal)) * 2.0
        beside = self.model.beside
        if wanted not in beside:
            return appeal
        total = sum(beside[wanted].values())
        everything = sum(sum(counts.values()) for counts in beside.values())
        for number, name in enumerate(self.map.names):
            share = beside[wanted].get(name, 0) / total
            usual = sum(beside.get(name, {}).values()) / max(1, everything)
            if usual > 0:
                appeal[number] += 6.0 * min(3.0, share / usual)
        return appeal

    def _wander(self) -> tuple[str, str]:
        """Walk at random: nothing else is left."""
        return self._sidestep("wander")
