"""Cache: what is built once from a catalogue and then mapped from the disk.

It lies in ALICEBOB_CACHE, by default ~/.cache/alicebob, and can be deleted at any time. Invariant:
a folder is there whole or not at all. Does not: know what is in it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from alicebob.errors import AliceBobError

__all__ = ["built", "place"]


def place(name: str) -> Path:
    """Return where the folder of that name is, or would be."""
    root = os.environ.get("ALICEBOB_CACHE") or "~/.cache/alicebob"
    return Path(os.path.expanduser(root)) / "webshop" / name  # of nobody's home, as it stands


def built(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of that name; where there is none, `build` fills a new one first.

    Raises AliceBobError where it cannot be written.
    """
    folder = place(name)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        spare = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            build(spare)
            spare.rename(folder)
        finally:
            shutil.rmtree(spare, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # else another process was quicker, and wrote the same
            raise AliceBobError(
                f"{folder} cannot be written ({error.strerror}); put ALICEBOB_CACHE where there "
                "is room for it."
            ) from error
    return folder
