"""Evaluate: how Bob does in fresh worlds, with intervals.

Two parts: trials (one instruction of the environment's suite, what it needs granted) and open play
(whole episodes: towards a goal where the environment has goals, else as much as he can achieve).
Invariant: validation seeds, which Alice may look at,
test seeds and exploration seeds never meet (`alicebob.params` holds them apart); every mean carries
its 95 % interval and its n. Does not: judge why an episode failed (see `alicebob.alice.feedback`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from alicebob.envs.hooks import Trial, has_goals, suite_of, tasks_of
from alicebob.policies import Task
from alicebob.rollout import seeds
from alicebob.trace import Episode, Outcome

__all__ = [
    "GOAL",
    "SPLITS",
    "mean",
    "open_play_tasks",
    "report",
    "share",
    "tasks",
    "trial_tasks",
]

SPLITS = ("validation", "test")
GOAL = "goal"  # the event, and target, of an episode with a goal of the environment's own
_Z = 1.959964  # the normal quantile of a two-sided 95 % interval


class Amount(Protocol):
    """How much to evaluate: worlds for each trial, episodes of open play and their limit."""

    worlds: int
    open_play: int
    max_turns: int


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
    found += trial_tasks(split, suite_of(env), amount.worlds, master, space, prefix)
    return sorted(found, key=lambda task: -task.max_turns)


def report(
    episodes: Sequence[Episode], score: Callable[[Mapping[str, float]], float]
) -> dict[str, Any]:
    """Return the figures of one split: skills and open play, each mean with its interval.

    `score` is the environment's own, see `alicebob.envs.hooks.score_of`. An episode is a trial when
    its meta names a target other than the environment's own goal.
    """
    trials = [e for e in episodes if e.meta.get("target", GOAL) != GOAL]
    free = [e for e in episodes if e.meta.get("target", GOAL) == GOAL]
    posed = [e for e in free if e.meta.get("target")]
    won: dict[str, list[bool]] = {}
    for episode in trials:
        won.setdefault(episode.meta["target"], []).append(episode.outcome is Outcome.SUCCESS)
    turns = [turn for episode in episodes for turn in episode.turns]
    invalid = sum("invalid_action" in turn.tags for turn in turns)
    return {
        "skills": {
            "success": stratified([share(sum(w), len(w)) for _, w in sorted(won.items())]),
            "by_skill": {name: share(sum(w), len(w)) for name, w in sorted(won.items())},
        },
        "open_play": {
            "progress": mean([e.summary.get("progress", 0.0) for e in free]),
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
        "invalid_actions": share(invalid, len(turns)),
    }


def mean(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of values with a normal 95 % interval; None for all where there is none."""
    n = len(values)
    if n == 0:
        return _mean(None, None, None, 0)
    middle = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - middle) ** 2 for v in values) / max(1, n - 1))
    half = _Z * spread / math.sqrt(n)
    return _mean(middle, middle - half, middle + half, n)


def share(count: int, n: int) -> dict[str, Any]:
    """Return a share with its Wilson 95 % interval, which also holds near 0 and 1."""
    if n == 0:
        return _mean(None, None, None, 0)
    p, z2 = count / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return _mean(p, max(0.0, centre - half), min(1.0, centre + half), n)


def stratified(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of shares, each counting the same, with its 95 % interval.

    The variance within a stratum is taken at (count + 1) / (n + 2), so that a skill that always or
    never succeeded in a few worlds does not count as certain.
    """
    if not shares:
        return _mean(None, None, None, 0)
    variance = 0.0
    for stratum in shares:
        p = (stratum["mean"] * stratum["n"] + 1) / (stratum["n"] + 2)
        variance += p * (1 - p) / stratum["n"]
    middle = math.fsum(stratum["mean"] for stratum in shares) / len(shares)
    half = _Z * math.sqrt(variance) / len(shares)
    return _mean(
        middle, max(0.0, middle - half), min(1.0, middle + half), sum(s["n"] for s in shares)
    )


def _score(
    episodes: Sequence[Episode], score: Callable[[Mapping[str, float]], float]
) -> dict[str, Any]:
    """Return the environment's score of all episodes, with a bootstrap 95 % interval."""
    n = len(episodes)
    if n == 0:
        return _mean(None, None, None, 0)
    names = sorted({name for e in episodes for name in e.summary["events"]})
    made = np.array(
        [[*(name in e.summary["events"] for name in names), e.reward] for e in episodes], float
    )
    names.append("reward")
    value = score(dict(zip(names, made.mean(axis=0), strict=True)))
    draw = np.random.default_rng(0)
    again = sorted(
        score(dict(zip(names, made[draw.integers(n, size=n)].mean(axis=0), strict=True)))
        for _ in range(400)
    )
    return _mean(value, again[9], again[389], n)


def _mean(middle: float | None, low: float | None, high: float | None, n: int) -> dict[str, Any]:
    values = {"mean": middle, "low": low, "high": high}
    return {name: v if v is None else round(v, 6) for name, v in values.items()} | {"n": n}
