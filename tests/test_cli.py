import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from alicebob.cli import main
from alicebob.dataset import write_episodes
from alicebob.trace import Episode, Outcome, Turn

OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def run(*words, **kwargs):
    return CliRunner().invoke(main, words, **kwargs)


def test_the_list_names_the_environments():
    assert run("env", "list").stdout == (
        "crafter\talicebob.envs.crafter:Crafter\nwebshop\talicebob.envs.webshop:WebShop\n"
    )


def test_check_plays_twice_and_compares():
    result = run("env", "check", "crafter", "observation=compact", "limit=20")
    assert result.exit_code == 0
    assert result.stdout.startswith("crafter: 20 turns, twice the same for seed 0.\n")


class Drifting:
    """An environment that remembers across episodes: not reproducible."""

    count = 0

    def reset(self, *, seed=None, options=None):
        Drifting.count += 1
        return str(Drifting.count), {}

    def step(self, action):
        return "end", 0.0, True, False, {}


def test_check_finds_an_environment_that_does_not_repeat():
    result = run("env", "check", f"{__name__}:Drifting")
    assert result.exit_code == 1
    assert "another episode for the same seed" in result.stderr


def test_play_takes_typed_actions_until_an_empty_line():
    result = run("env", "play", "crafter", input="noop\nMove West\n\n")
    assert result.exit_code == 0
    assert "You took action move_west." in result.stdout
    assert result.stdout.endswith("Reward: 0.00\n")


def test_a_wrong_name_is_one_sentence_and_exit_code_2():
    result = run("env", "play", "craftr")
    assert result.exit_code == 2
    assert result.stderr == "Error: Unknown environment 'craftr'. Did you mean 'crafter'?\n"


def test_threads_are_told_to_yield_before_torch_is_there_unless_the_user_chose():
    shown = "os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules"
    code = f"import os, sys, alicebob.cli; print({shown})"
    base = {name: v for name, v in os.environ.items() if name not in OPENMP}
    for own, told in (({}, "1000 False"), ({"OMP_WAIT_POLICY": "active"}, "None False")):
        words = [sys.executable, "-c", code]
        done = subprocess.run(
            words, env={**base, **own}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == told


def test_ctrl_c_while_modules_are_imported_says_nothing(tmp_path):
    (tmp_path / "slow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    words = [sys.executable, "-c", "import alicebob.cli, slow"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_help_imports_nothing_heavy():
    code = "import sys; import alicebob.cli; print({*sys.argv[1:]} & {*sys.modules})"
    heavy = ["torch", "numpy", "mlflow", "dvc", "pydantic", "pyarrow", "ruamel.yaml"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    ("round_id", "rounds"),
    [
        ("wide-deep", "{wide-deep: {prev: r000}, wide: {prev: r000}}"),
        ("wide", "{wide: {prev: r000}, wide-test: {prev: wide}}"),
        ("r000", "{}"),
    ],
)
def test_an_episode_is_found_in_the_round_that_its_id_begins_with(
    tmp_path, monkeypatch, round_id, rounds
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"rounds: {rounds}\n")
    turn = Turn("A tree.", "do", "I need wood.", events=("collect_wood",))
    episode = Episode(f"{round_id}-test-eat-00", "crafter", 3, "Eat.", turns=(turn,))
    folder = tmp_path / "data/evaluations" / round_id
    write_episodes(folder / "test.parquet", [episode.evolve(outcome=Outcome.FAILURE)])
    shown = run("episode", "show", episode.id)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == (
        f"{episode.id}, crafter, seed 3: Eat.\n"
        "\n[0] A tree.\n> do (I need wood.) -> collect_wood\n\nfailure after 1 turns\n"
    )
    for unknown in (f"{round_id}-test-eat-01", "r009-test-eat-00"):
        assert f"There is no episode '{unknown}'" in run("episode", "show", unknown).stderr


REGISTERED = """
import click

@click.group()
def mine():
    "Commands from elsewhere."

@mine.command()
@click.argument("word")
def say(word):
    click.echo(word)

nothing = 1
"""


@pytest.fixture
def registered(tmp_path):
    """A folder on the path that registers commands: one good, and two that cannot be called."""
    points = "mine = elsewhere:mine\ntorn = torn:mine\nnothing = elsewhere:nothing\n"
    info = tmp_path / "elsewhere-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[alicebob.commands]\n{points}")
    (tmp_path / "elsewhere.py").write_text(REGISTERED)
    (tmp_path / "torn.py").write_text("print('imported')\nraise RuntimeError('no\\nluck')\n")

    def call(*words):
        path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
        return subprocess.run(
            [sys.executable, "-m", "alicebob", *words],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )

    return call


def test_a_registered_command_is_listed_and_imported_only_when_it_is_called(registered):
    shown = registered("--help")
    assert shown.returncode == 0, shown.stderr
    names = [line.split()[0] for line in shown.stdout.partition("Commands:")[2].splitlines()[1:]]
    assert names == sorted(names)
    assert {"mine", "torn", "nothing", "env", "round"} <= set(names)
    assert "imported" not in shown.stdout
    assert registered("mine", "say", "hello").stdout == "hello\n"
    assert "Commands from elsewhere." in registered("mine", "--help").stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torn", "The command 'torn' (torn:mine) cannot be imported (RuntimeError: no luck)."),
        ("nothing", "The command 'nothing' (elsewhere:nothing) is no click command."),
    ],
)
def test_a_registered_command_that_cannot_be_called_is_one_sentence(registered, name, told):
    done = registered(name, "say")
    assert (done.returncode, done.stderr) == (2, f"Error: {told}\n")
