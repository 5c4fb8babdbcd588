"""The pipeline: one short file a stage, and how a stage is run.

A body opens its round, calls the method's part, and writes its outputs; killing it anywhere loses
at most what was in flight. Invariant: outputs hold no times and no paths of this machine. Does not:
ask which method, world or kind of Alice it has.
"""

from alicebob.pipeline.run import run_stage

__all__ = ["run_stage"]
