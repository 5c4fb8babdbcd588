"""Models: a causal language model of Hugging Face's shape, by directory or id, and its adapters.

Invariant: nothing that comes with a model is run, no pickle is opened, and an adapter is put on no
other base than the one it was made for. Does not: train or sample.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData, UsageError

__all__ = ["fingerprint", "load_adapter", "load_base", "settle"]

SAMPLE = 64  # values of each weight that tell a base from another of its shape


def load_base(name: str, dtype: str = "float32") -> tuple[Any, Any]:
    """Return (model, tokenizer) of a directory or a hub id, without running code from it.

    Raises UsageError where there is no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UsageError(
            f"bob.model {name!r} cannot be loaded ({reason}). Give a model directory, a hub id "
            "that can be reached, or run 'dvc repro base' for the tiny one."
        ) from error
    return model, tokenizer


def fingerprint(model: Any) -> str:
    """Return what identifies a base for its adapters: its kind, its weights' shapes and a sample.

    The sample is the first values of each weight, in bfloat16, so that it is the same in whatever
    precision the base is loaded; two bases of one shape differ in it.
    """
    import torch

    digest = hashlib.sha256(str(model.config.model_type).encode())
    for name, weight in sorted(model.named_parameters()):
        sample = weight.detach().flatten()[:SAMPLE].to("cpu", torch.bfloat16)
        digest.update(f"{name} {list(weight.shape)}".encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def load_adapter(model: Any, folder: Path, trainable: bool = False) -> Any:
    """Return the model with the adapter of a folder.

    Raises UsageError for an adapter made for another base, DamagedData for one that cannot be read.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise UsageError(
            f"{folder} holds no adapter_model.safetensors. Run 'dvc pull' or 'dvc repro'; adapters "
            "in pickle formats are not opened."
        )
    try:
        base = json.loads((folder / "base.json").read_text(encoding="utf-8"))["fingerprint"]
        found = fingerprint(model)
        if base != found:
            raise UsageError(
                f"The adapter in {folder} was made for another base than bob.model. Choose the "
                "base it was trained on, or start a new lineage with train.init: base."
            )
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
        adapted.base_fingerprint = found
        return adapted
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise DamagedData(
            f"The adapter in {folder} cannot be read ({reason}). Restore it with 'dvc checkout'."
        ) from error


def settle(model: Any) -> Any:
    """Return a model where it is to play: on the GPU if there is one, else on one thread.

    The other cores play other waves.
    """
    import torch

    if torch.cuda.is_available():
        return model.cuda()
    torch.set_num_threads(1)
    return model
