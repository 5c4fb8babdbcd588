"""Feedback: how Bob did on what Alice may look at, and what she should explore next.

Every failed trial gets one reason, found in its own trace with what Alice knows of the skill. What
Bob fails at, has few skills for and Alice can reach is wished for, with weights. Invariant:
everything is computed from the episodes and counts given; what a model wrote or saw is quoted
shortened and escaped. Does not: look at test episodes, or train.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.alice.interface import PRESS, faced_in
from alicebob.alice.knowledge import LOW, NEAR, Affordance, Knowledge
from alicebob.alice.planner import USE
from alicebob.alice.words import goal
from alicebob.errors import DamagedData
from alicebob.trace import Episode, Outcome, Turn
from alicebob.work import write_text

__all__ = ["Feedback", "Verdict", "judge", "looped", "quoted", "rows_of", "usual", "write_feedback"]

LOOP = 5  # the same action on the same observation so often is a loop
INVALID = 0.3  # share of invalid actions from which they are the reason
WISHES = 6  # events wished for at most
PLENTY = 40.0  # skills of a kind from which more of them matter half as much
EVIDENCE = 3  # episodes cited for each skill

REASONS = {
    "never_tried": "he never did what brings it about",
    "lacked": "he tried without what it takes",
    "loop": "he repeated himself",
    "died": "he died",
    "invalid": "he named actions that do not exist",
    "strayed": "he did other things",
    "out_of_turns": "he ran out of turns",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Alice says of one trial: whether it succeeded, why not, and a word of detail."""

    episode: str
    target: str
    success: bool
    reason: str = ""
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Feedback:
    """What Alice says after a round: per skill, what to explore, and in words.

    `skills` has for each event tried, succeeded, failure (the most frequent reason, "" for none)
    and evidence (episode ids); `explore` the weights of events to go for.
    """

    round: str
    skills: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    explore: Mapping[str, float] = field(default_factory=dict)
    prose: str = ""

    @classmethod
    def empty(cls, round_id: str) -> Feedback:
        """Return the feedback of a round in which nothing was looked at: no wishes."""
        return cls(round_id, prose=f"# Feedback after {round_id}\n\nNothing was tried yet.\n")

    def to_json(self) -> dict[str, Any]:
        """Return the feedback as plain data."""
        return {
            "round": self.round,
            "skills": {name: dict(row) for name, row in self.skills.items()},
            "explore": dict(self.explore),
            "prose": self.prose,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Feedback:
        """Rebuild a feedback; raises KeyError on another shape."""
        return cls(data["round"], data["skills"], data["explore"], data["prose"])

    def save(self, folder: Path) -> None:
        """Write `feedback.json`, and its prose as `feedback.md` too."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        write_text(folder / "feedback.json", text + "\n")
        write_text(folder / "feedback.md", self.prose)

    @classmethod
    def load(cls, folder: Path) -> Feedback:
        """Read feedback; raises DamagedData, naming the file, for anything else."""
        path = folder / "feedback.json"
        try:
            found = cls.from_json(json.loads(path.read_text(encoding="utf-8")))
            if not all(isinstance(weight, int | float) for weight in found.explore.values()):
                raise TypeError("a weight is not a number")
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedData(
                f"{path} does not hold feedback ({type(error).__name__}: {error}). "
                "Restore it with 'dvc checkout', or delete it and run 'dvc repro'."
            ) from error


def judge(episodes: Sequence[Episode], knowledge: Knowledge) -> list[Verdict]:
    """Return a verdict for each trial, an episode whose meta names a target, in order."""
    return [_judge(e, e.meta["target"], knowledge) for e in episodes if e.meta.get("target")]


def _judge(episode: Episode, target: str, knowledge: Knowledge) -> Verdict:
    if episode.outcome is Outcome.SUCCESS:
        return Verdict(episode.id, target, True)
    turns = episode.turns
    if turns and sum("invalid_action" in t.tags for t in turns) > INVALID * len(turns):
        first = next(t for t in turns if "invalid_action" in t.tags)
        return Verdict(episode.id, target, False, "invalid", f"such as {quoted(first.action)}")
    if episode.outcome is Outcome.FAILURE:
        return Verdict(episode.id, target, False, "died", f"after {len(turns)} turns")
    makers = knowledge.makers(target)
    if makers:
        tries = [t for t in turns if any(_tries(t, maker) for maker in makers)]
        if not tries:
            return Verdict(episode.id, target, False, *_untried(turns))
        if missing := _missing(tries, knowledge.intents[makers[0]]):
            return Verdict(episode.id, target, False, "lacked", "no " + " and no ".join(missing))
    if detail := looped(turns):
        return Verdict(episode.id, target, False, "loop", detail)
    return Verdict(episode.id, target, False, "out_of_turns", f"after {len(turns)}")


def _tries(turn: Turn, intent: str) -> bool:
    """Say whether a turn carries out an intent: its action, or a press on its thing."""
    if not intent.startswith(USE):
        return turn.action == intent
    return turn.action == PRESS and faced_in(turn.observation) == intent[len(USE) :]


def _untried(turns: Sequence[Turn]) -> tuple[str, str]:
    """Return "never_tried", with what Bob did most instead."""
    if not turns:
        return "never_tried", ""
    action, times = Counter(turn.action for turn in turns).most_common(1)[0]
    return "never_tried", f"{quoted(action)} on {times} of {len(turns)} turns"


def _missing(tries: Sequence[Turn], affordance: Affordance) -> list[str]:
    """Return what a success needs and the text of no try names."""
    needs = [n.removeprefix(NEAR) for n in affordance.required() if not n.startswith(LOW)]
    return [need for need in needs if not any(_names(need, turn.observation) for turn in tries)]


def _names(thing: str, observation: str) -> bool:
    """Say whether a text names a thing, by itself, with its number or with its side."""
    pattern = rf"(?<![a-z_]){re.escape(thing)}(?:\d|_(?:left|right|up|down))?(?![a-z_])"
    return re.search(pattern, observation) is not None


def looped(turns: Sequence[Turn]) -> str:
    """Say which action was repeated on one observation, "" where none was often."""
    pairs = Counter((turn.observation, turn.action) for turn in turns)
    if not pairs:
        return ""
    (_, action), times = pairs.most_common(1)[0]
    return f"{quoted(action)} {times} times on one observation" if times >= LOOP else ""


def quoted(text: str) -> str:
    """Return untrusted text short, on one line, and harmless in Markdown."""
    short = " ".join(text.split())
    short = short if len(short) <= 40 else short[:37] + "..."
    return "`" + re.sub(r"[`<>|\\\x00-\x1f]", "?", short) + "`" if short else "`(nothing)`"


def write_feedback(
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
    prose = _prose(round_id, rows, verdicts, explore, skill_counts, knowledge, free)
    return Feedback(round_id, rows, explore, prose)


def rows_of(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    """Return for each skill how often it was tried and done, its usual failure and evidence."""
    targets = sorted({v.target for v in verdicts})
    return {target: _row([v for v in verdicts if v.target == target]) for target in targets}


def _row(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    failed = [v for v in verdicts if not v.success]
    failure = usual(v.reason for v in failed)
    cited = [v.episode for v in failed if v.reason == failure] or [v.episode for v in verdicts]
    return {
        "tried": len(verdicts),
        "succeeded": len(verdicts) - len(failed),
        "failure": failure,
        "evidence": cited[:EVIDENCE],
    }


def usual(reasons: Iterable[str]) -> str:
    """Return the most frequent reason, of equal ones the first by name; "" for none."""
    counts = Counter(reasons)
    return min(counts, key=lambda reason: (-counts[reason], reason), default="")


def _wishes(
    rows: Mapping[str, Mapping[str, Any]], knowledge: Knowledge, skill_counts: Mapping[str, int]
) -> dict[str, float]:
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


def _prose(
    round_id: str,
    rows: Mapping[str, Mapping[str, Any]],
    verdicts: Sequence[Verdict],
    explore: Mapping[str, float],
    skill_counts: Mapping[str, int],
    knowledge: Knowledge,
    free: Sequence[Episode],
) -> str:
    """Write the feedback as a person would read it, in Markdown."""
    parts = [f"# Feedback after {round_id}", _overview(rows, free)]
    mastered = [n for n, row in rows.items() if row["succeeded"] == row["tried"]]
    if mastered:
        parts.append(f"Bob always managed to {_list([goal(n) for n in mastered])}.")
    weak = sorted(
        (n for n in rows if n not in mastered),
        key=lambda n: (rows[n]["succeeded"] / rows[n]["tried"], n),
    )
    if weak:
        lines = [_weakness(name, rows[name], verdicts, skill_counts) for name in weak]
        parts.append("## Where he fails\n\n" + "\n".join(lines))
    if explore:
        lines = [
            _plan(name, weight, knowledge)
            for name, weight in sorted(explore.items(), key=lambda item: (-item[1], item[0]))
        ]
        parts.append("## What I shall explore next\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _overview(rows: Mapping[str, Mapping[str, Any]], free: Sequence[Episode]) -> str:
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


def _weakness(
    name: str,
    row: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    skill_counts: Mapping[str, int],
) -> str:
    detail = next(v.detail for v in verdicts if v.episode == row["evidence"][0])
    detail = f" ({detail})" if detail else ""
    count = skill_counts.get(name, 0)
    return (
        f"- **{goal(name)}**: {row['succeeded']} of {row['tried']}; mostly "
        f"{REASONS[row['failure']]}{detail}, as in {', '.join(row['evidence'])}. "
        f"He has been shown it {count} time{'s' * (count != 1)}."
    )


def _plan(name: str, weight: float, knowledge: Knowledge) -> str:
    share = knowledge.events.get(name, 0) / max(1, knowledge.episodes)
    if not knowledge.events.get(name):
        known = "I have never done it; I shall try what I have not tried where I have not been"
    else:
        needs = [n.removeprefix(NEAR) for n in _needs(name, knowledge)]
        known = f"I do it in {share:.0%} of my episodes"
        known += f"; it seems to take {_list(needs)}" if needs else ""
    return f"- {goal(name)} ({weight:.0%}): {known}."


def _needs(name: str, knowledge: Knowledge) -> list[str]:
    makers = knowledge.makers(name)
    required = knowledge.intents[makers[0]].required() if makers else {}
    return sorted(n for n in required if not n.startswith(LOW))


def _list(names: Sequence[str]) -> str:
    """Return names as English lists them."""
    names = [name.replace("_", " ") for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
