"""Think: give a skill's turns their thoughts, after the fact.

The thought of a turn is what it led to, in the event's own words: of a cut its event, of a whole
episode what was reported next. There a tag says the same, AIM, whether there are thoughts or not.
Invariant: everything comes from the skill itself; its turns lose their INTENT tags, and no other
tag and no action changes. Does not: know the episode.
"""

from __future__ import annotations

from dataclasses import replace

from alicebob.alice.anywhere.effects import brought
from alicebob.alice.anywhere.situation import spoken
from alicebob.trace import AIM, INTENT, OPEN_PLAY, Skill, Turn

__all__ = ["bare", "think"]


def think(skill: Skill) -> Skill:
    """Return the skill with a thought for each turn."""
    thoughts = _aims(skill) if skill.name == OPEN_PLAY else [spoken(skill.name)] * len(skill.turns)
    turns = zip(_told(skill), thoughts, strict=True)
    return replace(skill, turns=tuple(replace(turn, thought=thought) for turn, thought in turns))


def bare(skill: Skill) -> Skill:
    """Return the skill without thoughts."""
    return replace(skill, turns=_told(skill))


def _told(skill: Skill) -> tuple[Turn, ...]:
    """Return the turns without what they were meant for; of a whole episode, with their aims."""
    kept = [tuple(tag for tag in t.tags if not tag.startswith(INTENT)) for t in skill.turns]
    if skill.name == OPEN_PLAY:
        kept = [(*tags, f"{AIM}{aim}") for tags, aim in zip(kept, _aims(skill), strict=True)]
    return tuple(replace(t, tags=tags) for t, tags in zip(skill.turns, kept, strict=True))


def _aims(skill: Skill) -> list[str]:
    """Return for each turn of a whole episode what was reported next."""
    ahead, aims = "", []
    for names in reversed(brought(skill.turns, success=True)):
        ahead = spoken(names[0]) if names else ahead
        aims.append(ahead)
    return aims[::-1]
