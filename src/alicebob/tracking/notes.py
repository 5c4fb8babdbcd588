"""Notes: what MLflow shows as the description of a lineage, of a round, and of the experiment.

Markdown, made of what the files say. Invariant: names of others' making stay text in it. Does not:
send anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from alicebob.experiment.results import HEADLINE
from alicebob.experiment.tables import interval
from alicebob.tracking.naming import MACHINE, answer, view
from alicebob.tracking.reading import Told
from alicebob.untrusted import markdown

__all__ = ["NOTE", "of_experiment", "of_lineage", "of_round"]

NOTE = "mlflow.note.content"
VIEW = "rounds"  # the key of the view that is made for all
HEADS = {"alice": "Alice herself"}
SHORT = ("skills", "progress", "success", "score", "invalid", "alice")  # in a lineage's table
SPENT = ("minutes", "tokens")
WIDTH = 10  # characters of a bar
MOST = 30  # rounds in a table; MLflow takes 8,000 characters


def of_experiment(experiment: str, told: Sequence[Told], condition: str) -> dict[str, str]:
    """Return the tags of the experiment: its kind, what it is about, and the view of its rounds."""
    names = {name for each in told for name in (*each.values, *each.costs)}
    link = f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": "bob/skills",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view(names, condition)),
        NOTE: f"[The rounds, with what Bob can do and what it took]({link}). A lineage's own run "
        "has its table, its curves and how to make it again.",
    }


def of_lineage(line: Sequence[Told]) -> str:
    """Return by how much Bob got better, each round in a table, and how to make them again."""
    heads = {h: HEADLINE[h] for h in SHORT if any(HEADLINE[h] in t.figures for t in line)}
    shown = [*line[:1], *line[1:][-MOST:]]
    last = line[-1]
    rows = [
        ["round", "method", *(HEADS.get(head, head) for head in heads), *SPENT],
        ["---"] * (len(heads) + 2 + len(SPENT)),
        *(_row(told, heads) for told in shown),
    ]
    left = f" {len(line) - len(shown)} between them are left out." if len(shown) < len(line) else ""
    said = answer(line[0].values, last.values) or "Bob"
    where = _plain(last.params.get("env.spec", "a world"))
    return "\n".join(
        [
            f"**{said}** from {line[0].id} to {last.id}, on the test worlds of {where}.{left} "
            "Intervals are in the rounds' own descriptions.",
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"**Again**: where this `dvc.lock` is (`{last.tags['git.commit']}` was checked out), "
            "`dvc pull` brings what is kept and `dvc repro` makes what is not.",
        ]
    )


def of_round(told: Told, parent: Told | None) -> str:
    """Return what a round changed of its parent's parameters, and its main figures."""
    lines = [f"| {name} | {interval(told.figures[name])} |" for name in _main(told)]
    text = ["| figure | mean and 95 % interval |", "|---|---|", *lines]
    if parent is not None:
        changed = [
            f"`{name}` is {_plain(value)} (was {_plain(parent.params.get(name, 'not there'))})"
            for name, value in told.params.items()
            if parent.params.get(name) != value and not name.startswith("part.")
        ]
        said = "; ".join(changed[:MOST]) if changed else "nothing"
        text += ["", f"**Changed since {parent.id}**: {said}."]
    if told.table:
        text += ["", "Alice's feedback is among the artifacts: `feedback/feedback.md`."]
    return "\n".join(text)


def _main(told: Told) -> list[str]:
    return [name for name in HEADLINE.values() if name in told.figures]


def _row(told: Told, heads: Mapping[str, str]) -> list[str]:
    cells = []
    for at, name in enumerate(heads.values()):
        figure = told.figures.get(name)
        text = f"{figure['mean']:.3g}" if figure else ""
        cells.append(f"`{_bar(figure['mean'])} {text}`" if figure and at == 0 else text)
    minutes, tokens = told.costs.get(f"{MACHINE}minutes"), told.values.get("cost/tokens")
    spent = [f"{minutes:.1f}" if minutes is not None else "", f"{tokens:,.0f}" if tokens else ""]
    return [told.id, _plain(told.params.get("method", "")), *cells, *spent]


def _bar(share: float) -> str:
    full = min(WIDTH, max(0, round(share * WIDTH)))
    return "█" * full + "░" * (WIDTH - full)


def _plain(text: str) -> str:
    """Return a text in one line that stays text in a cell of a table."""
    return markdown(" ".join(text.split()))[:200].replace("|", "/")
