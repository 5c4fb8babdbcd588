"""Pairs of success and failure, held against a file; and a user's own file of episodes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from alicebob.bob.pairs import (
    Trajectory,
    pairs_of,
    pairs_text,
    read_own,
    read_pairs,
    reward_of,
)
from alicebob.dataset import write_episodes
from alicebob.errors import DamagedData, UsageError
from alicebob.evaluation import GOAL
from alicebob.trace import Episode, Outcome, Skill, Turn, append_journal

GOLDEN = Path(__file__).parent / "golden_pairs.jsonl"


def tried(name, task, reward, *actions, seed=1, told="", **more):
    turns = tuple(Turn(f"{task} {seed}.{n}", action) for n, action in enumerate(actions))
    told = told or f"Do {task}."
    skill = Skill(name, task, told, "r2", f"e-{name}", "x", seed, 0, len(turns), turns, **more)
    return Trajectory(skill, reward)


EXPERTS = [
    tried("expert", "wood", 1.0, "go", "cut", seed=7, told="Get wood.", context=1),
    tried("expert-here", "stone", 1.0, "dig", seed=2),
    tried("expert-there", "stone", 1.0, "dig", "dig", seed=3),
    tried("expert-poor", GOAL, 0.4, "buy this", seed=4, told="Buy a cup."),
]
EXPLORED = [
    tried("failed", "wood", 0.0, "noop"),
    tried("long", "stone", 0.0, *["noop"] * 9, seed=2),
    tried("tied", "wood", 1.0, "go", "cut", seed=5),
    tried("better", GOAL, 0.9, "look", "buy that", seed=4, told="Buy a cup."),
    tried("other goal", GOAL, 0.1, "look", seed=4, told="Buy a plate."),
    tried("alone", "iron", 0.0, "noop"),
]


def test_pairs_are_those_of_the_golden_file(tmp_path):
    """The reward alone says who wins, ties go, losers are cut, what is to be read stays so."""
    found, lacking = pairs_of(EXPLORED, EXPERTS, longer=5)
    assert pairs_text(found) == GOLDEN.read_text()
    assert lacking == {"no better or worse one": 1, "no other of its task": 2}
    told = {pair.winner.id: pair for pair in found}
    assert {pair.loser.id for pair in found} == {"failed", "long", "expert-poor"}
    assert told["better"].rewards == (0.9, 0.4)
    assert len(told["expert-here"].loser.turns) == 1 + 5
    assert (told["expert"].winner.instruction, told["expert"].winner.context) == ("Do wood.", 1)
    assert [pair.same_world for pair in found] == [False, True, True]
    (tmp_path / "pairs").write_text(pairs_text(found))
    assert read_pairs(tmp_path / "pairs") == found


def test_what_was_tried_often_in_one_world_is_paired_once_and_there():
    often = [
        tried(f"{seed}-{n}", "wood", float(n == seed), "go", str(n), seed=seed)
        for seed in (0, 1)
        for n in range(3)
    ]
    found, lacking = pairs_of(often, often, longer=5)
    assert all(pair.same_world for pair in found)
    assert {(pair.winner.id, pair.loser.id) for pair in found} == {
        (won, lost)
        for won, others in (("0-0", ("0-1", "0-2")), ("1-1", ("1-0", "1-2")))
        for lost in others
    }
    assert not lacking


def episode(name, outcome, *rewards, **meta):
    turns = tuple(Turn(f"o{n}", "go", reward=reward) for n, reward in enumerate(rewards))
    return Episode(name, "x", 1, "Go.", turns=turns, outcome=outcome, meta=meta)


@pytest.mark.parametrize(
    ("played", "reward"),
    [
        (episode("trial", Outcome.TURN_LIMIT, 1.0, target="wood"), 0.0),
        (episode("trial", Outcome.SUCCESS, 0.0, target="wood"), 1.0),
        (episode("goal", Outcome.FAILURE, 0.0, 0.7, target=GOAL), 0.7),
        (episode("own", Outcome.FAILURE, 0.3, 0.3), 0.6),
        (episode("bare", Outcome.SUCCESS, 0.0), 1.0),
        (episode("bare", Outcome.HOPELESS, 0.0), 0.0),
    ],
)
def test_a_trial_earns_by_being_done_and_other_things_what_the_world_gives(played, reward):
    assert reward_of(played) == reward


def test_a_file_of_ones_own_is_lines_of_episodes_a_journal_or_parquet(tmp_path):
    own = [episode("a", Outcome.SUCCESS, 1.0), episode("b", Outcome.FAILURE, 0.0)]
    lines = tmp_path / "own.jsonl"
    lines.write_text("".join(json.dumps(each.to_json()) + "\n" for each in own))
    append_journal(tmp_path / "journal.jsonl", *own)
    write_episodes(tmp_path / "own.parquet", own)
    for name in ("own.jsonl", "journal.jsonl", "own.parquet"):
        assert read_own(tmp_path / name) == own


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"own.jsonl, line 2 \(JSONDecodeError: .*\), is not an episode"),
        ("[]", r"line 2 \(TypeError: .*to_json\(\) shows what one is"),
        (json.dumps(episode("x", Outcome.SUCCESS).to_json()), "line 2 .*it has no turns"),
        (json.dumps({"id": "x"}), r"line 2 \(KeyError: 'environment'\)"),
    ],
)
def test_a_line_that_is_no_episode_is_named(tmp_path, line, message):
    good = json.dumps(episode("a", Outcome.SUCCESS, 1.0).to_json())
    (tmp_path / "own.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(DamagedData, match=message):
        read_own(tmp_path / "own.jsonl")


def test_damaged_pairs_and_no_file_at_all_are_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"eto.experts names .*none.jsonl, which is no file here"):
        read_own(tmp_path / "none.jsonl")
    found, _ = pairs_of(EXPLORED, EXPERTS, longer=5)
    (tmp_path / "pairs.jsonl").write_text(pairs_text([replace(found[0], rewards=(1.0,))]))
    with pytest.raises(DamagedData, match=r"pairs.jsonl, line 1 .*Restore it with 'dvc checkout'"):
        read_pairs(tmp_path / "pairs.jsonl")
