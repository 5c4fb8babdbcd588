"""STeP (arXiv 2505.20023): Bob acts, Alice corrects him as he goes, and he learns from both.

Bob, as the last round left him, plays training tasks and open play in exploration worlds while
Alice judges every step. The paper's summaries leave open whether a wrong action is executed before
its reflection. Here it is: the environment cannot take back what was done, an episode must replay
from its actions, and what a mistake leads to is what imitation of Alice never shows. Then with the
chance `step.lead` the next turn is hers, a reflection and a correction; else Bob goes on from
where his mistake took him (1: the paper; 0: DAgger, arXiv 1011.0686).

Two kinds of skill come of an episode. The episode itself, where Bob's right turns and Alice's are
learnt and wrong ones (tag `error`) are read without loss. And, with `step.counsel`, for each wrong
turn what Alice would have replied in its place, after the turns that led there. Thoughts are in the
words of the lineage's own skills. Of an episode the same reply to the same sight is learnt once:
who makes one mistake over and over would else learn her way out of it above all. A reflection is
only written where Bob sees more than one turn: where he sees one, the mistake that it is about is
out of his sight. Does not: give feedback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from alicebob import dataset
from alicebob.alice.correct import counsel_in
from alicebob.methods.parts import Exploration, Method, Round, Said, Trained, part
from alicebob.methods.rft import WIDTH, tasks_and_open_play
from alicebob.methods.shared import as_he_is, nothing_back, sft, shares_of, trained_on_skills
from alicebob.settings import Block, Share
from alicebob.trace import (
    AIMLESS,
    CORRECTED,
    CORRECTION,
    COUNSEL,
    ERROR,
    INVALID,
    OPEN_PLAY,
    RIGHT,
    UNJUDGED,
    Episode,
    Outcome,
    Skill,
    Turn,
)

__all__ = ["METHOD", "Step", "corrected_play", "lessons", "mixed"]


class Step(Block):
    """How Bob plays under Alice's eyes, and what he learns from it."""

    open_play: Share = 0.7  # of the episodes, where the environment has no goals; the rest tasks
    lead: Share = 0.5  # chance that Alice takes the turn after a wrong one
    counsel: bool = True  # what she would have done instead of a wrong turn is learnt too
    masked: bool = True  # wrong turns are read without loss; false: an ablation
    golden: Annotated[float, Field(ge=0)] = (
        1.0  # tokens of her own skills for each of corrected play
    )


def _own(round_: Round) -> Step:
    own: Step = getattr(round_.params, METHOD.name)  # its fields that the stage declares
    return own


@part(
    *("seed", "seeds.explore", "explore.episodes", "explore.max_turns"),
    *("step.open_play", "step.lead"),
    alice=["correct"],
    parts=[as_he_is],
)
def corrected_play(round_: Round) -> Exploration:
    """Let Bob play `explore.episodes` episodes, each in a world of its own, with Alice by."""
    params, alice, own = round_.params, round_.alice, _own(round_)
    tasks = tasks_and_open_play(round_, "step", own.open_play)
    known = alice.recall(round_.inherited("episodes"))
    bob = as_he_is(round_, round_.inherited("bob"), WIDTH)
    played, known, asked = alice.correct(tasks, bob, known, own.lead, params.bob.turns != 1)
    about = (
        "Bob's play under Alice's eyes: every turn has her verdict and what she would have done."
    )
    return Exploration(played, known, about, alices=False, report=asked)


@part("step.counsel", "step.masked", "bob.turns", "skills.max_turns")
def lessons(round_: Round) -> Said:
    """Make skills of the episodes that succeeded or had no end to reach, and of each mistake."""
    params, own = round_.params, _own(round_)
    seen = params.bob.turns or params.skills.max_turns
    skills: list[Skill] = []
    tally: Counter[str] = Counter()
    for episode in dataset.read_episodes(round_.read("episodes")):
        turns = [_turn(turn, own.masked) for turn in episode.turns]
        for turn in episode.turns:
            tally.update(tag for tag in (RIGHT, ERROR, CORRECTION, UNJUDGED) if tag in turn.tags)
        if not episode.meta.get("target") or episode.outcome is Outcome.SUCCESS:
            skills.append(_skill(episode, round_.id, 0, _once(turns)))
        if own.counsel:
            skills += _instead(episode, round_.id, turns, seen)
    about = "Bob's play as Alice would have it: mistakes masked, corrected; one file a round."
    return Said(skills, report={"turns": dict(sorted(tally.items()))}, about=about)


def _turn(turn: Turn, masked: bool) -> Turn:
    """Return a turn as it is learnt: what was right with her thought, what was wrong as it was."""
    thought, tags = turn.thought, [tag for tag in turn.tags if not tag.startswith(COUNSEL)]
    if RIGHT in tags:
        thought, _ = counsel_in(turn)
    if INVALID in tags:  # whatever was said of it
        tags.append(AIMLESS)
    if not masked:
        tags = [tag for tag in tags if tag != ERROR]
    return Turn(turn.observation, turn.action, thought, turn.reward, turn.events, tuple(tags))


def _once(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns, and those that reply as before to the same sight as not to be learnt."""
    seen: set[tuple[str, str, str]] = set()
    found = []
    for turn in turns:
        reply = turn.observation, turn.thought, turn.action
        if not {ERROR, UNJUDGED}.intersection(turn.tags):
            turn = replace(turn, tags=(*turn.tags, AIMLESS)) if reply in seen else turn
            seen.add(reply)
        found.append(turn)
    return found


def _instead(episode: Episode, round_id: str, turns: list[Turn], seen: int) -> Iterator[Skill]:
    """Yield for each mistake what she would have replied, after what Bob saw before it."""
    told = set()
    for number, turn in enumerate(episode.turns):
        thought, action = counsel_in(turn) if ERROR in turn.tags else ("", "")
        counsel = turn.observation, thought, action
        if not action or counsel in told:
            continue
        told.add(counsel)
        first = max(0, number + 1 - seen)
        tags = tuple(tag for tag in turns[number].tags if tag != ERROR)
        hers = Turn(turn.observation, action, thought, tags=(*tags, COUNSEL))
        skill = _skill(episode, round_id, first, [*turns[first:number], hers])
        yield replace(skill, id=f"{skill.id}-{number:04d}", context=number - first)


def _skill(episode: Episode, round_id: str, start: int, turns: list[Turn]) -> Skill:
    return Skill(
        id=f"{round_id}-{episode.id}-{start:04d}-{CORRECTED}",
        name=CORRECTED,
        instruction=episode.instruction,
        round=round_id,
        episode=episode.id,
        environment=episode.environment,
        seed=episode.seed,
        start=start,
        end=start + len(turns),
        turns=tuple(turns),
        options=episode.options,
    )


@part("step.golden", parts=[sft])
def mixed(round_: Round) -> Trained:
    """Train Bob's adapter on Alice's own skills and on his corrected play, in this proportion."""
    return trained_on_skills(round_, _shares(shares_of(round_), _own(round_).golden))


def _shares(golden: Mapping[str, float], times: float) -> dict[str, float]:
    """Return shares of the budget: `times` as much for golden skills, their own shares kept.

    Corrected play is divided as open play is, into what is new in an episode and what is not.
    """
    own = 1 / (1 + times)
    new, again = golden[OPEN_PLAY], golden[f"{OPEN_PLAY}_again"]
    old = again / (new + again) if again else 0.0
    kept = {kind: share * (1 - own) for kind, share in golden.items()}
    return {**kept, CORRECTED: own * (1 - old), f"{CORRECTED}_again": own * old}


METHOD = Method(
    "step",
    "arXiv 2505.20023",
    corrected_play,
    lessons,
    mixed,
    as_he_is,
    nothing_back,
    settings=Step,
)
