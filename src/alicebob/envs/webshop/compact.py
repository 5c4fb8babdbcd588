"""Compact: the shop's pages in few words, for tiny models. Not the original's text.

Lines of parts between bars, and five products on a page of results. Buttons that every page of a
kind has are not named, long titles end early, and of an option group the first values are shown, or
the one that is chosen; all of them can be clicked all the same.
Does not: decide what can be clicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from alicebob.envs.shopping import BAR, CHOSEN
from alicebob.envs.webshop.product import Product

__all__ = ["SHOWN", "index", "item", "results", "sub_page"]

SHOWN = 5  # products on a page of results
TITLE = 64  # characters of a title
VALUES = 12  # of an option group
ABOUT = 400  # characters of a page about a product


def index(told: str) -> str:
    """Return the page with the search bar."""
    return _page("search", told, ())


def results(told: str, products: Sequence[Product], number: int) -> str:
    """Return a page of results: a line for each product, with its name to click."""
    lines = (f"{p.asin}{BAR}{_short(p.title, TITLE)}{BAR}{_line(p.price_tag)}" for p in products)
    return _page(f"results {number}", told, lines)


def item(told: str, product: Product, chosen: Mapping[str, str]) -> str:
    """Return a product's page: the title, and of each option group its values or the choice."""
    lines = [f"{_short(product.title, TITLE)}{BAR}{_line(product.price_tag)}"]
    for name, values in product.options.items():
        if name in chosen:
            lines.append(f"{CHOSEN}{_line(name)}: {_line(chosen[name])}")
        else:
            lines.append(f"{_line(name)}: {BAR.join(_line(value) for value in values[:VALUES])}")
    return _page("item", told, lines)


def sub_page(told: str, texts: Iterable[str]) -> str:
    """Return a page about a product."""
    lines, room = [], ABOUT
    for text in texts:
        line = _short(text, room)
        if line:
            lines.append(line)
        room -= len(line)
    return _page("about", told, lines)


def _page(kind: str, told: str, lines: Iterable[str]) -> str:
    return "\n".join([f"page: {kind}", f"Instruction: {_line(told)}", *lines])


def _line(text: str) -> str:
    return " ".join(text.split())


def _short(text: str, most: int) -> str:
    """Return a text's first words, of at most so many characters."""
    line = _line(text[: 8 * most])
    if len(line) <= most:
        return line
    return line[:most].rpartition(" ")[0] or line[:most]
