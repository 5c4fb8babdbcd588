"""Wanted: which goals a shop gives: by split, by published ranges, or one of an episode's own.

Invariant: the same words give the same goal in any process. Does not: say how a goal is met.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alicebob.envs.shopping import NO_LIMIT
from alicebob.envs.webshop.catalogue import Catalogue, open_catalogue
from alicebob.envs.webshop.goals import SPLITS, Goals, goal_of, split_of
from alicebob.envs.webshop.product import Goal
from alicebob.errors import UnknownName, UsageError

__all__ = ["PRESETS", "goals_for", "held_out", "own_goal", "wanted"]

PARTS = ("asin", "instruction", "attributes", "options", "price_upper")  # of a goal of one's own


@dataclass(frozen=True, slots=True)
class Preset:
    """How published work set the shop up; `splits` are ranges of goals, else they go by product."""

    goals: str
    limit: int
    splits: Mapping[str, slice] | None = None


PRESETS = {
    "small": Preset("synthetic", 15),
    "webshop": Preset(
        "human",
        100,
        {"test": slice(0, 500), "validation": slice(500, 1500), "train": slice(1500, None)},
    ),
    "agentbench": Preset("human", 20, {"test": slice(0, 200), "train": slice(1000, 12_001)}),
    "eto": Preset("human", 10),  # its own lists share goals between training and test
    "verl-agent": Preset("synthetic", 15, {"test": slice(0, 500), "train": slice(500, None)}),
}


def goals_for(catalogue: str, kind: str, preset: str, split: Any) -> Goals:
    """Return the goals of a kind and a split, None for all.

    Raises UnknownName for another split, UsageError for one that the preset does not have.
    """
    if split is not None and split not in SPLITS:
        raise UnknownName("split", str(split), SPLITS, "webshop")
    return _goals(catalogue, kind, preset, split)


@functools.lru_cache(16)
def _goals(catalogue: str, kind: str, preset: str, split: str | None) -> Goals:
    ranges = PRESETS[preset].splits
    if split is None or ranges is None:
        return open_catalogue(catalogue).goals(kind, split)
    if split not in ranges:
        raise UsageError(
            f"webshop: preset {preset} has no split {split!r}, only {', '.join(ranges)}."
        )
    return open_catalogue(catalogue).goals(kind, None)[ranges[split]]


def held_out(catalogue: str, kind: str, preset: str, asin: str) -> bool:
    """Say whether validation or test goals may ask for a product."""
    if PRESETS[preset].splits is None:
        return split_of(asin) != "train"
    return asin in _asked_for(catalogue, kind, preset)


@functools.lru_cache(16)
def _asked_for(catalogue: str, kind: str, preset: str) -> frozenset[str]:
    """Return the products that the validation and test goals of published ranges ask for."""
    others = [split for split in PRESETS[preset].splits or () if split != "train"]
    return frozenset(g.asin for s in others for g in _goals(catalogue, kind, preset, s))


def wanted(goal: Any, goals: Goals, seed: Any, catalogue: Catalogue) -> Goal:
    """Return the goal that is asked for, by number or in words of its own, or that the seed draws.

    Raises UsageError or UnknownName for one that is none.
    """
    if isinstance(goal, Mapping):
        return own_goal(goal, catalogue)
    if goal is None:
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise UsageError(f"webshop: seed must be a whole number from 0; got {seed!r}.")
        if not goals:
            raise UsageError(f"webshop: {catalogue.name} has no goals of this kind and split.")
        return goals[goals.draw(np.random.default_rng([int(seed), 2]))]
    if type(goal) is not int or not 0 <= goal < len(goals):
        raise UsageError(f"webshop: goal must be 0 to {len(goals) - 1}; got {goal!r}.")
    return goals[goal]


def own_goal(told: Mapping[str, Any], catalogue: Catalogue) -> Goal:
    """Return a goal that was written for a product, from its plain data.

    Raises UsageError or UnknownName where it is not one.
    """
    for name in told:
        if name not in PARTS:
            raise UnknownName("part of a goal", str(name), PARTS, "webshop")
    number = catalogue.number(str(told.get("asin", "")))
    if number is None:
        raise UsageError(f"webshop: there is no product {told.get('asin')!r} to be the goal.")
    options, attributes = told.get("options", {}), told.get("attributes", ())
    limit = told.get("price_upper", NO_LIMIT)
    lists = [part for part in (options, attributes) if not isinstance(part, Mapping)]
    if not all(isinstance(part, Sequence) and not isinstance(part, str) for part in lists):
        raise UsageError("webshop: a goal's attributes are a list, its options groups to values.")
    if type(limit) not in (int, float) or not limit > 0:
        raise UsageError("webshop: a goal's price_upper is a number of dollars above 0.")
    return goal_of(
        catalogue[number],
        str(told.get("instruction", "")),
        tuple(map(str, attributes)),
        dict(options) if isinstance(options, Mapping) else tuple(map(str, options)),
        float(limit),
    )
