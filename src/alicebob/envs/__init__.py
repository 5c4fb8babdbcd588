"""Environments: text in, text out, in Gymnasium's shape, found by a spec string.

A spec is a registered name, or `package.module:Class` for a user's own, and may carry its settings:
`my_module:Door?locked=true&doors=3`. Invariant: an environment with the same
spec, settings, seed, options and actions gives the same bytes in any process. Does not: import an
environment before it is asked for, or leave the working directory on the path of other imports.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote, unquote

from alicebob.envs.border import Border, told
from alicebob.errors import UnknownName, UsageError

__all__ = [
    "Border",
    "TextEnv",
    "World",
    "available",
    "bordered",
    "describe",
    "factory",
    "from_here",
    "make",
    "module_of",
    "parse",
]

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


@contextmanager
def from_here() -> Iterator[None]:
    """Import from the working directory too, and first, while this lasts."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def module_of(spec: str) -> str:
    """Return the name of the module that a spec's class or function is in.

    Raises UnknownName for a name that is not registered.
    """
    return _target(spec)[0]


def _target(spec: str) -> tuple[str, str]:
    name, _ = parse(spec)
    target = name if ":" in name else available().get(name)
    if target is None:
        raise UnknownName("environment", name, available())
    module, _, attribute = target.partition(":")
    if not all(word.isidentifier() for word in (*module.split("."), *attribute.split("."))):
        raise UsageError(f"Environment {name!r} must be a name or of the form module:Class.")
    return module, attribute


def factory(spec: str) -> Any:
    """Return the class or function that a spec names, its settings left aside.

    Its module may lie in the working directory. Raises UnknownName for a name that is not
    registered, UsageError where it cannot be imported.
    """
    module, attribute = _target(spec)
    try:
        with from_here():
            found: Any = importlib.import_module(module)
        for word in attribute.split("."):
            found = getattr(found, word)
    except (Exception, SystemExit) as error:  # somebody else's module may raise anything
        raise UsageError(f"Environment {spec!r} cannot be imported: {told(error)}.") from error
    if not callable(found):
        raise UsageError(f"Environment {spec!r} is no class and no function, so it makes nothing.")
    return found


def make(spec: str, **settings: Any) -> TextEnv:
    """Build the environment that `spec` names; its settings go to its constructor.

    Settings may stand in the spec too: `my_module:Door?locked=true`. Raises what `factory` raises,
    UnknownName for a setting the environment does not have, UsageError for one given twice and for
    what has no `reset` and `step`.
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
    with from_here():
        env = made(**settings)
    if not isinstance(env, TextEnv):
        raise UsageError(f"Environment {name!r} has no reset and step.")
    return env


def bordered(env: TextEnv, name: str) -> Border:
    """Return an environment, looked at wherever it is touched (see `alicebob.envs.border`)."""
    return env if isinstance(env, Border) else Border(lambda: env, name)


@dataclass(frozen=True, slots=True)
class World:
    """An environment by spec and settings: makes as many as are asked for, and can be pickled."""

    spec: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Border:
        """Build one, looked at wherever it is touched; raises EnvError and what `make` raises."""
        return Border(lambda: make(self.spec, **self.settings), self.name)

    @property
    def name(self) -> str:
        """Spec and settings in one string, as episodes record it."""
        return describe(self.spec, self.settings)
