"""Explorer: Alice plays episode after episode and grows her knowledge, by generations.

Within a generation of episodes knowledge is frozen; after it, what each episode taught is merged in
task order. Invariant: episodes and knowledge depend on the tasks, the knowledge and the wishes
given, never on the number of workers or on a kill. Does not: label or judge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alicebob.alice.knowledge import Knowledge
from alicebob.envs import TextEnv, make
from alicebob.policies import Task
from alicebob.policies.curious import EVIDENCE, Curious
from alicebob.rollout import play_all
from alicebob.trace import Episode

__all__ = ["explore"]

FIRST = 4  # episodes of the very first generation; no later one is larger than all before it


def explore(
    spec: str,
    settings: Mapping[str, Any],
    knowledge: Knowledge,
    wishes: Mapping[str, float],
    tasks: Sequence[Task],
    generation: int,
    journals: Path,
    workers: int = 1,
    done: Callable[[Episode], None] = lambda episode: None,
    label: str = "",
) -> tuple[list[Episode], Knowledge]:
    """Play the tasks and return the episodes, in order, with the knowledge after the last.

    `wishes` are weights of events to go for. `label` is recorded as the episodes' environment, by
    default `spec`. Episodes already in `journals` are not played again; `done` is called for each
    all the same.
    """
    knowledge = knowledge.copy()
    episodes: list[Episode] = []
    while len(episodes) < len(tasks):
        first = len(episodes)
        size = max(FIRST, min(generation, knowledge.episodes))
        played = play_all(
            tasks[first : first + size],
            functools.partial(_build, spec, dict(settings), knowledge, dict(wishes)),
            label or spec,
            journals / f"generation-{first:05d}",
            workers=workers,
            done=done,
        )
        for episode in played:
            meta = dict(episode.meta)
            knowledge.merge(Knowledge.from_json(meta.pop(EVIDENCE)))
            episodes.append(episode.evolve(meta=meta))
    return episodes, knowledge


def _build(
    spec: str, settings: dict[str, Any], knowledge: Knowledge, wishes: dict[str, float]
) -> tuple[Callable[[], TextEnv], Curious]:
    return functools.partial(make, spec, **settings), Curious(knowledge, wishes)
