"""Room: the embedded Alice for one kind of world, her verbs and a memory, no language model.

A room is a folder beside this file whose package has a `ROOM`; every room has the same files:
`memory explore watch label think judge advise`, and `correct` where she can teach who acts. An
environment says which room knows it, by the attribute `alice`: the name of one here, or
"package.module" of your own; without it, "anywhere". Does not: choose between a
room and a language model (see `alicebob.alice.voice`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

from alicebob.alice.feedback import Feedback, Verdict
from alicebob.envs import World, from_here
from alicebob.errors import UsageError
from alicebob.policies import Live, Policy
from alicebob.settings import Params
from alicebob.trace import Episode, Skill

__all__ = ["EVIDENCE", "Counsel", "Guide", "Memory", "Room", "Watch", "room"]

EVIDENCE = "evidence"  # the key of Episode.meta that holds what an episode taught, as JSON


class Memory(Protocol):
    """What exploring has taught. Equal memories have equal JSON; merging keeps no order."""

    episodes: int
    events: dict[str, int]  # the episodes in which each event happened

    def copy(self) -> Self:
        """Return a copy that can be added to without touching this one."""

    def merge(self, other: Self) -> None:
        """Add what another has learned, e.g. in one episode."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a memory."""

    def save(self, path: Path) -> None:
        """Write the memory to a file."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a memory; raises DamagedData, with its path, for anything else."""


class Watch(Protocol):
    """The senses on one episode, whoever acts in it."""

    def before(self, live: Live, action: str) -> None:
        """Take in what is there before an action is taken."""

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught, as a memory's plain data."""


@dataclass(frozen=True, slots=True)
class Counsel:
    """What she would reply in a situation, with the tags that such a turn has in her skills."""

    action: str
    thought: str = ""
    tags: tuple[str, ...] = ()


class Guide(Protocol):
    """What she would do in one episode in which another acts; all on his own states."""

    def counsel(self, live: Live) -> Counsel:
        """Take in where he has got to and return what she would do there."""

    def approves(self, live: Live, action: str, thought: str) -> Counsel | None:
        """Return what she would have said to his action there, None where it is wrong.

        `thought` is what he said to it.
        """

    def saw(self, live: Live, action: str) -> None:
        """Take note of the action that is taken there, his or hers."""

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught, as plain data of a memory."""


@dataclass(frozen=True, slots=True)
class Room:
    """The parts for one kind of world.

    `explorer` makes a policy of a memory, of wishes (weights of names to go for), and of the priors
    to leave out; its episodes' meta hold under EVIDENCE what they taught, and its turns carry an
    INTENT tag. `watch` makes the senses for an episode at its beginning, by a memory. `label` makes
    skills of episodes, without thoughts, their turns as recorded, INTENT tags and all; `think`
    gives a skill its thoughts and `bare` none, and both take the INTENT tags away. `reworded` gives
    a skill another instruction, and `names` says whether one names what was achieved. `judge` gives
    verdicts on episodes, also on those without a task, for one of `reasons`; `advise` writes what
    to explore next. `reads` are the parameters that each verb's part looks at, beside its episodes.
    `guide` makes her counsel for an episode from its beginning, by a memory and the priors to leave
    out; None where she knows no better than who acts. `attempt` makes, of the same, what she does
    herself about a task; None where she explores, with a wish for its event.
    `priors` are what is built into a verb and can be left out, by name, each in a sentence.
    `visits` is the number of episodes that are played in each world.
    """

    memory: type[Any]
    explorer: Callable[[Any, Mapping[str, float], Collection[str]], Policy]
    watch: Callable[[Any, Live], Watch]
    label: Callable[[Sequence[Episode], str, World, Params], list[Skill]]
    think: Callable[[Skill], Skill]
    bare: Callable[[Skill], Skill]
    reworded: Callable[[Skill, str], Skill]
    names: Callable[[Skill], bool]
    judge: Callable[[Sequence[Episode], Any], list[Verdict]]
    advise: Callable[[str, Sequence[Verdict], Sequence[Episode], Any, Mapping[str, int]], Feedback]
    reasons: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    priors: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    visits: int = 1
    guide: Callable[[Any, Collection[str], Live], Guide] | None = None
    attempt: Callable[[Any, Collection[str], Live], Guide] | None = None


def room(name: str) -> Room:
    """Return a room by its name, or by the module that has it; raises UsageError for another."""
    module = name if "." in name else f"{__package__}.{name}"
    try:
        with from_here():
            found: Room = importlib.import_module(module).ROOM
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"The environment names {name!r} as the Alice that knows it, and there is no such "
            f"room ({error}); leave its attribute 'alice' out for the one that explores anywhere."
        ) from error
    return found
