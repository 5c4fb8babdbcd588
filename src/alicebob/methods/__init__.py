"""Methods: a short file each, which hands a part to every stage. None has a pipeline of its own.

To add one, write a module with a `METHOD` and name it in `KNOWN`; one of your own package needs
only an entry point of the group `alicebob.methods`, name = "package.module:METHOD".
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType

from alicebob.errors import UnknownName, UsageError
from alicebob.methods.parts import STAGES, Method

__all__ = ["KNOWN", "Method", "known", "method"]

GROUP = "alicebob.methods"
#: The table of methods.
KNOWN = ("exif", "explore_first", "proposal_first", "rft", "step", "eto", "learn_by_interact")


@functools.cache  # what is installed is read from many small files
def known() -> Mapping[str, str]:
    """Return the names of all methods, with where each is; the package's own first."""
    own = {name: f"{__name__}.{name}:METHOD" for name in KNOWN}
    others = {point.name: point.value for point in entry_points(group=GROUP)}
    return MappingProxyType({**dict(sorted(others.items())), **own})


@functools.cache
def method(name: str) -> Method:
    """Return a method by its name.

    Raises UnknownName for another, UsageError where it cannot be imported or lacks a part.
    """
    if name not in known():
        raise UnknownName("method", name, known())
    module, _, attribute = known()[name].partition(":")
    try:
        found: Method = getattr(importlib.import_module(module), attribute or "METHOD")
    except (ImportError, AttributeError) as error:
        raise UsageError(f"Method {name!r} cannot be imported: {error}.") from error
    if found.lacking:
        missing = " and ".join(f"{stage!r} ({STAGES[stage]})" for stage in found.lacking)
        raise UsageError(f"Method {name!r} has no part for {missing}; hand one over in {module}.")
    return found
