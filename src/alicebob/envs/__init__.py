"""Environments: text in, text out, in Gymnasium's shape, found by a spec string.

A spec is a registered name, or `package.module:Class` for a user's own, and may carry its settings:
`my_module:Door?locked=true&doors=3`. Invariant: an environment with the same
spec, settings, seed, options and actions gives the same bytes in any process. Does not: import an
environment before it is asked for.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable
from urllib.parse import quote, unquote

from alicebob.errors import UnknownName, UsageError

__all__ = ["TextEnv", "World", "available", "describe", "factory", "make", "parse"]

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


@functools.cache  # what is installed is read from many small files
def available() -> Mapping[str, str]:
    """Return the registered names with the class each stands for, sorted by name."""
    found = dict(sorted((point.name, point.value) for point in entry_points(group=GROUP)))
    return MappingProxyType(found)


def describe(spec: str, settings: Mapping[str, Any]) -> str:
    """Return spec and settings in one string, the same for equal settings in any order.

    Strings stand as they are, other values as JSON; `parse` gives both back. Raises UsageError for
    a value that JSON does not have.
    """
    try:
        words = [f"{quote(name)}={quote(_write(settings[name]))}" for name in sorted(settings)]
    except (TypeError, ValueError) as error:
        raise UsageError(f"Settings of {spec} must be plain values: {error}.") from error
    return "?".join([spec, "&".join(words)] if words else [spec])


def _write(value: Any) -> str:
    if isinstance(value, str) and _read(value) == value:
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read(text: str) -> Any:
    """Read a value that is JSON as such, any other as a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Return the spec and the settings of such a string.

    Raises UsageError where a setting has no value or is there twice.
    """
    spec, _, query = text.partition("?")
    settings: dict[str, Any] = {}
    for word in query.split("&") if query else []:
        name, found, value = word.partition("=")
        if not (name and found) or unquote(name) in settings:
            raise UsageError(
                f"{word!r} in environment {text!r} must be one setting=value, given once."
            )
        settings[unquote(name)] = _read(unquote(value))
    return spec, settings


def factory(spec: str) -> Any:
    """Return the class or function that a spec names, its settings left aside.

    Raises UnknownName for a name that is not registered, UsageError where it cannot be imported.
    """
    name, _ = parse(spec)
    target = name if ":" in name else available().get(name)
    if target is None:
        raise UnknownName("environment", name, available())
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"Environment {name!r} cannot be imported: {error}.") from error


def make(spec: str, **settings: Any) -> TextEnv:
    """Build the environment that `spec` names; its settings go to its constructor.

    Settings may stand in the spec too: `my_module:Door?locked=true`. Raises what `factory` raises,
    UnknownName for a setting the environment does not have, UsageError for one given twice.
    """
    name, written = parse(spec)
    for setting in settings:
        if setting in written:
            raise UsageError(f"Environment {name!r} is given the setting {setting!r} twice.")
    settings = written | settings
    made = factory(name)
    parameters = inspect.signature(made).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        for setting in settings:
            if setting not in parameters:
                raise UnknownName("setting", setting, parameters, f"environment {name!r}")
    return cast(TextEnv, made(**settings))


@dataclass(frozen=True, slots=True)
class World:
    """An environment by spec and settings: makes as many as are asked for, and can be pickled."""

    spec: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> TextEnv:
        """Build one."""
        return make(self.spec, **self.settings)

    @property
    def name(self) -> str:
        """Spec and settings in one string, as episodes record it."""
        return describe(self.spec, self.settings)
