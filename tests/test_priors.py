"""What is built into the embedded Alice is written down, can be left out, and then is not done."""

import json
import re
from pathlib import Path

import pytest
from test_plan import changed, planned  # noqa: F401 -- a fixture
from test_plan import write as lay_out

from alicebob.alice.embedded import explore
from alicebob.alice.grid import label as grid_label
from alicebob.alice.room import room
from alicebob.alice.shop import label as shop_label
from alicebob.alice.voice import reads
from alicebob.envs import World
from alicebob.envs.hooks import task_free
from alicebob.errors import UnknownName, UsageError
from alicebob.experiment import plan
from alicebob.experiment.params import Experiment
from alicebob.policies import Task
from alicebob.trace import OPEN_PLAY, Episode, Turn

DOCS = (Path(__file__).parent.parent / "docs" / "priors.md").read_text(encoding="utf-8")
ROOMS = ("grid", "shop")
SHOP = World("webshop", {"catalogue": "generated:200", "observation": "text_rich"})


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALICEBOB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def shopping(folder, without=(), count=12):
    env, persona, shop = SHOP(), "I hike in the snow.", room("shop")
    tasks = [Task(f"s{n}", n, options=task_free(env, persona), max_turns=15) for n in range(count)]
    return explore(shop, SHOP, shop.memory(), {}, tasks, 4, folder, without=without)[0]


# what is written down


@pytest.mark.parametrize("name", ROOMS)
def test_each_prior_has_a_row_with_its_sentence_and_figures(name):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCS, re.M))
    for priors in room(name).priors.values():
        for prior, sentence in priors.items():
            told, *cells = rows[prior].split(" | ")
            assert told == sentence
            assert all(re.search(r"\d", cell) for cell in cells if cell != "–")
            assert sum(cell != "–" for cell in cells) >= 2


def test_no_row_is_of_a_prior_that_is_not_there():
    there = {prior for name in ROOMS for priors in room(name).priors.values() for prior in priors}
    assert set(re.findall(r"^\| `(\w+)` \|", DOCS, re.M)) == there


# what the parameters say


def test_a_prior_that_the_room_does_not_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, rounds="  r001: {prev: r000, alice: {without: [fences]}}\n")
    with pytest.raises(UnknownName, match=r"Unknown prior 'fences'.*Did you mean 'fence'"):
        plan.check()


def test_a_prior_of_what_a_model_does_is_read_by_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alice = "{without: [fence], explore: model, model: bob}"
    lay_out(tmp_path, rounds=f"  r001: {{prev: r000, alice: {alice}}}\n")
    with pytest.raises(UsageError, match=r"alice.without is not read by exif as it is set up here"):
        plan.check()


@pytest.mark.parametrize(("prior", "stage"), [("fence", "explore"), ("unused", "skills")])
def test_a_prior_left_out_runs_the_stage_again_that_has_it(planned, prior, stage):  # noqa: F811
    before = planned(rounds="  r001: {prev: r000}\n")
    after = planned(rounds=f"  r001: {{prev: r000, alice: {{without: [{prior}]}}}}\n")
    assert changed(before, after) == {f"r001/{stage}.json"}
    assert json.loads(after[f"r001/{stage}.json"])["params"]["alice"]["without"] == [prior]


def test_nothing_is_left_out_as_shipped():
    params = Experiment(Path(__file__).parent.parent / "params.yaml").params("r001")
    assert params.alice.without == []
    assert "alice.without" not in reads(params, ("explore", "label"))


# what she then does (in a grid, see test_grid_behaviour and test_grid_planning)


def test_without_unused_what_is_hoarded_is_learnt_from():
    turns = tuple(
        Turn(f"have sapling{n}", "do", events=("collect_sapling",), tags=("intent:use grass",))
        for n in range(1, 4)
    )
    episode = Episode("e", "crafter", 7, turns=turns, final="have sapling4")
    for without, aimless in (((), 2), (("unused",), 0)):
        whole = grid_label.label([episode], "r001", open_play_share=1.0, without=without)[-1]
        assert whole.name == OPEN_PLAY
        assert sum("aimless" in turn.tags for turn in whole.turns) == aimless


def searches(episodes):
    return [t.action for e in episodes for t in e.turns if t.action.startswith("search[")]


def test_without_options_they_are_not_named_in_a_search_and_yet_chosen(tmp_path):
    assert any(" with " in search for search in searches(shopping(tmp_path / "usual")))
    bought = shopping(tmp_path / "other", ("options",))
    assert not any(" with " in search for search in searches(bought))
    assert any(episode.summary["result"]["options"] for episode in bought)


def test_without_persona_its_words_are_searched_for_only_while_nothing_else_is_known(tmp_path):
    def scouts(episodes):
        return [e.turns[0].tags == ("intent:look around",) for e in episodes]

    usual, other = (
        scouts(shopping(tmp_path / name, without, 60))
        for name, without in (("usual", ()), ("other", ("persona",)))
    )
    assert all(usual[:4])
    assert any(usual[4:])
    assert all(other[:4])
    assert not any(other[4:])


def test_without_templates_a_request_is_a_list(tmp_path):
    bought = shopping(tmp_path / "usual")
    skills, other = (
        shop_label.label(bought, "r001", without=without) for without in ((), ("templates",))
    )
    assert skills
    for usual, listed in zip(skills, other, strict=True):
        goal = {**listed.options["goal"], "instruction": usual.instruction}
        assert goal == usual.options["goal"]
        assert usual.instruction.startswith("Find me ")
        assert ";" in listed.instruction
        assert "Find me" not in listed.instruction
        assert listed.instruction in listed.turns[0].observation
