"""Crafter: a world of survival to read and act in; see `alicebob.envs.crafter.world`."""

from alicebob.envs.crafter.text import ACTIONS
from alicebob.envs.crafter.world import Crafter, achievement_score

__all__ = ["ACTIONS", "Crafter", "achievement_score"]
