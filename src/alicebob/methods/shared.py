"""Parts that most methods hand over: Bob trained on skills, and Bob as he is.

Does not: know which methods do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alicebob import dataset
from alicebob.alice.feedback import Feedback
from alicebob.alice.voice import labels_open_play
from alicebob.bob import playing
from alicebob.envs.hooks import actions_of
from alicebob.methods.parts import Advice, Round, Trained, part
from alicebob.rollout import Actor
from alicebob.settings import BOBS_MODEL, BOBS_TEMPLATE, Params, Train

if TYPE_CHECKING:
    from alicebob.bob.training import Schedule

__all__ = ["SEEN", "as_he_is", "nothing_back", "sft", "shares_of", "trained_on_skills"]

_SHARES = {"open_play": "open_play_share", "open_play_again": "again_share"}  # by kind of row
_TOLD = ("bob.preamble", *BOBS_TEMPLATE)
_MODEL = (*BOBS_MODEL, "bob.dtype")
#: What says which model Bob is, and what he sees.
SEEN = (*_MODEL, *_TOLD, "bob.context", "bob.turns")
_SPOKEN = ("rollout", "max_new_tokens", "temperature", "top_p", "stop", "constrained")


@part("env", *SEEN, *(f"bob.{name}" for name in _SPOKEN))
def as_he_is(round_: Round, adapter: Path, width: int) -> Actor:
    """Let Bob act by his adapter alone."""
    return playing.actor(adapter, round_.params.bob, round_.world, width)


def _training(params: Params) -> list[str]:
    """Return the names of the block `train`: those about open play only where there is any.

    Nor is there `by_feedback`, where what is asked for are parts of a goal and no kinds of skill.
    """
    idle = () if labels_open_play(params) else (*_SHARES.values(), "by_feedback")
    return [f"train.{name}" for name in Train.model_fields if name not in idle]


@part(
    "seed",
    "env",
    *SEEN,
    "bob.lora_rank",
    "bob.lora_alpha",
    _training,
    "skills.validation_share",
)
def sft(round_: Round) -> Trained:
    """Train Bob's adapter on the skills of all rounds, from the base or on from the parent's."""
    return trained_on_skills(round_, shares_of(round_))


def shares_of(round_: Round) -> dict[str, float]:
    """Return the shares of the budget that kinds of row have in a round."""
    return {kind: getattr(round_.params.train, name, 0.0) for kind, name in _SHARES.items()}


def trained_on_skills(round_: Round, shares: Mapping[str, float]) -> Trained:
    """Do as `sft` does, with these shares of the budget; it reads what `sft` reads."""
    from alicebob.bob.sft import Lora, new_adapter, packs_of, train
    from alicebob.policies.conversation import Conversation
    from alicebob.policies.faithful import apart
    from alicebob.policies.models import load_adapter, load_base
    from alicebob.policies.template import Template

    params, settings, bob = round_.params, round_.params.train, round_.params.bob
    model, tokenizer = load_base(bob.model, bob.dtype, bob.revision, bob.attention)
    together, asked = apart(model), _asked(round_)
    skills = dataset.read_skills(round_.read("skills"))
    actions, template = actions_of(round_.world()), Template.of(bob)
    packs, looks, rows, long = packs_of(
        skills,
        Conversation(tokenizer, bob.preamble, actions, template),
        context=bob.context,
        turns=bob.turns,
        pack_tokens=settings.pack_tokens,
        budget=settings.budget * len({skill.round for skill in skills}),
        repeat=settings.repeat,
        shares=shares,
        validation_share=params.skills.validation_share,
        seed=params.seed,
        asked=asked,
        together=together,
    )
    if settings.init == "parent":
        model = load_adapter(model, round_.inherited("bob"), trainable=True)
    else:
        model = new_adapter(model, Lora(bob.lora_rank, bob.lora_alpha), params.seed)
    schedule = _schedule(settings, params.seed)
    fitted = train(model, packs, looks, schedule, round_.scratch / "fit", round_.report)
    round_.facts["tokens_per_second"] = round(fitted.tokens / fitted.seconds)
    facts: dict[str, Any] = {
        "steps": fitted.steps,
        "tokens": fitted.tokens,
        "best validation loss": fitted.best,
        "rows at hand": rows,
    }
    if long:
        facts["skills left out, too long for bob.context"] = long
    if asked:
        facts["weight by feedback"] = {kind: round(1 + more, 2) for kind, more in asked.items()}
    if not together:
        facts["rows in a pack"] = "one: this kind of model would mix what is packed together"
    about = f"A LoRA adapter trained on the skills of every round up to {round_.id}."
    return Trained(model, about, facts, fitted)


def _asked(round_: Round) -> dict[str, float]:
    """Return how much more weight has what the last feedback asks for: most, for what it does most.

    Where it asks for nothing, nothing has.
    """
    strength = getattr(round_.params.train, "by_feedback", 0.0)
    if not strength:
        return {}
    asked = Feedback.load(round_.inherited("feedback")).explore
    most = max(asked.values(), default=0.0)
    return {kind: strength * w / most for kind, w in sorted(asked.items()) if w > 0}


def _schedule(settings: Train, seed: int) -> Schedule:
    from alicebob.bob.training import Schedule

    return Schedule(
        settings.learning_rate,
        settings.epochs,
        settings.batch,
        settings.every,
        settings.patience,
        seed=seed,
        micro_batch=settings.micro_batch,
        checkpointing=settings.gradient_checkpointing,
    )


@part()
def nothing_back(round_: Round) -> Advice:
    """Give no feedback: the next exploration does not depend on how Bob did."""
    return Advice(Feedback.empty(round_.id, "This round's method gives none."))
