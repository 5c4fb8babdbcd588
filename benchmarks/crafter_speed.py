"""How quick text Crafter is beside SmartPlay's and BALROG's wrappers and the package's own reset.

    python benchmarks/crafter_speed.py --smartplay DIR --balrog DIR

DIR are checkouts of the peers; without them only resets are measured. Both sides play the same
seeds and actions in one process, in turn, on one core; a ratio is the median over the rounds of
process-CPU time. Equality comes first: worlds, texts and things seen must be the same, or there is
no ratio. What is changed in the peers is in README.md here.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib
import importlib.util
import re
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from crafter import constants, engine, objects

import alicebob
from alicebob.envs.crafter.game import Cow, Game, Player, Skeleton, Zombie
from alicebob.envs.crafter.world import ACTIONS

OURS, SMARTPLAY, BALROG = "ours", "SmartPlay", "BALROG"
BARS = {SMARTPLAY: 3.2, BALROG: 18.0, "reset": 10.0}
THINGS = [Player, Cow, Zombie, Skeleton, objects.Arrow, objects.Plant]

Play = Callable[[int, list[int]], tuple[float, int]]  # seed, actions -> CPU seconds, steps


def main() -> None:
    """Check equality, measure, print a table; exit 1 where something differs."""
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--smartplay", type=Path, help="checkout of microsoft/SmartPlay")
    words.add_argument("--balrog", type=Path, help="checkout of balrog-ai/BALROG")
    words.add_argument("--rounds", type=int, default=5, help="rounds of A B (default: 5)")
    words.add_argument("--steps", type=int, default=600, help="steps a round (default: 600)")
    options = words.parse_args()
    own = unaccelerated()
    print(f"worlds: {same_worlds(own, range(20))} of 20 equal to the package's own")
    rows = [*resets(own, options.rounds)]
    smartplay = load_smartplay(options.smartplay) if options.smartplay else None
    balrog = load_balrog(options.balrog) if options.balrog else None
    if smartplay:
        interior, border = same_texts(smartplay)
        print(f"texts: {interior:,} equal to SmartPlay's; {border:,} where SmartPlay has an error")
    if balrog:
        print(f"things seen: {same_things(balrog):,} equal to BALROG's")
    rows += steps(smartplay, balrog, options)
    print("\n| measured | ours | peer | ratio (median) | ratios | bar |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(row)


# --- the peers ---------------------------------------------------------------------------------


@contextmanager
def modules(**given: Any) -> Iterator[None]:
    """Put modules where imports find them, and everything back as it was afterwards."""
    kept = dict(sys.modules)
    sys.modules.update(given)
    try:
        yield
    finally:
        sys.modules.clear()
        sys.modules.update(kept)


def unaccelerated() -> Any:
    """Return the crafter package as it is where numba is not installed."""
    with modules(numba=None):
        for name in [n for n in sys.modules if n.partition(".")[0] in ("crafter", "opensimplex")]:
            del sys.modules[name]
        return importlib.import_module("crafter")


def gym() -> dict[str, types.ModuleType]:
    """Return a stand-in for the little of gym 0.21 that both wrappers use."""

    class Wrapper:
        def __init__(self, env: Any) -> None:
            self.env = env

        def __getattr__(self, name: str) -> Any:
            return getattr(self.env, name)

        def step(self, action: Any) -> Any:
            return self.env.step(action)

    module = types.ModuleType("gym")
    spaces = types.SimpleNamespace(Discrete=None, Box=None, Dict=None)
    utils = types.ModuleType("gym.utils")
    for owner, names in (
        (module, {"Env": object, "Wrapper": Wrapper, "spaces": spaces, "error": None}),
        (utils, {"seeding": None}),
    ):
        for name, value in names.items():
            setattr(owner, name, value)
    module.utils = utils  # type: ignore[attr-defined]
    return {"gym": module, "gym.utils": utils}


def package(name: str, **members: Any) -> types.ModuleType:
    """Return an empty package with these members."""
    module = types.ModuleType(name)
    module.__path__ = []
    for member, value in members.items():
        setattr(module, member, value)
    return module


def load(name: str, path: Path) -> Any:
    """Import a file of a peer under the name that its own imports expect."""
    if not path.is_file():
        sys.exit(f"Error: {path} is not there; give the checkout of the peer's repository.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_smartplay(root: Path) -> Any:
    """Return SmartPlay's wrapper on its own game, whose rules are the package's."""
    folder, rules = root / "src/smartplay", importlib.import_module("crafter")
    inner = package("smartplay.crafter.crafter")
    inner.__dict__.update({n: getattr(rules, n) for n in ("constants", "engine", "objects")})
    inner.worldgen = importlib.import_module("crafter.worldgen")  # type: ignore[attr-defined]
    parts = {f"{inner.__name__}.{n}": m for n, m in vars(inner).items() if n[0] != "_"}
    outer = {name: package(name) for name in ("smartplay", "smartplay.crafter")}
    with modules(**gym(), **outer, **{inner.__name__: inner}, **parts):
        load("smartplay.utils", folder / "utils.py")
        env = load(f"{inner.__name__}.env", folder / "crafter/crafter/env.py")
        inner.Env = env.Env  # type: ignore[attr-defined]
        return load("smartplay.crafter.crafter_env", folder / "crafter/crafter_env.py")


def load_balrog(root: Path) -> Any:
    """Return BALROG's wrapper on the package's game."""

    class Strings:
        def __init__(self, values: list[str]) -> None:
            self._dict = {value: index for index, value in enumerate(values)}

        def map(self, action: str) -> int:
            return self._dict[action]

    names = ("balrog", "balrog.environments.crafter")
    parents = {name: package(name) for name in names}
    parents["balrog.environments"] = package("balrog.environments", Strings=Strings)
    with modules(**gym(), **parents):
        path = root / "balrog/environments/crafter/env.py"
        return load("balrog.environments.crafter.env", path)


# --- equality ----------------------------------------------------------------------------------


def same_worlds(own: Any, seeds: range) -> int:
    """Return how many worlds are the package's; exits where one is not."""
    ours, theirs = Game(10_000), own.Env(seed=0)
    for seed in seeds:
        theirs._seed, theirs._episode = seed, 0
        theirs.reset()
        ours.start(seed)
        if world(theirs) != world(ours):
            sys.exit(f"Error: the world of seed {seed} is not the package's.")
    return len(seeds)


def world(game: Any) -> tuple[bytes, list[tuple[str, int, int]]]:
    """Return the map, and what stands on it in the order in which it acts."""
    things = [(type(t).__name__, int(t.pos[0]), int(t.pos[1])) for t in game._world.objects]
    return game._world._mat_map.tobytes(), things


def states(seeds: range, turns: int) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Yield our text, the action and the peers' info for states of random play.

    Also of every free cell of each world, to which the player is moved.
    """
    env: Any = alicebob.make("crafter")
    for seed in seeds:
        env.reset(seed=seed)
        game, draw, over = env._game, np.random.default_rng(seed), False
        see = engine.SemanticView(game._world, THINGS)
        while not over and game._step < turns:
            action = ACTIONS[draw.integers(len(ACTIONS))]
            text, _, dead, late, _ = env.step(action)
            yield text, action, info(game, see)
            over = dead or late
        env.reset(seed=seed)
        game = env._game
        for x, y in np.ndindex(*game._world.area):
            if game._player.is_free((x, y)):
                game._world.move(game._player, (x, y))
                yield env._text(None), None, info(game, see)


def info(game: Any, see: Any) -> dict[str, Any]:
    """Return a state as the wrappers are told of it."""
    player = game._player
    return {
        "semantic": see(),
        "player_pos": player.pos,
        "player_facing": player.facing,
        "inventory": player.inventory,
        "sleeping": player.sleeping,
        "dead": player.health <= 0,
        "action": player.action,
        "view": np.array((9, 9)),
    }


def same_texts(smartplay: Any) -> tuple[int, int]:
    """Compare texts with SmartPlay's; return how many are its own and how many it has none for."""
    interior = border = 0
    for ours, action, state in states(range(2), 300):
        theirs = smartplay.describe_frame(state, action)
        if theirs == "Error, you are out of the map.":
            border += 1
            if seen(ours) != in_view(state):
                sys.exit(f"Error: at the border the text is wrong:\n{ours}")
        elif ours != theirs:
            sys.exit(f"Error: SmartPlay's text is another.\n{ours}\n--- SmartPlay\n{theirs}")
        else:
            interior += 1
    return interior, border


def same_things(balrog: Any) -> int:
    """Compare what is seen, and how far off, with BALROG's; return the number of states."""
    compared = 0
    for ours, _, state in states(range(1), 200):
        (x, y), (width, height) = state["player_pos"], state["semantic"].shape
        if not (4 <= x < width - 4 and 3 <= y < height - 3):
            continue  # BALROG sees nothing at the border, or has an error for a text
        compared += 1
        theirs, held = balrog.describe_frame(state)
        if seen(ours) != seen(theirs) or not ours.endswith(held):
            sys.exit(f"Error: BALROG's text says another thing.\n{ours}\n--- BALROG\n{theirs}")
    return compared


def seen(text: str) -> dict[str, int]:
    """Return the distance to each thing that a text names."""
    found = re.findall(r"^- (\w+) (\d+) steps? to your", text, re.MULTILINE)
    return {name: int(distance) for name, distance in found}


def in_view(state: dict[str, Any]) -> dict[str, int]:
    """Return the distance to each thing in the 9 x 7 cells about the player, cell by cell."""
    names = [None, *constants.materials, *(kind.__name__.lower() for kind in THINGS)]
    (px, py), cells, found = state["player_pos"], state["semantic"], {}
    for x in range(max(0, px - 4), min(len(cells), px + 5)):
        for y in range(max(0, py - 3), min(len(cells), py + 4)):
            name = str(names[cells[x, y]])
            found[name] = min(found.get(name, 99), abs(x - px) + abs(y - py))
    del found["player"]
    return found


# --- speed -------------------------------------------------------------------------------------


def resets(own: Any, rounds: int) -> Iterator[str]:
    """Measure resets beside the package's own, without numba and with it."""
    game, plain = Game(10_000), own.Env(seed=0)
    quick = importlib.import_module("crafter").Env(seed=0)

    def ours(seed: int) -> None:
        game.start(seed)

    def theirs(env: Any) -> Callable[[int], None]:
        def reset(seed: int) -> None:
            env._seed, env._episode = seed, 0
            env.reset()

        return reset

    plain_reset, quick_reset = theirs(plain), theirs(quick)
    for reset in (ours, plain_reset, quick_reset):
        reset(99)  # compiles
    times = [
        [timed(reset, seed) for reset in (ours, plain_reset, quick_reset)] for seed in range(rounds)
    ]
    for name, column in (("the package's", 1), ("the package's with numba", 2)):
        pairs = [(row[0], row[column]) for row in times]
        bar = BARS["reset"] if column == 1 else None
        yield line(f"reset, beside {name}", pairs, lambda s: f"{1000 * s:.1f} ms", bar)


def timed(action: Callable[[int], None], argument: int) -> float:
    """Return the CPU seconds that a call takes."""
    begun = time.process_time()
    action(argument)
    return time.process_time() - begun


def steps(smartplay: Any, balrog: Any, options: Any) -> Iterator[str]:
    """Measure steps, resets left out, beside each peer."""
    peers = {}
    if smartplay:
        peers[SMARTPLAY] = play_smartplay(smartplay)
    if balrog:
        peers[BALROG] = play_balrog(balrog)
    draw = np.random.default_rng(0)
    actions = draw.integers(len(ACTIONS), size=(options.rounds, options.steps)).tolist()
    for text in ("smartplay", "compact"):
        for name, theirs in peers.items():
            ours = play_ours(text)
            pairs = [alternate(ours, theirs, n, a) for n, a in enumerate(actions)]
            title = f"step with {text} text, beside {name}"
            yield line(title, pairs, lambda s: f"{1 / s:,.0f} /s", BARS[name])


def alternate(ours: Play, theirs: Play, number: int, actions: list[int]) -> tuple[float, float]:
    """Play one round on both sides; return seconds per step of each."""
    ours(number, actions[:50])
    theirs(number, actions[:50])
    mine, peer = ours(number, actions), theirs(number, actions)
    return mine[0] / mine[1], peer[0] / peer[1]


def episodes(
    reset: Callable[[int], None], step: Callable[[int], bool], first: int, actions: list[int]
) -> tuple[float, int]:
    """Take the actions in world after world; return the CPU time of the steps and their number."""
    spent, position, seed = 0.0, 0, 1000 * first
    while position < len(actions):
        reset(seed)
        begun, over = time.process_time(), False
        while not over and position < len(actions):
            over = step(actions[position])
            position += 1
        spent += time.process_time() - begun
        seed += 1
    return spent, len(actions)


def play_ours(text: str) -> Play:
    """Return how ours plays with this text."""
    env = alicebob.make("crafter", observation=text)

    def step(action: int) -> bool:
        _, _, dead, late, _ = env.step(ACTIONS[action])
        return dead or late

    return lambda seed, actions: episodes(lambda s: void(env.reset(seed=s)), step, seed, actions)


def play_smartplay(module: Any) -> Play:
    """Return how SmartPlay's wrapper plays."""

    class Wrapped(module.Crafter):  # type: ignore[misc]
        def __init__(self) -> None:
            # Upstream's constructor unpickles a prompt: a file to trust, and for no step.
            self.history = module.HistoryTracker(2)
            self.action_list, self.desc, self.score_tracker = list(ACTIONS), "", 0
            module.Env.__init__(self, seed=0)

    return play_wrapped(Wrapped(), lambda action: action)


def play_balrog(module: Any) -> Play:
    """Return how BALROG's wrapper plays, with the picture that its configuration asks for."""
    game = importlib.import_module("crafter").Env(size=(256, 256), seed=0)  # its config.yaml
    return play_wrapped(module.CrafterLanguageWrapper(game), module.ACTIONS.__getitem__)


def play_wrapped(env: Any, action: Callable[[int], Any]) -> Play:
    """Return how a wrapper in gym's old shape plays; `action` gives its name for a number."""
    game = getattr(env, "env", env)

    def reset(seed: int) -> None:
        game._seed, game._episode = seed, 0
        env.reset()

    def step(number: int) -> bool:
        return bool(env.step(action(number))[2])

    return lambda seed, actions: episodes(reset, step, seed, actions)


def void(_: object) -> None:
    """Drop a value."""


def line(
    title: str, pairs: list[tuple[float, float]], shown: Callable[[float], str], bar: float | None
) -> str:
    """Return a row of the table for pairs of seconds, ours and the peer's."""
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    middle = statistics.median(ratios)
    ours, theirs = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    verdict = "" if bar is None else f"{bar}: {'met' if middle >= bar else 'missed'}"
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    cells = [title, shown(ours), shown(theirs), f"{middle:.2f}", spread, verdict]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
