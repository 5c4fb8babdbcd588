"""Results: the figures of a round as its files hold them, read and checked.

Three lengths: everything (`metrics/`, documented in docs/metrics.md), flat under dotted names, and
the headline, the few numbers that DVC compares. Invariant: what comes out of here has the shape
that is documented; a file of another is damaged, and is named. Does not: work out a figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData
from alicebob.experiment.places import place
from alicebob.experiment.stages import address

__all__ = [
    "HEADLINE",
    "MADE_WITH",
    "figures",
    "flat_metrics",
    "flatten",
    "headline",
    "made_with",
    "means",
    "read_json",
    "shown",
]

MEAN = {"mean", "low", "high", "n"}
MADE_WITH = "made_with"  # the key of what the figures were made with; not figures themselves
HEADLINE = {
    "skills": "test.skills.success",
    "progress": "test.open_play.progress",
    "success": "test.open_play.success",
    "score": "test.open_play.score",
    "reward": "test.open_play.reward",
    "invalid": "test.invalid_actions",
    "alice": "alice.progress",
    "valid": "data.valid_share",
}
OFF = ("hopeless",)  # of the block `evaluate`: with 0 as if it were not there
SPENT = {"env_steps": ".env_steps", "tokens": "tokens"}  # sums over the ends of the budget's names


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Raises DamagedData, naming the file and saying how to `mend` it, for anything else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, " ".join(str(error).split())[:120], mend) from error
    if not isinstance(data, dict):
        raise _damaged(path, "it holds no mapping", mend)
    return data


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _damaged(path: Path, reason: str, mend: str) -> DamagedData:
    return DamagedData(f"{path} is damaged ({reason}); {mend}.")


def figures(round_id: str) -> dict[str, Any] | None:
    """Return what a round's metrics file holds; None where it is not evaluated yet.

    Raises DamagedData, naming the file, where it is not the figures of this round.
    """
    path, mend = place("metrics", round_id), _mend(round_id)
    if not path.exists():
        return None
    found = read_json(path, mend)
    blocks = (found.get("test"), found.get(MADE_WITH, {}))
    if found.get("round") != round_id or not all(isinstance(block, dict) for block in blocks):
        raise _damaged(path, f"it holds no figures of {round_id}", mend)
    for name, value in _leaves(found).items():
        if not _sound(value):
            raise _damaged(path, f"{name} is {str(value)[:60]!r}", mend)
    return found


def shown(round_id: str) -> dict[str, dict[str, Any]]:
    """Return a round's figures as `means`; of one that was not pulled from DVC its headline.

    Nothing for one that is not evaluated yet; raises DamagedData, naming the file, as `figures`.
    """
    metrics, path = figures(round_id), place("headline", round_id)
    if metrics is not None or not path.exists():
        return means(metrics or {})
    short = read_json(path, _mend(round_id))
    for name, value in short.items():
        if not _number(value):
            raise _damaged(path, f"{name} is {str(value)[:60]!r}", _mend(round_id))
    return means({name: short[head] for head, name in HEADLINE.items() if head in short})


def _mend(round_id: str) -> str:
    return f"run 'dvc repro {address('evaluate', round_id)}' to make it again"


def _leaves(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return means and single values under dotted names."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if name == MADE_WITH and not prefix:
            continue
        if isinstance(value, Mapping) and "mean" not in value:
            found |= _leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _sound(value: Any) -> bool:
    if isinstance(value, Mapping):
        bounds = [value.get(name) for name in ("low", "mean", "high")]
        known = [b for b in bounds if b is not None]
        numbers = all(map(_number, known)) and _number(value.get("n"))
        return set(value) == MEAN and numbers and known == sorted(known)
    return value is None or isinstance(value, str) or _number(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def means(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all figures that there are under dotted names, each as a mean object.

    Plain numbers have neither bounds nor an n.
    """
    found = {}
    for name, value in _leaves(metrics).items():
        if isinstance(value, Mapping):
            if value["mean"] is not None:
                found[name] = dict(value)
        elif _number(value):
            found[name] = {"mean": value, "low": None, "high": None, "n": None}
    return found


def flat_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the means and single numbers of a metrics file under dotted names."""
    return {name: found["mean"] for name, found in means(metrics).items()}


def made_with(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return, of the parameters that `evaluate` read, those in which comparable rounds agree.

    What is off is left out: rounds from before there was such a thing compare with those without.
    """
    amount = {name: value for name, value in params["evaluate"].items() if value or name not in OFF}
    return {**{name: params[name] for name in ("seed", "env", "seeds")}, "evaluate": amount}


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the few numbers that DVC compares; one that a round does not have is left out."""
    flat = flat_metrics(metrics)
    found = {short: flat[name] for short, name in HEADLINE.items() if name in flat}
    for short, end in SPENT.items():
        spent = [value for name, value in metrics["budget"].items() if name.endswith(end)]
        found |= {short: sum(spent)} if spent else {}
    return found


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
