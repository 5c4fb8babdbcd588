"""Tracking: MLflow as an index of what the files say, that can be rebuilt at any time.

`sync` reads `dvc.lock` and the outputs and makes MLflow agree; `live` sends curves while a stage
runs. Invariant: if MLflow cannot be reached the work goes on, one warning is given, and a later
`sync` brings everything. Does not: keep anything that is not in the files.
"""

from alicebob.tracking.curves import live
from alicebob.tracking.mirror import sync

__all__ = ["live", "sync"]
