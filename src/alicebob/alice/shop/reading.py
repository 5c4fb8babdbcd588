"""Reading: a page of the shop as a shopper takes it in, from its text alone, in either format.

Product texts are data: what they say can at worst be misread as another product's, and a skill
made of that does not replay. Does not: know what cannot be seen on the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from alicebob.envs.shopping import BACK, BAR, BUY, CHOSEN, NEXT, PREV, SEP, SUB_PAGES

__all__ = ["Offer", "Page", "asked_for", "options_on", "prices", "read", "retold"]

HEAD = "Instruction:"
PAGE = re.compile(r"Page \d+ \(Total results: \d+\)")
BUTTON = re.compile(r"\[(?:clicked )?button\] (.*) \[(?:clicked )?button_\]")
COMPACT = re.compile(
    r"^page: (search|results|item|about)[ \d]*\nInstruction: (.*)((?:\n.*)*)", re.M
)
NAME = re.compile(r"[A-Z0-9]{10}")
PRICE = re.compile(r"\d[\d,]*(?:\.\d+)?")
FIXED = {name.lower() for name in (BACK, PREV, NEXT, BUY, *SUB_PAGES)}
_WITH = re.compile(r" with (?=[^,:]+: )")


@dataclass(frozen=True, slots=True)
class Offer:
    """A product on a page of results: its name to click, its title and its price as shown."""

    asin: str
    title: str
    price: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its kind (index, results, item or sub_page), what is told, and what stands on it.

    `offers` are those of a page of results; `lines` what stands on an item's page before its title
    (option groups and values) or on a page about it; `title` and `price` are the item's.
    """

    kind: str
    told: str
    offers: Sequence[Offer] = ()
    lines: Sequence[str] = field(default=())
    title: str = ""
    price: str = ""


def read(observation: str) -> Page | None:
    """Return the page that an observation shows, None where it shows none."""
    if found := COMPACT.search(observation):
        return _compact(found[1], found[2], found[3].split("\n")[1:])
    texts = _texts(observation)
    if HEAD not in texts:
        return None
    told, *rest = [*texts[texts.index(HEAD) + 1 :], ""]
    rest = rest[:-1]
    if rest == ["Search"]:
        return Page("index", told)
    if len(rest) < 2 or rest[0] != BACK:
        return None
    if PAGE.fullmatch(rest[1]):
        return Page("results", told, offers=_offers(rest[2:]))
    if rest[1] != PREV:
        return None
    if rest[-1] != BUY:
        return Page("sub_page", told, lines=rest[2:])
    at = next((i for i, text in enumerate(rest) if text.startswith("Price: ")), 0)
    if at < 3:
        return None
    return Page("item", told, lines=rest[2 : at - 1], title=rest[at - 1], price=rest[at])


def _compact(kind: str, told: str, lines: Sequence[str]) -> Page | None:
    """Return a page in the compact format; its lines are those after the instruction."""
    parts = [line.split(BAR) for line in lines]
    if kind == "search":
        return Page("index", told)
    if kind == "about":
        return Page("sub_page", told, lines=lines)
    if kind != "item":
        rows = [row for row in parts if len(row) >= 3 and NAME.fullmatch(row[0])]
        offers = tuple(Offer(row[0], BAR.join(row[1:-1]), row[-1]) for row in rows)
        return Page("results", told, offers=offers)
    if not parts or len(parts[0]) < 2:
        return None
    # Each group's line is its name and its values: told apart as on the other formats' pages.
    groups = [
        [name, *values.split(BAR)]
        for name, found, values in (line.removeprefix(CHOSEN).partition(": ") for line in lines[1:])
        if found
    ]
    return Page(
        "item",
        told,
        lines=[text for group in groups for text in group],
        title=BAR.join(parts[0][:-1]),
        price=f"Price: {parts[0][-1]}",
    )


def _texts(observation: str) -> list[str]:
    """Return the texts of a page, without marks, blank ones left out."""
    if SEP in observation:
        # What is told of an action that is none stands before the page.
        return [text.strip() for text in observation.rpartition("\n\n")[2].split(SEP)]
    texts = [line.strip() for line in observation.split("\n")]
    found = [(BUTTON.fullmatch(text), text) for text in texts if text]
    return [match[1].strip() if match else text for match, text in found]


def _offers(texts: Sequence[str]) -> tuple[Offer, ...]:
    starts = [i for i, text in enumerate(texts) if NAME.fullmatch(text)]
    offers = []
    for start, end in pairwise([*starts, len(texts)]):
        told = texts[start + 1 : end]
        if len(told) >= 2:
            offers.append(Offer(texts[start], " ".join(told[:-1]), told[-1]))
    return tuple(offers)


def options_on(page: Page, info: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the values of each option group of an item's page, as they can be clicked."""
    clickable = {action[len("click[") : -1] for action in info.get("admissible_actions", ())}
    clickable -= FIXED
    groups: dict[str, list[str]] = {}
    name = ""
    for line in page.lines:
        if line in clickable and name:
            groups[name].append(line)
        else:
            name = line
            groups[name] = []
    return {name: values for name, values in groups.items() if values}


def prices(text: str) -> tuple[float, ...]:
    """Return the amounts that a price names, in dollars."""
    return tuple(float(found.replace(",", "")) for found in PRICE.findall(text))


def retold(observation: str, told: str, instead: str) -> str:
    """Return an observation with other words where the page says what is asked for."""
    if not told:
        return observation
    head, found, tail = observation.partition(HEAD)
    before, at, after = tail.partition(told)
    return f"{head}{found}{before}{instead}{after}" if at else observation


def asked_for(query: str) -> tuple[str, dict[str, str]]:
    """Return what a search was for, and the options named behind it as the shop names them."""
    wish, *rest = _WITH.split(query.lower(), 1)
    named = [part.partition(": ") for part in rest[0].split(", and ")] if rest else []
    return wish, {name: value for name, _, value in named}
