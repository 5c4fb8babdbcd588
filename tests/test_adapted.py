"""Starts adapted by feedback: episodes that begin with what a trial of what is asked for grants."""

from types import SimpleNamespace

import pytest
from test_plan import changed, planned, write  # noqa: F401 -- a fixture

from alicebob.alice import Alice
from alicebob.alice.embedded import explore
from alicebob.alice.feedback import Feedback
from alicebob.alice.grid.explore import Mind
from alicebob.alice.room import room
from alicebob.alice.validity import check
from alicebob.draws import generator
from alicebob.envs import World
from alicebob.envs.hooks import suite_of
from alicebob.errors import UsageError
from alicebob.experiment import plan
from alicebob.experiment.params import load_params
from alicebob.methods import exif
from alicebob.policies import Live, Task
from alicebob.trace import OPEN_PLAY

CRAFTER = World("crafter", {"observation": "compact", "limit": "balrog"})
GRID = room("grid")
ASKED = {"collect_iron": 3.0, "make_stone_pickaxe": 1.0, "collect_sapling": 5.0}
GRANTS = {trial.name: trial.options for trial in suite_of(CRAFTER())}
ADAPTED = "{prev: r000, explore: {adapted: 0.5}}"


@pytest.fixture
def her(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    spare = {"adapter": tmp_path, "scratch": tmp_path, "ledger": tmp_path / "used"}
    return Alice(load_params("r002"), CRAFTER, "r002", **spare)


def test_a_share_of_the_worlds_begins_as_the_trials_of_what_is_asked_for_do(her):
    tasks = her.free_tasks(400, 50, range(1000), ASKED, 0.5)
    plain = her.free_tasks(400, 50, range(1000))
    assert [(t.id, t.seed) for t in tasks] == [(t.id, t.seed) for t in plain]
    assert not any(task.options for task in plain)
    granted = [task.options for task in tasks if task.options]
    assert 160 < len(granted) < 240
    counts = {name: granted.count(GRANTS[name]) for name in ASKED}
    assert GRANTS["collect_sapling"] == {}  # it needs nothing
    assert counts["collect_iron"] + counts["make_stone_pickaxe"] == len(granted)
    assert 2 < counts["collect_iron"] / counts["make_stone_pickaxe"] < 4.5
    assert tasks == her.free_tasks(400, 50, range(1000), ASKED, 0.5)


def test_where_nothing_is_asked_for_that_needs_anything_worlds_begin_as_they_are(her):
    assert not any(t.options for t in her.free_tasks(50, 50, range(100), {}, 1.0))
    assert not any(t.options for t in her.free_tasks(50, 50, range(100), {"collect_sapling": 1}, 1))
    assert all(t.options for t in her.free_tasks(50, 50, range(100), ASKED, 1.0))


def test_what_is_granted_is_no_vital_and_episodes_and_skills_replay(her, tmp_path):
    free = [Task(f"a-{n}", n, max_turns=250) for n in range(16)]
    _, known = explore(GRID, CRAFTER, GRID.memory(), {}, free, 8, tmp_path / "a")
    env, options = CRAFTER(), GRANTS["make_stone_pickaxe"]
    task = Task("b", 3, options=options, max_turns=60)
    text, info = env.reset(seed=3, options=options)
    assert info["inventory"]["stone"] == info["inventory"]["wood"] == 1
    mind = Mind(known, {}, (), Live(task, text, info, generator("x")))
    assert set(mind.senses.vitals) == {"health", "food", "drink", "energy"}
    asked = {"make_stone_pickaxe": 1.0}
    tasks = her.free_tasks(6, 60, range(1000), asked, 1.0)
    episodes, _, _ = her.explore(tasks, known, asked, "")
    assert sum("make_stone_pickaxe" in e.summary["events"] for e in episodes) >= 4  # in 60 turns
    assert all(episode.options == options for episode in episodes)
    labelled = her.label(episodes).skills
    assert check(labelled, episodes, CRAFTER) == (labelled, {})
    whole = [skill for skill in labelled if skill.name == OPEN_PLAY]
    assert whole
    assert all(skill.options == options for skill in labelled)


def test_a_vital_that_is_granted_is_one_also_for_who_knows_nothing():
    env, options = CRAFTER(), GRANTS["eat_cow"]
    text, info = env.reset(seed=3, options=options)
    live = Live(Task("b", 3, options=options, max_turns=60), text, info, generator("x"))
    for known, full in ((GRID.memory(), 4), (GRID.memory(vitals={"food": 9}), 9)):
        assert Mind(known, {}, (), live).senses.full["food"] == full


def test_what_worlds_begin_with_does_not_depend_on_how_much_is_wished_for(tmp_path):
    Feedback("r001", {}, {"collect_iron": 1.0}, "Iron.").save(tmp_path)
    seen = []
    alice = SimpleNamespace(
        free_tasks=lambda *given: seen.append(given),
        recall=lambda folder: None,
        explore=lambda tasks, known, wishes, prose: seen.append(wishes) or ([], None, []),
    )
    params = SimpleNamespace(
        explore=SimpleNamespace(episodes=3, max_turns=9, adapted=0.5),
        seeds=SimpleNamespace(of=lambda name: range(9)),
        feedback=SimpleNamespace(strength=0.0),
    )
    exif.steered(SimpleNamespace(params=params, alice=alice, inherited=lambda kind: tmp_path))
    assert seen == [(3, 9, range(9), {"collect_iron": 1.0}, 0.5), {"collect_iron": 0.0}]


def test_only_exploring_is_run_again_and_only_where_it_is_wanted(planned):  # noqa: F811
    before = planned(rounds="  r001: {prev: r000}\n")
    after = planned(rounds=f"  r001: {ADAPTED}\n")
    assert changed(before, after) == {"r001/explore.json"}
    assert b"adapted" not in b"".join(before.values())


def test_a_method_or_an_environment_that_cannot_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = "explore: {adapted: 0.5}"
    write(tmp_path, rounds=f"  r001: {{prev: r000, method: explore_first, {block}}}\n")
    with pytest.raises(UsageError, match=r"explore.adapted is not read by explore_first"):
        plan.write()
    shop = ("spec: crafter\n  settings: {observation: compact, limit: balrog}", "spec: webshop")
    write(tmp_path, shop, rounds=f"  r001: {ADAPTED}\n")
    with pytest.raises(UsageError, match=r"explore.adapted is not read .* in webshop nobody"):
        plan.write()
