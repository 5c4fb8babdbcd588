"""Hooks: what an environment may offer beside `reset` and `step`. Each is optional.

- `alice`: the name of the room of Alice that knows it (`alicebob.alice.room`), or "package.module"
- `actions`: the forms of its actions, where those differ from turn to turn
- `events`: the names of what can be achieved in it, in an order of its own
- `instructions`: what a whole episode without a goal is told
- `suite()`: trials, so that its skills are evaluated one by one
- `tasks(split, seeds)`: the goals of whole episodes, as pairs of instruction and reset options
- `task_free(persona)`: the reset options of an episode in which nothing is asked for
- `score(rates)`: its own score, of the share of episodes in which each event happened
- `render(size)`: a picture of the state, (size, size, 3), for replays
- `words`: words of its texts that are rare in random play, for who builds a tokenizer
- `marks`: how its texts are cut for a tokenizer where they are more than words (`Marks`)

Of the `info` of `reset` and `step`, all read: `admissible_actions`, what can be done now, where
"..." is free to fill in; `events`, what this turn achieved; `success` and `progress` from 0 to 1,
of the episode's goal; `result`, plain data about the episode, at its end; `invalid_action`, whether
the action was none. The room "grid" reads `view`, `facing`, `position`, `inventory`, `sleeping`
too, and the room "shop" `page`, `product`, `options`.

An attribute of such a name that is something else (no text, no names, nothing to call) is no hook.
Does not: know any environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FREE",
    "TOLD",
    "Marks",
    "Trial",
    "actions_of",
    "events_of",
    "has_goals",
    "marks_of",
    "offers",
    "room_of",
    "score_of",
    "suite_of",
    "task_free",
    "tasks_of",
    "told",
    "words_of",
]

FREE = "..."  # what is free to fill in, in an action such as "search[...]"
ROOM = "anywhere"  # the room of Alice for who names none
TOLD = "Achieve as much as you can."


@dataclass(frozen=True, slots=True)
class Trial:
    """One skill to try: done when the event `name` happens within `max_turns` turns.

    `options` are reset options that grant what the skill needs.
    """

    name: str
    instruction: str
    max_turns: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Marks:
    """Regular expressions of what a tokenizer must not take for plain words.

    `pieces` are kept whole, the first that fits; `bracketed` is what follows a bracket that opens a
    mark and no word, "" where there are no such marks.
    """

    pieces: tuple[str, ...] = ()
    bracketed: str = ""


def room_of(env: Any) -> str:
    """Return the room of Alice that an environment, or what makes it, names; else "anywhere"."""
    return _text(env, "alice") or ROOM


def told(env: Any) -> str:
    """Return what a whole episode without a goal is told: by default, to achieve much."""
    return _text(env, "instructions") or TOLD


def events_of(env: Any) -> tuple[str, ...]:
    """Return the names of what can be achieved, in the environment's order; () for none."""
    return _names(env, "events")


def words_of(env: Any) -> tuple[str, ...]:
    """Return the environment's own words; () for none."""
    return _names(env, "words")


def marks_of(env: Any) -> Marks:
    """Return how an environment's texts are cut; plainly where it does not say."""
    found = getattr(env, "marks", None)
    return found if isinstance(found, Marks) else Marks()


def suite_of(env: Any) -> Sequence[Trial]:
    """Return an environment's trials, none where it has no suite."""
    suite = _method(env, "suite")
    return suite() if suite else ()


def has_goals(env: Any) -> bool:
    """Say whether an environment has goals of its own, by split."""
    return _method(env, "tasks") is not None


def tasks_of(env: Any, split: str, seeds: Sequence[int]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what a whole episode is about for each seed: an instruction and reset options.

    Where an environment has no goals, that is what it tells who has none.
    """
    tasks = _method(env, "tasks")
    return list(tasks(split, seeds)) if tasks else [(told(env), {}) for _ in seeds]


def offers(maker: Any, name: str) -> bool:
    """Say whether what a class makes has a method of this name; of what is no class, it may."""
    return not isinstance(maker, type) or _method(maker, name) is not None


def task_free(env: Any, persona: str) -> Mapping[str, Any]:
    """Return the reset options of an episode in which nothing is asked for."""
    free = _method(env, "task_free")
    options: Mapping[str, Any] = free(persona) if free else {}
    return options


def score_of(env: Any) -> Callable[[Mapping[str, float]], float]:
    """Return an environment's own score of the share of episodes in which each event happened.

    The mean reward of an episode stands among them as "reward". Where there is no such score it is
    the sum of the shares.
    """
    return _method(env, "score") or _sum


def _sum(rates: Mapping[str, float]) -> float:
    return sum(rate for name, rate in rates.items() if name != "reward")


def actions_of(env: Any) -> tuple[str, ...]:
    """Return the actions of an environment, or their forms; those at the start of an episode."""
    if found := _names(env, "actions"):
        return found
    _, info = env.reset(seed=0)
    return tuple(info.get("admissible_actions", ()))


def _text(env: Any, name: str) -> str:
    found = getattr(env, name, None)
    return found if isinstance(found, str) else ""


def _names(env: Any, name: str) -> tuple[str, ...]:
    found = getattr(env, name, None)
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        return ()
    return tuple(found)


def _method(env: Any, name: str) -> Callable[..., Any] | None:
    found = getattr(env, name, None)
    return found if callable(found) else None
