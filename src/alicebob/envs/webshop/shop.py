"""WebShop as text: the shop of Yao et al. (2022) as a plain object, page for page.

Pages, what can be clicked, search and reward are the original's (princeton-nlp/WebShop), without
web server, HTML and JVM. Where this differs: the last page does not say the reward, an action that
is none is reported, hidden ways to search are plain words, and there is a limit of turns.
Invariant: the same catalogue, seed, options and actions give the same bytes in any process. Does
not: show a goal but through its instruction.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from alicebob.envs.shopping import BUY, MARKS
from alicebob.envs.webshop import pages
from alicebob.envs.webshop.browsing import OBSERVATIONS, Browser
from alicebob.envs.webshop.catalogue import KINDS, Catalogue, open_catalogue
from alicebob.envs.webshop.goals import Goals
from alicebob.envs.webshop.product import Goal
from alicebob.envs.webshop.reward import Score, score, tagger
from alicebob.envs.webshop.wanted import PRESETS, goals_for, held_out, wanted
from alicebob.errors import UnknownName, UsageError

__all__ = ["WebShop"]

OPTIONS = ("goal", "persona", "split")
IDLER = "Look around, and buy what you like."  # who has no persona of their own
_ACTION = re.compile(r"(.+)\[(.+)\]")


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
    alice = "shop"
    documents = str(Path(__file__).parent / "documents")
    marks = MARKS

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
        self.catalogue: Catalogue = open_catalogue(str(catalogue))
        self._named = (str(catalogue), kind, preset)
        self.goals = self._goals_of(split)
        self._judge = _tagger(tagger)
        self._browser = Browser(self.catalogue, observation, attributes_page)
        self._over = True  # until the first reset
        self._turns = 0
        self.goal: Goal | None = None
        self._instruction = ""

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
            seed = 0 if seed is None else seed
            self.goal = wanted(options.get("goal"), goals, seed, self.catalogue)
            self._instruction = self.goal.instruction
        self._over, self._turns = False, 0
        self._browser.home()
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
        browser = self._browser
        if name == "search":
            browser.search(words)
        elif name == "click" and words in browser.page.clickables and words != "search":
            if words == BUY.lower():
                return self._buy()
            browser.click(words)
        else:
            truncated = self._over = self._turns >= self.max_steps
            shown = " ".join(action.split())[:60]
            text = f"{shown!r} is not an action on this page; nothing happened.\n\n{self._text()}"
            return text, 0.0, False, truncated, self._info(invalid=True)
        truncated = self._over = self._turns >= self.max_steps
        return self._text(), 0.0, False, truncated, self._info()

    def _goals_of(self, split: Any) -> Goals:
        return goals_for(*self._named, split)

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

    def _buy(self) -> tuple[str, float, bool, bool, dict[str, Any]]:
        product, chosen = self._browser.product, dict(self._browser.chosen)
        assert product is not None
        self._browser.leave()
        self._over = True
        bought: dict[str, Any] = {
            "asin": product.asin,
            "options": chosen,
            "price": product.price,
            "held_out": held_out(*self._named, product.asin),
        }
        info, reward = self._info(), 0.0
        info["events"] = ["bought"]
        if self.goal is not None:
            result = score(product, list(chosen.values()), self.goal, self._judge())
            reward = result.reward
            info["progress"], info["success"] = reward, reward == 1.0
            info["events"] += _met(result)
            bought |= {"score": asdict(result), "tagger": self._judge().name}
        info["result"] = bought
        return pages.THANKS, reward, True, False, info

    def _text(self) -> str:
        return self._browser.text(self._instruction)

    def _info(self, invalid: bool = False) -> dict[str, Any]:
        browser = self._browser
        actions = list(browser.page.actions)
        if browser.kind == "index":
            actions.insert(0, "search[...]")
        return {
            "admissible_actions": actions,
            "events": [],
            "page": browser.kind,
            "product": browser.product.asin if browser.product else None,
            "options": dict(browser.chosen),
            **({"progress": 0.0, "success": False} if self.goal is not None else {}),
            "invalid_action": invalid,
        }


def _met(result: Score) -> list[str]:
    """Return the events that say which parts of a goal a purchase met."""
    met = {
        "kind": result.type == 1.0,
        "attributes": result.attributes == 1.0,
        "options": result.options in (None, 1.0),
        "price": result.price,
        "goal": result.reward == 1.0,
    }
    return [part for part, whole in met.items() if whole]


def _tagger(name: str) -> Callable[[], Any]:
    """Check a tagger's name now, and load it when the first thing is bought."""
    if name != "auto":
        tagger(name)
    return functools.partial(tagger, name)
