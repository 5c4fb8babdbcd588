"""Budget: what may be used of a model, what is, and a ledger that says so after a kill.

Threads share one. Invariants: a limit is never overrun by more than what is under way; what stands
in the ledger, a file written as use happens, counts towards the limits too, so that they hold over
processes that follow each other. Does not: ask anything of a model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.errors import ProviderError
from alicebob.trace import append_line, read_lines

__all__ = ["Budget", "Limits", "Spent", "Usage"]


class Spent(ProviderError):
    """A budget is used up: the run stops with everything saved."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that may be used, over the life of an endpoint and its ledger; None is no limit."""

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None  # in the currency of the prices


@dataclass(slots=True)
class Usage:
    """What was used: requests sent, tokens as the server counted them, and what they cost."""

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    retries: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.reply_tokens


@dataclass
class Budget:
    """The use of one model; `prices` are for a million tokens read and written."""

    limits: Limits
    prices: tuple[float, float]
    ledger: Path | None = None
    usage: Usage = field(default_factory=Usage, init=False)

    def __post_init__(self) -> None:
        """Read the ledger; raises DamagedData where it holds anything else."""
        self.before = _sum(read_lines(self.ledger)) if self.ledger else Usage()
        self._lock = threading.Lock()

    def enter(self, model: str, again: bool) -> None:
        """Count a request before it is sent; raises Spent where no more may be."""
        with self._lock:
            for name in ("requests", "tokens", "cost"):
                limit, used = getattr(self.limits, name), getattr(self.usage, name)
                if limit is not None and used + getattr(self.before, name) >= limit:
                    where = f" ({self.ledger} says for what)" if self.ledger else ""
                    raise Spent(
                        f"The budget of {limit:g} {name} for {model} is used up{where}; what was "
                        "finished is kept. Raise the limit and run again to go on."
                    )
            self.usage.requests += 1
            self.usage.retries += again

    def note(self, model: str, requests: int, tokens: tuple[int, int] | None) -> None:
        """Count what one question took, tokens read and written, and write it in the ledger.

        `tokens` is None for a question without an answer; its requests were counted on entry.
        """
        line: dict[str, Any] = {"model": model, "requests": requests}
        with self._lock:
            if tokens is not None:
                read, written = tokens
                cost = (read * self.prices[0] + written * self.prices[1]) / 1e6
                line |= {"prompt_tokens": read, "reply_tokens": written, "cost": cost}
                self.usage.prompt_tokens += read
                self.usage.reply_tokens += written
                self.usage.cost += cost
            if self.ledger is not None and requests:
                self.ledger.parent.mkdir(parents=True, exist_ok=True)
                append_line(self.ledger, line)


def _sum(lines: Iterable[Mapping[str, Any]]) -> Usage:
    """Return the use that the lines of a ledger tell of."""
    used = Usage()
    for line in lines:
        for name in ("requests", "prompt_tokens", "reply_tokens", "cost"):
            setattr(used, name, getattr(used, name) + line.get(name, 0))
    return used
