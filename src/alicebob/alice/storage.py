"""Storage: a memory as a JSON file, read back whole or refused by name.

Invariant: equal memories give equal bytes. Does not: know what a memory holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from alicebob.errors import DamagedData
from alicebob.files import write_json

__all__ = ["load", "save"]

M = TypeVar("M")


class _Plain(Protocol):
    def to_json(self) -> dict[str, Any]: ...


def save(path: Path, memory: _Plain) -> None:
    """Write a memory's plain data, whole or not at all."""
    write_json(path, memory.to_json())


def load(path: Path, build: Callable[[Any], M], what: str) -> M:
    """Return what `build` makes of a file's plain data.

    Raises DamagedData, with the file and `what` it should hold, where it cannot.
    """
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedData(
            f"{path} does not hold {what} ({type(error).__name__}: {error}). "
            "Restore it with 'dvc checkout', or delete it and run 'dvc repro'."
        ) from error
