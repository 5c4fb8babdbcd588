"""Traces: some of a round's episodes, turn by turn, and what Alice says of each.

Of validation, the split that she looks at. Invariant: no more than `TRACES` a round, and `TURNS` of
each. A millisecond stands for a turn: the files keep no clock. Does not: judge.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from alicebob.alice.feedback import Verdict
from alicebob.experiment.examples import skill_of
from alicebob.trace import Episode, Outcome, Turn
from alicebob.untrusted import printable

if TYPE_CHECKING:
    from mlflow.entities import Feedback, Span, TraceInfo

__all__ = ["TRACES", "trace"]

TRACES = 12
TURNS = 40  # from the front and from the end of an episode
LONGEST = 4000  # characters of a text
MILLION = 1_000_000  # nanoseconds in a millisecond


def trace(
    episode: Episode, verdict: Verdict | None, run: str, experiment: str, judge: str
) -> tuple[TraceInfo, list[Span]]:
    """Return an episode as MLflow has it: what is told of it, with assessments, and its spans.

    `judge` is the language model that judged for Alice, "" where none did.
    """
    from mlflow.entities import TraceInfo, TraceState
    from mlflow.entities.trace_location import TraceLocation

    skill = _short(skill_of(episode), 200)
    events = dict(episode.summary.get("events", {}))
    told = {"outcome": episode.outcome.value, "reward": episode.reward, "events": events}
    spans = list(_spans(episode, run, told))
    read, written = (episode.budget.get(f"{n}_tokens", 0) for n in ("prompt", "reply"))
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    info = TraceInfo(
        trace_id=spans[0].trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=spans[0].start_time_ns // MILLION,
        state=TraceState.ERROR if episode.outcome.owed else TraceState.OK,
        request_preview=_short(episode.instruction, 200),
        response_preview=_short(f"{episode.outcome.value}: {', '.join(events)}", 200),
        execution_duration=len(episode.turns),
        trace_metadata={
            "mlflow.sourceRun": run,
            "mlflow.trace.tokenUsage": json.dumps(usage),
            "episode": episode.id,
        },
        tags={"mlflow.traceName": _short(episode.id, 100), "skill": skill},
        assessments=list(_assessments(episode, verdict, judge)),
    )
    return info, spans


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
    trace_id = hashlib.sha256(f"{run} {episode.id}".encode()).hexdigest()[:32]
    turns = list(enumerate(episode.turns))
    left = max(0, len(turns) - TURNS)
    asked = {"instruction": _short(episode.instruction), "seed": episode.seed}
    about = {
        "environment": episode.environment,
        "options": dict(episode.options),
        "turns": len(turns),
        "turns left out": left,
        "final observation": episode.final,
    }
    now = time.time_ns()
    yield _span(trace_id, 0, episode.id, "AGENT", asked, told, about, (now, len(turns)))
    half = TURNS // 2
    for at, turn in turns[:half] + turns[half:][left:] if left else turns:
        name = f"{at} {turn.action}"
        seen, done = {"observation": turn.observation}, {"action": turn.action}
        done |= {"thought": turn.thought} if turn.thought else {}
        when = (now + at * MILLION, 1)
        yield _span(trace_id, at + 1, name, "TOOL", seen, done, _about(turn), when)


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
    """Return a span; `number` is 0 of the whole, `when` its start in ns and its length in turns."""
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
    return {n: v[:LONGEST] if isinstance(v, str) else v for n, v in data.items()}


def _short(text: str, most: int = LONGEST) -> str:
    return printable(text, lines=True)[:most]
