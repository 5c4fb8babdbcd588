"""Pages: what a shopper sees and can click, text by text, as the original's web pages show it.

A page is the shopper's instruction and a body of texts, each plain, a button, a link or an option.
The original renders HTML and parses it again; what survives of a text then is `Text.raw`, and a
text of nothing but white space that holds a line break is not there. A page is made once and shown
with any instruction. Does not: keep state.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from typing import NamedTuple

from alicebob.envs.shopping import BACK, BUY, NEXT, PREV, SEP, SUB_PAGES
from alicebob.envs.webshop.product import Product

__all__ = ["THANKS", "Page", "Text", "index", "item", "results", "sub_page"]

THANKS = "Thank you for shopping with us!"
SPACES = " \n\t\f\r"  # what HTML calls white space


class Text(NamedTuple):
    """A visible text: its kind (text, button, link or option) and what it says."""

    kind: str
    raw: str


def _texts(kind: str, raw: str) -> list[Text]:
    """Return the text as it survives in a page: none for "" and for blank lines."""
    if raw.strip(SPACES):
        return [Text(kind, raw)]
    return [Text(kind, " ")] if raw and "\n" not in raw else []


class Page:
    """A page without its instruction.

    `clickables` maps the names to click by to what they stand for: buttons, then links, then
    options; `actions` are the same as actions.
    """

    def __init__(self, head: Sequence[str], body: Sequence[Text]) -> None:
        self.head, self.body = head, body
        found = {text.raw.lower(): text for text in body if text.kind == "button"}
        found |= {text.raw.lower(): text for text in body if text.kind == "link"}
        found |= {text.raw: text for text in body if text.kind == "option"}
        self.clickables: dict[str, Text] = found
        self.actions = [f"click[{name}]" for name in found if name != "search"]

    @functools.cached_property
    def _around(self) -> tuple[str, str]:
        before = SEP.join(text.strip() for text in self.head)
        return before, SEP.join(text.raw.strip() for text in self.body)

    def simple(self, instruction: str) -> str:
        """Return the observation of the original's mode "text"."""
        before, after = self._around
        told = [text.raw.strip() for text in _texts("text", instruction)]
        return SEP.join([before, *told, after])

    def rich(self, instruction: str, state: str, visited: Container[str]) -> str:
        """Return the observation of the original's mode "text_rich".

        `state` is what the address of the page says of words searched for and options chosen: an
        option that stands in it in quotes is shown as clicked. `visited` are the products looked
        at.
        """
        lines = [f"{line}\n" for line in self.head]
        lines += [f"{text.raw}\n" for text in _texts("text", instruction)]
        clicked: list[str] = []
        for text, plain, other in self._lines:
            if text is None:
                lines.append(plain)
            elif text.kind == "link":
                lines.append(other if text.raw in visited else plain)
            elif f'"{text.raw}"' in state:
                lines.append(other)
                clicked.insert(0, f"You have clicked {text.raw}.\n")
            else:
                lines.append(plain)
        return "".join(clicked + lines)

    @functools.cached_property
    def _lines(self) -> list[tuple[Text | None, str, str]]:
        """What the body says, and where a click changes it, the text and what it says then."""
        found: list[tuple[Text | None, str, str]] = []
        for text in self.body:
            if text.kind in ("link", "option"):
                space = "\n" if text.kind == "link" else "  "
                plain = f"{space}[button] {text.raw} [button_]\n"
                other = f"{space}[clicked button] {text.raw} [clicked button_]\n"
                found.append((text, plain, other))
                continue
            said = f"[button] {text.raw} [button_]\n" if text.kind == "button" else f"{text.raw}\n"
            before = found.pop()[1] if found and found[-1][0] is None else ""
            found.append((None, before + said, ""))
        return found


def _page(body: Sequence[Text], *buttons: str) -> Page:
    return Page(("Instruction:",), [*(Text("button", name) for name in buttons), *body])


INDEX = Page(("WebShop", "Instruction: "), [Text("button", "Search")])


def index() -> Page:
    """Return the page with the search bar."""
    return INDEX


def results(products: Sequence[Product], page: int, total: int) -> Page:
    """Return a page of results, of `total` in all."""
    body = [Text("text", f"Page {page} (Total results: {total})")]
    body += [Text("button", name) for name in ((PREV, NEXT) if page > 1 else (NEXT,))]
    for product in products:
        body += _texts("link", product.asin) + _texts("text", product.title)
        body += _texts("text", product.price_tag)
    return _page(body, BACK)


def item(product: Product, attributes: bool) -> Page:
    """Return a product's page; with `attributes` it has a button for them."""
    body: list[Text] = []
    for name, values in product.options.items():
        body += _texts("text", name)
        for value in values:
            body += _texts("option", value)
    body += _texts("text", product.title)
    body += [Text("text", f"Price: {product.price_tag}"), Text("text", "Rating: N.A.")]
    shown = SUB_PAGES if attributes else SUB_PAGES[:3]
    return _page(body + [Text("button", name) for name in (*shown, BUY)], BACK, PREV)


def sub_page(product: Product, name: str) -> Page:
    """Return one of the pages about a product; there are no reviews in the original's data."""
    lines: Sequence[str] = ()
    if name == "Description":
        lines = (product.description,)
    elif name == "Features":
        lines = [f" {line}" for line in product.bullets]
    elif name == "Attributes":
        lines = [f" {line}" for line in product.attributes]
        lines += [product.category, product.kind, product.categories]
    return _page([text for line in lines for text in _texts("text", line)], BACK, PREV)
