"""Hooks: what an environment may offer beside `reset` and `step`. Each is optional.

`suite()` lists trials, so that its skills are evaluated one by one; `tasks(split, seeds)` gives the
goals that whole episodes are evaluated on, as pairs of instruction and reset options;
`task_free(persona)` gives the reset options of an episode without one; `score(rates)` turns what
happened into the environment's own score; `actions` are the forms of its actions, where those
differ from page to page. Does not: know any environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FREE",
    "Trial",
    "actions_of",
    "has_goals",
    "score_of",
    "suite_of",
    "task_free",
    "tasks_of",
]

FREE = "..."  # what is free to fill in, in an action such as "search[...]"
OPEN_PLAY = "Survive and achieve as much as you can."


@dataclass(frozen=True, slots=True)
class Trial:
    """One skill to try: done when the event `name` happens within `max_turns` turns.

    `options` are reset options that grant what the skill needs.
    """

    name: str
    instruction: str
    max_turns: int
    options: Mapping[str, Any] = field(default_factory=dict)


def suite_of(env: Any) -> Sequence[Trial]:
    """Return an environment's trials, none where it has no suite."""
    return env.suite() if hasattr(env, "suite") else ()


def has_goals(env: Any) -> bool:
    """Say whether an environment has goals of its own, by split."""
    return hasattr(env, "tasks")


def tasks_of(env: Any, split: str, seeds: Sequence[int]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what a whole episode is about for each seed: an instruction and reset options.

    Where an environment has no goals, that is to achieve as much as possible.
    """
    if has_goals(env):
        return list(env.tasks(split, seeds))
    return [(OPEN_PLAY, {}) for _ in seeds]


def task_free(env: Any, persona: str) -> Mapping[str, Any]:
    """Return the reset options of an episode in which nothing is asked for."""
    options: Mapping[str, Any] = env.task_free(persona) if hasattr(env, "task_free") else {}
    return options


def score_of(env: Any) -> Callable[[Mapping[str, float]], float]:
    """Return an environment's own score of the share of episodes in which each event happened.

    The mean reward of an episode stands among them as "reward". Where there is no such score it is
    the sum of the shares.
    """
    if hasattr(env, "score"):
        score: Callable[[Mapping[str, float]], float] = env.score
        return score
    return lambda rates: sum(rate for name, rate in rates.items() if name != "reward")


def actions_of(env: Any) -> tuple[str, ...]:
    """Return the actions of an environment, or their forms; those at the start of an episode."""
    if hasattr(env, "actions"):
        return tuple(env.actions)
    _, info = env.reset(seed=0)
    return tuple(info.get("admissible_actions", ()))
