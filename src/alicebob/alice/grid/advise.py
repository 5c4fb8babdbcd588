"""Advise: what Alice says after a round, and what she should explore next.

What Bob fails at, has few skills for and Alice can reach is wished for, with weights. Invariant:
everything is computed from the verdicts, episodes, knowledge and counts given. Does not: look at
test episodes, or judge (see `judge`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.alice.feedback import WISHES, Feedback, Verdict, listed, rows_of
from alicebob.alice.grid.features import LOW, NEAR
from alicebob.alice.grid.judge import REASONS
from alicebob.alice.grid.memory import Knowledge
from alicebob.trace import Episode
from alicebob.words import goal

__all__ = ["advise"]

PLENTY = 40.0  # skills of a kind from which more of them matter half as much

Rows = Mapping[str, Mapping[str, Any]]


def advise(
    round_id: str,
    verdicts: Sequence[Verdict],
    episodes: Sequence[Episode],
    knowledge: Knowledge,
    skill_counts: Mapping[str, int],
) -> Feedback:
    """Return the feedback on the verdicts and the validation episodes of a round.

    `skill_counts` is how many skills of each kind Bob has been trained on so far.
    """
    rows = rows_of(verdicts)
    explore = _wishes(rows, knowledge, skill_counts)
    free = [e for e in episodes if not e.meta.get("target")]
    parts = [
        f"# Feedback after {round_id}",
        _overview(rows, free),
        *_mastered(rows),
        *_failed(rows, verdicts, skill_counts),
        *_planned(explore, knowledge),
    ]
    return Feedback(round_id, rows, explore, "\n\n".join(parts) + "\n")


def _wishes(rows: Rows, knowledge: Knowledge, skill_counts: Mapping[str, int]) -> dict[str, float]:
    """Weigh what to explore: where Bob fails, data are few, and Alice can get.

    What she manages in one episode of four weighs half of what she always does. What she has never
    done has a small weight too: it may be one step beyond what she knows.
    """
    weights = {}
    for name, row in rows.items():
        lack = 1.0 - row["succeeded"] / row["tried"]
        scarce = PLENTY / (PLENTY + skill_counts.get(name, 0))
        reach = (knowledge.events.get(name, 0) + 0.5) / (knowledge.episodes + 1)
        weights[name] = lack * scarce * math.sqrt(reach)
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:WISHES]
    total = sum(weight for _, weight in best)
    return {name: round(w / total, 4) for name, w in sorted(best) if w > 0} if total else {}


def _overview(rows: Rows, free: Sequence[Episode]) -> str:
    tried = sum(row["tried"] for row in rows.values())
    done = sum(row["succeeded"] for row in rows.values())
    text = f"Bob tried {len(rows)} skills {tried} times and succeeded {done} times."
    if free:
        kinds = sum(len(e.summary.get("events", {})) for e in free) / len(free)
        turns = sum(len(e.turns) for e in free) / len(free)
        text += (
            f" Left to himself in {len(free)} worlds, he achieved {kinds:.1f} different things "
            f"in {turns:.0f} turns on average."
        )
    return text


def _mastered(rows: Rows) -> list[str]:
    names = [goal(name) for name, row in rows.items() if row["succeeded"] == row["tried"]]
    return [f"Bob always managed to {listed(names)}."] if names else []


def _failed(rows: Rows, verdicts: Sequence[Verdict], skill_counts: Mapping[str, int]) -> list[str]:
    """Return the paragraph on what Bob does not always manage, the worst first."""
    shares = {name: row["succeeded"] / row["tried"] for name, row in rows.items()}
    weak = sorted((n for n in rows if shares[n] < 1), key=lambda n: (shares[n], n))
    lines = [_weakness(name, rows[name], verdicts, skill_counts.get(name, 0)) for name in weak]
    return ["## Where he fails\n\n" + "\n".join(lines)] if lines else []


def _weakness(name: str, row: Mapping[str, Any], verdicts: Sequence[Verdict], shown: int) -> str:
    detail = next(v.detail for v in verdicts if v.episode == row["evidence"][0])
    detail = f" ({detail})" if detail else ""
    return (
        f"- **{goal(name)}**: {row['succeeded']} of {row['tried']}; mostly "
        f"{REASONS[row['failure']]}{detail}, as in {', '.join(row['evidence'])}. "
        f"He has been shown it {shown} time{'s' * (shown != 1)}."
    )


def _planned(explore: Mapping[str, float], knowledge: Knowledge) -> list[str]:
    """Return the paragraph on what is wished for, the weightiest first."""
    wished = sorted(explore.items(), key=lambda item: (-item[1], item[0]))
    lines = [_plan(name, weight, knowledge) for name, weight in wished]
    return ["## What I shall explore next\n\n" + "\n".join(lines)] if lines else []


def _plan(name: str, weight: float, knowledge: Knowledge) -> str:
    times = knowledge.events.get(name, 0)
    if times:
        known = f"I do it in {times / max(1, knowledge.episodes):.0%} of my episodes"
        needs = [need.removeprefix(NEAR) for need in _needs(name, knowledge)]
        known += f"; it seems to take {listed(needs)}" if needs else ""
    else:
        known = "I have never done it; I shall try what I have not tried where I have not been"
    return f"- {goal(name)} ({weight:.0%}): {known}."


def _needs(name: str, knowledge: Knowledge) -> list[str]:
    makers = knowledge.makers(name)
    required = knowledge.intents[makers[0]].required() if makers else {}
    return sorted(n for n in required if not n.startswith(LOW))
