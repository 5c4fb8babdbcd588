import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from alicebob.envs import factory, make
from alicebob.envs import hooks as offered
from alicebob.envs.hooks import Marks, Trial
from alicebob.envs.shopping import MARKS

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


class Bare:
    """An environment that offers nothing, and could not be reset."""


class Rich:
    alice = "my_rooms.cave"
    actions = ("go[...]",)
    events = ("find_gold",)
    instructions = "Find gold."
    words = ("gold",)
    marks = Marks(pieces=(r"<[a-z]+>",))

    def suite(self):
        return (Trial("find_gold", "Find gold.", 5),)

    def tasks(self, split, seeds):
        return [(f"{split} {seed}", {"goal": seed}) for seed in seeds]

    def task_free(self, persona):
        return {"persona": persona}

    def score(self, rates):
        return 100 * rates["find_gold"]


class Unrelated:
    """Has attributes of the hooks' names that mean something else."""

    alice, instructions, marks, words = 3, ("Read", "me"), ["<a>"], "gold"
    suite, tasks, task_free, score = "penthouse", [("sweep", {})], None, 0.0
    actions = events = property(lambda self: [1, 2])

    def reset(self, *, seed=None, options=None):
        return "", {"admissible_actions": ["wait"]}


def found(env):
    return {
        "room": offered.room_of(env),
        "told": offered.told(env),
        "events": offered.events_of(env),
        "words": offered.words_of(env),
        "marks": offered.marks_of(env),
        "suite": [trial.name for trial in offered.suite_of(env)],
        "goals": offered.has_goals(env),
        "tasks": offered.tasks_of(env, "test", [7]),
        "free": offered.task_free(env, "idler"),
        "score": offered.score_of(env)({"find_gold": 0.5, "die": 0.25, "reward": 9.0}),
    }


NOTHING = {
    "room": "anywhere",
    "told": "Achieve as much as you can.",
    "events": (),
    "words": (),
    "marks": Marks(),
    "suite": [],
    "goals": False,
    "tasks": [("Achieve as much as you can.", {})],
    "free": {},
    "score": 0.75,
}


@pytest.mark.parametrize("made", [Bare, Unrelated])
def test_each_hook_is_optional_and_what_only_has_its_name_is_none(made):
    assert found(made()) == NOTHING
    if made is Unrelated:
        assert offered.actions_of(made()) == ("wait",)


def test_what_an_environment_offers_is_used():
    assert found(Rich()) == {
        "room": "my_rooms.cave",
        "told": "Find gold.",
        "events": ("find_gold",),
        "words": ("gold",),
        "marks": Rich.marks,
        "suite": ["find_gold"],
        "goals": True,
        "tasks": [("test 7", {"goal": 7})],
        "free": {"persona": "idler"},
        "score": 50.0,
    }
    assert offered.actions_of(Rich()) == ("go[...]",)
    assert offered.offers(Rich, "tasks")
    assert not offered.offers(Unrelated, "tasks")


def test_the_worlds_say_which_alice_knows_them_before_one_is_made():
    assert {name: offered.room_of(factory(name)) for name in ("crafter", "webshop")} == {
        "crafter": "grid",
        "webshop": "shop",
    }
    assert offered.told(make("crafter")) == "Survive and achieve as much as you can."
    assert offered.marks_of(factory("webshop")) is MARKS


def test_every_entry_point_of_the_project_is_there():
    declared = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["entry-points"]
    for group, points in declared.items():
        for name, value in points.items():
            assert callable(EntryPoint(name, value, group).load())


def test_a_worlds_command_helps_itself():
    value = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["entry-points"]
    command = EntryPoint("webshop", value["alicebob.commands"]["webshop"], "").load()
    result = CliRunner().invoke(command, ["prepare", "--help"])
    assert result.exit_code == 0
    assert "--from DIRECTORY" in result.stdout
    wrong = CliRunner().invoke(command, ["prepare", "--from", "/nowhere"])
    assert wrong.exit_code == 2
    assert "does not exist" in wrong.stderr
