"""Skills: the episodes become skills, as the method says; what does not replay is dropped."""

from __future__ import annotations

from typing import Any

from alicebob import dataset
from alicebob.alice.validity import check
from alicebob.alice.voice import Said
from alicebob.files import write_json, write_text
from alicebob.pipeline.cards import lineage, lineage_table, made_by, report, summary
from alicebob.pipeline.run import Context
from alicebob.rollout import workers

__all__ = ["skills"]


def skills(context: Context) -> None:
    """Let the method make skills, check them, and add them to those of the rounds before."""
    said: Said = context.part()
    found, episodes = said.skills, dataset.read_episodes(context.read("episodes"))
    with context.bar("replay", len({s.episode for s in found})) as bar:
        kept, dropped = check(found, episodes, context.world, workers=workers(), done=bar.tick)
    folder, parent = context.lay("skills"), context.inherited("skills")
    before = len(dataset.read_skills(parent))
    for shard in sorted(parent.glob("*.parquet")):
        (folder / shard.name).write_bytes(shard.read_bytes())
    dataset.write_skills(folder / f"{context.id}.parquet", kept)
    for name, text in said.files.items():
        write_text(folder / name, text)
    own = {
        "round": context.id,
        "explore": report(context.read("episodes")).get("made by", ""),
        "skills": made_by(context),
        "kept": len(kept),
    }
    line = [*lineage(parent), own]
    found_by_kind = dataset.counts(kept)
    told: dict[str, Any] = {
        "cut": len(found) + sum(said.lost.values()),
        "kept": len(kept),
        "dropped": dropped | dict(said.lost),
        "skills": found_by_kind,
        "total": before + len(kept),
        "lineage": line,
    } | dict(said.report)
    write_json(folder / "report.json", told)
    facts = {
        "environment": context.world.name,
        "rounds": len(line),
        "skills": told["total"],
        f"skills of {context.id}": summary(found_by_kind),
        f"lost in {context.id}": told["cut"] - told["kept"],
    }
    where, title = context.read("skills"), f"Skills up to {context.id}"
    dataset.write_card(folder, where, title, said.about, facts, more=lineage_table(line))
