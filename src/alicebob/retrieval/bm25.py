"""BM25 as Lucene ranks it, with Lucene's text analysis of English.

k1 = 0.9, b = 0.4, document lengths rounded to a byte, ties by position: Anserini's defaults. The
analysis: words by Unicode's rules, possessives cut, 33 stop words, Porter's stemmer. Postings are
flat arrays, which map from a file as they are. Invariant: the same texts give the same ranks in any
process. Does not: know what a text is about.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from alicebob.words import STOP

__all__ = ["Index", "terms"]

K1, B = 0.9, 0.4
_LETTER, _DIGIT = r"[^\W\d_]", r"\d"
_INSIDE = rf"(?<={_LETTER})['’.:·](?={_LETTER})|(?<={_DIGIT})['’.,;](?={_DIGIT})"
_SINGLE = "\u3040-\u309f\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff"
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf"
_TOKEN = re.compile(rf"[{_SINGLE}{_EMOJI}]|(?:(?![{_SINGLE}])\w[\u0300-\u036f]*|{_INSIDE})+")
_POSSESSIVE = re.compile(r"['’＇][sS]$")
LONG = 10_000  # documents of a term from which it is worth asking whether they can matter
POOL = 3  # times as many documents as are asked for are promising
LOOKUP = 20  # what it costs to look up a document in a list, in documents read in order
LONGEST = 255  # characters of a word; longer ones are cut into pieces


def terms(text: str) -> list[str]:
    """Return the terms of a text, in order: what is indexed and what is searched for."""
    found = []
    for word in _TOKEN.findall(text):
        for start in range(0, len(word), LONGEST):
            term = _term(word[start : start + LONGEST])
            if term:
                found.append(term)
    return found


@functools.lru_cache(1 << 17)
def _term(word: str) -> str:
    """Return the term of a word, "" for a stop word."""
    word = _POSSESSIVE.sub("", word).lower()
    if word in STOP:
        return ""
    return word if len(word) < 3 else _stemmer().stem(word, to_lowercase=False)


@functools.cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    # The variant with the changes that Porter himself made later, as Lucene's.
    return PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)


class Index:
    """Postings of a collection: for each term the documents that hold it, and how often.

    `docs` (int32) and `counts` (uint8) lie term after term; those of term t are from `starts[t]`
    (int64) to `starts[t + 1]`. `lengths` (uint8) are the documents' lengths in Lucene's byte.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        starts: NDArray[np.int64],
        docs: NDArray[np.int32],
        counts: NDArray[np.uint8],
        lengths: NDArray[np.uint8],
        tokens: int,
    ) -> None:
        self.vocabulary = {term: number for number, term in enumerate(vocabulary)}
        self.starts, self.docs, self.counts = starts, docs, counts
        self.lengths, self.tokens = lengths, tokens
        size = len(lengths)
        average = np.float32(tokens / max(1, size))
        spread = np.float32(1 - B) + np.float32(B) * _DECODED / max(average, np.float32(1e-9))
        self._norms = (np.float32(1) / (np.float32(K1) * spread)).astype(np.float32)
        held = self.starts[1:] > self.starts[:-1]
        self._most = np.zeros(len(vocabulary), np.float32)  # times a term is in one document
        self._most[held] = np.maximum.reduceat(counts, starts[:-1][held]) if len(counts) else 0
        self._steepest = self._norms[int(lengths.min())] if size else np.float32(0)
        self._sums: NDArray[np.float64] = np.zeros(size)
        self._touched: NDArray[np.int32] = np.empty(size, np.int32)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Index:
        """Build the index of texts, which are read once, in order."""
        numbers: dict[str, int] = {}
        found_terms, found_docs, counts = array("i"), array("i"), array("B")
        lengths = array("B")
        total = 0
        for doc, text in enumerate(texts):
            words = terms(text)
            total += len(words)
            lengths.append(_encoded(len(words)))
            for term, count in Counter(words).items():
                found_terms.append(numbers.setdefault(term, len(numbers)))
                found_docs.append(doc)
                counts.append(min(count, 255))
        ids = np.frombuffer(found_terms, np.int32) if found_terms else np.zeros(0, np.int32)
        order = np.argsort(ids, kind="stable")
        starts = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(np.bincount(ids, minlength=len(numbers)), out=starts[1:])
        docs = np.frombuffer(found_docs, np.int32)[order] if found_docs else ids
        many = np.frombuffer(counts, np.uint8)[order] if counts else np.zeros(0, np.uint8)
        sizes = np.frombuffer(lengths, np.uint8) if lengths else np.zeros(0, np.uint8)
        return cls(list(numbers), starts, docs, many, sizes.copy(), total)

    def save(self, folder: Path) -> None:
        """Write the index into a folder, which `load` maps."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("starts", "docs", "counts", "lengths"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        text = "\n".join([str(self.tokens), *self.vocabulary])
        (folder / "vocabulary.txt").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Map an index that was saved."""
        tokens, *vocabulary = (folder / "vocabulary.txt").read_text("utf-8").split("\n")
        starts, docs, counts, lengths = (
            np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("starts", "docs", "counts", "lengths")
        )
        return cls(vocabulary, starts, docs, counts, lengths, int(tokens))

    def search(self, query: str, most: int) -> list[int]:
        """Return the numbers of the best documents, at most `most`, best first."""
        asked = Counter(
            number for t in terms(query) if (number := self.vocabulary.get(t)) is not None
        )
        if not asked or not len(self.lengths):
            return []
        numbers = np.array(sorted(asked, key=self._held), np.int64)  # the rarest first
        begins, ends = self.starts[numbers], self.starts[numbers + 1]
        held = (ends - begins).astype(np.float64)
        idf = np.log1p((len(self.lengths) - held + 0.5) / (held + 0.5)).astype(np.float32)
        weights = idf * np.array([asked[int(n)] for n in numbers], np.float32)
        bounds = weights - weights / (np.float32(1) + self._most[numbers] * self._steepest)
        best = np.empty(min(most, len(self.lengths)), np.int32)
        found = _best(
            self.docs,
            self.counts,
            np.asarray(begins),
            np.asarray(ends),
            weights,
            bounds,
            self.lengths,
            self._norms,
            self._sums,
            self._touched,
            best,
        )
        return [int(doc) for doc in best[:found]]

    def _held(self, number: int) -> tuple[int, int]:
        """Return how many documents hold a term, and its number."""
        return int(self.starts[number + 1] - self.starts[number]), number


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _best(
    docs: Any,
    counts: Any,
    begins: Any,
    ends: Any,
    weights: Any,
    bounds: Any,
    lengths: Any,
    norms: Any,
    sums: Any,
    touched: Any,
    best: Any,
) -> int:
    """Put the documents with the largest sums into `best`, and return how many there are.

    Terms come rarest first; what is left can add at most its `bounds`. Before a long list the most
    promising documents are looked up in all that are left: `least`, what the last of the best of
    these sums up to, is then surely reached. From where the rest is below it no new document can
    get in, and those met that cannot reach it are dropped before each term.
    """
    seen, least, closed = 0, 0.0, False
    some = np.empty(POOL * len(best), np.int32)
    for term in range(len(begins)):
        size = ends[term] - begins[term]
        few = closed and seen * LOOKUP <= size
        if size > LONG and seen >= len(best) and not few:
            held = _top(sums, touched, seen, some)
            whole = np.empty(held)
            for i in range(held):
                doc = some[i]
                whole[i] = sums[doc]
                for t in range(term, len(begins)):
                    at = _where(docs, begins[t], ends[t], doc)
                    if at >= 0:
                        whole[i] += _part(weights[t], counts[at], norms[lengths[doc]])
            least = max(least, np.sort(whole)[held - len(best)])
        rest = bounds[term:].sum() * 1.0001
        closed = closed or least > rest
        if closed:
            seen = _kept(sums, touched, seen, rest, least)
        if closed and seen * LOOKUP <= size:
            for i in range(seen):
                doc = touched[i]
                at = _where(docs, begins[term], ends[term], doc)
                if at >= 0:
                    sums[doc] += _part(weights[term], counts[at], norms[lengths[doc]])
            continue
        for at in range(begins[term], ends[term]):
            doc = docs[at]
            if sums[doc] == 0.0:
                if closed:
                    continue
                touched[seen] = doc
                seen += 1
            sums[doc] += _part(weights[term], counts[at], norms[lengths[doc]])
    found = _top(sums, touched, seen, best)
    for i in range(seen):
        sums[touched[i]] = 0.0
    return int(found)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _kept(sums: Any, touched: Any, seen: int, rest: float, least: float) -> int:
    """Drop the documents that cannot reach `least` with `rest` added; return how many are left."""
    kept = 0
    for i in range(seen):
        doc = touched[i]
        if sums[doc] + rest < least:
            sums[doc] = 0.0
        else:
            touched[kept] = doc
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _part(weight: Any, count: Any, norm: Any) -> float:
    """Return what a term that occurs `count` times adds to a document's sum."""
    return np.float64(weight - weight / (np.float32(1) + np.float32(count) * norm))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _where(docs: Any, begin: int, end: int, doc: int) -> int:
    """Return where a document stands in the part of a list, -1 if it does not."""
    low, high = begin, end
    while low < high:
        middle = (low + high) >> 1
        if docs[middle] < doc:
            low = middle + 1
        else:
            high = middle
    return low if low < end and docs[low] == doc else -1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _top(sums: Any, touched: Any, seen: int, best: Any) -> int:
    """Put the documents with the largest sums into `best`, and return how many there are.

    Of equal ones the lower number comes first.
    """
    scores = np.empty(len(best), np.float32)
    found = 0
    for i in range(seen):
        doc = touched[i]
        score = np.float32(sums[doc])
        if found == len(best) and (
            score < scores[found - 1] or (score == scores[found - 1] and doc > best[found - 1])
        ):
            continue
        at = found if found < len(best) else found - 1
        while at > 0 and (
            score > scores[at - 1] or (score == scores[at - 1] and doc < best[at - 1])
        ):
            if at < len(best):
                scores[at], best[at] = scores[at - 1], best[at - 1]
            at -= 1
        scores[at], best[at] = score, doc
        found = min(found + 1, len(best))
    return found


def _encoded(length: int) -> int:
    """Return Lucene's byte for a length: exact to 39, then with four significant bits."""
    free = 40 - 16  # lengths that keep their own byte (SmallFloat.intToByte4)
    return length if length < free else free + _bits(length - free)


def _bits(number: int) -> int:
    """Return a number in four bits and a shift, as SmallFloat.longToInt4 has it."""
    bits = number.bit_length()
    if bits < 4:
        return number
    shift = bits - 4
    return ((number >> shift) & 7) | ((shift + 1) << 3)


def _whole(code: int) -> int:
    """Return the number of such bits (SmallFloat.int4ToLong)."""
    bits, shift = code & 7, (code >> 3) - 1
    return bits if shift < 0 else (bits | 8) << shift


def _decoded(byte: int) -> int:
    free = 40 - 16
    return byte if byte < free else free + _whole(byte - free)


_DECODED = np.array([_decoded(byte) for byte in range(256)], np.float32)
