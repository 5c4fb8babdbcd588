"""Diff: in which parameters and figures two rounds differ, and how sure the difference is.

Parameters are those that the figures were made with, not those of `params.yaml` now. Invariant: no
difference is given of figures that were made in other worlds or amounts. Does not: judge which
round is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from alicebob.errors import UsageError
from alicebob.experiment.lock import Lock
from alicebob.experiment.params import Experiment
from alicebob.experiment.places import place
from alicebob.experiment.results import figures, means
from alicebob.experiment.stages import address
from alicebob.experiment.tables import aligned, interval, others
from alicebob.untrusted import printable

__all__ = ["between", "difference", "figures_of"]

Figure = Mapping[str, Any]


def difference(first: str, second: str) -> str:
    """Return the parameters and figures in which two rounds differ, as a table.

    Figures have their 95 % intervals, and so has the difference, second less first. Raises
    UnknownName for a round that is not there, UsageError for one not evaluated yet, DamagedData for
    a file that is damaged.
    """
    one, two = figures_of(first), figures_of(second)
    lock = Lock()
    rows = [["", first, second, ""]]
    rows += _rows(*(lock.settings(round_id) for round_id in (first, second)))
    apart = others(one, two)
    left, right = means(one), means(two)
    for name in sorted({*left, *right}):
        a, b = left.get(name), right.get(name)
        if a != b:
            less = interval(between(a, b), signed=True) if a and b and not apart else ""
            rows.append([name, *(interval(f) if f else "-" for f in (a, b)), less])
    if len(rows) > 1 and not apart:
        rows[0][3] = "difference"
    stale = [round_id for round_id in (first, second) if lock.stale(round_id)]
    notes = [f"{round_id} is stale: 'dvc repro' would make it anew." for round_id in stale]
    if apart:
        told = " and ".join(apart)
        notes.append(f"{first} and {second} were evaluated with another {told}: do not compare.")
    shown = [[printable(cell) for cell in row] for row in rows]  # a world names its events
    return "\n".join([*notes, aligned(shown)])


def between(one: Figure, two: Figure) -> dict[str, Any]:
    """Return the second figure less the first, with its 95 % interval where both have one.

    By the method of variance estimates recovery (Zou and Donner 2008; for shares it is Newcombe's
    of 1998), which holds for intervals that are not symmetric. Rounds of a lineage are tried in the
    same worlds; that they are taken as independent errs on the safe side.
    """
    step = two["mean"] - one["mean"]
    bounds = [figure[bound] for figure in (one, two) for bound in ("low", "high")]
    if any(bound is None for bound in bounds):
        return {"mean": step, "low": None, "high": None}
    low1, high1, low2, high2 = bounds
    return {
        "mean": step,
        "low": step - math.hypot(two["mean"] - low2, high1 - one["mean"]),
        "high": step + math.hypot(high2 - two["mean"], one["mean"] - low1),
    }


def figures_of(round_id: str) -> dict[str, Any]:
    """Return a round's figures; raises what `difference` raises."""
    Experiment().changes(round_id)  # an unknown round is said to be one
    found = figures(round_id)
    if found is None:
        told = address("evaluate", round_id)
        raise UsageError(f"{place('metrics', round_id)} is missing; run 'dvc repro {told}' first.")
    return found


def _rows(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each name whose values differ; a dash stands where there is none."""
    return [
        [name, *(str(values.get(name, "-")) for values in (one, two)), ""]
        for name in dict.fromkeys([*one, *two])
        if name not in one or name not in two or one[name] != two[name]
    ]
