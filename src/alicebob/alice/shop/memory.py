"""Memory: what Alice knows of a shop from what she has read there, and nothing that she was told.

She keeps the texts of the products she met and how often she bought each. What kinds of things
there are, and what can be said of them, she finds in what titles have in common: an ending of their
first part that several share is a kind of thing, another part that several share is a quality.
Invariant: merging does not depend on the order, and the JSON of equal memories is equal bytes.
Does not: decide what to look for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.alice import storage
from alicebob.alice.shop.reading import Offer, Page

__all__ = ["Known", "Memory", "head_of", "parts_of"]

WORDS = 3  # of a kind of thing or a quality, at most
SHARED = 2  # products that must share a quality
ENDING = 3  # titles that must share an ending longer than two words, or be half of its ending's
_SPLIT = re.compile(r"\s*[,;:|()\[\]【】/–—]\s*|\s+-\s+")
_WORD = re.compile(r"[a-z0-9][a-z0-9'&.+-]*")


def parts_of(text: str) -> list[str]:
    """Return the parts of a text between its commas and the like, in lower case."""
    return [part for part in _SPLIT.split(text.lower()) if part]


def head_of(title: str) -> list[str]:
    """Return the words of a title's first part, where it says what the product is."""
    parts = parts_of(title)
    return _WORD.findall(parts[0]) if parts else []


@dataclass(slots=True)
class Known:
    """A product as far as it was read: title, lines of pages about it, values of its options."""

    title: str
    lines: tuple[str, ...] = ()
    options: Mapping[str, Sequence[str]] | None = None  # None where it was not opened
    bought: int = 0

    def said(self) -> list[str]:
        """Return what is said of it in a few words, in the order read."""
        return list(dict.fromkeys(p for text in (self.title, *self.lines) for p in _said(text)))

    def qualities(self, shared: Mapping[str, int]) -> list[str]:
        """Return what is said of it and of other products too."""
        return [part for part in self.said() if shared.get(part, 0) >= SHARED]


def _said(text: str) -> list[str]:
    """Return the short parts of a text that may be qualities: not its head, not what it is for."""
    head, *parts = parts_of(text) or [""]
    found = [part for part in parts if part.split()[0] != "for"]
    if ":" in text and not parts_of(text.partition(":")[0])[1:]:
        found.insert(0, head)  # "Waterproof: ...", the quality that a line is about
    return [part for part in found if 0 < len(part.split()) <= WORDS and _plain(part)]


def _plain(part: str) -> bool:
    return part.isprintable() and all(_WORD.fullmatch(word) for word in part.split())


@dataclass(slots=True)
class Memory:
    """The products met, by name, and counts of episodes and of what happened in them."""

    episodes: int = 0
    events: dict[str, int] = field(default_factory=dict)
    products: dict[str, Known] = field(default_factory=dict)

    def see(self, offer: Offer) -> None:
        """Take note of a product on a page of results."""
        self.products.setdefault(offer.asin, Known(offer.title))

    def look(
        self, asin: str, page: Page, options: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Take note of a page about a product, and of the options that can be chosen on it."""
        known = self.products.setdefault(asin, Known(page.title))
        if page.kind == "item":
            known.title = page.title
            known.options = known.options if options is None else options
        else:
            known.lines = tuple(dict.fromkeys([*known.lines, *page.lines]))

    def close(self, events: Sequence[str], bought: str = "") -> None:
        """Take note that an episode is over."""
        self.episodes += 1
        for event in events:
            self.events[event] = self.events.get(event, 0) + 1
        if bought in self.products:
            self.products[bought].bought += 1

    def copy(self) -> Memory:
        """Return an independent copy."""
        return Memory.from_json(self.to_json())

    def merge(self, other: Memory) -> None:
        """Add what another has met."""
        self.episodes += other.episodes
        for event, count in other.events.items():
            self.events[event] = self.events.get(event, 0) + count
        for asin, more in other.products.items():
            mine = self.products.setdefault(asin, Known(more.title))
            mine.lines = tuple(sorted({*mine.lines, *more.lines}))
            mine.options = more.options if mine.options is None else mine.options
            mine.bought += more.bought

    def things(self) -> dict[str, list[str]]:
        """Return the kinds of things with the products of each, by what their titles share."""
        heads = {asin: head_of(known.title) for asin, known in sorted(self.products.items())}
        counts: Counter[str] = Counter()
        for words in heads.values():
            counts.update(" ".join(words[-n:]) for n in range(1, min(WORDS, len(words)) + 1))
        found: dict[str, list[str]] = {}
        for asin, words in heads.items():
            if words:
                found.setdefault(_ending(words, counts), []).append(asin)
        return found

    def qualities(self) -> Counter[str]:
        """Return what is said of products, with the number of products it is said of."""
        counts: Counter[str] = Counter()
        for known in self.products.values():
            counts.update(known.said())
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return plain data with sorted names."""
        return {
            "episodes": self.episodes,
            "events": dict(sorted(self.events.items())),
            "products": {
                asin: [known.title, list(known.lines), known.options, known.bought]
                for asin, known in sorted(self.products.items())
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Memory:
        """Rebuild a memory; raises KeyError, TypeError or ValueError on data of another shape."""
        products = {
            asin: Known(str(title), tuple(lines), _plain_options(options), int(bought))
            for asin, (title, lines, options, bought) in data["products"].items()
        }
        return cls(int(data["episodes"]), dict(data["events"]), products)

    def save(self, path: Path) -> None:
        """Write the memory as JSON."""
        storage.save(path, self)

    @classmethod
    def load(cls, path: Path) -> Memory:
        """Read a memory; raises DamagedData, naming the file, for anything else."""
        return storage.load(path, cls.from_json, "what is known of a shop")


def _plain_options(options: Any) -> dict[str, list[str]] | None:
    return None if options is None else {str(n): [*map(str, v)] for n, v in options.items()}


def _ending(words: Sequence[str], counts: Mapping[str, int]) -> str:
    """Return the longest ending that is shared often enough to be the name of a kind."""
    best = words[-1]
    for n in range(2, min(WORDS, len(words)) + 1):
        longer = " ".join(words[-n:])
        if counts[longer] < ENDING or 3 * counts[longer] < counts[best]:
            break
        best = longer
    return best
