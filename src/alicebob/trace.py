"""The trace: what was seen, said and done. The one data model; everything else is a view of it.

An Episode is append-only turns from one seed of one environment; a Skill is a stretch of turns
with an instruction written afterwards. Invariants: the same episode always serialises to the same
bytes; every episode replays from (environment, seed, options, actions); infrastructure trouble is
an Outcome, never a reward. Does not: act, label or train.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from alicebob.journal import append_line, read_lines

__all__ = [
    "AGAIN",
    "AIM",
    "AIMLESS",
    "ASLEEP",
    "CORRECTED",
    "CORRECTION",
    "COUNSEL",
    "ERROR",
    "INTENT",
    "INVALID",
    "MENDED",
    "OPEN_PLAY",
    "REFERENCE",
    "REFLECTION",
    "RIGHT",
    "UNJUDGED",
    "WHOLE",
    "Episode",
    "Outcome",
    "Skill",
    "Turn",
    "append_journal",
    "best",
    "read_journal",
]

T = TypeVar("T")

# Tags of turns that may be read and are learnt from otherwise than the rest.
AIMLESS = "aimless"  # led to nothing
ASLEEP = "asleep"  # no action counts
AGAIN = "again"  # for what had happened before in the episode
ERROR = "error"  # wrong, and to be read only
RIGHT = "right"  # the student's own, and what his teacher would have done
UNJUDGED = "unjudged"  # the student's own, of which his teacher said nothing of use
MENDED = "mended"  # what the teacher said of it was of use at her second try
CORRECTION = "correction"  # the teacher's, after a turn that was wrong
REFLECTION = "reflection"  # its thought says why the turn before was wrong
INVALID = "invalid_action"  # a reply that was no action of the environment's

INTENT = "intent:"  # begins a tag that says what a turn was for, as its explorer meant it
AIM = "aim:"  # begins a tag that says what a turn of a whole episode led to, as its labeller found
COUNSEL = "counsel:"  # begins a tag that says what the teacher would have replied
REFERENCE = "reference:"  # begins a tag that names a skill that was shown before the turn
OPEN_PLAY = "open_play"  # the name of a skill that is a whole episode without a task
CORRECTED = "corrected"  # and of one that a teacher watched, or a turn of it as she would have it
WHOLE = (OPEN_PLAY, CORRECTED)  # whose turns serve one aim after another


class Outcome(StrEnum):
    """How an episode ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    TURN_LIMIT = "turn_limit"
    HOPELESS = "hopeless"
    CONTEXT_LIMIT = "context_limit"
    ENV_ERROR = "env_error"
    PROVIDER_ERROR = "provider_error"
    CANCELLED = "cancelled"

    @property
    def owed(self) -> bool:
        """True where the infrastructure failed: no data, run again on resume."""
        return self in (Outcome.ENV_ERROR, Outcome.PROVIDER_ERROR, Outcome.CANCELLED)


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision: the observation it was made on, and what came of it.

    `events` are the names of what the environment says this turn achieved, e.g. "collect_wood",
    in a fixed order, repeated when it happened more than once. `tags` are judgements made on the
    turn ("invalid_action", "error", "reflection", …). `token_ids` and `loss_mask` are kept when a
    model acted: the ids of its reply as generated, and 1 where a token may be learnt from.
    """

    observation: str
    action: str
    thought: str = ""
    reward: float = 0.0
    events: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    loss_mask: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the turn as plain data; empty optional fields are left out."""
        data: dict[str, Any] = {"observation": self.observation, "action": self.action}
        if self.thought:
            data["thought"] = self.thought
        if self.reward:
            data["reward"] = self.reward
        for name in ("events", "tags", "token_ids", "loss_mask"):
            if value := getattr(self, name):
                data[name] = list(value)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Turn:
        """Rebuild a turn; raises KeyError or TypeError on data of another shape."""
        return cls(
            observation=_typed(data["observation"], str),
            action=_typed(data["action"], str),
            thought=_typed(data.get("thought", ""), str),
            reward=float(data.get("reward", 0.0)),
            events=tuple(data.get("events", ())),
            tags=tuple(data.get("tags", ())),
            token_ids=tuple(data.get("token_ids", ())),
            loss_mask=tuple(data.get("loss_mask", ())),
        )


@dataclass(frozen=True, slots=True)
class Episode:
    """One run of a policy in an environment, whole.

    `environment` is the spec string with its keyword arguments, e.g.
    `my_module:Door?locked=true`; `options` is what `reset` was given (grants, goal);
    `final` is the observation after the last action; `summary` is what the environment reports at
    the end (achievements, score, progress, reward); `budget` counts env_steps and tokens.
    """

    id: str
    environment: str
    seed: int
    instruction: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    final: str = ""
    outcome: Outcome = Outcome.CANCELLED
    summary: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def actions(self) -> list[str]:
        """The actions in order: with seed and options, all that a replay needs."""
        return [turn.action for turn in self.turns]

    @property
    def reward(self) -> float:
        """The sum of the turns' rewards."""
        return sum(turn.reward for turn in self.turns)

    def evolve(self, **changes: Any) -> Episode:
        """Return a copy with the given fields replaced."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the episode as plain data, in a fixed field order."""
        return {
            "id": self.id,
            "environment": self.environment,
            "seed": self.seed,
            "instruction": self.instruction,
            "options": dict(self.options),
            "outcome": self.outcome.value,
            "summary": dict(self.summary),
            "budget": dict(self.budget),
            "meta": dict(self.meta),
            "turns": [turn.to_json() for turn in self.turns],
            "final": self.final,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Episode:
        """Rebuild an episode; raises KeyError, TypeError or ValueError on another shape."""
        return cls(
            id=_typed(data["id"], str),
            environment=_typed(data["environment"], str),
            seed=_typed(data["seed"], int),
            instruction=_typed(data["instruction"], str),
            options=data["options"],
            turns=tuple(Turn.from_json(turn) for turn in data["turns"]),
            final=_typed(data["final"], str),
            outcome=Outcome(data["outcome"]),
            summary=data["summary"],
            budget=data["budget"],
            meta=data.get("meta", {}),
        )


@dataclass(frozen=True, slots=True)
class Skill:
    """A stretch of an episode with an instruction written afterwards.

    `name` is the kind of skill (an event of the environment, or "open_play" for a whole episode);
    `start` and `end` are turn indices into the episode, end exclusive; `turns` are those turns,
    with thoughts added after the fact; `context` of them, at the front, are there to be read and
    not to be learnt from.
    """

    id: str
    name: str
    instruction: str
    round: str
    episode: str
    environment: str
    seed: int
    start: int
    end: int
    turns: tuple[Turn, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    context: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the skill as plain data, in a fixed field order."""
        return {
            "id": self.id,
            "name": self.name,
            "instruction": self.instruction,
            "round": self.round,
            "episode": self.episode,
            "environment": self.environment,
            "seed": self.seed,
            "start": self.start,
            "end": self.end,
            "context": self.context,
            "options": dict(self.options),
            "turns": [turn.to_json() for turn in self.turns],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Skill:
        """Rebuild a skill; raises KeyError, TypeError or ValueError on another shape."""
        return cls(
            id=_typed(data["id"], str),
            name=_typed(data["name"], str),
            instruction=_typed(data["instruction"], str),
            round=_typed(data["round"], str),
            episode=_typed(data["episode"], str),
            environment=_typed(data["environment"], str),
            seed=_typed(data["seed"], int),
            start=_typed(data["start"], int),
            end=_typed(data["end"], int),
            context=_typed(data["context"], int),
            options=data["options"],
            turns=tuple(Turn.from_json(turn) for turn in data["turns"]),
        )


def _typed(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def best(episodes: Sequence[Episode], share: float) -> list[Episode]:
    """Return this share of the episodes, those with most different events, ties by id."""
    ranked = sorted(episodes, key=lambda e: (-len(e.summary.get("events", {})), e.id))
    return ranked[: round(share * len(ranked))]


def append_journal(path: Path, *episodes: Episode) -> None:
    """Append whole episodes, each as one line, and flush them to the disk; see `append_line`."""
    append_line(path, *(episode.to_json() for episode in episodes))


class Asked(Protocol):
    """What an episode was played for; see `alicebob.policies.Task`."""

    @property
    def id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def instruction(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def max_turns(self) -> int: ...


def read_journal(path: Path, tasks: Iterable[Asked] = (), spec: str = "") -> list[Episode]:
    """Return the episodes of a journal, each once.

    One that could not have been played, that is not of the task of its id, in the environment of
    `spec`, or whose id another one has too, is as damaged as a line that is not as it was written;
    see `read_lines`.
    """
    asked = {task.id: task for task in tasks}
    known: dict[str, Episode] = {}
    unlike: set[str] = set()

    def build(data: Mapping[str, Any]) -> Episode:
        episode = Episode.from_json(data)
        if not (episode.turns or episode.outcome.owed) or not math.isfinite(episode.reward):
            raise ValueError(f"{episode.id} was never played so")
        if episode.id in asked and not _of(episode, asked[episode.id], spec):
            raise ValueError(f"{episode.id} is not what was asked for")
        if known.setdefault(episode.id, episode) != episode:
            unlike.add(episode.id)
        if episode.id in unlike:
            raise ValueError(f"{episode.id} is in it twice, with other turns")
        return episode

    found = read_lines(path, build)
    if unlike:  # the first of each goes too: nobody knows which is right
        found = read_lines(path, build)
    return list({episode.id: episode for episode in found}.values())


def _of(episode: Episode, task: Asked, spec: str) -> bool:
    told = episode.environment, episode.seed, episode.instruction, _plain(episode.options)
    asked = spec, task.seed, task.instruction, _plain(task.options)
    return told == asked and len(episode.turns) <= task.max_turns


def _plain(options: Mapping[str, Any]) -> str:
    return json.dumps(dict(options), sort_keys=True)
