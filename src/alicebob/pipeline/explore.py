"""Explore: somebody acts, as the method says; every turn is kept, and what was learned."""

from __future__ import annotations

from typing import Any

from alicebob import dataset, figures
from alicebob.alice.voice import MEMORY
from alicebob.files import write_json, write_text
from alicebob.methods.parts import Exploration
from alicebob.pipeline.cards import lineage, made_by, summary
from alicebob.pipeline.run import Context
from alicebob.rollout import totals
from alicebob.trace import INVALID

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
    progress, budget = figures.mean(made, (0.0, 1.0)), totals(episodes)
    part = made_by(context)
    before = [item["round"] for item in lineage(context.inherited("skills"))]
    report = {"episodes": len(episodes), "progress": progress, "budget": budget, "made by": part}
    if found.alices and "reply_tokens" in budget:  # a model spoke, and what was no action is lost
        turns = [turn for episode in episodes for turn in episode.turns]
        lost = sum(INVALID in turn.tags for turn in turns)
        report["turns"] = {"asked": len(turns), "repaired": 0, "rejected": lost}
    report |= {"wishes": dict(found.wishes)} | dict(found.report)
    write_json(folder / "report.json", report)
    facts: dict[str, Any] = {
        "lineage": " → ".join([*before, context.id]),
        "explored by": part,
        "environment": context.world.name,
        "episodes": len(episodes),
    }
    facts |= {"Alice's progress": summary(progress)} if made else {}
    where, title = context.read("episodes"), f"Episodes of {context.id}"
    dataset.write_card(folder, where, title, found.about, facts | budget)
