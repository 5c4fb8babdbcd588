import json

import pytest

from alicebob import Episode, Outcome, Skill, Turn
from alicebob.errors import DamagedData
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
GOLDEN = (
    '{"id":"e1","environment":"crafter","seed":7,"instruction":"Live.",'
    '"options":{"inventory":{"wood":1}},"outcome":"success","summary":{"progress":0.5},'
    '"budget":{"env_steps":1},"meta":{"focus":"wood"},"turns":[{"observation":"see tree",'
    '"action":"do","thought":"I want wood.","reward":1.0,"events":["collect_wood"],'
    '"tags":["good"],"token_ids":[5,6],"loss_mask":[1,0]}],"final":"end"}\n'
)


def test_the_journal_format_is_pinned(tmp_path):
    path = tmp_path / "episodes.jsonl"
    append_journal(path, EPISODE)
    assert path.read_text() == GOLDEN
    assert list(read_journal(path)) == [EPISODE]


@pytest.mark.parametrize("cut", [1, 40, len(GOLDEN) - 1])
def test_a_torn_last_line_is_an_owed_episode(tmp_path, cut):
    path = tmp_path / "episodes.jsonl"
    path.write_text(GOLDEN + GOLDEN[:cut])
    assert list(read_journal(path)) == [EPISODE]
    append_journal(path, EPISODE)  # goes on where it was, over the torn rest
    assert list(read_journal(path)) == [EPISODE, EPISODE]


@pytest.mark.parametrize("line", ["{}", "[]", "not json", GOLDEN.replace("7", '"7"').strip()])
def test_a_damaged_line_names_file_and_line(tmp_path, line):
    path = tmp_path / "episodes.jsonl"
    path.write_text(GOLDEN + line + "\n")
    with pytest.raises(DamagedData, match=r"episodes\.jsonl, line 2, is not (an episode|JSON)"):
        list(read_journal(path))


def test_hostile_text_survives_the_journal(tmp_path):
    path = tmp_path / "episodes.jsonl"
    hostile = EPISODE.evolve(turns=(Turn("a\nb\u2028\x00<|im_end|>{}%s\ud800", "do"),))
    append_journal(path, hostile)
    assert path.read_bytes().count(b"\n") == 1
    assert next(iter(read_journal(path))) == hostile


def test_a_skill_reads_back_as_it_was():
    skill = Skill("s1", "collect_wood", "Get wood.", "r001", "e1", "crafter", 7, 0, 1, (TURN,))
    assert Skill.from_json(json.loads(json.dumps(skill.to_json()))) == skill


def test_only_infrastructure_trouble_is_owed():
    owed = {outcome.value for outcome in Outcome if outcome.owed}
    assert owed == {"env_error", "provider_error", "cancelled"}
