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

    Raises click.BadParameter for a word without "=".
    """
    found: dict[str, Any] = {}
    for word in words:
        key, given, value = word.partition("=")
        if not given:
            raise click.BadParameter(f"{word!r} is not of the form key=value.")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def with_settings(command: Command) -> Command:
    """Give a command the argument `settings`: what it changes of an environment."""
    return click.argument(
        "settings",
        nargs=-1,
        metavar="[KEY=VALUE]...",
        callback=lambda ctx, param, words: pairs(words),
    )(command)
