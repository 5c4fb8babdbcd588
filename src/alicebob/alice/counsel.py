"""Counsel: a language model judges Bob's trials and writes the feedback.

Invariant: a verdict or a feedback that does not fit its schema, names what is not there or cites
what it was not shown is rejected and counted; an unjudged trial counts for nothing. Does not: look
at test episodes.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from alicebob.alice.asking import Answer, Asker, Tally, prompt
from alicebob.alice.feedback import WISHES, Feedback, Verdict, rows_of
from alicebob.alice.transcript import shown
from alicebob.chat import Chat
from alicebob.trace import Episode, Outcome, Turn

__all__ = ["agreement", "judge_with", "write_with"]


class Judgement(Answer):
    """Whether a trial succeeded, and if not why, what and where."""

    success: bool
    reason: str
    detail: str = Field(max_length=300)
    turn: int | None


class Counsel(Answer):
    """What is said after a round."""

    prose: str = Field(min_length=20, max_length=6000)
    explore: dict[str, float]
    evidence: list[str]


def judge_with(
    chat: Chat,
    episodes: Sequence[Episode],
    journal: Path,
    known: Mapping[str, str],
    done: Callable[[], object] = lambda: None,
) -> tuple[list[Verdict], Tally]:
    """Return the model's verdicts on the trials, in order, without those that were rejected.

    `known` are the reasons there are for a failure, with their meanings.
    """
    trials = [episode for episode in episodes if episode.meta.get("target")]

    def check(number: int, answer: Judgement) -> None:
        if not answer.success and answer.reason not in known:
            raise ValueError(f"The reason must be one of {', '.join(known)}.")
        if answer.turn is not None and not 1 <= answer.turn <= len(trials[number].turns):
            raise ValueError(f"There are turns 1 to {len(trials[number].turns)} only.")

    asker = Asker(chat, Judgement, journal, check)
    reasons = "\n".join(f"- {name}: {meaning}" for name, meaning in known.items())
    prompts = [
        prompt(
            "judge",
            reasons=reasons,
            instruction=episode.instruction,
            turns=shown(
                [_without_events(turn) for turn in episode.turns], episode.final, thoughts=True
            ),
        )
        for episode in trials
    ]
    verdicts = []
    for episode, answer in zip(trials, asker.ask(prompts, done), strict=True):
        if answer is None:
            continue
        where = f" (turn {answer.turn})" if answer.turn is not None else ""
        verdicts.append(
            Verdict(
                episode.id,
                episode.meta["target"],
                answer.success,
                "" if answer.success else answer.reason,
                "" if answer.success else answer.detail + where,
            )
        )
    return verdicts, asker.tally


def agreement(verdicts: Sequence[Verdict], episodes: Sequence[Episode]) -> dict[str, int]:
    """Count where verdicts and the environment agree: both yes, both no, and either alone."""
    won = {episode.id: episode.outcome is Outcome.SUCCESS for episode in episodes}
    counts = {"both": 0, "neither": 0, "judge_only": 0, "environment_only": 0}
    names = {
        (True, True): "both",
        (False, False): "neither",
        (True, False): "judge_only",
        (False, True): "environment_only",
    }
    for verdict in verdicts:
        counts[names[verdict.success, won[verdict.episode]]] += 1
    return counts


def write_with(
    chat: Chat,
    round_id: str,
    verdicts: Sequence[Verdict],
    knowledge: Any,
    skill_counts: Mapping[str, int],
    reasons: Mapping[str, str],
    journal: Path,
) -> tuple[Feedback, Tally]:
    """Return the model's feedback on the verdicts; a blank one where it was rejected."""
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

    asker = Asker(chat, Counsel, journal, check)
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
    said = html.escape(answer.prose.strip(), quote=False)
    prose = f"# Feedback after {round_id}\n\n{said}{cites}"
    return Feedback(round_id, rows, weights, prose), asker.tally


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
        detail = next((v.detail for v in verdicts if v.episode == row["evidence"][0]), "")
        text += f"; mostly {reasons[row['failure']]}"
        text += f" ({' '.join(detail.split())})" if detail else ""
    return (
        f"{text}; episodes {', '.join(row['evidence'])}; shown {skill_counts.get(name, 0)} times; "
        f"you managed it in {share:.0%} of your explorations"
    )


def _without_events(turn: Turn) -> Turn:
    """Return a turn without what the environment says it achieved: the judge sees what Bob saw."""
    return replace(turn, events=())
