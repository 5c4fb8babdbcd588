"""Doctor: what a crash has left in this repository, in words, and its repair where one is safe.

Invariant: nothing is repaired that was not told, and a repair deletes only what nothing rests on;
`dvc repro` does the rest. Does not: run a stage, or look at MLflow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alicebob.alice.feedback import Feedback
from alicebob.errors import DamagedData
from alicebob.experiment.examples import verdicts
from alicebob.experiment.lock import LOCK, Lock
from alicebob.experiment.params import read_yaml
from alicebob.experiment.places import PLACES, place
from alicebob.experiment.results import figures
from alicebob.experiment.tree import ROOT_ROUND, tree
from alicebob.experiment.work import WORK, at_work
from alicebob.files import damage, remove

__all__ = ["Finding", "examine"]

RWLOCK = Path(".dvc/tmp/rwlock")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, what would mend it, and how to do that here, None where DVC does."""

    text: str
    mend: str
    repair: Callable[[], object] | None = None


def examine() -> list[Finding]:
    """Return what is amiss; raises UsageError where params.yaml cannot be read."""
    busy = sorted(at_work(WORK))
    found = [
        Finding(f"Process {number} is at work in {folder}", "wait for it, or end it")
        for folder, number in busy
    ]
    found += [*_lock(), *_rounds(), *_work()]
    return found if busy else [*found, *_rwlock(), *_parts()]  # what is under way is no leftover


def _lock() -> Iterator[Finding]:
    try:
        Lock()
    except DamagedData as error:
        aside = LOCK.with_name(f"{LOCK.name}.damaged")
        mend = f"it is put aside as {aside}; 'dvc repro' then takes what is cached"
        yield Finding(_said(error), mend, lambda: os.replace(LOCK, aside))


def _rounds() -> Iterator[Finding]:
    for round_id in (ROOT_ROUND, *tree(read_yaml())):
        feedback = place("feedback", round_id)
        for read in (
            lambda: figures(round_id),  # noqa: B023 - called at once
            lambda: verdicts(round_id),  # noqa: B023
            lambda: (feedback / "feedback.json").exists() and Feedback.load(feedback),  # noqa: B023
        ):
            try:
                read()
            except DamagedData as error:
                yield Finding(_said(error), "'dvc repro' makes it again")


def _work() -> Iterator[Finding]:
    for done in sorted(WORK.glob("*/*/DONE")):
        if wrong := damage(done, done.parent / "out"):
            yield Finding(
                f"{done.parent} is not as it was finished ({wrong})", "'dvc repro' does it anew"
            )
    for kept in sorted(WORK.rglob("*.damaged")):
        yield Finding(
            f"{kept} has lines that were damaged and played again",
            "nothing rests on it; it is deleted",
            kept.unlink,
        )


def _rwlock() -> Iterator[Finding]:
    if not RWLOCK.exists():
        return
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        SCHEMA(json.loads(RWLOCK.read_bytes()))
    except (ValueError, Invalid):
        yield Finding(
            f"{RWLOCK} is damaged, and DVC refuses to run", "it is deleted", RWLOCK.unlink
        )


def _parts() -> Iterator[Finding]:
    """Yield what was being written when somebody was killed, beside the outputs."""
    for folder in sorted({Path(of).parent for of in PLACES.values()}):
        for part in sorted(folder.glob(".*.part")):
            yield Finding(f"{part} is half written", "it is deleted", partial(remove, part))


def _said(error: DamagedData) -> str:
    return str(error).rstrip(".")
