"""Advise: what Alice should buy next to show Bob better.

Wished for are the parts of a goal that he misses, and the kinds of things that were asked for when
he failed. Invariant: everything is computed from the episodes and counts given; what a page or a
model said is quoted shortened and escaped. Does not: judge, or look at test episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.alice.feedback import EVIDENCE, WISHES, Feedback, Verdict, quoted, usual
from alicebob.alice.shop.judge import PARTS, REASONS
from alicebob.alice.shop.memory import Memory
from alicebob.trace import Episode

__all__ = ["advise"]

THINGS = 3  # kinds of things wished for at most
SAID = {
    "bought": "buy anything at all",
    "kind": "buy the right kind of thing",
    "attributes": "buy what has the qualities",
    "options": "choose the options",
    "price": "keep to the price",
}
PLANS = {
    "bought": "buy by the shortest way",
    "kind": "name the thing and all that I know of it",
    "attributes": "name all that I know of a thing",
    "options": "choose what has most options",
    "price": "take the cheapest that suits",
}


def advise(
    round_id: str,
    verdicts: Sequence[Verdict],
    episodes: Sequence[Episode],
    memory: Memory,
    skill_counts: Mapping[str, int],
) -> Feedback:
    """Return the feedback on the verdicts and the validation episodes of a round.

    `skill_counts` is how many skills of each kind Bob has been trained on so far.
    """
    by_id = {episode.id: episode for episode in episodes}
    judged = [(verdict, by_id[verdict.episode]) for verdict in verdicts]
    rows = {part: _row(part, judged) for part in PARTS}
    rows = {part: row for part, row in rows.items() if row["tried"]}
    things = memory.things()
    explore = _wishes(rows, _failed_things(judged, things))
    prose = _prose(round_id, rows, verdicts, explore, skill_counts, things)
    return Feedback(round_id, rows, explore, prose)


def _row(part: str, judged: Sequence[tuple[Verdict, Episode]]) -> dict[str, Any]:
    """Return how often a part of the goal was at stake and met: of a purchase, but for buying."""
    at_stake = [
        (verdict, episode)
        for verdict, episode in judged
        if part == "bought" or "bought" in episode.summary["events"]
    ]
    missed = [v for v, episode in at_stake if part not in episode.summary["events"]]
    failure = usual(v.reason for v in missed if v.reason in PARTS[part])
    failure = failure or (PARTS[part][0] if missed else "")
    cited = [v.episode for v in missed if v.reason == failure] or [v.episode for v in missed]
    return {
        "tried": len(at_stake),
        "succeeded": len(at_stake) - len(missed),
        "failure": failure,
        "evidence": cited[:EVIDENCE],
    }


def _failed_things(
    judged: Sequence[tuple[Verdict, Episode]], things: Mapping[str, Sequence[str]]
) -> Counter[str]:
    """Return for each kind of thing that Alice knows how often asking for it failed."""
    counts: Counter[str] = Counter()
    names = [f" {name} " for name in sorted(things)]
    for episode in (episode for verdict, episode in judged if not verdict.success):
        asked = f" {episode.instruction.lower().replace(',', ' ')} "
        found = [name for name in names if name in asked]
        # "running shoes" is meant where "shoes" is a kind of thing too
        found = [n for n in found if not any(n != other and n in other for other in found)]
        counts.update(name.strip() for name in found)
    return counts


def _wishes(rows: Mapping[str, Mapping[str, Any]], things: Mapping[str, int]) -> dict[str, float]:
    """Weigh what to show: parts of a goal by the share missed, things by the failures."""
    weights = {part: 1.0 - row["succeeded"] / row["tried"] for part, row in rows.items()}
    failed = {name: float(n) for name, n in things.items() if name not in PARTS}
    worst = sorted(failed.items(), key=lambda item: (-item[1], item[0]))[:THINGS]
    best = [*_shares(list(weights.items())), *_shares(worst)]
    best = sorted(best, key=lambda item: (-item[1], item[0]))[:WISHES]
    return {name: round(weight, 4) for name, weight in sorted(_shares(best))}


def _shares(weights: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    total = sum(weight for _, weight in weights)
    return [(name, weight / total) for name, weight in weights if weight > 0]


def _prose(
    round_id: str,
    rows: Mapping[str, Mapping[str, Any]],
    verdicts: Sequence[Verdict],
    explore: Mapping[str, float],
    skill_counts: Mapping[str, int],
    things: Mapping[str, Sequence[str]],
) -> str:
    """Write the feedback as a person would read it, in Markdown."""
    done = sum(verdict.success for verdict in verdicts)
    shown = sum(skill_counts.values())
    parts = [
        f"# Feedback after {round_id}",
        f"Bob was asked for {len(verdicts)} things and bought {done} of them just as asked. He has "
        f"been shown {shown} purchase{'s' * (shown != 1)}.",
    ]
    missed = [part for part, row in rows.items() if row["succeeded"] < row["tried"]]
    if missed:
        lines = [_line(part, rows[part], verdicts) for part in missed]
        parts.append("## Where he fails\n\n" + "\n".join(lines))
    if explore:
        ranked = sorted(explore.items(), key=lambda item: (-item[1], item[0]))
        plans = "\n".join(f"- {_plan(name, things)} ({weight:.0%})" for name, weight in ranked)
        parts.append("## What I shall shop for next\n\n" + plans)
    return "\n\n".join(parts) + "\n"


def _line(part: str, row: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    cited = [v for v in verdicts if v.episode in row["evidence"]]
    details = [v.detail for v in cited if v.detail and v.reason in PARTS[part]]
    detail = f" ({details[0]})" if details else ""
    return (
        f"- **{SAID[part]}**: {row['succeeded']} of {row['tried']}; "
        f"{REASONS[row['failure']]}{detail}, as in {', '.join(row['evidence'])}."
    )


def _plan(name: str, things: Mapping[str, Sequence[str]]) -> str:
    return PLANS.get(name) or f"buy {quoted(name)}, of which I know {len(things[name])}"
