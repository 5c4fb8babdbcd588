"""Fine-tuning on the same rows: ours beside `transformers.Trainer` and TRL's SFTTrainer.

    python benchmarks/trainers.py --lineage DIR                        # its model, its skills
    python benchmarks/trainers.py --lineage DIR --pack-tokens 4096     # long packs, for a GPU

DIR is a lineage with at least one round. Every side trains a new LoRA adapter of the same first
weights on the same rows, each once, with about as many tokens in a step. Ours are packs in which
no row sees another; the Trainer pads a row each; TRL pads (`packing=False`) or packs ("bfd"; where
the attention is not a flash one its rows see each other, as its own warning says). Equality: before
training all sides have the same loss on the first rows; what they have after is printed.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from gpu import DEVICE, matrix_rate
from numpy.random import default_rng
from transformers import Trainer, TrainingArguments

from alicebob import dataset
from alicebob.bob.rows import IGNORED, Row, pack, rows_of
from alicebob.bob.sft import Lora, new_adapter
from alicebob.bob.training import Schedule, fit
from alicebob.policies.conversation import Conversation
from alicebob.policies.models import load_base

TOLERANCE = {"bfloat16": 2e-2, "float32": 1e-4}


def loss_of(model: Any, rows: Sequence[Row]) -> float:
    """Return the mean loss over the learnt tokens of rows, one row at a time."""
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.ids], device=DEVICE)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            chosen = torch.tensor(row.mask[1:], device=DEVICE).bool()
            total += float(
                torch.nn.functional.cross_entropy(
                    logits[chosen], ids[0, 1:][chosen], reduction="sum"
                )
            )
            count += int(chosen.sum())
    return total / count


def labels_of(row: Row) -> list[int]:
    """Return a row's labels: its ids where there is loss."""
    return [i if m else IGNORED for i, m in zip(row.ids, row.mask, strict=True)]


def told(batch: int, out: str, lr: float) -> dict[str, Any]:
    """Return what both peers are told."""
    return {
        "output_dir": out,
        "per_device_train_batch_size": batch,
        "num_train_epochs": 1,
        "learning_rate": lr,
        "warmup_steps": 0.05,
        "adam_beta2": 0.99,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1_000_000,
        "disable_tqdm": True,
        "use_cpu": DEVICE == "cpu",
    }


@click.command()
@click.option("--lineage", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--round", "round_id", default="r001", show_default=True)
@click.option("--rows", "count", default=256, show_default=True, help="Rows to train on.")
@click.option("--pack-tokens", default=256, show_default=True)
@click.option("--context", default=192, show_default=True)
@click.option("--turns", default=1, show_default=True)
@click.option("--batch", default=4, show_default=True, help="Packs in a step.")
@click.option("--dtype", type=click.Choice(list(TOLERANCE)), default="bfloat16", show_default=True)
@click.option("--learning-rate", default=5e-4, show_default=True)
@click.option("--attention", default="", help="As in bob.attention.")
def main(
    lineage: Path,
    round_id: str,
    count: int,
    pack_tokens: int,
    context: int,
    turns: int,
    batch: int,
    dtype: str,
    learning_rate: float,
    attention: str,
) -> None:
    """Train on the same rows in turn; print tokens a second, memory, the loss before and after."""
    from trl import SFTConfig, SFTTrainer

    skills = dataset.read_skills(lineage / "data/skills" / round_id)

    def new() -> tuple[Any, Any]:
        model, tokenizer = load_base(str(lineage / "models/base"), dtype, "", attention)
        return new_adapter(model, Lora(16, 2.0), 0).to(DEVICE), tokenizer

    model, tokenizer = new()
    talk = Conversation(tokenizer)
    made = [row for skill in skills for row in rows_of(skill, talk, context, turns)]
    rows = [made[i] for i in default_rng(0).permutation(len(made))[:count]]
    tokens, longest = sum(len(row.ids) for row in rows), max(len(row.ids) for row in rows)
    packs = pack(rows, pack_tokens, talk.end[-1])
    in_a_step = max(1, round(batch * len(rows) / len(packs)))  # rows: as many tokens as ours
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    columns = {"input_ids": [list(r.ids) for r in rows], "labels": [labels_of(r) for r in rows]}
    weights = (
        sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    )
    rate = matrix_rate(next(model.parameters()).dtype, 8192 if DEVICE == "cuda" else 512)
    click.echo(
        f"{len(rows)} rows, {tokens} tokens, at most {longest}; {len(packs)} packs of "
        f"{pack_tokens}; {dtype} on {DEVICE}, matrix rate {rate / 1e12:.2f} T/s"
    )

    def ours(model: Any, out: str) -> None:
        fit(model, packs, [], Schedule(learning_rate, 1, batch, every=1_000_000), Path(out))

    def padded(model: Any, out: str) -> None:
        def collate(some: Sequence[Row]) -> dict[str, torch.Tensor]:
            long = max(len(row.ids) for row in some)
            spare = [long - len(row.ids) for row in some]
            return {
                "input_ids": torch.tensor(
                    [[*r.ids, *[0] * n] for r, n in zip(some, spare, strict=True)]
                ),
                "attention_mask": torch.tensor(
                    [[1] * len(r.ids) + [0] * n for r, n in zip(some, spare, strict=True)]
                ),
                "labels": torch.tensor(
                    [[*labels_of(r), *[IGNORED] * n] for r, n in zip(some, spare, strict=True)]
                ),
            }

        settings = TrainingArguments(
            **told(in_a_step, out, learning_rate), remove_unused_columns=False
        )
        Trainer(model=model, args=settings, train_dataset=list(rows), data_collator=collate).train()

    def trl(packing: bool) -> Callable[[Any, str], None]:
        def work(model: Any, out: str) -> None:
            from datasets import Dataset

            settings = SFTConfig(
                **told(batch if packing else in_a_step, out, learning_rate),
                packing=packing,
                max_length=pack_tokens if packing else longest,
                gradient_checkpointing=False,
            )
            SFTTrainer(
                model=model,
                args=settings,
                train_dataset=Dataset.from_dict(columns),
                processing_class=tokenizer,
            ).train()

        return work

    sides: dict[str, Callable[[Any, str], None]] = {
        "ours": ours,
        "transformers.Trainer": padded,
        "trl": trl(False),
        "trl, packed": trl(True),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    first: list[float] = []
    for number in range(3):  # the first time round warms up
        for name, work in sides.items():
            model, _ = new()
            if not number:
                first.append(loss_of(model, rows[:32]))
            if DEVICE == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as out:
                begun = time.perf_counter()
                work(model, out)
                if DEVICE == "cuda":
                    torch.cuda.synchronize()
                taken = time.perf_counter() - begun
            held = torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else 0.0
            speeds[name].append(tokens / taken)
            if number == 2:
                best, worst = max(speeds[name][1:]), min(speeds[name][1:])
                share = 4 * weights * best / rate  # forward, and back to what was read: 2 each
                click.echo(
                    f"{name}: {best:,.0f} tokens/s ({worst:,.0f}), {share:.1%} of the matrix "
                    f"rate, peak {held:.2f} GiB, "
                    f"loss {first[0]:.3f} -> {loss_of(model, rows[:32]):.3f}"
                )
            del model
    if max(first) - min(first) > TOLERANCE[dtype]:
        sys.exit(f"the sides do not begin alike: {first}")


if __name__ == "__main__":
    main()
