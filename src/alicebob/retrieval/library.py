"""The library: entries found by what was seen first in them, or by what they are about.

By BM25 on observations, and by vectors on instructions. Entries that are the same stretch in other
words have one key, and are found once. Invariant: the same entries and the same query give the same
ones in the same order; equal scores go by position. Does not: know what an entry holds beside.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from alicebob.errors import DamagedData
from alicebob.files import write_bytes
from alicebob.retrieval.bm25 import Index
from alicebob.retrieval.dense import Embedder, Vectors

__all__ = ["Library", "embedded"]

DIGITS = 4  # of a likeness: what is beyond differs between machines
WIDER = 8  # times as many as are asked for are looked at, since some share a key
REMEMBERED = 4096  # queries


def embedded(texts: Sequence[str], embedder: str, path: Path) -> None:
    """Write the vectors of texts into a file, unless they are there."""
    if path.exists():
        return
    different = list(dict.fromkeys(texts))
    vectors = Embedder(embedder).encode(different)
    place = {text: number for number, text in enumerate(different)}
    whole = vectors[[place[text] for text in texts]]
    write_bytes(path, whole.astype("<f4").tobytes())


class Library:
    """Entries by their first observation, and by their instruction where vectors are given.

    `keys` tell entries apart, one for each; `vectors` is a file that `embedded` wrote, with the
    same `embedder`. Raises DamagedData where it is not of these entries.
    """

    def __init__(
        self,
        observations: Iterable[str],
        keys: Sequence[Hashable],
        embedder: str = "",
        vectors: Path | None = None,
    ) -> None:
        self.keys = keys
        self._index = Index.of(observations)
        self._embedder = Embedder(embedder) if vectors else None
        self._vectors = _read(vectors, len(keys)) if vectors else None
        self._vector = functools.lru_cache(REMEMBERED)(self._encoded)

    def seen(self, observation: str, most: int, but: Collection[Hashable] = ()) -> list[int]:
        """Return the entries that begin with what is most like an observation, best first.

        None that shares its key with another, or whose key is in `but`.
        """
        return self._different(self._index.search(observation, WIDER * most), most, but)

    def meant(self, query: str, most: int, but: Collection[Hashable] = ()) -> list[int]:
        """Return the entries whose instruction is nearest in meaning to a query; as `seen`."""
        assert self._vectors is not None
        likeness = np.round(self._vectors @ self._vector(query), DIGITS)
        return self._different(np.argsort(-likeness, kind="stable").tolist(), most, but)

    def _different(self, ranked: Iterable[int], most: int, but: Collection[Hashable]) -> list[int]:
        found: dict[Hashable, int] = {}
        for number in ranked:
            if len(found) == most:
                break
            if self.keys[number] not in but:
                found.setdefault(self.keys[number], number)
        return list(found.values())

    def _encoded(self, query: str) -> Vectors:
        assert self._embedder is not None
        vector: Vectors = self._embedder.encode([query])[0]
        return vector


def _read(path: Path, count: int) -> Vectors:
    found = np.fromfile(path, "<f4")
    if not count or not len(found) or len(found) % count:
        raise DamagedData(f"{path} does not hold a vector for each entry; delete it and go on.")
    return found.reshape(count, -1)
