"""Rejection-sampling fine-tuning (RFT, arXiv 2308.01825): Bob plays, his successes are learnt.

Bob, as the last round left him, plays the training tasks: trials of the environment's suite in
exploration worlds, else its goals of the split "train", else what the lineage's skills were told.
What succeeded becomes a skill; turns that named no action are to be read only. With `rft.hindsight`
Alice labels what failed too, by what it shows (as HER does with goals, arXiv 1707.01495). With
`rft.open_play` he also plays without a task, and the episodes in which most was achieved are kept.
Does not: let Alice explore or give feedback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from alicebob import dataset
from alicebob.alice.voice import reads
from alicebob.envs.hooks import Trial, has_goals, suite_of, tasks_of, told
from alicebob.evaluation import GOAL
from alicebob.methods.parts import Exploration, Method, Round, Said, part
from alicebob.methods.shared import as_he_is, nothing_back, sft
from alicebob.policies import Task
from alicebob.rollout import play_all, seeds
from alicebob.settings import Block, Params, Share
from alicebob.trace import (
    AGAIN,
    AIM,
    AIMLESS,
    ERROR,
    INVALID,
    OPEN_PLAY,
    WHOLE,
    Episode,
    Outcome,
    Skill,
    Turn,
    best,
)

__all__ = [
    "METHOD",
    "WIDTH",
    "Rft",
    "as_skill",
    "bob_on_training_tasks",
    "keep_successes",
    "learnable",
    "play",
    "tasks_and_open_play",
    "training_tasks",
]

WIDTH = 32  # episodes in lock step
VERBS = ("label", "think")  # of Alice's, for hindsight


class Rft(Block):
    """The block `rft` in params.yaml."""

    hindsight: bool = False  # failed tasks are learnt as what they show
    open_play: Share = 0.0  # of the episodes, where the environment has no goals of its own
    best: Share = 0.2  # of those, in which most was achieved, are learnt


def _hindsight(params: Params) -> bool:
    own: Any = getattr(params, METHOD.name, None)  # none where it is only asked about
    return bool(own and own.hindsight)


def _posed(round_: Round, chosen: list[int]) -> list[Trial]:
    """Return what there is to be done, each as a trial; in turn they become tasks."""
    env, limit = round_.world(), round_.params.explore.max_turns
    if suite_of(env):
        return list(suite_of(env))
    if has_goals(env):
        return [Trial(GOAL, words, limit, opts) for words, opts in tasks_of(env, "train", chosen)]
    skills = dataset.read_skills(round_.inherited("skills"))
    named = {skill.name: skill.instruction for skill in skills if skill.name not in WHOLE}
    return [Trial(name, words, limit) for name, words in sorted(named.items())]


def training_tasks(round_: Round, chosen: list[int]) -> list[Task]:
    """Return a training task in each of some worlds, none where nothing is posed."""
    posed = _posed(round_, chosen)
    tasks = []
    for n, seed in enumerate(chosen if posed else ()):
        to_do, name = posed[n % len(posed)], f"{round_.id}-explore-{n:04d}"
        tasks.append(
            Task(name, seed, to_do.instruction, to_do.options, to_do.max_turns, to_do.name)
        )
    return sorted(tasks, key=lambda task: -task.max_turns)  # a wave lasts as long as its longest


def tasks_and_open_play(round_: Round, purpose: str, share: float) -> list[Task]:
    """Return `explore.episodes` tasks: this share without one, the rest those of `training_tasks`.

    Where the environment has goals of its own, none is without.
    """
    params, env, most = round_.params, round_.world(), round_.params.explore.max_turns
    space, count = params.seeds.of("explore"), params.explore.episodes
    chosen = seeds(f"{purpose} {round_.id}", params.seed, count, space)
    free = 0 if has_goals(env) else round(share * count)
    tasks = [
        Task(f"{round_.id}-open-{n:04d}", seed, told(env), max_turns=most)
        for n, seed in enumerate(chosen[:free])
    ]
    return tasks + training_tasks(round_, chosen[free:])


@part(
    *("seed", "seeds.explore", "explore.episodes", "explore.max_turns", "rft.open_play"),
    parts=[as_he_is],
)
def bob_on_training_tasks(round_: Round) -> Exploration:
    """Let Bob play `explore.episodes` training tasks and open play, each in a world of its own."""
    share = getattr(round_.params, METHOD.name).open_play
    return play(round_, tasks_and_open_play(round_, "rft", share))


def play(round_: Round, tasks: Sequence[Task]) -> Exploration:
    """Let Bob play tasks as the last round left him."""
    actor = as_he_is(round_, round_.inherited("bob"), WIDTH)
    with round_.bar("explore", len(tasks)) as bar:
        episodes = play_all(tasks, round_.world, actor, round_.scratch / "plays", done=bar.episode)
    known = round_.alice.recall(round_.inherited("episodes"))
    return Exploration(episodes, known, "Bob's play on training tasks.", alices=False)


@part(
    "rft.hindsight", "rft.best", lambda params: reads(params, VERBS) if _hindsight(params) else []
)
def keep_successes(round_: Round) -> Said:
    """Keep the episodes that succeeded, whole; with `rft.hindsight` also what the others show."""
    episodes = dataset.read_episodes(round_.read("episodes"))
    tried = [e for e in episodes if e.meta.get("target")]
    free = [e for e in episodes if not e.meta.get("target")]
    won = [as_skill(e, round_.id) for e in tried if e.outcome is Outcome.SUCCESS]
    share = getattr(round_.params, METHOD.name).best
    won += [_as_open_play(e, round_.id) for e in best(free, share)]
    about = "Bob's own successes on training tasks; one file a round."
    if not _hindsight(round_.params):
        return Said([*map(learnable, won)], about=about)
    alice, failed = round_.alice, [e for e in tried if e.outcome is not Outcome.SUCCESS]
    labelled = alice.label(failed)
    shown = alice.think([skill for skill in labelled.skills if skill.name not in WHOLE])
    report = {**labelled.report, **shown.report, "in hindsight": len(shown.skills)}
    about = "Bob's own play on training tasks, where he failed as what it shows; one file a round."
    skills = [*map(learnable, [*won, *shown.skills])]
    return Said(skills, {**labelled.lost, **shown.lost}, report, about)


def as_skill(episode: Episode, round_id: str) -> Skill:
    """Return a whole episode as a skill, of what was to be done in it."""
    name, turns = episode.meta.get("target", GOAL), episode.turns
    ids = (f"{round_id}-{episode.id}-0000-{name}", name, episode.instruction, round_id, episode.id)
    return Skill(*ids, episode.environment, episode.seed, 0, len(turns), turns, episode.options)


def _as_open_play(episode: Episode, round_id: str) -> Skill:
    """Return an episode as Alice's whole ones are: each turn with its aim, by his own thought.

    An event that was made before is once more, and turns after the last event led to nothing.
    """
    turns: list[Turn] = []
    done: set[str] = set()
    last = max((n for n, turn in enumerate(episode.turns) if turn.events), default=-1)
    for n, turn in enumerate(episode.turns):
        aim = turn.thought.partition(",")[0]
        tags = [f"{AIM}{aim}"] if n <= last else [AIMLESS]
        turns.append(replace(turn, tags=(*turn.tags, *tags, *[AGAIN] * (aim in done))))
        done.update(turn.events)
    skill = as_skill(replace(episode, turns=tuple(turns)), round_id)
    return replace(skill, name=OPEN_PLAY, id=f"{round_id}-{episode.id}-0000-{OPEN_PLAY}")


def learnable(skill: Skill) -> Skill:
    """Return a skill as it is taught: turns that named no action are to be read only."""
    return replace(skill, turns=tuple(map(_learnable, skill.turns)))


def _learnable(turn: Turn) -> Turn:
    return replace(turn, tags=(*turn.tags, ERROR)) if INVALID in turn.tags else turn


METHOD = Method(
    "rft",
    "arXiv 2308.01825",
    bob_on_training_tasks,
    keep_successes,
    sft,
    as_he_is,
    nothing_back,
    Rft,
)
