"""Evaluate: how Bob does in fresh worlds, with intervals.

Two parts: trials (one instruction of the environment's suite, what it needs granted) and open play
(whole episodes: towards a goal where the environment has goals, else as much as he can achieve).
Invariant: validation seeds, which Alice may look at, test seeds and exploration seeds never meet
(the parameters hold them apart); every mean carries its 95 % interval and its n. Does not: judge
why an episode failed (see `alicebob.alice`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from alicebob.draws import generator
from alicebob.envs import World
from alicebob.envs.hooks import Trial, has_goals, suite_of, tasks_of
from alicebob.errors import UsageError
from alicebob.figures import figure, mean, ratio, share, stratified
from alicebob.policies import Task
from alicebob.rollout import seeds
from alicebob.settings import Params
from alicebob.trace import INVALID, Episode, Outcome, Skill

__all__ = [
    "GOAL",
    "SPLITS",
    "check_apart",
    "open_play_tasks",
    "report",
    "tasks",
    "trial_tasks",
]

SPLITS = ("validation", "test")
GOAL = "goal"  # the event, and target, of an episode with a goal of the environment's own


class Amount(Protocol):
    """How much to evaluate: worlds for each trial, episodes of open play and their limit.

    An episode ends after `hopeless` invalid actions in a row, 0 is never.
    """

    worlds: int
    open_play: int
    max_turns: int
    hopeless: int


def trial_tasks(
    split: str, suite: Sequence[Trial], worlds: int, master: int, space: range, prefix: str
) -> list[Task]:
    """Return `worlds` tasks for each trial of the suite, longest limits first.

    The worlds are the same for every round of a lineage, so that rounds are compared like with
    like. Tasks of equal limits stand together, because a wave lasts as long as its longest.
    """
    chosen = seeds(f"{split} trials", master, worlds * len(suite), space)
    tasks = [
        Task(
            id=f"{prefix}-{split}-{trial.name}-{world:02d}",
            seed=chosen[number * worlds + world],
            instruction=trial.instruction,
            options=trial.options,
            max_turns=trial.max_turns,
            target=trial.name,
        )
        for number, trial in enumerate(suite)
        for world in range(worlds)
    ]
    return sorted(tasks, key=lambda task: (-task.max_turns, task.id))


def open_play_tasks(
    split: str, env: Any, episodes: int, max_turns: int, master: int, space: range, prefix: str
) -> list[Task]:
    """Return the tasks of open play, the same worlds and goals for every round of a lineage."""
    chosen = seeds(f"{split} open play", master, episodes, space)
    target = GOAL if has_goals(env) else ""
    return [
        Task(f"{prefix}-{split}-open_play-{n:02d}", seed, told, options, max_turns, target)
        for n, (seed, (told, options)) in enumerate(
            zip(chosen, tasks_of(env, split, chosen), strict=True)
        )
    ]


def tasks(
    split: str, env: Any, amount: Amount, master: int, space: range, prefix: str
) -> list[Task]:
    """Return all tasks of a split, longest limits first: a wave lasts as long as its longest."""
    found = open_play_tasks(split, env, amount.open_play, amount.max_turns, master, space, prefix)
    if suite := suite_of(env):
        found += trial_tasks(split, suite, amount.worlds, master, space, prefix)
    found = [replace(task, hopeless=amount.hopeless) for task in found]
    return sorted(found, key=lambda task: -task.max_turns)


def check_apart(skills: Sequence[Skill], world: World, params: Params) -> None:
    """Raise UsageError where a skill has the world or the words of what Bob is tried on.

    Words count for goals of the environment's own: the instruction of a trial is that of what it
    tries.
    """
    env, worlds = world(), [params.seeds.of(split) for split in SPLITS]
    asked = [
        task
        for split, space in zip(SPLITS, worlds, strict=True)
        for task in tasks(split, env, params.evaluate, params.seed, space, "")
    ]
    words = {_plain(task.instruction) for task in asked if task.target == GOAL}
    for skill in skills:
        here = skill.environment == world.name and any(skill.seed in space for space in worlds)
        if here or _plain(skill.instruction) in words:
            what = f"world {skill.seed}" if here else f"instruction {skill.instruction!r:.100}"
            raise UsageError(
                f"Skill {skill.id} has the {what} of an episode that Bob is tried in, so he may "
                "not look it up. Take what asks for it out of the documents, or choose another "
                "seed."
            )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def report(
    episodes: Sequence[Episode],
    score: Callable[[Mapping[str, float]], float],
    hopeless: int = 0,
) -> dict[str, Any]:
    """Return the figures of one split: skills and open play, each mean with its interval.

    Where episodes end after `hopeless` invalid actions in a row, how many did is said too.
    `score` is the environment's own, see `alicebob.envs.hooks.score_of`. An episode is a trial when
    its meta names a target other than the environment's own goal.
    """
    trials = [e for e in episodes if e.meta.get("target", GOAL) != GOAL]
    free = [e for e in episodes if e.meta.get("target", GOAL) == GOAL]
    posed = [e for e in free if e.meta.get("target")]
    won: dict[str, list[bool]] = {}
    for episode in trials:
        won.setdefault(episode.meta["target"], []).append(episode.outcome is Outcome.SUCCESS)
    ended = [e.outcome is Outcome.HOPELESS for e in episodes]
    lost = [float(sum(INVALID in t.tags for t in e.turns)) for e in episodes]
    return {
        "skills": {
            "success": stratified([share(sum(w), len(w)) for _, w in sorted(won.items())]),
            "by_skill": {name: share(sum(w), len(w)) for name, w in sorted(won.items())},
        },
        "open_play": {
            "progress": mean([e.summary.get("progress", 0.0) for e in free], (0.0, 1.0)),
            "score": _score(free, score),
            "success": share(sum(e.outcome is Outcome.SUCCESS for e in posed), len(posed)),
            "reward": mean([e.reward for e in free]),
            "achievements": mean([float(len(e.summary["events"])) for e in free]),
            "turns": mean([float(len(e.turns)) for e in free]),
            "by_event": {
                name: share(sum(name in e.summary["events"] for e in free), len(free))
                for name in sorted({name for e in free for name in e.summary["events"]})
            },
        },
        "invalid_actions": ratio(lost, [float(len(e.turns)) for e in episodes]),
        **({"hopeless": share(ended.count(True), len(ended))} if hopeless else {}),
    }


def _score(
    episodes: Sequence[Episode], score: Callable[[Mapping[str, float]], float]
) -> dict[str, Any]:
    """Return the environment's score of all episodes, with a bootstrap 95 % interval."""
    n = len(episodes)
    if n == 0:
        return figure(None, None, None, 0)
    names = sorted({name for e in episodes for name in e.summary["events"]})
    made = np.array(
        [[*(name in e.summary["events"] for name in names), e.reward] for e in episodes], float
    )
    names.append("reward")
    value = score(dict(zip(names, made.mean(axis=0), strict=True)))
    if n == 1:
        return figure(value, None, None, 1)
    draw = generator("bootstrap", *(f"{e.id} {e.seed}" for e in episodes))
    again = sorted(
        score(dict(zip(names, made[draw.integers(n, size=n)].mean(axis=0), strict=True)))
        for _ in range(400)
    )
    return figure(value, again[9], again[389], n)
