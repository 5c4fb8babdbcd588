from pathlib import Path

import pytest

from alicebob.errors import UnknownName
from alicebob.experiment import presets
from alicebob.experiment.params import load_params, read_yaml

TEXT = (Path(__file__).parent.parent / "params.yaml").read_text()


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    return path


def test_a_fresh_clone_is_the_laptop_preset(params):
    assert presets.apply("laptop") == 0
    assert load_params("r001", params) == load_params(
        "r001", Path(__file__).parent.parent / "params.yaml"
    )


@pytest.mark.parametrize("name", presets.known())
def test_every_preset_checks_keeps_comments_and_can_be_undone(params, name):
    presets.apply(name)
    assert load_params("r002", params)
    assert "# everything drawn in this lineage follows from it" in params.read_text()
    assert len(presets.about(name)) > 40
    presets.apply("laptop")
    assert load_params("r003", params).model_dump() == load_params_of(TEXT, params).model_dump()


def load_params_of(text, path):
    path.write_text(text)
    return load_params("r003", path)


def test_a_preset_brings_its_rounds_where_nobody_wrote_any(params):
    presets.apply("smollm2")
    assert list(read_yaml(params)["rounds"]) == ["r001", "r002"]
    presets.apply("laptop")
    assert params.read_text().partition("rounds:")[2] == TEXT.partition("rounds:")[2]
    own = TEXT.replace("r003: {prev: r002}", "r003: {prev: r001}")
    params.write_text(own)
    presets.apply("smollm2")
    assert list(read_yaml(params)["rounds"]) == ["r001", "r002", "r003"]


def test_an_unknown_preset_is_refused(params):
    with pytest.raises(UnknownName, match="Did you mean 'laptop'"):
        presets.apply("labtop")
    assert params.read_text() == TEXT
