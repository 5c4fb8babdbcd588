"""Beside: what `alicebob.experiment.diff` found between two rounds, for a terminal and as Markdown.

Both say the same. Of the figures those of single skills and events are shown where the difference
is sure, of the prose its first paragraph; the facts have all. Invariant: what others wrote stays
text. Does not: find a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alicebob.experiment.diff import SURE
from alicebob.experiment.places import place
from alicebob.experiment.report import table
from alicebob.experiment.spoken import main
from alicebob.experiment.tables import aligned, interval
from alicebob.untrusted import markdown, printable

__all__ = ["as_markdown", "as_text"]

LONGEST = 80  # characters of a value in a table
NAMED = 8  # parameters in the summary

Rows = list[list[str]]


def as_text(facts: Mapping[str, Any]) -> str:
    """Return what `difference` found for a terminal."""
    parts = [*facts["notes"], *_summary(facts)]
    for title, rows in _tables(facts):
        parts.append(f"\n{title}\n" + aligned([[printable(cell) for cell in row] for row in rows]))
    for title, prose in _prose(facts):
        parts.append(f"\n{title}\n" + printable(prose))
    return "\n".join(parts)


def as_markdown(facts: Mapping[str, Any]) -> str:
    """Return what `difference` found as Markdown."""
    first, second = facts["rounds"]
    parts = [f"# {second} beside {first}", *map(markdown, facts["notes"])]
    parts += [markdown(line) for line in _summary(facts)]
    for title, (head, *rows) in _tables(facts):
        parts += [f"## {title}", table(head, rows)]
    for title, prose in _prose(facts):
        parts += [f"## {title}", markdown(prose)]
    return "\n\n".join(parts)


def _summary(facts: Mapping[str, Any]) -> list[str]:
    """Return in a few lines what there is."""
    parents, names = facts["parents"], list(facts["parameters"])
    named = ", ".join(names[:NAMED]) + f" and {len(names) - NAMED} more" * (len(names) > NAMED)
    judged = [told["said"] for told in facts["figures"].values() if told["said"]]
    lines = [
        f"Parents: {' and '.join(str(parent) for parent in parents)}.",
        f"Parameters that differ: {named or 'none'}.",
        f"Stages that differ because of that: {', '.join(facts['run_again']) or 'none'}.",
    ]
    if judged:
        lines.append(
            f"Figures that differ {SURE} of the difference: {judged.count(SURE)} of {len(judged)}."
        )
    return lines


def _tables(facts: Mapping[str, Any]) -> Iterator[tuple[str, Rows]]:
    """Yield each table that has rows, with its title; the first row names the columns."""
    first, second = facts["rounds"]
    wishes = [facts["feedback"][round_id]["explore"] for round_id in (first, second)]
    step = "difference" * any(told["difference"] for told in facts["figures"].values())
    found: dict[str, Rows] = {
        "Parameters": [["", first, second], *_pairs(facts["parameters"])],
        "Stages": [
            ["", "outputs", "because of"],
            *(
                [stage, told["outputs"], ", ".join(told["because"]) or _alone(told)]
                for stage, told in facts["stages"].items()
            ),
        ],
        "Skills": [
            ["", first, second, "", "examples"],
            *(
                [
                    kind,
                    *map(str, told["counts"]),
                    told["change"],
                    " / ".join(map(_short, told["examples"])),
                ]
                for kind, told in facts["skills"].items()
            ),
        ],
        "Figures": [["", first, second, step, ""], *_figures(facts["figures"])],
        "What Alice asks for": [
            ["", first, second],
            *(
                [name, *(f"{of[name]:.2f}" if name in of else "-" for of in wishes)]
                for name in sorted(set().union(*wishes))
            ),
        ],
        "Made with": [["", first, second], *_pairs(facts["made"])],
    }
    for title, rows in found.items():
        if len(rows) > 1:
            yield title, rows


def _alone(told: Mapping[str, Any]) -> str:
    return "what is drawn for each round alone" if told["outputs"] == "other" else ""


def _pairs(found: Mapping[str, Sequence[Any]]) -> Rows:
    return [[name, *("-" if v is None else _short(str(v)) for v in p)] for name, p in found.items()]


def _figures(found: Mapping[str, Mapping[str, Any]]) -> Rows:
    return [
        [
            name,
            *(interval(figure) if figure else "-" for figure in told["values"]),
            interval(told["difference"], signed=True) if told["difference"] else "",
            told["said"],
        ]
        for name, told in found.items()
        if main(name) or told["said"] == SURE
    ]


def _prose(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for round_id, said in facts["feedback"].items():
        paragraphs = [p.strip() for p in said["prose"].split("\n\n") if p.strip()]
        text = next((p for p in paragraphs if not p.startswith("#")), "")
        if text:
            yield f"What Alice said after {round_id} ({place('feedback', round_id)})", text


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
