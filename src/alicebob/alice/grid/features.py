"""Features: a situation as a bag of names with numbers, the poorer and the richer.

A situation has the items held, `near:<thing>` for what stands within one cell, `low:<vital>`; what
an action used up or gave is such a bag too. Having more is taken never to hurt. Does not: know what
any name means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["LOW", "NEAR", "Features", "add", "meet", "ordered", "within"]

Features = dict[str, int]
NEAR = "near:"  # feature: stands within one cell
LOW = "low:"  # feature: a vital below what the episode began with


def meet(left: Features | None, right: Features | None) -> Features | None:
    """Return the poorest situation that both are at least as rich as; None is "no case yet"."""
    if left is None or right is None:
        return dict(right) if left is None and right is not None else left
    return {name: min(n, right[name]) for name, n in left.items() if name in right}


def within(poor: Mapping[str, int], rich: Mapping[str, int]) -> bool:
    """Say whether every feature of the poorer situation is there in the richer."""
    return all(rich.get(name, 0) >= n for name, n in poor.items())


def add(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add numbers to those that there are, name by name."""
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


def ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same with its names sorted."""
    return dict(sorted(values.items()))
