"""Lacks: what Bob does not always manage, weighed and told, where he was tried skill by skill.

Does not: say what Alice knows of a skill, or how it is called (see each kind's `advise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alicebob.alice.feedback import WISHES, Verdict
from alicebob.trace import Episode

__all__ = ["Rows", "alone", "failed", "wishes"]

PLENTY = 40.0  # skills of a kind from which more of them matter half as much

Rows = Mapping[str, Mapping[str, Any]]


def wishes(
    lacks: Mapping[str, float], reached: Mapping[str, int], episodes: int, counts: Mapping[str, int]
) -> dict[str, float]:
    """Weigh what to explore: where Bob fails, data are few, and Alice can get; the sum is 1.

    `lacks` are shares of failures, `reached` in how many of her `episodes` Alice got there,
    `counts` the skills of a kind. What she manages in one episode of four weighs half of what she
    always does; what she has never done weighs a little, since it may be one step beyond.
    """
    weights = {}
    for name, lack in lacks.items():
        scarce = PLENTY / (PLENTY + counts.get(name, 0))
        reach = (reached.get(name, 0) + 0.5) / (episodes + 1)
        weights[name] = lack * scarce * math.sqrt(reach)
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:WISHES]
    total = sum(weight for _, weight in best)
    return {name: round(w / total, 4) for name, w in sorted(best) if w > 0} if total else {}


def alone(episodes: Sequence[Episode]) -> str:
    """Return a sentence on the episodes in which Bob was after nothing given, "" for none."""
    free = [episode for episode in episodes if not episode.meta.get("target")]
    if not free:
        return ""
    kinds = sum(len(e.summary.get("events", {})) for e in free) / len(free)
    turns = sum(len(e.turns) for e in free) / len(free)
    return (
        f" Left to himself in {len(free)} worlds, he achieved {kinds:.1f} different things "
        f"in {turns:.0f} turns on average."
    )


def failed(
    rows: Rows,
    verdicts: Sequence[Verdict],
    counts: Mapping[str, int],
    said: Callable[[str], str],
    reasons: Mapping[str, str],
) -> list[str]:
    """Return the paragraph on what Bob does not always manage, the worst first.

    `said` gives the words for a skill, `reasons` those for a reason.
    """
    shares = {name: row["succeeded"] / row["tried"] for name, row in rows.items()}
    weak = sorted((n for n in rows if shares[n] < 1), key=lambda n: (shares[n], n))
    lines = []
    for name in weak:
        row, shown = rows[name], counts.get(name, 0)
        cited = (v for v in verdicts if v.episode == row["evidence"][0] and v.target == name)
        detail = next(v.detail for v in cited)
        lines.append(
            f"- **{said(name)}**: {row['succeeded']} of {row['tried']}; mostly "
            f"{reasons.get(row['failure'], 'for another reason')}{f' ({detail})' if detail else ''}"
            f", as in {', '.join(row['evidence'])}. "
            f"He has been shown it {shown} time{'s' * (shown != 1)}."
        )
    return ["## Where he fails\n\n" + "\n".join(lines)] if lines else []
