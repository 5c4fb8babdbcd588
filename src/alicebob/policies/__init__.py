"""Policies: a batch of live episodes in, a batch of replies out. One interface for all kinds.

Invariant: all chance comes from `Live.draw`, so that an episode does not depend on its neighbours'
draws. Does not: step environments or keep journals (see `alicebob.rollout`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.random import Generator

from alicebob.trace import Turn

__all__ = ["Live", "Policy", "Reference", "Refers", "Reply", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """What to play: one episode, named before it begins.

    `options` go to the environment's reset; `max_turns` bounds the episode; where `target` is
    given, the episode ends in success on the first turn whose events contain it; after `hopeless`
    invalid actions in a row it ends as hopeless, 0 is never.
    """

    id: str
    seed: int
    instruction: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    max_turns: int = 10_000
    target: str = ""
    hopeless: int = 0


@dataclass(slots=True, eq=False)
class Live:
    """An episode while it is played: what a policy may look at before it decides.

    `info` is the environment's, for policies that read state instead of text; `draw` is this
    episode's own generator; `memory` is the policy's to use.
    """

    task: Task
    observation: str
    info: Mapping[str, Any]
    draw: Generator
    turns: list[Turn] = field(default_factory=list)
    memory: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A decision. `prompt_tokens` and `reply_tokens` count what a model read and wrote anew."""

    action: str
    thought: str = ""
    tags: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    loss_mask: tuple[int, ...] = ()
    prompt_tokens: int = 0
    reply_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """What is told before an instruction, and the tags that a turn has for it."""

    text: str = ""
    tags: tuple[str, ...] = ()


class Refers(Protocol):
    """What finds references."""

    def __call__(self, lives: Sequence[Live], room: Sequence[int]) -> list[Reference]:
        """Return a reference for each live episode, of at most so many tokens."""


class Policy(Protocol):
    """What acts: the embedded Alice, a local model, an endpoint."""

    def start(self, wave: Sequence[Live]) -> None:
        """Begin a wave of episodes that are played in lock step; forget any former one."""

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Return a reply for each live episode of the wave that is not over, in order."""

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Take note that an episode is over; what is returned becomes `Episode.meta`."""
