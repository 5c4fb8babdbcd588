"""Experts: whose trajectories Bob's are held against, and on which tasks that can be done best.

They are the lineage's own skills, Bob's own play (self-play, as RFT has it), or the episodes of a
user's file. Does not: pair them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alicebob import dataset
from alicebob.bob.pairs import Trajectory, read_own, reward_of
from alicebob.draws import generator
from alicebob.envs.hooks import suite_of
from alicebob.errors import UsageError
from alicebob.evaluation import GOAL, SPLITS
from alicebob.methods.parts import Round
from alicebob.methods.rft import as_skill
from alicebob.policies import Task
from alicebob.trace import WHOLE, Episode, Skill

__all__ = ["FILES", "RFT", "SKILLS", "experts_of", "shown", "tried"]

SKILLS, RFT = "skills", "rft"
FILES = (".jsonl", ".parquet")


def experts_of(round_: Round, whose: str, explored: list[Trajectory]) -> list[Trajectory]:
    """Return the trajectories that Bob's are held against; a skill's reward is 1.

    Raises UsageError for a file that is not there or was played in a world that Bob is tried in,
    DamagedData for one that holds something else.
    """
    if whose == RFT:
        return explored
    if whose == SKILLS:
        skills = dataset.read_skills(round_.inherited("skills"))
        return [Trajectory(skill, 1.0) for skill in skills if skill.name not in WHOLE]
    episodes = read_own(Path(whose))
    for episode in episodes:
        for split in SPLITS:
            same = episode.environment == round_.world.name
            if same and episode.seed in round_.params.seeds.of(split):
                raise UsageError(
                    f"{whose}: {episode.id} was played in world {episode.seed}, which is one of "
                    f"seeds.{split}. Take it out, or move that range."
                )
    return tried(episodes, round_.id)


def tried(episodes: Sequence[Episode], round_id: str) -> list[Trajectory]:
    """Return episodes as trajectories with what they earned."""
    return [Trajectory(as_skill(episode, round_id), reward_of(episode)) for episode in episodes]


def shown(round_: Round, whose: str, count: int) -> list[Task]:
    """Return up to `count` tasks that experts showed from where an episode begins, each once.

    Bob can try those from the very same state. None are taken from skills where there are trials.
    """
    env, limit = round_.world(), round_.params.explore.max_turns
    known: list[Skill] = []
    if whose not in (SKILLS, RFT):
        known = [as_skill(episode, round_.id) for episode in read_own(Path(whose))]
    elif whose == SKILLS and not suite_of(env):
        known = dataset.read_skills(round_.inherited("skills"))
    tasks: dict[str, Task] = {}
    for i in generator("shown", round_.id, round_.params.seed).permutation(len(known)):
        skill = known[i]
        target = next((t for t in (GOAL, skill.name) if t in skill.turns[-1].events), skill.name)
        key = f"{skill.seed} {sorted(skill.options.items())} {skill.instruction}"
        if len(tasks) == count or key in tasks or skill.name in WHOLE:
            continue
        seen, _ = env.reset(seed=skill.seed, options=skill.options)
        if seen == skill.turns[0].observation:
            name = f"{round_.id}-explore-{len(tasks):04d}"
            told = skill.instruction, skill.options
            tasks[key] = Task(name, skill.seed, *told, limit, target)
    return list(tasks.values())
