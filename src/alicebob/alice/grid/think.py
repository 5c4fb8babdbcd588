"""Think: give a skill's turns their thoughts, after the fact.

The thought of a turn is what it led to, with the side on which its thing was in sight. Invariant:
everything comes from the turns' own events and INTENT tags, which the skill then no longer has; no
other tag and no action changes. Does not: know the episode that a skill was cut from.
"""

from __future__ import annotations

from dataclasses import replace

from alicebob.alice.grid.intents import goals, intent, subject, untagged
from alicebob.sight import with_side
from alicebob.trace import OPEN_PLAY, Skill, Turn

__all__ = ["bare", "think"]


def think(skill: Skill) -> Skill:
    """Return the skill with a thought for each turn, "" where it was for nothing."""
    thoughts = _led_to(skill) if skill.name == OPEN_PLAY else [skill.name] * len(skill.turns)
    turns = tuple(
        replace(turn, thought=_seen(thought, turn), tags=untagged(turn))
        for turn, thought in zip(skill.turns, thoughts, strict=True)
    )
    return replace(skill, turns=turns)


def bare(skill: Skill) -> Skill:
    """Return the skill with its turns as they are, but for what they were for."""
    return replace(skill, turns=tuple(replace(t, tags=untagged(t)) for t in skill.turns))


def _led_to(skill: Skill) -> list[str]:
    """Return for each turn of a whole episode what it led to, else what it was for."""
    return [
        goal or intent(turn).removeprefix("use ")
        for turn, (goal, _) in zip(skill.turns, goals(skill.turns), strict=True)
    ]


def _seen(thought: str, turn: Turn) -> str:
    return thought and with_side(thought, subject(turn), turn.action, turn.observation)
