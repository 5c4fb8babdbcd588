"""Cache: what is built once from a catalogue and then mapped from the disk.

It lies in ALICEBOB_CACHE, by default ~/.cache/alicebob, and can be deleted at any time. Invariant:
a folder is there whole or not at all. Does not: know what is in it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["built", "place"]


def place(name: str) -> Path:
    """Return where the folder of that name is, or would be."""
    root = os.environ.get("ALICEBOB_CACHE") or "~/.cache/alicebob"
    return Path(root).expanduser() / "webshop" / name


def built(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of that name; where there is none, `build` fills a new one first."""
    folder = place(name)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    spare = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        build(spare)
        with suppress(OSError):  # another process was quicker; both wrote the same
            spare.rename(folder)
    finally:
        shutil.rmtree(spare, ignore_errors=True)
    return folder
