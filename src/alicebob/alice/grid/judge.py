"""Judge: say of each of Bob's trials whether it succeeded, and why not.

Every failed trial gets one reason, found in its own trace with what Alice knows of the skill.
Invariant: everything is computed from the episode and the knowledge given. Does not: say what to
explore next (see `advise`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from alicebob.alice.feedback import INVALID, Verdict, looped, quoted
from alicebob.alice.grid.affordance import Affordance
from alicebob.alice.grid.features import LOW, NEAR
from alicebob.alice.grid.interface import PRESS, faced_in
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.planner import USE
from alicebob.trace import Episode, Outcome, Turn

__all__ = ["REASONS", "judge"]

REASONS = {
    "never_tried": "he never did what brings it about",
    "lacked": "he tried without what it takes",
    "loop": "he repeated himself",
    "died": "he died",
    "invalid": "he named actions that do not exist",
    "strayed": "he did other things",
    "out_of_turns": "he ran out of turns",
}


def judge(episodes: Sequence[Episode], knowledge: Knowledge) -> list[Verdict]:
    """Return a verdict for each trial, an episode whose meta names a target, in order."""
    return [_judge(e, e.meta["target"], knowledge) for e in episodes if e.meta.get("target")]


def _judge(episode: Episode, target: str, knowledge: Knowledge) -> Verdict:
    if episode.outcome is Outcome.SUCCESS:
        return Verdict(episode.id, target, True)
    return Verdict(episode.id, target, False, *_failure(episode, target, knowledge))


def _failure(episode: Episode, target: str, knowledge: Knowledge) -> tuple[str, str]:
    """Return the reason of a failure and a word of detail."""
    turns = episode.turns
    odd = [turn for turn in turns if "invalid_action" in turn.tags]
    if len(odd) > INVALID * len(turns):
        return "invalid", f"such as {quoted(odd[0].action)}"
    if episode.outcome is Outcome.FAILURE:
        return "died", f"after {len(turns)} turns"
    makers = knowledge.makers(target)
    if makers:
        tries = [t for t in turns if any(_tries(t, maker) for maker in makers)]
        if not tries:
            return "never_tried", _instead(turns)
        if missing := _missing(tries, knowledge.intents[makers[0]]):
            return "lacked", "no " + " and no ".join(missing)
    if detail := looped(turns):
        return "loop", detail
    return "out_of_turns", f"after {len(turns)}"


def _tries(turn: Turn, intent: str) -> bool:
    """Say whether a turn carries out an intent: its action, or a press on its thing."""
    if not intent.startswith(USE):
        return turn.action == intent
    return turn.action == PRESS and faced_in(turn.observation) == intent[len(USE) :]


def _instead(turns: Sequence[Turn]) -> str:
    """Say what Bob did most."""
    if not turns:
        return ""
    action, times = Counter(turn.action for turn in turns).most_common(1)[0]
    return f"{quoted(action)} on {times} of {len(turns)} turns"


def _missing(tries: Sequence[Turn], affordance: Affordance) -> list[str]:
    """Return what a success needs and the text of no try names."""
    needs = [n.removeprefix(NEAR) for n in affordance.required() if not n.startswith(LOW)]
    return [need for need in needs if not any(_names(need, turn.observation) for turn in tries)]


def _names(thing: str, observation: str) -> bool:
    """Say whether a text names a thing, by itself, with its number or with its side."""
    pattern = rf"(?<![a-z_]){re.escape(thing)}(?:\d|_(?:left|right|up|down))?(?![a-z_])"
    return re.search(pattern, observation) is not None
