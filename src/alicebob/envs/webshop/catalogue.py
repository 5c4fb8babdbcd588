"""Catalogue: the products of a shop with its search and its goals, from files or generated.

Products are read or made when they are asked for, so that a million of them open at once.
Invariant: a product is the same in every process. Does not: render pages.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from alicebob.envs.webshop.cache import built
from alicebob.envs.webshop.files import FORMAT, Files
from alicebob.envs.webshop.generated import Maker
from alicebob.envs.webshop.goals import Goals, split_of
from alicebob.envs.webshop.product import Product
from alicebob.errors import UsageError
from alicebob.retrieval.bm25 import Index

__all__ = ["KINDS", "Catalogue", "Generated", "open_catalogue"]

KINDS = ("synthetic", "human")
IN_MEMORY = 1_000  # generated products up to which the index is not worth a file


class Catalogue(Protocol):
    """What a shop needs of its products."""

    name: str

    def __len__(self) -> int:
        """Return how many products there are."""

    def __getitem__(self, number: int) -> Product:
        """Return a product by its number."""

    def number(self, asin: str) -> int | None:
        """Return a product's number, None where there is no such product."""

    @property
    def index(self) -> Index:
        """The index of all products, by number."""

    def goals(self, kind: str, split: str | None) -> Goals:
        """Return the goals of a kind, "synthetic" or "human", of a split or of all."""


@functools.lru_cache(8)
def open_catalogue(name: str) -> Catalogue:
    """Open "generated:COUNT", "generated:COUNT:SEED" or a folder with the original's files.

    Raises UsageError for another name or a folder without the files, DamagedData for files that
    are not what they should be.
    """
    word, _, rest = name.partition(":")
    if word == "generated":
        numbers = rest.split(":")
        if not 1 <= len(numbers) <= 2 or not all(n.isdecimal() for n in numbers):
            raise UsageError(
                f"webshop: {name!r} must be generated:COUNT or generated:COUNT:SEED, with whole "
                "numbers."
            )
        return Generated(int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0)
    return Files(Path(name))


class Generated:
    """A catalogue that is made up, product by product; see `alicebob.envs.webshop.generated`."""

    def __init__(self, count: int, seed: int) -> None:
        if not 1 <= count <= 10_000_000:
            raise UsageError("webshop: a generated catalogue has 1 to 10,000,000 products.")
        self.maker = Maker(count, seed)
        self.name = f"generated:{count}" + (f":{seed}" if seed else "")

    def __len__(self) -> int:
        """Return how many products there are."""
        return self.maker.count

    def __getitem__(self, number: int) -> Product:
        """Return a product by its number."""
        return self.maker.product(number)

    def number(self, asin: str) -> int | None:
        """Return a product's number, None where there is no such product."""
        return self.maker.number(asin)

    @functools.cached_property
    def index(self) -> Index:
        """The index of all products; built once, and kept in a file where there are many."""
        if len(self) <= IN_MEMORY:
            return Index.of(self._contents())
        name = f"generated-{len(self)}-{self.maker.seed}-{self.maker.version}-{FORMAT}"
        return Index.load(built(name, lambda folder: Index.of(self._contents()).save(folder)))

    def _contents(self) -> Iterator[str]:
        numbers = range(len(self))
        if len(self) > IN_MEMORY:
            numbers = tqdm(numbers, desc="index", unit="product", mininterval=1)
        return (self.maker.product(number).contents() for number in numbers)

    def goals(self, kind: str, split: str | None) -> Goals:
        """Return the goals: one of each product, in an order of their own."""
        numbers = self.maker.shuffled()
        if split is not None:
            numbers = [n for n in numbers if split_of(self.maker.asin(n)) == split]
        return Goals(numbers, functools.partial(self.maker.goal, kind=kind))
