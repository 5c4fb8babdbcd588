"""ETO: its parts on a real tiny Bob, on a user's own file, and whole lineages through DVC."""

import json
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from ruamel.yaml import YAML
from test_plan import ROOT, write
from test_rounds import command, repro, tiny_rounds

from alicebob.bob.pairs import read_pairs
from alicebob.bob.sft import Lora, new_adapter, save_adapter
from alicebob.dataset import write_episodes, write_skills
from alicebob.envs import World
from alicebob.errors import UsageError
from alicebob.experiment import plan
from alicebob.experiment.params import Experiment, schema
from alicebob.methods import eto, method
from alicebob.methods.experts import experts_of, shown, tried
from alicebob.policies.models import load_base
from alicebob.trace import ERROR, INVALID, Outcome, Skill, Turn

FACTS = "pairs.jsonl"


@pytest.fixture
def round_(base, tmp_path, random_episodes):
    """Return a round after one that left Bob untaught, with changes to its parameters."""
    network, _ = load_base(base)
    save_adapter(new_adapter(network, Lora(4), 1), base, tmp_path / "bob", "# card\n")
    write_skills(tmp_path / "skills/r001.parquet", [])
    write_episodes(tmp_path / "episodes/e.parquet", [])

    def made(**own):
        data = Experiment(ROOT / "params.yaml").shared
        data["bob"] |= {"model": base, "turns": 0}
        data["train"] |= {"every": 4, "batch": 2}
        data["skills"]["validation_share"] = 0.0
        params = schema(("eto",)).model_validate({**data, "eto": own})
        world = World("crafter", {"observation": "compact", "limit": 40})
        return SimpleNamespace(
            id="r002",
            params=params,
            world=world,
            scratch=tmp_path / "scratch",
            facts={},
            read=lambda kind: tmp_path / kind,
            inherited=lambda kind: tmp_path / kind,
            report=lambda values, step: None,
        )

    return made


@pytest.fixture
def own(tmp_path, random_episodes):
    """A user's file: two tries of each task, of which one is better; a reply that was no action."""
    tries = []
    for n, episode in enumerate(random_episodes):
        wrong = replace(episode.turns[1], tags=(INVALID,))
        for take, start in enumerate((0, 5)):
            turns = (episode.turns[0], wrong, *episode.turns[2 + start : 8 + start])
            ended = Outcome.SUCCESS if take == n % 2 else Outcome.FAILURE
            changes = {"turns": turns, "outcome": ended, "instruction": f"Task {n}."}
            bare = tuple(replace(turn, reward=0.0) for turn in turns)
            tries.append(replace(episode, id=f"{n}-{take}", **(changes | {"turns": bare})))
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(each.to_json()) + "\n" for each in tries))
    return path


def test_dpo_alone_learns_from_a_users_own_successes_and_failures(round_, own, tmp_path, base):
    here = round_(experts=str(own), play=False, learning_rate=2e-3)
    said = eto.paired(here)
    assert (said.skills, said.report["pairs"], said.report["pairs in one world"]) == ([], 4, 4)
    (tmp_path / "skills" / FACTS).write_text(said.files[FACTS])
    pairs = read_pairs(tmp_path / "skills" / FACTS)
    assert all(ERROR in pair.winner.turns[1].tags for pair in pairs)
    assert not any(ERROR in turn.tags for pair in pairs for turn in pair.loser.turns)
    trained = eto.dpo(here)
    curve = trained.fitted.curve
    assert curve[0]["loss"] == pytest.approx(0.693147, abs=2e-6)
    assert trained.fitted.best < 0.69
    assert trained.facts["pairs"] == 4
    assert trained.facts["bob.dtype"] == "float32"
    assert "read once" in trained.facts["what both of a pair begin with"]
    start = load_base(base)[0].state_dict()
    layers = dict(trained.model.named_parameters())
    name = "model.layers.0.self_attn.q_proj.weight"
    kept = next(w for n, w in layers.items() if n.endswith("0.self_attn.q_proj.base_layer.weight"))
    assert torch.equal(start[name], kept)
    assert any(float(w.detach().abs().max()) > 0 for n, w in layers.items() if "lora_B" in n)


def test_a_run_that_collapses_at_once_leaves_bob_as_he_was(round_, own, tmp_path):
    here = round_(experts=str(own), play=False, learning_rate=50.0, collapse=1e-6, epochs=8)
    (tmp_path / "skills" / FACTS).write_text(eto.paired(here).files[FACTS])
    trained = eto.dpo(here)
    told = trained.facts["collapsed"]
    assert told.startswith("at step")
    if trained.fitted.best is None:
        layers = dict(trained.model.named_parameters())
        assert all(float(w.detach().abs().max()) == 0 for n, w in layers.items() if "lora_B" in n)
    else:
        assert trained.fitted.best <= 0.7


def test_a_file_of_worlds_that_bob_is_tried_in_is_refused(round_, own, random_episodes):
    name = random_episodes[0].environment
    seen = replace(random_episodes[0], seed=2_000_005, environment=name)
    own.write_text(json.dumps(seen.to_json()) + "\n")
    here = round_(experts=str(own), play=False)
    here.world = SimpleNamespace(name=name)
    with pytest.raises(UsageError, match=r"world 2000005, which is one of seeds.test. Take it out"):
        eto.paired(here)


def test_no_pair_at_all_is_one_sentence(round_):
    with pytest.raises(
        UsageError,
        match=r"needs a failed and a successful episode of one task; r002 has none .*Explore more",
    ):
        eto.paired(round_())


class Shelf:
    """A world whose first page shows its seed and what was asked for."""

    def reset(self, *, seed=None, options=None):
        return f"page 0 of {seed}, {dict(options or {})}", {}


def skill(name, start=0, seed=7, told="Get it.", event="goal", **options):
    pages = [f"page {n} of {seed}, {options}" for n in (start, start + 1)]
    turns = (Turn(pages[0], "look"), Turn(pages[1], "take", events=(event,) if event else ()))
    return Skill(name, "buy", told, "r001", name, "shelf", seed, start, start + 2, turns, options)


def test_what_was_shown_from_where_an_episode_begins_is_tried_there(round_, tmp_path):
    """Each once; neither what began in the middle nor, where there are trials, anything."""
    here = round_()
    crafter, here.world = here.world, Shelf
    known = [
        skill("whole", asked="cup"),
        skill("again", asked="cup"),
        skill("other", asked="plate", told="Get a plate."),
        skill("cut", start=3),
        replace(skill("play", seed=9), name="open_play"),
    ]
    write_skills(tmp_path / "skills/r001.parquet", known)
    found = shown(here, "skills", 10)
    assert sorted((t.seed, t.instruction, dict(t.options), t.target) for t in found) == [
        (7, "Get a plate.", {"asked": "plate"}, "goal"),
        (7, "Get it.", {"asked": "cup"}, "goal"),
    ]
    assert [task.id for task in found] == ["r002-explore-0000", "r002-explore-0001"]
    assert found[:1] == shown(here, "skills", 1)
    assert shown(here, "rft", 10) == []
    here.world = crafter
    assert shown(here, "skills", 10) == []


def test_his_own_play_or_the_skills_are_the_experts(round_, tmp_path):
    write_skills(tmp_path / "skills/r001.parquet", [skill("whole"), skill("other")])
    explored = tried([], "r002")
    assert [(t.skill.id, t.reward) for t in experts_of(round_(), "skills", explored)] == [
        ("whole", 1.0),
        ("other", 1.0),
    ]
    assert experts_of(round_(), "rft", explored) is explored


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{play: false}", r"eto: eto.play: false needs a file in eto.experts"),
        ("{experts: gpt-4}", r"eto.experts must be skills, rft, or a file"),
        ("{beta: 0}", r"eto.beta: .*greater than 0, got 0"),
        ("{gamma: 1}", r"Unknown parameter 'eto.gamma'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(tmp_path, monkeypatch, block, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, rounds=f"  r001: {{prev: r000, method: eto, eto: {block}}}\n")
    with pytest.raises(UsageError, match=message):
        plan.write()


def test_each_round_has_its_own_beta_and_a_file_that_changed_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.jsonl").write_text("1")
    rounds = (
        "  r001: {prev: r000, method: eto, eto: {experts: own.jsonl}}\n"
        "  r002: {prev: r001, method: eto, eto: {beta: 0.5, learning_rate: 1.0e-5}}\n"
    )
    write(tmp_path, rounds=rounds)
    found = plan.contents()
    assert found["r001/train.json"]["params"]["eto"]["beta"] == 0.1
    assert found["r002/train.json"]["params"]["eto"]["beta"] == 0.5
    assert found["r002/skills.json"]["params"]["eto"] == {
        "experts": "skills",
        "longer": 5,
        "play": True,
    }
    (tmp_path / "own.jsonl").write_text("2")
    again = plan.contents()
    changed = {name for name in found if found[name] != again[name]}
    assert changed == {"r001/explore.json", "r001/skills.json"}


def test_another_method_refuses_its_block(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, rounds="  r001: {prev: r000, method: rft, eto: {beta: 0.5}}\n")
    with pytest.raises(UsageError, match=r"eto.beta is not read by rft .*eto would"):
        plan.write()
    assert method("eto").lacking == []


def changed(text, name, **block):
    yaml, out = YAML(), StringIO()
    data = yaml.load(text)
    data["rounds"][name].update(block)
    yaml.dump(data, out)
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["laptop", "webshop"])
def test_a_lineage_goes_on_from_exif_with_eto(tmp_path, preset):
    more = {"rounds": {"r001": {"prev": "r000"}, "r002": {"prev": "r001", "method": "eto"}}}
    tiny_rounds().lay_out(tmp_path, preset, more=more)
    assert repro(tmp_path)[-1] == "feedback@r002"
    assert repro(tmp_path) == []
    report = json.loads((tmp_path / "data/skills/r002/report.json").read_text())
    lines = (tmp_path / "data/skills/r002" / FACTS).read_text().splitlines()
    assert report["pairs"] == len(lines) > 0
    assert report["skills"] == {}
    if preset == "webshop":  # her purchases begin where an episode does
        assert report["pairs in one world"] == report["pairs"]
    curve = json.loads((tmp_path / "models/bob/r002/training.json").read_text())["curve"]
    assert curve[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert {"winners", "eval_winners"} <= {name for entry in curve for name in entry}
    assert "DPO on the pairs of r002" in (tmp_path / "models/bob/r002/README.md").read_text()
    listed = command(tmp_path, "-m", "alicebob", "round", "list")
    assert "r002" in listed.stdout
    path = tmp_path / "params.yaml"
    path.write_text(changed(path.read_text(), "r002", eto={"beta": 0.5}))
    ran = repro(tmp_path)
    assert ran[:2] == ["plan", "train@r002"]
    assert not [stage for stage in ran if stage.startswith(("explore", "skills"))]
