"""Supervised fine-tuning: skills in, a LoRA adapter out.

Any causal language model of Hugging Face's shape will do, by directory or id. Invariant: an adapter
directory holds safetensors, a card and a curve, no pickle and nothing that differs between two
equal runs; it names the base it was made for and refuses another. Does not: choose the skills.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.random import default_rng

from alicebob.bob.conversation import Conversation
from alicebob.bob.rows import Pack, Row, balanced, held_out, pack, rows_of
from alicebob.bob.training import Fitted, Report, Schedule, fit, save_curve
from alicebob.errors import DamagedData, UsageError
from alicebob.trace import Skill

__all__ = ["Lora", "fingerprint", "load_adapter", "load_base", "new_adapter", "packs_of", "train"]

SAMPLE = 64  # values of each weight that tell a base from another of its shape


@dataclass(frozen=True, slots=True)
class Lora:
    """The shape of an adapter: rank, and alpha as a multiple of it; on all linear layers."""

    rank: int = 32
    alpha: float = 1.0


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


def new_adapter(model: Any, lora: Lora, seed: int) -> Any:
    """Return the model with an untrained adapter, which changes nothing yet."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=round(lora.rank * lora.alpha),
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    base = fingerprint(model)  # now: training may spread the weights over many devices
    adapted = get_peft_model(model, config)
    adapted.base_fingerprint = base
    return adapted


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


def packs_of(
    skills: Sequence[Skill],
    conversation: Conversation,
    *,
    context: int,
    turns: int,
    pack_tokens: int,
    budget: int,
    repeat: int,
    shares: Mapping[str, float],
    validation_share: float,
    seed: int,
) -> tuple[list[Pack], list[Pack], dict[str, int]]:
    """Return (training packs, validation packs, rows at hand by kind)."""
    train: dict[str, list[Row]] = {}
    validation: dict[str, list[Row]] = {}
    for skill in skills:
        side = validation if held_out(skill, validation_share) else train
        for row in rows_of(skill, conversation, context, turns):
            side.setdefault(row.kind, []).append(row)
    padding = conversation.tokenizer.pad_token_id
    padding = conversation.tokenizer.eos_token_id if padding is None else padding
    draw = default_rng(seed)
    chosen = balanced(train, budget, repeat, dict(shares), draw)
    looked = balanced(validation, max(pack_tokens, budget // 60), 1, dict(shares), draw)
    counts = {name: len(rows) for name, rows in sorted(train.items())}
    return pack(chosen, pack_tokens, padding), pack(looked, pack_tokens, padding), counts


def train(
    model: Any,
    packs: Sequence[Pack],
    validation: Sequence[Pack],
    schedule: Schedule,
    work: Path,
    report: Report = lambda values, step: None,
) -> Fitted:
    """Train a PEFT model's adapter in place; raises UsageError where there is nothing to learn."""
    if not packs:
        raise UsageError("There are no skills to train on; explore more (explore.episodes).")
    return fit(model, packs, validation, schedule, work, report)


def save_adapter(
    model: Any, base_name: str, out: Path, card: str, fitted: Fitted | None = None
) -> None:
    """Write an adapter directory, byte for byte the same for the same weights."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(out))
    path = out / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    config = {k: sorted(v) if k == "target_modules" else v for k, v in sorted(config.items())}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    base = {"name": base_name, "fingerprint": model.base_fingerprint}
    (out / "base.json").write_text(json.dumps(base, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card, encoding="utf-8")
    if fitted is not None:
        save_curve(fitted, out / "training.json")
