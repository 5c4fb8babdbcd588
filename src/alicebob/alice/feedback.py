"""Feedback: Alice reads how Bob did on the validation worlds and says what to explore next.

Every verdict cites its episode, every weight follows from verdicts, data and her own knowledge.
Invariant: the same episodes give the same feedback, byte for byte; what Bob wrote is quoted
shortened and on one line, never taken as format. Does not: see a test episode.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alicebob.alice import words
from alicebob.alice.knowledge import Knowledge
from alicebob.errors import DamagedData
from alicebob.trace import Episode, Outcome
from alicebob.work import write_text

__all__ = ["Feedback", "SkillReport", "Verdict", "judge", "write_feedback"]

CITED = 3  # episodes named as evidence
PULL = 2.0  # sum of the weights, against 1 for exploring freely
LOOP = 0.5  # share of turns with an action and observation seen before, from which it is a loop
FAILURES = {
    "invalid": "wrote replies that are no actions",
    "died": "died before it was done",
    "loop": "did the same over and over without effect",
    "never_tried": "never tried the decisive action",
    "no_effect": "tried the decisive action where it has no effect",
    "slow": "was on the way when the turns ran out",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Alice's judgement of one validation episode; `failure` is a key of FAILURES, or empty."""

    episode: str
    target: str
    done: bool
    failure: str
    rationale: str

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SkillReport:
    """How Bob did on one skill, with the ids of episodes that show its typical failure."""

    tried: int
    succeeded: int
    failure: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feedback:
    """What Alice says after a round: per skill, what to explore next with weights, and prose."""

    round: str
    skills: Mapping[str, SkillReport] = field(default_factory=dict)
    explore: Mapping[str, float] = field(default_factory=dict)
    prose: str = ""

    @classmethod
    def empty(cls, round_id: str) -> Feedback:
        """Return the feedback before anything was evaluated: no wishes."""
        return cls(round_id, prose=f"# Feedback on {round_id}\n\nNothing was tried yet.\n")

    def to_json(self) -> dict[str, Any]:
        """Return the structured part as plain data."""
        skills = {name: asdict(report) for name, report in sorted(self.skills.items())}
        return {"round": self.round, "skills": skills, "explore": dict(self.explore)}

    def save(self, folder: Path) -> None:
        """Write `feedback.json` and `feedback.md`."""
        write_text(folder / "feedback.json", json.dumps(self.to_json(), indent=1) + "\n")
        write_text(folder / "feedback.md", self.prose)

    @classmethod
    def load(cls, folder: Path) -> Feedback:
        """Read feedback; raises DamagedData, naming the file, for anything else."""
        path = folder / "feedback.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                data["round"],
                {name: SkillReport(**report) for name, report in data["skills"].items()},
                {str(name): float(weight) for name, weight in data["explore"].items()},
                (folder / "feedback.md").read_text(encoding="utf-8"),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedData(
                f"{path} does not hold feedback ({type(error).__name__}: {error}). "
                "Restore it with 'dvc checkout', or delete it and run 'dvc repro'."
            ) from error


def judge(episodes: Sequence[Episode], knowledge: Knowledge) -> list[Verdict]:
    """Return a verdict on each episode that had a target, in order."""
    return [_verdict(e, knowledge) for e in episodes if e.meta.get("target")]


def _verdict(episode: Episode, knowledge: Knowledge) -> Verdict:
    target = episode.meta["target"]
    if episode.outcome is Outcome.SUCCESS:
        said = f"{words.goal(target)}: done in {len(episode.turns)} turns"
        return Verdict(episode.id, target, True, "", said)
    failure = _failure(episode, _decisive(target, knowledge))
    last = episode.turns[-1] if episode.turns else None
    said = f"{FAILURES[failure]}; last of {len(episode.turns)} turns: {_quoted(last)}"
    return Verdict(episode.id, target, False, failure, said)


def _decisive(target: str, knowledge: Knowledge) -> str:
    """Return the action that she knows to bring an event about, "" where she knows none."""
    makers = knowledge.makers(target)
    if not makers:
        return ""
    return "do" if makers[0].startswith("use ") else makers[0]


def _failure(episode: Episode, decisive: str) -> str:
    turns = episode.turns
    if sum("invalid_action" in turn.tags for turn in turns) > len(turns) / 4:
        return "invalid"
    if episode.outcome is Outcome.FAILURE:
        return "died"
    tries = [turn for turn in turns if turn.action == decisive]
    if decisive and not tries:
        return "never_tried"
    again = len(turns) - len({(turn.observation, turn.action) for turn in turns})
    if again > LOOP * len(turns):
        return "loop"
    return "no_effect" if tries else "slow"


def _quoted(turn: Any) -> str:
    if turn is None:
        return "none"
    thought = " ".join(str(turn.thought).split())[:60]
    action = " ".join(str(turn.action).split())[:40]
    return json.dumps(f"{thought} -> {action}" if thought else action, ensure_ascii=True)


def write_feedback(
    round_id: str,
    episodes: Sequence[Episode],
    verdicts: Sequence[Verdict],
    knowledge: Knowledge,
    known: Mapping[str, int],
) -> Feedback:
    """Return the feedback on a round.

    `known` counts the skills in hand by name. A weight is the higher the more often Bob failed and
    the fewer examples there are, and is given only where she knows of a way.
    """
    skills = {name: _report(name, verdicts) for name in sorted({v.target for v in verdicts})}
    wanted = {
        name: (1 - report.succeeded / report.tried) / (1 + known.get(name, 0)) ** 0.5
        for name, report in skills.items()
        if knowledge.makers(name)
    }
    total = sum(wanted.values())
    explore = {
        name: round(PULL * weight / total, 4)
        for name, weight in sorted(wanted.items(), key=lambda item: (-item[1], item[0]))
        if total > 0 and weight / total >= 0.01
    }
    free = [e for e in episodes if not e.meta.get("target")]
    prose = _prose(round_id, skills, explore, free, verdicts, known)
    return Feedback(round_id, skills, explore, prose)


def _report(name: str, verdicts: Sequence[Verdict]) -> SkillReport:
    mine = [v for v in verdicts if v.target == name]
    failed = Counter(v.failure for v in mine if not v.done)
    typical = min(failed, key=lambda kind: (-failed[kind], kind), default="")
    shown = tuple(v.episode for v in mine if typical and v.failure == typical)
    return SkillReport(len(mine), sum(v.done for v in mine), typical, shown[:CITED])


def _prose(
    round_id: str,
    skills: Mapping[str, SkillReport],
    explore: Mapping[str, float],
    free: Sequence[Episode],
    verdicts: Sequence[Verdict],
    known: Mapping[str, int],
) -> str:
    """Return what a person would read, in Markdown."""
    done = sum(report.succeeded for report in skills.values())
    tried = sum(report.tried for report in skills.values())
    lines = [f"# Feedback on {round_id}", ""]
    lines += [f"On validation worlds Bob did {done} of {tried} trials. " + _open(free), ""]
    sure = [n for n, r in skills.items() if r.succeeded >= 0.8 * r.tried]
    if sure:
        lines += [f"He can be relied on to {_listed([words.goal(n) for n in sure])}.", ""]
    weak = sorted(
        (n for n, r in skills.items() if r.succeeded < 0.8 * r.tried),
        key=lambda n: (skills[n].succeeded / skills[n].tried, n),
    )
    if weak:
        lines += ["## Where he fails", ""]
    for name in weak:
        report = skills[name]
        cited = ", ".join(f"`{episode}`" for episode in report.evidence)
        lines.append(
            f"- **{words.goal(name)}**, {report.succeeded} of {report.tried}: most often he "
            f"{FAILURES[report.failure]} ({cited}). Examples so far: {known.get(name, 0)}."
        )
    lines += ["", "## What to explore next", ""]
    if not explore:
        lines.append("Nothing in particular: explore freely.")
    for name, weight in list(explore.items())[:6]:
        share = weight / (1 + PULL)
        lines.append(f"- {words.goal(name)}, in about {share:.0%} of the episodes")
    return "\n".join(lines) + "\n"


def _open(free: Sequence[Episode]) -> str:
    if not free:
        return "There was no open play."
    made = sum(len(e.summary["events"]) for e in free) / len(free)
    turns = sum(len(e.turns) for e in free) / len(free)
    died = sum(e.outcome is Outcome.FAILURE for e in free)
    best = max(free, key=lambda e: (len(e.summary["events"]), e.id))
    return (
        f"In open play he made {made:.1f} achievements and lasted {turns:.0f} turns on average; "
        f"{died} of {len(free)} episodes ended in death. The best was `{best.id}` with "
        f"{len(best.summary['events'])}."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
