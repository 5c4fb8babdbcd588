"""Draws: every generator of chance, keyed by what it is for.

A key is a purpose and what tells one draw of it from another, the seed of the experiment or of a
world among them: so the same draw is the same in any process, and those of two seeds are
independent. Does not: keep a generator; each is made where it is used.
"""

from __future__ import annotations

import hashlib

from numpy.random import Generator, default_rng

__all__ = ["generator", "share_of"]


def generator(purpose: str, *key: object) -> Generator:
    """Return the generator of a purpose and a key."""
    return default_rng(list(_digest(purpose, key)))


def share_of(purpose: str, *key: object) -> float:
    """Return a number in [0, 1) that follows from a purpose and a key."""
    return int.from_bytes(_digest(purpose, key)[:8], "big") / 2**64


def _digest(purpose: str, key: tuple[object, ...]) -> bytes:
    return hashlib.sha256("\0".join([purpose, *map(str, key)]).encode()).digest()
