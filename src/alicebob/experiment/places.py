"""Places: where each kind of artifact of a round lies, relative to the repository's root.

Does not: read or write them.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["PLACES", "place"]

PLACES = {
    "base": "models/base",
    "episodes": "data/episodes/{round}",
    "skills": "data/skills/{round}",
    "bob": "models/bob/{round}",
    "evaluations": "data/evaluations/{round}",
    "feedback": "data/feedback/{round}",
    "metrics": "metrics/{round}.json",
    "headline": "headlines/{round}.json",
}


def place(kind: str, round_id: str) -> Path:
    """Return where an artifact of a round lies."""
    return Path(PLACES[kind].format(round=round_id))
