"""Watcher: the process that ends another one whose environment does not come back.

    python watcher.py PROCESS SECONDS DESCRIPTOR

Of the shared page (see `alicebob.envs.limit`) it looks at the number of each slot: one that stays
the same for longer than SECONDS is a call that hangs. One in the main thread is asked to give up
first. Looks are counted, and no time of day, so that a machine that slept has not hung. Invariant:
it ends when the other process does. Does not: import this package, which would take longer.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys

__all__ = ["ASKED", "GIVE_UP", "MAIN", "SIZE", "SLOTS", "TEXT", "watch"]

SLOTS = 512  # numbers of 8 bytes; a text for each follows them all
ASKED, MAIN = 0, 1  # the slots of the call that is to give up, and of the main thread's
TEXT = 256  # bytes
SIZE = SLOTS * (8 + TEXT)
GIVE_UP = signal.SIGVTALRM  # nobody's else, and who does not know it ends by it
GRACE = 3.0  # seconds to give up in
LOOK = 1.0  # seconds between looks, at most


def watch(process: int, seconds: float, page: mmap.mmap) -> None:
    """Look at the page until standard input is closed."""
    numbers = memoryview(page).cast("Q")
    every = min(LOOK, seconds / 4)
    last, looks = [0] * SLOTS, [0] * SLOTS
    while not select.select([0], [], [], every)[0]:
        for slot in range(MAIN, SLOTS):
            number = numbers[slot]
            looks[slot] = looks[slot] + 1 if number and number == last[slot] else 0
            last[slot] = number
            waited = looks[slot] * every
            if waited <= seconds:
                continue
            if slot == MAIN and waited <= seconds + GRACE:
                numbers[ASKED] = number
                os.kill(process, GIVE_UP)
                continue
            start = SLOTS * 8 + slot * TEXT
            name = page[start : start + TEXT].rstrip(b"\0").decode("utf-8", "replace")
            told = (
                f"\nError: {name} did not come back within {seconds:g} s (ALICEBOB_STEP_LIMIT), so "
                "its process was ended; its episode is owed, and what is finished is kept. Mend "
                "the environment, or raise the limit, and run again.\n"
            )
            os.write(2, told.encode())
            os.kill(process, signal.SIGKILL)
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the other
    watch(int(sys.argv[1]), float(sys.argv[2]), mmap.mmap(int(sys.argv[3]), SIZE))
