"""Base: lay down the model that every round's adapter is trained on."""

from __future__ import annotations

from alicebob.methods.bases import base_of
from alicebob.pipeline.cards import use_cores
from alicebob.pipeline.run import Context

__all__ = ["base"]


def base(context: Context) -> None:
    """Build tiny Bob, lay another model down, or say that none is needed."""
    use_cores()
    base_of(context.params)(context, context.write("base"))
