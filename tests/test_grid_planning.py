import numpy as np

from alicebob.alice.grid import guard, shelter
from alicebob.alice.grid.affordance import Affordance, Change
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.planner import Planner
from alicebob.alice.grid.worldmap import WorldMap

MEADOW = ["ggggggggg"] * 7
NAMES = {"g": "grass", "s": "stone", "t": "tree", "w": "water", "k": "table"}


def world(rows, position=(10, 10)):
    found = WorldMap()
    found.see([[NAMES[letter] for letter in row] for row in rows], position)
    return found


def entering(name):
    return {"grass": 1, "stone": 2}.get(name, 0)


def measured(rows):
    found = world(rows)
    found.measure(np.array([entering(name) for name in found.names], np.int32))
    return found


def test_the_map_finds_the_nearest_thing_and_the_way_round():
    rows = list(MEADOW)
    rows[2], rows[3] = "ggggwgggg", "gggggwgtg"
    here = measured(rows)
    assert here.nearest("tree") == (13, 10, 4)  # two to the right, but round the water
    assert here.step(12, 10) == (0, 1)
    assert here.nearest("iron") is None
    assert here.frontier(np.zeros(len(here.names))) is not None


def test_the_map_grows_and_keeps_what_it_saw():
    here = world(MEADOW)
    here.see([[NAMES[letter] for letter in row] for row in ["ggggggggt"] * 7], (200, -50))
    assert here.at(6, 7) == "grass"
    assert here.at(204, -53) == "tree"
    assert here.at(100, 0) == ""


def test_without_recall_a_thing_is_found_while_it_is_in_sight_and_the_way_is_kept():
    found = {}
    for recalls in (True, False):
        here = WorldMap(recalls)
        for place, rows in (((10, 10), ["tgggggggg"] * 7), ((16, 10), MEADOW)):
            here.see([[NAMES[letter] for letter in row] for row in rows], place)
            here.measure(np.array([entering(name) for name in here.names], np.int32))
            found[recalls, place[0]] = here.nearest("tree"), here.places("tree")
        assert here.distance(8, 10) == 8
    assert found[True, 10] == found[False, 10]
    assert found[True, 10][0] == (6, 10, 3)
    assert found[True, 16][0] == (6, 10, 9)
    assert len(found[True, 16][1]) == 7
    assert found[False, 16] == (None, [])


def test_needs_are_the_fewest_things_that_explain_the_failures():
    known = Affordance()
    change = Change(uses={"wood": 1}, gains={"pick": 1}, events={"make_pick": 1})
    known.failure({"wood": 3, "near:tree": 1}, "grass")
    known.success({"wood": 4, "sapling": 2, "near:table": 1, "near:tree": 1}, "grass", change)
    assert known.required() == {"wood": 1, "near:table": 1}


def test_a_spurious_need_goes_with_the_success_that_lacks_it():
    known = Affordance()
    change = Change(gains={"iron": 1})
    known.failure({"wood": 1}, "iron")
    known.success({"wood": 1, "stick": 1, "pick": 1}, "iron", change)
    known.success({"pick": 1}, "iron", change)
    assert known.required() == {"pick": 1}


def test_things_that_seldom_stay_are_creatures():
    knowledge = Knowledge()
    cow, tree = knowledge.thing("cow"), knowledge.thing("tree")
    cow.cells, cow.changed = 100, 40
    tree.cells, tree.changed = 1000, 1
    assert cow.moves
    assert not tree.moves


def crafty():
    model = Knowledge(episodes=10)
    wood = Change(gains={"wood": 1}, events={"collect_wood": 1})
    model.intent("use tree").success({}, "tree", wood)
    table = Change(uses={"wood": 2}, events={"place_table": 1}, made="table")
    model.intent("place_table").success({"wood": 2}, "grass", table)
    pick = Change(uses={"wood": 1}, gains={"pick": 1}, events={"make_pick": 1})
    model.intent("make_pick").failure({"wood": 9}, "grass")
    model.intent("make_pick").success({"wood": 1, "near:table": 1}, "grass", pick)
    return model


def test_plans_chain_backwards_to_what_can_be_done_now():
    rows = list(MEADOW)
    rows[3] = "gggggggtg"
    here = measured(rows)
    step = Planner(crafty(), here, {}).plan("make_pick")
    assert (step.kind, step.what) == ("use", "tree")
    step = Planner(crafty(), here, {"wood": 3}).plan("make_pick")
    assert (step.kind, step.what) == ("act", "place_table")
    rows[3] = "ggggggkgg"
    near = measured(rows)
    step = Planner(crafty(), near, {"wood": 1}).plan("make_pick")
    assert (step.kind, step.what, step.near) == ("act", "make_pick", ("table",))
    assert Planner(crafty(), near, {}).plan("make_sword") is None
    # Without chaining only what can be done now is planned.
    assert Planner(crafty(), near, {}, chains=False).plan("make_pick") is None
    assert Planner(crafty(), near, {"wood": 1}, chains=False).plan("make_pick") == step


def test_a_tunnel_is_a_shelter_and_is_closed_from_inside():
    rows = ["sssssssss"] * 3 + ["sssggssss"] + ["sssssssss"] * 3
    here = measured(rows)
    found = shelter.find(here, entering, lambda name: name == "grass", walls=0)
    assert found is not None
    assert found.cells == {(9, 10), (10, 10)}
    assert shelter.next_step(found, here, (1, 0), entering) is None


def test_without_walls_a_meadow_is_no_shelter_and_with_eight_it_is():
    here = measured(MEADOW)
    assert shelter.find(here, entering, lambda name: True, walls=3) is None
    found = shelter.find(here, entering, lambda name: True, walls=8)
    assert found is not None
    assert len(found.cells) == 4
    position, facing, placed = (10, 10), (0, 1), 0
    assert position in found.cells
    for _ in range(60):
        here.position = position
        step = shelter.next_step(found, here, facing, entering)
        if step is None:
            break
        what, facing = step
        ahead = (position[0] + facing[0], position[1] + facing[1])
        if what == "wall":
            here.write(*ahead, "stone")
            placed += 1
        elif entering(here.at(*ahead)) == 1:
            position = ahead
    assert placed == 8


def test_guarding_closes_every_side_from_outside():
    here = measured(MEADOW)
    here.write(12, 10, "tree")
    position, facing = (10, 10), (1, 0)
    for _ in range(80):
        here.position = position
        here._at = (position[0] - here._x, position[1] - here._y)
        here.measure(np.array([entering(name) for name in here.names], np.int32))
        found = guard.way(here, (12, 10), facing, entering)
        if found is None:
            break
        what, where = found
        if what == "wall":
            here.write(position[0] + where[0], position[1] + where[1], "stone")
        else:
            facing = where if what == "step" else here.step(*where)
            position = (position[0] + facing[0], position[1] + facing[1])
    assert guard.open_sides(here, (12, 10), entering) == []
