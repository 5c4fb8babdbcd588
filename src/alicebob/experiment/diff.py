"""Diff: in which parameters and figures two rounds differ.

Does not: judge which is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alicebob.errors import UsageError
from alicebob.experiment.params import load_params
from alicebob.experiment.places import place
from alicebob.experiment.tables import figures, flatten

__all__ = ["difference"]


def difference(first: str, second: str) -> str:
    """Return the parameters and figures in which two rounds differ, as a table.

    Raises UnknownName for a round that is not there, UsageError for one not evaluated yet.
    """
    lines = [f"{'':48}{first:>14}{second:>14}"]
    one, two = (flatten(load_params(r).model_dump(mode="json")) for r in (first, second))
    lines += _rows(one, two, str)
    lines += sorted(_rows(_figures(first), _figures(second), "{:.4g}".format))
    return "\n".join(lines)


def _figures(round_id: str) -> dict[str, float]:
    """Return the figures of a round, without the bounds of its means."""
    found = figures(round_id)
    if found is None:
        raise UsageError(
            f"{place('metrics', round_id)} is missing; run 'dvc repro evaluate@{round_id}' first."
        )
    return {n: value for n, value in found.items() if not n.endswith((".low", ".high"))}


def _rows(one: Mapping[str, Any], two: Mapping[str, Any], shown: Callable[[Any], str]) -> list[str]:
    """Return a line for each name whose values differ; a dash stands where there is none."""
    rows = []
    for name in dict.fromkeys([*one, *two]):
        first, second = (shown(v[name]) if name in v else "-" for v in (one, two))
        if name not in one or name not in two or one[name] != two[name]:
            rows.append(f"{name:48}{first:>14}{second:>14}")
    return rows
