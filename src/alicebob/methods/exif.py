"""EXIF (arXiv 2506.04287): explore without a task, label afterwards, let feedback steer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alicebob import dataset
from alicebob.alice.feedback import Feedback
from alicebob.envs import factory
from alicebob.envs.hooks import offers
from alicebob.methods.parts import Advice, Exploration, Method, Round, Said, part
from alicebob.methods.shared import as_he_is, sft
from alicebob.settings import Params

__all__ = ["METHOD", "advice", "label_afterwards", "wander"]

EXPLORE = ("seed", "seeds.explore", "explore.episodes", "explore.max_turns")


def wander(
    round_: Round,
    wishes: Mapping[str, float],
    prose: str,
    asked: Mapping[str, float] = MappingProxyType({}),
) -> Exploration:
    """Let Alice play without a task, on what she knows, towards what is wished for.

    What is `asked` for is what worlds may begin with, by these weights (`explore.adapted`).
    """
    params, alice, own = round_.params, round_.alice, round_.params.explore
    space, adapted = params.seeds.of("explore"), getattr(own, "adapted", 0.0)
    tasks = alice.free_tasks(own.episodes, own.max_turns, space, asked, adapted)
    known = alice.recall(round_.inherited("episodes"))
    episodes, memory, prompts = alice.explore(tasks, known, wishes, prose)
    about = "Task-free play by the embedded Alice; each episode replays from its seed and actions."
    return Exploration(episodes, memory, about, wishes=wishes, prompts=prompts)


def _starts(params: Params) -> list[str]:
    """Return the parameter of adapted starts, where some are wanted and there are trials."""
    wanted = getattr(params.explore, "adapted", 0.0) and offers(factory(params.env.spec), "suite")
    return ["explore.adapted"] if wanted else []


@part(*EXPLORE, "feedback.strength", _starts, alice=["explore"])
def steered(round_: Round) -> Exploration:
    """Explore what the last round's feedback asks for."""
    written, strength = Feedback.load(round_.inherited("feedback")), round_.params.feedback.strength
    asked = {name: weight for name, weight in sorted(written.explore.items()) if weight > 0}
    wishes = {name: weight * strength for name, weight in asked.items()}
    return wander(round_, wishes, written.prose, asked)


@part(alice=["label", "think"])
def label_afterwards(round_: Round) -> Said:
    """Cut what happened into skills, with instructions and thoughts written after the fact."""
    labelled = round_.alice.label(dataset.read_episodes(round_.read("episodes")))
    thought = round_.alice.think(labelled.skills)
    left_out = [said.report["left_out"] for said in (labelled, thought) if said.report]
    report = {"left_out": sum(left_out)} if left_out else {}
    agree = {"agree": labelled.report["agree"]} if labelled.report else {}
    return Said(
        thought.skills,
        {**labelled.lost, **thought.lost},
        {**labelled.report, **thought.report, **report, **agree},
    )


@part(alice=["judge", "advise"])
def advice(round_: Round) -> Advice:
    """Let Alice read Bob's validation episodes, judge them and say what to explore next."""
    alice = round_.alice
    episodes = dataset.read_episodes(round_.read("evaluations") / "validation.parquet")
    memory = alice.recall(round_.read("episodes"))
    counts = dataset.counts(dataset.read_skills(round_.read("skills")))
    verdicts, judged = alice.judge(episodes, memory)
    feedback, asked = alice.advise(verdicts, episodes, memory, counts)
    return Advice(feedback, verdicts, judged | asked)


METHOD = Method(
    name="exif",
    source="arXiv 2506.04287",
    explore=steered,
    skills=label_afterwards,
    train=sft,
    act=as_he_is,
    feedback=advice,
)
