"""Start: lay down r000, the untrained Bob, whom nobody has taught or told anything."""

from __future__ import annotations

from alicebob import dataset
from alicebob.alice.feedback import Feedback
from alicebob.alice.voice import MEMORY
from alicebob.bob.sft import Lora, new_adapter, save_adapter
from alicebob.files import write_json
from alicebob.pipeline.cards import model_card
from alicebob.pipeline.run import Context
from alicebob.policies.models import load_base

__all__ = ["start"]


def start(context: Context) -> None:
    """Lay down no episodes, no skills, no feedback, and an adapter that changes nothing."""
    bob, nothing = context.params.bob, "Nothing was explored yet."
    folder = context.lay("episodes")
    dataset.write_episodes(folder / "episodes.parquet", [])
    context.alice.room.memory().save(folder / MEMORY)
    dataset.write_card(folder, f"Episodes of {context.id}", {"episodes": 0}, nothing)
    folder = context.lay("skills")
    dataset.write_skills(folder / f"{context.id}.parquet", [])
    write_json(folder / "report.json", {"cut": 0, "kept": 0, "dropped": {}, "skills": {}})
    dataset.write_card(folder, f"Skills of {context.id}", {"skills": 0}, nothing)
    Feedback.empty(context.id).save(context.lay("feedback"))
    model, _ = load_base(bob.model, bob.dtype)
    model = new_adapter(model, Lora(bob.lora_rank, bob.lora_alpha), context.params.seed)
    about = "An adapter that changes nothing: Bob before the first round."
    save_adapter(model, bob.model, context.write("bob"), model_card(context, about, {}))
