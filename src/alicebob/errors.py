"""The error tree: every failure a user can cause or meet, and how it leaves the program.

    AliceBobError            exit 1   something failed; the message says what, where, what to do
    ├── UsageError           exit 2   the request itself is wrong: a parameter, name or file
    │   ├── UnknownName      exit 2   an unknown key, environment, method, format (suggests)
    │   └── DamagedData      exit 1   a file that does not hold what it should
    ├── EnvError             exit 1   an environment raised: the episode is owed
    ├── ProviderError        exit 1   a model endpoint failed: the episode is owed
    └── Busy                 exit 75  another process holds the work folder: try again later

A message is one sentence, or two when the second says what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AliceBobError",
    "Busy",
    "DamagedData",
    "EnvError",
    "ProviderError",
    "UnknownName",
    "UsageError",
]


class AliceBobError(Exception):
    """Base of all errors that are shown as one line instead of a traceback."""

    exit_code = 1


class UsageError(AliceBobError):
    """The request is wrong; running it again unchanged cannot help."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not one of a closed list; suggests the nearest and lists all."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        options = sorted(known)
        close = difflib.get_close_matches(str(name), options, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(options)}."
        super().__init__(f"Unknown {kind} {name!r}{f' in {where}' if where else ''}. {hint}")

    def __reduce__(self) -> tuple[type[UsageError], tuple[str]]:
        """Say the same when it comes from another process."""
        return UsageError, (str(self),)


class DamagedData(UsageError):
    """A file exists but does not hold what it should; the message names file and line."""

    exit_code = 1


class EnvError(AliceBobError):
    """An environment raised while it was reset or stepped."""


class ProviderError(AliceBobError):
    """A model endpoint failed after its retries."""


class Busy(AliceBobError):
    """Another process is at work in the same folder."""

    exit_code = 75
