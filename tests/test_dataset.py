import re
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from alicebob.dataset import (
    EPISODES,
    SKILLS,
    read_episodes,
    read_skills,
    write_card,
    write_episodes,
    write_skills,
)
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


def card(folder, **more):
    facts = {"skills": 3, "evil | cell\n": "a|b\n# head"}
    write_card(folder, Path("data/skills/r002"), "Skills", "About.", facts, **more)
    return (folder / "README.md").read_text()


def opened(folder, cache, **more):
    return datasets.load_dataset(str(folder), cache_dir=str(cache), **more)


def test_datasets_opens_a_folder_with_its_card(tmp_path):
    write_skills(tmp_path / "data/r001.parquet", [SKILL])
    write_skills(tmp_path / "data/r002.parquet", [SKILL, SKILL])
    told = card(tmp_path / "data")
    (split,) = opened(tmp_path / "data", tmp_path / "cache").items()
    assert split[0] == "train"
    assert split[1]["name"] == ["collect_wood"] * 3
    assert split[1][0]["turns"][0]["action"] == "move_left"
    assert "# head" not in told.splitlines()


def test_a_round_without_skills_leaves_the_folder_open_to_read(tmp_path):
    """As r000 is, which comes first in every round's folder."""
    folder = tmp_path / "data"
    write_skills(folder / "r000.parquet", [])
    write_skills(folder / "r001.parquet", [SKILL])
    assert pq.read_metadata(folder / "r000.parquet").num_row_groups == 0
    assert read_skills(folder) == [SKILL]
    everything = str(folder / "*.parquet")
    told = datasets.load_dataset("parquet", data_files=everything, cache_dir=str(tmp_path / "c"))
    assert told["train"].num_rows == 1
    card(folder)
    assert opened(folder, tmp_path / "cache")["train"].num_rows == 1
    assert len(list(opened(folder, tmp_path / "cache", streaming=True)["train"])) == 1


def test_a_folder_without_any_rows_says_so(tmp_path):
    write_skills(tmp_path / "r000.parquet", [])
    told = card(tmp_path)
    assert "There are no rows yet" in told
    assert "configs:" not in told
    assert read_skills(tmp_path) == []


def test_splits_have_their_names(tmp_path):
    write_episodes(tmp_path / "data/validation.parquet", [EPISODE])
    write_episodes(tmp_path / "data/test.parquet", [EPISODE, EPISODE])
    splits = {"validation": "validation.parquet", "test": "test.parquet"}
    assert "# validation, test" in card(tmp_path / "data", splits=splits)
    found = opened(tmp_path / "data", tmp_path / "cache")
    assert {name: rows.num_rows for name, rows in found.items()} == {"validation": 1, "test": 2}


def test_rows_of_another_experiment_are_not_taken_from_the_cache(tmp_path):
    """`datasets` keeps what it read under the folder's name and the head of its card."""
    for number in (1, 2):
        folder = tmp_path / str(number) / "data/skills/r001"
        write_skills(folder / "r001.parquet", [SKILL] * number)
        card(folder)
        assert opened(folder, tmp_path / "cache")["train"].num_rows == number


@pytest.mark.parametrize("schema", [EPISODES, SKILLS], ids=["episodes", "skills"])
def test_a_card_describes_every_column(tmp_path, schema):
    write = write_skills if schema is SKILLS else write_episodes
    write(tmp_path / "r001.parquet", [])
    rows = re.findall(r"^\| `([\w.\[\]]+)` \| ([^|]+) \| (.+) \|$", card(tmp_path), re.MULTILINE)
    turn = schema.field("turns").type.value_type
    expected = {*schema.names, *(f"turns[].{field.name}" for field in turn)}
    assert {name for name, _, _ in rows} == expected
    assert all(kind.strip() and told.strip() for _, kind, told in rows)


def test_a_folder_without_files_is_damaged(tmp_path):
    with pytest.raises(DamagedData, match="holds no skills: no Parquet file"):
        read_skills(tmp_path)


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
