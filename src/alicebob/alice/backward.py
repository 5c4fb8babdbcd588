"""Backward: every stretch of an episode, and what could have been asked for before it.

Learn-by-interact's backward construction (arXiv 2501.10893, Algorithm 1): an episode of n turns has
n(n+1)/2 contiguous stretches, failed or not, and each gets two instructions written afterwards: one
to do the same again, "replicate", and one for what came of it, a task. The embedded Alice writes
the former from actions and events, the latter from what her room labels on the stretch's turns;
where nothing was labelled on the last, there is no task. Invariant: turns are as recorded, but that
a page which repeats the episode's instruction has the stretch's. Does not: judge (`committee`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from alicebob.sight import retold
from alicebob.trace import OPEN_PLAY, Episode, Outcome, Skill, Turn
from alicebob.words import goal

__all__ = [
    "REPLICATE",
    "Labels",
    "Stretch",
    "labels_of",
    "replicate",
    "sift",
    "spread",
    "stretches",
    "task",
]

REPLICATE = "replicate"  # the name of a skill that does the same again
Labels = Mapping[tuple[str, int], Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Turns of an episode, from `start` to `end`, exclusive."""

    episode: Episode
    start: int
    end: int

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns as recorded."""
        return self.episode.turns[self.start : self.end]

    @property
    def after(self) -> str:
        """What was seen after the last."""
        turns = self.episode.turns
        return turns[self.end].observation if self.end < len(turns) else self.episode.final

    def skill(self, round_id: str, name: str, instruction: str) -> Skill:
        """Return the stretch as a skill with an instruction."""
        episode, kind = self.episode, REPLICATE if name == REPLICATE else "task"
        told = episode.instruction
        turns = tuple(
            Turn(retold(t.observation, told, instruction), t.action, t.thought, t.reward, t.events)
            for t in self.turns
        )
        return Skill(
            f"{round_id}-{episode.id}-{self.start:04d}-{self.end:04d}-{kind}",
            name,
            instruction,
            round_id,
            episode.id,
            episode.environment,
            episode.seed,
            self.start,
            self.end,
            turns,
            episode.options,
        )


def stretches(episode: Episode, longest: int) -> Iterator[Stretch]:
    """Yield every contiguous stretch of an episode of at most `longest` turns, by its first."""
    count = len(episode.turns)
    for start in range(count):
        for end in range(start + 1, min(count, start + longest) + 1):
            yield Stretch(episode, start, end)


def sift(found: Sequence[Stretch]) -> tuple[list[Stretch], dict[str, int]]:
    """Return stretches without repeats, and how many were left out for which reason.

    Left out is what does the same twice where it sees the same, what another did on the same
    observations, and what ends in what goals of other splits ask for (`held_out` in the result).
    """
    kept: dict[tuple[tuple[str, str], ...], Stretch] = {}
    taken: dict[str, tuple[tuple[str, str], ...]] = {}  # by episode, shared by its stretches
    lost: Counter[str] = Counter()
    for stretch in found:
        if (episode := stretch.episode).id not in taken:
            taken[episode.id] = tuple((turn.observation, turn.action) for turn in episode.turns)
        steps = taken[episode.id][stretch.start : stretch.end]
        whole = stretch.end == len(episode.turns)
        if whole and dict(episode.summary.get("result") or {}).get("held_out"):
            lost["it ends in what is held out"] += 1
        elif any(one == other for one, other in pairwise(steps)):
            lost["it repeats a step"] += 1
        elif steps in kept:
            lost["another did the same"] += 1
        else:
            kept[steps] = stretch
    return list(kept.values()), dict(sorted(lost.items()))


def spread(found: Sequence[Stretch], most: int) -> Sequence[Stretch]:
    """Return at most so many stretches, spread evenly over all."""
    if len(found) <= most:
        return found
    return [found[number * len(found) // most] for number in range(most)]


def replicate(stretch: Stretch) -> str:
    """Return the instruction to do a stretch again: its actions in order, and what they achieved.

    Equal actions in a row are one, with their number.
    """
    said = []
    for action, run in groupby(stretch.turns, key=lambda turn: turn.action):
        turns = list(run)
        events = dict.fromkeys(event for turn in turns for event in turn.events)
        name = action if "[" in action else action.replace("_", " ")
        times = f", {len(turns)} times" if len(turns) > 1 else ""
        came = f" ({', '.join(map(goal, events))})" if events else ""
        said.append(f"{name}{times}{came}")
    text = "; then ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def labels_of(episodes: Sequence[Episode], skills: Sequence[Skill]) -> Labels:
    """Return by episode and turn after the last what was labelled there: names and instructions.

    An episode that carried out its own task and has no label at its end is told what it was told.
    """
    found: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for skill in skills:
        if skill.name != OPEN_PLAY:
            found.setdefault((skill.episode, skill.end), []).append((skill.name, skill.instruction))
    for episode in episodes:
        if episode.outcome is Outcome.SUCCESS and episode.instruction:
            own = str(episode.meta.get("target") or "task"), episode.instruction
            found.setdefault((episode.id, len(episode.turns)), [own])
    return found


def task(stretch: Stretch, labels: Labels) -> tuple[str, str]:
    """Return name and instruction of what came of a stretch; "" where nothing did at its end."""
    name = stretch.episode.id
    if (name, stretch.end) not in labels:
        return "", ""
    ends = range(stretch.start + 1, stretch.end + 1)
    came = [label for end in ends for label in labels.get((name, end), ())]
    told = list(dict.fromkeys(instruction for _, instruction in came))
    later = (f"then {text[:1].lower()}{text[1:]}" for text in told[1:])
    return came[-1][0], " ".join([told[0], *(f"{t[:1].upper()}{t[1:]}" for t in later)])
