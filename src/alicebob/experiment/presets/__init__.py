"""Presets: named sizes of an experiment, written into params.yaml with one word.

A preset is a YAML file beside this one: a comment that says what it is for and what it needs, and
the values in which it differs from `laptop`, which is the params.yaml of a fresh clone. Invariant:
applying one keeps the comments, the seeds, and rounds that somebody wrote, and leaves nothing of
another preset behind. Does not: hold code.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from alicebob.errors import UnknownName
from alicebob.experiment.edit import edit

__all__ = ["about", "apply", "known", "shipped"]

DEFAULT = "laptop"
KEPT = ("seed", "method", "seeds", "rounds")  # no preset sets these, but rounds where none are own


def known() -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    return sorted(Path(str(f)).stem for f in files(__name__).iterdir() if f.name.endswith(".yaml"))


def about(name: str) -> str:
    """Return what a preset is for and what it needs, in one line; raises UnknownName."""
    comment = []
    for line in _text(name).splitlines():
        if not line.startswith("#"):
            break
        comment.append(line[1:].strip())
    return " ".join(comment)


def shipped() -> str:
    """Return the params.yaml of a fresh clone."""
    return _text(DEFAULT).partition("\n\n")[2]


def apply(name: str | None, changes: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Set a preset's values in ./params.yaml, where one is named, and then other values.

    `changes` has dotted names, e.g. `train.epochs`. Returns how many values were others before.
    Raises UnknownName, and UsageError where the file then does not check; it is left as it was.
    """
    values: dict[str, Any] = {}
    if name is not None:
        for source in (DEFAULT, name):
            for block, settings in _values(source).items():
                if block not in KEPT:
                    values |= {f"{block}.{key}": value for key, value in settings.items()}
    changed = 0

    def change(data: Any) -> None:
        nonlocal changed
        if name is not None and data.get("rounds") in map(_rounds, known()):
            changed += _set_rounds(data["rounds"], _rounds(name))
        for dotted, value in {**values, **changes}.items():
            block, _, key = dotted.partition(".")
            whole = key and isinstance(data.get(block), Mapping)
            where, key = (data[block], key) if whole else (data, dotted)
            changed += where.get(key) != value
            where[key] = _on_one_line(value)

    edit(change)
    return changed


def _values(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(_text(name))
    return found


def _rounds(name: str) -> dict[str, Any]:
    """Return the rounds that a preset begins with."""
    rounds: dict[str, Any] = {**_values(DEFAULT), **_values(name)}["rounds"]
    return rounds


def _set_rounds(data: Any, rounds: Mapping[str, Any]) -> int:
    """Give params.yaml the rounds of a preset, each on a line; return how many are others."""
    others = [each for each in {**data, **rounds} if data.get(each) != rounds.get(each)]
    for each in [*data] if others else []:
        del data[each]
    for each in rounds if others else []:
        data[each] = CommentedMap(rounds[each])
        data[each].fa.set_flow_style()
    return len(others)


def _on_one_line(value: Any) -> Any:
    """Return a list that is written on the line of its name, before the comment there."""
    if not isinstance(value, list):
        return value
    line = CommentedSeq(value)
    line.fa.set_flow_style()
    return line


def _text(name: str) -> str:
    if name not in known():
        raise UnknownName("preset", name, known())
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
