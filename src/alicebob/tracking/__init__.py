"""Tracking: MLflow as an index of what the files say, that can be rebuilt at any time.

`live` sends the curve while a round is trained, `ended` brings the round when its last stage has
ended, `sync` all rounds, from `dvc.lock` and the outputs, and `attach` adds files about them all.
Invariant: if MLflow cannot be reached the work goes on, one warning is given, and a later `sync`
brings everything. Does not: keep anything that is not in the files.
"""

from alicebob.tracking.curves import live
from alicebob.tracking.mirror import attach, ended, sync

__all__ = ["attach", "ended", "live", "sync"]
