"""Evaluate a served model: the trials and the open play of the rounds, through an endpoint.

The worlds are those of the rounds in params.yaml, so that the figures stand beside theirs.
Invariant: a stopped evaluation goes on with the episodes it lacks, and no figure is written before
all are there. Does not: train, or need DVC.
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
from alicebob.endpoint import Endpoint
from alicebob.envs import TextEnv, describe, make
from alicebob.params import Params
from alicebob.policies import Policy
from alicebob.policies.server import Server
from alicebob.rollout import play_all, totals
from alicebob.trace import Episode
from alicebob.work import write_text

__all__ = ["evaluate_served"]


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
    done: Callable[[Episode], object] = lambda episode: None,
) -> dict[str, Any]:
    """Play the split and return its figures, of the shape that docs/metrics.md gives a split.

    `settings` change those of params.yaml's environment, e.g. observation=smartplay. Episodes go to
    `out`, under a name for model and settings, so that a run with others does not take them for
    its own. Raises ProviderError where the endpoint stopped answering or a budget is used up; what
    was finished is kept and counts when it is run again.
    """
    env_settings = {**params.env.settings, **settings}
    make_env = functools.partial(make, params.env.spec, **env_settings)
    env: Any = make_env()
    _, info = env.reset(seed=0)
    tasks = evaluation.tasks(
        split,
        evaluation.suite_of(env),
        params.evaluate,
        params.seed,
        params.seeds.of(split),
        "served",
    )
    sampling: dict[str, Any] = {
        "context": context,
        "turns": turns,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }
    spec = describe(params.env.spec, env_settings)
    played = {"model": endpoint.model, "environment": spec, "seed": params.seed, **sampling}
    named = json.dumps([played, [task.id for task in tasks]], sort_keys=True)
    key = hashlib.sha256(named.encode()).hexdigest()[:12]

    def build() -> tuple[Callable[[], TextEnv], Policy]:
        return make_env, Server(endpoint, info.get("admissible_actions", ()), **sampling)

    episodes = play_all(
        tasks,
        build,
        spec,
        out / "journals" / key,
        workers=endpoint.concurrency,
        threads=True,
        done=done,
    )
    dataset.write_episodes(out / "episodes.parquet", episodes)
    figures = evaluation.report(episodes, evaluation.score_of(env))
    found = {**played, "split": split, split: figures, "budget": totals(episodes)}
    found["used_now"] = asdict(endpoint.usage)
    write_text(out / "metrics.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found
