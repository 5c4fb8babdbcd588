"""Start: lay down r000, the untrained Bob, whom nobody has taught or told anything."""

from __future__ import annotations

import sys

from alicebob import dataset
from alicebob.alice.feedback import Feedback
from alicebob.alice.voice import MEMORY
from alicebob.bob.fitting import check_bob
from alicebob.bob.sft import Lora, new_adapter, save_adapter
from alicebob.files import write_json
from alicebob.pipeline.cards import lineage_table, model_card
from alicebob.pipeline.run import Context
from alicebob.policies.models import load_base

__all__ = ["start"]


def start(context: Context) -> None:
    """Lay down no episodes, no skills, no feedback, and an adapter that changes nothing."""
    bob, nothing = context.params.bob, "Nothing was explored yet."
    model, _ = load_base(bob.model, bob.dtype, bob.revision, bob.attention)
    space = context.params.seeds.of("explore")
    if warning := check_bob(bob, context.world(), space):
        print(f"Warning: {warning}", file=sys.stderr)
    line = [{"round": context.id, "kept": 0}]
    folder, where = context.lay("episodes"), context.read("episodes")
    dataset.write_episodes(folder / "episodes.parquet", [])
    context.alice.room.memory().save(folder / MEMORY)
    dataset.write_card(folder, where, f"Episodes of {context.id}", nothing, {"episodes": 0})
    folder, where = context.lay("skills"), context.read("skills")
    dataset.write_skills(folder / f"{context.id}.parquet", [])
    none = {"cut": 0, "kept": 0, "dropped": {}, "skills": {}, "total": 0, "lineage": line}
    write_json(folder / "report.json", none)
    more = lineage_table(line)
    title = f"Skills of {context.id}"
    dataset.write_card(folder, where, title, nothing, {"skills": 0}, more=more)
    Feedback.empty(context.id).save(context.lay("feedback"))
    model = new_adapter(model, Lora(bob.lora_rank, bob.lora_alpha), context.params.seed)
    about = "An adapter that changes nothing: Bob before the first round."
    card = model_card(context, model, about, {}, line)
    save_adapter(model, bob.model, context.write("bob"), card, revision=bob.revision)
