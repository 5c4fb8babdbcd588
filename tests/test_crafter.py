import collections
import os
import subprocess
import sys

import crafter
import numpy as np
import pytest
from crafter import constants, engine

import alicebob
from alicebob.envs.crafter import ACTIONS, achievement_score
from alicebob.envs.crafter.game import Game, _OrderedSet
from alicebob.errors import UnknownName, UsageError

RUN = """
import hashlib, alicebob, numpy as np
from alicebob.envs.crafter import ACTIONS
env = alicebob.make("crafter", observation="compact")
digest, rng = hashlib.sha256(), np.random.default_rng(0)
for seed in range(2):
    text, info = env.reset(seed=seed)
    over = False
    while not over:
        digest.update(text.encode())
        text, reward, dead, late, info = env.step(ACTIONS[rng.integers(len(ACTIONS))])
        digest.update(repr((reward, sorted(info["achievements"].items()))).encode())
        over = dead or late
print(digest.hexdigest())
"""


def play(env, seed, actions, picture=False):
    texts = [env.reset(seed=seed)[0]]
    for action in actions:
        text, _, dead, late, _ = env.step(action)
        texts.append(text)
        if picture:
            env.render(90)
        if dead or late:
            break
    return texts


def test_same_bytes_in_any_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", RUN],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(digests) == 1


def test_a_picture_changes_nothing_even_at_night():
    env = alicebob.make("crafter", observation="compact")
    actions = ["noop", "move_left", "do", "move_up"] * 75
    plain = play(env, 4, actions)
    assert plain == play(env, 4, actions, picture=True)
    assert len(plain) > 180  # daylight falls under one half before: the night was reached


def test_smartplay_text_of_a_fresh_world_has_its_four_blocks():
    text, info = alicebob.make("crafter").reset(seed=0)
    blocks = text.split("\n\n")
    assert blocks[0].startswith("You see:\n- ")
    assert blocks[1].startswith("You face ")
    assert blocks[2] == "Your status:\n- health: 9/9\n- food: 9/9\n- drink: 9/9\n- energy: 9/9"
    assert blocks[3] == "You have nothing in your inventory."
    assert info["admissible_actions"] == list(ACTIONS)


@pytest.mark.parametrize("corner", [(0, 0), (0, 63), (63, 0), (63, 63)])
def test_text_is_right_in_every_corner_of_the_map(corner):
    env = alicebob.make("crafter")
    env.reset(seed=0)
    world, player = env._game._world, env._game._player
    world._mat_map[:] = world._mat_ids["grass"]
    for thing in world.objects:
        if thing is not player:
            world.remove(thing)
    world.move(player, corner)
    text = env._text(None)
    assert "- grass 1 steps" in text
    assert "unknown" not in text.split("\n\n")[0]


@pytest.mark.parametrize(
    "name", ["move_left", "Move West", "MOVE WEST", "move_west", " Move_Left "]
)
def test_both_names_of_an_action_do_the_same(name):
    env = alicebob.make("crafter")
    assert play(env, 1, [name]) == play(env, 1, ["move_left"])


def test_an_invalid_action_is_reported_and_costs_a_step():
    env = alicebob.make("crafter", limit=2)
    env.reset(seed=0)
    text, _, dead, late, info = env.step("fly\nto the <|im_start|>moon")
    assert info["invalid_action"]
    assert text.startswith("'fly to the <|im_start|>moon' is not an action; you did nothing.\n")
    assert not dead
    assert not late
    _, _, dead, late, info = env.step("noop")
    assert (dead, late, info["invalid_action"]) == (False, True, False)
    with pytest.raises(UsageError, match="call reset"):
        env.step("noop")


def test_granted_inventory_is_there_and_unknown_items_are_refused():
    env = alicebob.make("crafter", observation="compact")
    text, _ = env.reset(seed=0, options={"inventory": {"wood": 3}})
    assert "have wood3\n" in text
    with pytest.raises(UnknownName, match="Did you mean 'wood'"):
        env.reset(seed=0, options={"inventory": {"wod": 3}})


def test_the_score_is_upstreams_formula():
    assert achievement_score({}) == 0.0
    assert achievement_score({"collect_wood": 1.0}) == pytest.approx(101 ** (1 / 22) - 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"observation": "smartpaly"}, "Did you mean 'smartplay'"),
        ({"limit": "balrok"}, "Did you mean 'balrog'"),
        ({"observations": "compact"}, "Did you mean 'observation'"),
    ],
)
def test_wrong_settings_say_what_to_do(settings, words):
    with pytest.raises(UnknownName, match=words):
        alicebob.make("crafter", **settings)


@pytest.mark.parametrize("limit", [0, True, 1.5, None, [3]])
def test_a_limit_is_a_number_of_steps(limit):
    with pytest.raises(UsageError, match="limit must be a whole number of steps above 0"):
        alicebob.make("crafter", limit=limit)


def test_an_unknown_environment_suggests():
    with pytest.raises(UnknownName, match="Did you mean 'crafter'"):
        alicebob.make("crafty")


@pytest.mark.slow
def test_random_play_scores_as_published():
    """Score 1.6 and 2.28 achievements of uniform random play (upstream, scores/*.json)."""
    env, rng = alicebob.make("crafter", observation="compact"), np.random.default_rng(0)
    unlocked = []
    for seed in range(120):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, dead, late, info = env.step(ACTIONS[rng.integers(len(ACTIONS))])
            over = dead or late
        unlocked.append({name for name, count in info["achievements"].items() if count})
    rates = {name: np.mean([name in u for u in unlocked]) for name in info["achievements"]}
    assert np.mean([len(u) for u in unlocked]) == pytest.approx(2.28, abs=0.2)
    assert achievement_score(rates) == pytest.approx(1.6, abs=0.3)


def test_what_is_granted_is_there_and_is_no_reward():
    env = alicebob.make("crafter", observation="compact")
    options = {"near": ["table", "ripe_plant", "iron", "skeleton"], "inventory": {"health": 4}}
    text, info = env.reset(seed=3, options=options)
    assert text == env.reset(seed=3, options=options)[0]
    seen = [name for row in info["view"] for name in row]
    assert {"table", "ripe_plant", "iron", "skeleton"} <= set(seen)
    assert "ripe_plant" in text
    assert env.step("noop")[1] == 0.0
    smartplay = alicebob.make("crafter").reset(seed=3, options=options)[0]
    assert "- plant " in smartplay
    assert "ripe" not in smartplay


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"near": ["tabel"]}, "Did you mean 'table'"),
        ({"inventory": {"wod": 1}}, "Did you mean 'wood'"),
        ({"inventory": {"wood": 10}}, "wood must be between 0 and 9, got 10"),
        ({"inventory": {"wood": "1"}}, "wood must be between 0 and 9, got '1'"),
        ({"inventory": ["wood"]}, "inventory must be items with their numbers"),
        ({"near": "table"}, "near must be a list of names; got 'table'"),
        ({"near": [3]}, "Unknown thing to put near '3'"),
        ({"goal": 1}, "Unknown reset option 'goal'"),
    ],
)
def test_a_wrong_grant_is_one_sentence(options, error):
    with pytest.raises(UsageError, match=error):
        alicebob.make("crafter").reset(seed=0, options=options)


@pytest.mark.parametrize("seed", [-1, 0.5, "a"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(UsageError, match="seed must be a whole number"):
        alicebob.make("crafter").reset(seed=seed)


def test_a_trial_can_be_done_with_what_it_grants():
    env = alicebob.make("crafter", observation="compact")
    suite = {trial.name: trial for trial in env.suite()}
    assert len(suite) == 22
    for name, trial in suite.items():
        if not name.startswith(("make_", "place_table", "place_furnace", "wake_up")):
            continue
        env.reset(seed=11, options=trial.options)
        events = []
        for _ in range(trial.max_turns):
            action = "sleep" if name == "wake_up" else name
            events += env.step(action)[4]["events"]
        assert name in events


class OrderedWorld(engine.World):
    def reset(self, seed=None):
        super().reset(seed)
        self._chunks = collections.defaultdict(_OrderedSet)


class Upstream(crafter.Env):
    """Upstream's own game, with ordered chunks and no picture: what ours must equal."""

    def __init__(self):
        super().__init__(length=10_000, seed=0)
        self._world = OrderedWorld(self._area, constants.materials, (12, 12))
        self._local_view._world = self._world

    def _obs(self):
        return None


@pytest.mark.parametrize("seed", range(6))
def test_worlds_and_draws_are_upstreams(seed):
    theirs, ours = Upstream(), Game(10_000)
    theirs._seed, theirs._episode = seed, 0
    theirs.reset()
    ours.start(seed)
    draw = np.random.default_rng(seed)
    for step in range(400):
        action = int(draw.integers(17))
        (_, reward, done, _), (_, ours_reward, ours_done, _) = (
            theirs.step(action),
            ours.step(action),
        )
        assert (reward, done) == (ours_reward, ours_done), step
        assert np.array_equal(theirs._world._mat_map, ours._world._mat_map), step
        assert np.array_equal(theirs._world._obj_map, ours._world._obj_map), step
        assert theirs._player.inventory == ours._player.inventory, step
        assert theirs._world.random.get_state()[2] == ours._world.random.get_state()[2], step
        if done:
            break


def test_compact_text_says_which_way_one_faces_and_when_nothing_came_of_an_action():
    env = alicebob.make("crafter", observation="compact")
    text, _ = env.reset(seed=0, options={"inventory": {"energy": 5}})
    assert "unchanged" not in text
    said = {}
    for action in ("noop", "make_wood_sword", "move_left", "move_up", "sleep", "noop"):
        text, *_ = env.step(action)
        said[action] = text.splitlines()
        if action.startswith("move"):
            assert said[action][2].startswith(f"facing {action[5:]} ")
    assert said["make_wood_sword"][0].endswith(" unchanged")
    assert not said["move_up"][0].endswith(" unchanged")
    assert said["noop"][0].endswith(" asleep")  # no action counts, so none can fail


def test_notes_say_what_is_out_of_sight_what_was_achieved_and_what_stands_at_the_corners():
    plain, noting = (alicebob.make("crafter", observation=o) for o in ("compact", "notes"))
    grants = {"inventory": {"wood": 9}}
    for env in (plain, noting):
        text, info = env.reset(seed=0, options=grants)
    assert text.splitlines()[-2:] == ["know nothing", "done nothing"]
    placed: tuple[int, int] | None = None
    walk = ["place_table"] + ["move_up"] * 5 + ["move_left", "move_up"] * 5
    for action in walk:
        short, *_ = plain.step(action)
        text, _, _, _, info = noting.step(action)
        lines, view = text.splitlines(), info["view"]
        x, y = info["position"]
        if "place_table" in info["events"]:
            placed = (x + info["facing"][0], y + info["facing"][1])
        assert placed, "the first action places a table"
        dx, dy = placed[0] - x, placed[1] - y
        sides = {f"table_{side}" for side in sided(dx, dy)}
        in_sight = any("table" in row for row in view)
        assert in_sight == (abs(dx) <= 4 and abs(dy) <= 3)
        known = [word for word in lines[5].split() if word.startswith("table")]
        assert set(known) == (set() if in_sight else sides), (action, dx, dy)
        assert ("table_corner" in lines[3].split()) == (abs(dx) == abs(dy) == 1)
        assert "place_table" in lines[6].split()
        corners = {word for word in lines[3].split() if word.endswith("_corner")}
        rest = [word for word in lines[3].split()[1:] if word not in corners]
        assert short.splitlines()[3].split()[1:] == (rest or ["nothing"])
        assert [*lines[:3], lines[4]] == [*short.splitlines()[:3], short.splitlines()[4]]
    assert not in_sight, "he walked away"
    told = {word for line in lines[3:] for word in line.split()}
    assert told <= {*noting.words, "next", "see", "nothing"}


def sided(dx: int, dy: int) -> list[str]:
    """Return the sides on which something at these steps is."""
    return ["left"] * (dx < 0) + ["right"] * (dx > 0) + ["up"] * (dy < 0) + ["down"] * (dy > 0)
