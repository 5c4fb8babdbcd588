"""Think: what a shopper thought at each turn of a purchase, written after the fact.

A thought says what of the request the turn is about, in its words. Invariant: it follows from the
skill's actions and the options of its goal. Does not: look at pages.
"""

from __future__ import annotations

from dataclasses import replace

from alicebob.alice.shop.reading import asked_for
from alicebob.trace import INTENT, Skill, Turn

__all__ = ["bare", "think"]

SOUGHT = "all that is asked"  # before a search that names the options too
CHOSEN = "all chosen"  # before buying


def think(skill: Skill) -> Skill:
    """Return a skill with a thought at each turn, and without what its turns were for."""
    options = skill.options["goal"]["options"]
    groups = {str(value).lower(): group for group, value in options.items()}
    thoughts = [_thought(turn, groups) for turn in skill.turns[1:-1]]
    searched = _name(skill.turns[0])
    first = SOUGHT if len(asked_for(searched)[1]) == len(options) else searched
    turns = zip(skill.turns, (first, *thoughts, CHOSEN), strict=True)
    return replace(skill, turns=tuple(_said(turn, thought) for turn, thought in turns))


def bare(skill: Skill) -> Skill:
    """Return a skill without what its turns were for."""
    return replace(skill, turns=tuple(_said(turn, turn.thought) for turn in skill.turns))


def _thought(turn: Turn, groups: dict[str, str]) -> str:
    name = _name(turn)
    group = groups.get(name.lower())
    return "" if group is None else f"{group}: {name}"


def _name(turn: Turn) -> str:
    return turn.action.partition("[")[2][:-1]


def _said(turn: Turn, thought: str) -> Turn:
    tags = tuple(tag for tag in turn.tags if not tag.startswith(INTENT))
    return replace(turn, thought=thought, tags=tags)
