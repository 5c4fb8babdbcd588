"""Validity: a skill counts only if playing it again from its seed shows it again.

An episode is replayed once, up to the last skill taken from it; a skill that was retold, with reset
options of its own or with turns left out, is replayed by itself, and shows no action that is not
its episode's. A page may have the skill's instruction where it repeats the episode's. The counsel
of a teacher that was not followed is about a turn that was.
Invariant: the result does not depend on the number of workers. Does not: judge whether an
instruction is well put.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.util import Finalize
from typing import Any

from alicebob.envs import World
from alicebob.errors import AliceBobError
from alicebob.processes import pool, surviving
from alicebob.replay import retraced
from alicebob.sight import retold
from alicebob.trace import COUNSEL, Episode, Skill, Turn

__all__ = ["check"]

Replayed = tuple[int, str]  # how many turns came out as recorded, and why no more


def check(
    skills: Sequence[Skill],
    episodes: Sequence[Episode],
    world: World,
    workers: int = 1,
    done: Callable[[str], object] = lambda episode: None,
) -> tuple[list[Skill], dict[str, int]]:
    """Return the skills that reproduce, in order, and how many were dropped for which reason.

    `done` is called with the id of each episode replayed, of a retold skill with its own. Raises
    AliceBobError where a skill's episode is not among `episodes`, or a worker was killed.
    """
    by_id = {episode.id: episode for episode in episodes}
    jobs: dict[str, tuple[Episode, int]] = {}
    for skill in skills:
        if skill.episode not in by_id:
            raise AliceBobError(
                f"Skill {skill.id} comes from episode {skill.episode}, which is not at hand; "
                "check it together with the episodes it was cut from."
            )
        episode = by_id[skill.episode]
        if _retold(skill, episode):
            jobs[skill.id] = _alone(skill), len(skill.turns)
        else:
            _, end = jobs.get(episode.id, (episode, 0))
            jobs[episode.id] = episode, max(skill.end, end)
    played = _replay_all(list(jobs.values()), world, workers, done)
    replayed = dict(zip(jobs, played, strict=True))
    kept: list[Skill] = []
    dropped: Counter[str] = Counter()
    for skill in skills:
        episode = by_id[skill.episode]
        if _retold(skill, episode):
            reason = _retelling_fault(skill, episode) or replayed[skill.id][1]
        else:
            reason = _fault(skill, episode, *replayed[episode.id])
        if reason:
            dropped[reason] += 1
        else:
            kept.append(skill)
    return kept, dict(sorted(dropped.items()))


def _retold(skill: Skill, episode: Episode) -> bool:
    whole = len(skill.turns) == skill.end - skill.start
    return not whole or dict(skill.options) != dict(episode.options)


def _alone(skill: Skill) -> Episode:
    """Return an episode of a skill's own turns, from the reset that it asks for."""
    return Episode(
        skill.id, skill.environment, skill.seed, options=skill.options, turns=skill.turns
    )


def _retelling_fault(skill: Skill, episode: Episode) -> str:
    """Return why a retold skill is dropped before it is played, "" where it is not."""
    taken = iter(episode.actions[skill.start : skill.end])
    if not all(turn.action in taken for turn in skill.turns):
        return "its turns are not its episode's"
    return ""


def _fault(skill: Skill, episode: Episode, good: int, reason: str) -> str:
    """Return why a skill is dropped, "" where it is not."""
    recorded = episode.turns[skill.start : skill.end]
    told = episode.instruction, skill.instruction
    shown = (_shown(*both, *told) for both in zip(skill.turns, recorded, strict=False))
    if len(recorded) < len(skill.turns) or not all(shown):
        return "its turns are not its episode's"
    return reason if skill.end > good else ""


def _shown(turn: Turn, recorded: Turn, asked: str, told: str) -> bool:
    """Say whether a turn is as it was recorded; of counsel that was not followed, where it was.

    What was `asked` in the episode may stand there as what is `told` in the skill.
    """
    seen = recorded.observation
    if turn.observation not in (seen, retold(seen, asked, told)):
        return False
    followed = not any(tag.startswith(COUNSEL) for tag in turn.tags)
    return not followed or (turn.action, turn.events) == (recorded.action, recorded.events)


def _replay_all(
    jobs: list[tuple[Episode, int]],
    world: World,
    workers: int,
    done: Callable[[str], object],
) -> list[Replayed]:
    results = []
    if workers <= 1 or len(jobs) <= 1:
        env = world() if jobs else None
        for episode, end in jobs:
            results.append(_replay(env, episode, end))
            done(episode.id)
        _close(env)
        return results
    with surviving(), pool(min(workers, len(jobs)), _begin, world) as hands:
        found = hands.map(_replay_in_worker, jobs, chunksize=4)
        for (episode, _), result in zip(jobs, found, strict=True):
            results.append(result)
            done(episode.id)
    return results


def _replay(env: Any, episode: Episode, end: int) -> Replayed:
    """Play the actions again; return how many turns agree, and why the next does not."""
    try:
        for index, (observation, info) in enumerate(retraced(env, episode, end)):
            if index and tuple(info.get("events", ())) != episode.turns[index - 1].events:
                return index - 1, "the replay has other events"
            if index < end and observation != episode.turns[index].observation:
                return index, "the replay shows another observation"
    except Exception as error:  # noqa: BLE001 - whatever an environment raises, the skill is not shown
        return 0, f"the environment raised {type(error.__cause__ or error).__name__}"
    return end, ""


_env: Any = None


def _begin(world: World) -> None:
    global _env
    _env = world()
    Finalize(None, _close, (_env,), exitpriority=0)  # a worker has no other end


def _close(env: Any) -> None:
    """Close an environment that can be closed."""
    getattr(env, "close", lambda: None)()


def _replay_in_worker(job: tuple[Episode, int]) -> Replayed:
    return _replay(_env, *job)
