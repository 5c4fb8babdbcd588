"""Processes: workers that end with the process that started them.

Invariants: no worker outlives its parent; one that was killed is an error of one sentence; and a
signal for all of them, such as Ctrl-C, is the parent's to answer, also while a worker starts. Does
not: know what the workers do.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from alicebob.errors import AliceBobError

__all__ = ["die_with", "end_workers", "pool", "surviving"]

_PR_SET_PDEATHSIG = 1
_HELD = (signal.SIGINT, signal.SIGTERM)


def die_with(parent: int) -> None:
    """End this process when its parent, process id `parent`, ends; at once if it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_workers() -> None:
    """End all workers of this process at once."""
    for worker in multiprocessing.active_children():
        worker.kill()


class _Worker(SpawnProcess):
    """A process that no signal reaches before it has said, in `_begin`, what it makes of them."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # which it is handed
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _postponed() -> Iterator[None]:
    """Answer signals when this is over.

    A mask does not do that: another thread may take them, and Python answers in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    found = {number: signal.getsignal(number) for number in _HELD}
    usual = {number: handler for number, handler in found.items() if handler is not None}
    for number in usual:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def _track() -> None:
    """Start what clears up after workers, if it is not there; after a kill it need not say so."""
    sys.warnoptions.append("ignore:resource_tracker")  # handed on to the process that is started
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove("ignore:resource_tracker")


class _Context(SpawnContext):
    Process = _Worker


class _Future(Future[Any]):
    def set_exception(self, exception: BaseException | None) -> None:
        """Take it also where nobody waits for it any more: Python 3.11 prints a traceback."""
        with suppress(InvalidStateError):
            super().set_exception(exception)


class _Pool(ProcessPoolExecutor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand it over whole, which may start workers: a signal meanwhile is answered afterwards.

        Else a worker would read half of what it is handed, or the thread that waits for all would
        be there and not started, and could not be joined.
        """
        with _postponed():
            future = super().submit(fn, *args, **kwargs)
        future.__class__ = _Future
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish; not where somebody has just said that all shall end."""
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            end_workers()
        super().shutdown(wait, cancel_futures=cancel_futures)


def pool(
    workers: int, begin: Callable[..., object] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Return a pool of fresh processes; each first calls `begin` with the arguments given."""
    _track()  # now: where it starts with a worker, it lets signals through to that
    return _Pool(workers, _Context(), _begin, (os.getpid(), begin, arguments))


def _begin(parent: int, begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
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
            "A worker process was killed, for a reason that stands above or for want of memory; "
            "what it finished is kept. Run again, with fewer workers (ALICEBOB_WORKERS) if it "
            "comes back."
        ) from error
