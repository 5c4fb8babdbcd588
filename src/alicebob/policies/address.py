"""Address: where a served model is, as the environment says it for whoever it speaks for.

Where a server is, its key and its patience differ from machine to machine. Invariant: none of it
enters an output. Does not: connect.
"""

from __future__ import annotations

from typing import Any

from alicebob import environment
from alicebob.errors import UsageError
from alicebob.policies.endpoint import TIMEOUT

__all__ = ["address"]


def address(who: str, why: str) -> dict[str, Any]:
    """Return what `Endpoint` takes, from the variables `who`_URL, _KEY, _CONCURRENCY and _TIMEOUT.

    `why` says what needs it. Raises UsageError where the environment does not say enough.
    """
    url, key = environment.text(f"{who}_URL"), f"{who}_KEY"
    if not url:
        raise UsageError(
            f"{why}; put the address of its endpoint, such as http://127.0.0.1:8000/v1, into the "
            f"environment variable {who}_URL."
        )
    return {
        "url": url,
        "key_env": key if environment.text(key) else "",
        "concurrency": environment.whole(f"{who}_CONCURRENCY", 16),
        "read_timeout": environment.number(f"{who}_TIMEOUT", TIMEOUT, least=1.0),
    }
