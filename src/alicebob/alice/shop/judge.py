"""Judge: what Bob got wrong in the shop.

Every episode that missed its goal gets one reason, found in what the environment says of the
purchase. Invariant: everything is computed from the episodes given. Does not: look at test
episodes, or at what is known of the shop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.alice.feedback import INVALID, Verdict, looped, quoted
from alicebob.alice.shop.memory import Memory
from alicebob.trace import Episode, Outcome

__all__ = ["PARTS", "REASONS", "judge"]

REASONS = {
    "never_bought": "he bought nothing",
    "invalid": "he named actions that the page does not have, and bought nothing",
    "loop": "he repeated himself, and bought nothing",
    "wrong_kind": "he bought another kind of thing",
    "wrong_product": "what he bought lacks a quality that was asked for",
    "missed_option": "he left out an option that was asked for",
    "over_price": "it cost more than was allowed",
}
#: The event that says a part of the goal was met, and the reasons that speak of it.
PARTS = {
    "bought": ("never_bought", "invalid", "loop"),
    "kind": ("wrong_kind",),
    "attributes": ("wrong_product",),
    "options": ("missed_option",),
    "price": ("over_price",),
}


def judge(episodes: Sequence[Episode], memory: Memory) -> list[Verdict]:
    """Return a verdict for each episode that had a goal, in order."""
    return [_judge(e, str(e.meta["target"])) for e in episodes if e.meta.get("target")]


def _judge(episode: Episode, target: str) -> Verdict:
    if episode.outcome is Outcome.SUCCESS:
        return Verdict(episode.id, target, True)
    turns = episode.turns
    bought = episode.summary.get("result")
    if bought is None:
        lost = [t for t in turns if "invalid_action" in t.tags]
        if len(lost) > INVALID * len(turns):
            detail = f"such as {quoted(lost[0].action)}"
            return Verdict(episode.id, target, False, "invalid", detail)
        if detail := looped(turns):
            return Verdict(episode.id, target, False, "loop", detail)
        return Verdict(episode.id, target, False, "never_bought", f"in {len(turns)} turns")
    met = set(episode.summary["events"])
    part = next((p for p in PARTS if p not in met), "attributes")
    return Verdict(episode.id, target, False, PARTS[part][0], _detail(part, bought))


def _detail(part: str, bought: Mapping[str, Any]) -> str:
    score = bought["score"]
    if part == "options":
        chosen = ", ".join(f"{group} {value}" for group, value in bought["options"].items())
        return f"chosen: {quoted(chosen or 'nothing')}; {score['options']:.0%} of what was asked"
    if part == "price":
        return f"${bought['price']:.2f}"
    if part == "attributes":
        return f"{score['attributes']:.0%} of the qualities"
    return ""
