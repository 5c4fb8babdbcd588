"""Check an environment by playing it: what it gives for one seed and one stream of actions.

Does not: judge whether the environment is a good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from alicebob.envs import make
from alicebob.errors import UsageError

__all__ = ["transcript"]


def transcript(
    spec: str, settings: Mapping[str, Any], seed: int, turns: int = 200
) -> list[tuple[str, float]]:
    """Return (observation, reward) of a random episode of at most `turns` turns.

    Actions are drawn from `info["admissible_actions"]` by a generator seeded with `seed`; the
    first entry is the reset's, with reward 0. Raises UsageError where an observation is no string.
    """
    env, draw = make(spec, **settings), Random(seed)
    text, info = env.reset(seed=seed)
    lines, over = [(text, 0.0)], False
    while not over and len(lines) <= turns:
        action = draw.choice(info.get("admissible_actions") or ["look"])
        text, reward, terminated, truncated, info = env.step(action)
        lines.append((text, reward))
        over = terminated or truncated
    if not all(isinstance(line, str) for line, _ in lines):
        raise UsageError(f"{spec} must return its observations as strings.")
    return lines
