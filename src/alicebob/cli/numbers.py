"""Numbers: options that take one.

Invariant: what is not finite or out of range is refused before anything runs. Does not: know what
a number is for.
"""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["COUNT", "PRICES", "Finite"]


class Finite(click.FloatRange):
    """A finite number in a range: nan, which no comparison holds off, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; fails where it is none of these."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return found


COUNT = click.IntRange(min=1)
PRICES = click.option(
    "--prices", nargs=2, type=Finite(min=0), help="Of a million tokens read, and written."
)
