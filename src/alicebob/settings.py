"""Settings: the blocks of parameters that an experiment may choose, and what each value may be.

The names, ranges and meanings of `params.yaml` stand here and nowhere else. Invariant: an unknown
key or a value out of range does not validate. Does not: read files, or know of launchers and
hardware, which live in the environment.
"""

from __future__ import annotations

import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "BOBS_MODEL",
    "BOBS_TEMPLATE",
    "DATE",
    "NO_SYSTEM",
    "OWN_SYSTEM",
    "RANDOM_PLAY",
    "TINY",
    "Alice",
    "Base",
    "Block",
    "Bob",
    "Count",
    "Env",
    "Evaluate",
    "Explore",
    "Feedback",
    "Params",
    "Seeds",
    "Share",
    "Skills",
    "Train",
]

TINY = "models/base"  # where the stage `base` lays a model down
RANDOM_PLAY = "random play"  # the source of a base that is built on this machine

OWN_SYSTEM, NO_SYSTEM = "template", "none"  # for bob.system: the template's own text, or none
DATE = "2026-01-01"  # in templates that write today's

#: Names of the parameters that say which model Bob is, and how his chat template is rendered.
BOBS_MODEL = ("bob.model", "bob.revision", "bob.attention")
BOBS_TEMPLATE = ("bob.system", "bob.template", "bob.date")

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[int, int], Field(strict=False)]  # YAML has lists
Part = Literal["embedded", "model"]


def _day(value: Any) -> Any:
    """Return a date as text, as YAML does not leave it; raises ValueError where it is none."""
    text = value.isoformat() if type(value) is datetime.date else value
    if isinstance(text, str):
        datetime.date.fromisoformat(text)
    return text


class Block(BaseModel):
    """A block of parameters. A method of your own may bring one, named as the method."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Env(Block):
    """Which environment, and how it is set up."""

    spec: str
    settings: dict[str, Any] = {}


class Seeds(Block):
    """Ranges of worlds, [first, last), that never meet."""

    explore: Range
    validation: Range
    test: Range

    @model_validator(mode="after")
    def _apart(self) -> Seeds:
        ranges = sorted((getattr(self, name), name) for name in type(self).model_fields)
        for (first, last), name in ranges:
            if not 0 <= first < last:
                raise ValueError(f"seeds.{name} must be [first, last) with 0 <= first < last")
        for ((_, last), one), ((first, _), other) in pairwise(ranges):
            if first < last:
                raise ValueError(f"seeds.{one} and seeds.{other} overlap; keep the worlds apart")
        return self

    def of(self, purpose: str) -> range:
        """Return the range of explore, validation or test."""
        return range(*getattr(self, purpose))


class Base(Block):
    """Bob before anything is learnt: where he is from, and how tiny Bob is built."""

    source: Annotated[str, Field(min_length=1)]
    episodes: Count
    max_turns: Count
    vocabulary: Annotated[int, Field(ge=300)]
    layers: Count
    width: Annotated[int, Field(ge=32, multiple_of=32)]
    context: Annotated[int, Field(ge=512)]
    pack_tokens: Annotated[int, Field(ge=64)]
    batch: Count
    epochs: Positive
    learning_rate: Positive


class Bob(Block):
    """The model, what he sees and how he speaks."""

    model: str
    revision: str = ""
    attention: str = ""
    rollout: Literal["local", "served"] = "local"
    dtype: Literal["float32", "bfloat16", "float16"]
    preamble: Literal["brief", "full"]
    system: str = OWN_SYSTEM
    template: dict[str, Any] = {}
    date: Annotated[str, BeforeValidator(_day)] = DATE
    context: Annotated[int, Field(ge=64)]
    turns: Annotated[int, Field(ge=0)]
    max_new_tokens: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    stop: list[Annotated[str, Field(min_length=1)]]
    constrained: bool
    lora_rank: Count
    lora_alpha: Positive

    @model_validator(mode="after")
    def _fitting(self) -> Bob:
        if self.constrained and self.rollout == "served":
            raise ValueError("bob.constrained needs bob.rollout: local")
        return self


class Alice(Block):
    """Which of Alice's verbs are embedded, which a language model's, and whose."""

    explore: Part
    label: Part
    think: Literal["embedded", "model", "none"]
    judge: Part
    advise: Part
    correct: Part = "embedded"
    propose: Part = "embedded"
    query: Part = "embedded"
    model: str
    adapter: Literal["none", "parent"]
    dtype: Literal["float32", "bfloat16", "float16"]
    context: Annotated[int, Field(ge=64)]
    turns: Annotated[int, Field(ge=0)]
    max_new_tokens: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    labels: Count
    personas: list[str]
    without: list[str]

    @model_validator(mode="after")
    def _fitting(self) -> Alice:
        verbs = ("explore", "label", "think", "judge", "advise", "correct", "propose", "query")
        if "model" in [getattr(self, verb) for verb in verbs] and not self.model:
            raise ValueError("alice.model must name a model where a verb of Alice is 'model'")
        if self.adapter == "parent" and self.model != "bob":
            raise ValueError("alice.adapter: parent needs alice.model: bob")
        if self.query == "model" and self.adapter == "parent":
            raise ValueError("alice.query: model is asked while Bob is tried; alice.adapter: none")
        if self.max_new_tokens >= self.context:
            raise ValueError("alice.max_new_tokens must be below alice.context")
        return self


class Explore(Block):
    """How much is explored."""

    episodes: Count
    max_turns: Count
    generation: Count
    adapted: Share = 0.0


class Skills(Block):
    """What becomes of the episodes."""

    open_play: bool
    open_play_share: Share
    max_turns: Count
    validation_share: Share


class Train(Block):
    """How Bob learns."""

    init: Literal["base", "parent"]
    budget: Count
    open_play_share: Share
    again_share: Share
    by_feedback: Annotated[float, Field(ge=0)] = 0.0
    repeat: Count
    epochs: Positive
    learning_rate: Positive
    batch: Count
    micro_batch: Annotated[int, Field(ge=0)]
    gradient_checkpointing: bool
    pack_tokens: Annotated[int, Field(ge=64)]
    every: Count
    patience: Annotated[int, Field(ge=0)]


class Evaluate(Block):
    """How much Bob is tried, on each of the two splits."""

    worlds: Count
    open_play: Count
    max_turns: Count
    hopeless: Annotated[int, Field(ge=0)]
    width: Count


class Feedback(Block):
    """How far the next exploration follows what Alice saw."""

    strength: Annotated[float, Field(ge=0)]


class Params(Block):
    """All parameters of one round, its changes merged in; or, for a stage, those that it reads."""

    seed: Annotated[int, Field(ge=0)]
    method: str
    env: Env
    seeds: Seeds
    base: Base
    bob: Bob
    alice: Alice
    explore: Explore
    skills: Skills
    train: Train
    evaluate: Evaluate
    feedback: Feedback

    @model_validator(mode="after")
    def _fitting(self) -> Params:
        if self.train.micro_batch and self.train.batch % self.train.micro_batch:
            raise ValueError("train.batch must be a multiple of train.micro_batch")
        if self.train.pack_tokens < self.bob.context:
            raise ValueError("train.pack_tokens must be at least bob.context")
        return self
