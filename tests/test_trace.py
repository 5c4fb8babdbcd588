import json

import pytest

from alicebob import Episode, Outcome, Skill, Turn
from alicebob.journal import append_line
from alicebob.policies import Task
from alicebob.trace import append_journal, read_journal

TURN = Turn("see tree", "do", "I want wood.", 1.0, ("collect_wood",), ("good",), (5, 6), (1, 0))
EPISODE = Episode(
    id="e1",
    environment="crafter",
    seed=7,
    instruction="Live.",
    options={"inventory": {"wood": 1}},
    turns=(TURN,),
    final="end",
    outcome=Outcome.SUCCESS,
    summary={"progress": 0.5},
    budget={"env_steps": 1},
    meta={"focus": "wood"},
)
OTHER = EPISODE.evolve(id="e2")
GOLDEN = (
    '{"sum":"abc63d750301f2ed","id":"e1","environment":"crafter","seed":7,"instruction":"Live.",'
    '"options":{"inventory":{"wood":1}},"outcome":"success","summary":{"progress":0.5},'
    '"budget":{"env_steps":1},"meta":{"focus":"wood"},"turns":[{"observation":"see tree",'
    '"action":"do","thought":"I want wood.","reward":1.0,"events":["collect_wood"],'
    '"tags":["good"],"token_ids":[5,6],"loss_mask":[1,0]}],"final":"end"}\n'
)


def test_the_journal_format_is_pinned(tmp_path):
    path = tmp_path / "episodes.jsonl"
    append_journal(path, EPISODE)
    assert path.read_text() == GOLDEN
    assert read_journal(path) == [EPISODE]


@pytest.mark.parametrize("cut", [1, 40, len(GOLDEN) - 1])
def test_a_torn_last_line_is_an_owed_episode(tmp_path, cut, capsys):
    path = tmp_path / "episodes.jsonl"
    path.write_text(GOLDEN + GOLDEN[:cut])
    assert read_journal(path) == [EPISODE]
    append_journal(path, OTHER)  # goes on where it was, over the torn rest
    assert read_journal(path) == [EPISODE, OTHER]
    assert capsys.readouterr().err == ""


def test_no_flipped_bit_is_read_as_other_data_and_the_episode_is_owed(tmp_path, capsys):
    path = tmp_path / "episodes.jsonl"
    append_journal(path, EPISODE, OTHER)
    whole, first = path.read_bytes(), len(GOLDEN)
    for place in range(len(whole)):
        for bit in (1, 1 << place % 7, 128):
            path.write_bytes(_flipped(whole, place, bit))
            left = [OTHER] if place < first - 1 else [EPISODE] if place >= first else []
            assert read_journal(path) == left
    said = capsys.readouterr().err
    assert "line 2 (ValueError: its checksum does not fit)" in said
    assert "Traceback" not in said


def _flipped(data, place, bit):
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def test_what_is_damaged_is_said_once_and_kept_aside(tmp_path, capsys):
    path = tmp_path / "episodes.jsonl"
    path.write_text("junk\n" + GOLDEN + "{}\n")
    assert read_journal(path) == [EPISODE]
    said = capsys.readouterr().err
    assert said.startswith(f"{path} is damaged in line 1, 3 (")
    assert said.endswith("is kept in episodes.jsonl.damaged.\n")
    assert len(said.splitlines()) == 1
    assert (tmp_path / "episodes.jsonl.damaged").read_text() == "junk\n{}\n"
    append_journal(path, OTHER)
    assert read_journal(path) == [EPISODE, OTHER]
    assert capsys.readouterr().err == ""


NONSENSE = {
    "no turns": {"turns": []},
    "an unknown outcome": {"outcome": "splendid"},
    "no reward": {"turns": [{"observation": "a", "action": "b", "reward": None}]},
    "an endless reward": {"turns": [{"observation": "a", "action": "b", "reward": "inf"}]},
    "a reward that is none": {"turns": [{"observation": "a", "action": "b", "reward": "nan"}]},
    "a seed in words": {"seed": "seven"},
    "another seed": {"seed": 8},
    "another instruction": {"instruction": "Die."},
    "other options": {"options": {}},
    "another environment": {"environment": "webshop"},
    "too many turns": {"turns": [{"observation": "a", "action": "b"}] * 2},
    "an id in a list": {"id": ["e1"]},
    "a turn without an action": {"turns": [{"observation": "a"}]},
}


@pytest.mark.parametrize("changes", NONSENSE.values(), ids=NONSENSE)
def test_well_formed_nonsense_is_damage_too(tmp_path, capsys, changes):
    path = tmp_path / "episodes.jsonl"
    append_journal(path, OTHER)
    append_line(path, EPISODE.to_json() | changes)
    task = Task("e1", 7, "Live.", {"inventory": {"wood": 1}}, 1)
    assert read_journal(path, [task], "crafter") == [OTHER]
    assert "episodes.jsonl is damaged in line 2 (" in capsys.readouterr().err


def test_an_episode_as_it_was_asked_for_is_no_damage(tmp_path, capsys):
    path = tmp_path / "episodes.jsonl"
    append_journal(path, EPISODE, OTHER)
    task = Task("e1", 7, "Live.", {"inventory": {"wood": 1}}, 1)
    assert read_journal(path, [task], "crafter") == [EPISODE, OTHER]
    assert capsys.readouterr().err == ""


def test_an_episode_that_is_there_twice_counts_once_and_two_of_one_name_count_not(tmp_path, capsys):
    path = tmp_path / "episodes.jsonl"
    append_journal(path, EPISODE, OTHER, EPISODE)
    assert read_journal(path) == [EPISODE, OTHER]
    assert capsys.readouterr().err == ""
    append_journal(path, EPISODE.evolve(final="another end"))
    assert read_journal(path) == [OTHER]
    assert "e1 is in it twice" in capsys.readouterr().err
    assert read_journal(path) == [OTHER]


def test_hostile_text_survives_the_journal(tmp_path):
    path = tmp_path / "episodes.jsonl"
    hostile = EPISODE.evolve(turns=(Turn("a\nb\u2028\x00<|im_end|>{}%s\ud800", "do"),))
    append_journal(path, hostile)
    assert path.read_bytes().count(b"\n") == 1
    assert read_journal(path) == [hostile]


def test_a_skill_reads_back_as_it_was():
    skill = Skill("s1", "collect_wood", "Get wood.", "r001", "e1", "crafter", 7, 0, 1, (TURN,))
    assert Skill.from_json(json.loads(json.dumps(skill.to_json()))) == skill


def test_only_infrastructure_trouble_is_owed():
    owed = {outcome.value for outcome in Outcome if outcome.owed}
    assert owed == {"env_error", "provider_error", "cancelled"}
