"""Labeller: look back at episodes and write down which skills they show.

A skill is the stretch from where Alice began to intend it to the event, with an instruction in
words and thoughts that name the event, written after the fact. A good whole episode is a skill too,
"open_play": each turn's thought is what the stretch it belongs to achieved. Turns of stretches that
achieved nothing, or once more what was never used, are tagged "aimless", to be read and not learnt
from; those of other stretches whose event had happened before in the episode "again". Invariant:
nothing is said of a turn that lies after the event of its own stretch; the same episodes give the
same skills. Does not: check that they replay; `alicebob.alice.validity` does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from numpy.random import Generator, default_rng

from alicebob.alice import words
from alicebob.envs.hooks import OPEN_PLAY as TOLD
from alicebob.sight import numbers, with_side
from alicebob.trace import AGAIN, AIMLESS, Episode, Outcome, Skill, Turn

__all__ = ["OPEN_PLAY", "label"]

OPEN_PLAY = "open_play"
INTENT = "intent:"
STRAYED = 8  # turns for other things after which an event is no longer what a turn was for
PASSING = 2  # turns kept of an event that came in passing
LAST = 8  # turns before a death that are not learnt from
STANDING = ("explore", "rest")  # aims worth learning although no event ends them


def label(
    episodes: Sequence[Episode],
    round_id: str,
    *,
    thoughts: bool = True,
    open_play: bool = True,
    open_play_share: float = 0.5,
    max_turns: int = 30,
) -> list[Skill]:
    """Return the skills that the episodes show, in the order of episodes and turns.

    Of whole episodes the best `open_play_share` are kept, by the number of different events.
    """
    usual = _usual_intents(episodes)
    good = _best(episodes, open_play_share) if open_play else set()
    skills: list[Skill] = []
    for episode in episodes:
        skills.extend(_cuts(episode, round_id, usual, thoughts, max_turns))
        if episode.id in good:
            skills.append(_whole(episode, round_id, thoughts))
    return skills


def _intent(turn: Turn) -> str:
    """Return what a turn was for, "" where it does not say."""
    return next((tag[len(INTENT) :] for tag in turn.tags if tag.startswith(INTENT)), "")


def _subject(turn: Turn) -> str:
    """Return what a turn was about: to find a tree and to use one are one endeavour."""
    intent = _intent(turn)
    return intent.removeprefix("find ").removeprefix("use ")


def _usual_intents(episodes: Sequence[Episode]) -> dict[str, str]:
    """Return for each event the intent that has led to it most often."""
    counts: Counter[tuple[str, str]] = Counter()
    for episode in episodes:
        for turn in episode.turns:
            for event in turn.events:
                counts[event, _subject(turn)] += 1
    usual: dict[str, str] = {}
    for (event, subject), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        usual.setdefault(event, subject)
    return usual


def _best(episodes: Sequence[Episode], share: float) -> set[str]:
    ranked = sorted(episodes, key=lambda e: (-len(e.summary.get("events", {})), e.id))
    return {episode.id for episode in ranked[: round(share * len(ranked))]}


def _cuts(
    episode: Episode, round_id: str, usual: dict[str, str], thoughts: bool, max_turns: int
) -> Iterator[Skill]:
    """Yield a skill for each turn on which something was achieved."""
    since = 0
    for end, turn in enumerate(episode.turns):
        for event in dict.fromkeys(turn.events):
            start = _begin(episode, end, since, _subject(turn) == usual[event])
            actions = {t.action for t in episode.turns[start : end + 1]}
            if end + 1 - start > max_turns and len(actions) == 1:
                continue  # one long wait: cut, it would lack the turn that began it
            start = max(start, end + 1 - max_turns)
            yield _skill(episode, round_id, event, start, end + 1, thoughts)
        if turn.events:
            since = end + 1


def _begin(episode: Episode, end: int, since: int, meant: bool) -> int:
    """Return the turn from which the event of turn `end` was intended, not before `since`."""
    if not meant:
        return max(since, end + 1 - PASSING)
    start = end
    while start > since and _intent(episode.turns[start - 1]) == _intent(episode.turns[end]):
        start -= 1
    while start < end and _idle(episode, start):
        start += 1
    return start


def _idle(episode: Episode, index: int) -> bool:
    """Say whether a turn left the observation as it was and pressed on nothing since."""
    turn, after = episode.turns[index], episode.turns[index + 1]
    return turn.action.startswith("move") and turn.observation == after.observation


def _skill(
    episode: Episode, round_id: str, event: str, start: int, end: int, thoughts: bool
) -> Skill:
    name = f"{round_id}-{episode.id}-{start:04d}-{event}"
    thought = event if thoughts else ""
    return Skill(
        id=name,
        name=event,
        instruction=words.instruction(event, _draw(name)),
        round=round_id,
        episode=episode.id,
        environment=episode.environment,
        seed=episode.seed,
        start=start,
        end=end,
        turns=tuple(_turn(turn, thought) for turn in episode.turns[start:end]),
        options=episode.options,
    )


def _draw(name: str) -> Generator:
    return default_rng(list(hashlib.sha256(name.encode()).digest()))


def _turn(turn: Turn, thought: str, *tags: str) -> Turn:
    """Return a turn as a skill shows it: with its thought, without Alice's intent."""
    kept = tuple(tag for tag in turn.tags if not tag.startswith(INTENT))
    if thought:
        thought = with_side(thought, _subject(turn), turn.action, turn.observation)
    return Turn(turn.observation, turn.action, thought, turn.reward, turn.events, (*kept, *tags))


def _whole(episode: Episode, round_id: str, thoughts: bool) -> Skill:
    """Return the whole episode, each turn with what it was for."""
    last = len(episode.turns)
    if episode.outcome is Outcome.FAILURE:
        last -= LAST
    first: dict[str, int] = {}  # by event: the turn on which it first happened
    for index, turn in enumerate(episode.turns):
        for event in turn.events:
            first.setdefault(event, index)
    idle = _hoarded(episode)
    turns = []
    for index, (turn, (goal, reached)) in enumerate(
        zip(episode.turns, _goals(episode), strict=True)
    ):
        thought = goal or _intent(turn).removeprefix("use ")
        again = index > first.get(goal, -1)
        lost = not goal or index >= last or (again and reached in idle)
        tags = [AIMLESS] * lost + [AGAIN] * again
        turns.append(_turn(turn, thought if thoughts else "", *tags))
    return Skill(
        id=f"{round_id}-{episode.id}-0000-{OPEN_PLAY}",
        name=OPEN_PLAY,
        instruction=TOLD,
        round=round_id,
        episode=episode.id,
        environment=episode.environment,
        seed=episode.seed,
        start=0,
        end=len(turns),
        turns=tuple(turns),
        options=episode.options,
    )


def _hoarded(episode: Episode) -> set[int]:
    """Return the turns whose event gave only what was never used up afterwards."""
    seen = [numbers(turn.observation) for turn in episode.turns] + [numbers(episode.final)]
    least = dict(seen[-1])  # of each thing, from the turn looked at to the end
    hoarded = set()
    for index in range(len(episode.turns) - 1, -1, -1):
        before, after = seen[index], seen[index + 1]
        least = {name: min(count, after.get(name, 0)) for name, count in least.items()}
        gained = [name for name, count in after.items() if count > before.get(name, 0)]
        unused = gained and all(least.get(name, 0) >= after[name] for name in gained)
        if episode.turns[index].events and unused:
            hoarded.add(index)
    return hoarded


def _goals(episode: Episode) -> list[tuple[str, int]]:
    """Return for each turn what it led to, an event, a standing aim or "", and on which turn."""
    goals = [("", -1)] * len(episode.turns)
    ahead: dict[str, tuple[str, int, int]] = {}  # by subject: the event, its turn, turns elsewhere
    for index in range(len(episode.turns) - 1, -1, -1):
        turn = episode.turns[index]
        subject = _subject(turn)
        ahead = {
            other: (event, at, strayed + (other != subject))
            for other, (event, at, strayed) in ahead.items()
            if strayed < STRAYED
        }
        if turn.events:
            ahead[subject] = (turn.events[0], index, 0)
        if subject in ahead:
            goals[index] = ahead[subject][:2]
        elif _intent(turn).startswith("find ") or subject in STANDING:
            goals[index] = (subject if subject in STANDING else STANDING[0], index)
    return goals
