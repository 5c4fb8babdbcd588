"""Advising by a language model: what it says after a round, and what it wants to explore next.

Invariants: feedback that does not fit its schema, names what is not there or cites what it was not
shown is rejected and counted; what is kept is plain words, without a link, image or HTML. Does not:
judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from alicebob.alice.feedback import WISHES, Feedback, Verdict, rows_of
from alicebob.alice.model.asking import Answer, Asker, Tally, prompt
from alicebob.alice.model.shapes import record, text, whole
from alicebob.policies.chat import Chat
from alicebob.untrusted import markdown

__all__ = ["write_with"]


LEAST, MOST = 20, 2000  # characters of the prose
CITED = 12  # episodes, where the form is kept for the model


class Counsel(Answer):
    """What is said after a round."""

    prose: str = Field(min_length=LEAST, max_length=MOST)
    explore: dict[str, float]
    evidence: list[str]


def write_with(
    chat: Chat,
    round_id: str,
    verdicts: Sequence[Verdict],
    knowledge: Any,
    skill_counts: Mapping[str, int],
    reasons: Mapping[str, str],
    journal: Path,
) -> tuple[Feedback, Tally]:
    """Return the model's feedback on the verdicts; a blank one where it was rejected.

    Without a verdict, as where all that a model judged was rejected, nothing is asked.
    """
    if not verdicts:
        prose = f"# Feedback after {round_id}\n\nNothing was judged, so there is none.\n"
        return Feedback(round_id, {}, {}, prose), Tally()
    rows = rows_of(verdicts)
    cited = {name for row in rows.values() for name in row["evidence"]}

    def check(_: int, answer: Counsel) -> None:
        if unknown := sorted(answer.explore.keys() - rows.keys()):
            raise ValueError(f"There is no skill named {unknown[0]!r:.60} in the table.")
        if len(answer.explore) > WISHES:
            raise ValueError(f"At most {WISHES} skills may have a weight.")
        if not all(0 <= weight <= 100 for weight in answer.explore.values()):
            raise ValueError("A weight must be a number from 0 to 100.")
        if unknown := sorted(set(answer.evidence) - cited):
            raise ValueError(f"There is no episode {unknown[0]!r:.60} in the table.")
        if not answer.evidence:
            raise ValueError("It cites no episode.")

    asker = Asker(chat, Counsel, journal, check, lambda _: _form(list(rows), sorted(cited)))
    table = "\n".join(
        _line(n, row, verdicts, knowledge, skill_counts, reasons) for n, row in rows.items()
    )
    (answer,) = asker.ask([prompt("feedback", table=table, most=str(WISHES))])
    if answer is None:
        prose = f"# Feedback after {round_id}\n\nThe model's answer was rejected; there is none.\n"
        return Feedback(round_id, rows, {}, prose), asker.tally
    total = sum(answer.explore.values())
    weights = {n: round(w / total, 4) for n, w in sorted(answer.explore.items()) if w > 0}
    cites = f"\n\nCited: {', '.join(answer.evidence)}.\n"
    prose = f"# Feedback after {round_id}\n\n{markdown(answer.prose.strip())}{cites}"
    return Feedback(round_id, rows, weights, prose), asker.tally


def _form(names: Sequence[str], episodes: Sequence[str]) -> dict[str, Any]:
    """Return the schema of the answer on skills of these names and their episodes."""
    named = "|".join(map(re.escape, names))
    weights = {
        "type": "object",
        "patternProperties": {f"^({named})$": whole(0, 100)},
        "additionalProperties": False,
        "maxProperties": WISHES,
    }
    some = {"type": "array", "items": {"enum": episodes}, "minItems": 1, "maxItems": CITED}
    return record(prose=text(LEAST, MOST), explore=weights, evidence=some)


def _line(
    name: str,
    row: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    knowledge: Any,
    skill_counts: Mapping[str, int],
    reasons: Mapping[str, str],
) -> str:
    share = knowledge.events.get(name, 0) / max(1, knowledge.episodes)
    text = f"- {name}: {row['succeeded']} of {row['tried']} done"
    if row["failure"]:
        shown = row["evidence"][0], name
        detail = next((v.detail for v in verdicts if (v.episode, v.target) == shown), "")
        text += f"; mostly {reasons[row['failure']]}"
        text += f" ({' '.join(detail.split())})" if detail else ""
    return (
        f"{text}; episodes {', '.join(row['evidence'])}; shown {skill_counts.get(name, 0)} times; "
        f"you managed it in {share:.0%} of your explorations"
    )
