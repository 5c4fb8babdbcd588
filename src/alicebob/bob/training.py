"""Training: what is minimised, and how a run goes on where it was killed.

`transformers.Trainer` does the loop, under `accelerate launch` on whatever hardware there is; ours
are the packs and the loss: logits only where there is loss, normalised by the number of loss tokens
of the whole batch, over all processes. Invariant: a run that was killed and resumed ends in the
same weights; a checkpoint counts only once its marker, written last, is there. Does not: know of
skills or rounds.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from alicebob.bob.rows import IGNORED, Pack
from alicebob.errors import UsageError

__all__ = ["Fitted", "Schedule", "fit", "logits_only_where_there_is_loss"]

MARKER = "COMPLETE"
Report = Callable[[Mapping[str, float], int], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to train: learning rate, passes over the packs, packs per step, when to look and stop.

    `batch` counts packs over all processes; `every` steps there is a checkpoint and, where there
    are validation packs, a look at them; after `patience` looks without
    a better loss training ends.
    """

    learning_rate: float
    epochs: float
    batch: int
    every: int
    patience: int = 0
    warmup: float = 0.05
    weight_decay: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class Fitted:
    """What came of a run: the curve (no times in it), and how fast it was."""

    curve: list[dict[str, float]]
    steps: int
    tokens: int
    best: float | None
    seconds: float = field(compare=False)


def fit(
    model: Any,
    packs: Sequence[Pack],
    validation: Sequence[Pack],
    schedule: Schedule,
    work: Path,
    report: Report = lambda values, step: None,
) -> Fitted:
    """Train what needs gradients in `model`, in place; end with the best weights seen.

    Checkpoints live in `work`; a run that finds some goes on from the last whole one. `report` gets
    each logged value with its step, in the main process only. Raises UsageError where processes
    cannot share a batch.
    """
    torch.manual_seed(schedule.seed)
    looks = bool(validation) and schedule.patience > 0
    callbacks: list[Any] = [_Marker(), _Listener(report)]
    if looks:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=schedule.patience))
    trainer = _Trainer(
        model=model,
        args=_arguments(schedule, work, looks),
        # Whole batches, so that a step means the same for any number of processes.
        train_dataset=list(packs[: len(packs) // schedule.batch * schedule.batch] or packs),
        eval_dataset=list(validation) if looks else None,
        data_collator=_collate,
        callbacks=callbacks,
    )
    begun = time.monotonic()
    with logits_only_where_there_is_loss(model) as chosen:
        trainer.chosen = chosen
        trainer.tokens_per_pack = _mean_tokens(validation)
        trainer.train(resume_from_checkpoint=_last_whole(work))
    state = trainer.state
    return Fitted(
        curve=[_plain(entry) for entry in state.log_history if "train_runtime" not in entry],
        steps=int(state.global_step),
        tokens=int(state.global_step) * schedule.batch * len(packs[0].input_ids),
        best=None if state.best_metric is None else round(float(state.best_metric), 6),
        seconds=time.monotonic() - begun,
    )


def _arguments(schedule: Schedule, work: Path, looks: bool) -> TrainingArguments:
    """Return what the Trainer is told; raises UsageError where processes cannot share a batch."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if schedule.batch % world:
        raise UsageError(
            f"train.batch ({schedule.batch}) cannot be divided among {world} processes; choose a "
            "multiple of their number, so that a step means the same on every machine."
        )
    return TrainingArguments(
        output_dir=str(work),
        learning_rate=schedule.learning_rate,
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch // world,
        per_device_eval_batch_size=max(1, 4 * schedule.batch // world),
        lr_scheduler_type="linear",
        warmup_steps=schedule.warmup,
        weight_decay=schedule.weight_decay,
        adam_beta2=0.99,
        max_grad_norm=1.0,
        logging_steps=max(1, schedule.every // 5),
        eval_strategy="steps" if looks else "no",
        eval_steps=schedule.every,
        save_strategy="steps",
        save_steps=schedule.every,
        save_total_limit=3,  # the best, the last, and one to go on from while the last is written
        restore_callback_states_from_checkpoint=True,  # how long patience has been tried
        load_best_model_at_end=looks,
        metric_for_best_model="eval_loss" if looks else None,
        greater_is_better=False if looks else None,
        seed=schedule.seed,
        data_seed=schedule.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        report_to=[],
        disable_tqdm=os.environ.get("RANK", "0") != "0",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        average_tokens_across_devices=True,
        save_only_model=False,
    )


class _Trainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is the sum over loss tokens, divided by their number in the batch."""

    chosen: dict[str, Tensor]
    tokens_per_pack: float  # with loss, over the validation packs

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        total, count = self._summed(model, inputs)
        if num_items_in_batch is None:
            return total / count
        # Gradients are averaged over processes, while the count is of all of them.
        return total * self.accelerator.num_processes / num_items_in_batch

    def _summed(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed cross entropy of the places with loss, and how many there are."""
        labels = inputs["labels"][:, 1:]
        places = labels != IGNORED
        self.chosen["places"] = places
        logits = model(
            input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False
        ).logits
        total = nn.functional.cross_entropy(logits.float(), labels[places], reduction="sum")
        return total, places.sum()

    def prediction_step(
        self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any
    ) -> tuple[Tensor, None, None]:
        """Return the batch's loss, scaled so that the mean over batches is the mean over tokens."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            total, _ = self._summed(model, inputs)
        return total / (len(inputs["labels"]) * self.tokens_per_pack), None, None


@contextmanager
def logits_only_where_there_is_loss(model: Any) -> Any:
    """Let the output layer see only the hidden states whose next token is to be predicted.

    A hook on the layer itself, so that it works under PEFT and under any wrapper for many devices.
    """
    chosen: dict[str, Tensor] = {}

    def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden,) = arguments
        return (hidden[:, :-1][chosen["places"]],)

    handle = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield chosen
    finally:
        handle.remove()


def _mean_tokens(packs: Sequence[Pack]) -> float:
    counts = [sum(label != IGNORED for label in p.labels[1:]) for p in packs]
    return sum(counts) / max(1, len(counts))


def _collate(packs: Sequence[Pack]) -> dict[str, Tensor]:
    return {
        name: torch.tensor([getattr(p, name) for p in packs])
        for name in ("input_ids", "labels", "position_ids")
    }


class _Marker(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as whole once everything in it is on the disk."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            (folder / MARKER).touch()


class _Listener(TrainerCallback):  # type: ignore[misc]
    """Hands every logged value on."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            self.report(_plain(logs), int(state.global_step))


def _plain(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a log entry that do not differ from run to run."""
    timed = ("runtime", "per_second")
    return {
        name: round(float(value), 6)
        for name, value in entry.items()
        if not any(word in name for word in timed)
    }


def _last_whole(work: Path) -> str | None:
    """Return the newest checkpoint to go on from; remove those that were cut off.

    Not the one of an early stop: nothing comes after it, and from the one before it the same stop
    is reached again.
    """
    whole = []
    for folder in work.glob("checkpoint-*"):
        if not (folder / MARKER).exists():
            if int(os.environ.get("RANK", "0")) == 0:
                shutil.rmtree(folder, ignore_errors=True)
        elif not _stopped_early(folder):
            whole.append(folder)
    newest = max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _stopped_early(checkpoint: Path) -> bool:
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    control = state.stateful_callbacks["TrainerControl"]["args"]
    return bool(control["should_training_stop"]) and state.global_step < state.max_steps


def save_curve(fitted: Fitted, path: Path) -> None:
    """Write the curve of a run, without times, as JSON."""
    data = {"steps": fitted.steps, "tokens": fitted.tokens, "best": fitted.best}
    path.write_text(json.dumps(data | {"curve": fitted.curve}, indent=1) + "\n", encoding="utf-8")
