"""Supervised fine-tuning: skills in, a LoRA adapter out.

Any causal language model of Hugging Face's shape will do, by directory or id. Invariant: an adapter
directory holds safetensors, a card and a curve, no pickle and nothing that differs between two
equal runs; it names the base it was made for. Does not: choose the skills.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alicebob.bob.objective import Objective
from alicebob.bob.rows import Pack, Row, balanced, held_out, pack, rows_of
from alicebob.bob.training import Fitted, Report, Schedule, fit, save_curve
from alicebob.draws import generator
from alicebob.errors import UsageError
from alicebob.policies.conversation import Conversation, PromptTooLong
from alicebob.policies.models import fingerprint
from alicebob.trace import Skill

__all__ = ["Lora", "new_adapter", "packs_of", "save_adapter", "train"]


@dataclass(frozen=True, slots=True)
class Lora:
    """The shape of an adapter: rank, and alpha as a multiple of it; on all linear layers."""

    rank: int = 32
    alpha: float = 1.0


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
    asked: Mapping[str, float],
    together: bool = True,
) -> tuple[list[Pack], list[Pack], dict[str, int], int]:
    """Return (training packs, validation packs, rows in the former by kind, skills left out).

    A skill that does not fit into the context, since a model may write any instruction, is left
    out, and it is said; raises PromptTooLong where none fits.

    `asked` says how much more weight some kinds have; see `alicebob.bob.rows.balanced`. `together`
    says whether rows may share a pack (see `alicebob.policies.faithful.apart`).
    """
    train: dict[str, list[Row]] = {}
    validation: dict[str, list[Row]] = {}
    long: list[PromptTooLong] = []
    for skill in skills:
        side = validation if held_out(skill, validation_share) else train
        try:
            rows = [*rows_of(skill, conversation, context, turns)]
        except PromptTooLong as error:
            long.append(error)
            continue
        for row in rows:
            side.setdefault(row.kind, []).append(row)
    if long:
        if len(long) == len(skills):
            raise long[0]
        told = f"{len(long)} of {len(skills)} skills are left out of training: {long[0]}"
        print(told, file=sys.stderr)
    padding = conversation.tokenizer.pad_token_id
    padding = conversation.tokenizer.eos_token_id if padding is None else padding
    draw = generator("rows", seed)
    chosen = balanced(train, budget, repeat, dict(shares), draw, asked)
    looked = balanced(validation, max(pack_tokens, budget // 60), 1, dict(shares), draw, asked)
    counts = dict(sorted(Counter(row.kind for row in chosen).items()))
    packs, looks = (pack(some, pack_tokens, padding, together) for some in (chosen, looked))
    return packs, looks, counts, len(long)


def train(
    model: Any,
    packs: Sequence[Any],
    validation: Sequence[Any],
    schedule: Schedule,
    work: Path,
    report: Report = lambda values, step: None,
    objective: Objective | None = None,
) -> Fitted:
    """Train a PEFT model's adapter in place, with two checkpoints at least; see `fit`.

    Raises UsageError where there is nothing to learn.
    """
    if not packs:
        raise UsageError("There are no skills to train on; explore more (explore.episodes).")
    steps = math.ceil(math.ceil(len(packs) / schedule.batch) * schedule.epochs)
    if schedule.every > (most := max(1, steps // 2)):
        told = f"train.every ({schedule.every}) is more than half of {steps} steps"
        print(f"{told}: a checkpoint and a look every {most}.", file=sys.stderr)
        schedule = replace(schedule, every=most)
    return fit(model, packs, validation, schedule, work, report, objective)


def save_adapter(
    model: Any,
    base_name: str,
    out: Path,
    card: str,
    fitted: Fitted | None = None,
    revision: str = "",
) -> None:
    """Write an adapter directory, byte for byte the same for the same weights.

    `revision` is that of a base that is a hub id.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(out))
    path = out / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # A folder must not be taken for a hub's id, where "models/base" could be anybody's.
    relative = Path(base_name).is_dir() and not Path(base_name).is_absolute()
    name = f"./{Path(base_name).as_posix()}" if relative else base_name
    config["base_model_name_or_path"] = name
    config["revision"] = revision or None
    config = {k: sorted(v) if k == "target_modules" else v for k, v in sorted(config.items())}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    base = {"name": name, "fingerprint": model.base_fingerprint}
    base |= {"revision": revision} if revision else {}
    (out / "base.json").write_text(json.dumps(base, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card, encoding="utf-8")
    if fitted is not None:
        save_curve(fitted, out / "training.json")
