"""Parameters: what `params.yaml` may say, checked before anything runs.

Shared blocks stand once; a round lists what it changes, block by block. Invariant: an unknown or
inapplicable key, an overlap of seeds, a missing parent or a cycle is an error of one sentence,
never a silent no-op. Does not: know of launchers and hardware, which live in the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from alicebob.errors import UnknownName, UsageError

__all__ = ["ROOT_ROUND", "Params", "load_params", "read_yaml"]

ROOT_ROUND = "r000"  # the untrained Bob
PATH = Path("params.yaml")

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[int, int], Field(strict=False)]  # YAML has lists


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Env(_Block):
    """Which environment, and how it is set up."""

    spec: str
    settings: dict[str, Any] = {}


class Seeds(_Block):
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


class Base(_Block):
    """Tiny Bob before anything is learnt."""

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


class Bob(_Block):
    """The model, what he sees and how he speaks."""

    model: str
    dtype: Literal["float32", "bfloat16", "float16"]
    preamble: Literal["brief", "full"]
    context: Annotated[int, Field(ge=64)]
    turns: Annotated[int, Field(ge=0)]
    max_new_tokens: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    stop: list[Annotated[str, Field(min_length=1)]]
    constrained: bool
    lora_rank: Count
    lora_alpha: Positive


class Alice(_Block):
    """What of Alice is embedded, what a language model, and which."""

    explorer: Literal["curious", "model"]
    labeller: Literal["rules", "model"]
    thoughts: Literal["rules", "model"]
    judge: Literal["rules", "model"]
    feedback: Literal["rules", "model"]
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

    @property
    def written(self) -> bool:
        """True where any part needs a language model."""
        parts = (self.explorer, self.labeller, self.thoughts, self.judge, self.feedback)
        return "model" in parts

    @model_validator(mode="after")
    def _fitting(self) -> Alice:
        if self.written and not self.model:
            raise ValueError("alice.model must name a model where a part of Alice is 'model'")
        if self.adapter == "parent" and self.model != "bob":
            raise ValueError("alice.adapter: parent needs alice.model: bob")
        if self.max_new_tokens >= self.context:
            raise ValueError("alice.max_new_tokens must be below alice.context")
        return self


class Explore(_Block):
    """How much Alice explores."""

    episodes: Count
    max_turns: Count
    generation: Count


class Skills(_Block):
    """What becomes of what she saw."""

    thoughts: bool
    open_play: bool
    open_play_share: Share
    max_turns: Count
    validation_share: Share


class Train(_Block):
    """How Bob learns."""

    init: Literal["base", "parent"]
    budget: Count
    open_play_share: Share
    again_share: Share
    repeat: Count
    epochs: Positive
    learning_rate: Positive
    batch: Count
    pack_tokens: Annotated[int, Field(ge=64)]
    every: Count
    patience: Annotated[int, Field(ge=0)]


class Evaluate(_Block):
    """How much Bob is tried, on each of the two splits."""

    worlds: Count
    open_play: Count
    max_turns: Count
    width: Count


class Feedback(_Block):
    """How far the next exploration follows what Alice saw."""

    strength: Annotated[float, Field(ge=0)]


class Params(_Block):
    """All parameters of one round, its changes merged in."""

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
        if self.train.pack_tokens < self.bob.context:
            raise ValueError("train.pack_tokens must be at least bob.context")
        return self


#: What a round may change: not the worlds, the environment or the base, which a lineage shares.
OVERRIDES = ("method", "bob", "alice", "explore", "skills", "train", "evaluate", "feedback")


def read_yaml(path: Path = PATH) -> dict[str, Any]:
    """Return the mapping a YAML file holds; raises UsageError where it cannot be read."""
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no {path} here; run this from the repository's root.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is not valid YAML ({reason}).") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} must hold a mapping of parameters.")
    return data


def load_params(round_id: str, path: Path = PATH) -> Params:
    """Return the parameters of a round, checked.

    Raises UnknownName for a name that is not a parameter, UsageError for a value out of range or a
    round that is not in the tree.
    """
    data = read_yaml(path)
    rounds = tree(data, path)
    shared = {name: value for name, value in data.items() if name != "rounds"}
    _check(shared, f"{path}")
    if round_id != ROOT_ROUND and round_id not in rounds:
        raise UnknownName("round", round_id, [ROOT_ROUND, *rounds], str(path))
    changes = dict(rounds.get(round_id) or {})
    changes.pop("prev", None)
    return _check(_merged(shared, changes, f"{path}, rounds.{round_id}"), f"rounds.{round_id}")


def tree(data: Mapping[str, Any], path: Path = PATH) -> dict[str, dict[str, Any]]:
    """Return the rounds of a parameter file, checked to be a tree that grows from r000."""
    rounds = data.get("rounds") or {}
    if not isinstance(rounds, Mapping):
        raise UsageError(f"{path}: rounds must be a mapping such as 'r001: {{prev: r000}}'.")
    for name, item in rounds.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise UsageError(
                f"{path}: round {name!r} must be a letter and then letters, digits, - or _."
            )
        if name == ROOT_ROUND:
            raise UsageError(f"{path}: {ROOT_ROUND} is the untrained Bob and cannot be defined.")
        if not isinstance(item, Mapping) or "prev" not in item:
            raise UsageError(f"{path}: round {name} needs a parent, such as 'prev: {ROOT_ROUND}'.")
        parent = item["prev"]
        if parent != ROOT_ROUND and parent not in list(rounds):  # a list: it may be unhashable
            raise UsageError(
                f"{path}: the parent {parent!r} of round {name} does not exist. "
                f"Rounds: {', '.join([ROOT_ROUND, *rounds])}."
            )
    for name in rounds:
        seen, at = [name], rounds[name]["prev"]
        while at != ROOT_ROUND:
            if at in seen:
                raise UsageError(f"{path}: rounds {' -> '.join([*seen, at])} form a cycle.")
            seen.append(at)
            at = rounds[at]["prev"]
    return {name: dict(item) for name, item in rounds.items()}


def _merged(shared: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged = dict(shared)
    for name, value in changes.items():
        if name not in OVERRIDES:
            if name in Params.model_fields:
                raise UsageError(
                    f"{where}: {name} is shared by all rounds of a lineage; set it at the top."
                )
            raise UnknownName("parameter", name, OVERRIDES, where)
        mapping = isinstance(value, Mapping) and isinstance(shared.get(name), Mapping)
        merged[name] = {**shared[name], **value} if mapping else value
    return merged


def _check(data: Mapping[str, Any], where: str) -> Params:
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        # A misspelt name first: the "field required" beside it is only its shadow.
        problem = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
        place = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            model: Any = Params
            for part in place[:-1]:
                model = model.model_fields[part].annotation
            raise UnknownName(
                "parameter", ".".join(place), [*_names(model, place[:-1])], where
            ) from None
        message = problem["msg"].removeprefix("Value error, ")
        got = "" if isinstance(problem["input"], Mapping) else f", got {problem['input']!r}"
        raise UsageError(f"{where}: {'.'.join(place) or 'parameters'}: {message}{got}.") from None


def _names(model: type[BaseModel], prefix: list[str]) -> list[str]:
    return [".".join([*prefix, name]) for name in model.model_fields]
