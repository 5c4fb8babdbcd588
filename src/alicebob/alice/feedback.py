"""Feedback: a verdict on each of Bob's episodes, and what Alice says after a round.

The data that judging and advising share, whoever does them. Invariant: what a model wrote or saw is
quoted shortened and escaped. Does not: judge or advise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData
from alicebob.files import write_json, write_text
from alicebob.trace import Turn

__all__ = [
    "EVIDENCE",
    "INVALID",
    "WISHES",
    "Feedback",
    "Verdict",
    "listed",
    "looped",
    "quoted",
    "rows_of",
    "usual",
]

EVIDENCE = 3  # episodes cited for each skill
INVALID = 0.3  # share of invalid actions from which they are the reason
LOOP = 5  # the same action on the same observation so often is a loop
WISHES = 6  # names wished for at most


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
    def empty(cls, round_id: str, why: str = "Nothing was tried yet.") -> Feedback:
        """Return feedback that wishes for nothing, and says why."""
        return cls(round_id, prose=f"# Feedback after {round_id}\n\n{why}\n")

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
        write_json(folder / "feedback.json", self.to_json())
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
    plain = "".join(c if c.isprintable() and c not in "`<>|\\" else "?" for c in short)
    return f"`{plain}`" if short else "`(nothing)`"


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


def listed(names: Sequence[str]) -> str:
    """Return names as English lists them."""
    names = [name.replace("_", " ") for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
