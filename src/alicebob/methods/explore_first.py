"""Explore first (the baseline EF of arXiv 2506.04287): EXIF with blank feedback.

Alice still says what she thinks of Bob, to be read and not to be followed.
"""

from __future__ import annotations

from dataclasses import replace

from alicebob.methods import exif
from alicebob.methods.parts import Exploration, Round, part

__all__ = ["METHOD"]


@part(*exif.EXPLORE, alice=["explore"])
def unsteered(round_: Round) -> Exploration:
    """Explore, whatever Bob can do."""
    return exif.wander(round_, {}, "")


METHOD = replace(
    exif.METHOD,
    name="explore_first",
    source="arXiv 2506.04287, baseline EF",
    explore=unsteered,
)
