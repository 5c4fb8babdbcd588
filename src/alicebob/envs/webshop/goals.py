"""Goals: what shoppers want of a catalogue, in an order that is the same everywhere, and splits.

Synthetic goals follow from a product's attributes and one choice of its options each; human ones
are what people wrote. Splits go by product, so that no product that is asked for in one is asked
for in another. Invariant: goal number i of a catalogue is the same in every process. Does not:
show a goal to a policy.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from alicebob.envs.shopping import draw_for, limit_text, price_limit, said
from alicebob.envs.webshop.product import Goal, Product

__all__ = ["SPLITS", "Goals", "goal_of", "human", "split_of", "synthetic"]

SPLITS = ("train", "validation", "test")
SHARES = (70, 80)  # of a hundred products: below the first train, below the second validation
ORDER = 233  # the seed with which the original shuffles


class Goals(Sequence[Goal]):
    """A sequence of goals, each made when it is asked for.

    With `weighted` they are drawn by their weights, else all alike.
    """

    def __init__(
        self, numbers: Sequence[int], make: Callable[[int], Goal], weighted: bool = False
    ) -> None:
        self._numbers, self._make, self._weighted = numbers, make, weighted

    def draw(self, draw: np.random.Generator) -> int:
        """Draw the index of a goal."""
        if not self._weighted:
            return int(draw.integers(len(self)))
        return min(int(np.searchsorted(self._sums, draw.random() * self._sums[-1])), len(self) - 1)

    @functools.cached_property
    def _sums(self) -> NDArray[np.float64]:
        return np.cumsum([goal.weight for goal in self])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> Goals: ...
    def __getitem__(self, index: Any) -> Goal | Goals:
        """Return a goal, or the goals of a slice."""
        if isinstance(index, slice):
            return Goals(self._numbers[index], self._make, self._weighted)
        return self._make(self._numbers[index])


def split_of(asin: str) -> str:
    """Return the split that a product's goals belong to."""
    digit = int.from_bytes(hashlib.sha256(asin.encode()).digest()[:4], "big") % 100
    return SPLITS[sum(digit >= share for share in SHARES)]


def synthetic(products: Sequence[tuple[Product, str, tuple[str, ...]]]) -> list[Goal]:
    """Return the synthetic goals of products, each given with its text and attributes, shuffled.

    A product has a goal for each combination of its options. The price limit of a product follows
    from the product; the original draws it anew in every process. (Upstream goal.py.)
    """
    goals: list[Goal] = []
    uses: Counter[str] = Counter()
    for product, text, attributes in products:
        limit = price_limit(product.price, draw_for("limit", product.asin))
        names = sorted(product.options)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = dict(zip(names, values, strict=True))
            uses.update(attributes)
            goals.append(goal_of(product, said(text, options, limit), attributes, options, limit))
    for number, goal in enumerate(goals):
        weight = sum(1.0 / uses[a] for a in goal.attributes) / max(1, len(goal.attributes))
        goals[number] = replace(goal, weight=weight)
    random.Random(ORDER).shuffle(goals)
    return goals


def human(
    products: Sequence[tuple[Product, Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]]]],
) -> list[Goal]:
    """Return people's goals, shuffled: each a text, its attributes and its option values.

    Those without attributes are left out, as upstream does.
    """
    goals = []
    for product, wanted in products:
        for number, (text, attributes, options) in enumerate(wanted):
            if not attributes:
                continue
            limit = price_limit(product.price, draw_for("limit", product.asin, number))
            told = text.strip(".") + limit_text(limit)
            goals.append(goal_of(product, told, attributes, options, limit))
    random.Random(ORDER).shuffle(goals)
    return goals


def goal_of(
    product: Product, instruction: str, attributes: tuple[str, ...], options: Any, limit: float
) -> Goal:
    """Return the goal of buying a product."""
    return Goal(
        product.asin,
        instruction,
        attributes,
        options,
        limit,
        product.title,
        product.kind,
        product.category,
        product.categories,
    )
