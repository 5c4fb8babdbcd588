"""Base: build tiny Bob from random play, where he is the model to train."""

from __future__ import annotations

from alicebob.bob.tiny import RandomPolicy, train_base
from alicebob.envs.hooks import has_goals, tasks_of
from alicebob.files import write_text
from alicebob.pipeline.cards import use_cores
from alicebob.pipeline.run import Context
from alicebob.policies import Task
from alicebob.rollout import Actor, play_all, seeds, workers
from alicebob.settings import TINY

__all__ = ["base"]


def base(context: Context) -> None:
    """Build tiny Bob, or say that another model is to be trained."""
    out, params = context.write("base"), context.params
    if params.bob.model != TINY:
        text = f"# Not built\n\nbob.model is {params.bob.model}, so no tiny base is needed.\n"
        write_text(out / "README.md", text)
        return
    env = context.world()
    chosen = seeds("base", params.seed, params.base.episodes, params.seeds.of("explore"))
    asked = tasks_of(env, "train", chosen) if has_goals(env) else [("", {})] * len(chosen)
    tasks = [
        Task(f"base-{number:04d}", seed, told, options, params.base.max_turns)
        for number, (seed, (told, options)) in enumerate(zip(chosen, asked, strict=True))
    ]
    actor = Actor(RandomPolicy, workers=workers())
    with context.bar("random play", len(tasks)) as bar:
        journals = context.scratch / "journals"
        episodes = play_all(tasks, context.world, actor, journals, done=bar.episode)
    use_cores()
    settings = params.base.model_dump(exclude={"episodes", "max_turns"})
    fitted = train_base(episodes, env, out, context.scratch / "fit", seed=params.seed, **settings)
    context.facts["tokens_per_second"] = round(fitted.tokens / fitted.seconds)
