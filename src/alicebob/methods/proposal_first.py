"""Proposal first (the baseline PF of arXiv 2506.04287): tasks are proposed, and then tried.

Alice proposes from what is shown and can be done where some worlds begin, before anything has been
tried there, and then carries the tasks out, granted nothing: in as many episodes, of at most as
many turns, as EXIF explores. Which of the two acts the paper's summaries do not say; it is Alice,
so that EXIF differs in the order alone. Her judge says what was done. That becomes a skill, with
the proposal for its instruction; the rest is lost, so that `data.valid_share` is the share of
proposals that came true. Does not: give feedback.
"""

from __future__ import annotations

from alicebob import dataset
from alicebob.alice.propose import EACH, WORLDS, asked_for, beginnings
from alicebob.envs.hooks import suite_of
from alicebob.errors import UsageError
from alicebob.methods import exif
from alicebob.methods.parts import Exploration, Method, Round, Said, part
from alicebob.methods.rft import as_skill, learnable
from alicebob.methods.shared import as_he_is, nothing_back, sft
from alicebob.policies import Task
from alicebob.rollout import seeds

__all__ = ["METHOD", "keep_what_was_done", "proposed"]


@part(*exif.EXPLORE, "env", alice=["propose", "explore"])
def proposed(round_: Round) -> Exploration:
    """Let Alice propose tasks and carry them out, in turn, each in a world of its own."""
    params, alice, env = round_.params, round_.alice, round_.world()
    space, limit = params.seeds.of("explore"), params.explore.max_turns
    worlds = seeds(f"propose {round_.id}", params.seed, params.explore.episodes, space)
    posed, report = alice.propose([*beginnings(env, worlds[:WORLDS])], EACH, worlds)
    if not posed:
        raise UsageError("No task was proposed; give another alice.model, or propose embedded.")
    granted = {trial.name for trial in suite_of(env)}
    tasks = []
    for number, seed in enumerate(worlds):
        to_do, name = posed[number % len(posed)], f"{round_.id}-explore-{number:04d}"
        options = {} if to_do.name in granted else to_do.options
        target = to_do.name or asked_for(to_do.instruction, env)
        tasks.append(Task(name, seed, to_do.instruction, options, limit, target))
    episodes, memory = alice.attempt(tasks, alice.recall(round_.inherited("episodes")))
    about = "Alice's play on tasks that she had proposed before anything was tried."
    return Exploration(episodes, memory, about, report=report)


@part(alice=["judge"])
def keep_what_was_done(round_: Round) -> Said:
    """Make skills of the episodes that Alice judges to do what was proposed, whole."""
    episodes = dataset.read_episodes(round_.read("episodes"))
    verdicts, asked = round_.alice.judge(episodes, round_.alice.recall(round_.read("episodes")))
    done = {verdict.episode for verdict in verdicts if verdict.success}
    kept = [learnable(as_skill(e, round_.id)) for e in episodes if e.id in done]
    undone = len(episodes) - len(kept)
    lost = {"what was proposed was not done": undone} if undone else {}
    about = "Tasks that Alice proposed and then carried out; one file a round."
    return Said(kept, lost, asked, about)


METHOD = Method(
    "proposal_first",
    "arXiv 2506.04287, baseline PF",
    proposed,
    keep_what_was_done,
    sft,
    as_he_is,
    nothing_back,
)
