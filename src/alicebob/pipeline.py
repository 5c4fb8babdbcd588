"""The five stages, and the two that lay down round r000. Each joins parts and writes its outputs.

A body reads what `Context` offers, works in its scratch folder, and writes into its out folder;
killing it anywhere loses at most what was in flight. Invariant: outputs hold no times and no paths
of this machine. Does not: choose what a method does (see `alicebob.methods`).
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from alicebob import dataset, evaluation
from alicebob.envs import TextEnv, describe, make
from alicebob.envs.hooks import actions_of, has_goals, score_of, task_free
from alicebob.methods import method
from alicebob.policies import Policy, Task
from alicebob.rollout import model_workers, play_all, seeds, totals, workers
from alicebob.rounds import Context
from alicebob.trace import Episode, Skill
from alicebob.work import WORK, write_text

if TYPE_CHECKING:
    from alicebob.alice.roles import Role

__all__ = ["base", "evaluate", "explore", "feedback", "skills", "start", "train"]

TINY = "models/base"


def _env_name(context: Context) -> str:
    return describe(context.params.env.spec, context.params.env.settings)


def _maker(context: Context) -> Callable[[], TextEnv]:
    return functools.partial(make, context.params.env.spec, **context.params.env.settings)


class _Bar:
    """A progress bar on stderr that counts episodes and environment steps."""

    def __init__(self, name: str, total: int) -> None:
        self.bar = tqdm(total=total, desc=name, unit="episode", mininterval=1)
        self.steps, self.begun = 0, time.monotonic()

    def __call__(self, episode: Episode) -> None:
        self.steps += len(episode.turns)
        self.bar.set_postfix_str(f"{self.steps:,} steps", refresh=False)
        self.bar.update()

    def close(self, context: Context) -> None:
        """Finish the bar; note the speed."""
        self.bar.close()
        seconds = time.monotonic() - self.begun
        context.facts["env_steps_per_second"] = round(self.steps / max(seconds, 1e-9), 1)


def _random(make_env: Callable[[], TextEnv]) -> tuple[Callable[[], TextEnv], Policy]:
    from alicebob.bob.tiny import RandomPolicy

    return make_env, RandomPolicy()


def base(context: Context) -> None:
    """Build tiny Bob from random play, where he is the model to train."""
    out, params = context.write("base"), context.params
    if params.bob.model != TINY:
        out.mkdir()
        text = f"# Not built\n\nbob.model is {params.bob.model}, so no tiny base is needed.\n"
        write_text(out / "README.md", text)
        return
    from alicebob.bob.tiny import train_base

    env: Any = _maker(context)()
    chosen = seeds("base", params.seed, params.base.episodes, params.seeds.of("explore"))
    asked = env.tasks("train", chosen) if has_goals(env) else [("", {})] * len(chosen)
    tasks = [
        Task(f"base-{number:04d}", seed, told, options, params.base.max_turns)
        for number, (seed, (told, options)) in enumerate(zip(chosen, asked, strict=True))
    ]
    bar = _Bar("random play", len(tasks))
    episodes = play_all(
        tasks,
        functools.partial(_random, _maker(context)),
        _env_name(context),
        context.scratch / "journals",
        workers=workers(),
        done=bar,
    )
    bar.close(context)
    _use_cores()
    settings = params.base.model_dump(exclude={"episodes", "max_turns"})
    fitted = train_base(episodes, env, out, context.scratch / "fit", seed=params.seed, **settings)
    context.facts["tokens_per_second"] = round(fitted.tokens / fitted.seconds)


def start(context: Context) -> None:
    """Lay down r000: no episodes, no skills, no feedback, an adapter that changes nothing."""
    from alicebob.alice.embedded import embedded_for
    from alicebob.alice.feedback import Feedback
    from alicebob.bob.sft import Lora, load_base, new_adapter, save_adapter

    params = context.params
    folder = context.write("episodes")
    folder.mkdir()
    dataset.write_episodes(folder / "episodes.parquet", [])
    embedded_for(_maker(context)()).knowledge().save(folder / "knowledge.json")
    dataset.write_card(folder, "Episodes of r000", {"episodes": 0}, "Nothing was explored yet.")
    folder = context.write("skills")
    folder.mkdir()
    dataset.write_skills(folder / f"{context.round}.parquet", [])
    _write_json(folder / "report.json", {"cut": 0, "kept": 0, "dropped": {}, "skills": {}})
    dataset.write_card(folder, "Skills of r000", {"skills": 0}, "Nothing was explored yet.")
    folder = context.write("feedback")
    folder.mkdir()
    Feedback.empty(context.round).save(folder)
    model, _ = load_base(params.bob.model, params.bob.dtype)
    lora = Lora(params.bob.lora_rank, params.bob.lora_alpha)
    card = _card(context, "An adapter that changes nothing: Bob before the first round.", {})
    model = new_adapter(model, lora, params.seed)
    save_adapter(model, params.bob.model, context.write("bob"), card)


def explore(context: Context) -> None:
    """Let Alice play without a task, on what she knows, towards what her feedback asks for."""
    from alicebob.alice.embedded import embedded_for
    from alicebob.alice.explorer import explore as play
    from alicebob.alice.explorer import explore_as, explorer_texts
    from alicebob.alice.feedback import Feedback

    params, env = context.params, _maker(context)()
    alice = embedded_for(env)
    way = method(params.method)
    written = Feedback.load(context.inherited("feedback"))
    wishes = way.wishes(written.explore, params.feedback.strength)
    chosen = seeds(
        f"explore {context.round}",
        params.seed,
        params.explore.episodes,
        params.seeds.of("explore"),
    )
    personas = params.alice.personas or [""]
    tasks = [
        Task(
            f"{context.round}-explore-{number:04d}",
            seed,
            options=task_free(env, personas[number % len(personas)]),
            max_turns=params.explore.max_turns,
        )
        for number, seed in enumerate(chosen)
    ]
    bar = _Bar("explore", len(tasks))
    known = alice.knowledge.load(context.inherited("episodes") / "knowledge.json")
    texts: list[str] = []
    if params.alice.explorer == "model":
        followed = bool(wishes)  # none after r000, nor where an answer was rejected
        texts = explorer_texts(written.prose if followed else "", params.alice.personas)
        episodes, knowledge = explore_as(
            _role(context),
            texts,
            params.env.spec,
            params.env.settings,
            known,
            tasks,
            context.scratch / "journals",
            workers=model_workers(),
            done=bar,
            label=_env_name(context),
        )
    else:
        episodes, knowledge = play(
            alice.explorer,
            params.env.spec,
            params.env.settings,
            known,
            wishes,
            tasks,
            params.explore.generation,
            context.scratch / "journals",
            workers=workers(),
            done=bar,
            label=_env_name(context),
        )
    bar.close(context)
    folder = context.write("episodes")
    folder.mkdir()
    dataset.write_episodes(folder / "episodes.parquet", episodes)
    knowledge.save(folder / "knowledge.json")
    made = [e.summary["progress"] for e in episodes if "progress" in e.summary]
    progress = evaluation.mean(made)
    budget = totals(episodes)
    figures = {"episodes": len(episodes), "progress": progress, "budget": budget, "wishes": wishes}
    for number, text in enumerate(texts):
        write_text(folder / f"prompt-{number:02d}.md", text)
    _write_json(folder / "report.json", figures)
    facts = {"environment": _env_name(context), "episodes": len(episodes)}
    facts |= {"progress": progress["mean"]} if made else {}
    facts |= budget
    about = "Task-free play by the embedded Alice; each episode replays from its seed and actions."
    dataset.write_card(folder, f"Episodes of {context.round}", facts, about)


def skills(context: Context) -> None:
    """Cut, label and check the round's episodes; add them to those of the rounds before."""
    from alicebob.alice.embedded import embedded_for
    from alicebob.alice.validity import check

    params = context.params
    alice = embedded_for(_maker(context)())
    episodes = dataset.read_episodes(context.read("episodes"))
    found = alice.label(
        episodes,
        context.round,
        thoughts=params.skills.thoughts,
        open_play=params.skills.open_play,
        open_play_share=params.skills.open_play_share,
        max_turns=params.skills.max_turns,
    )
    found, unsaid, tallies = _say(context, found, alice.reworded)
    bar = tqdm(total=len({s.episode for s in found}), desc="replay", unit="episode", mininterval=1)

    def replayed(_: str) -> None:
        bar.update()

    kept, dropped = check(
        found,
        episodes,
        params.env.spec,
        params.env.settings,
        workers=workers(),
        done=replayed,
    )
    bar.close()
    folder = context.write("skills")
    folder.mkdir()
    for shard in sorted(context.inherited("skills").glob("*.parquet")):
        (folder / shard.name).write_bytes(shard.read_bytes())
    dataset.write_skills(folder / f"{context.round}.parquet", kept)
    report: dict[str, Any] = {
        "cut": len(found) + sum(unsaid.values()),
        "kept": len(kept),
        "dropped": dropped | unsaid,
        "skills": dataset.counts(kept),
        "total": sum(1 for _ in dataset.read_skills(folder)),
    } | tallies
    _write_json(folder / "report.json", report)
    facts = {"rounds": len(list(folder.glob("*.parquet"))), "skills": report["total"]}
    facts |= {f"{name} ({context.round})": count for name, count in report["skills"].items()}
    about = (
        "Skills cut from task-free play, with instructions written afterwards; one file a round."
    )
    dataset.write_card(folder, f"Skills up to {context.round}", facts, about)


def _say(
    context: Context, found: list[Skill], reworded: Callable[[Skill, str], Skill]
) -> tuple[list[Skill], dict[str, int], dict[str, Any]]:
    """Let a model write the words of skills, where the parameters say so.

    Return the skills that have them, how many were lost to rejected answers, and what was asked.
    """
    from alicebob.alice.hindsight import add_thoughts, agrees, relabel, sample
    from alicebob.alice.labeller import OPEN_PLAY

    alice = context.params.alice
    if "model" not in (alice.labeller, alice.thoughts):
        return found, {}, {}
    chat, journals = _role(context).chat(), context.scratch / "asked"
    journals.mkdir(exist_ok=True)
    found, left_out = sample(found, alice.labels)
    lost: dict[str, int] = {}
    tallies: dict[str, Any] = {"left_out": left_out}
    for part, ask, chosen in (
        ("instruction", functools.partial(relabel, reworded=reworded), alice.labeller),
        ("thoughts", add_thoughts, alice.thoughts),
    ):
        if chosen == "model":
            before = len(found)
            open_play = sum(skill.name == OPEN_PLAY for skill in found)
            bar = tqdm(total=before - open_play, desc=part, unit="skill", mininterval=1)
            found, tally = ask(found, chat, journals / f"{part}.jsonl", done=bar.update)
            bar.close()
            lost[f"its {part} was rejected"] = before - len(found)
            tallies[part] = tally.to_json()
    if alice.labeller == "model":
        said = [skill for skill in found if skill.name != OPEN_PLAY]
        tallies["agree"] = evaluation.share(sum(map(agrees, said)), len(said))
    return found, {reason: n for reason, n in lost.items() if n}, tallies


def _role(context: Context) -> Role:
    """Return the model that plays Alice."""
    from alicebob.alice.roles import Role

    params, ledger = context.params, WORK / "alice" / f"{context.round}.jsonl"
    return Role.of(params.alice, params.bob.model, context.inherited("bob"), ledger)


def train(context: Context) -> None:
    """Train Bob's adapter on the skills of all rounds, from the base or on from the parent's."""
    from alicebob.bob.conversation import Conversation
    from alicebob.bob.sft import Lora, load_adapter, load_base, new_adapter, packs_of, save_adapter
    from alicebob.bob.sft import train as fit
    from alicebob.bob.training import Schedule

    _use_cores()
    params, settings = context.params, context.params.train
    model, tokenizer = load_base(params.bob.model, params.bob.dtype)
    conversation = Conversation(tokenizer, params.bob.preamble, actions_of(_maker(context)()))
    skills = dataset.read_skills(context.read("skills"))
    packs, looks, rows = packs_of(
        skills,
        conversation,
        context=params.bob.context,
        turns=params.bob.turns,
        pack_tokens=settings.pack_tokens,
        budget=settings.budget * len({skill.round for skill in skills}),
        repeat=settings.repeat,
        shares={"open_play": settings.open_play_share, "open_play_again": settings.again_share},
        validation_share=params.skills.validation_share,
        seed=params.seed,
    )
    if settings.init == "parent":
        model = load_adapter(model, context.inherited("bob"), trainable=True)
    else:
        model = new_adapter(model, Lora(params.bob.lora_rank, params.bob.lora_alpha), params.seed)
    schedule = Schedule(
        settings.learning_rate,
        settings.epochs,
        settings.batch,
        settings.every,
        settings.patience,
        seed=params.seed,
    )
    fitted = fit(model, packs, looks, schedule, context.scratch / "fit", context.report)
    context.facts["tokens_per_second"] = round(fitted.tokens / fitted.seconds)
    if context.main:
        about = f"A LoRA adapter trained on the skills of every round up to {context.round}."
        facts = {
            "steps": fitted.steps,
            "tokens": fitted.tokens,
            "best validation loss": fitted.best,
        }
        card = _card(context, about, facts | {f"rows of {k}": n for k, n in rows.items()})
        save_adapter(model, params.bob.model, context.write("bob"), card, fitted)


def evaluate(context: Context) -> None:
    """Try Bob in fresh worlds of both splits and write the metrics of the round."""
    from alicebob.bob.playing import build_bob

    params, settings = context.params, context.params.evaluate
    env: Any = _maker(context)()
    tasks: list[Task] = []
    for split in evaluation.SPLITS:
        space = params.seeds.of(split)
        tasks += evaluation.tasks(split, env, settings, params.seed, space, context.round)
    tasks.sort(key=lambda task: -task.max_turns)  # a wave lasts as long as its longest
    bar = _Bar("evaluate", len(tasks))
    settings_of_bob = params.bob.model_dump()
    build = functools.partial(build_bob, context.read("bob"), settings_of_bob, _maker(context))
    episodes = play_all(
        tasks,
        build,
        _env_name(context),
        context.scratch / "journals",
        width=settings.width,
        workers=model_workers(),
        done=bar,
    )
    bar.close(context)
    folder = context.write("evaluations")
    folder.mkdir()
    score = score_of(env)
    metrics: dict[str, Any] = {"round": context.round}
    for split in evaluation.SPLITS:
        chosen = [e for e in episodes if e.id.startswith(f"{context.round}-{split}-")]
        dataset.write_episodes(folder / f"{split}.parquet", chosen)
        metrics[split] = evaluation.report(chosen, score)
    facts = {"environment": _env_name(context), "episodes": len(episodes)}
    about = "Bob's episodes: trials of single skills, and open play, on both splits."
    dataset.write_card(folder, f"Evaluation of {context.round}", facts, about)
    _write_json(context.write("metrics"), metrics | _data(context, episodes))


def _data(context: Context, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return what the round's data amount to, and what was spent."""
    cut = json.loads((context.read("skills") / "report.json").read_text(encoding="utf-8"))
    path = context.read("episodes") / "report.json"
    explored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    budget = {f"explore.{k}": n for k, n in explored.get("budget", {}).items()}
    budget |= {f"evaluate.{k}": n for k, n in totals(episodes).items()}
    curve = context.read("bob") / "training.json"
    if curve.exists():
        budget["train.tokens"] = json.loads(curve.read_text(encoding="utf-8"))["tokens"]
    return {
        "data": {
            "episodes": explored.get("episodes", 0),
            "skills": cut["kept"],
            "skills_total": cut.get("total", 0),
            "valid_share": round(cut["kept"] / cut["cut"], 6) if cut["cut"] else None,
        },
        "alice": {"progress": explored.get("progress") or evaluation.mean([])},
        "budget": budget,
    }


def feedback(context: Context) -> None:
    """Let Alice read Bob's validation episodes, judge them and say what to explore next."""
    from alicebob.alice.counsel import agreement, judge_with, write_with
    from alicebob.alice.embedded import embedded_for

    alice, rules = context.params.alice, embedded_for(_maker(context)())
    episodes = dataset.read_episodes(context.read("evaluations") / "validation.parquet")
    knowledge = rules.knowledge.load(context.read("episodes") / "knowledge.json")
    known = dataset.counts(dataset.read_skills(context.read("skills")))
    asked: dict[str, Any] = {}
    journals = context.scratch / "asked"
    journals.mkdir(exist_ok=True)
    chat = _role(context).chat() if "model" in (alice.judge, alice.feedback) else None
    if chat is not None and alice.judge == "model":
        bar = tqdm(desc="judge", unit="episode", mininterval=1)
        verdicts, tally = judge_with(
            chat, episodes, journals / "judge.jsonl", rules.reasons, bar.update
        )
        bar.close()
        asked["judge"] = tally.to_json() | {"agreement": agreement(verdicts, episodes)}
    else:
        verdicts = rules.judge(episodes, knowledge)
    if chat is not None and alice.feedback == "model":
        written, tally = write_with(
            chat,
            context.round,
            verdicts,
            knowledge,
            known,
            rules.reasons,
            journals / "feedback.jsonl",
        )
        asked["feedback"] = tally.to_json()
    else:
        written = rules.write_feedback(context.round, verdicts, episodes, knowledge, known)
    folder = context.write("feedback")
    folder.mkdir()
    written.save(folder)
    if asked:
        _write_json(folder / "asked.json", asked)
    _write_json(folder / "verdicts.json", [verdict.to_json() for verdict in verdicts])


def _use_cores() -> None:
    """Give PyTorch all cores of this process: launchers for several processes leave it one."""
    import torch

    world = int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // world))


def _card(context: Context, about: str, facts: dict[str, Any]) -> str:
    """Return the model card of an adapter, from measured facts."""
    lines = ["---", "library_name: peft", f"base_model: {context.params.bob.model}"]
    lines += ["license: apache-2.0", "---", "", f"# Bob, {context.round}", "", about, ""]
    lines += ["| fact | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def _write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
