"""Figures: means and shares, each with its 95 % interval and its n.

Invariant: where there is nothing to count, everything is None and n is 0. Does not: know what is
counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["figure", "mean", "share", "stratified"]

_Z = 1.959964  # the normal quantile of a two-sided 95 % interval


def mean(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of values with a normal 95 % interval; None for all where there is none."""
    n = len(values)
    if n == 0:
        return figure(None, None, None, 0)
    middle = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - middle) ** 2 for v in values) / max(1, n - 1))
    half = _Z * spread / math.sqrt(n)
    return figure(middle, middle - half, middle + half, n)


def share(count: int, n: int) -> dict[str, Any]:
    """Return a share with its Wilson 95 % interval, which also holds near 0 and 1."""
    if n == 0:
        return figure(None, None, None, 0)
    p, z2 = count / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return figure(p, max(0.0, centre - half), min(1.0, centre + half), n)


def stratified(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of shares, each counting the same, with its 95 % interval.

    The variance within a stratum is taken at (count + 1) / (n + 2), so that a skill that always or
    never succeeded in a few worlds does not count as certain.
    """
    if not shares:
        return figure(None, None, None, 0)
    variance = 0.0
    for stratum in shares:
        p = (stratum["mean"] * stratum["n"] + 1) / (stratum["n"] + 2)
        variance += p * (1 - p) / stratum["n"]
    middle = math.fsum(stratum["mean"] for stratum in shares) / len(shares)
    half = _Z * math.sqrt(variance) / len(shares)
    return figure(
        middle, max(0.0, middle - half), min(1.0, middle + half), sum(s["n"] for s in shares)
    )


def figure(middle: float | None, low: float | None, high: float | None, n: int) -> dict[str, Any]:
    """Return a middle with its bounds and n, rounded."""
    values = {"mean": middle, "low": low, "high": high}
    return {name: v if v is None else round(v, 6) for name, v in values.items()} | {"n": n}
