"""ETO (arXiv 2403.02502): Bob tries each training task, and learns from his failures by DPO.

Each failure is paired with a success of the same task. Bob goes on from the last round's adapter,
which is the reference too. Does not: add skills; a round's pairs lie beside the skills of those
before.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from alicebob import dataset
from alicebob.bob.pairs import pairs_of, pairs_text, read_pairs
from alicebob.envs.hooks import actions_of
from alicebob.errors import UsageError
from alicebob.methods.experts import FILES, RFT, SKILLS, experts_of, shown, tried
from alicebob.methods.parts import Exploration, Method, Round, Said, Trained, part
from alicebob.methods.rft import learnable, play, training_tasks
from alicebob.methods.shared import SEEN, as_he_is, nothing_back
from alicebob.rollout import seeds
from alicebob.settings import Block

__all__ = ["METHOD", "bob_on_each_task", "dpo", "paired"]

PAIRS = "pairs.jsonl"  # in the round's folder of skills
HOW = ("batch", "micro_batch", "gradient_checkpointing", "pack_tokens", "every", "patience")
OWN = ("beta", "learning_rate", "epochs", "nll", "collapse")


class Settings(Block):
    """The block `eto` in params.yaml.

    The paper, which trains all weights of 7B models, has beta 0.1, learning rate 1e-6 and 3 epochs
    of batches of 32; its script run_eto.sh beta 0.5 and 5e-7 from the second iteration on.
    """

    experts: str = SKILLS
    play: bool = True
    tries: Annotated[int, Field(ge=1)] = 1
    longer: Annotated[int, Field(ge=0)] = 5
    beta: Annotated[float, Field(gt=0)] = 0.1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    epochs: Annotated[float, Field(gt=0)] = 3
    nll: Annotated[float, Field(ge=0)] = 0.0
    collapse: Annotated[float, Field(gt=0)] = 0.5

    @model_validator(mode="after")
    def _fitting(self) -> Settings:
        own = Path(self.experts).suffix in FILES
        if self.experts not in (SKILLS, RFT) and not own:
            raise ValueError("eto.experts must be skills, rft, or a file (.jsonl or .parquet)")
        if not self.play and not own:
            raise ValueError("eto.play: false needs a file in eto.experts, to learn from it alone")
        return self


def _own(round_: Round) -> Settings:
    params: Any = round_.params  # the block is there in rounds of this method
    own: Settings = params.eto
    return own


@part(
    *("seed", "seeds.explore", "explore.episodes", "explore.max_turns"),
    *("eto.experts", "eto.play", "eto.tries"),
    parts=[as_he_is],
)
def bob_on_each_task(round_: Round) -> Exploration:
    """Let Bob try each task `eto.tries` times, `explore.episodes` in all."""
    own, params = _own(round_), round_.params
    count = -(-params.explore.episodes // own.tries) if own.play else 0
    space = params.seeds.of("explore")
    tasks = shown(round_, own.experts, count) if count else []
    tasks = tasks or training_tasks(round_, seeds(f"eto {round_.id}", params.seed, count, space))
    each = [replace(task, id=f"{task.id}-{n}") for task in tasks for n in range(own.tries)]
    return play(round_, each[: params.explore.episodes])


@part("seeds", "eto.experts", "eto.play", "eto.longer")
def paired(round_: Round) -> Said:
    """Pair failures with successes; the pairs are kept, and no skill is made."""
    own = _own(round_)
    explored = tried(dataset.read_episodes(round_.read("episodes")), round_.id)
    experts = experts_of(round_, own.experts, explored)
    found, lacking = pairs_of(explored if own.play else experts, experts, own.longer)
    if not found:
        why = ", ".join(f"{reason}: {n}" for reason, n in lacking.items()) or "nothing was tried"
        raise UsageError(
            f"eto needs a failed and a successful episode of one task; {round_.id} has none "
            f"({why}). Explore more tasks (explore.episodes), or each more often (eto.tries)."
        )
    report = {
        "pairs": len(found),
        "pairs in one world": sum(pair.same_world for pair in found),
        "not paired": lacking,
    }
    kept = [replace(pair, winner=learnable(pair.winner)) for pair in found]
    about = f"Skills of the rounds before, and pairs of success and failure in `{PAIRS}`."
    return Said([], report=report, about=about, files={PAIRS: pairs_text(kept)})


@part(
    *("seed", "env", *SEEN, "skills.validation_share"),
    *(f"train.{name}" for name in HOW),
    *(f"eto.{name}" for name in OWN),
)
def dpo(round_: Round) -> Trained:
    """Train the parent's adapter on the round's pairs, with itself as the reference."""
    from alicebob.bob.dpo import Preference, learn
    from alicebob.bob.rows import rows_of
    from alicebob.bob.training import Schedule
    from alicebob.policies.conversation import Conversation
    from alicebob.policies.faithful import apart, branches
    from alicebob.policies.models import load_adapter, load_base
    from alicebob.policies.template import Template

    params, settings, bob, own = round_.params, round_.params.train, round_.params.bob, _own(round_)
    model, tokenizer = load_base(bob.model, bob.dtype, bob.revision, bob.attention)
    share = branches(model, bob.context)
    together = share or apart(model)
    model = load_adapter(model, round_.inherited("bob"), trainable=True)
    talk = Conversation(tokenizer, bob.preamble, actions_of(round_.world()), Template.of(bob))
    schedule = Schedule(
        own.learning_rate,
        own.epochs,
        settings.batch,
        settings.every,
        settings.patience,
        seed=params.seed,
        micro_batch=settings.micro_batch or 1,  # a pair may be as long as many packs
        checkpointing=settings.gradient_checkpointing,
    )
    fitted, facts = learn(
        Preference(model, own.beta, settings.pack_tokens, own.collapse, share, together, own.nll),
        read_pairs(round_.read("skills") / PAIRS),
        lambda skill: rows_of(skill, talk, bob.context, bob.turns),
        params.skills.validation_share,
        schedule,
        round_.scratch,
        round_.report,
    )
    if fitted.collapsed and fitted.best is None:  # nothing was kept before that: Bob as he was
        base, _ = load_base(bob.model, bob.dtype, bob.revision, bob.attention)
        model = load_adapter(base, round_.inherited("bob"))
    round_.facts["tokens_per_second"] = round(fitted.tokens / fitted.seconds)
    about = f"The adapter of the round before, trained by DPO on the pairs of {round_.id}."
    read = "read once" if share else "read twice, for this kind of model would misread it"
    told = {"what both of a pair begin with": read, "bob.dtype": bob.dtype}
    return Trained(model, about, facts | told, fitted)


METHOD = Method(
    "eto",
    "arXiv 2403.02502",
    bob_on_each_task,
    paired,
    dpo,
    as_he_is,
    nothing_back,
    Settings,
)
