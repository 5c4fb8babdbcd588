"""Product: one product of a shop, and the goal of buying one.

Does not: read or make products (see `catalogue` and `generated`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["NO_LIMIT", "Goal", "Product", "draw_for", "price_limit"]

NO_LIMIT = 1_000_000.0  # the price limit of a goal that has none
STEPS = [10.0 * i for i in range(1, 100)]  # dollars that a limit may be


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the pages show it and the reward judges it.

    `options` are the values of each option group, e.g. {"size": ("small", "large")}; `attributes`
    what it is said to be, shown on no page but the one of that name; `kind` is what a shopper would
    search for it by ("query" upstream); `categories` are joined by " › ". `price` is in dollars,
    `price_tag` how it is shown.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    category: str
    categories: str
    kind: str
    price: float
    price_tag: str

    def contents(self) -> str:
        """Return the text by which it is found, as upstream indexes it."""
        options = ", and ".join(f"{name}: {', '.join(v)}" for name, v in self.options.items())
        first = self.bullets[0] if self.bullets else ""
        return " ".join([self.title, self.description, first, options]).lower()


@dataclass(frozen=True, slots=True)
class Goal:
    """What a shopper wants: a product like this one, with these attributes and options.

    `options` maps groups to values, or lists values alone, as people's goals do. `price_upper` is
    in dollars. `weight` is how often it is drawn, relative to the others.
    """

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: Mapping[str, str] | tuple[str, ...]
    price_upper: float
    name: str
    kind: str
    category: str
    categories: str
    weight: float = field(default=1.0, compare=False)


def draw_for(*names: object) -> random.Random:
    """Return a generator that follows from names, the same in every process."""
    return random.Random("\0".join(map(str, names)))


def price_limit(price: float, draw: random.Random) -> float:
    """Draw a price limit: the larger of two of the next four tens of dollars above a price.

    NO_LIMIT where there are no two (upstream goal.py).
    """
    above = [step for step in STEPS if step > price][:4]
    return max(draw.sample(above, 2)) if len(above) > 1 else NO_LIMIT
