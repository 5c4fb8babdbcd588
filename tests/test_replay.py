import itertools

import pytest
from PIL import Image

from alicebob.envs import describe, make, parse
from alicebob.errors import DamagedData, UnknownName, UsageError
from alicebob.policies import Reply, Task
from alicebob.replay import frames, write_gif
from alicebob.rollout import play

SPEC = "crafter?limit=2000&observation=compact"


class Walker:
    def start(self, wave):
        pass

    def act(self, lives):
        return [
            Reply(("move_left", "do", "fly", "move_up")[live.draw.integers(4)]) for live in lives
        ]

    def finish(self, live):
        return {}


@pytest.fixture(scope="module")
def episode():
    task = Task("e1", 5, "Look around.", {"near": ["zombie"], "inventory": {"wood": 2}}, 12)
    return next(play([make(SPEC)], Walker(), [task], SPEC))


def test_an_episode_replays_into_a_picture_before_and_after_each_turn(episode):
    pictures = frames(episode, size=90)
    assert len(pictures) == len(episode.turns) + 1
    assert {picture.shape for picture in pictures} == {(90, 90, 3)}
    assert any((a != b).any() for a, b in itertools.pairwise(pictures))
    part = frames(episode, start=3, end=5, size=90)
    assert all((a == b).all() for a, b in zip(part, pictures[3:6], strict=True))


def test_a_gif_is_the_same_bytes_and_lasts_as_long_as_the_episode(episode, tmp_path):
    write_gif(episode, tmp_path / "new" / "a.gif", size=90, rate=10)
    write_gif(episode, tmp_path / "b.gif", size=90, rate=10)
    assert (tmp_path / "b.gif").read_bytes() == (tmp_path / "new" / "a.gif").read_bytes()
    with Image.open(tmp_path / "b.gif") as gif:
        lasts = 0
        for frame in range(gif.n_frames):  # equal pictures in a row are one that lasts longer
            gif.seek(frame)
            lasts += gif.info["duration"]
    assert lasts == 100 * (len(episode.turns) + 1)


@pytest.mark.parametrize("where", ["before turn 7", "at its end"])
def test_a_replay_that_differs_from_the_record_writes_nothing(episode, tmp_path, where):
    turns = list(episode.turns)
    if where == "at its end":
        damaged = episode.evolve(final="You are rich.")
    else:
        turns[6] = turns[6].__class__(turns[6].observation, "place_table")
        damaged = episode.evolve(turns=tuple(turns))
    with pytest.raises(DamagedData, match=f"e1 does not replay: .* {where} than"):
        write_gif(damaged, tmp_path / "a.gif", size=90)
    assert list(tmp_path.iterdir()) == []


class Blind:
    def reset(self, *, seed=None, options=None):
        return "dark", {}

    def step(self, action):
        return "dark", 0.0, False, False, {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": 3, "end": 99}, "has turns 0 to 12, not 3 to 99"),
        ({"start": 5, "end": 4}, "not 5 to 4"),
        ({"environment": f"{__name__}:Blind"}, "no render"),
    ],
)
def test_what_cannot_be_shown_is_refused(episode, change, words):
    environment = change.pop("environment", SPEC)
    with pytest.raises(UsageError, match=words):
        frames(episode.evolve(environment=environment), **change)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "crafter"),
        ({"observation": "compact", "limit": 2000}, SPEC),
        ({"limit": "2000"}, "crafter?limit=%222000%22"),
        ({"a": True, "b": None, "c": 0.5}, "crafter?a=true&b=null&c=0.5"),
        ({"x&y": "a=b c?ü", "e": ""}, "crafter?e=&x%26y=a%3Db%20c%3F%C3%BC"),
    ],
)
def test_settings_are_written_in_one_way_and_read_back(settings, text):
    assert describe("crafter", settings) == text
    assert parse(text) == ("crafter", settings)


def test_settings_in_a_spec_are_used_and_checked():
    assert make(SPEC).max_steps == 2000
    assert make("crafter?limit=balrog", observation="compact").max_steps == 2000
    with pytest.raises(UnknownName, match="Did you mean 'limit'"):
        make("crafter?limits=3")
    with pytest.raises(UsageError, match="'limit' twice"):
        make("crafter?limit=3", limit=4)
    for wrong in ("crafter?limit", "crafter?=3", "crafter?limit=1&limit=2"):
        with pytest.raises(UsageError, match="one setting=value"):
            make(wrong)
    with pytest.raises(UsageError, match="plain values"):
        describe("crafter", {"limit": object()})
