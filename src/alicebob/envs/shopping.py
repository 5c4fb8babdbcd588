"""Shopping: what a shop made of pages and whoever shops there both speak.

How a wish is put into words, with options and a price limit; the buttons that pages have and the
marks of compact ones. Invariant: draws follow from names, the same in every process. Does not: know
a product or a page.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from alicebob.envs.hooks import Marks

__all__ = [
    "BACK",
    "BAR",
    "BUY",
    "CHOSEN",
    "MARKS",
    "NEXT",
    "NO_LIMIT",
    "PREV",
    "SEP",
    "SUB_PAGES",
    "asked",
    "draw_for",
    "limit_text",
    "price_limit",
    "said",
]

BACK, PREV, NEXT, BUY = "Back to Search", "< Prev", "Next >", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")
SEP = " [SEP] "  # between the texts of a page on one line
BAR = " | "  # between the parts of a line of a compact page
CHOSEN = "chosen "  # begins the line of an option that was chosen
NO_LIMIT = 1_000_000.0  # the price limit of a goal that has none
STEPS = [10.0 * i for i in range(1, 100)]  # dollars that a limit may be
#: A page's marks are whole, and the names of products go letter by letter.
MARKS = Marks(
    pieces=(
        r" ?\[(?:clicked )?button_?\]",
        r"\s(?=[A-Z][A-Z0-9]{9}\b)|\b[A-Z](?=[A-Z0-9]{9}\b)|(?<=[A-Z0-9])[A-Z0-9](?![a-z])",
    ),
    bracketed=r"(?:clicked )?button",
)


def draw_for(*names: object) -> random.Random:
    """Return a generator that follows from names, the same in every process."""
    return random.Random("\0".join(map(str, names)))


def price_limit(price: float, draw: random.Random) -> float:
    """Draw a price limit: the larger of two of the next four tens of dollars above a price.

    NO_LIMIT where there are no two (upstream goal.py).
    """
    above = [step for step in STEPS if step > price][:4]
    return max(draw.sample(above, 2)) if len(above) > 1 else NO_LIMIT


def limit_text(limit: float) -> str:
    """Return how an instruction names a price limit."""
    return f", and price lower than {limit:.2f} dollars" if limit < NO_LIMIT else ""


def said(text: str, options: Mapping[str, str], limit: float) -> str:
    """Return a synthetic instruction: what is wanted, with which options, below which price."""
    listed = ", and ".join(f"{name}: {value}" for name, value in options.items())
    return f"{text}{f' with {listed}' if listed else ''}{limit_text(limit)}"


def asked(kind: str, attributes: Sequence[str], values: Sequence[str], draw: random.Random) -> str:
    """Return a wish as a person might put it."""
    wish = draw.choice(("i need", "i am looking for", "i want", "show me", "looking for"))
    qualities = " and ".join(attributes)
    chosen = draw.choice((", in ", ". choose ", ", preferably "))
    options = f"{chosen}{' and '.join(values)}" if values else ""
    form = draw.choice(("{w} {q} {k}{o}", "{w} {k} that are {q}{o}", "{w} some {q} {k}{o}"))
    return " ".join(form.format(w=wish, q=qualities, k=kind, o=options).split())
