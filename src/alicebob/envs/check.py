"""Check an environment by playing it, before rounds depend on it.

The same seed and actions must give the same episode: again, beside another episode that goes on at
the same time, and in another process, where sets have another order. Invariant: what an environment
does in here, whatever it is, ends no more than the process it is played in. Does not: judge whether
the environment is a good one, or who could play it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.random import Generator

from alicebob.draws import generator
from alicebob.envs import Border, World
from alicebob.envs.hooks import FREE
from alicebob.envs.limit import VARIABLE
from alicebob.errors import EnvError
from alicebob.processes import pool, surviving
from alicebob.sight import run_of_words

__all__ = ["check"]

TURNS = 200
SPOKEN = 8  # words put into what is free to fill in, at most
LIMIT = "60"  # seconds for a step, where nothing else is said
HASH_SEEDS = "1", "2"
ASIDE = ("events", "admissible_actions", "success", "progress", "invalid_action", "result")

Line = tuple[Any, ...]  # what one turn gave


def check(world: World, seed: int) -> tuple[int, list[str]]:
    """Return how many turns an episode of random actions had, and the events that happened in it.

    Raises EnvError where the environment fails or its episodes differ.
    """
    first, other = (_elsewhere(world, seed, hashing) for hashing in HASH_SEEDS)
    _same(world, seed, first, other, "in another process, where sets and hash() have another order")
    return len(first) - 1, sorted({event for line in first for event in line[4]})


def _elsewhere(world: World, seed: int, hashing: str) -> list[Line]:
    """Examine an environment in a process of its own, with this seed of its hashes."""
    variables = {"PYTHONHASHSEED": hashing, VARIABLE: os.environ.get(VARIABLE) or LIMIT}
    with _set(variables), surviving(), pool(1) as hands:
        return hands.submit(_examined, world, seed).result()


@contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _examined(world: World, seed: int) -> list[Line]:
    """Play an episode thrice; return what its turns gave."""
    env, other = world(), world()
    (first,) = _play([env], [seed])
    (again,) = _play([env], [seed])
    _same(world, seed, first, again, "when it is played again")
    beside, _ = _play([env, other], [seed, seed + 1])
    _same(world, seed, first, beside, "when another one is played at the same time")
    for each in (env, other):
        each.close()
    return first


def _play(envs: Sequence[Border], seeds: Sequence[int]) -> list[list[Line]]:
    """Play episodes in lock step; return what the turns of each gave, the reset first."""
    draws = [generator("check", seed) for seed in seeds]
    played: list[list[Line]] = []
    for env, seed in zip(envs, seeds, strict=True):
        text, info = env.reset(seed=seed, options={})
        played.append([_line(text, 0.0, False, False, info)])
    for _ in range(TURNS):
        for env, draw, lines in zip(envs, draws, played, strict=True):
            text, _, terminated, truncated, *_, actions = lines[-1]
            if not (terminated or truncated):
                lines.append(_line(*env.step(_drawn(text, actions, draw))))
    return played


def _line(text: str, reward: float, terminated: bool, truncated: bool, info: Any) -> Line:
    told = [(name, info[name]) for name in ASIDE if name in info]
    events, actions = (tuple(info.get(name, ())) for name in ASIDE[:2])
    return text, reward, terminated, truncated, events, repr(told), actions


def _drawn(text: str, actions: Sequence[str], draw: Generator) -> str:
    action = actions[int(draw.integers(len(actions)))] if actions else "look"
    return action.replace(FREE, run_of_words(text, SPOKEN, draw))


def _same(world: World, seed: int, one: list[Line], other: list[Line], how: str) -> None:
    if one != other:
        pairs = enumerate(zip(one, other, strict=False))
        turn = next((n for n, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))
        raise EnvError(
            f"{world.name} gives another episode for the same seed {seed} and actions {how}, from "
            f"turn {turn} on; all its chance must come from the seed, and reset must begin anew."
        )
