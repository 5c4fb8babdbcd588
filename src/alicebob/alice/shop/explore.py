"""Explore: she looks around in a shop as one persona or another, and buys what is new to her.

She knows how to search, click and buy, and no product. An episode begins with a plan: a kind of
thing that she has met, qualities that she has read of, and options that she has seen; where she
knows none, or for a change, she first searches for words of her persona. What suits a plan she
opens, reads about, and buys with the options she came for; where it has others, she searches again
for those. Wishes of the feedback tilt her plans. Invariant: an episode depends on its task, the
memory and wishes given, and its own draws. Does not: know of goals or rewards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.random import Generator

from alicebob.alice.room import EVIDENCE
from alicebob.alice.shop.memory import Known, Memory, head_of
from alicebob.alice.shop.reading import Offer, Page, options_on, prices
from alicebob.alice.shop.watch import Reader
from alicebob.envs.shopping import NO_LIMIT, said
from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.sight import as_shown
from alicebob.trace import INTENT
from alicebob.words import STOP

__all__ = ["Shopper"]

SCOUTING = 0.15  # share of episodes that begin with a search for words of the persona
TASTE = 4.0  # how much more she wants what reminds of her persona
READING = 0.3  # chance to read about what she has no doubt of
BARE = 0.05  # chance not to care for an option
SEARCHES = 3  # in an episode
HASTE = 6  # turns before the end from which she takes what there is
STEM = 5  # letters by which words are taken for the same
_WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to look for: a kind of thing, "" where it is words to scout with, qualities, options."""

    words: str
    thing: str = ""
    qualities: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    cheap: bool = False

    def query(self, options: bool) -> str:
        """Return what to type: the words, and the options as the shop names them."""
        return said(self.words, dict(self.options) if options else {}, NO_LIMIT)


class Shopper:
    """The policy: one mind per live episode, `without` some of the priors of the room."""

    def __init__(
        self,
        memory: Memory | None = None,
        wishes: Mapping[str, float] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.names_options, self.has_taste = "options" not in without, "persona" not in without
        self.memory = memory or Memory()
        self.wishes = dict(sorted((wishes or {}).items()))
        self._things = self.memory.things()
        self._shared = self.memory.qualities()

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with what was known before the wave.

        Raises UsageError where the environment has no pages.
        """
        for live in wave:
            if "page" not in live.info:
                raise UsageError("The embedded Alice was to shop where there are no pages.")
            live.memory = _Mind(self, live, live.draw)

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Decide for each episode; a tag says what for, e.g. "intent:find running shoes"."""
        replies = []
        for live in lives:
            mind: _Mind = live.memory
            action, intent = mind.decide(live)
            if not action.startswith("search["):
                action = as_shown(action, live.observation)
            replies.append(Reply(action, tags=(f"{INTENT}{intent}",)))
        return replies

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Return what the episode taught."""
        mind: _Mind = live.memory
        return {EVIDENCE: mind.reader.close(live.info).to_json()}

    def plan(self, persona: str, draw: Generator, seen: Memory) -> _Plan:
        """Return what to look for; `seen` is what the episode itself has shown so far."""
        things = self._things or seen.things()
        products = self.memory.products if self._things else seen.products
        shared = self._shared if self._things else None
        wish = self._wish(draw)
        names = sorted(things)
        if wish in things:
            names = [wish]
        if not names:
            return _scouting(persona, draw)
        liked = _stems(persona) if self.has_taste else set()
        weights = [_appeal([products[a] for a in things[name]], liked) for name in names]
        thing = names[_choice(weights, draw)]
        kin = [products[asin] for asin in things[thing]]
        if wish == "options":
            most = max(len(known.options or ()) for known in kin)
            kin = [known for known in kin if len(known.options or ()) == most]
        like = kin[_choice([1.0 / (1 + known.bought) for known in kin], draw)]
        qualities = like.qualities(shared) if shared else like.said()
        qualities = [q for q in qualities if not set(q.split()) & set(thing.split())]
        many = 3 if wish in ("kind", "attributes") else int(draw.integers(1, 4))
        chosen = [qualities[int(i)] for i in draw.permutation(len(qualities))[:many]]
        opened = [known.options for known in kin if known.options]
        known = like.options or (opened[int(draw.integers(len(opened)))] if opened else {})
        words = ", ".join(chosen) + (" " if chosen else "") + thing
        return _Plan(words, thing, tuple(chosen), _options(known, draw), cheap=wish == "price")

    def _wish(self, draw: Generator) -> str:
        """Return what to go for this time; wishes of weight 1 are followed half of the time."""
        total = sum(self.wishes.values())
        if not total or draw.random() >= total / (1.0 + total):
            return ""
        names = list(self.wishes)
        return names[_choice([self.wishes[name] for name in names], draw)]


@dataclass(slots=True)
class _Mind:
    """One episode: what was read in it, what is looked for, how far that has come."""

    shopper: Shopper
    live: Live
    draw: Generator
    reader: Reader = field(default_factory=Reader)
    plan: _Plan = field(default_factory=lambda: _Plan(""))
    searches: int = 0
    read_on: str = ""  # the product whose features were read
    again: bool = False  # whether to search for the plan once more

    def decide(self, live: Live) -> tuple[str, str]:
        """Return an action and what it is for."""
        page = self.reader.observe(live.observation, live.info)
        actions = live.info["admissible_actions"]
        if page is None:
            return str(actions[int(self.draw.integers(len(actions)))]), "wander"
        act = {
            "index": self._search,
            "results": self._open,
            "item": self._choose,
            "sub_page": self._return,
        }[page.kind]
        action, intent = act(page)
        return action, intent

    @property
    def _hurried(self) -> bool:
        return len(self.live.turns) >= self.live.task.max_turns - HASTE

    def _search(self, page: Page) -> tuple[str, str]:
        draw, shopper = self.draw, self.shopper
        first = self.searches == 0
        self.searches += 1
        if self.again:
            self.again = False
        elif first and (
            not shopper.memory.products or (shopper.has_taste and draw.random() < SCOUTING)
        ):
            self.plan = _scouting(page.told, draw)
        else:
            self.plan = shopper.plan(page.told, draw, self.reader.memory)
        return f"search[{self.plan.query(shopper.names_options)}]", self._intent()

    def _open(self, page: Page) -> tuple[str, str]:
        """Open the first offer that suits the plan best; where none does, search again."""
        plan = self.plan
        suited: list[Offer] = []
        if plan.thing:
            suited = [o for o in page.offers if _words(plan.thing) <= _words(o.title)]
        last = self.searches >= SEARCHES or self._hurried
        if not suited and (not last or not page.offers):
            return "click[back to search]", self._intent()
        fits = [sum(q in o.title.lower() for q in plan.qualities) for o in suited or page.offers]
        best = [o for o, n in zip(suited or page.offers, fits, strict=True) if n == max(fits)]
        if plan.cheap:
            best.sort(key=lambda offer: max(prices(offer.price), default=0.0))
        return f"click[{best[0].asin.lower()}]", self._intent()

    def _choose(self, page: Page) -> tuple[str, str]:
        """Read, choose what was looked for, buy; where it is missing, search again."""
        live, draw, plan = self.live, self.draw, self.plan
        asin = str(live.info["product"])
        groups = options_on(page, live.info)
        if self.read_on != asin:
            self.read_on = asin
            sure = all(q in page.title.lower() for q in plan.qualities)
            if not self._hurried and (not sure or draw.random() < READING):
                return "click[features]", self._intent()
        there = plan.options and all(v in groups.get(n, ()) for n, v in plan.options.items())
        if groups and not there and self.searches < SEARCHES and not self._hurried:
            # Now she knows what there is to choose from, and asks for that.
            plan = self.plan = replace(plan, options=_options(groups, draw))
            if self.shopper.names_options:
                self.again = True
                return "click[back to search]", self._intent()
        for name, value in plan.options.items():
            if name not in live.info["options"] and value in groups.get(name, ()):
                return f"click[{value}]", f"choose {name}"
        return "click[buy now]", self._intent()

    def _return(self, page: Page) -> tuple[str, str]:
        return "click[< prev]", self._intent()

    def _intent(self) -> str:
        return f"find {self.plan.thing}" if self.plan.thing else "look around"


def _options(groups: Mapping[str, Sequence[str]], draw: Generator) -> dict[str, str]:
    """Return a value of each option group to look for, now and then none."""
    kept = [name for name in sorted(groups) if draw.random() >= BARE]
    return {name: groups[name][int(draw.integers(len(groups[name])))] for name in kept}


def _scouting(persona: str, draw: Generator) -> _Plan:
    words = sorted(set(_WORD.findall(persona.lower())) - STOP) or ["new"]
    chosen = draw.permutation(len(words))[: int(draw.integers(1, 3))]
    return _Plan(" ".join(words[int(i)] for i in chosen))


def _appeal(kin: Sequence[Known], liked: set[str]) -> float:
    """Return how much a kind of thing draws her: what she bought seldom, what her persona likes."""
    bought = sum(known.bought for known in kin)
    near = sum(bool(liked & _stems(known.title)) for known in kin) / len(kin)
    return (1.0 + TASTE * near) / math.sqrt(1 + bought)


def _stems(text: str) -> set[str]:
    return {word[:STEM] for word in _WORD.findall(text.lower()) if word not in STOP}


def _words(text: str) -> set[str]:
    return set(text.lower().split()) | set(head_of(text))


def _choice(weights: Sequence[float], draw: Generator) -> int:
    """Return an index, drawn by weights."""
    place = draw.random() * sum(weights)
    for index, weight in enumerate(weights):
        place -= weight
        if place < 0:
            return index
    return len(weights) - 1
