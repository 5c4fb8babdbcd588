"""GGUF: a model in one file, as llama.cpp has them, opened as an ordinary one.

Its weights are dequantised when they are loaded. Invariant: what comes out can be trained, merged
and saved like any other model. Does not: keep the file's few bits a weight in memory.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from alicebob.errors import UsageError

__all__ = ["gguf_file", "licence_in", "plain"]


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file that a name means: itself, or the only one in a folder of nothing else.

    None where another model is meant. Raises UsageError where a folder has several, or nothing here
    can read them.
    """
    path = Path(name)
    found = sorted(path.glob("*.gguf")) if not any(path.glob("*.safetensors*")) else []
    if path.suffix == ".gguf" and path.is_file():
        found = [path]
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"{name} holds several models ({names}); name one of the files.")
    if importlib.util.find_spec("gguf") is None:
        raise UsageError(f"{found[0]} needs the package gguf: pip install 'alicebob[smollm2]'.")
    return found[0]


def plain(model: Any) -> Any:
    """Return a dequantised model as one that never was quantised, which alone can be saved."""
    from transformers import AutoModelForCausalLM

    config = model.config
    del config.quantization_config
    anew = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    anew.load_state_dict(model.state_dict())
    anew.generation_config = model.generation_config
    return anew


def licence_in(file: Path) -> str:
    """Return the licence that a GGUF file names, "" for none."""
    from gguf import GGUFReader

    field = GGUFReader(file).get_field("general.license")
    return str(field.contents()) if field else ""
