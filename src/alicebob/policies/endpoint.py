"""Endpoint: a chat model behind an OpenAI-compatible address, asked until it answers or must stop.

Threads share one `Endpoint`. Trouble that may pass (no connection, 408, 429, 5xx, a stall, a body
that is no answer) is tried again with growing, jittered pauses, or after as long as the server
asks; trouble that will not pass (another 4xx, a redirect) ends at once. Invariants: nothing is sent
that the budget does not allow, nor more at once than a slow server answers in time (see `Places`);
nothing is ever answered in the model's place; the key is read from the environment, and neither it
nor what is secret in the address appears in a message. Does not: know of episodes.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from alicebob import environment
from alicebob.errors import ProviderError, UsageError
from alicebob.policies.answer import Completion, message, read, tokens
from alicebob.policies.budget import Budget, Limits, Spent, Usage
from alicebob.policies.places import LONGER, Places
from alicebob.policies.wire import Lost, Wire
from alicebob.untrusted import hidden, masked, printable, secrets

__all__ = ["TIMEOUT", "Completion", "Endpoint", "Limits", "Message", "Refused", "Spent", "Usage"]

Message = Mapping[str, str]

LONGEST = 20.0  # seconds of a pause between tries, unless the server asks for more
FIRST = 0.5  # seconds of the first pause
TIMEOUT = 120.0  # seconds for a whole answer, by default
PASSING = (408, 409, 425, 429)  # and all from 500: worth another try
REFUSED = (400, 422)  # for what is in the request
QUOTED = 200  # characters of a server's message that are shown
CHAT, PLAIN = "/chat/completions", "/completions"


class Refused(ProviderError):
    """A request that the server takes to be wrong: it is not tried again."""


class _Passing(Exception):
    """Trouble that may be over at the next try, after as many seconds as the server asked for.

    `taken` is what it cost all the same.
    """

    def __init__(self, reason: str, taken: Completion, after: float | None = None) -> None:
        super().__init__(reason)
        self.taken, self.after = taken, after


_NOTHING = Completion("", 0, 0)


@dataclass
class Endpoint:
    """One model at one address, e.g. "http://127.0.0.1:8000/v1".

    `key_env` names the environment variable that holds the key, "" for none. `prices` are for a
    million tokens read and written. `connect_timeout` and `read_timeout` are seconds, the second
    for a whole answer; `concurrency` is how many are asked for at once, at most. `retries` bounds
    the tries of one request beyond the first; when for `patience` seconds after one has failed none
    has succeeded, every further one fails at once. What is used counts towards `limits`, with what
    the file `ledger` says was used before. `besides` is what every request has besides; `adapted`
    says that the model is an adapter, in whose place nobody else may answer.
    """

    url: str
    model: str
    key_env: str = ""
    connect_timeout: float = 10.0
    read_timeout: float = TIMEOUT
    retries: int = 6
    patience: float = 90.0
    prices: tuple[float, float] = (0.0, 0.0)
    limits: Limits = field(default_factory=Limits)
    concurrency: int = 16
    ledger: Path | None = None
    besides: Mapping[str, Any] = field(default_factory=dict)
    adapted: bool = False

    def __post_init__(self) -> None:
        """Make ready to connect; raises UsageError where the address or the key is wrong."""
        key = _key(self.key_env, masked(self.url)) if self.key_env else ""
        self._secrets = [*([key] if key else []), *secrets(self.url)]
        self.shown_url = masked(self.url)
        self.budget = Budget(self.limits, self.prices, self.ledger)
        self._lock, self._door = threading.Lock(), threading.Lock()
        self._jitter = random.Random()
        self._failing: float | None = None  # since when nothing has succeeded
        self._stopped: ProviderError | None = None
        self._reached = False
        self._wire = Wire(
            self.url,
            {"Authorization": f"Bearer {key}"} if key else {},
            connect=self.connect_timeout,
            seconds=self.read_timeout,
            places=self.concurrency,
        )
        self._places = Places(self.concurrency, self.read_timeout)

    def __repr__(self) -> str:
        """Name the model and the address, and nothing else."""
        return f"Endpoint({self.model!r} at {self.shown_url!r})"

    @property
    def usage(self) -> Usage:
        """What was used since this endpoint was made."""
        return self.budget.usage

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def reach(self) -> None:
        """See once, before much is asked, whether anybody is there; it costs nothing.

        Any answer will do: not every server lists its models. Raises ProviderError where nobody
        can be connected to, as will then every further request.
        """
        with self._door:
            if self._stopped is not None:
                raise self._stopped
            if self._reached:
                return
            try:
                self._wire.knock("/models")
            except Lost as trouble:
                if trouble.nobody:
                    self._stop(
                        ProviderError(
                            f"Nobody answers at {self.shown_url} ({self._shown(str(trouble))}). "
                            "Start the server, or mend the address."
                        )
                    )
                    raise self._stopped from None  # type: ignore[misc]
            self._reached = True

    def tell(self, path: str, said: Mapping[str, Any]) -> tuple[int, str]:
        """Tell the server something else, at a path below the address or beside it (/../…).

        Returns the status and what it says, on one line. Raises ProviderError where it does not
        answer.
        """
        try:
            heard = self._wire.post(path, json.dumps(said).encode())
        except Lost as trouble:
            raise ProviderError(
                f"{self.shown_url} did not answer ({self._shown(str(trouble))})."
            ) from None
        return heard.status, self._shown(message(heard.raw))

    def complete(self, messages: Sequence[Message], **sampling: Any) -> Completion:
        """Ask for the next message of a conversation and wait for it.

        `sampling` goes into the request: temperature, top_p, max_tokens, stop, seed, … An answer
        without text is one: its limit was used up, or its words were withheld. Raises ProviderError
        when the tries are used up, when the request is refused or after `patience`; Spent when a
        budget is used up.
        """
        asked = sum(tokens(said["content"]) for said in messages)
        return self._answer(CHAT, {"messages": list(messages), **sampling}, asked)

    def go_on(self, ids: Sequence[int], **sampling: Any) -> Completion:
        """Ask for the tokens that follow these, as ids; otherwise as `complete`.

        Raises ProviderError where the server says no ids.
        """
        body = {"prompt": list(ids), "return_token_ids": True, **sampling}
        found = self._answer(PLAIN, body, len(ids))
        if not found.ids:
            raise self._given_up(
                f"{self.shown_url} does not say which tokens it wrote (return_token_ids); vLLM "
                "does from 0.10.2 on, and SGLang does."
            )
        return found

    def _answer(self, path: str, body: Mapping[str, Any], asked: int) -> Completion:
        """Ask until there is an answer; `asked` is how many tokens the question has, about."""
        raw = json.dumps({"model": self.model, **body, **self.besides}).encode()
        most = asked, int(body.get("max_tokens", 0))
        taken: list[Completion] = []
        try:
            for attempt in range(self.retries + 1):
                try:
                    taken[-1] = self._ask(path, raw, most, attempt, taken)
                except _Passing as trouble:
                    taken[-1] = trouble.taken
                    self.budget.spend(trouble.taken, self._shown(str(trouble)))
                    self._failed(trouble, attempt)
                    self._pause(trouble, attempt)
                    continue
                self.budget.spend(taken[-1])
                with self._lock:
                    self._failing = None
                return self._its_own(taken[-1])
        finally:
            self.budget.note(self.model, taken)
        raise AssertionError  # _failed raises at the last attempt

    def _its_own(self, found: Completion) -> Completion:
        """Return an answer; refuse it where another model than the adapter gave it."""
        if self.adapted and found.model != self.model:
            raise self._given_up(
                f"{self.shown_url} was asked for {self.model} and answered as "
                f"{self._shown(found.model) or 'nobody'}, so that another model may have answered."
            )
        return found

    def _enter(self, attempt: int) -> None:
        """Count a request, or refuse it where nothing more may be sent."""
        with self._lock:
            if self._stopped is not None:
                raise self._stopped
        self.budget.enter(self.model, again=attempt > 0)

    def _ask(
        self, path: str, body: bytes, most: tuple[int, int], attempt: int, taken: list[Completion]
    ) -> Completion:
        """Ask once and note it in `taken`; raises _Passing or ProviderError without an answer."""
        try:
            with self._places.taken():
                self._enter(attempt)
                taken.append(_NOTHING)
                heard = self._wire.post(path, body)
                if heard.status != 200:
                    self._refused(heard.status, heard.after, heard.raw)
                found, why = read(heard.raw, most, plain=path == PLAIN)
                if why:
                    raise _Passing(why, found)
                return found
        except Lost as trouble:
            lost = _NOTHING if trouble.nobody else Completion("", *most, estimated=True)
            hint = f" ({LONGER})" if trouble.late else ""
            raise _Passing(f"{trouble}{hint}", lost) from None

    def _refused(self, status: int, after: str | None, raw: bytes) -> None:
        """Raise for an HTTP error: to be tried again, or final."""
        said = self._shown(message(raw))
        if status in PASSING or status >= 500:
            raise _Passing(f"HTTP {status}{said and ': ' + said}", _NOTHING, _seconds(after))
        hint = f" Check the key in {self.key_env}." if status in (401, 403) and self.key_env else ""
        kind = Refused if status in REFUSED else ProviderError
        error = kind(
            f"{self.shown_url} refused the request for {self.model} with HTTP {status}"
            f"{said and ': ' + said}.{hint}"
        )
        if status in (401, 403, 404) or 300 <= status < 400:  # so will all others be
            self._stop(error)
        raise error

    def _failed(self, trouble: _Passing, attempt: int) -> None:
        """Note a failure; raise when the tries or the patience are at an end."""
        with self._lock:
            if self._failing is None:
                self._failing = time.monotonic()
            since = time.monotonic() - self._failing
        last = self._shown(str(trouble))
        if since > self.patience:
            self._stop(
                ProviderError(
                    f"{self.shown_url} has not answered for {since:.0f} s; the last trouble was "
                    f"{last}. What was finished is kept; run again when it answers."
                )
            )
            assert self._stopped is not None
            raise self._stopped
        if attempt == self.retries:
            raise ProviderError(
                f"{self.shown_url} did not answer in {attempt + 1} tries; the last trouble was "
                f"{last}."
            )

    def _pause(self, trouble: _Passing, attempt: int) -> None:
        """Wait as the server asked, else a random part of a time that doubles with each try."""
        bound = min(LONGEST, FIRST * 2**attempt)
        # Not an episode's draw: pauses change no outcome, and must differ between processes.
        pause = bound * (1 + self._jitter.random()) / 2 if trouble.after is None else trouble.after
        until = time.monotonic() + min(pause, max(LONGEST, self.patience))
        while (left := until - time.monotonic()) > 0 and self._stopped is None:
            time.sleep(min(left, 0.5))

    def _given_up(self, why: str) -> ProviderError:
        """Return an error after which nothing more is sent."""
        error = ProviderError(why)
        self._stop(error)
        return error

    def _stop(self, error: ProviderError) -> None:
        with self._lock:
            self._stopped = self._stopped or error
        self._places.open()

    def _shown(self, text: str) -> str:
        """Return a server's words on one line, short, with nothing secret that was sent to it."""
        return " ".join(printable(hidden(text, self._secrets)).split())[:QUOTED]


def _key(name: str, url: str) -> str:
    """Return the key that an environment variable holds; raises UsageError where it has none."""
    if not name.isidentifier():
        raise UsageError("--key-env takes the name of an environment variable, not the key itself.")
    key = environment.text(name)
    if not key:
        raise UsageError(
            f"The endpoint {url} needs a key; put it into the environment variable {name}."
        )
    if not (key.isascii() and key.isprintable()):
        raise UsageError(
            f"The key in the environment variable {name} holds characters that no request can "
            "carry; copy it anew."
        )
    return key


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, given as a number or as a date; None for none."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one that no calendar has
        return None
