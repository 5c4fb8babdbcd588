"""Environment: what differs from machine to machine, read from environment variables.

Invariant: a value that is not what it should be is an error of one sentence that names the
variable. Does not: read parameters of an experiment (see `alicebob.settings`).
"""

from __future__ import annotations

import math
import os
from typing import TypeVar

from alicebob.errors import UsageError

__all__ = ["number", "numbers", "processes", "rank", "text", "threads_yield", "whole"]

D = TypeVar("D", float, int, None)


def text(name: str) -> str:
    """Return a variable without the blanks around it, "" for none."""
    return os.environ.get(name, "").strip()


def number(name: str, default: D, least: float = 0.0) -> float | D:
    """Return a variable as a finite number from `least`; raises UsageError for anything else."""
    found = text(name)
    return _number(name, found, least) if found else default


def whole(name: str, default: D, least: int = 1) -> int | D:
    """Return a variable as a whole number from `least`; raises UsageError for anything else."""
    found = text(name)
    return int(_number(name, found, least, whole=True)) if found else default


def numbers(name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return a variable as as many numbers from 0 as the default has; raises UsageError."""
    found = text(name).split()
    if found and len(found) != len(default):
        raise UsageError(
            f"{name} must be {len(default)} numbers with a blank between, not {len(found)}."
        )
    return tuple(_number(name, word, 0.0) for word in found) or default


def rank() -> int:
    """Return which of the processes that train together this is, from 0."""
    return whole("RANK", 0, least=0)


def processes() -> int:
    """Return how many processes train together."""
    return whole("WORLD_SIZE", 1)


def threads_yield() -> None:
    """Let threads that wait for each other soon give their core away, unless the user chose.

    GNU's OpenMP spins for long: on two cores with two other processes, two threads made 1 round a
    second of a loop of small products, 42 with this, and 110 either way on a quiet machine. Counts
    where it is called before torch is imported.
    """
    if not text("OMP_WAIT_POLICY"):
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _number(name: str, found: str, least: float, whole: bool = False) -> float:
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value >= least and (value.is_integer() or not whole):
        return value
    kind = f"{least:g}, and a whole one" if whole else f"{least:g}"
    raise UsageError(f"{name} must be a number from {kind}, not {found[:40]!r}.")
