"""Naming: what MLflow calls a round and its figures, so that its pages read in a sensible order.

MLflow puts charts into sections by what stands before a slash, in the order of the alphabet: Bob's
first, then what he cost, Alice's data, the machine's, training, validation. Bounds and the single
skills of validation are no charts; the files have them. Does not: know a world or a method.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from alicebob.experiment.results import HEADLINE, means

__all__ = ["CURVE", "LONGEST", "MACHINE", "answer", "cleaned", "named", "titled", "view"]

LONGEST = {"name": 250, "param": 6000}  # characters that MLflow takes
CURVE = "training/"  # how the names of a training curve begin
MACHINE = "machine/"  # and those of what differs from run to run
#: How names begin in the metrics file and here, None where they are left out; the first counts.
SECTIONS = (
    ("test.skills.success", "bob/skills"),
    ("test.invalid_actions", "bob/invalid"),
    ("test.skills.by_skill.", "by skill/"),
    ("test.open_play.by_event.", "by event/"),
    ("test.open_play.", "bob/"),
    ("test.", "bob/"),
    ("validation.skills.success", "validation/skills"),
    ("validation.skills.by_skill.", None),
    ("validation.open_play.by_event.", None),
    ("validation.invalid_actions", "validation/invalid"),
    ("validation.open_play.", "validation/"),
    ("validation.", "validation/"),
    ("budget.", "cost/"),
    ("alice.", "data/alice "),
    ("data.", "data/"),
    ("spoken.", "spoken/"),
)
#: What the rows of rounds have beside their names, of what there is.
COLUMNS = (
    *("bob/skills", "bob/progress", "bob/success", "bob/score", "bob/invalid"),
    *("data/alice progress", "machine/minutes", "cost/tokens", "cost/env_steps"),
)


def cleaned(name: str) -> str:
    """Return a name as MLflow takes it: the same where it does; else what is odd in it replaced.

    Two names stay two: one that was changed ends in a mark of its own.
    """
    plain = re.sub(r"[^\w\-. ]", "_", name)[: LONGEST["name"] - 30].strip(" .") or "_"
    mark = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:6]
    return plain if plain == name else f"{plain}-{mark}"


def named(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the means and single numbers of nested figures under the names that MLflow shows."""
    found = {}
    for name, figure in means(figures).items():
        old, new = next(((o, n) for o, n in SECTIONS if name.startswith(o)), ("", "other/"))
        if new is not None:
            rest = name.removeprefix(old)
            found[new + cleaned(rest) if new.endswith(("/", " ")) else new] = figure["mean"]
    return found


def titled(round_id: str, params: Mapping[str, str]) -> str:
    """Return what a round's row says: `r002 · exif · WORLD`."""
    method = {"none": "untrained"}.get(params.get("method", ""), params.get("method", ""))
    return " · ".join(filter(None, (round_id, method, params.get("env.spec", ""))))


def answer(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """Return by how much Bob got better: `skills 0.12 → 0.73`."""
    for short in HEADLINE:
        name = f"bob/{short}"
        if name in first and name in last:
            return f"{short} {first[name]:.2g} → {last[name]:.2g}"
    return ""


def view(names: set[str], condition: str) -> dict[str, Any]:
    """Return what MLflow shows of the runs that meet a condition: columns, of those there are."""
    chosen = [f"metrics.`{name}`" for name in COLUMNS if name in names]
    return {
        "searchFilter": condition,
        "orderByKey": "attributes.`run_name`",
        "orderByAsc": True,
        "selectedColumns": chosen,
        "columnOrder": chosen,
    }
