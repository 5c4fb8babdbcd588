"""Label: look back at episodes and write down which skills they show.

What the environment reports is worth a skill, else what lasts of the changes of its text. A skill
is the shortest way from the reset that still shows it when played again; where that is too long or
could not be found, the stretch since something was last reported. Of a kind of effect, digits off,
VARIANTS skills are kept in a world and EACH in a round, those with the shortest ways, and KINDS
kinds in a round. A good whole episode is a skill too, "open_play", shortened to what leads to
all that was reported in it. Invariant: the same episodes give the same skills, whose turns are as
they were played. Does not: write thoughts (see `think`), or check that skills replay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from alicebob import words
from alicebob.alice.anywhere.effects import brought, reported, shown
from alicebob.alice.anywhere.memory import Memory
from alicebob.alice.anywhere.shorten import Played, Stage, ways
from alicebob.alice.anywhere.situation import changed, digest, kind, passage, spoken
from alicebob.draws import generator
from alicebob.envs import World
from alicebob.envs.hooks import told
from alicebob.settings import Params
from alicebob.trace import AGAIN, OPEN_PLAY, Episode, Outcome, Skill, Turn

__all__ = ["label", "names", "reworded"]

VARIANTS = 2  # skills of a kind in a world
EACH = 40  # and in a round
KINDS = 200  # kinds in a round, the most frequent
STEPS = 10  # of replay for each that was explored, at most, for cuts and again for whole episodes
FEWEST = 50_000  # but so many may be taken
CAME = ('Make it say "{}".', 'See to it that it says "{}".', 'Get to read "{}".')
WENT = ('Make it no longer say "{}".', 'See to it that it no longer says "{}".')


@dataclass(frozen=True, slots=True)
class _Effect:
    """Something that a turn brought about: by name, with the way to it and where it may be cut."""

    episode: Episode
    turn: int
    name: str
    way: Sequence[int]
    since: int  # the turn after the last that something was shown of

    @property
    def won(self) -> bool:
        """Whether it ended the episode in success."""
        last = self.turn == len(self.episode.turns) - 1
        return last and self.episode.outcome is Outcome.SUCCESS

    @property
    def group(self) -> tuple[int, str, str]:
        """What it has in common with those that differ in no more than their ways."""
        return self.episode.seed, repr(dict(self.episode.options)), kind(self.name)

    def shows(self, played: Played) -> bool:
        """Say whether what was played ends in it."""
        old, new = self.episode.turns[self.turn], played.turns[-1]
        if self.name in old.events:
            return self.name in new.events
        if old.reward > 0:
            return new.reward >= old.reward
        if self.won:
            return played.won
        before, after = changed(old.observation, _after(self.episode, self.turn))
        came, went = changed(new.observation, played.final)
        return set(before) <= set(came) and set(after) <= set(went)


def label(episodes: Sequence[Episode], round_id: str, world: World, params: Params) -> list[Skill]:
    """Return the skills that the episodes show, in the order of episodes and turns.

    Of whole episodes the best `open_play_share` are kept, by what was reported, then by reward.
    """
    steps = max(FEWEST, STEPS * sum(len(episode.turns) for episode in episodes))
    acted = _acted(episodes)
    good = _best(acted, params.skills.open_play_share if params.skills.open_play else 0.0)
    skills: dict[tuple[int, int, str], Skill] = {}
    order = {episode.id: number for number, episode in enumerate(acted)}
    with Stage(world, steps) as stage:
        keys, moving = _retraced(acted, stage)
        for effect in _chosen(_effects(acted, keys, moving)):
            skill = _cut(effect, keys[effect.episode.id], round_id, stage, params)
            skills[order[effect.episode.id], effect.turn, effect.name] = skill
    with Stage(world, steps) as stage:
        for episode in acted:
            if episode.id in good:
                skill = _whole(episode, keys[episode.id], round_id, stage)
                skill = replace(skill, instruction=told(stage.env))
                skills[order[episode.id], len(episode.turns), ""] = skill
    return _different([skills[place] for place in sorted(skills)])


def _different(skills: Sequence[Skill]) -> list[Skill]:
    """Return the skills without those that show what one before them shows too."""
    found: dict[tuple[object, ...], Skill] = {}
    for skill in skills:
        turns = tuple((turn.observation, turn.action) for turn in skill.turns)
        found.setdefault((skill.name, skill.seed, repr(dict(skill.options)), turns), skill)
    return list(found.values())


def names(skill: Skill) -> bool:
    """Say whether an instruction names the event: a word of its own, its verb's only if alone."""
    own = spoken(skill.name).lower().split()
    return any(word in skill.instruction.lower() for word in own[1:] or own)


def reworded(skill: Skill, instruction: str) -> Skill:
    """Return the skill with another instruction."""
    return replace(skill, instruction=instruction)


def _acted(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the episodes to look at: where any has events, only such with events."""
    events = any(turn.events for episode in episodes for turn in episode.turns)
    return [e for e in episodes if e.turns and (not events or any(t.events for t in e.turns))]


def _retraced(
    episodes: Sequence[Episode], stage: Stage
) -> tuple[dict[str, list[str]], frozenset[str]]:
    """Return by episode the situation before each turn, and the kinds of action that only move."""
    keys: dict[str, list[str]] = {}
    memory = Memory()
    for episode in episodes:
        keys[episode.id], taught = stage.retrace(episode)
        memory.merge(taught)
    return keys, memory.moves()


def _effects(
    episodes: Sequence[Episode], keys: Mapping[str, Sequence[str]], moving: frozenset[str]
) -> Iterator[_Effect]:
    """Yield what was brought about, in the order of episodes and turns."""
    for episode in episodes:
        since, own = 0, keys[episode.id]
        for turn, named in enumerate(shown(episode, moving, own)):
            for name in named:
                yield _Effect(episode, turn, name, next(ways(own, [turn])), since)
            since = turn + 1 if named else since


def _chosen(effects: Iterator[_Effect]) -> list[_Effect]:
    """Return the effects that are made skills of, of each kind those with the shortest ways.

    The first of each kind come first, so that none is left out where replays run out.
    """
    ranked = sorted(effects, key=lambda effect: len(effect.way))  # of equal ones the first
    kinds = Counter(kind(effect.name) for effect in ranked).most_common(KINDS)
    number = dict.fromkeys((name for name, _ in kinds), 0)
    there: Counter[tuple[int, str, str]] = Counter()
    gone: set[tuple[object, ...]] = set()
    chosen: list[tuple[int, int, _Effect]] = []
    for effect in ranked:
        name = kind(effect.name)
        way = (*effect.group, *(effect.episode.turns[i].action for i in effect.way))
        if number.get(name, EACH) >= EACH or there[effect.group] >= VARIANTS or way in gone:
            continue
        chosen.append((number[name], len(chosen), effect))
        number[name] += 1
        there[effect.group] += 1
        gone.add(way)
    return [effect for _, _, effect in sorted(chosen, key=lambda item: item[:2])]


def _best(episodes: Sequence[Episode], share: float) -> set[str]:
    """Return the ids of the best of the episodes in which anything was reported."""
    kinds = {e.id: len({name for named in reported(e) for name in named}) for e in episodes}
    ranked = sorted(episodes, key=lambda e: (-kinds[e.id], -e.reward, e.id))
    return {e.id for e in ranked[: round(share * len(ranked))] if kinds[e.id]}


def _cut(
    effect: _Effect, keys: Sequence[str], round_id: str, stage: Stage, params: Params
) -> Skill:
    """Return the skill that shows an effect."""
    episode, end = effect.episode, effect.turn + 1
    name = f"{round_id}-{episode.id}-{effect.turn:04d}-{_plain(effect.name)}"
    played = stage.shorten(episode, ways(keys, [effect.turn]), effect.shows)
    start, most = 0, params.skills.max_turns
    if played is None or len(played.turns) > most:
        start = max(effect.since, end - most)
        turns = tuple(replace(t, thought="", token_ids=(), loss_mask=()) for t in episode.turns)
        played = Played(turns[start:end], _after(episode, effect.turn), effect.won)
    skill = _skill(episode, round_id, name, effect.name, start, end, played.turns)
    return replace(skill, instruction=_instruction(skill, played))


def _instruction(skill: Skill, played: Played) -> str:
    """Return an instruction from the event's own words or, where there is none, from the change."""
    draw = generator("words", skill.id, skill.seed)
    last = played.turns[-1]
    came, went = changed(last.observation, played.final)
    if skill.name in last.events or not (came or went):
        return words.instruction(spoken(skill.name).replace(" ", "_"), draw)
    forms = CAME if came else WENT
    said = passage(played.final, came) if came else passage(last.observation, went)
    plain = draw.random() < words.PLAIN
    form = forms[0 if plain else int(draw.integers(len(forms)))]
    return form.format(spoken(said))


def _plain(name: str) -> str:
    """Return an event's name as a part of an id, others' names told apart."""
    plain = re.sub(r"[^\w-]+", "_", name)[:60]
    return plain if plain == name else f"{plain}-{digest(name)}"


def _after(episode: Episode, turn: int) -> str:
    return episode.turns[turn + 1].observation if turn + 1 < len(episode.turns) else episode.final


def _whole(episode: Episode, keys: Sequence[str], round_id: str, stage: Stage) -> Skill:
    """Return what of a whole episode leads to all that was reported, each thing once."""
    first: dict[str, int] = {}
    for index, named in enumerate(reported(episode)):
        for name in named:
            first.setdefault(name, index)
    marks = sorted(set(first.values()))

    def shows(played: Played) -> bool:
        return first.keys() <= {n for named in brought(played.turns, played.won) for n in named}

    end = marks[-1] + 1
    straight = next(ways(keys, marks[-1:]))  # may pass by all of it all the same
    played = stage.shorten(episode, [straight, *ways(keys, marks)], shows)
    kept = played.turns if played is not None else episode.turns[:end]
    name = f"{round_id}-{episode.id}-0000-{OPEN_PLAY}"
    return _skill(episode, round_id, name, OPEN_PLAY, 0, end, tuple(_again(kept)))


def _again(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Yield the turns, those tagged that led to what had been reported before."""
    begun: set[str] = set()
    start = 0
    for index, named in enumerate(brought(turns, success=True)):
        if named:
            tags = (AGAIN,) if begun.issuperset(named) else ()
            for turn in turns[start : index + 1]:
                yield Turn(
                    turn.observation, turn.action, "", turn.reward, turn.events, (*turn.tags, *tags)
                )
            start = index + 1
            begun.update(named)


def _skill(
    episode: Episode,
    round_id: str,
    name: str,
    event: str,
    start: int,
    end: int,
    turns: tuple[Turn, ...],
) -> Skill:
    return Skill(
        id=name,
        name=event,
        instruction="",
        round=round_id,
        episode=episode.id,
        environment=episode.environment,
        seed=episode.seed,
        start=start,
        end=end,
        turns=turns,
        options=episode.options,
    )
