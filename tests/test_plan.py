"""What a stage reads is declared, re-runs nobody else, and a key that nobody reads is refused."""

import json
from pathlib import Path

import pytest

from alicebob.errors import UsageError
from alicebob.experiment import plan
from alicebob.experiment.lock import Lock
from alicebob.experiment.params import Experiment, schema
from alicebob.methods import KNOWN, Method, method
from alicebob.methods.parts import STAGES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "params.yaml").read_text()
LINEAGE = "  r001: {prev: r000}\n  r002: {prev: r001}\n  r003: {prev: r002}\n"


def write(folder, *changes, rounds=""):
    text = TEXT
    if rounds:
        assert LINEAGE in text
        text = text.replace(LINEAGE, rounds)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "params.yaml").write_text(text)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plan the shipped parameters with changes; return what each file of the plan holds."""
    monkeypatch.chdir(tmp_path)

    def make(*changes, rounds=""):
        write(tmp_path, *changes, rounds=rounds)
        plan.write()
        files = sorted((tmp_path / plan.PLAN).rglob("*.json"))
        return {str(p.relative_to(tmp_path / plan.PLAN)): p.read_bytes() for p in files}

    return make


def changed(before, after):
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_key_changes_the_plan_of_those_who_read_it(planned):
    before = planned()
    assert changed(before, planned(("  budget: 400000", "  budget: 500000"))) == {
        f"r00{n}/train.json" for n in (1, 2, 3)
    }
    assert changed(before, planned(("  strength: 2.0", "  strength: 3.0"))) == {
        f"r00{n}/explore.json" for n in (1, 2, 3)
    }
    assert changed(before, planned(("  lora_rank: 32", "  lora_rank: 16"))) == {
        "r000/start.json",
        *(f"r00{n}/train.json" for n in (1, 2, 3)),
    }


def test_another_model_in_the_same_folder_runs_its_readers_again(planned, tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    chosen = ("  model: models/base", f"  model: {folder}")
    before = planned(chosen)
    assert planned(chosen) == before
    (folder / "model.safetensors").write_bytes(b"two")
    stages = [("r000", "base"), ("r000", "start"), ("r000", "evaluate")]
    stages += [(f"r00{n}", stage) for n in (1, 2, 3) for stage in ("train", "evaluate")]
    assert changed(before, planned(chosen)) == {f"{name}/{stage}.json" for name, stage in stages}


def test_another_method_changes_the_plan_only_where_it_hands_over_another_part(planned):
    rounds = "  r001: {prev: r000}\n  r002: {prev: r001}\n"
    other = "  r001: {prev: r000}\n  r002: {prev: r001, method: explore_first}\n"
    before, after = planned(rounds=rounds), planned(rounds=other)
    assert changed(before, after) == {"r002/round.json", "r002/explore.json"}
    assert json.loads(after["r002/round.json"]) == {"method": "explore_first", "prev": "r001"}


def test_a_stage_gets_what_is_planned_and_nothing_else(planned):
    planned()
    params = plan.declared(plan.planned("explore", "r001")["params"], schema(("exif",)))
    assert params.explore.episodes == 50
    assert params.seeds.of("explore") == range(1_000_000)
    for undeclared in ("train", "seeds.test", "alice.judge"):
        block, _, name = undeclared.partition(".")
        with pytest.raises(AttributeError):
            getattr(getattr(params, block), name or "budget")


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        (
            "  r001: {prev: r000, method: explore_first, feedback: {strength: 1.0}}\n",
            r"rounds.r001: feedback.strength is not read by explore_first .* exif would",
        ),
        (
            "  r001: {prev: r000, method: rft, skills: {open_play: false}}\n",
            r"rounds.r001: skills.open_play is not read by rft .* exif",
        ),
        (
            "  r001: {prev: r000, alice: {turns: 4}}\n",
            r"rounds.r001: alice.turns is not read by exif .*alice.explore: model would",
        ),
        (
            "  r001: {prev: r000, alice: {without: [fence, unused], explore: model, model: bob}}\n",
            r"rounds.r001: alice.without: fence is not read by exif .*alice.explore: embedded",
        ),
        ("  r001: {prev: r000, method: exiv}\n", "Unknown method 'exiv'.*'exif'"),
        ("  r001: {prev: r000, base: {layers: 2}}\n", "base is shared by all rounds"),
    ],
)
def test_a_round_may_only_change_what_its_method_reads(tmp_path, monkeypatch, rounds, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, rounds=rounds)
    with pytest.raises(UsageError, match=message):
        plan.write()
    assert not (tmp_path / plan.PLAN).exists()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("  personas: []", "  personas: [a cook]"), "alice.personas"),
        (("  labels: 40", "  labels: 50"), "alice.labels"),
        (("  temperature: 0.7\n  top_p: 1.0", "  temperature: 0.6\n  top_p: 1.0"), "temperature"),
    ],
)
def test_a_shared_key_that_was_changed_must_be_read_by_some_round(
    tmp_path, monkeypatch, change, name
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, change)
    with pytest.raises(UsageError, match=f"{name} is not read by exif"):
        plan.check()
    # As soon as one round reads it, it may stand.
    write(
        tmp_path,
        change,
        ('  model: ""', "  model: bob"),
        rounds=("  r001: {prev: r000, alice: {label: model, explore: model}}\n"),
    )
    plan.check()


@pytest.mark.parametrize(
    ("key", "was", "set_to"), [("again_share", 0.25, 0.1), ("by_feedback", 0, 1)]
)
def test_what_is_about_open_play_is_refused_where_there_is_none(
    tmp_path, monkeypatch, key, was, set_to
):
    monkeypatch.chdir(tmp_path)
    shop = ("spec: crafter\n  settings: {observation: compact, limit: balrog}", "spec: webshop")
    write(tmp_path, shop, (f"  {key}: {was}", f"  {key}: {set_to}"))
    with pytest.raises(UsageError, match=rf"train.{key} is not read .* in webshop nobody"):
        plan.check()


def test_a_method_that_lacks_a_part_is_refused_before_anything_runs(tmp_path, monkeypatch):
    import alicebob.methods as methods

    half = Method("half", "nowhere", explore=method("exif").explore, act=method("exif").act)
    table = {**methods.known(), "half": f"{__name__}:HALF"}
    monkeypatch.setattr(f"{__name__}.HALF", half, raising=False)
    monkeypatch.setattr(methods, "known", lambda: table)
    with pytest.raises(UsageError, match=r"'half' has no part for 'skills'.*'train'.*'feedback'"):
        method("half")


def test_every_method_hands_over_all_parts_and_says_where_it_comes_from():
    for name in KNOWN:
        found = method(name)
        assert found.name == name
        assert "arXiv" in found.source
        assert not found.lacking
        params = schema(KNOWN).model_validate(Experiment(ROOT / "params.yaml").shared)
        for stage in STAGES:
            for key in found.part(stage).reads(params):
                block, _, leaf = key.partition(".")
                assert hasattr(getattr(params, block), leaf) if leaf else hasattr(params, block)


def test_settings_of_a_round_are_those_its_stages_read(planned):
    planned()
    found = Lock().settings("r001")
    assert found["method"] == "exif"
    assert found["train.budget"] == 400000
    assert "alice.labels" not in found
    assert Lock().settings("r000")["method"] == "none"
