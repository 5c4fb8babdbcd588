"""Evaluate: Bob is tried in fresh worlds of both splits; the metrics of the round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alicebob import dataset, evaluation, figures
from alicebob.envs.hooks import score_of
from alicebob.experiment.plan import planned
from alicebob.experiment.results import MADE_WITH, headline, made_with
from alicebob.files import write_json
from alicebob.pipeline.cards import lineage, made_by, report, summary
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
    made = made_with(planned("evaluate", context.id)["params"])
    metrics: dict[str, Any] = {"round": context.id, MADE_WITH: made}
    for split in evaluation.SPLITS:
        chosen = [e for e in episodes if e.id.startswith(f"{context.id}-{split}-")]
        dataset.write_episodes(folder / f"{split}.parquet", chosen)
        metrics[split] = evaluation.report(chosen, score, settings.hopeless)
    facts = {
        "lineage": " → ".join(item["round"] for item in lineage(context.read("skills"))),
        "played by": made_by(context),
        "environment": context.world.name,
        "episodes": len(episodes),
    }
    about = (
        "Bob's episodes: trials of single skills, and open play. Alice may look at `validation`; "
        "nothing is learnt from `test`."
    )
    where, title, more = (
        context.read("evaluations"),
        f"Evaluation of {context.id}",
        _results(metrics),
    )
    splits = {split: f"{split}.parquet" for split in evaluation.SPLITS}
    dataset.write_card(folder, where, title, about, facts, splits=splits, more=more)
    metrics |= _data(context, episodes)
    write_json(context.write("metrics"), metrics)
    write_json(context.write("headline"), headline(metrics))


def _results(metrics: Mapping[str, Any]) -> str:
    """Return the main figures of both splits as Markdown."""
    rows = []
    for name in ("success", "progress", "score", "reward", "achievements"):
        part = "skills" if name == "success" else "open_play"
        found = [summary(metrics[split][part][name]) for split in evaluation.SPLITS]
        rows.append((f"{part}.{name}", *found))
    told = f"All figures are in `metrics/{metrics['round']}.json`; intervals are of 95 %."
    head = ("figure", *evaluation.SPLITS)
    return "\n".join(["## Results", "", *dataset.table(head, rows), "", told])


def _data(context: Context, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return what the round's data amount to, and what was spent."""
    cut, explored = report(context.read("skills")), report(context.read("episodes"))
    budget = {f"explore.{k}": n for k, n in explored.get("budget", {}).items()}
    budget |= {f"evaluate.{k}": n for k, n in totals(episodes).items()}
    if trained := report(context.read("bob"), "training.json"):
        budget["train.tokens"] = trained["tokens"]
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
