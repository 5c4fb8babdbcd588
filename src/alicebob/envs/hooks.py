"""Hooks: what an environment may offer beside `reset` and `step`. Each is optional.

- `alice`: the name of the room of Alice that knows it (`alicebob.alice.room`), or "package.module"
- `actions`: the forms of its actions, where those differ from turn to turn
- `events`: the names of what can be achieved in it, in an order of its own
- `instructions`: what a whole episode without a goal is told
- `suite()`: trials, so that its skills are evaluated one by one
- `tasks(split, seeds)`: the goals of whole episodes, as pairs of instruction and reset options
- `task_free(persona)`: the reset options of an episode in which nothing is asked for
- `score(rates)`: its own score, of the share of episodes in which each event happened
- `anchors`: what others have reached in it, as published: the progress of an episode, by name
- `render(size)`: a picture of the state, (size, size, 3), for replays
- `words`: words of its texts that are rare in random play, for who builds a tokenizer
- `documents`: a folder of documents about it, Markdown, HTML or text
- `marks`: how its texts are cut for a tokenizer where they are more than words (`Marks`)

Of the `info` of `reset` and `step`, all read: `admissible_actions`, what can be done now, where
"..." is free to fill in; `events`, what this turn achieved; `success` and `progress` from 0 to 1,
of the episode's goal; `result`, plain data about the episode, at its end, in which `held_out` says
that goals of other splits may ask for what was done; `invalid_action`, whether the action was none.
The room "grid" reads `view`, `facing`, `position`, `inventory`, `sleeping` too, the room "shop"
`page`, `product`, `options`, and the room "anywhere" `state`, plain data that says where it is
better than the text does.

An attribute of such a name that is something else (no text, no names, nothing to call) is no hook;
what a hook gives that it should not is an EnvError. Does not: know any environment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from alicebob.envs.border import written
from alicebob.errors import EnvError

__all__ = [
    "FREE",
    "HOOKS",
    "TOLD",
    "Marks",
    "Trial",
    "actions_of",
    "anchors_of",
    "documents_of",
    "events_of",
    "has_goals",
    "hooks_of",
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


def anchors_of(env: Any) -> dict[str, float]:
    """Return what others have reached, 0 to 1, by name; nothing where nothing is published."""
    return _shares(env, "anchors") or {}


def marks_of(env: Any) -> Marks:
    """Return how an environment's texts are cut; plainly where it does not say."""
    return _marks(env, "marks") or Marks()


def suite_of(env: Any) -> Sequence[Trial]:
    """Return an environment's trials, none where it has no suite."""
    suite = _method(env, "suite")
    found = suite() if suite else ()
    if not isinstance(found, list | tuple) or not all(map(_is_trial, found)):
        _refuse("suite()", "Trials (alicebob.envs.hooks.Trial) with a name and at least one turn")
    if len({trial.name for trial in found}) < len(found):
        _refuse("suite()", "Trials that differ in their names")
    return found


def _is_trial(found: Any) -> bool:
    if not isinstance(found, Trial) or not isinstance(found.options, Mapping):
        return False
    texts = isinstance(found.name, str) and isinstance(found.instruction, str)
    return texts and bool(found.name) and isinstance(found.max_turns, int) and found.max_turns > 0


def documents_of(env: Any) -> str:
    """Return the folder of documents about an environment; "" for none."""
    return _text(env, "documents")


def has_goals(env: Any) -> bool:
    """Say whether an environment has goals of its own, by split."""
    return _method(env, "tasks") is not None


def tasks_of(env: Any, split: str, seeds: Sequence[int]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what a whole episode is about for each seed: an instruction and reset options.

    Where an environment has no goals, that is what it tells who has none.
    """
    tasks = _method(env, "tasks")
    if tasks is None:
        return [(told(env), {}) for _ in seeds]
    found = list(tasks(split, seeds))
    if len(found) != len(seeds) or not all(map(_is_goal, found)):
        _refuse("tasks(split, seeds)", "a pair of instruction and reset options for each seed")
    return [(written(instruction), options) for instruction, options in found]


def _is_goal(found: Any) -> bool:
    pair = isinstance(found, list | tuple) and len(found) == 2
    return pair and isinstance(found[0], str) and isinstance(found[1], Mapping)


def offers(maker: Any, name: str) -> bool:
    """Say whether what a class makes has a method of this name; of what is no class, it may."""
    return not isinstance(maker, type) or _method(maker, name) is not None


def task_free(env: Any, persona: str) -> Mapping[str, Any]:
    """Return the reset options of an episode in which nothing is asked for."""
    free = _method(env, "task_free")
    options: Mapping[str, Any] = free(persona) if free else {}
    if not isinstance(options, Mapping):
        _refuse("task_free(persona)", "reset options by name")
    return options


def score_of(env: Any) -> Callable[[Mapping[str, float]], float]:
    """Return an environment's own score of the share of episodes in which each event happened.

    The mean reward of an episode stands among them as "reward". Where there is no such score it is
    the sum of the shares.
    """
    own = _method(env, "score")
    if own is None:
        return _sum

    def score(rates: Mapping[str, float]) -> float:
        found = own(rates)
        if not isinstance(found, int | float) or not math.isfinite(found):
            _refuse("score(rates)", "a finite number")
        return float(found)

    return score


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
    return written(found) if isinstance(found, str) else ""


def _names(env: Any, name: str) -> tuple[str, ...]:
    found = getattr(env, name, None)
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        return ()
    return tuple(map(written, found))


def _method(env: Any, name: str) -> Callable[..., Any] | None:
    found = getattr(env, name, None)
    return found if callable(found) else None


def _marks(env: Any, name: str) -> Marks | None:
    found = getattr(env, name, None)
    return found if isinstance(found, Marks) else None


def _shares(env: Any, name: str) -> dict[str, float] | None:
    found = getattr(env, name, None)
    if not isinstance(found, Mapping) or not all(
        isinstance(who, str) and isinstance(share, int | float) and 0 <= share <= 1
        for who, share in found.items()
    ):
        return None
    return {written(who): float(share) for who, share in found.items()}


#: How each hook is read, and what it is.
HOOKS: Mapping[str, tuple[Callable[[Any, str], Any], str]] = {
    **dict.fromkeys(("alice", "instructions", "documents"), (_text, "a string")),
    **dict.fromkeys(("actions", "events", "words"), (_names, "a list of strings")),
    **dict.fromkeys(("suite", "tasks", "task_free", "score", "render"), (_method, "a method")),
    "marks": (_marks, "Marks"),
    "anchors": (_shares, "shares from 0 to 1 by name"),
}


def hooks_of(env: Any) -> dict[str, bool]:
    """Return the names of an environment's attributes that are hooks, or only have such a name."""
    named = [name for name in HOOKS if getattr(env, name, None) is not None]
    return {name: bool(HOOKS[name][0](env, name)) for name in named}


def _refuse(hook: str, wanted: str) -> NoReturn:
    raise EnvError(f"What the environment's {hook} returns must be {wanted}.")
