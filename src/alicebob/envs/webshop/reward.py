"""Reward: how well what was bought fits a goal, in every detail as the original reckons it.

    type * (attributes found + options found + price kept) / (attributes + options + 1)

The type is judged by the nouns that the two names share, so the reward depends on who says what a
noun is: spaCy's model where it is installed, else a rule; `Tagger.name` says which, and belongs
beside every figure. Invariant: the same product, goal and tagger give the same reward. Does not:
show it to anybody.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from alicebob.envs.webshop.product import Goal, Product
from alicebob.errors import UsageError
from alicebob.words import STOP

__all__ = ["TAGGERS", "Score", "Tagger", "score", "tagger"]

ENOUGH = 85  # token_set_ratio, in percent, from which two texts are the same
# Colours in the original's order: the first that a text contains stands for it, "red" in "bored".
_COLOURS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown "
    "burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee "
    "cognac copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia "
    "gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki lavender "
    "lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor "
    "mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red "
    "rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower "
    "tan taupe teal tiger turquoise violet walnut wheat white wine yellow"
)
COLOURS = tuple(_COLOURS.split())
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Tagger:
    """Who says which words of a name are nouns: `nouns` maps a name to them, in lower case."""

    name: str
    nouns: Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Score:
    """A reward from 0 to 1, and what it is made of: shares of the goal's attributes and options."""

    reward: float
    type: float
    attributes: float
    options: float | None
    price: bool


def score(product: Product, options: Sequence[str], goal: Goal, judge: Tagger) -> Score:
    """Return the score of buying a product with these option values, at its price."""
    wanted: Sequence[str | tuple[str, str]] = (
        list(goal.options.items()) if isinstance(goal.options, Mapping) else goal.options
    )
    attributes = sum(_has(product, attribute) for attribute in goal.attributes)
    found = _options_found(options, wanted)
    price = product.price <= goal.price_upper
    kind = _type(product, goal, judge)
    total = (attributes + found + price) / (len(goal.attributes) + len(wanted) + 1)
    return Score(
        total * kind,
        kind,
        attributes / len(goal.attributes) if goal.attributes else 1.0,
        found / len(wanted) if wanted else None,
        price,
    )


def _has(product: Product, attribute: str) -> bool:
    """Say whether a product has an attribute: it is listed, or its texts contain the words."""
    if any(_ratio(own, attribute) > ENOUGH for own in product.attributes):
        return True
    texts = (product.title, " ".join(product.bullets), product.description)
    return any(attribute in text.lower() for text in texts)


def _options_found(bought: Sequence[str], wanted: Sequence[str | tuple[str, str]]) -> int:
    """Count the wanted options that some bought one matches.

    A wanted option of a group is a pair (group, value), and is compared as the original compares
    it: by the pair's own Python text, unless the value is a colour.
    """
    values = [_colour(value) for value in bought]
    return sum(
        any(_ratio(value, asked) > ENOUGH for value in values)
        for asked in (_colour(option) for option in wanted)
    )


@functools.lru_cache(1 << 14)
def _colour(option: str | tuple[str, str]) -> str:
    """Return the first colour in a text, or among the words of a pair; without one, its text."""
    return next((colour for colour in COLOURS if colour in option), str(option))


@functools.lru_cache(1 << 16)
def _ratio(one: str, other: str) -> int:
    from thefuzz import fuzz

    return int(fuzz.token_set_ratio(one, other))


def _type(product: Product, goal: Goal, judge: Tagger) -> float:
    """Return the factor for the kind of product: 1, or less where the names have little in common.

    A name that shares nothing makes it 0, even where the product was searched for by the same word.
    """
    nouns, desired = judge.nouns(product.title), judge.nouns(goal.name)
    shared = len(set(nouns) & set(desired)) / len(desired) if desired else 0.2
    if shared == 0.0:
        return 0.0
    if shared < 0.1:
        return 0.1
    same = len(set(_parts(product.categories)) & set(_parts(goal.categories))) >= 2
    return 1.0 if shared > 0.2 or same or product.kind == goal.kind else 0.5


def _parts(categories: str) -> list[str]:
    return [part.strip() for part in categories.split("›")]


@functools.lru_cache(1 << 16)
def _content_words(name: str) -> tuple[str, ...]:
    """Return the words of a name that the rule takes for nouns: all but the small ones."""
    return tuple(word for word in _WORD.findall(name.lower()) if word not in STOP)


@functools.cache
def _spacy() -> Tagger | None:
    """Return spaCy's tagger, with the model that the original loads before those of its forks."""
    try:
        import spacy
    except ImportError:
        return None
    for model in ("en_core_web_sm", "en_core_web_lg", "en_core_web_md"):
        with suppress(OSError):
            return _tagged_by(model, spacy.load(model, disable=["ner"]))
    return None


def _tagged_by(model: str, pipeline: Callable[[str], Any]) -> Tagger:
    @functools.lru_cache(1 << 16)
    def nouns(name: str) -> tuple[str, ...]:
        return tuple(t.text.lower() for t in pipeline(name) if t.pos_ in ("NOUN", "PROPN"))

    return Tagger(model, nouns)


CONTENT_WORDS = Tagger("content-words", _content_words)
TAGGERS = ("auto", "spacy", CONTENT_WORDS.name)


def tagger(name: str = "auto") -> Tagger:
    """Return a tagger by name; "auto" is spaCy's where a model is installed.

    Raises UsageError where there is none of that name or spaCy has no model.
    """
    if name not in TAGGERS:
        raise UsageError(f"webshop: tagger must be one of {', '.join(TAGGERS)}, not {name!r}.")
    found = _spacy() if name != CONTENT_WORDS.name else None
    if name == "spacy" and found is None:
        raise UsageError(
            "webshop: tagger 'spacy' needs spaCy and its model en_core_web_sm; install them, or "
            f"choose {CONTENT_WORDS.name!r}."
        )
    return found or CONTENT_WORDS
