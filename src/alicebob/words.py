"""Words: from the name of an event to an instruction and a thought.

Everything is made of the event's own words; the ways to say a verb are English, not knowledge of
the environment, and an unknown verb is said as it is. Does not: draw; chance is passed in.
"""

from __future__ import annotations

from numpy.random import Generator

__all__ = ["STOP", "goal", "instruction", "plain", "ways"]

_SMALL = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with"
)
STOP = frozenset(_SMALL.split())  # words that say nothing, as Lucene has them

PLAIN = 0.5  # share of instructions in the plainest form
VERBS = {
    "collect": ("collect", "get", "gather"),
    "make": ("make", "craft"),
    "place": ("place", "put down"),
    "defeat": ("defeat", "beat"),
    "eat": ("eat",),
}
COUNTED = ("make", "place", "defeat", "eat")  # what follows is one thing: "a table"
UNCOUNTED = ("stone",)  # but of this there is some
WHOLE = {"wake_up": ("sleep and wake up", "sleep until you wake up", "get some sleep")}


def goal(event: str) -> str:
    """Return an event's own words, e.g. "make wood pickaxe": the thought of who is after it."""
    return event.replace("_", " ")


def plain(event: str) -> str:
    """Return the plainest instruction for an event: its own words, e.g. "Make wood pickaxe."."""
    return ways(event)[0]


def instruction(event: str, draw: Generator) -> str:
    """Return an instruction for an event, in varied words."""
    known = ways(event)
    if draw.random() < PLAIN:
        return known[0]
    return known[int(draw.integers(len(known)))]


def ways(event: str) -> list[str]:
    """Return the instructions that ask for an event, the plainest first."""
    return [_sentence(way) for way in _ways(event)]


def _ways(event: str) -> list[str]:
    """Return the ways to ask for an event, the plainest first."""
    own = goal(event)
    if event in WHOLE:
        return [own, *WHOLE[event]]
    verb, _, rest = event.partition("_")
    thing = rest.replace("_", " ")
    if not thing:
        return [own]
    nouns = [thing]
    if verb in COUNTED and rest not in UNCOUNTED:
        nouns = [f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"]
    elif verb == "collect":
        nouns = [thing, f"some {thing}"]
    said = [f"{word} {noun}" for word in VERBS.get(verb, (verb,)) for noun in nouns]
    return [own, *(way for way in said if way != own)]


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."
