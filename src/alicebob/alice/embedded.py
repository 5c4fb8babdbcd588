"""Embedded exploring: Alice plays episode after episode and grows her memory, by generations.

Within a generation of episodes memory is frozen; after it, what each episode taught is merged in
task order. Invariant: episodes and memory depend on the tasks, the memory and the wishes given,
never on the number of workers or on a kill. Does not: label or judge, or know how a room explores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from alicebob.alice.attempt import Attempting, made_for
from alicebob.alice.room import EVIDENCE, Room
from alicebob.envs import World
from alicebob.policies import Task
from alicebob.rollout import Actor, Build, Crew, play_all
from alicebob.trace import Episode

__all__ = ["attempt", "explore", "learned"]

FIRST = 4  # episodes of the very first generation; no later one is larger than all before it


def explore(
    room: Room,
    world: World,
    memory: Any,
    wishes: Mapping[str, float],
    tasks: Sequence[Task],
    generation: int,
    journals: Path,
    workers: int = 1,
    done: Callable[[Episode], object] = lambda episode: None,
    without: Collection[str] = (),
) -> tuple[list[Episode], Any]:
    """Play the tasks and return the episodes, in order, with the memory after the last.

    `wishes` are weights of what to go for, `without` the priors of the room that are left out.
    Episodes already in `journals` are not played again; `done` is called for each all the same.
    """

    def build(known: Any) -> Build:
        return functools.partial(room.explorer, known, dict(wishes), tuple(without))

    return _grown(build, world, memory, tasks, generation, journals, workers, done)


def attempt(
    room: Room,
    world: World,
    memory: Any,
    tasks: Sequence[Task],
    generation: int,
    journals: Path,
    workers: int = 1,
    done: Callable[[Episode], object] = lambda episode: None,
    without: Collection[str] = (),
) -> tuple[list[Episode], Any]:
    """Carry out the tasks, in the same generations; otherwise as `explore`."""
    made = made_for(room)

    def build(known: Any) -> Build:
        return functools.partial(Attempting, made, known, tuple(without))

    return _grown(build, world, memory, tasks, generation, journals, workers, done)


def _grown(
    build: Callable[[Any], Build],
    world: World,
    memory: Any,
    tasks: Sequence[Task],
    generation: int,
    journals: Path,
    workers: int,
    done: Callable[[Episode], object],
) -> tuple[list[Episode], Any]:
    memory = memory.copy()
    episodes: list[Episode] = []
    with Crew(workers) as crew:
        while len(episodes) < len(tasks):
            first = len(episodes)
            size = max(FIRST, min(generation, memory.episodes))
            played = play_all(
                tasks[first : first + size],
                world,
                Actor(build(memory)),
                journals / f"generation-{first:05d}",
                crew=crew,
                done=done,
            )
            episodes += learned(played, memory)
    return episodes, memory


def learned(played: Sequence[Episode], memory: Any) -> list[Episode]:
    """Merge what episodes taught into a memory; return them without it."""
    episodes = []
    for episode in played:
        meta = dict(episode.meta)
        if EVIDENCE in meta:
            memory.merge(type(memory).from_json(meta.pop(EVIDENCE)))
        episodes.append(episode.evolve(meta=meta))
    return episodes
