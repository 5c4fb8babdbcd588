"""Tracking: MLflow as an index of what the files say, that can be rebuilt at any time.

`live` sends the curve while a round is trained, `ended` brings the round when its last stage has
ended, `sync` all rounds, from `dvc.lock` and the outputs; `attach` adds files about them all, and
`left` finds runs whose process was killed. Invariant: if MLflow cannot be reached the work goes on,
one warning is given, and a later `sync` brings everything. Does not: keep anything that is not in
the files.
"""

from alicebob.tracking.curves import live
from alicebob.tracking.mirror import attach, ended, left, sync

__all__ = ["attach", "ended", "left", "live", "sync"]
