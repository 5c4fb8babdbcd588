"""The committee: judges who look at a skill one by one; what they do not all accept is left out.

The embedded judges have a question each, after Learn-by-interact's (arXiv 2501.10893, Table 31);
language models have all of them (`alicebob.alice.model.committee`). Invariant: each judge's verdict
is kept, "" for yes, else why not. Does not: look at other skills.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alicebob.alice.backward import REPLICATE, Stretch
from alicebob.trace import ASLEEP, INVALID, Skill

__all__ = ["JUDGES", "Verdicts", "lines", "unanimous", "verdicts"]

LONGEST = 40  # words of an instruction
Verdicts = Mapping[str, str]  # by judge


def _aligned(skill: Skill, stretch: Stretch) -> str:
    last = stretch.turns[-1]
    idle = last.observation == stretch.after and not last.events
    return "nothing comes of its last turn" if idle else ""


def _coherent(skill: Skill, stretch: Stretch) -> str:
    tags = {tag for turn in stretch.turns for tag in turn.tags}
    lost = INVALID in tags or ASLEEP in tags
    return "a turn of it is no action, or counts for nothing" if lost else ""


def _natural(skill: Skill, stretch: Stretch) -> str:
    if (count := len(skill.instruction.split())) > LONGEST:
        return f"nobody asks in {count} words"
    idle = not any(turn.events for turn in stretch.turns)
    if skill.name == REPLICATE and len(skill.turns) == 1 and idle:
        return "nobody asks for one action that achieves nothing"
    return ""


def _reasonable(skill: Skill, stretch: Stretch) -> str:
    seen = [turn.observation for turn in stretch.turns] + [stretch.after]
    return "it comes back to where it was" if len(set(seen)) < len(seen) else ""


JUDGES: Mapping[str, Callable[[Skill, Stretch], str]] = {
    "aligned": _aligned,
    "coherent": _coherent,
    "natural": _natural,
    "reasonable": _reasonable,
}


def verdicts(skill: Skill, stretch: Stretch) -> Verdicts:
    """Return the verdicts of the embedded judges on a skill that a stretch is."""
    return {name: judge(skill, stretch) for name, judge in JUDGES.items()}


def unanimous(found: Verdicts) -> bool:
    """Say whether two judges or more have looked, and all accept."""
    return len(found) > 1 and not any(found.values())


def lines(skills: Sequence[Skill], found: Sequence[Verdicts]) -> str:
    """Return the verdicts on skills as lines of JSON, those on what was left out too."""
    rows: list[dict[str, Any]] = [
        {"skill": s.id, "instruction": s.instruction, "verdicts": dict(v), "kept": unanimous(v)}
        for s, v in zip(skills, found, strict=True)
    ]
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
