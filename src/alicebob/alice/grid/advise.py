"""Advise: what Alice says after a round, and what she should explore next.

What Bob fails at, has few skills for and Alice can reach is wished for, with weights. Invariant:
everything is computed from the verdicts, episodes, knowledge and counts given. Does not: look at
test episodes, or judge (see `judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alicebob.alice.feedback import Feedback, Verdict, listed, rows_of
from alicebob.alice.grid.features import LOW, NEAR
from alicebob.alice.grid.judge import REASONS
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.lacks import Rows, alone, failed, wishes
from alicebob.trace import Episode
from alicebob.words import goal

__all__ = ["advise"]


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
    lacks = {name: 1.0 - row["succeeded"] / row["tried"] for name, row in rows.items()}
    explore = wishes(lacks, knowledge.events, knowledge.episodes, skill_counts)
    parts = [
        f"# Feedback after {round_id}",
        _overview(rows, episodes),
        *_mastered(rows),
        *failed(rows, verdicts, skill_counts, goal, REASONS),
        *_planned(explore, knowledge),
    ]
    return Feedback(round_id, rows, explore, "\n\n".join(parts) + "\n")


def _overview(rows: Rows, episodes: Sequence[Episode]) -> str:
    tried = sum(row["tried"] for row in rows.values())
    done = sum(row["succeeded"] for row in rows.values())
    text = f"Bob tried {len(rows)} skills {tried} times and succeeded {done} times."
    return text + alone(episodes)


def _mastered(rows: Rows) -> list[str]:
    names = [goal(name) for name, row in rows.items() if row["succeeded"] == row["tried"]]
    return [f"Bob always managed to {listed(names)}."] if names else []


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
