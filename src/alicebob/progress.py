"""Progress: a bar on stderr that counts what is done, and for episodes their steps; lines above it.

Does not: know of rounds; who opens a bar may ask it for its speed.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from alicebob.trace import Episode

__all__ = ["Bar", "tell"]


def tell(text: str) -> None:
    """Write a line to stderr, above the bars that are open."""
    tqdm.write(text, file=sys.stderr)


class Bar:
    """A bar for `total` things of a `unit`; without a total it only counts."""

    def __init__(self, name: str, total: int | None = None, unit: str = "episode") -> None:
        self._bar = tqdm(total=total, desc=name, unit=unit, mininterval=1)
        self.steps, self._begun = 0, time.monotonic()

    def __enter__(self) -> Bar:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar."""
        self._bar.close()

    def episode(self, episode: Episode) -> None:
        """Count an episode and its steps."""
        self.steps += len(episode.turns)
        self._bar.set_postfix_str(f"{self.steps:,} steps", refresh=False)
        self._bar.update()

    def tick(self, _: object = None) -> None:
        """Count one thing."""
        self._bar.update()

    @property
    def steps_per_second(self) -> float:
        """Environment steps in a second, since the bar was opened."""
        return round(self.steps / max(time.monotonic() - self._begun, 1e-9), 1)
