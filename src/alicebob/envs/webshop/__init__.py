"""WebShop: a shop to search, look around and buy one thing in; see `alicebob.envs.webshop.shop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alicebob.envs.webshop.shop import WebShop

__all__ = ["WebShop"]


def __getattr__(name: str) -> Any:
    """Import the shop when it is asked for: its command must be there at once."""
    if name != "WebShop":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alicebob.envs.webshop.shop import WebShop

    return WebShop
