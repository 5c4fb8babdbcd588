"""Presets: named sizes of an experiment, written into params.yaml with one word.

A preset is a YAML file beside this one: a comment that says what it is for and what it needs, and
the values in which it differs from `laptop`, which has them all. Invariant: applying one keeps the
comments and the rounds, and leaves nothing of another preset behind. Does not: hold code.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from alicebob.errors import UnknownName
from alicebob.experiment.edit import edit

__all__ = ["about", "apply", "known"]

DEFAULT = "laptop"


def known() -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    return sorted(Path(str(f)).stem for f in files(__name__).iterdir() if f.name.endswith(".yaml"))


def about(name: str) -> str:
    """Return what a preset is for and what it needs, in one line; raises UnknownName."""
    lines = _text(name).splitlines()
    comment = [line[1:].strip() for line in lines if line.startswith("#")]
    return " ".join(comment)


def apply(name: str) -> int:
    """Set a preset's values in ./params.yaml; return how many of them were others before.

    Raises UnknownName, and UsageError where the file then does not check; it is left as it was.
    """
    values: dict[str, dict[str, Any]] = YAML(typ="safe").load(_text(DEFAULT))
    for block, settings in YAML(typ="safe").load(_text(name)).items():
        values[block] |= settings
    changed = 0

    def change(data: Any) -> None:
        nonlocal changed
        for block, settings in values.items():
            for key, value in settings.items():
                changed += data[block].get(key) != value
                data[block][key] = _on_one_line(value)

    edit(change)
    return changed


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
