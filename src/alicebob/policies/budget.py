"""Budget: what may be used of a model, what is, and a ledger that says so after a kill.

Threads share one. Invariants: a limit is never overrun by more than what is under way; whatever was
sent counts, answered or not; what stands in the ledger, a file written as use happens, counts
towards the limits too, so that they hold over processes that follow each other. Does not: ask
anything of a model.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from alicebob.errors import ProviderError, UsageError
from alicebob.journal import append_line, read_lines
from alicebob.policies.answer import Completion

__all__ = ["Budget", "Limits", "Spent", "Usage"]

COUNTED = ("requests", "prompt_tokens", "reply_tokens", "cost")  # in a line of a ledger


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
    """What was used: requests sent, tokens as the server counted them, and what they cost.

    `estimated` requests had no count, or no answer, and count by estimate; `unanswered` had no
    answer; `silent` had one without text.
    """

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    retries: int = 0
    cost: float = 0.0
    estimated: int = 0
    unanswered: int = 0
    silent: int = 0

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
        """Read the ledger; raises UsageError for a limit or a price that could not be kept."""
        for value in (*astuple(self.limits), *self.prices):
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"Limits and prices must be numbers from 0, not {value!r}.")
        if self.limits.cost is not None and not any(self.prices):
            raise UsageError("A limit of the cost needs prices of tokens read and written.")
        self.before = _used(self.ledger) if self.ledger else Usage()
        self._lock = threading.Lock()
        self._trouble = ""

    def enter(self, model: str, again: bool) -> None:
        """Count a request before it is sent; raises Spent where no more may be."""
        with self._lock:
            for name in ("requests", "tokens", "cost"):
                limit, used = getattr(self.limits, name), getattr(self.usage, name)
                if limit is not None and used + getattr(self.before, name) >= limit:
                    raise Spent(
                        f"The budget of {limit} {name} for {model} is used up{self._why()}; what "
                        "was finished is kept, and a higher limit goes on with the rest."
                    )
            self.usage.requests += 1
            self.usage.retries += again

    def _why(self) -> str:
        """Say what a budget went on: requests without an answer, and where to read the rest."""
        said = []
        if self.usage.unanswered:
            said.append(
                f"{self.usage.unanswered} of {self.usage.requests} requests had no answer, the "
                f"last because of {self._trouble}"
            )
        if self.usage.estimated:
            said.append(f"the tokens of {self.usage.estimated} are estimates")
        if self.ledger:
            said.append(f"{self.ledger} says for what")
        return f" ({'; '.join(said)})" if said else ""

    def spend(self, taken: Completion, trouble: str = "") -> None:
        """Count what a request took; `trouble` says why it has no answer, "" where it has one."""
        with self._lock:
            self.usage.prompt_tokens += taken.prompt_tokens
            self.usage.reply_tokens += taken.reply_tokens
            self.usage.cost += self._cost(taken)
            self.usage.estimated += taken.estimated
            self.usage.unanswered += bool(trouble)
            self.usage.silent += not (trouble or taken.text.strip())
            self._trouble = trouble or self._trouble

    def note(self, model: str, taken: Sequence[Completion]) -> None:
        """Write what the requests of one question took into the ledger."""
        if self.ledger is None or not taken:
            return
        line: dict[str, Any] = {
            "model": model,
            "requests": len(taken),
            "prompt_tokens": sum(each.prompt_tokens for each in taken),
            "reply_tokens": sum(each.reply_tokens for each in taken),
            "cost": sum(map(self._cost, taken)),
        }
        with self._lock:
            self.ledger.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.ledger, line)

    def _cost(self, taken: Completion) -> float:
        read, written = self.prices
        return (taken.prompt_tokens * read + taken.reply_tokens * written) / 1e6


def _line(line: Mapping[str, Any]) -> list[float]:
    """Return the counts of a line of a ledger; raises ValueError where they are none."""
    counts = [line[name] for name in COUNTED]
    if not all(0 <= count < math.inf for count in counts):
        raise ValueError("it does not say what was used")
    return counts


def _used(ledger: Path) -> Usage:
    """Return the use that the lines of a ledger tell of."""
    used = Usage()
    for counts in read_lines(ledger, _line):
        for name, count in zip(COUNTED, counts, strict=True):
            setattr(used, name, getattr(used, name) + count)
    return used
