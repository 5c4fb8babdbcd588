"""References: what others did in a like situation, shown to Bob before he acts.

Learn-by-interact's retrieval (arXiv 2501.10893, Algorithm 2), at every turn: examples that begin
with a like observation (BM25), and examples whose instruction is near in meaning to a query. They
stand before the instruction, as many as have room. Invariant: what is shown follows from the skills
and from the episode; no stretch of turns is shown twice, under whatever instruction. Does not:
choose the skills.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from alicebob import dataset
from alicebob.errors import UsageError
from alicebob.policies import Live, Reference
from alicebob.policies.conversation import Conversation, write_reply
from alicebob.retrieval.library import Library, embedded
from alicebob.trace import CORRECTED, OPEN_PLAY, REFERENCE, Skill

__all__ = ["MODES", "WITH_MEANING", "References", "Shelf", "shelf"]

#: By mode: whether by observation, and by what meaning: the instruction's, a query's or none.
MODES: dict[str, tuple[bool, str]] = {
    "none": (False, ""),
    "instruction": (False, "instruction"),
    "observation": (True, ""),
    "model": (False, "query"),
    "both": (True, "query"),
}
WITH_MEANING = tuple(name for name, (_, meaning) in MODES.items() if meaning)
HEAD = "For reference, what others did, with what they saw and what they answered:\n\n"
TAIL = "Now it is your turn. Answer as they did.\n"
Queries = Callable[[Sequence[Live]], list[str]]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where examples are, a folder of skills, and how they are looked for; can be pickled.

    `most` is how many may be shown by observation, and by meaning; `tokens` bounds all of them.
    """

    skills: Path
    mode: str
    most: int
    tokens: int
    embedder: str = ""
    vectors: Path | None = None


def examples(skills: Path) -> list[Skill]:
    """Return the skills of a folder that can be shown: whole episodes are too long."""
    return [s for s in dataset.read_skills(skills) if s.name not in (OPEN_PLAY, CORRECTED)]


def shelf(skills: Path, mode: str, most: int, tokens: int, embedder: str, spare: Path) -> Shelf:
    """Return a shelf of all skills of a folder; vectors, if needed, are written into `spare`.

    Raises UsageError where there is no skill to show, or no embedder.
    """
    found = examples(skills)
    if not found:
        raise UsageError(
            f"There are no skills in {skills} to show as examples; explore more, or set "
            "learn_by_interact.retrieve: none."
        )
    if mode not in WITH_MEANING:
        return Shelf(skills, mode, most, tokens)
    path = spare / "vectors.f32"
    embedded([skill.instruction for skill in found], embedder, path)
    return Shelf(skills, mode, most, tokens, embedder, path)


class References:
    """Finds references for the turns of a conversation.

    `asks` makes what makes queries, where the mode wants them.
    """

    def __init__(
        self, shelf: Shelf, asks: Callable[[], Queries] | None, conversation: Conversation
    ) -> None:
        self._shelf, self._talk = shelf, conversation
        self._by_sight, self._meaning = MODES[shelf.mode]
        self._skills = examples(shelf.skills)
        self._queries = asks() if asks else _instructions
        first = (skill.turns[0].observation for skill in self._skills)
        keys = [(skill.episode, skill.start, skill.end) for skill in self._skills]
        self._library = Library(first, keys, shelf.embedder, shelf.vectors)
        self._length = functools.lru_cache(4096)(self._tokens)

    def __call__(self, lives: Sequence[Live], room: Sequence[int]) -> list[Reference]:
        """Return for each episode what has room before its instruction, the likest first."""
        queries = self._queries(lives) if self._meaning else [""] * len(lives)
        return [
            self._fitting(self.found(live, query), min(left, self._shelf.tokens))
            for live, query, left in zip(lives, queries, room, strict=True)
        ]

    def found(self, live: Live, query: str) -> list[int]:
        """Return the numbers of the examples for a turn, by observation and by meaning in turn.

        So either kind has its part of the room.
        """
        most, library = self._shelf.most, self._library
        seen = library.seen(live.observation, most) if self._by_sight else []
        if not self._meaning:
            return seen
        meant = library.meant(query, most, but=[library.keys[n] for n in seen])
        both = (number for pair in zip_longest(seen, meant) for number in pair)
        return [number for number in both if number is not None]

    def _fitting(self, numbers: Sequence[int], room: int) -> Reference:
        left = room - self._length(HEAD) - self._length(TAIL)
        shown: list[int] = []
        for number in numbers:
            if (length := self._length(_text(self._skills[number]))) <= left:
                shown.append(number)
                left -= length
        if not shown:
            return Reference()
        text = "".join(_text(self._skills[number]) for number in shown)
        tags = tuple(f"{REFERENCE}{self._skills[number].id}" for number in shown)
        return Reference(f"{HEAD}{text}{TAIL}", tags)

    def _tokens(self, text: str) -> int:
        return len(self._talk.plain(text)) + 1  # where texts meet, tokens may be others


def _instructions(lives: Sequence[Live]) -> list[str]:
    return [live.task.instruction for live in lives]


def _text(skill: Skill) -> str:
    turns = "\n".join(
        f"{turn.observation.strip()}\n{write_reply(turn.thought, turn.action)}"
        for turn in skill.turns
    )
    return f"{skill.instruction}\n{turns}\n\n"
