"""Endpoint: a chat model behind an OpenAI-compatible address, asked until it answers or must stop.

Threads share one `Endpoint`. Trouble that may pass (no connection, 408, 429, 5xx, a stall, a body
that is no answer) is tried again with growing, jittered pauses, or after as long as the server
asks; trouble that will not pass (another 4xx, a redirect) ends at once. Invariants: nothing is sent
that the budget does not allow, and nothing is ever answered in the model's place; the key is read
from the environment and appears in no message. Does not: know of episodes.
"""

from __future__ import annotations

import functools
import json
import math
import os
import random
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from alicebob.errors import ProviderError, UsageError
from alicebob.files import content_hash
from alicebob.policies.budget import Budget, Limits, Spent, Usage

__all__ = ["Completion", "Endpoint", "Limits", "Message", "Spent", "Usage"]

Message = Mapping[str, str]

LARGEST = 8 * 2**20  # bytes of a body that is read; an answer is far smaller
LONGEST = 20.0  # seconds of a pause between tries, unless the server asks for more
FIRST = 0.5  # seconds of the first pause
PASSING = (408, 409, 425, 429)  # and all from 500: worth another try
QUOTED = 200  # characters of a server's message that are shown


class _Passing(Exception):
    """Trouble that may be over at the next try, after as many seconds as the server asked for."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, and the tokens it took as the server counted them."""

    text: str
    prompt_tokens: int
    reply_tokens: int


@dataclass
class Endpoint:
    """One model at one address, e.g. "http://127.0.0.1:8000/v1".

    `key_env` names the environment variable that holds the key, "" for none. `prices` are for a
    million tokens read and written. `connect_timeout` and `read_timeout` are seconds, the second
    for a whole answer. `retries` bounds the tries of one request beyond the first; when for
    `patience` seconds no request has succeeded while some failed, every further one fails at once.
    What is used counts towards `limits`, with what the file `ledger` says was used before.
    """

    url: str
    model: str
    key_env: str = ""
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    retries: int = 6
    patience: float = 90.0
    prices: tuple[float, float] = (0.0, 0.0)
    limits: Limits = field(default_factory=Limits)
    concurrency: int = 16
    ledger: Path | None = None

    def __post_init__(self) -> None:
        """Open the connection pool; raises UsageError where the address or the key is wrong."""
        import httpx2

        if not self.url.startswith(("http://", "https://")):
            raise UsageError(f"The endpoint {self.url!r} must begin with http:// or https://.")
        self._key = os.environ.get(self.key_env, "") if self.key_env else ""
        if self.key_env and not self._key:
            raise UsageError(
                f"The endpoint {self.url} needs a key; put it into the environment variable "
                f"{self.key_env}."
            )
        self.budget = Budget(self.limits, self.prices, self.ledger)
        self._lock = threading.Lock()
        self._jitter = random.Random()
        self._failing: float | None = None  # since when nothing has succeeded
        self._good = -math.inf  # when something last did
        self._stopped: ProviderError | None = None
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx2.Timeout(self.read_timeout, connect=self.connect_timeout)
        # A client for each thread: in a shared one, threads wait for each other at the pool's lock.
        self._new_client = functools.partial(
            httpx2.Client,
            headers=headers,
            timeout=timeout,
            verify=ssl.create_default_context(),
            follow_redirects=False,
        )
        self._mine = threading.local()
        self._clients: list[Any] = []
        self._places = threading.BoundedSemaphore(self.concurrency)

    def __repr__(self) -> str:
        """Name the model and the address, and nothing else."""
        return f"Endpoint({self.model!r} at {self.url!r})"

    @property
    def usage(self) -> Usage:
        """What was used since this endpoint was made."""
        return self.budget.usage

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def load_adapter(self, folder: Path) -> str:
        """Have the server load a LoRA adapter and answer with it from now on; return its name.

        The name ends in the hash of the adapter's content, so that a server that holds another
        round's, or an older one of this round, never answers with it. The folder must lie where the
        server can read it. This is how vLLM does it (POST load_lora_adapter). Raises ProviderError
        where the server will not.
        """
        import httpx2

        name = f"{folder.name}-{content_hash(folder)[:12]}"
        try:
            response = self._client().post(
                f"{self.url.rstrip('/')}/load_lora_adapter",
                json={"lora_name": name, "lora_path": str(folder.resolve())},
            )
        except httpx2.HTTPError as error:
            raise ProviderError(
                f"{self.url} did not load the adapter ({type(error).__name__}); is it running?"
            ) from None
        said = self._shown(_message(response.content))
        if response.status_code != 200 and "already" not in said:
            raise ProviderError(
                f"{self.url} did not load the adapter {name} (HTTP {response.status_code}"
                f"{said and ': ' + said}). The server must allow adapters at run time; vLLM does "
                "with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
            )
        self.model = name
        return name

    def complete(self, messages: Sequence[Message], **sampling: Any) -> Completion:
        """Ask for the next message of a conversation and wait for it.

        `sampling` goes into the request: temperature, top_p, max_tokens, stop, seed, … Raises
        ProviderError when the tries are used up, when the request is refused or after `patience`;
        Spent when a budget is used up.
        """
        body = {"model": self.model, "messages": list(messages), **sampling}
        sent = 0
        found: Completion | None = None
        try:
            for attempt in range(self.retries + 1):
                self._enter(attempt)
                sent += 1
                begun = time.monotonic()
                try:
                    found = self._ask(body)
                except _Passing as trouble:
                    self._failed(trouble, attempt, begun)
                    self._pause(trouble, attempt)
                    continue
                with self._lock:
                    self._failing, self._good = None, time.monotonic()
                return found
        finally:
            tokens = (found.prompt_tokens, found.reply_tokens) if found else None
            self.budget.note(self.model, sent, tokens)
        raise AssertionError  # _failed raises at the last attempt

    def _enter(self, attempt: int) -> None:
        """Count a request, or refuse it where nothing more may be sent."""
        with self._lock:
            if self._stopped is not None:
                raise self._stopped
        self.budget.enter(self.model, again=attempt > 0)

    def _client(self) -> Any:
        """Return this thread's client."""
        if not hasattr(self._mine, "client"):
            self._mine.client = self._new_client()
            with self._lock:
                self._clients.append(self._mine.client)
        return self._mine.client

    def _ask(self, body: Mapping[str, Any]) -> Completion:
        import httpx2

        try:
            address = f"{self.url.rstrip('/')}/chat/completions"
            with self._places:
                until = time.monotonic() + self.read_timeout
                with self._client().stream("POST", address, json=body) as response:
                    raw = self._body(response, until)
        except httpx2.TimeoutException as error:
            raise _Passing(f"no answer in time ({type(error).__name__})") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _Passing(f"{type(error).__name__}: {self._shown(str(error))}") from None
        except httpx2.InvalidURL as error:
            raise UsageError(f"The endpoint {self.url!r} is no address ({error}).") from None
        if response.status_code != 200:
            self._refused(response.status_code, response.headers.get("retry-after"), raw)
        return self._read(raw)

    def _body(self, response: Any, until: float) -> bytes:
        """Return the body, bounded in size and in time: a slow drip counts as a stall."""
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            if size > LARGEST:
                raise _Passing(f"a body of more than {LARGEST // 2**20} MiB")
            if time.monotonic() > until:
                raise _Passing("no whole answer in time")
            parts.append(part)
        return b"".join(parts)

    def _refused(self, status: int, after: str | None, raw: bytes) -> None:
        """Raise for an HTTP error: to be tried again, or final."""
        said = self._shown(_message(raw))
        if status in PASSING or status >= 500:
            raise _Passing(f"HTTP {status}{said and ': ' + said}", _seconds(after))
        hint = f" Check the key in {self.key_env}." if status in (401, 403) and self.key_env else ""
        error = ProviderError(
            f"{self.url} refused the request for {self.model} with HTTP {status}"
            f"{said and ': ' + said}.{hint}"
        )
        if status in (401, 403, 404) or 300 <= status < 400:  # so will all others be
            self._stop(error)
        raise error

    def _read(self, raw: bytes) -> Completion:
        """Read an answer; whatever is not one counts as trouble, never as an empty reply."""
        try:
            data = json.loads(raw)
            if "error" in data and "choices" not in data:
                raise _Passing(f"an error in a body: {self._shown(_message(raw))}")
            text = data["choices"][0]["message"]["content"]
            usage = data.get("usage") or {}
            counts = (usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
            if not isinstance(text, str) or not all(type(n) is int and n >= 0 for n in counts):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _Passing(f"a body that is no answer: {self._shown(_start(raw))!r}") from None
        return Completion(text, *counts)

    def _failed(self, trouble: _Passing, attempt: int, begun: float) -> None:
        """Note a failure; raise when the tries or the patience are at an end."""
        with self._lock:
            if self._failing is None:
                self._failing = max(begun, self._good)
            since = time.monotonic() - self._failing
        if since > self.patience:
            self._stop(
                ProviderError(
                    f"{self.url} has not answered for {since:.0f} s; the last trouble was "
                    f"{trouble}. What was finished is kept; run again when it answers."
                )
            )
            assert self._stopped is not None
            raise self._stopped
        if attempt == self.retries:
            raise ProviderError(
                f"{self.url} did not answer in {attempt + 1} tries; the last trouble was {trouble}."
            )

    def _pause(self, trouble: _Passing, attempt: int) -> None:
        """Wait as the server asked, else a random part of a time that doubles with each try."""
        bound = min(LONGEST, FIRST * 2**attempt)
        # Not an episode's draw: pauses change no outcome, and must differ between processes.
        pause = bound * (1 + self._jitter.random()) / 2 if trouble.after is None else trouble.after
        until = time.monotonic() + min(pause, max(LONGEST, self.patience))
        while (left := until - time.monotonic()) > 0 and self._stopped is None:
            time.sleep(min(left, 0.5))

    def _stop(self, error: ProviderError) -> None:
        with self._lock:
            self._stopped = self._stopped or error

    def _shown(self, text: str) -> str:
        """Return a server's words on one line, short, without control characters and the key."""
        hidden = text.replace(self._key, "***") if self._key else text
        clean = "".join(c if c.isprintable() else " " for c in hidden)
        return " ".join(clean.split())[:QUOTED]


def _start(raw: bytes) -> str:
    return raw[: 4 * QUOTED].decode("utf-8", "replace")


def _message(raw: bytes) -> str:
    """Return what an error body says: its message where it has one, else its beginning."""
    try:
        data = json.loads(raw)
        error = data.get("error", data)
        found = error.get("message", error) if isinstance(error, Mapping) else error
        return found if isinstance(found, str) else json.dumps(found)
    except (ValueError, AttributeError, RecursionError):
        return _start(raw)


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
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
