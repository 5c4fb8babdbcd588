"""Reading: what the files say of a round, in the form that MLflow takes.

Parameters and hashes are those that `dvc.lock` vouches for. Invariant: what cannot be read is
damaged, and is named; nothing is made up for it. Does not: read an output larger than its metrics,
curve, feedback and reports.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.alice.feedback import Feedback
from alicebob.errors import DamagedData
from alicebob.experiment import made
from alicebob.experiment.lock import Lock, stages_of
from alicebob.experiment.places import place
from alicebob.experiment.results import SPENT, figures, headline, means, read_json
from alicebob.experiment.spoken import spoken
from alicebob.experiment.stages import address
from alicebob.experiment.tree import ROOT_ROUND
from alicebob.tracking.naming import CURVE, LONGEST, MACHINE, cleaned, named

__all__ = ["Told", "curve_points", "lineage_mark", "params_of", "read", "worlds"]

TOLD = ("feedback.md", "feedback.json", "verdicts.json")
DATASETS = ("episodes", "skills", "evaluations")


@dataclass(frozen=True, slots=True)
class Told:
    """What the files say of a round.

    `figures` are mean objects under dotted names, `values` what is sent of them; `curve` is by name
    and step; `datasets` have path and hash by name; `table` is Alice's verdict on each skill, by
    column; `ran` has, as tags, with what the round was made, `asked` what Alice asked a language
    model, by prompt (see `alicebob.experiment.made`).
    """

    id: str
    params: Mapping[str, str]
    figures: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, float]
    costs: Mapping[str, float]
    curve: Mapping[tuple[str, int], float]
    tags: Mapping[str, str]
    datasets: Mapping[str, tuple[str, str]]
    files: Sequence[Path]
    table: Mapping[str, list[Any]]
    ran: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, made.Asked] = field(default_factory=dict)

    @property
    def point(self) -> str:
        """What stands for the round's figures in the chart of its branch."""
        return f"{self.id} {_hash(sorted(self.values.items()))}"

    @property
    def mark(self) -> str:
        """What stands for all that is sent and is the same in every clone of the repository.

        The commit that is checked out is not, nor is what is in `logs/`, which a clone has not, nor
        are the hashes of the last stage, which DVC has yet to note when the round is sent first.
        """
        last = f"dvc.{stages_of(self.id)[-1]}."
        late = {md5 for name, md5 in self.tags.items() if name.startswith(last)}
        tags = {n: v for n, v in self.tags.items() if n != "git.commit" and v not in late}
        datasets = {n: (path, md5) for n, (path, md5) in self.datasets.items() if md5 not in late}
        parts: list[Mapping[Any, Any]] = [self.params, self.values, self.curve, tags, datasets]
        told = [path for path in place("feedback", self.id).rglob("*") if path.is_file()]
        paths = sorted({*told, *self.files})
        files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        return _hash([*(sorted(part.items()) for part in parts), files])


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]


def lineage_mark(lock: Lock) -> str:
    """Return what tells this lineage from another: the choices that no round may change."""
    chosen = [lock.plan("base", ROOT_ROUND)["params"], worlds(ROOT_ROUND, lock)]
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def worlds(round_id: str, lock: Lock) -> list[Any]:
    """Return what says in which worlds a round's figures were made: seed, environment, ranges."""
    params = lock.plan("evaluate", round_id)["params"]
    return [params.get(name) for name in ("seed", "env", "seeds")]


def params_of(round_id: str, lock: Lock) -> dict[str, str]:
    """Return the parameters of a round; raises what `Lock.settings` raises."""
    found = lock.settings(round_id)
    return {cleaned(name): str(value)[: LONGEST["param"]] for name, value in found.items()}


def read(round_id: str, lock: Lock) -> Told:
    """Return what the files say of a round that has figures.

    Raises DamagedData, naming the file, and what `Lock.settings` raises.
    """
    metrics = figures(round_id)
    assert metrics is not None
    outs = {
        path: (stage, md5)
        for stage, entry in lock.of(round_id).items()
        for path, md5 in entry.outs.items()
    }
    folder = place("feedback", round_id)
    places = {f"{kind}/{round_id}": str(place(kind, round_id)) for kind in DATASETS}
    records = made.records(round_id, lock)
    ran = made.versions(records)
    feedback = Feedback.load(folder) if (folder / "feedback.json").exists() else None
    return Told(
        id=round_id,
        params=params_of(round_id, lock),
        figures=means(metrics),
        values=named({**metrics, "spoken": spoken(round_id)})
        | {f"cost/{name}": n for name, n in headline(metrics).items() if name in SPENT},
        costs=_costs(round_id),
        curve=_curve(round_id),
        tags={"git.commit": made.commit()}
        | {f"dvc.{stage}.{Path(path).parent.name}": md5 for path, (stage, md5) in outs.items()},
        datasets={name: (path, outs[path][1]) for name, path in places.items() if path in outs},
        files=[*(p for p in (folder / n for n in TOLD) if p.is_file()), place("metrics", round_id)],
        table=_table(feedback) if feedback else {},
        ran={n if n == "git.commit" else f"made.{n}": told for n, told in ran.items()},
        asked=made.asked(records),
    )


def _costs(round_id: str) -> dict[str, float]:
    """Return what differs from run to run: seconds, speed, memory, by stage."""
    facts: dict[str, float] = {}
    seconds = 0.0
    for path in sorted(Path("logs").glob(f"{round_id}-*.json")):
        whose, _, stage = path.stem.rpartition("-")
        if whose == round_id:  # an id may have a dash of its own
            found = read_json(path, "delete it, nothing rests on it")
            facts |= {
                f"{MACHINE}{cleaned(f'{stage}.{n}')}": v for n, v in _numbers(found, path).items()
            }
            seconds += found.get("seconds", 0.0)
    return facts | ({f"{MACHINE}minutes": round(seconds / 60, 2)} if facts else {})


def _curve(round_id: str) -> dict[tuple[str, int], float]:
    """Return the training curve by name and step; a round need not have one."""
    path = place("bob", round_id) / "training.json"
    if not path.exists():
        return {}
    found: dict[tuple[str, int], float] = {}
    mend = f"run 'dvc repro {address('train', round_id)}' to make it again"
    entries = read_json(path, mend).get("curve")
    for entry in entries if isinstance(entries, list) else [None]:
        values = _numbers(entry, path)
        found |= curve_points(values, int(values.get("step", 0)))
    return found


def curve_points(values: Mapping[str, float], step: int) -> dict[tuple[str, int], float]:
    """Return an entry of a training curve by name and step."""
    return {
        (f"{CURVE}{cleaned(name)}", step): value
        for name, value in values.items()
        if name not in ("step", "epoch")
    }


def _numbers(data: Any, path: Path) -> dict[str, float]:
    if not isinstance(data, Mapping) or not all(
        isinstance(value, int | float) and abs(value) < 1e300 for value in data.values()
    ):
        raise DamagedData(f"{path} is damaged ({str(data)[:60]!r} is not numbers by name).")
    return dict(data)


def _table(feedback: Feedback) -> dict[str, list[Any]]:
    """Return Alice's verdict on each skill as columns."""
    rows = [{"skill": name, **row} for name, row in sorted(feedback.skills.items())]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    found = {name: [_cell(row.get(name)) for row in rows] for name in columns}
    if rows:
        found["explore next"] = [feedback.explore.get(str(row["skill"]), 0.0) for row in rows]
    return found


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
