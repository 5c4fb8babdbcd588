"""Label: look back at episodes and write down which skills they show.

A skill is the stretch from where Alice began to intend it to the event, with an instruction in
words that name the event, written after the fact. A good whole episode is a skill too, "open_play".
Turns of its stretches that achieved nothing, or once more what was never used, are tagged
"aimless", to be read and not learnt from; those of other stretches "again" where their event had
happened before in the episode, or where no event ends them (to look around, to rest). Invariant:
nothing is said of a turn that lies after the event of its own stretch; the same episodes give the
same skills. Does not: write thoughts (see `think`), or check that skills replay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from alicebob import words
from alicebob.alice.grid.intents import goals, intent, subject
from alicebob.draws import generator
from alicebob.envs.hooks import TOLD
from alicebob.sight import numbers
from alicebob.trace import AGAIN, AIMLESS, OPEN_PLAY, Episode, Outcome, Skill, Turn, best

__all__ = ["label", "names", "reworded"]

PASSING = 2  # turns kept of an event that came in passing
LAST = 8  # turns before a death that are not learnt from


def label(
    episodes: Sequence[Episode],
    round_id: str,
    *,
    told: str = TOLD,
    open_play: bool = True,
    open_play_share: float = 0.5,
    max_turns: int = 30,
    without: Collection[str] = (),
) -> list[Skill]:
    """Return the skills that the episodes show, in the order of episodes and turns.

    Of whole episodes the best `open_play_share` are kept, by the number of different events, and
    `told` is their instruction. The turns are as recorded, but for thoughts: they have none.
    `without` are the priors that are left out.
    """
    usual = _usual_intents(episodes)
    good = {episode.id for episode in best(episodes, open_play_share if open_play else 0)}
    skills: list[Skill] = []
    for episode in episodes:
        skills.extend(_cuts(episode, round_id, usual, max_turns))
        if episode.id in good:
            skills.append(_whole(episode, round_id, told, "unused" in without))
    return skills


def names(skill: Skill) -> bool:
    """Say whether an instruction names the event: a word of its own, its verb's only if alone."""
    own = skill.name.split("_")
    return any(word in skill.instruction.lower() for word in own[1:] or own)


def reworded(skill: Skill, instruction: str) -> Skill:
    """Return the skill with another instruction."""
    return replace(skill, instruction=instruction)


def _usual_intents(episodes: Sequence[Episode]) -> dict[str, str]:
    """Return for each event the intent that has led to it most often."""
    counts: Counter[tuple[str, str]] = Counter()
    for episode in episodes:
        for turn in episode.turns:
            for event in turn.events:
                counts[event, subject(turn)] += 1
    usual: dict[str, str] = {}
    for (event, about), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        usual.setdefault(event, about)
    return usual


def _cuts(
    episode: Episode, round_id: str, usual: dict[str, str], max_turns: int
) -> Iterator[Skill]:
    """Yield a skill for each turn on which something was achieved."""
    since = 0
    for end, turn in enumerate(episode.turns):
        for event in dict.fromkeys(turn.events):
            start = _begin(episode, end, since, subject(turn) == usual[event])
            actions = {t.action for t in episode.turns[start : end + 1]}
            if end + 1 - start > max_turns and len(actions) == 1:
                continue  # one long wait: cut, it would lack the turn that began it
            start = max(start, end + 1 - max_turns)
            yield _cut(episode, round_id, event, start, end + 1)
        if turn.events:
            since = end + 1


def _begin(episode: Episode, end: int, since: int, meant: bool) -> int:
    """Return the turn from which the event of turn `end` was intended, not before `since`."""
    if not meant:
        return max(since, end + 1 - PASSING)
    start = end
    while start > since and intent(episode.turns[start - 1]) == intent(episode.turns[end]):
        start -= 1
    while start < end and _idle(episode, start):
        start += 1
    return start


def _idle(episode: Episode, index: int) -> bool:
    """Say whether a turn left the observation as it was and pressed on nothing since."""
    turn, after = episode.turns[index], episode.turns[index + 1]
    return turn.action.startswith("move") and turn.observation == after.observation


def _cut(episode: Episode, round_id: str, event: str, start: int, end: int) -> Skill:
    """Return the skill that some turns of an episode show."""
    turns = tuple(_turn(turn) for turn in episode.turns[start:end])
    skill = _skill(episode, round_id, event, start, turns)
    draw = generator("words", skill.id, skill.seed)
    return replace(skill, instruction=words.instruction(event, draw))


def _whole(episode: Episode, round_id: str, told: str, hoards: bool) -> Skill:
    """Return the whole episode, with tags on the turns that are not learnt from as the rest."""
    last = len(episode.turns)
    if episode.outcome is Outcome.FAILURE:
        last -= LAST
    first: dict[str, int] = {}  # by event: the turn on which it first happened
    for index, turn in enumerate(episode.turns):
        for event in turn.events:
            first.setdefault(event, index)
    idle = set() if hoards else _hoarded(episode)
    turns = []
    for index, (goal, reached) in enumerate(goals(episode.turns)):
        again = index > first.get(goal, -1)
        lost = not goal or index >= last or (again and reached in idle)
        turns.append(_turn(episode.turns[index], *[AIMLESS] * lost, *[AGAIN] * again))
    skill = _skill(episode, round_id, OPEN_PLAY, 0, tuple(turns))
    return replace(skill, instruction=told)


def _turn(turn: Turn, *tags: str) -> Turn:
    """Return a turn as a skill shows it: without what its explorer thought or generated."""
    return Turn(turn.observation, turn.action, "", turn.reward, turn.events, (*turn.tags, *tags))


def _skill(
    episode: Episode, round_id: str, name: str, start: int, turns: tuple[Turn, ...]
) -> Skill:
    return Skill(
        id=f"{round_id}-{episode.id}-{start:04d}-{name}",
        name=name,
        instruction="",
        round=round_id,
        episode=episode.id,
        environment=episode.environment,
        seed=episode.seed,
        start=start,
        end=start + len(turns),
        turns=turns,
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
