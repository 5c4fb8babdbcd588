"""`alicebob env check` says beforehand what will go wrong, and what the rounds will have."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from alicebob.cli import main
from alicebob.envs import World, factory, from_here, make
from alicebob.envs import hooks as offered
from alicebob.envs.hooks import Trial
from alicebob.errors import AliceBobError, EnvError, UsageError
from alicebob.experiment.sources import behind, sources
from alicebob.methods import method

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
DOOR = re.search(r"```python[^\n]*\n(class Door.*?)```", README, re.DOTALL)[1]


def check(name):
    return CliRunner().invoke(main, ["env", "check", f"{__name__}:{name}"])


class Plain:
    """Steps from 0 to 9; what is wrong with it is in its heirs."""

    def reset(self, *, seed=None, options=None):
        self.place = (seed or 0) % 3
        return self.seen()

    def step(self, action):
        self.place += action == "right"
        return (self.seen()[0], 0.0, self.place > 9, False, self.seen()[1])

    def seen(self):
        events = ["arrive"] if self.place > 9 else []
        return f"at {self.place}", {"admissible_actions": ["left", "right"], "events": events}


class Hashed(Plain):
    def seen(self):
        return " ".join({"a", "b", "c", "d", "e", "f"}), super().seen()[1]


class Careless(Plain):
    def seen(self):
        return str(random.random()), super().seen()[1]


class Kept(Plain):
    """Begins where the episode before ended."""

    before = 0

    def reset(self, **asked):
        super().reset(**asked)
        self.place = self.before
        return self.seen()

    def step(self, action):
        self.before = min(5, self.before + 1)
        return super().step(action)


class Shared(Plain):
    """Two of them are in one place."""

    places = [0]  # noqa: RUF012 - the fault it is about

    @property
    def place(self):
        return self.places[0]

    @place.setter
    def place(self, value):
        self.places[0] = value


class Late(Plain):
    def step(self, action):
        return (*super().step(action)[:4], {"events": "arrive"})


class Leaves(Plain):
    def step(self, action):
        sys.exit(0)


class Stops(Plain):
    def step(self, action):
        raise KeyboardInterrupt


class Dies(Plain):
    def step(self, action):
        os.kill(os.getpid(), signal.SIGKILL)


class Stuck(Plain):
    def step(self, action):
        while self.place >= 0:
            pass


class Shut(Plain):
    def close(self):
        raise OSError("the door is open")


class Unmade(Plain):
    def __init__(self):
        raise FileNotFoundError("map.txt")


class Stepless:
    def reset(self, *, seed=None, options=None):
        return "", {}


FAULTS = {
    "Hashed": "gives another episode for the same seed 0 and actions in another process, where",
    "Careless": "gives another episode for the same seed 0 and actions when it is played again",
    "Kept": "gives another episode for the same seed 0 and actions when it is played again",
    "Shared": "gives another episode for the same seed 0 and actions when another one is played at",
    "Late": "info['events'] of step must be a list of strings, and is 'arrive'",
    "Leaves": "step raised SystemExit (0",
    "Stops": "step raised KeyboardInterrupt",
    "Dies": "A worker process was killed",
    "Stuck": "step did not come back within 1 s",
    "Shut": "close raised OSError (the door is open",
    "Unmade": "its constructor raised FileNotFoundError (map.txt, test_env_check.py line",
    "Stepless": "has no reset and step",
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_will_fail_is_said_beforehand_in_one_sentence(name, monkeypatch):
    monkeypatch.setenv("ALICEBOB_STEP_LIMIT", "1" if name == "Stuck" else "20")
    before = dict(os.environ)
    result = check(name)
    assert (result.exit_code, result.stdout) == (2 if name == "Stepless" else 1, "")
    assert FAULTS[name] in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("observatoin=compact", "Unknown setting 'observatoin' in environment 'crafter'. Did you"),
        ("observation=5", "Unknown observation format 5 in crafter. Known: compact, notes, "),
    ],
)
def test_a_wrong_setting_is_told_from_another_process(setting, told):
    result = CliRunner().invoke(main, ["env", "check", "crafter", setting])
    assert result.exit_code == 2
    assert told in result.stderr


def told(name):
    result = check(name)
    assert result.exit_code == 0, result.output
    first, *parts = result.stdout.splitlines()
    assert re.fullmatch(rf"{__name__}:{name}: \d+ turns, twice the same for seed 0\.", first)
    return {line[:10].strip(): line[10:] for line in parts}


class Rich(Plain):
    alice, words, marks = 3, ["at"], "<a>"
    events = ("arrive", "took a step (any)")

    def suite(self):
        return [Trial("arrive", "Arrive.", 30), Trial("fly", "Fly.", 5)]

    def tasks(self, split, seeds):
        return [(f"Arrive, in the {split}.", {}) for _ in seeds]


def test_it_says_what_the_rounds_will_have():
    plain = told("Plain")
    assert plain["tiny Bob"].startswith(
        "can be built of random play; words of his own: left, right;"
    )
    assert plain["Alice"] == "room 'anywhere'; in 15 short episodes she brought about: arrive."
    assert plain["trials"].startswith("none (no suite())")
    assert plain["goals"].startswith("none (no tasks())")
    assert plain["feedback"] == "on arrive."
    assert plain["events"] == "arrive."
    assert plain["hooks"] == "none."
    rich = told("Rich")
    assert rich["trials"] == "2: arrive, fly. None of its events is called fly."
    assert rich["goals"] == "of its own by split, such as 'Arrive, in the train.'."
    assert rich["feedback"] == "on arrive, fly, goal."
    assert rich["events"].endswith(
        "MLflow does not take all signs of 'took a step (any)' and gets others."
    )
    assert rich["hooks"] == (
        "events, words, suite, tasks. Taken for no hook: alice (it must be a string), "
        "marks (it must be Marks)."
    )


class Free(Plain):
    """Lists no actions: a language model may play it, and who draws from a list may not."""

    def seen(self):
        return f"at {self.place}", {}


class Lacking(Plain):
    alice = "grid"


class Half(Lacking):
    """Shows a grid, and nothing else that who knows grids looks at."""

    def seen(self):
        return super().seen()[0], super().seen()[1] | {"view": [["grass"] * 9] * 7}


class Elsewhere(Plain):
    alice = "my_rooms.cave"


class Wrong(Plain):
    def suite(self):
        return ["arrive"]


class Wronger(Plain):
    def tasks(self, split, seeds):
        return [("Arrive.", {})]


def test_what_is_missing_is_told_and_what_fails_is_an_error():
    assert told("Free")["tiny Bob"].startswith("no: Random play draws from info['admissible")
    assert told("Lacking")["Alice"].startswith("no: The embedded Alice explores worlds seen as a")
    assert "there is no such room" in told("Elsewhere")["Alice"]
    for name, part, words in (
        ("Half", "Alice", "fails with KeyError ('inventory', senses.py line"),
        ("Wrong", "trials", "What the environment's suite() returns must be Trials"),
        ("Wronger", "goals", "What the environment's tasks(split, seeds) returns must be a pair"),
    ):
        result = check(name)
        assert result.exit_code == 1
        assert words in result.stdout
        assert result.stderr.startswith(f"Error: {__name__}:{name} does not do for the rounds: see")
        assert part in result.stderr


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with modules of one's own that are on no path."""
    monkeypatch.chdir(tmp_path)
    for name in ("my_module", "beside", "my_pack"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "my_module.py").write_text(f"import beside\n\n\n{DOOR}")
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "json").mkdir()  # a folder of a name that others import
    yield tmp_path
    for name in ("my_module", "beside", "my_pack"):
        sys.modules.pop(name, None)


def test_a_module_of_the_working_directory_is_found_and_others_find_nothing_there(here):
    before = list(sys.path)
    assert make("my_module:Door").reset(seed=0)[0] == "a door, a key"
    assert sys.path == before
    with pytest.raises(ImportError), from_here():
        raise ImportError
    assert sys.path == before
    (here / "later.py").write_text("")
    with pytest.raises(ModuleNotFoundError):
        __import__("later")
    done = subprocess.run(
        [sys.executable, "-m", "alicebob", "env", "check", "my_module:Door"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "she brought about: open_door, take_key." in done.stdout


ROOM = """
from dataclasses import replace

from alicebob.alice import anywhere
from alicebob.alice.anywhere.explore import Explorer


class Own(Explorer):
    "Explores as anywhere, and is of a module that is on no path."


ROOM = replace(anywhere.ROOM, explorer=Own)
"""
PLAYED = """
from pathlib import Path

from alicebob.alice.embedded import explore
from alicebob.alice.room import room
from alicebob.envs import World
from alicebob.policies import Task

if __name__ == "__main__":
    here, tasks = room("my_pack.room"), [Task(f"e{n}", n, max_turns=9) for n in range(6)]
    world, memory = World("my_module:Door"), here.memory()
    _, memory = explore(here, world, memory, {}, tasks, 6, Path("journals"), workers=2)
    print(sorted(memory.events))
"""


def test_a_room_of_ones_own_is_found_there_by_worker_processes_too(here, tmp_path_factory):
    (here / "my_pack").mkdir()
    (here / "my_pack" / "__init__.py").write_text("")
    (here / "my_pack" / "room.py").write_text(ROOM)
    script = tmp_path_factory.mktemp("elsewhere") / "played.py"
    script.write_text(PLAYED)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout == "['open_door', 'take_key']\n", done.stderr


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("my_module:Window", "cannot be imported: AttributeError (module 'my_module' has no"),
        ("torn:Door", "cannot be imported: SyntaxError (invalid syntax (torn.py, line 1))."),
        ("leaving:Door", "cannot be imported: SystemExit (3, leaving.py line 2)"),
        ("nowhere:Door", "cannot be imported: ModuleNotFoundError (No module named 'nowhere'"),
        (":Door", "must be a name or of the form module:Class"),
        ("my_module:", "must be a name or of the form module:Class"),
        ("..my_module:Door", "must be a name or of the form module:Class"),
        ("my_module:Door.step.__name__", "is no class and no function"),
    ],
)
def test_a_spec_that_names_nothing_is_one_sentence(here, spec, words):
    (here / "torn.py").write_text("def def")
    (here / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(UsageError) as raised:
        factory(spec)
    assert words in str(raised.value)


def test_code_of_ones_own_counts_with_what_it_imports_here(here):
    (here / "my_pack").mkdir()
    for name in ("__init__", "world", "room", "unused"):
        (here / "my_pack" / f"{name}.py").write_text("")
    (here / "my_pack" / "world.py").write_text(
        "import numpy\n\n\nclass World:\n    alice = 'my_pack.room'\n\n"
        "    def reset(self, **asked):\n        import beside\n\n    def step(self, action): ...\n"
    )
    (here / "unrelated.py").write_text("")
    names = [
        path.relative_to(here).as_posix() for path in behind(method("exif"), "my_pack.world:World")
    ]
    assert names == [
        "beside.py",
        "my_pack/__init__.py",
        "my_pack/room.py",
        "my_pack/unused.py",
        "my_pack/world.py",
    ]
    assert [p.name for p in behind(method("exif"), "my_module:Door")] == [
        "beside.py",
        "my_module.py",
    ]
    assert behind(method("exif"), "crafter") == behind(method("exif"), None) == []
    installed = sources({"click.core"})  # elsewhere: the whole package, and nothing it imports
    assert {path.parent.name for path in installed} == {"click"}


class Numbers(Plain):
    def score(self, rates):
        return float("nan")

    def task_free(self, persona):
        return "nothing"

    def actions(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "ask",
    [
        lambda env: offered.suite_of(env),
        lambda env: offered.tasks_of(env, "test", [1, 2]),
        lambda env: offered.task_free(env, ""),
        lambda env: offered.score_of(env)({}),
    ],
)
def test_what_a_hook_should_not_give_is_an_error_of_one_sentence(ask):
    class Odd(Numbers, Wrong, Wronger):
        """Does everything wrong."""

    with pytest.raises(EnvError, match=r"^What the environment's .* returns must be .*\.$"):
        ask(Odd())


def test_a_hook_that_raises_is_the_environments_error():
    world = World(f"{__name__}:Numbers")
    with pytest.raises(AliceBobError, match="actions raised RuntimeError"):
        world().actions()
