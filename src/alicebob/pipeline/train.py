"""Train: Bob's adapter learns, as the method says."""

from __future__ import annotations

from alicebob.bob.sft import save_adapter
from alicebob.methods.parts import Trained
from alicebob.pipeline.cards import model_card, use_cores
from alicebob.pipeline.run import Context

__all__ = ["train"]


def train(context: Context) -> None:
    """Let the method train Bob, and write his adapter with a card of measured facts."""
    use_cores()
    got: Trained = context.part()
    if context.main:
        card = model_card(context, got.about, got.facts)
        name = context.params.bob.model
        save_adapter(got.model, name, context.write("bob"), card, got.fitted)
