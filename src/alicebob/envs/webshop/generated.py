"""Generated: a catalogue that is made up from a vocabulary of its own, product by product.

Product number i of a seed is made from i alone, so that a catalogue of any size needs no memory,
and a larger one begins with the products of a smaller one. It is made to be hard in the ways a
real one is: many products of a kind differ in a few attributes, of which not all stand in the
title; titles boast of what the product is not; options and prices decide. Invariant: the same
number and seed give the same product, bytes and all. Does not: search.
"""

from __future__ import annotations

import functools
import importlib.resources
from random import Random
from typing import Any

import numpy as np

from alicebob.envs.shopping import asked, draw_for, limit_text, price_limit, said
from alicebob.envs.webshop.goals import goal_of
from alicebob.envs.webshop.product import Goal, Product

__all__ = ["Maker"]

DIGITS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
STRIDE, SPACE = 982_451_653, 34**6  # a prime that scatters numbers over six digits
UNDO = pow(STRIDE, -1, SPACE)  # and gathers them again
KNOWN = 1 << 14  # products kept once made


@functools.cache
def wares() -> dict[str, Any]:
    """Return the vocabulary; see wares.yaml."""
    from ruamel.yaml import YAML

    text = (importlib.resources.files("alicebob.envs.webshop") / "wares.yaml").read_text("utf-8")
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


class Maker:
    """Makes the products and goals of a generated catalogue of `count` products."""

    version = 1  # of what it makes

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.kinds = list(wares()["kinds"].items())
        self.product = functools.lru_cache(KNOWN)(self._product)
        self._shift = draw_for("asins", seed).randrange(SPACE)

    def asin(self, number: int) -> str:
        """Return a product's name: G and nine characters, which say nothing of the product."""
        code = (number * STRIDE + self._shift) % SPACE
        digits = []
        for _ in range(6):
            code, digit = divmod(code, len(DIGITS))
            digits.append(DIGITS[digit])
        return "G0WS" + "".join(digits)

    def number(self, asin: str) -> int | None:
        """Return the number of a product, None where there is no such product."""
        if len(asin) != 10 or not asin.startswith("G0WS") or set(asin[4:]) - set(DIGITS):
            return None
        code = 0
        for digit in reversed(asin[4:]):
            code = code * len(DIGITS) + DIGITS.index(digit)
        number = (code - self._shift) * UNDO % SPACE
        return number if number < self.count else None

    def shuffled(self) -> list[int]:
        """Return all numbers in the order in which their goals stand."""
        order = np.random.default_rng([self.seed, self.count]).permutation(self.count)
        return [int(number) for number in order]

    def _product(self, number: int) -> Product:
        draw = draw_for("product", self.seed, number)
        kind, ware = self.kinds[draw.randrange(len(self.kinds))]
        true = draw.sample(ware["are"], draw.randint(3, 5))
        brands = wares()["brands"]
        brand = draw.choice(brands["starts"]) + draw.choice(brands["ends"])
        shown = true[: draw.randint(1, 2)]
        name = draw.choice(ware["names"])
        title = (
            f"{brand} {draw.choice(wares()['series'])} {name.title()}, {', '.join(shown).title()}, "
            f"for {draw.choice(ware['for'])}"
        )
        bullets = [f"{word.capitalize()}: {_praise(word, name, draw)}" for word in true[1:]]
        draw.shuffle(bullets)
        others = [word for word in ware["are"] if word not in true]
        description = (
            f"The {name} by {brand}. {_praise(true[0], name, draw).capitalize()} "
            f"Not to be confused with our {draw.choice(others)} line."
        )
        options = {}
        for group in ware["groups"]:
            many = wares()["groups"][group]
            values = many["values"]
            chosen = sorted(draw.sample(range(len(values)), draw.randint(2, min(6, len(values)))))
            options[many["name"]] = tuple(values[i] for i in chosen)
        low, high = ware["price"]
        price = round(low * (high / low) ** draw.random(), 2)
        tag = f"${price}"
        if draw.random() < 0.1:
            dearest = round(price * draw.uniform(1.1, 1.6), 2)
            tag = f"${price} to ${dearest}"
            price = draw.uniform(price, dearest)
        return Product(
            asin=self.asin(number),
            title=title,
            description=description,
            bullets=tuple(bullets),
            options=options,
            attributes=tuple(true),
            category=ware["in"][0].lower(),
            categories=" › ".join(ware["in"]),
            kind=kind,
            price=price,
            price_tag=tag,
        )

    def goal(self, number: int, kind: str) -> Goal:
        """Return the goal of buying a product: some of what it is, one of each of its options."""
        product = self.product(number)
        draw = draw_for("goal", self.seed, number)
        attributes = tuple(draw.sample(product.attributes, draw.randint(1, 3)))
        options = {name: draw.choice(values) for name, values in sorted(product.options.items())}
        limit = price_limit(product.price, draw)
        if kind == "synthetic":
            text = said(f"Find me {', '.join(attributes)} {product.kind}", options, limit)
            return goal_of(product, text, attributes, options, limit)
        text = asked(product.kind, attributes, list(options.values()), draw)
        values = tuple(options.values())
        return goal_of(product, text + limit_text(limit), attributes, values, limit)


def _praise(word: str, name: str, draw: Random) -> str:
    """Return a sentence that says a thing is so, in one of several ways."""
    ways = (
        f"this {name} is {word}, as it should be.",
        f"made {word} for years of use.",
        f"you asked for {word}, and here it is.",
        f"{word} without compromise.",
    )
    return draw.choice(ways)
