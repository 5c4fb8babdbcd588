import datasets
import pytest

from alicebob.dataset import read_episodes, read_skills, write_card, write_episodes, write_skills
from alicebob.errors import DamagedData
from alicebob.trace import Episode, Outcome, Skill, Turn

TURNS = (
    Turn("see tree", "move_left", thought="collect wood", tags=("intent:use tree",)),
    Turn("faces tree \ud800 <|im_end|>", "do", reward=1.0, events=("collect_wood",)),
    Turn("wood", "noop", token_ids=(3, 9), loss_mask=(0, 1)),
)
EPISODE = Episode(
    id="r001-explore-0001",
    environment="crafter?observation=compact",
    seed=7,
    options={"inventory": {"wood": 2}},
    turns=TURNS,
    final="end",
    outcome=Outcome.TURN_LIMIT,
    summary={"events": {"collect_wood": 1}, "progress": 1 / 22},
    budget={"env_steps": 3},
)
SKILL = Skill(
    "s1", "collect_wood", "Get wood.", "r001", EPISODE.id, "crafter", 7, 0, 2, TURNS[:1], context=1
)


def test_what_is_written_is_read_back_and_bytes_are_the_same(tmp_path):
    write_skills(tmp_path / "s" / "r001.parquet", [SKILL])
    write_skills(tmp_path / "t" / "r001.parquet", [SKILL])
    assert read_skills(tmp_path / "s") == [SKILL]
    first, second = (tmp_path / name / "r001.parquet" for name in "st")
    assert first.read_bytes() == second.read_bytes()
    write_episodes(tmp_path / "e.parquet", [EPISODE])
    (back,) = read_episodes(tmp_path / "e.parquet")
    assert back.turns[0] == EPISODE.turns[0]
    assert back.turns[1].observation == "faces tree \\ud800 <|im_end|>"
    assert back.evolve(turns=()) == EPISODE.evolve(turns=())


def test_datasets_opens_a_folder_with_its_card(tmp_path):
    write_skills(tmp_path / "data" / "r001.parquet", [SKILL])
    write_skills(tmp_path / "data" / "r002.parquet", [SKILL, SKILL])
    write_card(tmp_path / "data", "Skills", {"skills": 3, "evil | cell\n": "a|b\n# head"}, "About.")
    rows = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    assert rows["name"] == ["collect_wood"] * 3
    assert rows[0]["turns"][0]["action"] == "move_left"
    assert "# head" not in (tmp_path / "data" / "README.md").read_text().splitlines()


@pytest.mark.parametrize("damage", [b"", b"PAR1 but not really", None])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "r001.parquet"
    write_skills(path, [SKILL])
    path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
    with pytest.raises(DamagedData, match=r"r001\.parquet cannot be read as skills"):
        read_skills(path)


def test_episodes_are_not_skills(tmp_path):
    write_episodes(tmp_path / "r001.parquet", [EPISODE])
    with pytest.raises(DamagedData, match="skills"):
        read_skills(tmp_path / "r001.parquet")
