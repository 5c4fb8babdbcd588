from click.testing import CliRunner

from alicebob.cli import main


def run(*words, **kwargs):
    return CliRunner().invoke(main, words, **kwargs)


def test_the_list_names_the_environments():
    assert run("env", "list").stdout == (
        "crafter\talicebob.envs.crafter:Crafter\nwebshop\talicebob.envs.webshop:WebShop\n"
    )


def test_check_plays_twice_and_compares():
    result = run("env", "check", "crafter", "observation=compact", "limit=20")
    assert result.exit_code == 0
    assert result.stdout == "crafter: 20 turns, twice the same for seed 0.\n"


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
