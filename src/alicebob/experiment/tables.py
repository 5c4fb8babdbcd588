"""Tables: what the metrics of all rounds say, side by side.

Made anew from `metrics/` each time, and no output of DVC, so that a new round re-runs no old one.
Invariant: one damaged file hides no other round. Does not: work out a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alicebob.errors import AliceBobError, DamagedData
from alicebob.experiment.lock import Lock
from alicebob.experiment.params import read_yaml
from alicebob.experiment.results import MADE_WITH, figures, flatten, made_with, shown
from alicebob.experiment.tree import ROOT_ROUND, tree
from alicebob.files import write_text

__all__ = ["aligned", "descent", "interval", "others", "table", "write_plots"]

PLOTTED = {
    "skills_success": "test.skills.success",
    "open_play_progress": "test.open_play.progress",
    "open_play_score": "test.open_play.score",
    "open_play_reward": "test.open_play.reward",
    "open_play_success": "test.open_play.success",
    "open_play_achievements": "test.open_play.achievements",
    "alice_progress": "alice.progress",
}

COLUMNS = {
    "skills": "skills_success",
    "progress": "open_play_progress",
    "success": "open_play_success",
    "score": "open_play_score",
    "achievements": "open_play_achievements",
    "Alice": "alice_progress",
}

DESCENT = {head: PLOTTED[COLUMNS[head]] for head in ("skills", "progress")}


def write_plots(path: Path = Path("plots/rounds.csv")) -> None:
    """Write the table that `dvc plots show` draws: a row per evaluated round, in their order.

    A round whose metrics are damaged is left out; `alicebob round list` says what is wrong.
    """
    lines = [",".join(["round", *PLOTTED])]
    for round_id in (ROOT_ROUND, *tree(read_yaml())):
        try:
            found = shown(round_id)
        except DamagedData:
            continue
        if found:
            values = [found[n]["mean"] if n in found else "" for n in PLOTTED.values()]
            lines.append(",".join([round_id, *map(str, values)]))
    write_text(path, "\n".join(lines) + "\n")


def table() -> tuple[str, list[AliceBobError]]:
    """Return the rounds as a table, and what could not be read.

    Columns are the parent, Bob's figures on test worlds and Alice's own progress, of those that
    some round has. A last one says which rounds are stale (`dvc repro` would make them anew) and
    which were evaluated otherwise than `params.yaml` has it, so that they compare with no other.
    """
    rounds = tree(read_yaml())
    found: dict[str, dict[str, dict[str, Any]]] = {}
    troubles: list[AliceBobError] = []
    notes: dict[str, list[str]] = {}
    for round_id in (ROOT_ROUND, *rounds):
        try:
            found[round_id] = shown(round_id)
        except DamagedData as error:
            found[round_id], notes[round_id] = {}, ["damaged"]
            troubles.append(error)
    try:
        lock = Lock()
        for round_id, means in found.items():
            if means:
                notes[round_id] = _notes(round_id, lock)
    except AliceBobError as error:  # params.yaml or dvc.lock: the figures are shown all the same
        troubles.append(error)
    return _drawn(rounds, found, notes), troubles


def descent() -> str:
    """Return the rounds as a tree: under each its children, with what they change and Bob's means.

    Raises DamagedData for figures that cannot be read.
    """
    data = read_yaml()
    rounds = tree(data)
    rows = [["round", "method", *DESCENT, "changes"]]
    waiting = [(ROOT_ROUND, "", "")]  # each with what is drawn before it, and before its children
    while waiting:
        name, before, below = waiting.pop()
        changes = flatten(rounds.get(name, {}))
        method = changes.pop("method", data.get("method", "")) if name in rounds else "untaught"
        told = " ".join(f"{key}={value}" for key, value in changes.items() if key != "prev")
        found = shown(name)
        means = [f"{found[n]['mean']:.2f}" if n in found else "-" for n in DESCENT.values()]
        rows.append([before + name, str(method), *means, told])
        children = [child for child, item in rounds.items() if item["prev"] == name]
        for child in reversed(children):
            corner, line = ("└─ ", "   ") if child == children[-1] else ("├─ ", "│  ")
            waiting.append((child, below + corner, below + line))
    return aligned(rows)


def _notes(round_id: str, lock: Lock) -> list[str]:
    """Return in a word or two why a round's figures are not what they seem."""
    now = {MADE_WITH: made_with(lock.now[f"{ROOT_ROUND}/evaluate.json"]["params"])}
    stale = ["stale"] if lock.stale(round_id) else []
    return stale + [f"another {name}" for name in others(figures(round_id) or {}, now)]


def others(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Return in which of seed, env, seeds and evaluate two rounds' figures were made otherwise."""
    first, second = one.get(MADE_WITH, {}), two.get(MADE_WITH, {})
    return [name for name in first if name in second and first[name] != second[name]]


def _drawn(
    rounds: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    notes: Mapping[str, list[str]],
) -> str:
    some = any(found.values())
    shown = {
        head: PLOTTED[name]
        for head, name in COLUMNS.items()
        if not some or any(PLOTTED[name] in flat for flat in found.values())
    }
    rows = [["round", "parent", *shown, "note" if any(notes.values()) else ""]]
    for round_id, flat in found.items():
        parent = str(rounds[round_id]["prev"]) if round_id in rounds else "-"
        cells = [interval(flat[name]) if name in flat else "-" for name in shown.values()]
        rows.append([round_id, parent, *cells, ", ".join(notes.get(round_id, []))])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equal length as text whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def interval(found: Mapping[str, Any], signed: bool = False) -> str:
    """Return a figure with its 95 % interval, where it has one: `0.412 [0.36, 0.47]`."""
    sign, mean = "+" if signed else "", found["mean"]
    middle = f"{mean:{sign}}" if isinstance(mean, int) else f"{mean:{sign}.4g}"
    if found["low"] is None or found["high"] is None:
        return middle
    return f"{middle} [{found['low']:{sign}.3g}, {found['high']:{sign}.3g}]"
