"""The suite of Crafter: one trial for each of the 22 achievements.

Each grants what the skill needs and no more, read from the game's own rules; its limit is tight:
a craft with all in hand takes one action, so that random play seldom passes. What lies about in any
world (trees, water, cows, grass) is left to be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crafter import constants

from alicebob.envs.hooks import Trial

__all__ = ["trials"]

SEARCH, FIGHT, CLOSE, SLEEP, STATION, HAND = 50, 30, 15, 15, 4, 3  # turns


def trials() -> tuple[Trial, ...]:
    """Return the suite, in the order of the game's own list of achievements."""
    return tuple(_trial(name) for name in constants.achievements)


def _trial(name: str) -> Trial:
    verb, _, thing = name.partition("_")
    said = (
        name.replace("_", " ") if verb == "collect" or thing == "stone" else f"{verb} {_a(thing)}"
    )
    instruction = "Sleep and wake up." if verb == "wake" else f"{said.capitalize()}."
    limit, options = _grant(verb, thing)
    return Trial(name, instruction, limit, options)


def _a(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing.replace('_', ' ')}"


def _grant(verb: str, thing: str) -> tuple[int, dict[str, Any]]:
    """Return the limit of turns and the reset options for a verb and its object."""
    if verb == "make":
        stations = list(constants.make[thing]["nearby"])
        held = dict(constants.make[thing]["uses"])
        return STATION, {"inventory": held, "near": stations}
    if verb == "place":
        return HAND, {"inventory": dict(constants.place[thing]["uses"])}
    special: Mapping[str, tuple[int, dict[str, Any]]] = {
        "eat_cow": (SEARCH, {"inventory": {"food": 4}}),
        "eat_plant": (CLOSE, {"near": ["ripe_plant"]}),
        "defeat_zombie": (FIGHT, {"near": ["zombie"]}),
        "defeat_skeleton": (FIGHT, {"near": ["skeleton"]}),
        "wake_up": (SLEEP, {"inventory": {"energy": 8}}),
        "collect_drink": (SEARCH, {"inventory": {"drink": 4}}),
    }
    if f"{verb}_{thing}" in special:
        return special[f"{verb}_{thing}"]
    tools = next(
        (dict(rule["require"]) for rule in constants.collect.values() if thing in rule["receive"]),
        {},
    )
    return (CLOSE, {"inventory": tools, "near": [thing]}) if tools else (SEARCH, {})
