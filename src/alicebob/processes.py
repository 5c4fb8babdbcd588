"""Processes: workers that end with the process that started them.

Invariant: no worker outlives its parent, and one that was killed is an error of one sentence. Does
not: know what the workers do.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from alicebob.errors import AliceBobError

__all__ = ["die_with", "pool", "surviving"]

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """End this process when its parent, process id `parent`, ends; at once if it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def pool(
    workers: int, begin: Callable[..., object] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Return a pool of fresh processes; each first calls `begin` with the arguments given."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _begin, (os.getpid(), begin, arguments))


def _begin(parent: int, begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    die_with(parent)
    if begin is not None:
        begin(*arguments)


@contextmanager
def surviving() -> Iterator[None]:
    """Say in one sentence that a worker of a pool was killed."""
    try:
        yield
    except BrokenProcessPool as error:
        raise AliceBobError(
            "A worker process was killed, perhaps for want of memory; what it finished is "
            "kept. Run again, with fewer workers (ALICEBOB_WORKERS) if it comes back."
        ) from error
