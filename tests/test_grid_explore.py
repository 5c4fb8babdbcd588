import json
import os
import subprocess
import sys

import pytest

from alicebob.alice.embedded import explore
from alicebob.alice.grid import ROOM
from alicebob.alice.grid.affordance import Change
from alicebob.alice.grid.explore import Curious
from alicebob.alice.grid.label import label
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.grid.think import think
from alicebob.alice.validity import check
from alicebob.envs import World, make
from alicebob.errors import AliceBobError, DamagedData, UsageError
from alicebob.policies import Task
from alicebob.rollout import play

SETTINGS = {"observation": "compact"}
WORLD = World("crafter", SETTINGS)
TASKS = [Task(f"e{n}", n, max_turns=100) for n in range(6)]


def run(folder, tasks=TASKS, **options):
    knowledge = options.pop("knowledge", None) or Knowledge()
    wishes = options.pop("wishes", {})
    return explore(ROOM, WORLD, knowledge, wishes, tasks, 4, folder, **options)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    return run(tmp_path_factory.mktemp("explored"))


def test_alice_learns_what_works_and_achieves_something(explored):
    episodes, knowledge = explored
    assert [e.id for e in episodes] == [t.id for t in TASKS]
    assert knowledge.episodes == 6
    assert knowledge.intents["use tree"].gain("wood") == 1.0
    assert knowledge.things["grass"].entered
    assert not knowledge.things["tree"].entered
    assert sum(e.summary["progress"] for e in episodes) / 6 > 0.1
    assert all("evidence" not in e.meta for e in episodes)


def test_the_number_of_workers_and_a_kill_change_nothing(explored, tmp_path):
    assert run(tmp_path / "two", workers=2) == explored
    run(tmp_path / "killed", TASKS[:5])
    assert run(tmp_path / "killed") == explored


def test_hash_seeds_change_nothing(tmp_path):
    code = (
        "import json, pathlib, sys; from alicebob.alice.embedded import explore;"
        "from alicebob.alice.grid import ROOM; from alicebob.envs import World;"
        "from alicebob.policies import Task; world = World('crafter', {'observation': 'compact'});"
        "tasks = [Task(f'e{n}', n, max_turns=100) for n in range(5)];"
        "e, k = explore(ROOM, world, ROOM.memory(), {'eat_cow': 1.0}, tasks, 4,"
        "  pathlib.Path(sys.argv[1]));"
        "print(json.dumps([k.to_json(), [x.to_json() for x in e]]))"
    )
    outs = []
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outs.append(found.stdout)
    assert outs[0] == outs[1]


def test_no_torch_is_needed():
    code = (
        "import sys, alicebob.alice.embedded, alicebob.alice.grid, alicebob.alice.validity;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_skills_of_real_episodes_reproduce_and_doctored_ones_do_not(explored):
    episodes, _ = explored
    skills = [think(skill) for skill in label(episodes, "r001")]
    kept, dropped = check(skills, episodes, World("crafter", SETTINGS))
    assert kept == skills
    assert dropped == {}
    assert check(skills, episodes, World("crafter", SETTINGS), workers=2) == (kept, dropped)
    other = [e.evolve(seed=e.seed + 1) for e in episodes]
    assert check(skills, other, World("crafter", SETTINGS))[0] == []
    changed = [e.evolve(turns=e.turns[1:]) for e in episodes]
    _, dropped = check(skills, changed, World("crafter", SETTINGS))
    assert sum(dropped.values()) > 0.9 * len(skills)
    with pytest.raises(AliceBobError, match="not at hand"):
        check(skills, [], World("crafter", SETTINGS))


def test_knowledge_survives_a_file_and_damage_is_one_sentence(explored, tmp_path):
    _, knowledge = explored
    knowledge.save(tmp_path / "knowledge.json")
    assert Knowledge.load(tmp_path / "knowledge.json") == knowledge
    (tmp_path / "knowledge.json").write_text('{"episodes": 1}')
    with pytest.raises(DamagedData, match=r"knowledge\.json"):
        Knowledge.load(tmp_path / "knowledge.json")


def test_merging_is_adding_up():
    left, right = Knowledge(episodes=1), Knowledge(episodes=2)
    change = Change(uses={"wood": 2}, events={"place_table": 1}, made="table")
    left.intent("place_table").success({"wood": 9, "sapling": 1}, "grass", change)
    right.intent("place_table").failure({"wood": 1}, "grass")
    right.intent("place_table").success({"wood": 2}, "sand", change)
    left.merge(right)
    table = left.intents["place_table"]
    assert (table.tried, table.worked, left.episodes) == (3, 2, 3)
    assert table.required() == {"wood": 2}
    assert table.hopeless({"wood": 1}, "grass")
    assert not table.hopeless({"wood": 2}, "grass")
    again = Knowledge.from_json(json.loads(json.dumps(left.to_json())))
    assert again == left


def test_a_world_without_a_grid_is_refused_in_one_sentence():
    env = make("webshop", catalogue="generated:5")
    with pytest.raises(UsageError, match="worlds seen as a grid"):
        next(play([env], Curious(), [Task("e", 0)], "webshop"))
