"""Environments: text in, text out, in Gymnasium's shape, found by a spec string.

A spec is a registered name (`crafter`), or `package.module:Class` for a user's own. Invariant: an
environment with the same spec, seed, options and actions gives the same bytes in any process.
Does not: import an environment before it is asked for.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, cast, runtime_checkable

from alicebob.errors import UnknownName, UsageError

__all__ = ["TextEnv", "available", "make"]

GROUP = "alicebob.environments"


@runtime_checkable
class TextEnv(Protocol):
    """What an environment must offer; any object with these two methods will do."""

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode and return its first observation and info."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action; return observation, reward, terminated, truncated and info."""


def available() -> dict[str, str]:
    """Return the registered names with the class each stands for, sorted by name."""
    return dict(sorted((point.name, point.value) for point in entry_points(group=GROUP)))


def make(spec: str, **settings: Any) -> TextEnv:
    """Build the environment that `spec` names; `settings` go to its constructor.

    Raises UnknownName for a name that is not registered or a setting the environment does not
    have, UsageError for a class that cannot be imported.
    """
    target = spec if ":" in spec else available().get(spec)
    if target is None:
        raise UnknownName("environment", spec, available())
    module, _, name = target.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"Environment {spec!r} cannot be imported: {error}.") from error
    parameters = inspect.signature(factory).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        for setting in settings:
            if setting not in parameters:
                raise UnknownName("setting", setting, parameters, f"environment {spec!r}")
    return cast(TextEnv, factory(**settings))
