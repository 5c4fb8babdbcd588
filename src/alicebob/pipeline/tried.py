"""Try: a served model, or a round's Bob, on tasks outside the rounds' own evaluation.

The worlds are those of the rounds in params.yaml, so that the figures stand beside theirs; the
settings of the environment may be others. Invariant: a stopped evaluation goes on with the episodes
it lacks, and no figure is written before all are there. Does not: train, or need DVC.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alicebob import dataset, evaluation
from alicebob.bob import playing
from alicebob.envs import World
from alicebob.envs.hooks import actions_of, score_of
from alicebob.experiment.places import place
from alicebob.files import write_json
from alicebob.policies import Task
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.server import Server
from alicebob.policies.template import Template
from alicebob.rollout import Actor, play_all, totals
from alicebob.settings import Params
from alicebob.trace import Episode

__all__ = ["evaluate_round", "evaluate_served", "requests"]

Done = Callable[[Episode], object]


def evaluate_served(
    endpoint: Endpoint,
    params: Params,
    split: str,
    out: Path,
    *,
    settings: Mapping[str, Any],
    context: int = 8192,
    turns: int = 0,
    max_new_tokens: int = 256,
    temperature: float = 0.7,
    top_p: float = 1.0,
    template: Template | None = None,
    done: Done = lambda episode: None,
) -> dict[str, Any]:
    """Let a served model play the split; return the figures, as docs/metrics.md has a split's.

    `settings` change those of params.yaml's environment, e.g. observation=smartplay. Episodes go to
    `out`, under a name for model and settings, so that a run with others does not take them for
    its own. Raises ProviderError where the endpoint stopped answering or a budget is used up; what
    was finished is kept and counts when it is run again.
    """
    sampling: dict[str, Any] = {
        "context": context,
        "turns": turns,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }

    world = _world(params, settings)
    template = template or Template()
    build = functools.partial(Server, endpoint, actions_of(world()), **sampling, template=template)
    actor = Actor(build, 1, endpoint.concurrency, threads=True)
    played = {"model": endpoint.model, **sampling}
    if template != Template():
        played |= {"system": template.system, "template": dict(template.options)}
    found = _evaluate(actor, played, params, world, split, out, done)
    found["used_now"] = asdict(endpoint.usage)
    return _written(out, found)


def requests(params: Params, split: str, settings: Mapping[str, Any]) -> list[int]:
    """Return for each episode of the split how many requests it may take: one a turn."""
    return [task.max_turns for task in _tasks(params, split, _world(params, settings)(), "served")]


def evaluate_round(
    round_id: str,
    params: Params,
    split: str,
    out: Path,
    *,
    settings: Mapping[str, Any],
    context: int | None = None,
    done: Done = lambda episode: None,
) -> dict[str, Any]:
    """Let the Bob of a round play the split; otherwise as `evaluate_served`.

    `context` is how many tokens he sees, by default those of his round. Raises UsageError where the
    round has no adapter yet.
    """
    adapter = place("bob", round_id)
    weights = adapter / "adapter_model.safetensors"
    stamp = hashlib.sha256(weights.read_bytes()).hexdigest()[:12] if weights.is_file() else ""
    bob = params.bob.model_copy(update={"context": context} if context else {})
    world = _world(params, settings)
    actor = playing.actor(adapter, bob, world, params.evaluate.width)
    played = {"round": round_id, "adapter": stamp, **bob.model_dump()}
    return _written(out, _evaluate(actor, played, params, world, split, out, done))


def _world(params: Params, settings: Mapping[str, Any]) -> World:
    return World(params.env.spec, {**params.env.settings, **settings})


def _tasks(params: Params, split: str, env: Any, prefix: str) -> list[Task]:
    space = params.seeds.of(split)
    return evaluation.tasks(split, env, params.evaluate, params.seed, space, prefix)


def _evaluate(
    actor: Actor,
    played: Mapping[str, Any],
    params: Params,
    world: World,
    split: str,
    out: Path,
    done: Done,
) -> dict[str, Any]:
    """Play the split; `played` says who plays, and how."""
    env = world()
    prefix = str(played.get("round", "served"))
    tasks = _tasks(params, split, env, prefix)
    played = {**played, "environment": world.name, "seed": params.seed}
    named = json.dumps([played, [task.id for task in tasks]], sort_keys=True)
    journals = out / "journals" / hashlib.sha256(named.encode()).hexdigest()[:12]
    episodes = play_all(tasks, world, actor, journals, done=done)
    dataset.write_episodes(out / "episodes.parquet", episodes)
    facts, about = {**played, "episodes": len(episodes)}, "Outside the rounds' own evaluation."
    splits = {split: "episodes.parquet"}
    dataset.write_card(out, out, f"{prefix} on {split}", about, facts, splits=splits)
    figures = evaluation.report(episodes, score_of(env), params.evaluate.hopeless)
    return {**played, "split": split, split: figures, "budget": totals(episodes)}


def _written(out: Path, found: dict[str, Any]) -> dict[str, Any]:
    write_json(out / "metrics.json", found)
    return found
