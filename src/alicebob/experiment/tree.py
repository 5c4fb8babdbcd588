"""Tree: the rounds of an experiment, each with its parent.

Invariant: a tree has its root in r000, the untrained Bob, no cycle, and ids that are file names.
Does not: know what a round changes or where it lies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alicebob.errors import UsageError

__all__ = ["ROOT_ROUND", "ancestors", "branches", "tree"]

ROOT_ROUND = "r000"  # the untrained Bob


def tree(data: Mapping[str, Any], path: Path = Path("params.yaml")) -> dict[str, dict[str, Any]]:
    """Return the rounds of the parameters read from `path`, in their order, each with its `prev`.

    Raises UsageError for a wrong id, a parent that is missing or not there, and a cycle.
    """
    rounds = data.get("rounds") or {}
    if not isinstance(rounds, Mapping):
        raise UsageError(f"{path}: rounds must be a mapping such as 'r001: {{prev: r000}}'.")
    for name, item in rounds.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise UsageError(
                f"{path}: round {name!r} must be a letter and then letters, digits, - or _."
            )
        if name == ROOT_ROUND:
            raise UsageError(f"{path}: {ROOT_ROUND} is the untrained Bob and cannot be defined.")
        if not isinstance(item, Mapping) or "prev" not in item:
            raise UsageError(f"{path}: round {name} needs a parent, such as 'prev: {ROOT_ROUND}'.")
        parent = item["prev"]
        if parent != ROOT_ROUND and parent not in list(rounds):  # a list: it may be unhashable
            raise UsageError(
                f"{path}: the parent {parent!r} of round {name} does not exist. "
                f"Rounds: {', '.join([ROOT_ROUND, *rounds])}."
            )
    for name in rounds:
        seen, at = [name], rounds[name]["prev"]
        while at != ROOT_ROUND:
            if at in seen:
                raise UsageError(f"{path}: rounds {' -> '.join([*seen, at])} form a cycle.")
            seen.append(at)
            at = rounds[at]["prev"]
    return {name: dict(item) for name, item in rounds.items()}


def ancestors(round_id: str, rounds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lineage of a round, from r000 to the round itself."""
    line = [round_id]
    while line[-1] != ROOT_ROUND:
        line.append(rounds[line[-1]]["prev"])
    return line[::-1]


def branches(rounds: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the branches of a tree, each from r000 to its last round, by the round it begins with.

    The trunk begins with r000. A round's first child in the file goes on with its parent's branch,
    each other child begins one; so no round that is added changes what is there.
    """
    found = {ROOT_ROUND: [ROOT_ROUND]}
    for name, item in rounds.items():
        own = next((line for line in found.values() if line[-1] == item["prev"]), None)
        if own is None:
            found[name] = ancestors(name, rounds)
        else:
            own.append(name)
    return found
