"""Watch: what an episode in a shop teaches, whoever acts in it.

Does not: act.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alicebob.alice.shop.memory import Memory
from alicebob.alice.shop.reading import Page, options_on, read
from alicebob.policies import Live

__all__ = ["Reader", "ShopWatch"]


class Reader:
    """What one episode teaches: takes in each page, whoever acts."""

    def __init__(self) -> None:
        self.memory = Memory()

    def observe(self, observation: str, info: Mapping[str, Any]) -> Page | None:
        """Read a page and remember it; return it, None where it cannot be read."""
        page = read(observation)
        if page is None:
            return None
        for offer in page.offers:
            self.memory.see(offer)
        asin = info.get("product")
        if asin and page.kind == "item":
            # Once something is chosen a page may show that alone.
            self.memory.look(asin, page, None if info.get("options") else options_on(page, info))
        elif asin and page.kind == "sub_page":
            self.memory.look(asin, page)
        return page

    def close(self, info: Mapping[str, Any]) -> Memory:
        """Return all that was met, once the episode is over."""
        self.memory.close(info.get("events", ()), info.get("result", {}).get("asin", ""))
        return self.memory


class ShopWatch:
    """Reads every page of an episode, whatever was known before."""

    def __init__(self, memory: Memory, live: Live) -> None:
        self._reader = Reader()

    def before(self, live: Live, action: str) -> None:
        """Read the page."""
        self._reader.observe(live.observation, live.info)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return the memory of what was read and bought."""
        return self._reader.close(live.info).to_json()
