from pathlib import Path

import pytest

from alicebob.errors import UsageError
from alicebob.experiment.params import load_params, read_yaml
from alicebob.experiment.tree import tree

TEXT = (Path(__file__).parent.parent / "params.yaml").read_text()


def write(folder, *changes):
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_a_round_changes_only_what_it_names(tmp_path):
    path = write(tmp_path, ("r002: {prev: r001}", "r002: {prev: r001, train: {epochs: 3}}"))
    plain, changed = load_params("r001", path), load_params("r002", path)
    assert changed.train.epochs == 3
    assert changed.train.learning_rate == plain.train.learning_rate
    assert changed.model_copy(update={"train": plain.train}) == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("explore: [0, 1000000]", "explore: [0, 1000001]"), "overlap"),
        (("  generation:", "  generatoin:"), "Did you mean 'explore.generation'"),
        (("  generation: 20", "  generation: 0"), r"explore.generation: .* greater than or equal"),
        (("r001: {prev: r000}", "r001: {prev: r003}"), "r001 -> r003 -> r002 -> r001 form a cycle"),
        (("r001: {prev: r000}", "r001: {prev: r007}"), "parent 'r007' of round r001 does not"),
        (("r001: {prev: r000}", "r001: {}"), "round r001 needs a parent"),
        (("r001: {prev", "r000: {prev: r000}\n  r001: {prev"), "r000 is the untrained Bob"),
        (("r001: {prev", "09: {prev"), "round 9 must be a letter"),
        (("{prev: r000}", "{prev: r000, train: {lr: 1}}"), "Unknown parameter 'train.lr'"),
        (("{prev: r000}", "{prev: r000, seed: 2}"), "seed is shared by all rounds"),
        (("r001: {prev: r000}", "r001: {prev: [r000]}"), "parent .'r000'. of round r001 does not"),
        (("seed: 1 ", "seed: [1 "), "not valid YAML"),
        (("seed: 1 ", "seed: -1 "), "seed: .* greater than or equal to 0"),
        (("  repeat: 4 ", "  repeat: true "), "train.repeat: .* valid integer, got True"),
        (("learning_rate: 2.0e-3", "learning_rate: .inf"), "learning_rate: .* finite"),
        (("  pack_tokens: 160\n", "  pack_tokens: 128\n"), "at least bob.context"),
        (("seed: 1 ", "1: 2\nseed: 1 "), "the name 1 must be text"),
        (("settings: {obs", "settings: {3: 4, obs"), "the name 3 must be text"),
        (("seed: 1 ", "seed: &me [*me] "), "nests its values more than 30 deep, or one within"),
        (("seed: 1 ", f"seed: {'[' * 100}{']' * 100} "), "nests its values more than 30 deep"),
        (("seed: 1 ", f"seed: {'[' * 3000}{']' * 3000} "), "params.yaml"),
        (("seed: 1 ", "seed: 2026-13-45 "), "params.yaml"),
    ],
)
def test_wrong_parameters_are_one_sentence(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        load_params("r001", write(tmp_path, change))


def test_an_unknown_round_and_a_missing_file_say_so(tmp_path):
    with pytest.raises(UsageError, match="Unknown round 'r009'"):
        load_params("r009", write(tmp_path))
    with pytest.raises(UsageError, match="There is no"):
        load_params("r001", tmp_path / "nothing.yaml")


def test_rounds_may_branch(tmp_path):
    path = write(tmp_path, ("r003: {prev: r002}", "r003: {prev: r002}\n  r002b: {prev: r001}"))
    assert list(tree(read_yaml(path))) == ["r001", "r002", "r003", "r002b"]
