"""A pulled adapter is usable anywhere: its base is found, or a sentence says what to bring."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import alicebob
from alicebob.bob.sft import Lora, new_adapter, save_adapter
from alicebob.errors import DamagedData, UsageError
from alicebob.pipeline.cards import model_card
from alicebob.policies.models import load_base


@pytest.fixture
def experiment(base, tmp_path, monkeypatch):
    """A repository with a base and an adapter on it, as the stages write them."""
    root = tmp_path / "experiment"
    shutil.copytree(base, root / "models/base")
    monkeypatch.chdir(root)
    model = new_adapter(load_base("models/base")[0], Lora(4), 1)
    with torch.no_grad():  # it must change something
        for name, weight in model.named_parameters():
            weight += 0.5 * ("lora_B" in name)
    save_adapter(model, "models/base", root / "models/bob/r003", "# card\n")
    return root


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, experiment):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def logits(loaded):
    model, tokenizer = loaded
    with torch.no_grad():
        return model(**tokenizer("see tree", return_tensors="pt")).logits


@pytest.fixture
def expected(experiment):
    return logits(alicebob.load_bob("r003"))


def another(folder):
    """Change a base, so that it has the shape of the other and is not it."""
    model, _ = load_base(str(folder))
    with torch.no_grad():
        model.get_input_embeddings().weight[0, 0] += 1.0
    model.save_pretrained(folder)


def test_a_round_of_this_repository_is_loaded_by_its_id(experiment, expected):
    assert torch.equal(logits(alicebob.load_bob("models/bob/r003")), expected)
    assert not torch.allclose(logits(load_base("models/base")), expected)
    assert not alicebob.load_bob("r003")[0].training


def test_an_adapter_of_another_repository_finds_its_base_there(expected, experiment, elsewhere):
    assert torch.equal(logits(alicebob.load_bob(experiment / "models/bob/r003")), expected)


@pytest.mark.parametrize("name", ["models/base", "base", "whatever"])
def test_a_pulled_adapter_finds_its_base_beside_it(expected, experiment, elsewhere, name):
    shutil.copytree(experiment / "models/bob/r003", elsewhere / "bob")
    shutil.copytree(experiment / "models/base", elsewhere / name)
    assert torch.equal(logits(alicebob.load_bob("bob")), expected)


def test_a_base_of_the_same_shape_is_passed_over(expected, experiment, elsewhere):
    shutil.copytree(experiment / "models/bob/r003", elsewhere / "bob")
    shutil.copytree(experiment / "models/base", elsewhere / "models/base")
    another(elsewhere / "models/base")
    with pytest.raises(
        UsageError, match=r"models/base is another\)\. Bring it too with 'dvc import"
    ):
        alicebob.load_bob("bob")
    shutil.copytree(experiment / "models/base", elsewhere / "right")
    assert torch.equal(logits(alicebob.load_bob("bob")), expected)
    assert torch.equal(logits(alicebob.load_bob("bob", base="right")), expected)
    with pytest.raises(UsageError, match="models/base is another"):
        alicebob.load_bob("bob", base="models/base")


def test_without_its_base_one_sentence_says_what_to_bring(experiment, elsewhere):
    shutil.copytree(experiment / "models/bob/r003", elsewhere / "bob")
    (elsewhere / "no model").mkdir()
    (elsewhere / "no model/config.json").write_text("{}")
    with pytest.raises(UsageError, match="'dvc import REPOSITORY models/base', or say where it is"):
        alicebob.load_bob("bob")
    with pytest.raises(UsageError, match="no adapter 'r009': it is no folder, and models/bob/r009"):
        alicebob.load_bob("r009")
    (elsewhere / "bob/base.json").write_text("{")
    with pytest.raises(DamagedData, match=r"base\.json does not say what base"):
        alicebob.load_bob("bob")


def test_a_folder_is_never_taken_for_the_name_of_somebodys_model(experiment, elsewhere):
    """Elsewhere PEFT stops at once, and asks no hub for a model of whoever is called "models"."""
    config = json.loads((experiment / "models/bob/r003/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "./models/base"
    code = (
        "import sys, peft\n"
        "print(peft.AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]).peft_type)\n"
    )
    adapter = str(experiment / "models/bob/r003")
    env = {name: v for name, v in os.environ.items() if name != "HF_HUB_OFFLINE"}
    env["HF_ENDPOINT"] = "http://127.0.0.1:9"  # whoever asks it fails otherwise
    words = [sys.executable, "-c", code, adapter]
    here = subprocess.run(words, cwd=experiment, env=env, capture_output=True, text=True)
    assert "LORA" in here.stdout, here.stderr
    there = subprocess.run(words, cwd=elsewhere, env=env, capture_output=True, text=True)
    assert "'./models/base'" in there.stderr
    assert "127.0.0.1" not in there.stderr


def test_an_absolute_base_is_found_beside_where_it_is_not(experiment, elsewhere, base):
    model = new_adapter(load_base(base)[0], Lora(4), 1)
    save_adapter(model, base, elsewhere / "bob", "# card\n")
    loaded = alicebob.load_bob("bob")
    record = json.loads((elsewhere / "bob/base.json").read_text())
    (elsewhere / "bob/base.json").write_text(json.dumps(record | {"name": "/nowhere/base"}))
    shutil.copytree(base, elsewhere / "base")
    assert torch.equal(logits(alicebob.load_bob("bob")), logits(loaded))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\ntags: [a]\n---\n# Base\n", "mit"),
        ("---\nlicense: 'llama3.1'\n---\n", "llama3.1"),
        ("# license: mit\n", "unknown"),
        ("---\nlicense: [mit]\nx: |\n  license: b | c\n---\n", "unknown"),
        ("---\ntags: []\n---\nlicense: mit\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_adapter_has_the_licence_that_the_card_of_its_base_names(experiment, card, licence):
    path = experiment / "models/base/README.md"
    path.unlink(missing_ok=True)
    if card is not None:
        path.write_text(card)
    told = adapter_card("models/base")
    assert f"\nlicense: {licence}\n" in told
    assert f"| licence of the base | {licence} |" in told
    assert "base_model:" not in told  # which a hub would take for somebody's model


def test_a_card_links_a_hubs_model_and_keeps_this_machines_folders_to_itself(experiment):
    told = adapter_card("Qwen/Qwen2.5-7B-Instruct")
    assert "\nbase_model: Qwen/Qwen2.5-7B-Instruct\n" in told
    assert "https://huggingface.co/Qwen/Qwen2.5-7B-Instruct" in told
    assert "| rows | 5, of 2 kinds (report.json) |" in told
    assert "Qwen" not in adapter_card(str(experiment / "models/base"))
    assert str(experiment) not in adapter_card(str(experiment / "models/base"))


def adapter_card(name):
    bob = SimpleNamespace(model=name, revision="")
    context = SimpleNamespace(
        params=SimpleNamespace(bob=bob), id="r003", read=lambda kind: Path("models/bob/r003")
    )
    config = SimpleNamespace(r=4, lora_alpha=16, target_modules=["model.layers.0.mlp.up_proj"])
    model = SimpleNamespace(peft_config={"default": config}, base_fingerprint="abc")
    line = [{"round": "r000", "kept": 0}]
    return model_card(context, model, "About.", {"rows": {"a": 2, "b": 3}}, line)


def test_a_pinned_base_is_pinned_in_its_adapter(experiment, base, tmp_path):
    model = new_adapter(load_base(base)[0], Lora(4), 1)
    save_adapter(model, "some/model", tmp_path / "a", "# card\n", revision="abc123")
    assert json.loads((tmp_path / "a/base.json").read_text())["revision"] == "abc123"
    assert json.loads((tmp_path / "a/adapter_config.json").read_text())["revision"] == "abc123"


def test_the_licence_of_a_hubs_model_is_that_of_its_card(experiment, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--model/snapshots/abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "models--some--model/refs").mkdir()
    (tmp_path / "models--some--model/refs/main").write_text("abc123")
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    told = adapter_card("some/model")
    assert "\nlicense: mit\n" in told
    assert "| licence of the base | mit |" in told
