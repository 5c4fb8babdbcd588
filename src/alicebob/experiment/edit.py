"""Edit: params.yaml changed in place, its comments kept.

Invariant: a change that does not check is undone. Does not: run the rounds that it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from alicebob.errors import UnknownName, UsageError
from alicebob.experiment.params import read_yaml
from alicebob.experiment.plan import check
from alicebob.experiment.tree import ROOT_ROUND, tree
from alicebob.files import write_text

__all__ = ["add", "edit"]


def edit(change: Callable[[Any], None], round_id: str = ROOT_ROUND) -> None:
    """Let `change` alter the parsed params.yaml, and write and check what comes of it.

    Checked are the parameters of `round_id`, for r000 those of all rounds; raises UsageError where
    the file cannot be read, and what `check` raises; it is then as it was.
    """
    path = Path("params.yaml")
    read_yaml(path)
    before = path.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    data = yaml.load(before)
    change(data)
    text = StringIO()
    yaml.dump(data, text)
    write_text(path, text.getvalue())
    try:
        check([ROOT_ROUND, *tree(read_yaml())] if round_id == ROOT_ROUND else [round_id])
    except BaseException:  # whatever it was, the file is as it was
        write_text(path, before)
        raise


def add(round_id: str | None, parent: str | None, changes: Mapping[str, Any]) -> str:
    """Append a round to params.yaml and return its id, by default the next free number.

    `changes` has dotted names, e.g. `train.epochs`. The parent is by default the newest round.
    Raises UsageError for an id that is taken, UnknownName for a parent or a parameter that is not
    there; the file is then as it was.
    """
    rounds = tree(read_yaml())
    parent = parent or next(reversed(rounds), ROOT_ROUND)
    if parent != ROOT_ROUND and parent not in rounds:
        raise UnknownName("round", parent, [ROOT_ROUND, *rounds], "params.yaml")
    if round_id is None:
        taken = [int(name[1:]) for name in rounds if name[0] == "r" and name[1:].isdigit()]
        round_id = f"r{max(taken, default=0) + 1:03d}"
    if round_id in rounds:
        raise UsageError(f"Round {round_id} is in params.yaml already; choose another id.")
    item = _item(parent, changes)

    def append(data: Any) -> None:
        if not data.get("rounds"):
            data["rounds"] = CommentedMap()
        data["rounds"][round_id] = item

    edit(append, round_id)
    return round_id


def _item(parent: str, changes: Mapping[str, Any]) -> CommentedMap:
    """Return a round as it stands in the file, on one line."""
    item = CommentedMap({"prev": parent})
    for name, value in changes.items():
        block, _, key = name.partition(".")
        if key and block in changes:
            raise UsageError(f"{block} is given as a whole and {name} within it; give one of them.")
        if name == "prev":
            raise UsageError("A round's parent is given as --from, not as prev=.")
        if key:
            item.setdefault(block, CommentedMap())[key] = value
        else:
            item[block] = value
    item.fa.set_flow_style()
    return item
