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
from alicebob.bob.playing import build_bob
from alicebob.endpoint import Endpoint
from alicebob.envs import TextEnv, describe, make
from alicebob.envs.hooks import actions_of, score_of
from alicebob.params import Params
from alicebob.policies import Policy
from alicebob.policies.server import Server
from alicebob.rollout import model_workers, play_all, totals
from alicebob.rounds import place
from alicebob.trace import Episode
from alicebob.work import write_text

__all__ = ["evaluate_round", "evaluate_served"]

Done = Callable[[Episode], object]
Maker = Callable[[], TextEnv]


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

    def build(make_env: Maker) -> tuple[Maker, Policy]:
        return make_env, Server(endpoint, actions_of(make_env()), **sampling)

    found = _evaluate(
        build,
        {"model": endpoint.model, **sampling},
        params,
        split,
        out,
        settings,
        done=done,
        workers=endpoint.concurrency,
        threads=True,
    )
    found["used_now"] = asdict(endpoint.usage)
    return _written(out, found)


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
    bob = params.bob.model_dump() | ({"context": context} if context else {})
    found = _evaluate(
        functools.partial(build_bob, adapter, bob),
        {"round": round_id, "adapter": stamp, **bob},
        params,
        split,
        out,
        settings,
        done=done,
        width=params.evaluate.width,
        workers=model_workers(),
    )
    return _written(out, found)


def _evaluate(
    build: Callable[[Maker], tuple[Maker, Policy]],
    played: Mapping[str, Any],
    params: Params,
    split: str,
    out: Path,
    settings: Mapping[str, Any],
    **spread: Any,
) -> dict[str, Any]:
    """Play the split with what `build` makes; `played` says who plays, and how."""
    env_settings = {**params.env.settings, **settings}
    make_env = functools.partial(make, params.env.spec, **env_settings)
    env: Any = make_env()
    prefix = str(played.get("round", "served"))
    space = params.seeds.of(split)
    tasks = evaluation.tasks(split, env, params.evaluate, params.seed, space, prefix)
    spec = describe(params.env.spec, env_settings)
    played = {**played, "environment": spec, "seed": params.seed}
    named = json.dumps([played, [task.id for task in tasks]], sort_keys=True)
    journals = out / "journals" / hashlib.sha256(named.encode()).hexdigest()[:12]
    episodes = play_all(tasks, functools.partial(build, make_env), spec, journals, **spread)
    dataset.write_episodes(out / "episodes.parquet", episodes)
    figures = evaluation.report(episodes, score_of(env))
    return {**played, "split": split, split: figures, "budget": totals(episodes)}


def _written(out: Path, found: dict[str, Any]) -> dict[str, Any]:
    write_text(out / "metrics.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found
