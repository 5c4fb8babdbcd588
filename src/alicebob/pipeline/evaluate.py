"""Evaluate: Bob is tried in fresh worlds of both splits; the metrics of the round."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from alicebob import dataset, evaluation, figures
from alicebob.envs.hooks import score_of
from alicebob.files import write_json
from alicebob.pipeline.run import Context
from alicebob.policies import Task
from alicebob.rollout import Actor, play_all, totals
from alicebob.trace import Episode

__all__ = ["evaluate"]


def evaluate(context: Context) -> None:
    """Let Bob act, as the method says; write his episodes and the round's figures."""
    params, settings, env = context.params, context.params.evaluate, context.world()
    tasks: list[Task] = []
    for split in evaluation.SPLITS:
        space = params.seeds.of(split)
        tasks += evaluation.tasks(split, env, settings, params.seed, space, context.id)
    tasks.sort(key=lambda task: -task.max_turns)  # a wave lasts as long as its longest
    actor: Actor = context.part(context.read("bob"), settings.width)
    with context.bar("evaluate", len(tasks)) as bar:
        journals = context.scratch / "journals"
        episodes = play_all(tasks, context.world, actor, journals, done=bar.episode)
    folder, score = context.lay("evaluations"), score_of(env)
    metrics: dict[str, Any] = {"round": context.id}
    for split in evaluation.SPLITS:
        chosen = [e for e in episodes if e.id.startswith(f"{context.id}-{split}-")]
        dataset.write_episodes(folder / f"{split}.parquet", chosen)
        metrics[split] = evaluation.report(chosen, score)
    facts = {"environment": context.world.name, "episodes": len(episodes)}
    about = "Bob's episodes: trials of single skills, and open play, on both splits."
    dataset.write_card(folder, f"Evaluation of {context.id}", facts, about)
    write_json(context.write("metrics"), metrics | _data(context, episodes))


def _data(context: Context, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return what the round's data amount to, and what was spent."""
    cut = json.loads((context.read("skills") / "report.json").read_text(encoding="utf-8"))
    path = context.read("episodes") / "report.json"
    explored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    budget = {f"explore.{k}": n for k, n in explored.get("budget", {}).items()}
    budget |= {f"evaluate.{k}": n for k, n in totals(episodes).items()}
    curve = context.read("bob") / "training.json"
    if curve.exists():
        budget["train.tokens"] = json.loads(curve.read_text(encoding="utf-8"))["tokens"]
    return {
        "data": {
            "episodes": explored.get("episodes", 0),
            "skills": cut["kept"],
            "skills_total": cut.get("total", 0),
            "valid_share": round(cut["kept"] / cut["cut"], 6) if cut["cut"] else None,
        },
        "alice": {"progress": explored.get("progress") or figures.mean([])},
        "budget": budget,
    }
