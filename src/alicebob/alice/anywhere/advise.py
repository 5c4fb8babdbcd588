"""Advise: what Alice says after a round, and what she should explore next.

What Bob fails at, has few skills for and Alice can reach is wished for, with weights; where he was
asked for what has no event of its own, what she knows whose names were in the words he was asked
with. Invariant: everything is computed from the verdicts, episodes, memory and counts given; names
and actions, which come from the environment or a model, are quoted. Does not: look at test
episodes, or judge (see `judge`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.alice.anywhere.judge import REASONS
from alicebob.alice.anywhere.memory import Memory
from alicebob.alice.anywhere.situation import spoken
from alicebob.alice.feedback import WISHES, Feedback, Verdict, quoted, rows_of
from alicebob.trace import Episode

__all__ = ["advise"]

PLENTY = 40.0  # skills of a kind from which more of them matter half as much
NAMED = 0.5  # share of a name's words that must be in what was asked for

Rows = Mapping[str, Mapping[str, Any]]


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
    rows, known = rows_of(verdicts), memory.known()
    lacks = {name: 1.0 - row["succeeded"] / row["tried"] for name, row in rows.items()}
    for name, lack in _asked_for(verdicts, episodes, known).items():
        lacks.setdefault(name, lack)
    explore = _wishes(lacks, known, memory.episodes, skill_counts)
    parts = [
        f"# Feedback after {round_id}",
        _overview(rows, episodes),
        *_mastered(rows),
        *_failed(rows, verdicts, skill_counts),
        *_planned(explore, known, memory.episodes),
    ]
    return Feedback(round_id, rows, explore, "\n\n".join(parts) + "\n")


def _asked_for(
    verdicts: Sequence[Verdict], episodes: Sequence[Episode], known: Mapping[str, int]
) -> dict[str, float]:
    """Return what Alice knows that is named where Bob failed a goal that has no event she knows.

    With each name its share of these failures.
    """
    told = {episode.id: episode.instruction.lower() for episode in episodes}
    failed = [v for v in verdicts if not v.success and v.target not in known]
    asked = [set(spoken(told.get(verdict.episode, "")).split()) for verdict in failed]
    shares: dict[str, float] = {}
    for name in sorted(known):
        own = set(spoken(name).lower().split())
        times = sum(len(own & words) >= NAMED * len(own) for words in asked)
        if times:
            shares[name] = times / len(failed)
    return shares


def _wishes(
    lacks: Mapping[str, float],
    known: Mapping[str, int],
    episodes: int,
    skill_counts: Mapping[str, int],
) -> dict[str, float]:
    """Weigh what to explore: where Bob fails, data are few, and Alice can get.

    What she manages in one episode of four weighs half of what she always does.
    """
    weights = {}
    for name, lack in lacks.items():
        scarce = PLENTY / (PLENTY + skill_counts.get(name, 0))
        reach = (known.get(name, 0) + 0.5) / (episodes + 1)
        weights[name] = lack * scarce * math.sqrt(reach)
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:WISHES]
    total = sum(weight for _, weight in best)
    return {name: round(w / total, 4) for name, w in sorted(best) if w > 0} if total else {}


def _overview(rows: Rows, episodes: Sequence[Episode]) -> str:
    tried = sum(row["tried"] for row in rows.values())
    done = sum(row["succeeded"] for row in rows.values())
    text = f"Bob was looked at for {len(rows)} things {tried} times and did them {done} times."
    free = [episode for episode in episodes if not episode.meta.get("target")]
    if free:
        kinds = sum(len(e.summary.get("events", {})) for e in free) / len(free)
        turns = sum(len(e.turns) for e in free) / len(free)
        text += (
            f" Left to himself in {len(free)} worlds, he achieved {kinds:.1f} different things "
            f"in {turns:.0f} turns on average."
        )
    return text


def _mastered(rows: Rows) -> list[str]:
    names = [_said(name) for name, row in rows.items() if row["succeeded"] == row["tried"]]
    return [f"Bob always managed {', '.join(names)}."] if names else []


def _failed(rows: Rows, verdicts: Sequence[Verdict], skill_counts: Mapping[str, int]) -> list[str]:
    """Return the paragraph on what Bob does not always manage, the worst first."""
    shares = {name: row["succeeded"] / row["tried"] for name, row in rows.items()}
    weak = sorted((n for n in rows if shares[n] < 1), key=lambda n: (shares[n], n))
    lines = [_weakness(name, rows[name], verdicts, skill_counts.get(name, 0)) for name in weak]
    return ["## Where he fails\n\n" + "\n".join(lines)] if lines else []


def _weakness(name: str, row: Mapping[str, Any], verdicts: Sequence[Verdict], shown: int) -> str:
    cited = (v for v in verdicts if v.episode == row["evidence"][0] and v.target == name)
    detail = next(v.detail for v in cited)
    detail = f" ({detail})" if detail else ""
    return (
        f"- **{_said(name)}**: {row['succeeded']} of {row['tried']}; mostly "
        f"{REASONS.get(row['failure'], 'for another reason')}{detail}, as in "
        f"{', '.join(row['evidence'])}. He has been shown it {shown} time{'s' * (shown != 1)}."
    )


def _planned(explore: Mapping[str, float], known: Mapping[str, int], episodes: int) -> list[str]:
    """Return the paragraph on what is wished for, the weightiest first."""
    lines = []
    for name, weight in sorted(explore.items(), key=lambda item: (-item[1], item[0])):
        times = known.get(name, 0)
        how = f"I do it in {times / max(1, episodes):.0%} of my episodes"
        how = how if times else "I have never done it; I shall try what I have not tried"
        lines.append(f"- {_said(name)} ({weight:.0%}): {how}.")
    return ["## What I shall explore next\n\n" + "\n".join(lines)] if lines else []


def _said(name: str) -> str:
    return quoted(name.replace("_", " "))
