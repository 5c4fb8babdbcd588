"""Train: Bob's adapter learns, as the method says."""

from __future__ import annotations

from collections.abc import Mapping

from alicebob.bob.sft import save_adapter
from alicebob.files import write_json
from alicebob.methods.parts import Trained
from alicebob.pipeline.cards import lineage, made_by, model_card, use_cores
from alicebob.pipeline.run import Context

__all__ = ["train"]


def train(context: Context) -> None:
    """Let the method train Bob, and write his adapter with a card of measured facts."""
    use_cores()
    got: Trained = context.part()
    if context.main:
        skills, out = context.read("skills"), context.write("bob")
        line = lineage(skills)
        facts = {
            "trained by": made_by(context),
            "trained on": f"`{skills.as_posix()}`",
            **got.facts,
        }
        card = model_card(context, got.model, got.about, facts, line)
        bob = context.params.bob
        save_adapter(got.model, bob.model, out, card, got.fitted, bob.revision)
        counts = {name: dict(n) for name, n in got.facts.items() if isinstance(n, Mapping)}
        write_json(out / "report.json", counts)
