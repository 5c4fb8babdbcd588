"""Label: what was bought, written down as if somebody had asked for it.

A purchase becomes a skill: the search that led to it, the product, the options chosen, without the
detours, and a request that names what was searched for and found true on the pages read, the
options, and a price that it keeps. The pages show the request where the persona stood, or what was
asked for. Invariant: a request says nothing that the shopper had not read; what validation or test
goals ask for is passed over. Does not: check that the purchase fulfils it;
`alicebob.alice.validity` plays it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from alicebob.alice.shop.memory import head_of
from alicebob.alice.shop.reading import Page, asked_for, prices, read, retold
from alicebob.envs import parse
from alicebob.envs.shopping import BUY, NO_LIMIT, asked, draw_for, limit_text, price_limit, said
from alicebob.trace import Episode, Skill, Turn

__all__ = ["label", "names", "reworded"]

MET = ("bought", "kind", "attributes", "options", "price", "goal")  # events of a full success
MEANT = 0.5  # share of the words searched for that must be true of what was bought
_WORD = re.compile(r"[^\s,]+")
_PLAIN = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True, slots=True)
class _Purchase:
    """The turns that led to a purchase, and what was read about the product."""

    turns: Sequence[int]
    query: str
    title: str
    texts: Sequence[str]
    price: str
    options: Mapping[str, str]


def label(
    episodes: Sequence[Episode],
    round_id: str,
    *,
    max_turns: int = 30,
    without: Collection[str] = (),
) -> list[Skill]:
    """Return a skill for each purchase that its search explains, in the order of episodes.

    Its turns are as they were played, but for the request on their pages, and have no thoughts.
    `without` are the priors that are left out.
    """
    worded = _listed if "templates" in without else _request
    skills: list[Skill] = []
    for episode in episodes:
        bought = episode.summary.get("result")
        if not bought or bought["held_out"]:
            continue
        found = _purchase(episode, bought)
        if found is not None and len(found.turns) <= max_turns:
            skills.extend(_skill(episode, round_id, found, bought, worded))
    return skills


def _purchase(episode: Episode, bought: Mapping[str, Any]) -> _Purchase | None:
    """Return the turns from the last search on that a purchase needs, None where it has none."""
    kinds = [read(turn.observation) for turn in episode.turns]
    actions = [turn.action.lower() for turn in episode.turns]
    link = f"click[{bought['asin'].lower()}]"
    opened = [i for i, action in enumerate(actions) if action == link]
    if not opened or actions[-1] != f"click[{BUY.lower()}]":
        return None
    searches = [i for i, action in enumerate(actions[: opened[-1]]) if action.startswith("search[")]
    if not searches:
        return None
    begun, at = searches[-1], opened[-1]
    turned = [i for i in range(begun + 1, at) if actions[i] in ("click[next >]", "click[< prev]")]
    turned = [i for i in turned if _kind(kinds[i]) == "results"]
    values = {f"click[{value.lower()}]" for value in bought["options"].values()}
    chosen = [i for i in range(at + 1, len(actions) - 1) if actions[i] in values]
    # A choice made twice is made once, a page turned back is not turned.
    chosen = [i for i in chosen if actions[i] not in actions[i + 1 : -1]]
    item = kinds[-1]
    if item is None or item.kind != "item":
        return None
    seen = [page.lines for page in kinds[at:] if page is not None and page.kind == "sub_page"]
    return _Purchase(
        [begun, *turned, at, *chosen, len(actions) - 1],
        episode.turns[begun].action[len("search[") : -1],
        item.title,
        [item.title, *(line for lines in seen for line in lines)],
        item.price,
        {group.lower(): str(value).lower() for group, value in bought["options"].items()},
    )


def _kind(page: Page | None) -> str:
    return page.kind if page is not None else ""


def _skill(
    episode: Episode,
    round_id: str,
    found: _Purchase,
    bought: Mapping[str, Any],
    worded: Callable[..., str],
) -> Iterator[Skill]:
    name = f"{round_id}-{episode.id}-{found.turns[0]:04d}-buy"
    attributes, thing = _meaning(found)
    if not thing:
        return
    dearest = max(prices(found.price), default=0.0)
    limit = price_limit(dearest, draw_for("request", name, episode.seed)) if dearest else NO_LIMIT
    options = {group: str(value) for group, value in sorted(bought["options"].items())}
    style = draw_for("style", name, episode.seed)
    request = worded(episode, attributes, thing, options, limit, style)
    goal = {
        "asin": bought["asin"],
        "instruction": request,
        "attributes": [a for a in attributes if _stands(a, found.texts)],
        "options": options,
        "price_upper": limit,
    }
    yield Skill(
        id=name,
        name=f"buy with {len(options)} option{'s' * (len(options) != 1)}" if options else "buy",
        instruction=request,
        round=round_id,
        episode=episode.id,
        environment=episode.environment,
        seed=episode.seed,
        start=found.turns[0],
        end=len(episode.turns),
        turns=tuple(_turns(episode, found.turns, request)),
        options={"goal": goal},
    )


def _meaning(found: _Purchase) -> tuple[list[str], str]:
    """Return the qualities and the kind of thing that a search meant and what was bought bears.

    Both empty where too little of it is true.
    """
    read_of = set(_WORD.findall(" ".join(found.texts).lower()))
    title = set(_WORD.findall(found.title.lower()))
    query, options = asked_for(found.query)
    words = _WORD.findall(query)
    true = [word for word in words if _bare(word) in read_of or word in read_of]
    if len(true) < MEANT * len(words) or not options.items() <= found.options.items():
        return [], ""
    *qualities, last = [part.split() for part in query.split(",") if part.split()]
    kept = [" ".join(word for word in part if word in true) for part in qualities]
    ending = [word for word in last if word in true]
    at = len(ending) - _shared(ending, head_of(found.title))
    while at == len(ending) and at > 0 and ending[at - 1] in title:
        at -= 1
    kept.append(" ".join(ending[:at]))
    return [quality for quality in kept if quality], " ".join(ending[at:])


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two phrases have in common at their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _bare(word: str) -> str:
    return word.strip(".:;!?()[]\"'")


def _stands(phrase: str, texts: Sequence[str]) -> bool:
    return any(phrase in text.lower() for text in texts)


def _request(
    episode: Episode,
    attributes: Sequence[str],
    thing: str,
    options: Mapping[str, str],
    limit: float,
    draw: Random,
) -> str:
    """Return a request as the shop's own goals put it: a formula, or a person's way of speaking."""
    _, settings = parse(episode.environment)
    if settings.get("goals") != "human":
        wish = ", ".join(attributes) + (" " if attributes else "") + thing
        return said(f"Find me {wish}", dict(options), limit)
    return asked(thing, attributes, list(options.values()), draw) + limit_text(limit)


def _listed(
    episode: Episode,
    attributes: Sequence[str],
    thing: str,
    options: Mapping[str, str],
    limit: float,
    draw: Random,
) -> str:
    """Return a request as a mere list of what is wanted."""
    dear = [f"{limit:.2f}"] if limit < NO_LIMIT else []
    return "; ".join([thing, *attributes, *options.values(), *dear])


def _turns(episode: Episode, numbers: Sequence[int], request: str) -> Iterator[Turn]:
    """Yield the turns as they go with the request, with what they were for."""
    stood = episode.instruction or str(episode.options.get("persona", ""))
    for number in numbers:
        turn = episode.turns[number]
        # The first search leaves the first page, where every episode begins.
        page = (episode.turns[0] if number == numbers[0] else turn).observation
        last = number == numbers[-1]
        yield Turn(
            retold(page, stood, request),
            turn.action,
            reward=1.0 if last else 0.0,
            events=MET if last else (),
            tags=turn.tags,
        )


def reworded(skill: Skill, instruction: str) -> Skill:
    """Return a skill with another instruction, which its pages and its goal show too."""
    instruction = " ".join(instruction.split())
    goal = {**skill.options["goal"], "instruction": instruction}
    turns = tuple(
        replace(turn, observation=retold(turn.observation, skill.instruction, instruction))
        for turn in skill.turns
    )
    return replace(skill, instruction=instruction, turns=turns, options={"goal": goal})


def names(skill: Skill) -> bool:
    """Say whether the instruction has a word that was searched for."""
    searched = skill.turns[0].action.partition("[")[2]
    return bool(_plain_words(searched) & _plain_words(skill.instruction))


def _plain_words(text: str) -> set[str]:
    return set(_PLAIN.findall(text.lower()))
