"""WebShop: see `alicebob.envs.webshop.shop` for the environment."""

from alicebob.envs.webshop.shop import WebShop

__all__ = ["WebShop"]
