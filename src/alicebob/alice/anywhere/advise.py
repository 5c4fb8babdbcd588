"""Advise: what Alice says after a round, and what she should explore next.

What Bob fails at, has few skills for and Alice can reach is wished for, with weights; where he was
asked for what has no event of its own, what she knows whose names were in the words he was asked
with. Invariant: everything is computed from the verdicts, episodes, memory and counts given; names
and actions, which come from the environment or a model, are quoted. Does not: look at test
episodes, or judge (see `judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alicebob.alice.anywhere.judge import REASONS
from alicebob.alice.anywhere.memory import Memory
from alicebob.alice.anywhere.situation import spoken
from alicebob.alice.feedback import Feedback, Verdict, quoted, rows_of
from alicebob.alice.lacks import Rows, alone, failed, wishes
from alicebob.trace import Episode

__all__ = ["advise"]

NAMED = 0.5  # share of a name's words that must be in what was asked for


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
    explore = wishes(lacks, known, memory.episodes, skill_counts)
    parts = [
        f"# Feedback after {round_id}",
        _overview(rows, episodes),
        *_mastered(rows),
        *failed(rows, verdicts, skill_counts, _said, REASONS),
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


def _overview(rows: Rows, episodes: Sequence[Episode]) -> str:
    tried = sum(row["tried"] for row in rows.values())
    done = sum(row["succeeded"] for row in rows.values())
    text = f"Bob was looked at for {len(rows)} things {tried} times and did them {done} times."
    return text + alone(episodes)


def _mastered(rows: Rows) -> list[str]:
    names = [_said(name) for name, row in rows.items() if row["succeeded"] == row["tried"]]
    return [f"Bob always managed {', '.join(names)}."] if names else []


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
