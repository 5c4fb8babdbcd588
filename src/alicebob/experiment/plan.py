"""Plan: what every stage of every round will read, written down before anything runs.

A file per round and stage holds the parameters that the stage and its method's part declare, which
part that is, and the hash of a model's folder. DVC runs a stage again when its file has changed, so
that a key re-runs only who reads it. Invariant: an experiment that can be planned has no unknown
method, no missing part, and no key that was set and is read by nobody. Does not: run anything.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from alicebob.envs import factory
from alicebob.envs.hooks import offers
from alicebob.errors import UsageError
from alicebob.experiment.params import Experiment
from alicebob.experiment.stages import STAGES
from alicebob.experiment.tree import ROOT_ROUND
from alicebob.files import content_hash, remove, write_json
from alicebob.methods import Method, known, method
from alicebob.methods.bases import base_of
from alicebob.methods.parts import Part
from alicebob.methods.shared import as_he_is
from alicebob.settings import TINY, Params

__all__ = ["PLAN", "check", "contents", "declared", "planned", "way", "write"]

PLAN = Path("data/plan")
PRIORS = "alice.without"
MODELS = (
    ("base", "source"),
    ("bob", "model"),
    ("alice", "model"),
    ("eto", "experts"),
    ("learn_by_interact", "documents"),
    ("learn_by_interact", "embedder"),
)  # names or places
BEFORE = ("base", "start", "evaluate")  # the stages of r000
AFTER = ("explore", "skills", "train", "evaluate", "feedback")
#: Blocks that a lineage has whatever its rounds do with them.
SHARED = ("seeds", "env", "base")
#: Other choices of Alice's under which a key that nobody reads might be read.
CHANGES: tuple[dict[str, str], ...] = (
    {},
    {"explore": "model"},
    {"explore": "embedded"},
    {"label": "model"},
    {"label": "embedded"},
)
NO_METHOD = Method("none", "the untrained Bob", act=as_he_is)  # r000 is before all methods


def write(folder: Path = PLAN) -> None:
    """Write the plan of all rounds of `params.yaml`; where `check` raises, nothing is written."""
    found = contents()
    remove(folder)
    for name, data in found.items():
        write_json(folder / name, data)


def contents() -> dict[str, dict[str, Any]]:
    """Return the plan of all rounds of `params.yaml`, by file; raises what `check` raises.

    A round's own file, `round.json`, has its method and parent.
    """
    experiment = Experiment()
    check((), experiment)
    found: dict[str, dict[str, Any]] = {}
    for round_id in (ROOT_ROUND, *experiment.rounds):
        params = experiment.params(round_id)
        prev = experiment.rounds[round_id]["prev"] if round_id != ROOT_ROUND else None
        chosen = method(params.method) if prev else NO_METHOD
        found[f"{round_id}/round.json"] = {"method": chosen.name, "prev": prev}
        for stage in AFTER if prev else BEFORE:
            found[f"{round_id}/{stage}.json"] = _plan(stage, chosen, params)
    return found


def _plan(stage: str, chosen: Method, params: Params) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in sorted(_reads(stage, chosen, params)):
        block, _, key = name.partition(".")
        value = getattr(params, block)
        if key:
            values.setdefault(block, {})[key] = value.model_dump(mode="json")[key]
        else:
            values[block] = value
    part = _part(stage, chosen, params)
    found = {"part": part.name if part else "", "params": values}
    named = [values.get(block, {}).get(key) for block, key in MODELS]
    places = sorted({Path(name) for name in named if name and name != TINY and Path(name).exists()})
    return found | ({"models": content_hash(*places)} if places else {})


def _part(stage: str, chosen: Method, params: Params) -> Part[Any] | None:
    """Return the part that a stage calls, of the method or of the base; None for none."""
    if stage == "base":
        return base_of(params)
    part = STAGES[stage].part
    return chosen.part(part) if part else None


def way(name: str) -> Method:
    """Return a method by the name that a plan has for it."""
    return NO_METHOD if name == NO_METHOD.name else method(name)


def _reads(stage: str, chosen: Method, params: Params) -> set[str]:
    """Return what a stage of a method reads, as names of single values."""
    spec = STAGES[stage]
    part = _part(stage, chosen, params)
    names = [*spec.reads, *(part.reads(params) if part else ())]
    if not offers(factory(params.env.spec), "suite"):
        names = [n for n in _single(names, params) if n != "evaluate.worlds"]
    return set(_single(names, params))


def _single(names: Iterable[str], params: Params) -> list[str]:
    """Return names with whole blocks spelt out."""
    found = []
    for name in names:
        # There is none where a method is only asked about and no round has its block.
        value: Any = getattr(params, name.partition(".")[0], None)
        whole = "." not in name and isinstance(value, BaseModel)
        found += [f"{name}.{key}" for key in type(value).model_fields] if whole else [name]
    return found


def check(rounds: Sequence[str] = (), experiment: Experiment | None = None) -> None:
    """Check the rounds of `params.yaml`, all of them where none is named.

    Raises UnknownName or UsageError for a wrong value, an unknown method or one that lacks a part,
    and for a key that a round sets, or that was changed at the top, and that no part reads.
    """
    experiment = experiment or Experiment()
    if ROOT_ROUND in rounds or not rounds:
        experiment.params(ROOT_ROUND)
        method(experiment.shared["method"])
        rounds = list(experiment.rounds)
    used: set[str] = set()
    for round_id in experiment.rounds:
        if round_id not in rounds:
            continue
        params = experiment.params(round_id)
        read = _all_reads(params)
        used |= read
        for name in _named(experiment.changes(round_id)):
            if name not in read:
                raise _unread(name, params, f"{experiment.path}, rounds.{round_id}")
    if set(rounds) >= set(experiment.rounds):
        _check_shared(experiment, used)


def _check_shared(experiment: Experiment, used: set[str]) -> None:
    """Refuse what was changed at the top and no round reads; as shipped it may stand."""
    params = experiment.params(ROOT_ROUND)
    for stage in BEFORE:
        used = used | _reads(stage, NO_METHOD, params)
    used = used | _all_reads(params)
    shipped, values = _named(_shipped()), _named(experiment.shared)
    for name, value in values.items():
        block = name.partition(".")[0]
        if name in used or block in SHARED or shipped.get(name, value) == value:
            continue
        raise _unread(name, params, str(experiment.path))


def _all_reads(params: Params) -> set[str]:
    """Return what the stages of a round read, and of the priors left out those that matter."""
    chosen = method(params.method)
    found = {"method", *(name for stage in AFTER for name in _reads(stage, chosen, params))}
    for prior in params.alice.without if PRIORS in found else ():
        alone = params.alice.model_copy(update={"without": [prior]})
        of_it = params.model_copy(update={"alice": alone})
        if any(PRIORS in _reads(stage, chosen, of_it) for stage in AFTER):
            found.add(f"{PRIORS}: {prior}")
    return found


def _unread(name: str, params: Params, where: str) -> UsageError:
    """Say who would read a key that is read by nobody here."""
    readers = []
    for other in known():
        for change in CHANGES:
            alice = params.alice.model_copy(update=change)
            if name in _all_reads(params.model_copy(update={"method": other, "alice": alice})):
                told = "".join(f" with alice.{verb}: {who}" for verb, who in change.items())
                readers.append(f"{other}{told}")
                break
    would = f"{' and '.join(readers)} would" if readers else f"in {params.env.spec} nobody would"
    return UsageError(
        f"{where}: {name} is not read by {params.method} as it is set up here; {would}. Take it "
        "out, or change the method."
    )


def _named(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the single values of blocks, under dotted names, and each prior under one too."""
    found = _leaves(data)
    return found | {f"{PRIORS}: {prior}": True for prior in found.get(PRIORS) or ()}


def _leaves(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the single values of blocks, under dotted names; a setting may itself be a mapping."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping) and not prefix:
            found |= _leaves(value, f"{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


@functools.cache
def _shipped() -> dict[str, Any]:
    """Return the values of the preset that `params.yaml` is shipped with."""
    text = importlib.resources.files("alicebob.experiment.presets") / "laptop.yaml"
    shipped: dict[str, Any] = YAML(typ="safe").load(text.read_text(encoding="utf-8"))
    return shipped


def planned(stage: str, round_id: str, folder: Path = PLAN) -> dict[str, Any]:
    """Return the plan of a stage: `part` and `params`; of the stage "round": `method` and `prev`.

    Raises UsageError where there is none, or it is damaged.
    """
    path = folder / round_id / f"{stage}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        Experiment().changes(round_id)  # an unknown round is said to be one
        raise UsageError(f"{path} cannot be read; run 'dvc repro plan' first.") from error
    return found


def declared(values: Mapping[str, Any], shape: type[Params]) -> Params:
    """Return parameters that have these values and no others; reading another one fails."""
    parts: dict[str, Any] = {}
    for block, value in values.items():
        field: Any = shape.model_fields[block].annotation
        whole = isinstance(field, type) and issubclass(field, BaseModel)
        parts[block] = field.model_construct(set(value), **value) if whole else value
    return shape.model_construct(set(parts), **parts)
