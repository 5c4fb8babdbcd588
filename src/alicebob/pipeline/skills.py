"""Skills: the episodes become skills, as the method says; what does not replay is dropped."""

from __future__ import annotations

from typing import Any

from alicebob import dataset
from alicebob.alice.validity import check
from alicebob.alice.voice import Said
from alicebob.files import write_json
from alicebob.pipeline.run import Context
from alicebob.rollout import workers

__all__ = ["skills"]


def skills(context: Context) -> None:
    """Let the method make skills, check them, and add them to those of the rounds before."""
    said: Said = context.part()
    found, episodes = said.skills, dataset.read_episodes(context.read("episodes"))
    with context.bar("replay", len({s.episode for s in found})) as bar:
        kept, dropped = check(found, episodes, context.world, workers=workers(), done=bar.tick)
    folder = context.lay("skills")
    for shard in sorted(context.inherited("skills").glob("*.parquet")):
        (folder / shard.name).write_bytes(shard.read_bytes())
    dataset.write_skills(folder / f"{context.id}.parquet", kept)
    report: dict[str, Any] = {
        "cut": len(found) + sum(said.lost.values()),
        "kept": len(kept),
        "dropped": dropped | dict(said.lost),
        "skills": dataset.counts(kept),
        "total": sum(1 for _ in dataset.read_skills(folder)),
    } | dict(said.report)
    write_json(folder / "report.json", report)
    facts = {"rounds": len(list(folder.glob("*.parquet"))), "skills": report["total"]}
    facts |= {f"{name} ({context.id})": count for name, count in report["skills"].items()}
    dataset.write_card(folder, f"Skills up to {context.id}", facts, said.about)
