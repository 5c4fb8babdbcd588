"""Crafter as text: the real `crafter` package, made reproducible and fast, without pictures.

Invariant: the same seed and actions give the same bytes in any process. Upstream (1.8.3) is not
so: it draws from sets hashed by address, and the picture takes draws from the game's generator at
night. Here chunks keep insertion order and nothing is drawn unless a picture is asked for, and
then from a generator of its own. Does not: change a rule of the game.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numba
import numpy as np
from crafter import constants, objects
from numpy.typing import NDArray

from alicebob.envs.crafter_game import Cow, Game, Skeleton, Zombie
from alicebob.envs.crafter_trials import trials
from alicebob.envs.hooks import Trial
from alicebob.errors import UnknownName, UsageError

__all__ = ["ACTIONS", "LIMITS", "OBSERVATIONS", "Crafter", "achievement_score"]

ACTIONS: tuple[str, ...] = tuple(constants.actions)
LIMITS = {"crafter": 10_000, "balrog": 2_000}
OBSERVATIONS = ("smartplay", "compact")

VITALS = ("health", "food", "drink", "energy")
COMPASS = {"up": "north", "down": "south", "left": "west", "right": "east"}
REACH_X, REACH_Y = 4, 3  # cells seen to each side: the 9 x 7 window of the game's own picture


def _spoken(action: str) -> str:
    """Return an action's name in SmartPlay's words: move_left is 'Move West'."""
    words = [COMPASS.get(w, w) if action.startswith("move_") else w for w in action.split("_")]
    return " ".join(words).title()


ALIASES = {a: a for a in ACTIONS} | {_spoken(a).lower(): a for a in ACTIONS}
ALIASES |= {name.replace(" ", "_"): action for name, action in ALIASES.items()}


NAMES: list[str] = ["unknown", *constants.materials]
NAMES += ["player", "cow", "zombie", "skeleton", "arrow", "plant", "ripe_plant"]
PLAYER, PLANT, RIPE = (NAMES.index(name) for name in ("player", "plant", "ripe_plant"))
SIDES = {(-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}
TOOLS = ("pickaxe", "sword")  # held once; all else is counted
RIPE_AGE = 301  # steps; upstream's Plant.ripe asks for more than 300
CREATURES = {
    "cow": Cow,
    "zombie": Zombie,
    "skeleton": Skeleton,
    "plant": objects.Plant,
    "ripe_plant": objects.Plant,
}
NEAR = (*constants.materials, *CREATURES)
OPTIONS: dict[str, Any] = {"inventory": Mapping, "near": (list, tuple)}
_Standing = tuple[Any, dict[str, int]]  # place, facing and what is faced; the inventory
SHAPES = {"inventory": "items with their numbers", "near": "a list of names"}


def _words() -> tuple[str, ...]:
    """Return the words of the compact text: a thing with its side, an item with its number."""
    solid = [name for name in NAMES[1:] if name not in constants.walkable and name != "player"]
    sided = [f"{name}_{side}" for name in solid for side in SIDES.values()]
    counted = [n for n in constants.items if not n.endswith(TOOLS)]
    return (
        *NAMES,
        "unchanged",
        *sided,
        *(f"{name}{count}" for name in counted for count in range(10)),
    )


class Crafter:
    """Text Crafter (Hafner, 2021) for language-model agents.

    `observation` is "smartplay" (the field's standard text) or "compact" (about 40 words for tiny
    models); `limit` is "crafter" (10,000 steps), "balrog" (2,000) or a number of steps. Raises
    UnknownName for another format or limit. Rewards are upstream's: +1 for a step with a first
    achievement, 0.1 per health point.

    `info` has, beside `admissible_actions` and `invalid_action`: `events` (the achievements of this
    step, repeated when they happened more than once), `view` (7 rows of 9 names, the player in the
    middle, "unknown" off the map), `facing` and `position` as (x, y), y growing downwards,
    `inventory` (vitals included), `achievements` (counts so far), `progress` (the share of the 22
    achievements made at least once) and `sleeping`.
    """

    instructions = "Survive and achieve as much as you can."
    words = _words()  # of the compact text, for who builds a vocabulary

    def __init__(self, observation: str = "smartplay", limit: str | int = "crafter") -> None:
        if observation not in OBSERVATIONS:
            raise UnknownName("observation format", observation, OBSERVATIONS, "crafter")
        if isinstance(limit, str) and limit not in LIMITS:
            raise UnknownName("limit", limit, LIMITS, "crafter")
        self.observation = observation
        self.max_steps = LIMITS[limit] if isinstance(limit, str) else limit
        if isinstance(limit, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise UsageError(
                f"crafter: limit must be a whole number of steps above 0, or one of "
                f"{', '.join(LIMITS)}; got {limit!r}."
            )
        self._game: Game | None = None
        self._over = True  # until the first reset
        self._stood: _Standing | None = None  # at the last compact text, None before the first
        self._counts: dict[str, int] = {}  # achievements at the last step
        self._seen: NDArray[np.int64] = np.zeros((2 * REACH_X + 1, 2 * REACH_Y + 1), np.int64)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start the world of `seed`, 0 when none is given.

        `options` may have `inventory`, the items and vitals to begin with, and `near`, names of
        materials and creatures put one to three steps away. Raises UnknownName for another option,
        item or name, UsageError for another seed or an amount the game cannot hold.
        """
        inventory, near = _wanted(options or {})
        seed = 0 if seed is None else seed
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise UsageError(f"crafter: seed must be a whole number from 0; got {seed!r}.")
        self._game = self._game or Game(self.max_steps)
        self._game.start(seed)
        _grant(self._game, inventory, near, seed)
        self._over, self._stood = False, None
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
        text = self._text(known) if known else _refusal(action) + self._text(None)
        return text, float(reward), dead, bool(done and not dead), self._info(invalid=known is None)

    def render(self, size: int = 360) -> NDArray[np.uint8]:
        """Return a picture of the current state, (size, size, 3), without touching the game."""
        game = self._playing
        game._size = np.array((max(9, size), max(9, size)))
        with _own_draws(game):
            picture: NDArray[np.uint8] = game.render()
        return picture

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
            "view": [[NAMES[kind] for kind in row] for row in self._seen.T.tolist()],
            "facing": (int(player.facing[0]), int(player.facing[1])),
            "position": (int(player.pos[0]), int(player.pos[1])),
            "inventory": dict(player.inventory),
            "achievements": achievements,
            "progress": sum(count > 0 for count in achievements.values()) / len(achievements),
            "sleeping": bool(player.sleeping),
            "invalid_action": invalid,
        }

    def _text(self, action: str | None) -> str:
        self._seen = window = self._window()
        player = self._playing._player
        if self.observation == "compact":
            before, self._stood = self._stood, self._standing()
            return _compact(window, player, before is not None and _unchanged(before, self._stood))
        # SmartPlay has one word for both kinds of plant.
        return _smartplay(np.where(window == RIPE, PLANT, window), player, action)

    def _standing(self) -> _Standing:
        """Return how the player stands to the world, and what he has."""
        player = self._playing._player
        target = (player.pos[0] + player.facing[0], player.pos[1] + player.facing[1])
        faced = self._playing._world[target]
        place = (*player.pos, *player.facing, faced[0], type(faced[1]), player.sleeping)
        return place, dict(player.inventory)

    def _window(self) -> NDArray[np.int64]:
        """Return the 9 x 7 cells around the player, as indices into NAMES; 0 is off the map."""
        game = self._playing
        world, (px, py) = game._world, game._player.pos
        window = np.zeros((2 * REACH_X + 1, 2 * REACH_Y + 1), np.int64)
        x0, y0 = max(0, px - REACH_X), max(0, py - REACH_Y)
        cells = (slice(x0, px + REACH_X + 1), slice(y0, py + REACH_Y + 1))
        seen = world._mat_map[cells]
        left, top = x0 - (px - REACH_X), y0 - (py - REACH_Y)
        window[left : left + seen.shape[0], top : top + seen.shape[1]] = seen
        things = world._obj_map[cells]
        for x, y in np.argwhere(things):
            thing = world._objects[things[x, y]]
            ripe = isinstance(thing, objects.Plant) and thing.ripe
            name = "ripe_plant" if ripe else type(thing).__name__.lower()
            window[left + x, top + y] = NAMES.index(name)
        return window


def _wanted(options: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[str]]:
    """Return the inventory and the things near that reset options ask for, checked."""
    for option, value in options.items():
        if option not in OPTIONS:
            raise UnknownName("reset option", option, OPTIONS, "crafter")
        if not isinstance(value, OPTIONS[option]):
            raise UsageError(f"crafter: {option} must be {SHAPES[option]}; got {value!r}.")
    inventory, near = options.get("inventory", {}), options.get("near", [])
    for item, amount in inventory.items():
        if item not in constants.items:
            raise UnknownName("item", item, constants.items, "crafter")
        most = constants.items[item]["max"]
        if type(amount) is not int or not 0 <= amount <= most:
            raise UsageError(f"crafter: {item} must be between 0 and {most}, got {amount!r}.")
    for name in near:
        if name not in NEAR:
            raise UnknownName("thing to put near", str(name), NEAR, "crafter")
    return inventory, near


def _grant(game: Game, inventory: Mapping[str, int], near: Sequence[str], seed: int) -> None:
    """Give the player items and put things near, the same for the same seed."""
    player = game._player
    player.inventory.update(inventory)
    # Health given is no reward: both of upstream's memories of it start at the new value.
    game._last_health = player._last_health = player.health
    draw = np.random.default_rng([seed, 1])
    for name in near:
        x, y = _free_cell(game, name, draw)
        if name not in CREATURES:
            game._world[x, y] = name
            continue
        game._world[x, y] = "grass"
        kind = CREATURES[name]
        takes_player = kind in (Zombie, Skeleton)
        thing = kind(game._world, (x, y), *([player] if takes_player else []))
        if name == "ripe_plant":
            thing.grown = RIPE_AGE
        game._world.add(thing)


def _free_cell(game: Game, name: str, draw: np.random.Generator) -> tuple[int, int]:
    """Draw a cell for a thing: what is built stands beside the player, the rest two steps off.

    Farther cells are taken where the nearer ones are not free; any ground will do but the player's.
    """
    px, py = (int(i) for i in game._player.pos)
    nearest = 1 if name in ("table", "furnace") else 2
    around = [(dx, dy) for dx in range(-3, 4) for dy in range(-3, 4) if (dx, dy) != (0, 0)]
    order = draw.permutation(len(around))
    cells = sorted(
        (around[int(i)] for i in order),
        key=lambda cell: (abs(cell[0]) + abs(cell[1]) < nearest, abs(cell[0]) + abs(cell[1])),
    )
    ground = [(px + dx, py + dy) for dx, dy in cells if _open(game, px + dx, py + dy, name)]
    if not ground:
        raise UsageError(f"crafter: there is no room for a {name} near the player of this world.")
    return ground[0]


def _open(game: Game, x: int, y: int, name: str) -> bool:
    """Return whether a thing can be put on a cell, and is not what the cell is made of."""
    width, height = game._world.area
    if not (0 <= x < width and 0 <= y < height):
        return False
    material, thing = game._world[x, y]
    return thing is None and material in constants.walkable and material != name


def achievement_score(rates: Mapping[str, float]) -> float:
    """Return the Crafter score of success rates in [0, 1], in percent.

    The geometric mean of (1 + rate in percent), less 1, over all 22 achievements (upstream,
    analysis/common.py, compute_scores).
    """
    percent = np.array([100.0 * rates.get(name, 0.0) for name in constants.achievements])
    return float(np.exp(np.log1p(percent).mean()) - 1)


def _refusal(action: str) -> str:
    """Say that an action is not one; the name is shortened and kept on one line."""
    shown = " ".join(action.split())[:60]
    return f"{shown!r} is not an action; you did nothing.\n\n"


@contextlib.contextmanager
def _own_draws(game: Game) -> Iterator[None]:
    """Lend the picture a generator of its own: upstream's takes the game's at night."""
    kept, game._world.random = game._world.random, np.random.RandomState(0)
    try:
        yield
    finally:
        game._world.random = kept


def _nearest(window: NDArray[np.int64]) -> list[tuple[str, int, int]]:
    """Return (name, dx, dy) of the nearest cell of each kind in view, in order of kind.

    Nearest by Manhattan distance; a tie goes to the westernmost, then the northernmost, as
    SmartPlay's argmin has it. The player and cells off the map are left out.
    """
    found = _first_of_kind(np.ascontiguousarray(window).ravel(), BY_DISTANCE, len(NAMES))
    return [
        (NAMES[kind], cell // (2 * REACH_Y + 1) - REACH_X, cell % (2 * REACH_Y + 1) - REACH_Y)
        for kind, cell in enumerate(found.tolist())
        if cell >= 0 and kind not in (0, PLAYER)
    ]


def _by_distance() -> NDArray[np.int64]:
    """Return the cells of a window by Manhattan distance from its middle, ties by column."""
    dx, dy = np.indices((2 * REACH_X + 1, 2 * REACH_Y + 1))
    return np.argsort((np.abs(dx - REACH_X) + np.abs(dy - REACH_Y)).ravel(), kind="stable")


BY_DISTANCE = _by_distance()


@numba.njit(cache=True)
def _first_of_kind(cells, order, kinds):  # type: ignore[no-untyped-def]
    """Return for each kind the first cell in order that shows it, -1 for none."""
    found = np.full(kinds, -1)
    for cell in order:
        if found[cells[cell]] < 0:
            found[cells[cell]] = cell
    return found


def _faced(window: NDArray[np.int64], player: objects.Player) -> str:
    fx, fy = player.facing
    return NAMES[int(window[REACH_X + fx, REACH_Y + fy])]


def _smartplay(window: NDArray[np.int64], player: objects.Player, action: str | None) -> str:
    """Describe as SmartPlay does (src/smartplay/crafter/crafter_env.py), also at the map's edge."""
    parts = [f"You took action {_spoken(action).lower().replace(' ', '_')}."] if action else []
    if player.sleeping:
        parts.append(
            "You are sleeping, and will not be able take actions until energy is full.\n\n"
        )
    elif player.health <= 0:
        parts.append("You died.\n\n")
    head = "".join(parts)
    seen = []
    for name, dx, dy in _nearest(window):
        where = ["north"] * (dy < 0) + ["south"] * (dy > 0)
        where += ["west"] * (dx < 0) + ["east"] * (dx > 0)
        seen.append(f"- {name} {abs(dx) + abs(dy)} steps to your {'-'.join(where)}")
    body = "You see:\n" + "\n".join(seen) if seen else "You see nothing away from you."
    status = "\n".join(f"- {name}: {player.inventory[name]}/9" for name in VITALS)
    items = [f"- {n}: {c}" for n, c in player.inventory.items() if n not in VITALS and c]
    held = (
        "Your inventory:\n" + "\n".join(items) if items else "You have nothing in your inventory."
    )
    facing = f"You face {_faced(window, player)} at your front."
    blocks = ([head] if head else []) + [body, facing, f"Your status:\n{status}", held]
    return "\n\n".join(blocks)


def _unchanged(before: _Standing, after: _Standing) -> bool:
    """Say whether an action did nothing to be seen: vitals that sink are not its doing."""
    if before[0] != after[0] or after[0][-1]:
        return False
    was, is_ = before[1], after[1]
    return all(is_[k] <= was[k] if k in VITALS else is_[k] == was[k] for k in is_)


def _compact(window: NDArray[np.int64], player: objects.Player, unchanged: bool) -> str:
    """Describe in few words, each to be understood by itself: a thing and where it is are one word.

    Vitals, and whether the last action did nothing; what is held; the faced side and cell; what
    stands next to the player; the nearest of each kind in view, nearest first, a word for each of
    its directions. Open ground is left out.
    """
    vitals = " ".join(f"{name}{player.inventory[name]}" for name in VITALS)
    items = [
        name if name.endswith(TOOLS) else f"{name}{count}"
        for name, count in player.inventory.items()
        if name not in VITALS and count
    ]
    state = " asleep" if player.sleeping else " dead" if player.health <= 0 else ""
    state += " unchanged" if unchanged else ""
    near = []
    for (dx, dy), side in SIDES.items():
        name = NAMES[window[REACH_X + dx, REACH_Y + dy]]
        if name not in constants.walkable:
            near.append(f"{name}_{side}")
    seen = []
    for name, dx, dy in sorted(_nearest(window), key=lambda found: abs(found[1]) + abs(found[2])):
        if name not in constants.walkable:
            seen += [f"{name}_left"] * (dx < 0) + [f"{name}_right"] * (dx > 0)
            seen += [f"{name}_up"] * (dy < 0) + [f"{name}_down"] * (dy > 0)
    return "\n".join(
        [
            vitals + state,
            "have " + (" ".join(items) or "nothing"),
            f"facing {SIDES[player.facing]} {_faced(window, player)}",
            " ".join(["next", *(near or ["nothing"])]),
            "see " + (" ".join(seen) or "nothing"),
        ]
    )
