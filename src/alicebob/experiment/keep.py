"""Keep: which round to go on from where the newest got worse.

A round's Bob is known to be worse only after it has ended, so a round that got worse is taken back
by the one that comes after it, which branches off before it. Invariant: validation figures alone
decide, and nothing is deleted. Does not: add a round.
"""

from __future__ import annotations

from alicebob.errors import UsageError
from alicebob.experiment.diff import between, figures_of
from alicebob.experiment.params import read_yaml
from alicebob.experiment.results import means
from alicebob.experiment.tables import others
from alicebob.experiment.tree import ROOT_ROUND, ancestors, tree

__all__ = ["DECIDING", "kept"]

#: Figures of a split that say how good Bob is; those that a world has decide.
DECIDING = ("skills.success", "open_play.success", "open_play.progress")


def kept(round_id: str | None = None) -> tuple[str, str]:
    """Return a round, by default the newest, and the one to go on from in its place, or itself.

    That is the ancestor that it is worse than, and that is worse than no other. Worse is what is
    below by more than the 95 % interval of the difference in one figure of DECIDING, and above so
    in none. Raises UnknownName for a round that is not there, UsageError for one that is not
    evaluated yet or was evaluated otherwise.
    """
    rounds = tree(read_yaml())
    best = newest = round_id or next(reversed(rounds), ROOT_ROUND)
    figures_of(newest)  # an unknown round is said to be one
    for earlier in reversed(ancestors(newest, rounds)[:-1]):
        best = earlier if _worse(earlier, best) else best
    return newest, best


def _worse(earlier: str, later: str) -> bool:
    """Say whether a round is worse than one before it."""
    one, two = figures_of(earlier), figures_of(later)
    if apart := others(one, two):
        raise UsageError(
            f"{earlier} and {later} were evaluated with another {' and '.join(apart)}, so it "
            "cannot be said which is better; run 'dvc repro', or name the parent (--from)."
        )
    left, right = means(one), means(two)
    names = [f"validation.{name}" for name in DECIDING]
    steps = [between(left[name], right[name]) for name in names if name in left and name in right]
    steps = [step for step in steps if step["low"] is not None]
    return any(step["high"] < 0 for step in steps) and not any(step["low"] > 0 for step in steps)
