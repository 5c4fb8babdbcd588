"""Lock: what `dvc.lock` vouches for: with which plan, and from what, the figures of a round came.

`params.yaml` says what the rounds would be made with now, `dvc.lock` what they were made with; the
two differ as soon as a value is edited. Invariant: nothing is taken from a plan that is not, by its
hash, the one the lock names. Does not: run, or check out, anything.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData, UsageError
from alicebob.experiment.params import read_yaml
from alicebob.experiment.places import place
from alicebob.experiment.plan import AFTER, BEFORE, PLAN, contents
from alicebob.experiment.results import flatten, read_json
from alicebob.experiment.stages import STAGES, address
from alicebob.experiment.tree import ROOT_ROUND, tree
from alicebob.files import json_text

__all__ = ["Entry", "Lock", "PlanLost", "stages_of"]

LOCK = Path("dvc.lock")
REPLAN = "run 'dvc repro plan' to make it again"


class PlanLost(UsageError):
    """The plan that a round was made with is nowhere to be found any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a stage read and wrote when it last ran: the hash of each by its path."""

    deps: Mapping[str, str]
    outs: Mapping[str, str]


def stages_of(round_id: str) -> tuple[str, ...]:
    """Return the stages of a round, in their order."""
    return BEFORE if round_id == ROOT_ROUND else AFTER


class Lock:
    """The entries of `dvc.lock`, but for stages of which DVC has yet to note how they ended.

    Raises DamagedData, naming it, where it cannot be read.
    """

    def __init__(self, *under_way: str) -> None:
        self.entries = {k: v for k, v in _read(LOCK).items() if k not in under_way}
        self._made = {path: md5 for e in self.entries.values() for path, md5 in e.outs.items()}

    @functools.cached_property
    def now(self) -> dict[str, dict[str, Any]]:
        """The plan that `params.yaml` gives now, by file; raises what it raises."""
        return contents()

    @functools.cached_property
    def _parents(self) -> dict[str, str]:
        return {name: item["prev"] for name, item in tree(read_yaml()).items()}

    def of(self, round_id: str) -> dict[str, Entry]:
        """Return the entries of a round, by stage."""
        named = {stage: address(stage, round_id) for stage in stages_of(round_id)}
        return {s: self.entries[name] for s, name in named.items() if name in self.entries}

    def hash_of(self, path: Path) -> str | None:
        """Return the hash of an output, by its path; of a plan that of the file that is there."""
        if path.is_relative_to(PLAN):
            return _md5(path.read_bytes())
        return self._made.get(str(path))

    def whole(self, round_id: str) -> bool:
        """Tell whether a round's figures came from what the lock has now for what they came from.

        They do not while a round is being run again. What has no entry is taken as it is.
        """
        metrics = place("metrics", round_id)
        noted = self._made.get(str(metrics))
        return (noted is None or noted == _md5(metrics.read_bytes())) and all(
            self._made.get(path, md5) == md5
            for entry in self.of(round_id).values()
            for path, md5 in entry.deps.items()
        )

    def stale(self, round_id: str) -> bool:
        """Tell whether `dvc repro` would make a round's figures anew.

        Raises what `params.yaml` raises.
        """
        for path in (place(kind, round_id) for kind in ("metrics", "headline")):
            if path.is_file() and self._made.get(str(path)) != _md5(path.read_bytes()):
                return True
        leading = [stage for stage in stages_of(round_id) if stage != "feedback"]
        return any(self._behind(stage, round_id) for stage in leading)

    @functools.cache  # noqa: B019 - a lock lives as long as the command that reads it
    def _behind(self, stage: str, round_id: str) -> bool:
        """Tell whether a stage's entry is not what it would be now, or one that it rests on."""
        spec, entry = STAGES[stage], self.entries.get(address(stage, round_id))
        prev = self._parents.get(round_id, ROOT_ROUND)
        planned = PLAN / round_id / f"{stage}.json"
        read = [str(planned), *(str(place(kind, round_id)) for kind in spec.own)]
        read += [str(place(kind, prev)) for kind in spec.parent]
        if entry is None or sorted(read) != sorted(entry.deps):
            return True
        if entry.deps[str(planned)] != _md5(self._text_now(stage, round_id)):
            return True
        if any(self._made.get(path, md5) != md5 for path, md5 in entry.deps.items()):
            return True
        above = [(kind, ROOT_ROUND if kind == "base" else round_id) for kind in spec.own]
        above += [(kind, prev) for kind in spec.parent]
        return any(self._behind(_maker(kind, whose), whose) for kind, whose in above)

    def _text_now(self, stage: str, round_id: str) -> bytes:
        return json_text(self.now[f"{round_id}/{stage}.json"]).encode()

    def plan(self, stage: str, round_id: str) -> dict[str, Any]:
        """Return the plan that a stage of a round ran with; where it has no entry, the one to run.

        Raises PlanLost where that plan is not at hand, DamagedData where it is damaged.
        """
        path = PLAN / round_id / f"{stage}.json"
        entry = self.entries.get(address(stage, round_id))
        wanted = entry.deps.get(str(path)) if entry else None
        if wanted is None:
            return _plan(path) if path.exists() else self.now[f"{round_id}/{stage}.json"]
        for text in self._copies(path, stage, round_id, wanted):
            if _md5(text) == wanted:
                found: dict[str, Any] = json.loads(text)
                return found
        raise PlanLost(
            f"{path} is not what {round_id} was made with, and that plan is not at hand; run "
            "'dvc repro'."
        )

    def _copies(self, path: Path, stage: str, round_id: str, md5: str) -> Iterator[bytes]:
        if path.is_file():
            yield path.read_bytes()
        yield self._text_now(stage, round_id)
        yield from _cached(md5)

    def settings(self, round_id: str) -> dict[str, Any]:
        """Return the parameters that a round was made with, under dotted names; raises as `plan`.

        `method` is missing where the plan has changed since and does not tell it any more.
        """
        plans = {stage: self.plan(stage, round_id) for stage in stages_of(round_id)}
        found: dict[str, Any] = {}
        for stage, plan in plans.items():
            found |= flatten(plan["params"])
            if plan.get("part"):
                found[f"part.{stage}"] = plan["part"]
        here = {path.stem: _plan(path) for path in sorted((PLAN / round_id).glob("*.json"))}
        if all(here.get(stage) == plan for stage, plan in plans.items()) and "round" in here:
            found["method"] = here["round"].get("method")
        return dict(sorted(found.items()))


def _plan(path: Path) -> dict[str, Any]:
    found = read_json(path, REPLAN)
    if path.name != "round.json" and not isinstance(found.get("params"), dict):
        raise DamagedData(f"{path} is damaged (it holds no parameters); {REPLAN}.")
    return found


def _maker(kind: str, round_id: str) -> str:
    """Return the stage of a round that makes an artifact."""
    return next(stage for stage in stages_of(round_id) if kind in STAGES[stage].outs)


def _read(path: Path) -> dict[str, Entry]:
    if not path.exists():
        return {}
    try:
        stages = read_yaml(path)["stages"]
        return {name: Entry(_hashes(e, "deps"), _hashes(e, "outs")) for name, e in stages.items()}
    except (UsageError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DamagedData(
            f"{path} is damaged ({type(error).__name__}: {reason}); restore it from git, or delete "
            "it and run 'dvc repro', which takes what is cached."
        ) from error


def _hashes(entry: Mapping[str, Any], side: str) -> dict[str, str]:
    return {item["path"]: item["md5"] for item in entry.get(side, [])}


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _cached(md5: str) -> Iterator[bytes]:
    """Yield a file from DVC's cache, if it is there."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            yield Path(repo.cache.local.oid_to_path(md5)).read_bytes()
    except (DvcException, OSError):
        return
