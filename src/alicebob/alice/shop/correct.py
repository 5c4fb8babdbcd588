"""Correct: what Alice would do on the page somebody else has got to, for what he is asked.

She searches for what the request says, opens the offer whose title bears most of its words within
its price (of several the one of which she has read most of them before), chooses the options that
the request names, and buys. His action is right where it is hers, opens an offer of as good a
title, or chooses another option that is asked for; of a group in which none is, any will do, and
she takes one rather than buy at once, as she does when she explores. From an offer that he has
opened she goes back for its price alone: that another would have suited better does not stand on
its page, and who sees one page at a time would learn to go back from any. Invariant: what is right
follows from the request and the page. Does not: know what the shop rewards.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from alicebob.alice.room import Counsel
from alicebob.alice.shop.memory import Memory
from alicebob.alice.shop.reading import Offer, Page, options_on, prices
from alicebob.alice.shop.think import CHOSEN, SOUGHT
from alicebob.alice.shop.watch import Reader
from alicebob.policies import Live
from alicebob.sight import as_shown
from alicebob.trace import AIMLESS
from alicebob.words import STOP

__all__ = ["ShopGuide"]

SAME = 0.8  # share of the words of her search from which his is as good
_LIMIT = re.compile(r",? and price lower than ([\d.,]+) dollars.*", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9][a-z0-9.'-]*")


class ShopGuide:
    """Her counsel in one episode."""

    @classmethod
    def acting(cls, memory: Memory, without: Collection[str], live: Live) -> ShopGuide:
        """Return one that chooses an offer by its title and by what she has read of it alike."""
        return cls(memory, without, live, acts=True)

    def __init__(
        self, memory: Memory, without: Collection[str], live: Live, acts: bool = False
    ) -> None:
        self._known, self._reader, self._acts = memory.products, Reader(), acts
        self._affordable = False  # whether the results seen last had an offer within the limit
        self._right: dict[str, Counsel] = {}  # what she would say to each action that is right here

    def counsel(self, live: Live) -> Counsel:
        """Return what she would do on the page that he is on."""
        page, self._right = self._reader.observe(live.observation, live.info), {}
        found = self._on(page, live) if page is not None else []
        if page is None:
            found = [Counsel(live.info["admissible_actions"][0], tags=(AIMLESS,))]
        for said in found:
            self._right.setdefault(said.action.lower(), said)
        first = found[0]
        if first.action.startswith("search["):
            return first
        return Counsel(as_shown(first.action, live.observation), first.thought, first.tags)

    def approves(self, live: Live, action: str, thought: str) -> Counsel | None:
        """Return what she would have said to his action, None where it is wrong."""
        (first, hers), his = next(iter(self._right.items())), action.lower()
        if AIMLESS in hers.tags:
            return Counsel(action, tags=hers.tags)
        if his.startswith("search[") and first.startswith("search["):
            wanted, said = _words(first[7:]), _words(his[7:])
            alike = len(wanted & said) >= SAME * max(len(wanted), len(said))
            return Counsel(action, hers.thought) if alike else None
        return self._right.get(his)

    def saw(self, live: Live, action: str) -> None:
        """Take note of nothing: the next page says it."""

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the memory of what was read and bought."""
        return self._reader.close(live.info).to_json()

    def _on(self, page: Page, live: Live) -> list[Counsel]:
        """Return what is right on a page, the best first."""
        wish, limit = _wish(page.told)
        if page.kind == "index":
            return [Counsel(f"search[{wish}]", SOUGHT)]
        if page.kind == "results":
            return self._offers(page, wish, limit)
        if page.kind == "sub_page":
            return [Counsel("click[< prev]")]
        if self._affordable and not _within(page.price, limit):
            return [Counsel("click[< prev]")]
        groups, chosen = options_on(page, live.info), live.info["options"]
        buy = Counsel("click[buy now]", CHOSEN)
        asked = {name: _named(values, wish) for name, values in groups.items()}
        lacking = {
            name: [value]
            for name, value in asked.items()
            if value and str(chosen.get(name, "")).lower() != value
        }
        options = _chosen(lacking)
        if not self._acts:
            spare = {n: some for n, some in groups.items() if not asked[n] and n not in chosen}
            options += _chosen(spare)
        return options if lacking else [*options, buy]

    def _offers(self, page: Page, wish: str, limit: float) -> list[Counsel]:
        wanted = _words(wish)
        worth = {offer.asin: self._suits(offer, wanted, limit) for offer in page.offers}
        if not worth:
            return [Counsel("click[back to search]")]
        most = max(worth.values())
        self._affordable, _ = most
        best = [asin for asin, value in worth.items() if value == most]
        best.sort(key=lambda asin: -len(wanted & self._read_of(asin)))
        return [Counsel(f"click[{asin.lower()}]") for asin in best]

    def _suits(self, offer: Offer, wanted: set[str], limit: float) -> tuple[bool, int]:
        """Return whether an offer is within the limit, and how many wanted words it bears."""
        words = _words(offer.title) | (self._read_of(offer.asin) if self._acts else set())
        return _within(offer.price, limit), len(wanted & words)

    def _read_of(self, asin: str) -> set[str]:
        """Return the words that she has read on an offer's own pages."""
        known = self._known.get(asin)
        return _words(" ".join(known.lines)) if known is not None else set()


def _chosen(options: Mapping[str, Collection[str]]) -> list[Counsel]:
    pairs = ((name, value) for name, values in options.items() for value in values)
    return [Counsel(f"click[{value}]", f"{name}: {value}") for name, value in pairs]


def _within(price: str, limit: float) -> bool:
    return min(prices(price), default=0.0) <= limit


def _wish(told: str) -> tuple[str, float]:
    """Return a request without its price limit and without how it begins, and the limit."""
    found = _LIMIT.search(told)
    limit = float(found[1].replace(",", "").rstrip(".")) if found else float("inf")
    return re.sub(r"^find me ", "", _LIMIT.sub("", told).strip().lower()), limit


def _named(values: Collection[str], wish: str) -> str:
    """Return the option's value that a request names, the longest of several; "" for none."""
    return max((v for v in values if re.search(rf"\b{re.escape(v)}\b", wish)), key=len, default="")


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - STOP
