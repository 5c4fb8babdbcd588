"""Wire: one exchange with a server over HTTP, bounded as a whole in time and in size.

The exchange runs in an event loop, in one thread for all, because only there can it be cut off
wherever it stands: at a name that does not resolve, in a head that drips, between chunks. What asks
waits. Invariants: after `seconds` there is an answer or `Lost`; no more than `LARGEST` bytes of a
body are kept; bodies are asked for as they are, and one that is packed is not unpacked. Does not:
try again, or read what comes.
"""

from __future__ import annotations

import asyncio
import functools
import posixpath
import ssl
import threading
import weakref
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from alicebob.errors import UsageError
from alicebob.untrusted import masked

__all__ = ["LARGEST", "Heard", "Lost", "Wire"]

LARGEST = 8 * 2**20  # bytes of a body that is read; an answer is far smaller
KNOCK = 0.5  # seconds of silence that are enough of one who is only asked for a sign of life

T = TypeVar("T")


class Lost(Exception):
    """Nothing whole came back: `nobody` was there to connect to, or it was `late`."""

    def __init__(self, reason: str, *, nobody: bool = False, late: bool = False) -> None:
        super().__init__(reason)
        self.nobody, self.late = nobody, late


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back: the status, the header Retry-After, the body."""

    status: int
    after: str | None
    raw: bytes


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process's exchanges, which ends with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="wire", daemon=True).start()
    return loop


def _wait(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


class Wire:
    """Connections to one address, which many threads may share.

    An exchange may take `seconds`, and `connect` of them until it is connected. Raises UsageError
    where the address is none.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, seconds: float, places: int
    ) -> None:
        import httpx2

        try:
            self._url = httpx2.URL(url)
        except httpx2.InvalidURL:
            self._url = httpx2.URL("")
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise UsageError(
                f"The endpoint {masked(url)!r} is no address; it must begin with http:// or "
                "https:// and a host, such as http://127.0.0.1:8000/v1."
            )
        self._seconds, self._connect = seconds, connect
        self._client = httpx2.AsyncClient(
            headers={**headers, "Accept-Encoding": "identity", "Content-Type": "application/json"},
            limits=httpx2.Limits(max_connections=places, max_keepalive_connections=places),
            verify=ssl.create_default_context(),
            follow_redirects=False,
        )
        #: Closes the connections; called when this is no longer used, at the latest.
        self.close = weakref.finalize(self, _close, self._client)
        self.close.atexit = False

    def knock(self, path: str) -> None:
        """Connect, and ask for what is at a path below the address; raises Lost.

        Who is there may take longer to answer than anybody should wait who asks only for that. The
        connection is not used again: a server that fails at this may close it.
        """
        _wait(self._exchange("GET", path, read=KNOCK, headers={"Connection": "close"}))

    def post(self, path: str, body: bytes) -> Heard:
        """Send JSON to a path below the address, or beside it (/../…); raises Lost."""
        return _wait(self._exchange("POST", path, read=self._seconds, content=body))

    async def _exchange(self, method: str, path: str, *, read: float, **given: Any) -> Heard:
        import httpx2

        path = posixpath.normpath(self._url.path.rstrip("/") + path)
        address = self._url.copy_with(path=path)
        pause = min(read, self._seconds)
        pauses = httpx2.Timeout(pause, connect=self._connect)
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, address, timeout=pauses, **given) as response,
            ):
                if packed := response.headers.get("content-encoding", ""):
                    raise Lost(f"a body packed as {packed!r}, which was not asked for")
                parts, size = [], 0
                async for part in response.aiter_raw():
                    size += len(part)
                    if size > LARGEST:
                        raise Lost(f"a body of more than {LARGEST // 2**20} MiB")
                    parts.append(part)
                after = response.headers.get("retry-after")
                return Heard(response.status_code, after, b"".join(parts))
        except (httpx2.ConnectError, httpx2.ConnectTimeout, UnicodeError) as error:
            raise Lost(str(error) or "no connection in time", nobody=True) from None
        except (TimeoutError, httpx2.TimeoutException):
            raise Lost(f"no whole answer in {pause:g} s", late=True) from None
        except httpx2.TransportError as error:
            raise Lost(f"{type(error).__name__}: {error}") from None


def _close(client: Any) -> None:
    asyncio.run_coroutine_threadsafe(client.aclose(), _loop())
