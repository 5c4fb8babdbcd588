"""Judge: say of Bob's episodes whether they did what was asked for, and why not.

An episode with a target gets one verdict. One without is judged on each thing that Alice knows how
to bring about and no target asks for: whether Bob, left to himself, did it too. Every failure gets
one reason, found in its own trace with what Alice knows. Invariant: everything is computed from the
episodes and the memory given. Does not: say what to explore next (see `advise`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from alicebob.alice.anywhere.effects import shown
from alicebob.alice.anywhere.memory import Memory
from alicebob.alice.anywhere.situation import kind
from alicebob.alice.feedback import INVALID, Verdict, looped, quoted
from alicebob.trace import Episode, Outcome, Turn

__all__ = ["REASONS", "judge"]

JUDGED = 40  # things that an episode without a target is judged on, those Alice did most often

REASONS = {
    "invalid": "he named actions that do not exist",
    "loop": "he repeated himself",
    "never_tried": "he never did what brings it about",
    "failed": "he ended it without",
    "out_of_turns": "he ran out of turns",
}


def judge(episodes: Sequence[Episode], memory: Memory) -> list[Verdict]:
    """Return the verdicts, in the order of episodes and of names."""
    targets = {str(e.meta["target"]) for e in episodes if e.meta.get("target")}
    known = {name: n for name, n in memory.known().items() if name not in targets}
    things = sorted(sorted(known, key=lambda name: (-known[name], name))[:JUDGED])
    passing = frozenset[str]() if memory.reported else memory.moves()
    verdicts: list[Verdict] = []
    for episode in episodes:
        if target := episode.meta.get("target"):
            won = episode.outcome is Outcome.SUCCESS
            verdicts.append(_verdict(episode, str(target), won, memory))
        else:
            verdicts.extend(_free(episode, things, passing, memory))
    return verdicts


def _free(
    episode: Episode, things: Sequence[str], passing: frozenset[str], memory: Memory
) -> Iterator[Verdict]:
    """Yield a verdict on each thing that an episode without a target could have shown."""
    did = {name for named in shown(episode, passing) for name in named}
    for name in things:
        yield _verdict(episode, name, name in did, memory)


def _verdict(episode: Episode, target: str, done: bool, memory: Memory) -> Verdict:
    if done:
        return Verdict(episode.id, target, True)
    return Verdict(episode.id, target, False, *_failure(episode, target, memory))


def _failure(episode: Episode, target: str, memory: Memory) -> tuple[str, str]:
    """Return the reason of a failure and a word of detail."""
    turns = episode.turns
    odd = [turn for turn in turns if "invalid_action" in turn.tags]
    if len(odd) > INVALID * len(turns):
        return "invalid", f"such as {quoted(odd[0].action)}"
    if detail := looped(turns):
        return "loop", detail
    makers = set(memory.makers.get(target, ())) or {target} & memory.changes.keys()
    if makers and not any(kind(turn.action) in makers for turn in turns):
        return "never_tried", _instead(turns)
    if episode.outcome is Outcome.FAILURE:
        return "failed", f"after {len(turns)} turns"
    return "out_of_turns", f"after {len(turns)}"


def _instead(turns: Sequence[Turn]) -> str:
    """Say what Bob did most."""
    if not turns:
        return ""
    action, times = Counter(turn.action for turn in turns).most_common(1)[0]
    return f"{quoted(action)} on {times} of {len(turns)} turns"
