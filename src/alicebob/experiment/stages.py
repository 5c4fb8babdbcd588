"""Stages: what each reads of its parent and of its own round, and what it writes.

`dvc.yaml` says the same to DVC; a test holds the two together. Does not: say what a stage does (see
`alicebob.pipeline`).
"""

from __future__ import annotations

from dataclasses import dataclass

from alicebob.experiment.tree import ROOT_ROUND
from alicebob.settings import BOBS_MODEL, BOBS_TEMPLATE

__all__ = ["STAGES", "Stage", "address"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: the kinds of artifacts it writes, and reads of its parent and of its own round.

    `part` is the stage of `alicebob.methods.parts.STAGES` whose part it calls, "" for none; `reads`
    are the parameters that it looks at beside that part's.
    """

    outs: tuple[str, ...]
    parent: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    part: str = ""
    reads: tuple[str, ...] = ()


#: What Bob is and sees.
BOB = (*BOBS_MODEL, "bob.dtype", "bob.preamble", *BOBS_TEMPLATE, "bob.context")
LORA = ("bob.lora_rank", "bob.lora_alpha")

STAGES = {
    "base": Stage(("base",)),
    "start": Stage(
        ("episodes", "skills", "bob", "feedback"),
        own=("base",),
        reads=("seed", "env", "seeds.explore", *BOB, "bob.max_new_tokens", *LORA),
    ),
    "explore": Stage(
        ("episodes",),
        parent=("episodes", "skills", "feedback", "bob"),
        own=("base",),
        part="explore",
        reads=("env",),
    ),
    "skills": Stage(
        ("skills",),
        parent=("skills", "bob"),
        own=("base", "episodes"),
        part="skills",
        reads=("env",),
    ),
    "train": Stage(
        ("bob",),
        parent=("feedback", "bob"),
        own=("base", "skills"),
        part="train",
        reads=("bob.model", "bob.revision"),
    ),
    "evaluate": Stage(
        ("evaluations", "metrics", "headline"),
        own=("base", "bob", "skills", "episodes"),
        part="act",
        reads=("seed", "env", "seeds.validation", "seeds.test", "evaluate"),
    ),
    "feedback": Stage(
        ("feedback",),
        parent=("feedback", "bob"),
        own=("base", "evaluations", "episodes", "skills"),
        part="feedback",
        reads=("env",),
    ),
}

_AT_ROOT = {"evaluate": "baseline"}  # r000 stands before the tree, and its stages by themselves


def address(stage: str, round_id: str) -> str:
    """Return what DVC calls a stage of a round, e.g. train@r002."""
    return _AT_ROOT.get(stage, stage) if round_id == ROOT_ROUND else f"{stage}@{round_id}"
