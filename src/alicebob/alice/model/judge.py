"""Judging by a language model: did Bob carry out what he was told, and if not, why?

Invariants: a verdict that does not fit its schema or names what is not there is rejected and
counted; an unjudged trial counts for nothing; a detail is one line that is harmless in Markdown.
Does not: look at test episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from alicebob.alice.feedback import Verdict
from alicebob.alice.model.asking import Answer, Asker, Tally, prompt
from alicebob.alice.model.shapes import line, none_or, record, whole
from alicebob.alice.model.transcript import shown
from alicebob.policies.chat import Chat
from alicebob.trace import Episode, Outcome, Turn
from alicebob.untrusted import markdown

__all__ = ["agreement", "judge_with"]


DETAIL = 300  # characters of a detail, at most


class Judgement(Answer):
    """Whether a trial succeeded, and if not why, what and where."""

    success: bool
    reason: str
    detail: str = Field(max_length=DETAIL)
    turn: int | None


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

    def form(number: int) -> dict[str, Any]:
        turn = none_or(whole(1, len(trials[number].turns)))
        reason = {"enum": list(known)}
        failed = record(success=False, reason=reason, detail=line(1, DETAIL), turn=turn)
        done = record(success=True, reason="", detail="", turn={"type": "null"})
        return {"anyOf": [done, failed]}

    asker = Asker(chat, Judgement, journal, check, form)
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
                "" if answer.success else markdown(" ".join(answer.detail.split())) + where,
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


def _without_events(turn: Turn) -> Turn:
    """Return a turn without what the environment says it achieved: the judge sees what Bob saw."""
    return replace(turn, events=())
