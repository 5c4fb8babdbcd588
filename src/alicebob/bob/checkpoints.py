"""Checkpoints: which of them a training that was cut off may go on from.

Invariant: a checkpoint counts only as long as its mark, written last, vouches for all its files; of
those that count the newest is taken, and one that was damaged is named and removed. Does not: say
what is in them.
"""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from alicebob.environment import rank
from alicebob.errors import DamagedData
from alicebob.files import damage, vouch

__all__ = ["agreed", "complete", "whole", "writing"]

MARK = "COMPLETE"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise OSError, naming the checkpoint that is written, where the disk takes no more."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # PyTorch's is a RuntimeError
        free = shutil.disk_usage(folder.parent).free // 1024
        reason = " ".join(str(error).split())[:200]
        told = f"a checkpoint could not be written with {free:,} KiB free ({reason})"
        raise OSError(errno.EIO, told, str(folder)) from error


def complete(folder: Path) -> None:
    """Mark a checkpoint as whole, once all that writes to it has done so."""
    vouch(folder / MARK, folder)


def whole(folder: Path) -> None:
    """Raise DamagedData where a checkpoint is not what was written."""
    if wrong := damage(folder / MARK, folder):
        raise DamagedData(
            f"{folder}, the best checkpoint, was damaged ({wrong}); run this again: it goes on "
            "from an older one, or begins anew."
        )


def agreed(work: Path) -> str | None:
    """Return the checkpoint to go on from, as the main process finds it."""
    found = [_last_whole(work) if rank() == 0 else None]
    return cast("str | None", broadcast_object_list(found)[0])


def _last_whole(work: Path) -> str | None:
    """Return the newest checkpoint to go on from; remove, and name, those that are damaged.

    Not the one of an early stop: nothing comes after it, and from the one before it the same stop
    is reached again. Nor one whose best is gone, which could not end in the best weights.
    """
    found: dict[int, TrainerState] = {}
    for folder in sorted(work.glob("checkpoint-*"), key=_step):
        wrong = damage(folder / MARK, folder)
        if not wrong:
            state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
            if state.best_global_step in (None, _step(folder), *found):
                found[_step(folder)] = state
                continue
            wrong = f"its best, checkpoint-{state.best_global_step}, is lost"
        if (folder / MARK).exists():
            print(f"{folder} is damaged ({wrong}) and passed over.", file=sys.stderr)
        shutil.rmtree(folder)
    going = [step for step, state in found.items() if not _stopped_early(state)]
    if not going:
        return None
    newest = work / f"checkpoint-{max(going)}"
    print(f"Training goes on from {newest}.", file=sys.stderr)
    return str(newest)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _stopped_early(state: TrainerState) -> bool:
    control = state.stateful_callbacks["TrainerControl"]["args"]
    return bool(control["should_training_stop"]) and state.global_step < state.max_steps
