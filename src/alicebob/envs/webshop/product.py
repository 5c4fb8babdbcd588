"""Product: one product of a shop, and the goal of buying one.

Does not: read or make products (see `catalogue` and `generated`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Goal", "Product"]


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
