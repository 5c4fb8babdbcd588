"""Rows: what Bob is trained on. One row per trajectory, a loss mask per turn, packed.

A skill too long for the context becomes several rows, cut by the same window function that cuts
his prompts when he acts, and each of its turns is learnt from once. Invariant: the same skills,
settings and seed give the same packs. Does not: train.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from alicebob.draws import share_of
from alicebob.errors import UsageError
from alicebob.policies.conversation import Conversation, window_start, write_reply
from alicebob.trace import AGAIN, AIM, AIMLESS, ASLEEP, ERROR, WHOLE, Skill, Turn

__all__ = ["IGNORED", "Pack", "Row", "balanced", "fill", "held_out", "pack", "rows_of"]

IGNORED = -100  # the label that PyTorch's cross entropy passes over
UNLEARNT = (AIMLESS, ASLEEP, ERROR)  # tags of turns that may be read and not learnt from


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of one window of a trajectory, and 1 where there is loss.

    `kind` is what the window serves, for balance: the skill's name, or in one of WHOLE what `_aim`
    says of its last learnt turn.
    """

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows side by side in a fixed length; positions begin anew with each row.

    `labels` hold the id of the same place, or IGNORED; the shift by one is done in the loss.
    """

    input_ids: list[int]
    labels: list[int]
    position_ids: list[int]


def rows_of(
    skill: Skill, conversation: Conversation, context: int, turns: int = 0
) -> Iterator[Row]:
    """Yield the rows of a skill: windows of at most `context` tokens and `turns` turns.

    Loss is on the replies, their end included, of turns that are neither among the first
    `skill.context` nor tagged as aimless or wrong. A window without loss is left out.
    """
    observations = [conversation.next(turn.observation) for turn in skill.turns]
    replies = [conversation.reply(_reply(turn)) for turn in skill.turns]
    lengths = [len(o) + len(r) for o, r in zip(observations, replies, strict=True)]
    head = conversation.head_length(skill.instruction)
    start = learnt = 0
    for last in range(len(skill.turns)):
        moved = window_start(start, lengths[: last + 1], head, context, turns)
        if moved != start:
            yield from _row(skill, conversation, observations, replies, start, learnt, last)
            start, learnt = moved, last
    yield from _row(skill, conversation, observations, replies, start, learnt, len(skill.turns))


def _reply(turn: Turn) -> str:
    return write_reply(turn.thought, turn.action)


def _aim(name: str, turn: Turn, before: Turn | None) -> str:
    """Return the kind of a turn of a whole episode: its aim, if it was new, if it only went on.

    To begin a thing is rarer than to go on with it, and is what has to be decided.
    """
    family = f"{name}_again" if AGAIN in turn.tags else name
    same = before is not None and _meant(before) == _meant(turn)
    return f"{family} {_aim_of(turn)}{' on' if same else ''}"


def _aim_of(turn: Turn) -> str:
    return next((tag.removeprefix(AIM) for tag in turn.tags if tag.startswith(AIM)), "")


def _meant(turn: Turn) -> tuple[str, str, str]:
    return _aim_of(turn), turn.thought, turn.action


def _row(
    skill: Skill,
    conversation: Conversation,
    observations: Sequence[list[int]],
    replies: Sequence[list[int]],
    start: int,
    learnt: int,
    end: int,
) -> Iterator[Row]:
    ids: list[int] = []
    mask: list[int] = []
    kind = skill.name
    for number in range(start, end):
        turn = skill.turns[number]
        read = observations[number]
        if number == start:
            read = conversation.first(skill.instruction, turn.observation)
        told = number < max(learnt, skill.context) or any(tag in UNLEARNT for tag in turn.tags)
        ids += read + replies[number]
        if not told and skill.name in WHOLE:
            kind = _aim(skill.name, turn, skill.turns[number - 1] if number else None)
        mask += [0] * len(read) + [int(not told)] * len(replies[number])
    if any(mask):
        yield Row(tuple(ids), tuple(mask), kind)


def held_out(skill: Skill, fraction: float) -> bool:
    """Return whether a skill belongs to the validation split: by its episode, the same for ever.

    All skills of an episode fall on one side, so that no turn is on both.
    """
    return share_of("held out", skill.episode, skill.seed) < fraction


def balanced(
    groups: dict[str, list[Row]],
    budget: int,
    repeat: int,
    shares: dict[str, float],
    draw: Generator,
    asked: Mapping[str, float],
) -> list[Row]:
    """Choose rows of named groups up to a budget of tokens, so that rare kinds are not drowned.

    `shares` gives families (the first word of a group's name) a fixed share of the budget; the
    others divide the rest. Within a family each group counts by the square root of its tokens, and
    by as much more as `asked` says of what it is about. No row is taken more than `repeat` times.
    """
    groups = {name: rows for name, rows in sorted(groups.items()) if rows}
    family = {name: name.split()[0] if name.split()[0] in shares else "" for name in groups}
    portion = {**shares, "": max(0.0, 1 - sum(shares.values()))}
    present = sum(portion[kind] for kind in set(family.values())) or 1.0
    weights = {
        name: sum(len(row.ids) for row in rows) ** 0.5 * (1 + asked.get(_about(name, shares), 0))
        for name, rows in groups.items()
    }
    chosen: list[Row] = []
    for name, rows in groups.items():
        rivals = sum(weights[other] for other in groups if family[other] == family[name])
        share = portion[family[name]] / present * weights[name] / rivals
        chosen += _sample(rows, round(share * budget), repeat, draw)
    order = draw.permutation(len(chosen))
    return [chosen[i] for i in order]


def _about(name: str, shares: Mapping[str, float]) -> str:
    """Return what a group is about: its own name, or in a family the aim (see `_aim`)."""
    first, _, aim = name.partition(" ")
    return aim.removesuffix(" on") if first in shares else name


def _sample(rows: list[Row], budget: int, repeat: int, draw: Generator) -> list[Row]:
    """Take whole passes over shuffled rows until the budget of tokens is spent."""
    taken: list[Row] = []
    for _ in range(repeat):
        for index in draw.permutation(len(rows)):
            if budget <= 0:
                return taken
            taken.append(rows[index])
            budget -= len(rows[index].ids)
    return taken


def pack(rows: Iterable[Row], length: int, padding: int, together: bool = True) -> list[Pack]:
    """Put rows into packs of `length` tokens, best fit first; what is left is padding without loss.

    Where they may not be `together`, each has a pack of its own, as long as the longest row. Raises
    UsageError for a row longer than a pack.
    """
    found = [*rows]
    for row in found:
        if len(row.ids) > length:
            raise UsageError(
                f"A row of {len(row.ids)} tokens does not fit into packs of {length}; raise "
                "train.pack_tokens to at least bob.context."
            )
    bins = [
        [found[i] for i in members]
        for members in fill([len(row.ids) for row in found], length, together)
    ]
    if not together:
        length = max((len(row.ids) for members in bins for row in members), default=length)
    return [_packed(members, length, padding) for members in bins]


def fill(sizes: Sequence[int], length: int, together: bool = True) -> list[list[int]]:
    """Return the numbers of the sizes that share a bin of a length, longest first, best fit first.

    None may be longer. Where they may not be `together`, each has a bin of its own.
    """
    bins: list[list[int]] = []
    room: dict[int, list[int]] = {}  # free tokens -> numbers of bins, last opened first
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        size = sizes[i]
        fitting = (space for space in room if together and space >= size and room[space])
        free = min(fitting, default=None)
        if free is None:
            bins.append([i])
            room.setdefault(length - size, []).append(len(bins) - 1)
            continue
        number = room[free].pop()
        bins[number].append(i)
        room.setdefault(free - size, []).append(number)
    return bins


def _packed(rows: Sequence[Row], length: int, padding: int) -> Pack:
    ids = [i for row in rows for i in row.ids]
    # A row's first token has nothing before it: it must not be learnt from the row to its left.
    masks = [m for row in rows for m in (0, *row.mask[1:])]
    labels = [i if m else IGNORED for i, m in zip(ids, masks, strict=True)]
    positions = [place for row in rows for place in range(len(row.ids))]
    spare = length - len(ids)
    return Pack(ids + [padding] * spare, labels + [IGNORED] * spare, positions + list(range(spare)))
