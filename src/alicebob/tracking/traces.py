"""Traces: some of a round's episodes, turn by turn, and what Alice says of each; what she asked.

Of validation, the split that she looks at, and of exploration where a language model explored.
Invariant: no more than `TRACES` a round, `EXPLORED` of Alice's, and `TURNS` of each. A millisecond
stands for a turn: the files keep no clock. Of the questions that she asked a language model those
that the stage kept are traces too, as long as they took. Does not: judge.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alicebob.alice.feedback import Verdict
from alicebob.experiment.examples import skill_of
from alicebob.experiment.made import Call
from alicebob.trace import Episode, Outcome, Turn
from alicebob.untrusted import printable

if TYPE_CHECKING:
    from mlflow.entities import Feedback, Span, TraceInfo

__all__ = ["EXPLORED", "TRACES", "call", "trace"]

TRACES = 12
EXPLORED = 4
TURNS = 40  # from the front and from the end of an episode
LONGEST = 4000  # characters of a text
WHOLE = 20_000  # and of a question
MILLION = 1_000_000  # nanoseconds in a millisecond


def trace(
    episode: Episode, verdict: Verdict | None, run: str, experiment: str, judge: str, **tags: str
) -> tuple[TraceInfo, list[Span]]:
    """Return an episode as MLflow has it: what is told of it, with assessments, and its spans.

    `judge` is the language model that judged for Alice, "" where none did.
    """
    events = dict(episode.summary.get("events", {}))
    told = {"outcome": episode.outcome.value, "reward": episode.reward, "events": events}
    spans = list(_spans(episode, run, told))
    ended = f"{episode.outcome.value}: {', '.join(events)}" if events else episode.outcome.value
    previews = (episode.instruction, ended)
    info = _info(
        spans,
        (run, experiment),
        previews,
        tuple(episode.budget.get(f"{name}_tokens", 0) for name in ("prompt", "reply")),
        wrong=episode.outcome.owed,
        about={"episode": episode.id},
        tags={"skill": _short(skill_of(episode), 200), **tags},
        assessments=list(_assessments(episode, verdict, judge)),
    )
    return info, spans


def call(
    verb: str, asked: Call, run: str, experiment: str, model: str, **tags: str
) -> tuple[TraceInfo, list[Span]]:
    """Return a question of Alice's to a language model, and what came of it, as MLflow has it.

    Below the whole is a span for each try, as long as it took, with the reason where it was refused
    (see `alicebob.experiment.made`). The tag `came` is whole, mended or rejected.
    """
    answer, refused = asked.answer, asked.refused
    came = "rejected" if answer is None else "mended" if refused else "whole"
    name = f"{verb} {asked.number}"
    trace_id = _trace_id(f"{run} {name} {asked.question}")
    tries = [(said["text"], said["reason"]) for said in refused]
    tries += [] if answer is None else [(json.dumps(answer, ensure_ascii=False), "")]
    took = [max(1, round(1000 * seconds)) for seconds in asked.seconds] or [1] * len(tries)
    question, begun = _short(asked.question, WHOLE), time.time_ns()
    last = {"answer": answer} if answer is not None else {"refused": [why for _, why in tries]}
    about = {"model": model, "came": came}
    first = {"question": question}
    spans = [_span(trace_id, 0, name, "CHAIN", first, last, about, (begun, sum(took)))]
    for number, ((text, reason), length) in enumerate(zip(tries, took, strict=False), start=1):
        said = {"answer": _short(text)}
        why = {"refused because": _short(reason)} if reason else {}
        when = (begun + sum(took[: number - 1]) * MILLION, length)
        label = f"try {number}"
        spans.append(_span(trace_id, number, label, "CHAT_MODEL", first, said, why, when))
        first = {"question": question, "refused": said["answer"], "because": _short(reason)}
    info = _info(
        spans,
        (run, experiment),
        (question, tries[-1][0] if tries else ""),
        (asked.prompt_tokens, asked.reply_tokens),
        wrong=answer is None,
        about={"model": model[:200]},
        tags={"verb": verb, "came": came, **tags},
    )
    return info, spans


def _info(
    spans: Sequence[Span],
    where: tuple[str, str],
    previews: tuple[str, str],
    tokens: Sequence[int],
    *,
    wrong: bool,
    about: Mapping[str, str],
    tags: Mapping[str, str],
    assessments: Sequence[Feedback] = (),
) -> TraceInfo:
    """Return what is told of a trace; `where` is its run and experiment."""
    from mlflow.entities import TraceInfo, TraceState
    from mlflow.entities.trace_location import TraceLocation

    whole, (run, experiment), (read, written) = spans[0], where, tokens
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    assert whole.end_time_ns is not None
    return TraceInfo(
        trace_id=whole.trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=whole.start_time_ns // MILLION,
        state=TraceState.ERROR if wrong else TraceState.OK,
        request_preview=_short(previews[0], 200),
        response_preview=_short(previews[1], 200),
        execution_duration=(whole.end_time_ns - whole.start_time_ns) // MILLION,
        trace_metadata={
            "mlflow.sourceRun": run,
            "mlflow.trace.tokenUsage": json.dumps(usage),
            **about,
        },
        tags={"mlflow.traceName": _short(whole.name, 100), **tags},
        assessments=list(assessments),
    )


def _assessments(episode: Episode, verdict: Verdict | None, judge: str) -> Iterator[Feedback]:
    from mlflow.entities import AssessmentSource, Feedback

    code = AssessmentSource("CODE", episode.environment[:200])
    succeeded = episode.outcome is Outcome.SUCCESS
    yield Feedback("environment", succeeded, source=code, rationale=episode.outcome.value)
    yield Feedback("reward", episode.reward, source=code)
    if verdict is not None:
        alice = AssessmentSource("LLM_JUDGE", f"alice/{judge}"[:200]) if judge else None
        words = filter(None, (verdict.reason.replace("_", " "), verdict.detail))
        yield Feedback(
            "alice",
            verdict.success,
            source=alice or AssessmentSource("CODE", "alice"),
            rationale=_short(": ".join(words)),
            metadata={"skill": _short(verdict.target, 200)},
        )


def _spans(episode: Episode, run: str, told: Mapping[str, Any]) -> Iterator[Span]:
    """Yield the episode as a span, and below it one for each turn that is shown."""
    trace_id = _trace_id(f"{run} {episode.id}")
    turns = list(enumerate(episode.turns))
    left = max(0, len(turns) - TURNS)
    asked = {"instruction": _short(episode.instruction), "seed": episode.seed}
    about = {
        "environment": episode.environment,
        "options": dict(episode.options),
        "turns": len(turns),
        "turns left out": left,
        "final observation": episode.final[:LONGEST],
    }
    now = time.time_ns()
    yield _span(trace_id, 0, episode.id, "AGENT", asked, told, about, (now, len(turns)))
    half = TURNS // 2
    for at, turn in turns[:half] + turns[half:][left:] if left else turns:
        name = f"{at} {turn.action}"
        seen, done = {"observation": turn.observation[:LONGEST]}, {"action": turn.action}
        done |= {"thought": turn.thought} if turn.thought else {}
        when = (now + at * MILLION, 1)
        yield _span(trace_id, at + 1, name, "TOOL", seen, done, _about(turn), when)


def _trace_id(told: str) -> str:
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _about(turn: Turn) -> dict[str, Any]:
    found = {"reward": turn.reward, "events": list(turn.events), "tags": list(turn.tags)}
    return {name: value for name, value in found.items() if value}


def _span(
    trace_id: str,
    number: int,
    name: str,
    kind: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    about: Mapping[str, Any],
    when: tuple[int, int],
) -> Span:
    """Return a span; `number` is 0 of the whole, `when` its start in ns and its length in ms."""
    from mlflow.entities import Span

    attributes = {
        "mlflow.traceRequestId": f"tr-{trace_id}",
        "mlflow.spanType": kind,
        "mlflow.spanInputs": _clipped(inputs),
        "mlflow.spanOutputs": _clipped(outputs),
        **_clipped(about),
    }
    return Span.from_dict(
        {
            "trace_id": f"tr-{trace_id}",
            "span_id": f"{number + 1:016x}",
            "parent_span_id": f"{1:016x}" if number else None,
            "name": _short(name, 80),
            "start_time_unix_nano": when[0],
            "end_time_unix_nano": when[0] + when[1] * MILLION,
            "status": {"code": "OK"},
            "attributes": {key: json.dumps(value) for key, value in attributes.items()},
            "events": [],
        }
    )


def _clipped(data: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v[:WHOLE] if isinstance(v, str) else v for n, v in data.items()}


def _short(text: str, most: int = LONGEST) -> str:
    return printable(text, lines=True)[:most]
