"""Sight: what an observation says in words that join two facts: a thing's side, a thing's number.

A thought that quotes the word for what it is about ("collect_wood, tree_left") lets a small model
look first and act then. Works on texts that join a thing and its side in a word, as compact Crafter
does; of others it quotes nothing. Does not: know what a thing is good for.
"""

from __future__ import annotations

import re

__all__ = ["numbers", "sides", "with_side"]

_NUMBERED = re.compile(r"\b([a-z_]+)(\d+)\b")
_SIDED = re.compile(r"\b([a-z_]+)_(left|right|up|down)\b")


def sides(observation: str) -> list[tuple[str, str]]:
    """Return (thing, side) for each that the observation names, without repeats, in order."""
    return list(dict.fromkeys(_SIDED.findall(observation)))


def numbers(observation: str) -> dict[str, int]:
    """Return how many of each thing there are, where the observation says so: "wood3", "food9"."""
    return {thing: int(count) for thing, count in _NUMBERED.findall(observation)}


def with_side(thought: str, thing: str, action: str, observation: str) -> str:
    """Return a thought with the side on which its thing was seen and to which the action went."""
    side = action.rpartition("_")[2]
    return f"{thought}, {thing}_{side}" if (thing, side) in sides(observation) else thought
