"""Limit: no call of an environment lasts for ever.

While an environment is called, a slot of a page that is shared with a process beside this one holds
a number that no other call has. That process (see `alicebob.envs.watcher`) asks a call of the main
thread that is overdue to give up, and ends this process where it hears nothing, or is another
thread's. Invariant: only what an environment takes counts, not what a model does between its steps.
Does not: know what an environment is.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading

from alicebob import environment
from alicebob.envs import watcher
from alicebob.errors import AliceBobError

__all__ = ["CALLS", "VARIABLE", "Overdue", "numbers", "say", "seconds", "slot"]

VARIABLE = "ALICEBOB_STEP_LIMIT"
SECONDS = 1800.0  # for one call; the first of an episode may have much to build
CALLS = itertools.count(1)  # a number for each call

_others = itertools.count()
_thread = threading.local()


class Overdue(BaseException):
    """Raised within a call that is over the limit; no `except Exception` in there takes it."""


def seconds() -> float:
    """Return how long a call may take, 0 for ever; raises UsageError for no such number."""
    return environment.number(VARIABLE, SECONDS)


def numbers() -> memoryview[int] | list[int]:
    """Return where the number of a call stands while it lasts, by `slot`; at rest it is 0.

    Raises AliceBobError where the process that watches cannot be started.
    """
    return _page(os.getpid())[0]


def slot() -> int:
    """Return the slot of this thread."""
    if not hasattr(_thread, "slot"):
        _thread.slot = watcher.MAIN
        if threading.current_thread() is threading.main_thread():
            signal.signal(watcher.GIVE_UP, _give_up)
        else:
            _thread.slot += 1 + next(_others) % (watcher.SLOTS - watcher.MAIN - 1)
    return int(_thread.slot)


def say(at: int, text: str) -> None:
    """Say what a slot's calls are about, for who has to end this process."""
    page = _page(os.getpid())[1]
    if page is not None:
        start = watcher.SLOTS * 8 + at * watcher.TEXT
        told = text.encode("utf-8", "replace")[: watcher.TEXT]
        page[start : start + watcher.TEXT] = told.ljust(watcher.TEXT, b"\0")


@functools.lru_cache(1)  # one that was forked off has its own
def _page(process: int) -> tuple[memoryview[int] | list[int], mmap.mmap | None]:
    """Return the page of a process, as numbers and as it is; without a limit nobody reads it."""
    limit = seconds()
    if not limit:
        return [0] * watcher.SLOTS, None
    with tempfile.TemporaryFile() as file:
        file.truncate(watcher.SIZE)
        page = mmap.mmap(file.fileno(), watcher.SIZE)
        words = [watcher.__file__, str(process), str(limit), str(file.fileno())]
        try:
            beside = subprocess.Popen(
                [sys.executable, "-I", "-S", *words],
                stdin=subprocess.PIPE,  # closed when this process ends
                stdout=subprocess.DEVNULL,
                pass_fds=[file.fileno()],
            )
        except OSError as error:
            raise AliceBobError(
                f"The process that watches over environments cannot be started ({error.strerror}); "
                f"{VARIABLE}=0 does without."
            ) from error
    atexit.register(beside.communicate)
    return memoryview(page).cast("Q"), page


def _give_up(*_: object) -> None:
    """Raise Overdue in the main thread, where the call that was asked for still lasts."""
    page = numbers()
    if page[watcher.MAIN] and page[watcher.MAIN] == page[watcher.ASKED]:
        raise Overdue
