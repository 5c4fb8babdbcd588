"""Trials: what an environment offers to try a skill on, in a fresh world.

An environment that has a `suite()` method gets its skills evaluated one by one; one that has a
`score(rates)` method has the shares of episodes with each event turned into its own score. Both
are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Trial"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One skill to try: done when the event `name` happens within `max_turns` turns.

    `options` are reset options that grant what the skill needs.
    """

    name: str
    instruction: str
    max_turns: int
    options: Mapping[str, Any] = field(default_factory=dict)
