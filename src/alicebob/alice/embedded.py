"""Embedded: the parts of Alice that need no language model, for each kind of world she knows.

Two kinds: worlds seen as a grid, and shops made of pages. What an environment tells beside its
observations says which it is. To add one, write its parts and name them here. Does not: know what
the parts do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alicebob.alice import feedback as grid_feedback
from alicebob.alice import labeller
from alicebob.alice.knowledge import Knowledge
from alicebob.alice.shop import requests, verdicts
from alicebob.alice.shop.memory import Memory
from alicebob.alice.shop.shopper import Shopper
from alicebob.alice.watching import GridWatch, ShopWatch, Watch
from alicebob.policies import Policy
from alicebob.policies.curious import Curious
from alicebob.trace import Skill

__all__ = ["GRID", "SHOP", "Embedded", "embedded_for", "watch"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The parts for one kind of world.

    `knowledge` is what exploring adds to, with `merge`, `copy`, `save`, `load`, `to_json` and
    `from_json`; `explorer` a policy on it and on wishes; `label` makes skills of episodes,
    `reworded` gives one another instruction; `judge` and `write_feedback` read Bob's episodes, and
    `reasons` are what they say of failures.
    """

    knowledge: type[Any]
    explorer: Callable[[Any, Mapping[str, float]], Policy]
    label: Callable[..., list[Skill]]
    reworded: Callable[[Skill, str], Skill]
    judge: Callable[..., list[grid_feedback.Verdict]]
    write_feedback: Callable[..., grid_feedback.Feedback]
    reasons: Mapping[str, str]


def _reworded(skill: Skill, instruction: str) -> Skill:
    return replace(skill, instruction=instruction)


GRID = Embedded(
    Knowledge,
    Curious,
    labeller.label,
    _reworded,
    grid_feedback.judge,
    grid_feedback.write_feedback,
    grid_feedback.REASONS,
)
SHOP = Embedded(
    Memory,
    Shopper,
    requests.label,
    requests.reworded,
    verdicts.judge,
    verdicts.write_feedback,
    verdicts.REASONS,
)


def embedded_for(env: Any) -> Embedded:
    """Return the parts for an environment; those for grids where it is neither.

    Their explorer then says so; what a language model does there can still be used.
    """
    _, info = env.reset(seed=0)
    return SHOP if "page" in info else GRID


def watch(info: Mapping[str, Any]) -> Watch | None:
    """Return senses for an episode by the info of its reset, None for an unknown kind of world."""
    if "view" in info:
        return GridWatch(info)
    return ShopWatch(info) if "page" in info else None
