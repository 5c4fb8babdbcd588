"""Methods: which explorer, which curator, which objective, which feedback. A row per module.

All run on the same five stages; none has a pipeline of its own. To add one, write a module with a
`METHOD` and name it in `KNOWN`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from alicebob.errors import UnknownName

__all__ = ["KNOWN", "Method", "method"]

KNOWN = ("exif", "explore_first")


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table of methods.

    `explorer` acts and collects the episodes, `curator` makes skills of them, `objective` is what
    Bob is trained on, `feedback` is what comes back from his evaluation; each names a choice that
    `alicebob.pipeline` knows.
    """

    name: str
    source: str
    explorer: str
    curator: str
    objective: str
    feedback: str

    def wishes(self, written: Mapping[str, float], strength: float) -> dict[str, float]:
        """Return what the next exploration goes for: nothing where feedback is not followed."""
        if self.feedback == "none":
            return {}
        return {name: weight * strength for name, weight in sorted(written.items()) if weight > 0}


def method(name: str) -> Method:
    """Return a method by its name; raises UnknownName for another."""
    if name not in KNOWN:
        raise UnknownName("method", name, KNOWN)
    found: Method = importlib.import_module(f"alicebob.methods.{name}").METHOD
    return found
