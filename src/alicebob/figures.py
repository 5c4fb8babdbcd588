"""Figures: means and shares, each with its 95 % interval and its n.

An episode is the unit: what happened within one counts as one. A mean's interval is Student's with
one more episode at either end of what may be (`mean`), which holds for rare and skewed figures too,
where Student's own does not; a share's is Wilson's. Invariant: where there is nothing to count,
everything is None and n is 0; of one value there is no interval. Does not: know what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import stdtrit

__all__ = ["figure", "mean", "ratio", "share", "stratified"]

_Z = 1.959964  # the normal quantile of a two-sided 95 % interval
WIDER = 6.0  # ranges, divided by n, that lie beyond the values seen where no bound is known


def mean(values: Sequence[float], bounds: tuple[float, float] | None = None) -> dict[str, Any]:
    """Return the mean of values with a 95 % interval that holds from n = 2.

    `bounds` are the least and the most that a value can be. Where they are not known they are
    taken from 0, 1 and what was seen, and a part of the range more; what was never seen below 0 has
    no interval below it. The interval is Student's for
    the values and one more at each of the bounds: so a few episodes that happen to be alike do not
    count as certain. `tests/test_figures.py` has its coverage.
    """
    n = len(values)
    if n == 0:
        return figure(None, None, None, 0)
    middle = math.fsum(values) / n
    if n == 1:
        return figure(middle, None, None, 1)
    least, most = bounds or _ends(values)
    more = [*values, least, most]
    centre = math.fsum(more) / len(more)
    variance = math.fsum((v - centre) ** 2 for v in more) / (len(more) - 1)
    half = float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / len(more))
    low, high = min(middle, centre - half), max(middle, centre + half)
    if bounds is not None:
        high = min(high, most)
    if bounds is not None or least == 0.0:
        low = max(low, least)
    return figure(middle, low, high, n)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the bounds to reckon with where none are known: 0 is one, unless it was passed."""
    least, most = min(0.0, *values), max(1.0, *values)
    beyond = WIDER / len(values) * (most - least)
    return least - beyond * (least < 0.0), most + beyond


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> dict[str, Any]:
    """Return what all parts are of all wholes, a share in [0, 1], with a 95 % interval.

    Each pair is one episode, e.g. its invalid turns and its turns, which are not independent of
    each other: the interval is that of a ratio over episodes.
    """
    total = math.fsum(wholes)
    if not total:
        return figure(None, None, None, 0)
    middle, size = math.fsum(parts) / total, total / len(wholes)
    each = [middle + (p - middle * w) / size for p, w in zip(parts, wholes, strict=True)]
    found = mean(each)
    bounds = [b if b is None else min(1.0, max(0.0, b)) for b in (found["low"], found["high"])]
    return figure(middle, bounds[0], bounds[1], len(each))


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
