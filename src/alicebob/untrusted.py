"""Untrusted: what others wrote, made safe to show.

Text of pages, models, servers and files may hold what drives a terminal or what Markdown makes
live; addresses may hold passwords. Invariant: nothing that comes out of here moves a cursor, and
nothing that `markdown` returns is a link, an image or HTML. Does not: change what is kept as data.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable
from urllib.parse import unquote

__all__ = ["hidden", "markdown", "masked", "printable", "secrets"]

HIDDEN = "***"
SHORT = 3  # characters of a value in an address that nobody could call secret
_LIVE = str.maketrans({"[": "(", "]": ")", "@": " at "})


def printable(text: str, lines: bool = False) -> str:
    r"""Return a text without control, format and lone surrogate characters: an escape is `\x1b`.

    Blanks of all kinds become spaces; with `lines` its lines and tabs stay as they are.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        c if c.isprintable() or c in kept else " " if c.isspace() else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def markdown(text: str) -> str:
    """Return a text that stays text in Markdown: its emphasis, lists and headings work.

    Square brackets become round ones, and an address is parted, which some would make a link.
    """
    plain = html.escape(printable(text, lines=True), quote=False).translate(_LIVE)
    return re.sub(r"(?i)\bwww\.", "www .", plain.replace("://", ": //"))


def masked(address: str) -> str:
    """Return an address without what may be secret: `https://***@host/path?api_key=***`.

    It may be of any kind, a database's too, and need not be well formed.
    """
    head, at, place = address.rpartition("@")
    scheme, found, _ = head.partition("://")
    shown = (f"{scheme}{found}{HIDDEN}@" if found else f"{HIDDEN}@" if at else "") + place
    return printable(re.sub(r"([?&;][^=&;]*=)[^&;]*", rf"\1{HIDDEN}", shown.partition("#")[0]))


def secrets(address: str) -> list[str]:
    """Return what is secret of an address, as it stands there and as it is meant.

    That is a password, a name without one, both as a header has them, and each value that is not
    too short to be secret.
    """
    user = address.partition("://")[2].rpartition("@")[0]
    header = base64.b64encode(unquote(user).encode()).decode()
    values = re.findall(r"[?&;][^=&;]*=([^&;#]*)", address)
    found = [
        user,
        header,
        user.partition(":")[2],
        *(value for value in values if len(value) > SHORT),
    ]
    return sorted({word for part in found for word in (part, unquote(part)) if word})


def hidden(text: str, secret: Iterable[str]) -> str:
    """Return a text with each secret replaced, the longest first."""
    for word in sorted(secret, key=len, reverse=True):
        text = text.replace(word, HIDDEN)
    return text
