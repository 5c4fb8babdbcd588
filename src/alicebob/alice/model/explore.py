"""Exploring by a language model, which is watched with a room's senses.

What the senses find goes into the memory as if the embedded Alice had acted herself, so that every
other verb can be embedded whoever explores. Does not: tell the model of a task; there is none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alicebob.alice.embedded import learned
from alicebob.alice.model.asking import prompt
from alicebob.alice.model.role import Role
from alicebob.alice.model.transcript import quoted
from alicebob.alice.room import EVIDENCE, Room, Watch
from alicebob.envs import World
from alicebob.policies import Live, Policy, Reply, Task
from alicebob.policies.endpoint import Endpoint
from alicebob.rollout import Actor, model_workers, play_all
from alicebob.trace import Episode

__all__ = ["Watched", "explore", "texts"]

WIDTH = 16  # episodes that a model on this machine plays at once

Senses = Callable[[Live], Watch]


class Watched:
    """A policy whose episodes are watched; `watch` makes the senses for an episode."""

    def __init__(self, policy: Policy, watch: Senses) -> None:
        self.policy, self._watch = policy, watch
        self._watches: dict[int, Watch] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode of the wave."""
        self.policy.start(wave)
        self._watches = {id(live): self._watch(live) for live in wave}

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Let the policy act, and watch what it does."""
        replies = self.policy.act(lives)
        for live, reply in zip(lives, replies, strict=True):
            self._watches[id(live)].before(live, reply.action)
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the policy notes and what the episode taught."""
        noted = dict(self.policy.finish(live))
        noted[EVIDENCE] = self._watches.pop(id(live)).close(live)
        return noted


def texts(feedback: str, personas: Sequence[str] = ()) -> list[str]:
    """Return what a language model that explores is told, one text for each persona.

    `feedback` is the prose of the round before, "" for none.
    """
    said = ""
    if feedback.strip():
        said = f"What you wrote after the last round:\n\n{quoted(feedback)}"
    return [
        prompt("explore", persona=f"\n\nExplore as this person would: {persona}", feedback=said)
        if persona
        else prompt("explore", persona="", feedback=said)
        for persona in personas or ("",)
    ]


def explore(
    role: Role,
    told: Sequence[str],
    room: Room,
    world: World,
    memory: Any,
    tasks: Sequence[Task],
    journals: Path,
    done: Callable[[Episode], object] = lambda episode: None,
) -> tuple[list[Episode], Any]:
    """Let a language model play the tasks; return the episodes, in order, and the memory after.

    It is told one of the texts `told`, in turn, as it would be told an instruction; the episodes
    have none, for there is no task. Without texts it is told each task's own instruction. A model
    behind an endpoint plays as many at once as the endpoint allows. Raises ProviderError where the
    endpoint stopped answering.
    """
    memory = memory.copy()
    endpoint = role.endpoint() if role.served else None
    watch = functools.partial(room.watch, memory)
    build = functools.partial(_build, role, world, endpoint, watch)
    actor = Actor(build, WIDTH, model_workers())
    if endpoint is not None:
        actor = Actor(build, 1, endpoint.concurrency, threads=True)
    own = list(tasks)
    if told:
        own = [replace(task, instruction=told[i % len(told)]) for i, task in enumerate(tasks)]
    played = learned(play_all(own, world, actor, journals, done=done), memory)
    return [e.evolve(instruction=t.instruction) for e, t in zip(played, tasks, strict=True)], memory


def _build(role: Role, world: World, endpoint: Endpoint | None, watch: Senses) -> Watched:
    return Watched(role.player(world, endpoint), watch)
