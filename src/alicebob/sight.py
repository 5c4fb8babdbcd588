"""Sight: what an observation says in words that join two facts: a thing's side, a thing's number.

A thought that quotes the word for what it is about ("collect_wood, tree_left") lets a small model
look first and act then. Of texts that do not join a thing and its side in a word it quotes nothing.
Does not: know what a thing is good for.
"""

from __future__ import annotations

import re

from numpy.random import Generator

__all__ = ["as_shown", "numbers", "retold", "run_of_words", "sides", "with_side"]

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


def as_shown(action: str, observation: str) -> str:
    """Return an action of the form verb[name] with its name spelt as the observation spells it."""
    verb, found, rest = action.partition("[")
    if not found or not rest.endswith("]"):
        return action
    name = rest[:-1]
    at = observation.lower().find(name)
    # Lower case may be longer than the text it comes from: then it is left as it is.
    shown = observation[at : at + len(name)] if at >= 0 else name
    return f"{verb}[{shown}]" if shown.lower() == name else action


def retold(observation: str, told: str, instead: str) -> str:
    """Return an observation with other words where it repeats, first, what was asked for."""
    return observation.replace(told, instead, 1) if told else observation


def run_of_words(text: str, most: int, draw: Generator) -> str:
    """Return some words that stand together in a text, one to `most` of them, marks left out."""
    words = [word for word in text.split() if not word.startswith("[")] or ["x"]
    start = int(draw.integers(len(words)))
    return " ".join(words[start : start + int(draw.integers(1, most + 1))])
