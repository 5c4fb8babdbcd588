"""Tables: what the metrics of all rounds say, side by side.

Made anew from `metrics/` each time, and no output of DVC, so that a new round re-runs no old one.
Does not: work out a figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alicebob.experiment.params import read_yaml
from alicebob.experiment.places import place
from alicebob.experiment.tree import ROOT_ROUND, tree
from alicebob.files import write_text

__all__ = ["figures", "flat_metrics", "flatten", "table", "write_plots"]

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


def figures(round_id: str) -> dict[str, float] | None:
    """Return the figures of a round under dotted names; None where it is not evaluated yet."""
    file = place("metrics", round_id)
    if not file.exists():
        return None
    return flat_metrics(json.loads(file.read_text(encoding="utf-8")))


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a metrics file under dotted names.

    A mean comes with its bounds as `.low` and `.high`, those of single skills and events without.
    """
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and "mean" in value:
            if value["mean"] is not None:
                flat[f"{prefix}{name}"] = value["mean"]
                if not prefix.endswith(("by_skill.", "by_event.")):
                    flat |= {f"{prefix}{name}.{bound}": value[bound] for bound in ("low", "high")}
        elif isinstance(value, Mapping):
            flat |= flat_metrics(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def write_plots(path: Path = Path("plots/rounds.csv")) -> None:
    """Write the table that `dvc plots show` draws: a row per evaluated round, in their order."""
    lines = [",".join(["round", *PLOTTED])]
    for round_id in (ROOT_ROUND, *tree(read_yaml())):
        flat = figures(round_id)
        if flat is not None:
            lines.append(",".join([round_id, *(str(flat.get(n, "")) for n in PLOTTED.values())]))
    write_text(path, "\n".join(lines) + "\n")


def table() -> str:
    """Return the rounds as a table: parent, Bob's figures on test worlds, Alice's own progress.

    Figures that no round has, as an environment has no such thing, are left out.
    """
    rounds = tree(read_yaml())
    found = {round_id: figures(round_id) or {} for round_id in (ROOT_ROUND, *rounds)}
    some = any(found.values())
    shown = {
        head: PLOTTED[name]
        for head, name in COLUMNS.items()
        if not some or any(PLOTTED[name] in flat for flat in found.values())
    }
    rows = [["round", "parent", *shown]]
    for round_id, flat in found.items():
        parent = str(rounds[round_id]["prev"]) if round_id in rounds else "-"
        rows.append([round_id, parent, *(_interval(flat, name) for name in shown.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _interval(flat: Mapping[str, float], name: str) -> str:
    if name not in flat:
        return "-"
    half = (flat[f"{name}.high"] - flat[f"{name}.low"]) / 2
    return f"{flat[name]:.3f} ±{half:.3f}"
