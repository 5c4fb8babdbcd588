"""What the embedded Alice does for her safety, seen in real worlds from outside her head."""

import pytest

from alicebob.alice.grid.affordance import Affordance, Change
from alicebob.alice.grid.explore import Curious
from alicebob.alice.grid.interface import IDLE, MOVES, PRESS, is_plain
from alicebob.alice.grid.memory import Knowledge, Thing
from alicebob.envs import make
from alicebob.envs.crafter import ACTIONS
from alicebob.policies import Task
from alicebob.rollout import play

OPEN = ("grass", "sand", "path")  # what she and what hurts her can step on
VITALS = ("health", "food", "drink", "energy")
SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Seen:
    """A world that keeps what it told at each step."""

    def __init__(self):
        self.env, self.infos = make("crafter", observation="compact"), []

    def reset(self, **options):
        text, info = self.env.reset(**options)
        self.infos = [info]
        return text, info

    def step(self, action):
        *rest, info = self.env.step(action)
        self.infos.append(info)
        return *rest, info


class Handed(Curious):
    """Alice, who begins whole and with nothing, and is then handed what was granted.

    What she holds when she begins she would take for a part of her life.
    """

    def start(self, wave):
        for live in wave:
            granted = live.info["inventory"]
            live.info["inventory"] = dict.fromkeys(VITALS, 9)
            super().start([live])
            live.info["inventory"] = granted


def knowing(*events):
    """Return what she may have learned in a few episodes, of ground, stones, creatures and sleep.

    All else that she can do is known to be of no use. `events` are those that she goes for.
    """
    vitals = dict.fromkeys(("health", "food", "drink", "energy"), 9)
    known = Knowledge(episodes=40, events=dict.fromkeys(events, 4), vitals=vitals)
    known.things |= {name: Thing(4, 900, 0, 90, 90) for name in OPEN}
    known.things |= {name: Thing(4, 900, 0, 9) for name in ("water", "tree", "stone", "plant")}
    known.things["zombie"] = Thing(4, 90, 30, near=20, hurt=9)
    known.things["cow"] = Thing(4, 90, 30, near=20)
    for action in ACTIONS:
        if not is_plain(action) and action != "place_stone":
            known.intent(action).success({}, "", Change())
    for name in (*OPEN, "tree", "water", "cow", "coal", "iron", "diamond", "table", "plant"):
        known.intent(f"use {name}").success({}, name, Change())
    for name in OPEN:
        wall = Change(uses={"stone": 1}, events={"place_stone": 1}, made="stone")
        known.intent("place_stone").success({"stone": 1}, name, wall)
    dug = Change(gains={"stone": 1}, events={"collect_stone": 1}, made="path")
    known.intent("use stone").success({"wood_pickaxe": 1}, "stone", dug)
    slept = Change(90, gains={"energy": 5}, events={"wake_up": 1})
    known.intents["sleep"] = Affordance()
    known.intent("sleep").success({"low:energy": 1}, "grass", slept)
    fought = Change(5, events={"defeat_zombie": 1})
    known.intent("use zombie").success({}, "zombie", fought)
    known.rest = {"open": 100, "open lost": 20, "closed": 100}
    return known


def played(knowledge, seed, turns, wishes=None, without=(), **granted):
    """Play one episode; return it and what the world told at each step."""
    env, granted = Seen(), {"inventory": {}} | granted
    task = Task(f"behaviour-{seed}", seed, options=granted, max_turns=turns)
    (episode,) = play([env], Handed(knowledge, wishes, without), [task], "crafter")
    return episode, env.infos


def cells(info):
    """Return the cells in view by their place in the world."""
    (px, py), view = info["position"], info["view"]
    return {
        (px + x - len(view[0]) // 2, py + y - len(view) // 2): name
        for y, row in enumerate(view)
        for x, name in enumerate(row)
    }


def room_around(info):
    """Return how many cells can be reached from where she is, no end of them past the view."""
    seen, found = cells(info), [tuple(info["position"])]
    for x, y in found:
        for dx, dy in SIDES:
            there = (x + dx, y + dy)
            if there not in seen:
                return float("inf")
            if seen[there] in OPEN and there not in found:
                found.append(there)
    return len(found)


def tended(seed, without=()):
    """Say whether a plant is ever fenced by one who is to see it ripen."""
    known = knowing("eat_plant")
    known.intents["place_plant"] = Affordance()
    planted = Change(uses={"sapling": 1}, events={"place_plant": 1}, made="plant")
    known.intent("place_plant").success({"sapling": 1}, "grass", planted)
    known.becomes = {"plant": {"ripe_plant": 3}}
    known.things["ripe_plant"] = Thing(1, 90)
    eaten = Change(gains={"food": 4}, events={"eat_plant": 1}, made="plant")
    known.intent("use ripe_plant").success({}, "ripe_plant", eaten)
    granted = {"sapling": 1, "stone": 9, "wood_pickaxe": 1}
    _, infos = played(known, seed, 40, {"eat_plant": 1e9}, without, inventory=granted)

    def fenced(info):
        seen = cells(info)
        return any(
            all(seen.get((x + dx, y + dy), "grass") == "stone" for dx, dy in SIDES)
            for (x, y), name in seen.items()
            if name == "plant"
        )

    return any(map(fenced, infos))


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_what_is_tended_is_fenced_on_all_sides(seed):
    assert tended(seed)
    assert not tended(seed, ("fence",))
    assert not tended(seed, ("tend",))


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_she_closes_a_place_before_she_sleeps_in_it(seed):
    granted = {"stone": 9, "wood_pickaxe": 1, "energy": 2}
    for without, most in ((), 4), (("shelter",), float("inf")):
        _, infos = played(knowing(), seed, 90, without=without, inventory=granted)
        asleep = [info for info in infos if info["sleeping"]]
        assert len(asleep) > 10
        assert max(map(room_around, asleep)) <= most
    assert max(map(room_around, asleep)) > 4


def fights(seed, without=()):
    """Return how often what hurts stood beside her, and how often that was what she acted on."""
    episode, infos = played(
        knowing(), seed, 80, without=without, near=["zombie", "zombie"],
        inventory={"stone_sword": 1},
    )  # fmt: skip
    met = fought = 0
    for turn, info in zip(episode.turns, infos, strict=False):
        seen, (px, py) = cells(info), info["position"]
        sides = [side for side in SIDES if seen[px + side[0], py + side[1]] == "zombie"]
        if sides:
            met += 1
            faces = tuple(info["facing"]) in sides
            fought += turn.action == PRESS if faces else MOVES.get(turn.action) in sides
    return met, fought, episode.summary["events"].get("defeat_zombie", 0)


def test_what_hurts_is_fought_as_soon_as_it_stands_beside_her():
    found = [fights(seed) for seed in range(1, 9)]
    assert sum(met > 0 for met, *_ in found) > 4
    assert all(fought == met for met, fought, _ in found)
    assert all(defeated for met, _, defeated in found if met)
    found = [fights(seed, ("fight",)) for seed in range(1, 9)]
    assert sum(fought for _, fought, _ in found) < sum(met for met, *_ in found) / 2


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_who_is_hungry_eats_what_has_fed_her(seed):
    def eats(without=()):
        known = knowing()
        known.intents["use cow"] = Affordance()
        known.intent("use cow").success({}, "cow", Change(5, gains={"food": 6}))
        episode, _ = played(known, seed, 80, without=without, near=["cow"], inventory={"food": 2})
        return "eat_cow" in episode.summary["events"]

    assert eats()
    assert not eats(("mend",))


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_who_has_little_life_waits_in_a_closed_place(seed):
    def rests(without=()):
        known = knowing()
        known.rest["healed"] = 9
        granted = {"stone": 9, "wood_pickaxe": 1, "health": 2}
        episode, infos = played(known, seed, 60, without=without, inventory=granted)
        turns = zip(episode.turns, infos, strict=False)
        return sum(turn.action == IDLE and room_around(info) <= 4 for turn, info in turns)

    assert rests() > 10
    assert not rests(("heal",))


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_all_that_can_be_got_is_got_for_what_never_worked(seed):
    def gets(without=()):
        known = knowing()
        known.intents["use tree"], known.intents["place_table"] = Affordance(), Affordance()
        known.intent("use tree").success({}, "tree", Change(gains={"wood": 1}))
        known.intent("place_table").failure({}, "grass")
        known.things["lava"] = Thing(40, 90, 0, 9, 9, 9)
        granted = {"wood_pickaxe": 1}
        _, infos = played(known, seed, 80, without=without, near=["tree"], inventory=granted)
        return max(info["inventory"].get("wood", 0) for info in infos)

    assert gets()
    assert not gets(("hoard",))


def test_what_is_looked_for_is_looked_for_beside_what_it_stood_beside():
    def sand(seed, without=()):
        known = knowing("collect_diamond")
        known.things["lava"] = Thing(40, 90, 0, 9, 9, 9)
        known.things["diamond"] = Thing(40, 90)
        known.intents["use diamond"] = Affordance()
        mined = Change(events={"collect_diamond": 1})
        known.intent("use diamond").success({}, "diamond", mined)
        known.beside = {"diamond": {"sand": 9}, "sand": {"diamond": 9}, "grass": {"grass": 90}}
        _, infos = played(known, seed, 150, without=without)
        return sum(name == "sand" for info in infos for name in cells(info).values()) / len(infos)

    seeds = range(1, 13)
    assert sum(map(sand, seeds)) > 1.1 * sum(sand(seed, ("beside",)) for seed in seeds)
