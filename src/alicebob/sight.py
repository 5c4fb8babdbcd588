"""Sight: where an observation says that things are, in its own words.

A thought that quotes the place of what it is about ("collect wood, tree left3 up2") lets a small
model look first and act then. Works on texts that put a place behind a thing's name, as compact
Crafter does; of others it quotes nothing. Does not: know what a thing is good for.
"""

from __future__ import annotations

import re

__all__ = ["quotes", "with_place"]

_PLACED = re.compile(r"\b([a-z_]+)((?: (?:left|right|up|down)\d)+)\b")
_FACED = re.compile(r"^front ([a-z_]+)", re.MULTILINE)


def quotes(observation: str) -> dict[str, str]:
    """Return for each thing whose place an observation tells the words that tell it.

    What is faced is quoted as such, whatever else is said of its kind.
    """
    found = {thing: f"{thing}{place}" for thing, place in _PLACED.findall(observation)}
    faced = _FACED.search(observation)
    if faced:
        found[faced.group(1)] = f"front {faced.group(1)}"
    return found


def with_place(thought: str, thing: str, observation: str) -> str:
    """Return a thought with the place of the thing it is about, where the observation tells it."""
    place = quotes(observation).get(thing)
    return f"{thought}, {place}" if thought and place else thought
