"""Bases: where the model comes from that every round's adapter is trained on, a part for each.

Does not: know what is trained on it.
"""

from __future__ import annotations

from pathlib import Path

from alicebob.envs.hooks import has_goals, tasks_of
from alicebob.files import write_text
from alicebob.methods.parts import Part, Round, part
from alicebob.policies import Task
from alicebob.rollout import Actor, play_all, seeds, workers
from alicebob.settings import RANDOM_PLAY, TINY, Params

__all__ = ["base_of"]

_WHICH = ("bob.model", "base.source")  # what `base_of` looks at


@part(*_WHICH, "seed", "env", "seeds.explore", "base")
def from_random_play(round_: Round, out: Path) -> None:
    """Build tiny Bob from what happens when one acts at random."""
    from alicebob.bob.tiny import RandomPolicy, train_base

    params, env = round_.params, round_.world()
    chosen = seeds("base", params.seed, params.base.episodes, params.seeds.of("explore"))
    asked = tasks_of(env, "train", chosen) if has_goals(env) else [("", {})] * len(chosen)
    tasks = [
        Task(f"base-{number:04d}", seed, told, options, params.base.max_turns)
        for number, (seed, (told, options)) in enumerate(zip(chosen, asked, strict=True))
    ]
    actor = Actor(RandomPolicy, workers=workers())
    with round_.bar("random play", len(tasks)) as bar:
        journals = round_.scratch / "journals"
        episodes = play_all(tasks, round_.world, actor, journals, done=bar.episode)
    settings = params.base.model_dump(exclude={"source", "episodes", "max_turns"})
    fitted = train_base(episodes, env, out, round_.scratch / "fit", seed=params.seed, **settings)
    round_.facts["tokens_per_second"] = round(fitted.tokens / fitted.seconds)


@part(*_WHICH)
def laid_down(round_: Round, out: Path) -> None:
    """Lay down a model that others trained."""
    from alicebob.bob.origin import lay_down

    lay_down(round_.params.base.source, out)


@part(*_WHICH)
def not_needed(round_: Round, out: Path) -> None:
    """Say that another model is trained, from where it is."""
    named = round_.params.bob.model
    write_text(out / "README.md", f"# Not built\n\nbob.model is {named}, so no base is needed.\n")


def base_of(params: Params) -> Part[None]:
    """Return the part that makes the base of a lineage."""
    if params.bob.model != TINY:
        return not_needed
    return from_random_play if params.base.source == RANDOM_PLAY else laid_down
