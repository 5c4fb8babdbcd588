"""Pairs: key=value words of a command line.

Does not: know which keys there are; who gets them says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import click

__all__ = ["pairs", "with_settings"]

Command = Callable[..., None]


def pairs(words: Iterable[str]) -> dict[str, Any]:
    """Read key=value words; a value that is JSON counts as such, else it is a string.

    Raises click.BadParameter for a word without a key or "=", and for a key that is there twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, given, value = word.partition("=")
        if not given or not key:
            raise click.BadParameter(f"{word!r} is not of the form key=value.")
        if key in found:
            raise click.BadParameter(f"{key!r} is given twice.")
        try:
            found[key] = json.loads(value, parse_constant=_none)
        except ValueError:
            found[key] = value
        except RecursionError:
            raise click.BadParameter(f"The value of {key!r} is nested too deep.") from None
    return found


def _none(name: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(name)


def with_settings(command: Command) -> Command:
    """Give a command the argument `settings`: what it changes of an environment."""
    return click.argument(
        "settings",
        nargs=-1,
        metavar="[KEY=VALUE]...",
        callback=lambda ctx, param, words: pairs(words),
    )(command)
