"""Effects: what turns brought about, by name.

What the environment reports counts: events, and where an episode has none, rewards and success,
named by the kind of action that earned them. Where nothing is reported at all there are changes of
the text; those that a single further action undoes are no more than moves, and which kinds of
action are moves is learnt from what was seen (`Memory.moves`). Does not: decide what is worth a
skill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

from alicebob.alice.anywhere.situation import changed, kind
from alicebob.trace import Episode, Outcome, Turn

__all__ = ["brought", "changes", "reported", "shown"]

MANY = 8  # turns from which one can say which reward is usual


def brought(turns: Sequence[Turn], success: bool) -> list[tuple[str, ...]]:
    """Return for each turn the names of what is reported of it; `success` is the last one's."""
    if any(turn.events for turn in turns):
        return [tuple(dict.fromkeys(name for name in t.events if name)) for t in turns]
    last, usual = len(turns) - 1, _usual_reward(turns)
    return [
        (kind(turn.action),) if turn.reward > usual or (success and index == last) else ()
        for index, turn in enumerate(turns)
    ]


def _usual_reward(turns: Sequence[Turn]) -> float:
    """Return the reward that most turns have, and so says nothing; 0 where none is so frequent."""
    rewards = Counter(turn.reward for turn in turns).most_common(1)
    if len(turns) < MANY or 2 * rewards[0][1] <= len(turns):
        return 0.0
    return max(0.0, rewards[0][0])


def reported(episode: Episode) -> list[tuple[str, ...]]:
    """Return for each turn of an episode what is reported of it."""
    return brought(episode.turns, episode.outcome is Outcome.SUCCESS)


def changes(turns: Sequence[Turn], final: str, keys: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Return for each turn the kind of its action, where other words stood there afterwards.

    `keys` are the situations before each turn, where they are known: they must differ too.
    """
    texts = [*(turn.observation for turn in turns), final]
    stayed = {index for index, (a, b) in enumerate(pairwise(keys)) if a == b}
    return [
        (kind(turn.action),) if i not in stayed and any(changed(texts[i], texts[i + 1])) else ()
        for i, turn in enumerate(turns)
    ]


def shown(
    episode: Episode, moving: Collection[str], keys: Sequence[str] = ()
) -> list[tuple[str, ...]]:
    """Return what each turn brought about: what is reported, else what lasts of the changes."""
    found = reported(episode)
    if any(found):
        return found
    named = changes(episode.turns, episode.final, keys)
    return [tuple(name for name in names if name not in moving) for names in named]
