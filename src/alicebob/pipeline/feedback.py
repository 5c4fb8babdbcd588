"""Feedback: what comes back from Bob's validation episodes, as the method says."""

from __future__ import annotations

from alicebob.files import write_json
from alicebob.methods.parts import Advice
from alicebob.pipeline.run import Context

__all__ = ["feedback"]


def feedback(context: Context) -> None:
    """Write what the method says of Bob, and the verdicts it rests on."""
    advice: Advice = context.part()
    folder = context.lay("feedback")
    advice.feedback.save(folder)
    if advice.asked:
        write_json(folder / "asked.json", dict(advice.asked))
    write_json(folder / "verdicts.json", [verdict.to_json() for verdict in advice.verdicts])
