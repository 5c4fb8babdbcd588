"""Rollouts: let a policy play tasks, journal every whole episode, go on where a kill stopped it.

Tasks are played in waves of fixed members, in lock step, each episode with its own generator.
Invariant: an episode's bytes depend on its task and its wave alone, never on the number of workers,
on a kill, or on the order in which waves are played. A wave that was cut off is played again whole.
Does not: judge, label or train on anything.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from alicebob import environment
from alicebob.draws import generator
from alicebob.envs import Border, TextEnv, World, bordered, from_here
from alicebob.errors import AliceBobError, EnvError, ProviderError
from alicebob.policies import Live, Policy, Reply, Task
from alicebob.processes import pool, surviving
from alicebob.trace import INVALID, Episode, Outcome, Turn, append_journal, read_journal

__all__ = ["Actor", "Crew", "model_workers", "play", "play_all", "seeds", "totals", "workers"]

Build = Callable[[], Policy]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who plays: `build` makes the policy, once in each of `workers` processes, `width` at once.

    With `threads` the workers are threads of this process, for policies that wait for an endpoint.
    What `during` opens holds while anything is played, such as an adapter at a server.
    """

    build: Build
    width: int = 1
    workers: int = 1
    threads: bool = False
    during: Callable[[], AbstractContextManager[object]] = nullcontext


def seeds(purpose: str, master: int, count: int, space: range) -> list[int]:
    """Return `count` distinct seeds of `space` for a purpose, e.g. "explore r002".

    Raises AliceBobError where the space is too small.
    """
    if count > len(space):
        raise AliceBobError(f"{purpose} needs {count} seeds, but its range {space} is smaller.")
    chosen = generator("worlds", purpose, master).choice(len(space), size=count, replace=False)
    return [space[int(i)] for i in chosen]


def workers() -> int:
    """Return how many processes to play with: ALICEBOB_WORKERS, or one for each core.

    Raises UsageError where that is no whole number above 0.
    """
    return environment.whole("ALICEBOB_WORKERS", len(os.sched_getaffinity(0)))


def model_workers() -> int:
    """Return how many processes load a model to play with: one where there is a GPU to hold it."""
    import torch

    alone = torch.cuda.is_available() and not environment.text("ALICEBOB_WORKERS")
    return 1 if alone else workers()


def play(
    envs: Sequence[TextEnv], policy: Policy, tasks: Sequence[Task], spec: str
) -> Iterator[Episode]:
    """Play one wave in lock step and yield each episode when it is over.

    `spec` is recorded as the environment. An environment that fails (see `alicebob.envs.border`)
    ends its own episode as `env_error`, and its `summary` says why; errors of the policy propagate:
    they are nobody's reward.
    """
    lives: list[tuple[Live, Border]] = []
    for bare, task in zip(envs, tasks, strict=False):
        env, live = bordered(bare, spec), Live(task, "", {}, generator("play", task.id, task.seed))
        try:
            live.observation, live.info = env.reset(seed=task.seed, options=task.options)
        except EnvError as error:
            lost = _episode(live, spec, Outcome.ENV_ERROR, {})
            yield lost.evolve(summary={**lost.summary, "error": str(error)})
        else:
            lives.append((live, env))
    if lives:
        policy.start([live for live, _ in lives])
    tokens = {task.id: [0, 0] for task in tasks}
    while lives:
        replies = policy.act([live for live, _ in lives])
        going = []
        for (live, env), reply in zip(lives, replies, strict=True):
            spent = tokens[live.task.id]
            spent[0] += reply.prompt_tokens
            spent[1] += reply.reply_tokens
            try:
                outcome = _advance(live, env, reply)
            except AliceBobError as error:
                lost = _episode(live, spec, Outcome.ENV_ERROR, policy.finish(live), spent)
                yield lost.evolve(summary={**lost.summary, "error": str(error)})
                continue
            if outcome is None:
                going.append((live, env))
            else:
                yield _episode(live, spec, outcome, policy.finish(live), spent)
        lives = going


def _advance(live: Live, env: Border, reply: Reply) -> Outcome | None:
    """Take one turn; return how the episode ended, or None while it goes on."""
    observation, reward, terminated, truncated, info = env.step(reply.action)
    events = tuple(info.get("events", ()))
    tags = (*reply.tags, INVALID) if info.get("invalid_action") else reply.tags
    live.turns.append(
        Turn(
            observation=live.observation,
            action=reply.action,
            thought=reply.thought,
            reward=round(reward, 6),
            events=events,
            tags=tags,
            token_ids=reply.token_ids,
            loss_mask=reply.loss_mask,
        )
    )
    live.observation, live.info = observation, info
    if live.task.target and live.task.target in events:
        return Outcome.SUCCESS
    if terminated:
        return Outcome.SUCCESS if info.get("success") else Outcome.FAILURE
    if truncated or len(live.turns) >= live.task.max_turns:
        return Outcome.TURN_LIMIT
    last = live.turns[-live.task.hopeless :] if live.task.hopeless else []
    if last and len(last) == live.task.hopeless and all(INVALID in turn.tags for turn in last):
        return Outcome.HOPELESS
    return None


def _episode(
    live: Live, spec: str, outcome: Outcome, meta: Mapping[str, Any], spent: Sequence[int] = (0, 0)
) -> Episode:
    achieved: dict[str, int] = {}
    for turn in live.turns:
        for event in turn.events:
            achieved[event] = achieved.get(event, 0) + 1
    summary: dict[str, Any] = {"events": dict(sorted(achieved.items()))}
    if "progress" in live.info:
        summary["progress"] = live.info["progress"]
    if "result" in live.info:  # what an environment says of the whole episode, in plain data
        summary["result"] = live.info["result"]
    budget = {"env_steps": len(live.turns)}
    if any(spent):
        budget |= {"prompt_tokens": spent[0], "reply_tokens": spent[1]}
    return Episode(
        id=live.task.id,
        environment=spec,
        seed=live.task.seed,
        instruction=live.task.instruction,
        options=dict(live.task.options),
        turns=tuple(live.turns),
        final=live.observation,
        outcome=outcome,
        summary=summary,
        budget=budget,
        meta=({"target": live.task.target} if live.task.target else {}) | dict(meta),
    )


def play_all(
    tasks: Sequence[Task],
    world: World,
    actor: Actor,
    journals: Path,
    *,
    crew: Crew | None = None,
    done: Callable[[Episode], object] = lambda episode: None,
) -> list[Episode]:
    """Play all tasks, those already in `journals` excepted, and return the episodes in order.

    An episode whose task has a target names it in its `meta`. A `crew` plays instead of processes
    started for this call; what is built must be picklable. `done` is called in this process for
    each episode, the journalled ones included. Raises what a policy raised, after all other waves
    where it was a ProviderError; AliceBobError when a worker was killed, EnvError of an episode.
    """
    journals.mkdir(parents=True, exist_ok=True)
    found = {e.id: e for path in sorted(journals.glob("*.jsonl")) for e in read_journal(path)}
    found = {name: episode for name, episode in found.items() if not episode.outcome.owed}
    width = actor.width
    waves = [tasks[i : i + width] for i in range(0, len(tasks), width)]
    owed = []
    for wave in waves:
        if all(task.id in found for task in wave):
            for task in wave:
                done(found[task.id])
        else:
            owed.append(wave)
    hands = nullcontext(crew) if crew else Crew(min(actor.workers, len(owed)))
    with actor.during() if owed else nullcontext(), hands as player:
        spread = _play_in_threads if actor.threads else player.play
        for episodes in spread(owed, world, actor):
            for episode in episodes:
                if episode.outcome.owed:
                    cause = episode.summary.get("error", "it was cut off.")
                    raise EnvError(
                        f"Episode {episode.id} (seed {episode.seed}) is owed after "
                        f"{len(episode.turns)} turns. {cause} Run again to go on with the rest."
                    )
                append_journal(journals / "episodes.jsonl", episode)
                done(episode)
            found |= {episode.id: episode for episode in episodes}
    return [found[task.id] for task in tasks]


class Crew:
    """Processes that play waves, kept from one call of `play_all` to the next until it is left.

    What they have imported and opened serves again; environments and policies are built anew for
    each call. With one worker everything is played in this process.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._calls = 0

    def __enter__(self) -> Crew:
        """Return itself; the processes start when they are first needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def play(
        self, waves: list[Sequence[Task]], world: World, actor: Actor
    ) -> Iterator[list[Episode]]:
        """Yield the episodes of each wave as it ends.

        Raises AliceBobError when a worker was killed; the crew is then of no more use.
        """
        if self.workers <= 1 or len(waves) <= 1:
            if waves:
                with _Player(world, actor) as player:
                    yield from map(player.wave, waves)
            return
        if self._pool is None:
            self._pool = pool(self.workers)
        self._calls += 1
        setup = pickle.dumps((world, actor))
        futures = [self._pool.submit(_play_in_worker, self._calls, setup, w) for w in waves]
        try:
            with surviving():
                for future in as_completed(futures):
                    yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _play_in_threads(
    waves: list[Sequence[Task]], world: World, actor: Actor
) -> Iterator[list[Episode]]:
    """Yield the episodes of each wave as it ends; a wave without a provider does not end others."""
    players: dict[int, _Player] = {}  # one for each thread

    def played(wave: Sequence[Task]) -> list[Episode]:
        if threading.get_ident() not in players:
            players[threading.get_ident()] = _Player(world, actor)
        return players[threading.get_ident()].wave(wave)

    threads = ThreadPoolExecutor(max(1, actor.workers))
    lost: list[ProviderError] = []
    try:
        for future in as_completed([threads.submit(played, wave) for wave in waves]):
            try:
                yield future.result()
            except ProviderError as error:
                lost.append(error)
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        for player in players.values():
            player.__exit__()
    if lost:
        raise ProviderError(
            f"{len(lost)} of {len(waves)} waves of episodes are owed: {lost[-1]} Run again to go "
            "on with them."
        )


class _Player:
    """Environments and a policy, built once, that play wave after wave."""

    def __init__(self, world: World, actor: Actor) -> None:
        self.policy = actor.build()
        self.envs: list[Border] = []
        self.world, self.width = world, actor.width

    def __enter__(self) -> _Player:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the environments; what they played is there, whatever they do now."""
        for env in self.envs:
            with suppress(AliceBobError):
                env.close()

    def wave(self, tasks: Sequence[Task]) -> list[Episode]:
        while len(self.envs) < len(tasks):  # no more than are needed: some cost a process each
            self.envs.append(self.world())
        played = play(self.envs, self.policy, tasks, self.world.name)
        episodes = {episode.id: episode for episode in played}
        return [episodes[task.id] for task in tasks]


_players: dict[int, _Player] = {}  # of this process, by the call it plays for; one at most


def _play_in_worker(call: int, setup: bytes, tasks: Sequence[Task]) -> list[Episode]:
    """Play a wave; `setup` is what `_Player` takes, pickled once for all waves of a call."""
    if call not in _players:
        _leave()
        with from_here():  # what was pickled may be of a module there
            _players[call] = _Player(*pickle.loads(setup))
        Finalize(None, _leave, exitpriority=0)  # a worker has no other end
    return _players[call].wave(tasks)


def _leave() -> None:
    while _players:
        _players.popitem()[1].__exit__()


def totals(episodes: Iterable[Episode]) -> dict[str, int]:
    """Return the summed budgets of episodes: env_steps, and tokens where a model acted."""
    sums: dict[str, int] = {}
    for episode in episodes:
        for name, amount in episode.budget.items():
            sums[name] = sums.get(name, 0) + amount
    return dict(sorted(sums.items()))
