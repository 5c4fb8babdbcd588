"""Examples: some of Bob's episodes that say how he did, with Alice's verdicts.

Of validation, the split that she looks at: failures and successes in turn, of as many skills as
there is room for. Invariant: equal files choose equal episodes. Does not: judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest

from alicebob import dataset
from alicebob.alice.feedback import Verdict
from alicebob.errors import DamagedData
from alicebob.experiment.places import place
from alicebob.trace import OPEN_PLAY, Episode, Outcome

__all__ = ["chosen", "examples", "explored", "skill_of", "verdicts"]


def examples(round_id: str, most: int) -> list[tuple[Episode, Verdict | None]]:
    """Return some of a round's episodes, each with Alice's verdict where she gave one.

    Nothing where they were not pulled from DVC; raises DamagedData.
    """
    path = place("evaluations", round_id) / "validation.parquet"
    if not path.exists():
        return []
    said = verdicts(round_id)
    return [(e, said.get(e.id)) for e in chosen(dataset.read_episodes(path), said, most)]


def explored(round_id: str, most: int) -> list[Episode]:
    """Return the first of the episodes in which Alice explored; raises and lacks as `examples`."""
    path = place("episodes", round_id)
    return dataset.read_episodes(path)[:most] if path.exists() else []


def verdicts(round_id: str) -> dict[str, Verdict]:
    """Return Alice's verdicts by episode; raises DamagedData, naming the file."""
    path = place("feedback", round_id) / "verdicts.json"
    if not path.exists():
        return {}
    try:
        found = [Verdict(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
        return {verdict.episode: verdict for verdict in found}
    except (OSError, ValueError, TypeError) as error:
        raise DamagedData(
            f"{path} holds no verdicts ({error}). Restore it with 'dvc checkout'."
        ) from error


def chosen(episodes: Iterable[Episode], said: Mapping[str, Verdict], most: int) -> list[Episode]:
    """Return at most so many episodes: failures and successes in turn, of different skills first.

    Whether one was a success is what Alice says, else how it ended.
    """
    sides: dict[bool, dict[str, list[Episode]]] = {False: {}, True: {}}
    for episode in episodes:
        sides[_won(episode, said)].setdefault(skill_of(episode), []).append(episode)
    lost, won = (
        chain.from_iterable(zip_longest(*(of[name] for name in sorted(of))))
        for of in sides.values()
    )
    both = chain.from_iterable(zip_longest(filter(None, lost), filter(None, won)))
    return list(filter(None, both))[:most]


def _won(episode: Episode, said: Mapping[str, Verdict]) -> bool:
    verdict = said.get(episode.id)
    return verdict.success if verdict else episode.outcome is Outcome.SUCCESS


def skill_of(episode: Episode) -> str:
    """Return the name of what an episode was a trial of."""
    return str(episode.meta.get("target") or OPEN_PLAY)
