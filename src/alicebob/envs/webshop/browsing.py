"""Browsing: where a shopper is, what he sees there, and where a search or a click leads.

Clicks mean what they mean in the original, in the order in which it looks. Invariant: the same
searches and clicks give the same pages. Does not: know of goals or rewards.
"""

from __future__ import annotations

import functools
import json

from alicebob.envs.shopping import BACK, NEXT, PREV, SUB_PAGES
from alicebob.envs.webshop import compact, pages
from alicebob.envs.webshop.catalogue import Catalogue
from alicebob.envs.webshop.product import Product

__all__ = ["OBSERVATIONS", "Browser"]

OBSERVATIONS = ("text", "text_rich", "compact")
SHOWN, FOUND = 10, 50  # products on a page of results, and in all
KNOWN = 4096  # pages of a kind that are kept
DONE = pages.Page((pages.THANKS,), ())


class Browser:
    """A shopper's place: the `page` and its `kind`, the `product` looked at, the options `chosen`.

    `observation` is one of OBSERVATIONS; `attributes_page` adds the original's page of attributes.
    """

    def __init__(self, catalogue: Catalogue, observation: str, attributes_page: bool) -> None:
        self._catalogue, self._observation = catalogue, observation
        self._attributes_page = attributes_page
        self._size = compact.SHOWN if observation == "compact" else SHOWN
        self._found = functools.lru_cache(KNOWN)(self._search_for)
        self._results = functools.lru_cache(KNOWN)(self._result_page)
        self._items = functools.lru_cache(KNOWN)(self._item)
        self.home()

    def home(self) -> None:
        """Go to the first page, with nothing searched for, chosen or looked at."""
        self.kind, self.page = "index", pages.index()
        self._words, self._number = "", 1
        self.product: Product | None = None
        self.chosen: dict[str, str] = {}
        self._visited: set[str] = set()

    def leave(self) -> None:
        """Go to the page that thanks: there is nothing more to do."""
        self.kind, self.page = "done", DONE

    def search(self, words: str, number: int = 1) -> None:
        """Go to a page of results."""
        self.kind, self._words, self._number = "results", words, number
        self.product, self.chosen = None, {}
        self.page = self._results(words, number)

    def click(self, name: str) -> None:
        """Follow a click on something that the page has, in lower case."""
        sub = next((page for page in SUB_PAGES if page.lower() == name), None)
        if name == BACK.lower():
            self.home()
        elif name == NEXT.lower() and self.kind == "results":
            self.search(self._words, self._number + 1)
        elif name == PREV.lower() and self.kind in ("results", "item"):
            self.search(self._words, self._number - (self.kind == "results"))
        elif name == PREV.lower() and self.kind == "sub_page":
            self._show_item()
        elif sub is not None and self.product is not None:
            self.kind, self.page = "sub_page", self._items(self.product.asin, sub)
        else:
            self._choose(self.page.clickables[name])

    def text(self, told: str) -> str:
        """Return the page as it is shown, with what the shopper is told."""
        if self._observation == "compact":
            return self._compact(told)
        if self._observation == "text":
            return self.page.simple(told)
        state = ""
        if self.kind == "item" and self.product is not None:
            state = f"{self.product.asin}/{self._words.replace(' ', '+')}/{self._number}/"
            state += json.dumps(self.chosen)
        return self.page.rich(told, state, self._visited)

    def _compact(self, told: str) -> str:
        if self.kind == "index":
            return compact.index(told)
        if self.kind == "results":
            return compact.results(told, self._shown(self._words, self._number), self._number)
        assert self.product is not None
        if self.kind == "item":
            return compact.item(told, self.product, self.chosen)
        texts = [text.raw for text in self.page.body if text.kind == "text"]
        return compact.sub_page(told, texts)

    def _search_for(self, words: str) -> list[int]:
        return self._catalogue.index.search(words, FOUND)

    def _result_page(self, words: str, number: int) -> pages.Page:
        return pages.results(self._shown(words, number), number, len(self._found(words)))

    def _shown(self, words: str, number: int) -> list[Product]:
        found, size = self._found(words), self._size
        return [self._catalogue[n] for n in found[(number - 1) * size : number * size]]

    def _show_item(self) -> None:
        assert self.product is not None
        self.kind, self.page = "item", self._items(self.product.asin, "")

    def _item(self, asin: str, sub: str) -> pages.Page:
        product = self._named(asin)
        return pages.sub_page(product, sub) if sub else pages.item(product, self._attributes_page)

    def _named(self, asin: str) -> Product:
        number = self._catalogue.number(asin)
        assert number is not None
        return self._catalogue[number]

    def _choose(self, text: pages.Text) -> None:
        """Open a product, or choose an option of the one that is open."""
        if text.kind == "link":
            self.product = self._named(text.raw)
            self._visited.add(text.raw)
        elif text.kind == "option" and self.product is not None:
            # A value that two groups share belongs to the last, as on the original's page.
            groups = [g for g, values in self.product.options.items() if text.raw in values]
            self.chosen[groups[-1]] = text.raw
        self._show_item()
