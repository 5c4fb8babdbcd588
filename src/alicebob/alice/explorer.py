"""Explorer: Alice plays episode after episode and grows her knowledge, by generations.

Within a generation of episodes knowledge is frozen; after it, what each episode taught is merged in
task order. Invariant: episodes and knowledge depend on the tasks, the knowledge and the wishes
given, never on the number of workers or on a kill. Does not: label or judge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alicebob.alice.asking import prompt
from alicebob.alice.roles import Role
from alicebob.alice.transcript import quoted
from alicebob.envs import TextEnv, make
from alicebob.policies import Policy, Task
from alicebob.policies.curious import EVIDENCE
from alicebob.rollout import Crew, play_all
from alicebob.trace import Episode

__all__ = ["explore", "explore_as", "explorer_texts"]

FIRST = 4  # episodes of the very first generation; no later one is larger than all before it


def explore(
    explorer: Callable[[Any, Mapping[str, float]], Policy],
    spec: str,
    settings: Mapping[str, Any],
    knowledge: Any,
    wishes: Mapping[str, float],
    tasks: Sequence[Task],
    generation: int,
    journals: Path,
    workers: int = 1,
    done: Callable[[Episode], None] = lambda episode: None,
    label: str = "",
) -> tuple[list[Episode], Any]:
    """Play the tasks and return the episodes, in order, with the knowledge after the last.

    `explorer` makes a policy of knowledge and wishes (see `alicebob.alice.embedded`); `wishes` are
    weights of what to go for. `label` is recorded as the episodes' environment, by default `spec`.
    Episodes already in `journals` are not played again; `done` is called for each all the same.
    """
    knowledge = knowledge.copy()
    episodes: list[Episode] = []
    with Crew(workers) as crew:
        while len(episodes) < len(tasks):
            first = len(episodes)
            size = max(FIRST, min(generation, knowledge.episodes))
            played = play_all(
                tasks[first : first + size],
                functools.partial(_build, explorer, spec, dict(settings), knowledge, dict(wishes)),
                label or spec,
                journals / f"generation-{first:05d}",
                crew=crew,
                done=done,
            )
            for episode in played:
                meta = dict(episode.meta)
                knowledge.merge(type(knowledge).from_json(meta.pop(EVIDENCE)))
                episodes.append(episode.evolve(meta=meta))
    return episodes, knowledge


def explorer_texts(feedback: str, personas: Sequence[str] = ()) -> list[str]:
    """Return what a language model that explores is told, one text for each persona.

    `feedback` is the prose of the round before, "" for none.
    """
    said = ""
    if feedback.strip():
        said = f"What you wrote after the last round:\n\n{quoted(feedback)}"
    return [
        prompt("explore", persona=f"\n\nExplore as this person would: {persona}", feedback=said)
        if persona
        else prompt("explore", persona="", feedback=said)
        for persona in personas or ("",)
    ]


def explore_as(
    role: Role,
    texts: Sequence[str],
    spec: str,
    settings: Mapping[str, Any],
    knowledge: Any,
    tasks: Sequence[Task],
    journals: Path,
    *,
    width: int = 16,
    workers: int = 1,
    done: Callable[[Episode], None] = lambda episode: None,
    label: str = "",
) -> tuple[list[Episode], Any]:
    """Let a language model play the tasks; return the episodes, in order, and the knowledge after.

    It is told one of `texts`, in turn, as it would be told an instruction; the episodes have none,
    for there is no task. A model behind an endpoint plays as many at once as the endpoint allows,
    one on this machine `width`. Raises ProviderError where the endpoint stopped answering.
    """
    knowledge = knowledge.copy()
    told = [replace(task, instruction=texts[i % len(texts)]) for i, task in enumerate(tasks)]
    maker = functools.partial(make, spec, **settings)
    endpoint = role.endpoint() if role.served else None
    episodes = []
    for played in play_all(
        told,
        functools.partial(role.player, maker, endpoint),
        label or spec,
        journals,
        width=1 if endpoint else width,
        workers=endpoint.concurrency if endpoint else workers,
        threads=endpoint is not None,
        done=done,
    ):
        meta = dict(played.meta)
        if EVIDENCE in meta:
            knowledge.merge(type(knowledge).from_json(meta.pop(EVIDENCE)))
        episodes.append(played.evolve(meta=meta, instruction=""))
    return episodes, knowledge


def _build(
    explorer: Callable[[Any, Mapping[str, float]], Policy],
    spec: str,
    settings: dict[str, Any],
    knowledge: Any,
    wishes: dict[str, float],
) -> tuple[Callable[[], TextEnv], Policy]:
    return functools.partial(make, spec, **settings), explorer(knowledge, wishes)
