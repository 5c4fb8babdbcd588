"""Crafter as text: the real `crafter` package, made reproducible and fast, without pictures.

Invariant: the same seed and actions give the same bytes in any process. Upstream (1.8.3) is not
so: it draws from sets hashed by address, and the picture takes draws from the game's generator at
night. Here chunks keep insertion order and nothing is drawn unless a picture is asked for, and
then from a generator of its own. Does not: change a rule of the game.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from crafter import constants
from numpy.typing import NDArray

from alicebob.envs import shopping
from alicebob.envs.crafter import text, view
from alicebob.envs.crafter.game import Game
from alicebob.envs.crafter.grants import grant, wanted
from alicebob.envs.crafter.text import ACTIONS
from alicebob.envs.crafter.trials import trials
from alicebob.envs.hooks import Trial
from alicebob.errors import UnknownName, UsageError

__all__ = ["LIMITS", "OBSERVATIONS", "Crafter", "achievement_score"]

LIMITS = {"crafter": 10_000, "balrog": 2_000}
OBSERVATIONS = ("smartplay", "compact", "notes")
ALIASES = {a: a for a in ACTIONS} | {text.spoken(a).lower(): a for a in ACTIONS}
ALIASES |= {name.replace(" ", "_"): action for name, action in ALIASES.items()}


class Crafter:
    """Text Crafter (Hafner, 2021) for language-model agents.

    `observation` is "smartplay" (the field's standard text), "compact" (about 40 words for tiny
    models) or "notes" (that, with what was seen before and achieved so far); `limit` is "crafter"
    (10,000 steps), "balrog" (2,000) or a number of steps. Raises UnknownName for another format or
    limit. Rewards are upstream's: +1 for a step with a first achievement, 0.1 per health point.

    `info` has, beside `admissible_actions` and `invalid_action`: `events` (the achievements of this
    step, repeated when they happened more than once), `view` (7 rows of 9 names, the player in the
    middle, "unknown" off the map), `facing` and `position` as (x, y), y growing downwards,
    `inventory` (vitals included), `achievements` (counts so far), `progress` (the share of the 22
    achievements made at least once) and `sleeping`.
    """

    instructions = "Survive and achieve as much as you can."
    alice = "grid"
    events = tuple(constants.achievements)
    documents = str(Path(__file__).parent / "documents")
    #: Random play as measured here, models in BALROG (2,000 steps), 100 episodes of Crafter's own.
    anchors = {  # noqa: RUF012 - read by name, never changed
        "random play": 0.104,
        "GPT-4o": 0.331,
        "Gemini-2.5-Pro": 0.55,
        "Grok-4": 0.573,
        "human experts": 0.63,
    }
    marks = shopping.MARKS  # bases were built so

    def __init__(self, observation: str = "smartplay", limit: str | int = "crafter") -> None:
        if observation not in OBSERVATIONS:
            raise UnknownName("observation format", observation, OBSERVATIONS, "crafter")
        if isinstance(limit, str) and limit not in LIMITS:
            raise UnknownName("limit", limit, LIMITS, "crafter")
        self.observation = observation
        self.words = text.NOTED_WORDS if observation == "notes" else text.WORDS
        self.max_steps = LIMITS[limit] if isinstance(limit, str) else limit
        if isinstance(limit, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise UsageError(
                f"crafter: limit must be a whole number of steps above 0, or one of "
                f"{', '.join(LIMITS)}; got {limit!r}."
            )
        self._game: Game | None = None
        self._notes: view.Notes | None = None
        self._over = True  # until the first reset
        self._stood: view.Standing | None = None  # at the last compact text, None before the first
        self._counts: dict[str, int] = {}  # achievements at the last step

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start the world of `seed`, 0 when none is given.

        `options` may have `inventory`, the items and vitals to begin with, and `near`, names of
        materials and creatures put one to three steps away. Raises UnknownName for another option,
        item or name, UsageError for another seed or an amount the game cannot hold.
        """
        inventory, near = wanted(options or {})
        seed = 0 if seed is None else seed
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise UsageError(f"crafter: seed must be a whole number from 0; got {seed!r}.")
        self._game = self._game or Game(self.max_steps)
        self._game.start(seed)
        grant(self._game, inventory, near, seed)
        self._over, self._stood = False, None
        self._notes = view.Notes() if self.observation == "notes" else None
        self._counts = dict(self._game._player.achievements)
        return self._text(None), self._info(invalid=False)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action by either name, in any case.

        An unknown action costs a step in which the player does nothing; the next observation says
        so and `info["invalid_action"]` is True. Raises UsageError before reset and after the end.
        """
        if self._over:
            raise UsageError("crafter: the episode is over or not begun; call reset() first.")
        known = ALIASES.get(action.strip().lower())
        game = self._playing
        _, reward, done, upstream = game.step(ACTIONS.index(known or "noop"))
        dead = upstream["discount"] == 0
        self._over = done
        said = self._text(known) if known else text.refusal(action) + self._text(None)
        return said, float(reward), dead, bool(done and not dead), self._info(invalid=known is None)

    def render(self, size: int = 360) -> NDArray[np.uint8]:
        """Return a picture of the current state, (size, size, 3), without touching the game."""
        return self._playing.picture(size)

    def suite(self) -> tuple[Trial, ...]:
        """Return the trials of the 22 achievements."""
        return trials()

    @staticmethod
    def score(rates: Mapping[str, float]) -> float:
        """Return the Crafter score of success rates in [0, 1]; see `achievement_score`."""
        return achievement_score(rates)

    @property
    def _playing(self) -> Game:
        if self._game is None:
            raise UsageError("crafter: no episode has begun; call reset() first.")
        return self._game

    def _info(self, invalid: bool) -> dict[str, Any]:
        player = self._playing._player
        achievements = dict(player.achievements)
        events = [
            name
            for name, count in achievements.items()
            for _ in range(count - self._counts.get(name, 0))
        ]
        self._counts = achievements
        return {
            "admissible_actions": list(ACTIONS),
            "events": events,
            "view": [[view.NAMES[kind] for kind in row] for row in self._seen.T.tolist()],
            "facing": (int(player.facing[0]), int(player.facing[1])),
            "position": (int(player.pos[0]), int(player.pos[1])),
            "inventory": dict(player.inventory),
            "achievements": achievements,
            "progress": sum(count > 0 for count in achievements.values()) / len(achievements),
            "sleeping": bool(player.sleeping),
            "invalid_action": invalid,
        }

    def _text(self, action: str | None) -> str:
        self._seen = view.seen(self._playing)
        player = self._playing._player
        if self.observation == "smartplay":
            return text.smartplay(self._seen, player, action)
        before, self._stood = self._stood, view.standing(self._playing)
        idle = before is not None and text.unchanged(before, self._stood)
        if self._notes:
            self._notes.see(self._seen, *player.pos)
        return text.compact(self._seen, player, idle, self._notes)


def achievement_score(rates: Mapping[str, float]) -> float:
    """Return the Crafter score of success rates in [0, 1], in percent.

    The geometric mean of (1 + rate in percent), less 1, over all 22 achievements (upstream,
    analysis/common.py, compute_scores).
    """
    percent = np.array([100.0 * rates.get(name, 0.0) for name in constants.achievements])
    return float(np.exp(np.log1p(percent).mean()) - 1)
