"""Proposal first: what is proposed is tried, and only what was done is learnt."""

import json
from types import SimpleNamespace

import pytest
from conftest import ROOT
from scripted import serving
from test_rounds import repro, tiny_rounds

from alicebob import dataset
from alicebob.alice import Alice
from alicebob.alice.costs import asked
from alicebob.alice.propose import EACH, WORLDS, asked_for
from alicebob.alice.validity import check
from alicebob.envs import World
from alicebob.envs.hooks import suite_of
from alicebob.errors import UsageError
from alicebob.evaluation import GOAL
from alicebob.experiment.params import Experiment
from alicebob.methods.proposal_first import METHOD, keep_what_was_done, proposed
from alicebob.settings import Params
from alicebob.trace import Outcome

CRAFTER = {"spec": "crafter", "settings": {"observation": "compact", "limit": "balrog"}}
SHOP = {"spec": "webshop", "settings": {"catalogue": "generated:600", "observation": "compact"}}
NAMELESS = {"spec": "textworld:Tower", "settings": {}}
EPISODES, TURNS = 13, 120


@pytest.fixture
def round_(tmp_path, monkeypatch):
    """Return a round of an Alice who knows nothing, in an environment, with changes to her."""
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path / "cache"))

    def made(env, **alice):
        data = Experiment(ROOT / "params.yaml").shared
        data["env"], data["alice"] = env, data["alice"] | alice
        data["explore"] = {"episodes": EPISODES, "max_turns": TURNS, "generation": 4}
        params, world = Params.model_validate(data), World(env["spec"], env["settings"])
        folders = {"adapter": tmp_path, "scratch": tmp_path, "ledger": tmp_path / "ledger"}
        her = Alice(params, world, "r001", **folders)
        (tmp_path / "before").mkdir()
        her.room.memory().save(tmp_path / "before/knowledge.json")
        return SimpleNamespace(
            id="r001",
            params=params,
            world=world,
            alice=her,
            read=lambda kind: tmp_path / kind,
            inherited=lambda kind: tmp_path / "before",
        )

    return made


def kept(round_, found):
    """Return what becomes of an exploration."""
    folder = round_.read("episodes")
    folder.mkdir()
    dataset.write_episodes(folder / "episodes.parquet", found.episodes)
    found.memory.save(folder / "knowledge.json")
    return keep_what_was_done(round_)


def test_what_was_proposed_is_tried_without_a_grant_and_what_was_done_is_a_skill(round_):
    here = round_(CRAFTER)
    found = proposed(here)
    granted = {trial.instruction for trial in suite_of(here.world())}
    assert [dict(e.options) for e in found.episodes] == [{}] * EPISODES
    assert {e.instruction for e in found.episodes} <= granted
    assert len({e.instruction for e in found.episodes}) == EPISODES
    assert max(len(e.turns) for e in found.episodes) <= TURNS
    assert found.report["documents"] == min(WORLDS, EPISODES)
    said = kept(here, found)
    done = [e for e in found.episodes if e.outcome is Outcome.SUCCESS]
    assert 0 < len(done) < EPISODES
    assert [skill.instruction for skill in said.skills] == [e.instruction for e in done]
    assert all(skill.name in skill.turns[-1].events for skill in said.skills)
    assert said.lost == {"what was proposed was not done": EPISODES - len(done)}
    assert check(said.skills, found.episodes, here.world) == (said.skills, {})


def test_in_a_shop_she_proposes_what_is_asked_for_there(round_):
    here = round_(SHOP)
    found = proposed(here)
    assert all(e.options["split"] == "train" for e in found.episodes)
    done = [e.id for e in found.episodes if e.summary.get("progress") == 1.0]
    said = kept(here, found)
    assert [skill.episode for skill in said.skills] == done
    assert len(said.skills) + sum(said.lost.values()) == EPISODES


def test_a_model_proposes_what_it_likes_and_the_world_says_what_came_true(round_, monkeypatch):
    told = ["Collect some wood.", "Fly to the moon.", "Place a table beside the wood."]
    with serving(answer=lambda body: json.dumps({"tasks": told})) as server:
        monkeypatch.setenv("ALICEBOB_ALICE_URL", server.url)
        here = round_(CRAFTER, propose="model", model="served:m")
        found = proposed(here)
    prompt = server.requests[0][2]["messages"][0]["content"]
    assert f"up to {EACH} tasks" in prompt
    assert "> place table" in prompt
    targets = [e.meta["target"] for e in found.episodes]
    assert targets == (["collect_wood", GOAL, "place_table"] * EPISODES)[:EPISODES]
    said = kept(here, found)
    assert {skill.name for skill in said.skills} <= {"collect_wood", "place_table"}


def test_an_instruction_asks_for_the_event_whose_words_it_has():
    env = World("crafter")()
    assert asked_for("Now make an iron pickaxe at once!", env) == "make_iron_pickaxe"
    assert asked_for("Collect a drink and some iron.", env) == "collect_drink"
    assert asked_for("Dance.", env) == GOAL


def test_what_a_model_may_be_asked_is_a_question_for_each_beginning(round_):
    params = round_(CRAFTER, propose="model", model="m").params
    params = params.model_copy(update={"method": METHOD.name})
    cost = asked(METHOD.explore.reads(params), params, World("crafter")())
    assert cost.requests == WORLDS
    assert cost.prompt_tokens > WORLDS * 100


def test_a_world_that_names_nothing_to_do_needs_a_model(round_):
    with pytest.raises(UsageError, match=r"names nothing .*alice.propose: model"):
        proposed(round_(NAMELESS))


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "train"), [("laptop", {"by_feedback": 1.0}), ("webshop", {})])
def test_a_lineage_of_proposals_and_hindsight(preset, train, tmp_path):
    rounds = {
        "r001": {"prev": "r000", "method": "exif"},
        "r002": {"prev": "r001", "method": "proposal_first"},
        "r003": {"prev": "r002", "method": "rft", "rft": {"hindsight": True}},
    }
    tiny_rounds().lay_out(tmp_path, preset, more={"rounds": rounds, "train": train})
    assert repro(tmp_path)[-1] == "feedback@r003"
    assert repro(tmp_path) == []
    report = json.loads((tmp_path / "data/skills/r002/report.json").read_text())
    metrics = json.loads((tmp_path / "metrics/r002.json").read_text())
    assert report["cut"] == metrics["data"]["episodes"]
    assert metrics["data"]["valid_share"] == pytest.approx(report["kept"] / report["cut"])
    trained = json.loads((tmp_path / "models/bob/r002/report.json").read_text())
    weights = trained.get("weight by feedback", {})
    assert max(weights.values(), default=0.0) == (2.0 if train else 0.0)
    tried = json.loads((tmp_path / "data/skills/r003/report.json").read_text())
    assert tried["in hindsight"] <= tried["cut"]
