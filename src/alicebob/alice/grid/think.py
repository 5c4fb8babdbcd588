"""Think: give a skill's turns their thoughts, after the fact.

The thought of a turn is what it led to, with the side on which its thing was in sight. In a whole
episode a tag says the same, AIM, whether there are thoughts or not, so that who balances what is
learnt need not read thoughts. Invariant: everything comes from the turns' own events and INTENT
tags, which the skill then no longer has; no other tag and no action changes. Does not: know the
episode that a skill was cut from.
"""

from __future__ import annotations

from dataclasses import replace

from alicebob.alice.grid.intents import goals, intent, sought, untagged
from alicebob.sight import with_side
from alicebob.trace import AIM, OPEN_PLAY, Skill, Turn

__all__ = ["bare", "think"]


def think(skill: Skill) -> Skill:
    """Return the skill with a thought for each turn, "" where it was for nothing."""
    turns = tuple(
        replace(told, thought=_seen(aim, turn))
        for turn, told, aim in zip(skill.turns, _told(skill), _aims(skill), strict=True)
    )
    return replace(skill, turns=turns)


def bare(skill: Skill) -> Skill:
    """Return the skill without thoughts."""
    return replace(skill, turns=_told(skill))


def _told(skill: Skill) -> tuple[Turn, ...]:
    """Return the turns without what they were meant for; of a whole episode, with their aims."""
    whole = skill.name == OPEN_PLAY
    return tuple(
        replace(turn, tags=(*untagged(turn), *[f"{AIM}{aim}"] * (whole and bool(aim))))
        for turn, aim in zip(skill.turns, _aims(skill), strict=True)
    )


def _aims(skill: Skill) -> list[str]:
    return _led_to(skill) if skill.name == OPEN_PLAY else [skill.name] * len(skill.turns)


def _led_to(skill: Skill) -> list[str]:
    """Return for each turn of a whole episode what it led to, else what it was for."""
    return [
        goal or intent(turn).removeprefix("use ")
        for turn, (goal, _) in zip(skill.turns, goals(skill.turns), strict=True)
    ]


def _seen(thought: str, turn: Turn) -> str:
    return thought and with_side(thought, sought(turn), turn.action, turn.observation)
