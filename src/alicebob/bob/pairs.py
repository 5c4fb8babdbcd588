"""Pairs: a failure beside a success of the same task, which is what DPO learns from.

Each trajectory that was explored meets another of its task: of the same world and the same
beginning where there is one, else of the same instruction or the same kind of task in another
world, as ETO pairs (arXiv 2403.02502, and its construct_preference.py). The reward alone says who
wins, so that what was explored may beat an expert. Invariant: the same trajectories give the same
pairs, and none is made twice. Does not: play, or turn pairs into tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from alicebob.dataset import read_episodes
from alicebob.draws import generator
from alicebob.errors import DamagedData, UsageError
from alicebob.evaluation import GOAL
from alicebob.trace import OPEN_PLAY, Episode, Outcome, Skill

__all__ = ["Pair", "Trajectory", "pairs_of", "pairs_text", "read_own", "read_pairs", "reward_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What was done towards a task, and what it earned."""

    skill: Skill
    reward: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A winner and a loser of one task, told the same, with their rewards in this order."""

    winner: Skill
    loser: Skill
    rewards: tuple[float, float]

    @property
    def same_world(self) -> bool:
        """Whether both began in the same state."""
        return _same_world(self.winner, self.loser)


def reward_of(episode: Episode) -> float:
    """Return what an episode earned: of a trial, whether it was done.

    Else the environment's reward, and where that is none, whether it ended in success.
    """
    trial = episode.meta.get("target", GOAL) != GOAL
    rewarded = not trial and any(turn.reward for turn in episode.turns)
    return round(episode.reward, 6) if rewarded else float(episode.outcome is Outcome.SUCCESS)


def pairs_of(
    explored: Sequence[Trajectory], experts: Sequence[Trajectory], longer: int
) -> tuple[list[Pair], dict[str, int]]:
    """Return a pair for each explored trajectory that has one, and why others have none.

    It meets an expert, or another that was explored from the same state. Equal rewards make no
    pair. A loser is cut `longer` turns behind the length of the winner.
    """
    found: dict[frozenset[str], Pair] = {}
    lacking: Counter[str] = Counter()
    for one in explored:
        beside = [other for other in explored if _same_world(other.skill, one.skill)]
        others = [
            other
            for other in (*experts, *beside)
            if other.skill.id != one.skill.id and _same_task(other.skill, one.skill)
        ]
        unlike = [other for other in others if other.reward != one.reward]
        if not unlike:
            lacking["no better or worse one" if others else "no other of its task"] += 1
            continue
        near = [other for other in unlike if _same_world(other.skill, one.skill)] or unlike
        draw = generator("pairs", one.skill.id, one.skill.seed)
        other = near[int(draw.integers(len(near)))]
        names = frozenset((one.skill.id, other.skill.id))
        found.setdefault(names, _pair(one, other, longer))
    return list(found.values()), dict(sorted(lacking.items()))


def _pair(one: Trajectory, other: Trajectory, longer: int) -> Pair:
    told = replace(other.skill, instruction=one.skill.instruction)
    won, lost = (one.skill, told) if one.reward > other.reward else (told, one.skill)
    cut = lost.turns[: len(won.turns) + longer]
    lost = replace(lost, turns=cut, end=lost.start + len(cut))
    return Pair(won, lost, (max(one.reward, other.reward), min(one.reward, other.reward)))


def _same_task(one: Skill, other: Skill) -> bool:
    named = one.name == other.name and one.name not in (GOAL, OPEN_PLAY)
    return named or one.instruction == other.instruction


def _same_world(one: Skill, other: Skill) -> bool:
    begun = one.turns[0].observation == other.turns[0].observation
    where = one.environment == other.environment and one.seed == other.seed
    return begun and where and dict(one.options) == dict(other.options)


def pairs_text(pairs: Iterable[Pair]) -> str:
    """Return pairs as lines of JSON."""
    lines = (
        {"rewards": list(p.rewards), "winner": p.winner.to_json(), "loser": p.loser.to_json()}
        for p in pairs
    )
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a file; raises DamagedData, with the line, where they are none."""
    repair = "Restore it with 'dvc checkout', or run 'dvc repro' to make it again."
    return _lines(path, _read_pair, f"a pair. {repair}")


def _read_pair(data: Any) -> Pair:
    won, lost = data["rewards"]
    return Pair(
        Skill.from_json(data["winner"]), Skill.from_json(data["loser"]), (float(won), float(lost))
    )


def read_own(path: Path) -> list[Episode]:
    """Return the episodes of a user's file: Parquet as a round's, or each a line of JSON.

    Raises UsageError where there is no such file, DamagedData, with the line, where it holds
    something else.
    """
    if not path.is_file():
        raise UsageError(f"eto.experts names {path}, which is no file here; give one of episodes.")
    if path.suffix == ".parquet":
        return read_episodes(path)
    shape = "an episode; alicebob.trace.Episode.to_json() shows what one is."
    return _lines(path, _read_episode, shape)


def _read_episode(data: Any) -> Episode:
    episode = Episode.from_json(data)
    if not episode.turns:
        raise ValueError("it has no turns")
    return episode


def _lines(path: Path, build: Callable[[Any], T], what: str) -> list[T]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedData(f"{path} cannot be read ({error}). Its lines are {what}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(build(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DamagedData(f"{path}, line {number} ({reason}), is not {what}") from error
    return found
