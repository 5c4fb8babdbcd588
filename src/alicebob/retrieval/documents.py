"""Documents: a folder of Markdown, HTML and plain text, as texts.

A long one is several, cut between paragraphs. Invariant: the same files give the same texts, in the
order of their names. Does not: know what they are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from alicebob.errors import DamagedData, UsageError

__all__ = ["KINDS", "Document", "read_documents"]

MARKUP = (".html", ".htm")
KINDS = (".md", ".markdown", ".txt", *MARKUP)
LONGEST = 6_000  # characters of a document
UNREAD = ("script", "style", "head", "template")
BREAKS = ("p", "div", "li", "br", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article")


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its name: the path in its folder, and which part of it."""

    name: str
    text: str


def read_documents(folder: Path) -> list[Document]:
    """Return the documents of a folder and of those in it.

    Raises UsageError where there are none, DamagedData for a file that is no text.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder of documents {folder}; give one.")
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedData(f"{path} cannot be read as text ({error}); take it out.") from error
        text = _plain(text) if path.suffix.lower() in MARKUP else text
        name = path.relative_to(folder).as_posix()
        for number, part in enumerate(_parts(text)):
            found.append(Document(f"{name}#{number + 1}" if number else name, part))
    if not found:
        raise UsageError(f"{folder} holds no document with words in it ({', '.join(KINDS)}).")
    return found


def _parts(text: str) -> Iterator[str]:
    """Yield a text in parts of at most LONGEST characters, cut between paragraphs where it can."""
    part = ""
    for paragraph in (p.strip() for p in text.replace("\r\n", "\n").split("\n\n")):
        for start in range(0, len(paragraph), LONGEST):
            piece = paragraph[start : start + LONGEST]
            if part and len(part) + len(piece) + 2 > LONGEST:
                yield part
                part = ""
            part += ("\n\n" if part else "") + piece
    if part:
        yield part


class _Text(HTMLParser):
    """Keeps the words of a page, paragraph by paragraph."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Begin a paragraph, or what is not read."""
        self._unread += tag in UNREAD
        if tag in BREAKS:
            self.found.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        """End a paragraph, or what is not read."""
        self._unread = max(0, self._unread - (tag in UNREAD))
        if tag in BREAKS:
            self.found.append("\n\n")

    def handle_data(self, data: str) -> None:
        """Keep words."""
        if not self._unread:
            self.found.append(data)


def _plain(page: str) -> str:
    reader = _Text()
    reader.feed(page)
    reader.close()
    paragraphs = (" ".join(part.split()) for part in "".join(reader.found).split("\n\n"))
    return "\n\n".join(part for part in paragraphs if part)
