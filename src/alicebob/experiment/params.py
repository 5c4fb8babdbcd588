"""Parameters: what `params.yaml` says, read and merged round by round, and checked as a whole.

Shared blocks stand once; a round lists what it changes, block by block. Invariant: an unknown or
misplaced key, an overlap of seeds, a missing parent or a cycle is an error of one sentence, never a
silent no-op. Does not: say what a key may be (see `alicebob.settings`), or who reads it (see
`alicebob.experiment.plan`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, create_model
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from alicebob.errors import UnknownName, UsageError
from alicebob.experiment.tree import ROOT_ROUND, tree
from alicebob.methods import known, method
from alicebob.settings import Params

__all__ = ["PATH", "Experiment", "load_params", "read_yaml", "schema"]

PATH = Path("params.yaml")
DEEPEST = 30  # values within values
#: What a round may change: not the worlds, the environment or the base, which a lineage shares.
OVERRIDES = ("method", "bob", "alice", "explore", "skills", "train", "evaluate", "feedback")


def read_yaml(path: Path = PATH) -> dict[str, Any]:
    """Return the mapping a YAML file holds; raises UsageError where it cannot be read."""
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no {path} here; run this from the repository's root.") from None
    except (YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is not valid YAML ({reason}).") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} must hold a mapping of parameters.")
    _plain(data, path)
    return data


def _plain(data: Any, path: Path, depth: int = 0) -> None:
    """Raise UsageError for what is no plain data: names that are no text, or no end of nesting."""
    if depth > DEEPEST:
        raise UsageError(f"{path} nests its values more than {DEEPEST} deep, or one within itself.")
    if isinstance(data, Mapping):
        for name in data:
            if not isinstance(name, str) and depth != 1:  # of a round, `tree` says so itself
                raise UsageError(f"{path}: the name {name!r:.60} must be text; put it in quotes.")
    values = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    for value in values:
        _plain(value, path, depth + 1)


@functools.cache
def schema(methods: tuple[str, ...]) -> type[Params]:
    """Return the shape of all parameters, with the own blocks of these methods."""
    shapes = {name: method(name).settings for name in methods}
    own: dict[str, Any] = {
        name: (shape, Field(default_factory=shape)) for name, shape in shapes.items() if shape
    }
    return create_model("Params", __base__=Params, **own) if own else Params


class Experiment:
    """The parameters of a file: its tree of rounds, and what each of them has.

    `data` is what it would hold, by default what it does. Raises UsageError where the file cannot
    be read or its rounds are no tree.
    """

    def __init__(self, path: Path = PATH, data: dict[str, Any] | None = None) -> None:
        self.path, self.data = path, read_yaml(path) if data is None else data
        self.rounds = tree(self.data, path)
        self.shared = {name: value for name, value in self.data.items() if name != "rounds"}

    @functools.cached_property
    def _own(self) -> tuple[str, ...]:
        """The methods of these rounds, and those whose own blocks stand in the file."""
        named = {self.shared.get("method"), *self.shared}
        for item in self.rounds.values():
            named |= {item.get("method"), *item}
        return tuple(sorted(name for name in known() if name in named))

    def changes(self, round_id: str) -> dict[str, Any]:
        """Return what a round changes, block by block; nothing for r000.

        Raises UnknownName where there is no such round.
        """
        if round_id != ROOT_ROUND and round_id not in self.rounds:
            raise UnknownName("round", round_id, [ROOT_ROUND, *self.rounds], str(self.path))
        item = self.rounds.get(round_id, {})
        return {name: value for name, value in item.items() if name != "prev"}

    def params(self, round_id: str) -> Params:
        """Return the parameters of a round, checked.

        Raises UnknownName for a name that is not a parameter, UsageError for a value out of range
        or a round that is not in the tree.
        """
        self._check(self.shared, f"{self.path}")
        changes = self.changes(round_id)
        where = f"{self.path}, rounds.{round_id}"
        return self._check(self._merged(changes, where), f"rounds.{round_id}")

    def _merged(self, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
        merged = dict(self.shared)
        for name, value in changes.items():
            if name not in OVERRIDES and name not in self._own:
                if name in Params.model_fields:
                    raise UsageError(
                        f"{where}: {name} is shared by all rounds of a lineage; set it at the top."
                    )
                raise UnknownName("parameter", name, [*OVERRIDES, *self._own], where)
            before: Any = merged.get(name, {} if name in self._own else None)
            mapping = isinstance(value, Mapping) and isinstance(before, Mapping)
            merged[name] = {**before, **value} if mapping else value
        return merged

    def _check(self, data: Mapping[str, Any], where: str) -> Params:
        shape = schema(self._own)
        try:
            return shape.model_validate(data)
        except ValidationError as error:
            # A misspelt name first: the "field required" beside it is only its shadow.
            problem = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
            place = [str(part) for part in problem["loc"]]
            if problem["type"] == "extra_forbidden":
                raise UnknownName(
                    "parameter", ".".join(place), _names(shape, place[:-1]), where
                ) from None
            message = problem["msg"].removeprefix("Value error, ")
            got = "" if isinstance(problem["input"], Mapping) else f", got {problem['input']!r}"
            told = ".".join(place) or "parameters"
            raise UsageError(f"{where}: {told}: {message}{got}.") from None


def load_params(round_id: str, path: Path = PATH) -> Params:
    """Return the parameters of a round of a file; raises what `Experiment` raises."""
    return Experiment(path).params(round_id)


def _names(shape: type[BaseModel], prefix: list[str]) -> list[str]:
    """Return the names that there are where a wrong one stands."""
    model: Any = shape
    for part in prefix:
        model = model.model_fields[part].annotation
    return [".".join([*prefix, name]) for name in model.model_fields]
