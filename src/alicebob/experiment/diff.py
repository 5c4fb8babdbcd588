"""Diff: in what two rounds differ, from their parameters to what Alice said, and how sure that is.

The facts are one dict, which `alicebob.experiment.beside` turns into text. Parameters are those
that the figures were made with, not those of `params.yaml` now. Invariant: no difference is given
of figures that were made in other worlds or amounts. Does not: judge which round is better.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from alicebob import dataset
from alicebob.alice.feedback import Feedback
from alicebob.errors import UsageError
from alicebob.experiment import made
from alicebob.experiment.lock import Lock, stages_of
from alicebob.experiment.params import Experiment, read_yaml
from alicebob.experiment.places import PLACES, place
from alicebob.experiment.results import HEADLINE, figures, flatten, means
from alicebob.experiment.stages import STAGES, address
from alicebob.experiment.tables import others
from alicebob.experiment.tree import tree

__all__ = ["NOT_SHOWN", "SURE", "between", "difference", "figures_of"]

Figure = Mapping[str, Any]

SURE, NOT_SHOWN = "beyond the interval", "no difference shown"
EXAMPLES = 2  # instructions of a kind of skill


def difference(first: str, second: str) -> dict[str, Any]:
    """Return in what two rounds differ, as plain data; pairs are of the first and the second.

    - `rounds` and `parents`: their ids; `notes`: what stands against reading the rest.
    - `parameters`: a pair by name, None where there is none.
    - `stages`: by stage whether its `outputs` are the "same" or "other", and `because` of which
      parameters, or of what it reads; `run_again`: those that come out otherwise because of
      parameters or the parent, and not only of what is drawn for each round alone.
    - `skills`: by kind a pair of `counts`, whether the kind is "gained", "lost" or "changed", and
      `examples` of what the round with more has alone.
    - `figures`: `values`, a pair of mean objects; `difference`, second less first; and what is
      `said` of it: SURE, NOT_SHOWN, or "" where there is no interval.
    - `feedback`: by round what it asks to `explore`, and its `prose`.
    - `made`: a pair by name of commit, code and versions.

    Raises UnknownName for a round that is not there, UsageError for one not evaluated yet,
    DamagedData for a file that is damaged.
    """
    one, two = figures_of(first), figures_of(second)
    lock, apart, rounds = Lock(), others(one, two), tree(read_yaml())
    stale = [round_id for round_id in (first, second) if lock.stale(round_id)]
    notes = [f"{round_id} is stale: 'dvc repro' would make it anew." for round_id in stale]
    if apart:
        told = " and ".join(apart)
        notes.append(f"{first} and {second} were evaluated with another {told}: do not compare.")
    stages = _stages(first, second, lock)
    skills, missing = _skills(first, second)
    ran = [made.versions(made.records(round_id, lock)) for round_id in (first, second)]
    for round_id, found in zip((first, second), ran, strict=True):
        if not found:
            missing.append(f"{made.MADE / round_id} is not here, which says with what it was made.")
    return {
        "rounds": [first, second],
        "parents": [rounds[r]["prev"] if r in rounds else None for r in (first, second)],
        "notes": notes + missing,
        "parameters": _apart(*(lock.settings(round_id) for round_id in (first, second))),
        "stages": stages,
        "run_again": _run_again(stages),
        "skills": skills,
        "figures": _figures(means(one), means(two), compare=not apart),
        "feedback": {round_id: _feedback(round_id) for round_id in (first, second)},
        "made": _apart(*ran) if all(ran) else {},
    }


def between(one: Figure, two: Figure) -> dict[str, Any]:
    """Return the second figure less the first, with its 95 % interval where both have one.

    By the method of variance estimates recovery (Zou and Donner 2008; for shares it is Newcombe's
    of 1998), which holds for intervals that are not symmetric. Rounds of a lineage are tried in the
    same worlds; that they are taken as independent errs on the safe side.
    """
    step = two["mean"] - one["mean"]
    bounds = [figure[bound] for figure in (one, two) for bound in ("low", "high")]
    if any(bound is None for bound in bounds):
        return {"mean": step, "low": None, "high": None}
    low1, high1, low2, high2 = bounds
    return {
        "mean": step,
        "low": step - math.hypot(two["mean"] - low2, high1 - one["mean"]),
        "high": step + math.hypot(high2 - two["mean"], one["mean"] - low1),
    }


def figures_of(round_id: str) -> dict[str, Any]:
    """Return a round's figures; raises what `difference` raises."""
    Experiment().changes(round_id)  # an unknown round is said to be one
    found = figures(round_id)
    if found is None:
        told = address("evaluate", round_id)
        raise UsageError(f"{place('metrics', round_id)} is missing; run 'dvc repro {told}' first.")
    return found


def _apart(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return by name the two values that differ; None stands where there is none."""
    return {
        name: [one.get(name), two.get(name)]
        for name in dict.fromkeys([*one, *two])
        if name not in one or name not in two or one[name] != two[name]
    }


def _figures(
    one: Mapping[str, Figure], two: Mapping[str, Figure], compare: bool
) -> dict[str, dict[str, Any]]:
    """Return the figures that differ, those of the headline first."""
    found = {}
    for name in dict.fromkeys([*HEADLINE.values(), *sorted({*one, *two})]):
        pair = [one.get(name), two.get(name)]
        if pair[0] == pair[1]:
            continue
        step = between(one[name], two[name]) if compare and name in one and name in two else None
        said = ""
        if step and step["low"] is not None:
            said = NOT_SHOWN if step["low"] <= 0 <= step["high"] else SURE
        found[name] = {"values": pair, "difference": step, "said": said}
    return found


def _stages(first: str, second: str, lock: Lock) -> dict[str, dict[str, Any]]:
    """Return of each stage that both rounds have if its outputs differ, and because of what."""
    one, two = lock.of(first), lock.of(second)
    found = {}
    for stage in stages_of(second):
        if stage not in one or stage not in two:
            continue
        plans = [flatten(lock.plan(stage, round_id)) for round_id in (first, second)]
        because = [name.removeprefix("params.") for name in _apart(*plans)]
        reads = [_kinds(e[stage].deps, r) for e, r in ((one, first), (two, second))]
        outs = [_kinds(e[stage].outs, r) for e, r in ((one, first), (two, second))]
        outputs = "same" if outs[0] == outs[1] else "other"
        found[stage] = {"outputs": outputs, "because": [*because, *_apart(*reads)]}
    return found


def _kinds(hashes: Mapping[str, str], round_id: str) -> dict[str, str]:
    """Return hashes by kind of artifact instead of by path, but for plans, which are read."""
    own = {str(place(kind, round_id)): kind for kind in PLACES}
    of_parent = {path.rpartition("/")[0]: kind for path, kind in own.items()}
    return {
        own.get(path) or f"the parent's {of_parent[path.rpartition('/')[0]]}": md5
        for path, md5 in hashes.items()
        if path.rpartition("/")[0] in of_parent
    }


def _run_again(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the stages that differ because of parameters or the parent, or of another of these."""
    made_by = {kind: stage for stage in stages for kind in STAGES[stage].outs}
    found: list[str] = []
    for stage, told in stages.items():
        if any(made_by.get(cause, "") in ("", *found) for cause in told["because"]):
            found.append(stage)
    return found


def _skills(first: str, second: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the kinds of which the rounds have other numbers of skills, and what is not here."""
    folders = [place("skills", round_id) for round_id in (first, second)]
    if missing := [folder for folder in folders if not folder.exists()]:
        return {}, [f"{folder} is not here; 'dvc pull' brings it." for folder in missing]
    named = [dataset.read_names(folder) for folder in folders]
    counts = [Counter(skill["name"] for skill in side) for side in named]
    ids = [{skill["id"] for skill in side} for side in named]
    found = {}
    for kind in sorted(set().union(*counts)):
        if counts[0][kind] != counts[1][kind]:
            more = int(counts[1][kind] > counts[0][kind])
            new = [s for s in named[more] if s["name"] == kind and s["id"] not in ids[1 - more]]
            told = list(dict.fromkeys(skill["instruction"] for skill in new))[:EXAMPLES]
            pair = [count[kind] for count in counts]
            change = "changed" if all(pair) else "gained" if more else "lost"
            found[kind] = {"counts": pair, "change": change, "examples": told}
    return found, []


def _feedback(round_id: str) -> dict[str, Any]:
    """Return what a round's feedback asks for and says; nothing where it is not here."""
    folder = place("feedback", round_id)
    if not (folder / "feedback.json").exists():
        return {"explore": {}, "prose": ""}
    found = Feedback.load(folder)
    return {"explore": dict(found.explore), "prose": found.prose}
