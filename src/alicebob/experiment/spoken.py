"""Spoken: what became of the answers of a language model in Alice's place, verb by verb.

Read from the reports that the stages left; the text and the reason of each rejected answer stand
there too. Invariant: a verb that no model did is not listed. Does not: count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData
from alicebob.experiment.params import Experiment
from alicebob.experiment.places import place
from alicebob.experiment.results import read_json, shown
from alicebob.experiment.stages import address
from alicebob.experiment.tables import aligned, interval
from alicebob.figures import share
from alicebob.untrusted import printable

__all__ = ["main", "spoken", "told"]

#: By verb: the artifact, its report, the name that the answers have there, and the stage.
REPORTS = {
    "explore": ("episodes", "report.json", "turns", "explore"),
    "propose": ("episodes", "report.json", "propose", "explore"),
    "correct": ("episodes", "report.json", "correct", "explore"),
    "label": ("skills", "report.json", "instruction", "skills"),
    "think": ("skills", "report.json", "thoughts", "skills"),
    "committee": ("skills", "report.json", "committee", "skills"),
    "judge": ("feedback", "asked.json", "judge", "feedback"),
    "advise": ("feedback", "asked.json", "feedback", "feedback"),
}
SHARES = ("whole", "mended", "rejected", "agreement")


def spoken(round_id: str) -> dict[str, dict[str, Any]]:
    """Return by verb how much was `asked`, and shares of it as mean objects.

    `whole` at once, `mended` at the second try, `rejected`; and `agreement`: of instructions those
    that name what the environment reported, of verdicts those that are the environment's. Raises
    DamagedData, naming the file, where a report is not what a stage writes.
    """
    found = {}
    for verb, (_, _, key, stage) in REPORTS.items():
        path, report = _report(verb, round_id)
        if key in report:
            try:
                found[verb] = _shares(report[key], report.get("agree") if verb == "label" else None)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                said = f"{path} is damaged ({key}: {error!r}); {_mend(stage, round_id)}."
                raise DamagedData(said) from error
    return found


def _report(verb: str, round_id: str) -> tuple[Path, dict[str, Any]]:
    """Return a verb's report and where it is; an empty one where there is none."""
    kind, name, _, stage = REPORTS[verb]
    path = place(kind, round_id) / name
    return path, read_json(path, _mend(stage, round_id)) if path.exists() else {}


def _mend(stage: str, round_id: str) -> str:
    return f"run 'dvc repro {address(stage, round_id)}' to make it again"


def _shares(tally: Mapping[str, Any], agree: Any) -> dict[str, Any]:
    asked, mended, rejected = (int(tally[name]) for name in ("asked", "repaired", "rejected"))
    counts = {"whole": asked - mended - rejected, "mended": mended, "rejected": rejected}
    found = {"asked": asked} | {name: share(count, asked) for name, count in counts.items()}
    if both := tally.get("agreement"):
        agree = share(both["both"] + both["neither"], sum(both.values()))
    return found | ({"agreement": agree} if agree else {})


def told(round_id: str) -> str:
    """Return a round's figures as text, and what became of a model's answers in Alice's place.

    Raises UnknownName for a round that is not there, DamagedData for a damaged file.
    """
    Experiment().changes(round_id)
    figures = [[name, interval(found)] for name, found in shown(round_id).items() if main(name)]
    parts = [aligned(figures)] if figures else [f"{round_id} is not evaluated yet."]
    if found := spoken(round_id):
        rows = [["Alice's model", "asked", *SHARES]]
        for verb, told in found.items():
            cells = [_cell(told[name]) if name in told else "-" for name in SHARES]
            rows.append([verb, str(told["asked"]), *cells])
        parts.append(aligned(rows))
        reports = ((*_report(verb, round_id), REPORTS[verb][2]) for verb in found)
        paths = dict.fromkeys(str(path) for path, said, key in reports if "refused" in said[key])
        parts += [f"With what was refused, and why: {', '.join(paths)}"] if paths else []
    return "\n\n".join("\n".join(map(printable, part.splitlines())) for part in parts)


def main(name: str) -> bool:
    """Tell a round's own figures from those of single skills and events, and from budgets."""
    return ".by_skill." not in name and ".by_event." not in name and not name.startswith("budget.")


def _cell(figure: Mapping[str, Any]) -> str:
    return interval(figure) if figure["mean"] is not None else "-"
