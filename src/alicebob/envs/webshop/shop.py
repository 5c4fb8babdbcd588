"""WebShop as text: the shop of Yao et al. (2022) as a plain object, page for page.

Pages, what can be clicked, search and reward are the original's (princeton-nlp/WebShop), without
web server, HTML and JVM. Where this differs: the last page does not say the reward, an action that
is none is reported, hidden ways to search are plain words, and there is a limit of turns.
Invariant: the same catalogue, seed, options and actions give the same bytes in any process. Does
not: show a goal but through its instruction.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from alicebob.envs.webshop import compact, pages
from alicebob.envs.webshop.catalogue import KINDS, Catalogue, open_catalogue
from alicebob.envs.webshop.goals import SPLITS, Goals, goal_of, split_of
from alicebob.envs.webshop.product import NO_LIMIT, Goal, Product
from alicebob.envs.webshop.reward import Score, score, tagger
from alicebob.errors import UnknownName, UsageError

__all__ = ["OBSERVATIONS", "PRESETS", "WebShop"]

OBSERVATIONS = ("text", "text_rich", "compact")
SHOWN, FOUND = 10, 50  # products on a page of results, and in all
OPTIONS = ("goal", "persona", "split")
IDLER = "Look around, and buy what you like."  # who has no persona of their own
KNOWN = 4096  # pages of a kind that are kept
DONE = pages.Page((pages.THANKS,), ())
_ACTION = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Preset:
    """How published work set the shop up; `splits` are ranges of goals, else they go by product."""

    goals: str
    limit: int
    splits: Mapping[str, slice] | None = None


PRESETS = {
    "small": Preset("synthetic", 15),
    "webshop": Preset(
        "human",
        100,
        {"test": slice(0, 500), "validation": slice(500, 1500), "train": slice(1500, None)},
    ),
    "agentbench": Preset("human", 20, {"test": slice(0, 200), "train": slice(1000, 12_001)}),
    "eto": Preset("human", 10),  # its own lists share goals between training and test
    "verl-agent": Preset("synthetic", 15, {"test": slice(0, 500), "train": slice(500, None)}),
}


@functools.lru_cache(16)
def _asked_for(catalogue: str, kind: str, preset: str) -> frozenset[str]:
    """Return the products that the validation and test goals of published ranges ask for."""
    held_out = [split for split in PRESETS[preset].splits or () if split != "train"]
    return frozenset(g.asin for s in held_out for g in _goals(catalogue, kind, preset, s))


@functools.lru_cache(16)
def _goals(catalogue: str, kind: str, preset: str, split: str | None) -> Goals:
    ranges = PRESETS[preset].splits
    if split is None or ranges is None:
        return open_catalogue(catalogue).goals(kind, split)
    if split not in ranges:
        raise UsageError(
            f"webshop: preset {preset} has no split {split!r}, only {', '.join(ranges)}."
        )
    return open_catalogue(catalogue).goals(kind, None)[ranges[split]]


class WebShop:
    """A shop to search, look around and buy one thing in.

    `catalogue` is "generated:COUNT" or a folder with the original's files; `observation` is "text"
    or "text_rich", as the original's, or "compact", for tiny models; `goals` "synthetic" or
    "human"; `split` "train", "validation", "test" or None for all. `preset` names published
    settings, which give `goals` and `limit` (of turns) where these are not given.
    `attributes_page` adds the original's page of attributes; `tagger` is who names nouns for the
    reward, see `alicebob.envs.webshop.reward`. Raises UsageError or UnknownName for settings that
    are none.

    The reward is 0 until "click[buy now]", then from 0 to 1. `info` has, beside
    `admissible_actions` and `invalid_action`: `page`, `product` and `options` (what is looked at
    and chosen); `events`, on the last turn "bought" and what of the goal was met ("kind",
    "attributes", "options", "price", and "goal" for all); `progress` and `success` where there is a
    goal; and at the end `result`: what was bought, for how much, whether validation or test goals
    ask for it (`held_out`), and how each part of the goal was met.
    """

    instructions = "Buy what the instruction asks for."
    actions = ("search[words]", "click[what can be clicked]")

    def __init__(
        self,
        catalogue: str = "generated:1000",
        observation: str = "text",
        goals: str | None = None,
        split: str | None = None,
        limit: int | None = None,
        preset: str = "small",
        attributes_page: bool = False,
        tagger: str = "auto",
    ) -> None:
        if observation not in OBSERVATIONS:
            raise UnknownName("observation format", observation, OBSERVATIONS, "webshop")
        if preset not in PRESETS:
            raise UnknownName("preset", preset, PRESETS, "webshop")
        kind = PRESETS[preset].goals if goals is None else goals
        if kind not in KINDS:
            raise UnknownName("kind of goals", kind, KINDS, "webshop")
        self.max_steps = PRESETS[preset].limit if limit is None else limit
        if type(self.max_steps) is not int or self.max_steps < 1:
            raise UsageError(f"webshop: limit must be a number of turns above 0; got {limit!r}.")
        self.observation, self.attributes_page = observation, attributes_page
        self._page_size = compact.SHOWN if observation == "compact" else SHOWN
        self.catalogue: Catalogue = open_catalogue(str(catalogue))
        self._named = (str(catalogue), kind, preset)
        self.goals = self._goals_of(split)
        self._judge = _tagger(tagger)
        self._search_for = functools.lru_cache(KNOWN)(self._found)
        self._results = functools.lru_cache(KNOWN)(self._result_page)
        self._items = functools.lru_cache(KNOWN)(self._item)
        self._over = True  # until the first reset
        self._turns = 0
        self.goal: Goal | None = None
        self._instruction = ""
        self._show_index()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin with the goal that the seed draws, 0 when none is given.

        `options` may have `split`, whose goals are meant instead of the environment's own; `goal`:
        the index of one, or one of its own (asin, instruction, attributes, options, price_upper),
        as written afterwards for what was bought; or `persona`: then there is no goal, and the page
        shows these words in its place. Raises UnknownName for another option, UsageError for a goal
        that is none.
        """
        options = options or {}
        for name in options:
            if name not in OPTIONS:
                raise UnknownName("reset option", name, OPTIONS, "webshop")
        if "persona" in options and len(options) > 1:
            raise UsageError("webshop: an episode has a goal or a persona, not both.")
        if "persona" in options:
            self.goal, self._instruction = None, str(options["persona"])
        else:
            goals = self._goals_of(options["split"]) if "split" in options else self.goals
            self.goal = self._wanted(options.get("goal"), goals, 0 if seed is None else seed)
            self._instruction = self.goal.instruction
        self._over, self._turns = False, 0
        self._show_index()
        return self._text(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take "search[words]" or "click[what can be clicked]", in any case.

        Anything else costs a turn and changes nothing; the next observation says so. Raises
        UsageError before reset and after the end.
        """
        if self._over:
            raise UsageError("webshop: the episode is over or not begun; call reset() first.")
        self._turns += 1
        found = _ACTION.match(action.strip())
        name, words = (found[1].lower(), found[2].lower()) if found else ("", "")
        if name == "search":
            self._search(words)
        elif name == "click" and words in self._page.clickables and words != "search":
            if words == pages.BUY.lower():
                return self._buy()
            self._click(words)
        else:
            truncated = self._over = self._turns >= self.max_steps
            shown = " ".join(action.split())[:60]
            text = f"{shown!r} is not an action on this page; nothing happened.\n\n{self._text()}"
            return text, 0.0, False, truncated, self._info(invalid=True)
        truncated = self._over = self._turns >= self.max_steps
        return self._text(), 0.0, False, truncated, self._info()

    def _goals_of(self, split: Any) -> Goals:
        if split is not None and split not in SPLITS:
            raise UnknownName("split", str(split), SPLITS, "webshop")
        return _goals(*self._named, split)

    # what rounds ask for (see `alicebob.envs.hooks`)

    def tasks(self, split: str, seeds: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
        """Return a goal of a split for each seed, as instruction and reset options.

        No goal comes twice before each has come once.
        """
        goals = self._goals_of(split)
        if not goals:
            raise UsageError(
                f"webshop: {self.catalogue.name} has no goals for {split}; take a larger catalogue."
            )
        order = np.random.default_rng(list(seeds)).permutation(len(goals))
        numbers = [int(order[i % len(goals)]) for i in range(len(seeds))]
        return [(goals[n].instruction, {"split": split, "goal": n}) for n in numbers]

    def task_free(self, persona: str) -> dict[str, Any]:
        """Return the reset options of an episode without a goal."""
        return {"persona": " ".join(persona.split()) or IDLER}

    def score(self, rates: Mapping[str, float]) -> float:
        """Return the mean reward in percent, as published."""
        return 100.0 * rates["reward"]

    # the pages

    def _show_index(self) -> None:
        self._kind, self._page = "index", pages.index()
        self._words, self._number = "", 1
        self._product: Product | None = None
        self._chosen: dict[str, str] = {}
        self._visited: set[str] = set()

    def _search(self, words: str, number: int = 1) -> None:
        self._kind, self._words, self._number = "results", words, number
        self._product, self._chosen = None, {}
        self._page = self._results(words, number)

    def _found(self, words: str) -> list[int]:
        return self.catalogue.index.search(words, FOUND)

    def _result_page(self, words: str, number: int) -> pages.Page:
        return pages.results(self._shown(words, number), number, len(self._search_for(words)))

    def _shown(self, words: str, number: int) -> list[Product]:
        found, size = self._search_for(words), self._page_size
        return [self.catalogue[n] for n in found[(number - 1) * size : number * size]]

    def _show_item(self) -> None:
        assert self._product is not None
        self._kind, self._page = "item", self._items(self._product.asin, "")

    def _item(self, asin: str, sub: str) -> pages.Page:
        number = self.catalogue.number(asin)
        assert number is not None
        product = self.catalogue[number]
        if sub:
            return pages.sub_page(product, sub)
        return pages.item(product, self.attributes_page)

    def _click(self, name: str) -> None:
        """Follow a click, in the order in which the original looks for what it means."""
        sub = next((page for page in pages.SUB_PAGES if page.lower() == name), None)
        if name == pages.BACK.lower():
            self._show_index()
        elif name == pages.NEXT.lower() and self._kind == "results":
            self._search(self._words, self._number + 1)
        elif name == pages.PREV.lower() and self._kind in ("results", "item"):
            self._search(self._words, self._number - (self._kind == "results"))
        elif name == pages.PREV.lower() and self._kind == "sub_page":
            self._show_item()
        elif sub is not None and self._product is not None:
            self._kind, self._page = "sub_page", self._items(self._product.asin, sub)
        else:
            self._choose(self._page.clickables[name])

    def _choose(self, text: pages.Text) -> None:
        """Open a product, or choose an option of the one that is open."""
        if text.kind == "link":
            number = self.catalogue.number(text.raw)
            assert number is not None
            self._product = self.catalogue[number]
            self._visited.add(text.raw)
        elif text.kind == "option" and self._product is not None:
            # A value that two groups share belongs to the last, as on the original's page.
            groups = [g for g, values in self._product.options.items() if text.raw in values]
            self._chosen[groups[-1]] = text.raw
        self._show_item()

    def _buy(self) -> tuple[str, float, bool, bool, dict[str, Any]]:
        assert self._product is not None
        result: Score | None = None
        if self.goal is not None:
            chosen = list(self._chosen.values())
            result = score(self._product, chosen, self.goal, self._judge())
        self._kind, self._over = "done", True
        self._page = DONE
        bought: dict[str, Any] = {
            "asin": self._product.asin,
            "options": dict(self._chosen),
            "price": self._product.price,
            "held_out": self._held_out(self._product.asin),
        }
        info, reward = self._info(), 0.0
        info["events"] = ["bought"]
        if result is not None:
            reward = result.reward
            info["progress"], info["success"] = reward, reward == 1.0
            met = {
                "kind": result.type == 1.0,
                "attributes": result.attributes == 1.0,
                "options": result.options in (None, 1.0),
                "price": result.price,
                "goal": reward == 1.0,
            }
            info["events"] += [part for part, whole in met.items() if whole]
            bought |= {"score": asdict(result), "tagger": self._judge().name}
        info["result"] = bought
        return pages.THANKS, reward, True, False, info

    def _held_out(self, asin: str) -> bool:
        if PRESETS[self._named[-1]].splits is None:
            return split_of(asin) != "train"
        return asin in _asked_for(*self._named)

    # what is told

    def _text(self) -> str:
        if self.observation == "compact":
            return self._compact()
        if self.observation == "text":
            return self._page.simple(self._instruction)
        state = ""
        if self._kind == "item" and self._product is not None:
            state = f"{self._product.asin}/{self._words.replace(' ', '+')}/{self._number}/"
            state += json.dumps(self._chosen)
        return self._page.rich(self._instruction, state, self._visited)

    def _compact(self) -> str:
        if self._kind == "index":
            return compact.index(self._instruction)
        if self._kind == "results":
            shown = self._shown(self._words, self._number)
            return compact.results(self._instruction, shown, self._number)
        assert self._product is not None
        if self._kind == "item":
            return compact.item(self._instruction, self._product, self._chosen)
        texts = [text.raw for text in self._page.body if text.kind == "text"]
        return compact.sub_page(self._instruction, texts)

    def _info(self, invalid: bool = False) -> dict[str, Any]:
        actions = list(self._page.actions)
        if self._kind == "index":
            actions.insert(0, "search[...]")
        return {
            "admissible_actions": actions,
            "events": [],
            "page": self._kind,
            "product": self._product.asin if self._product else None,
            "options": dict(self._chosen),
            **({"progress": 0.0, "success": False} if self.goal is not None else {}),
            "invalid_action": invalid,
        }

    def _wanted(self, goal: Any, goals: Goals, seed: Any) -> Goal:
        """Return the goal that is asked for, or that the seed draws."""
        if isinstance(goal, Mapping):
            return self._own_goal(goal)
        if goal is None:
            if not isinstance(seed, int | np.integer) or seed < 0:
                raise UsageError(f"webshop: seed must be a whole number from 0; got {seed!r}.")
            if not goals:
                raise UsageError(
                    f"webshop: {self.catalogue.name} has no goals of this kind and split."
                )
            return goals[goals.draw(np.random.default_rng([int(seed), 2]))]
        if type(goal) is not int or not 0 <= goal < len(goals):
            raise UsageError(f"webshop: goal must be 0 to {len(goals) - 1}; got {goal!r}.")
        return goals[goal]

    def _own_goal(self, told: Mapping[str, Any]) -> Goal:
        """Return a goal that was written for a product, from its plain data."""
        known = {"asin", "instruction", "attributes", "options", "price_upper"}
        for name in told:
            if name not in known:
                raise UnknownName("part of a goal", str(name), known, "webshop")
        number = self.catalogue.number(str(told.get("asin", "")))
        if number is None:
            raise UsageError(f"webshop: there is no product {told.get('asin')!r} to be the goal.")
        options, attributes = told.get("options", {}), told.get("attributes", ())
        limit = told.get("price_upper", NO_LIMIT)
        lists = [part for part in (options, attributes) if not isinstance(part, Mapping)]
        if not all(isinstance(part, Sequence) and not isinstance(part, str) for part in lists):
            raise UsageError(
                "webshop: a goal's attributes are a list, its options groups to values."
            )
        if type(limit) not in (int, float) or not limit > 0:
            raise UsageError("webshop: a goal's price_upper is a number of dollars above 0.")
        return goal_of(
            self.catalogue[number],
            str(told.get("instruction", "")),
            tuple(map(str, attributes)),
            dict(options) if isinstance(options, Mapping) else tuple(map(str, options)),
            float(limit),
        )


def _tagger(name: str) -> Callable[[], Any]:
    """Check a tagger's name now, and load it when the first thing is bought."""
    if name != "auto":
        tagger(name)
    return functools.partial(tagger, name)
