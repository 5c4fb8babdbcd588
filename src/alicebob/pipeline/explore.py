"""Explore: somebody acts, as the method says; every turn is kept, and what was learned."""

from __future__ import annotations

from typing import Any

from alicebob import dataset, figures
from alicebob.alice.voice import MEMORY
from alicebob.files import write_json, write_text
from alicebob.methods.parts import Exploration
from alicebob.pipeline.run import Context
from alicebob.rollout import totals

__all__ = ["explore"]


def explore(context: Context) -> None:
    """Let the method explore; write episodes, Alice's memory and what they amount to."""
    found: Exploration = context.part()
    episodes, folder = found.episodes, context.lay("episodes")
    dataset.write_episodes(folder / "episodes.parquet", episodes)
    found.memory.save(folder / MEMORY)
    for number, text in enumerate(found.prompts):
        write_text(folder / f"prompt-{number:02d}.md", text)
    made = [e.summary["progress"] for e in episodes if found.alices and "progress" in e.summary]
    progress, budget = figures.mean(made), totals(episodes)
    report = {"episodes": len(episodes), "progress": progress, "budget": budget}
    write_json(folder / "report.json", report | {"wishes": dict(found.wishes)})
    facts: dict[str, Any] = {"environment": context.world.name, "episodes": len(episodes)}
    facts |= {"progress": progress["mean"]} if made else {}
    dataset.write_card(folder, f"Episodes of {context.id}", facts | budget, found.about)
