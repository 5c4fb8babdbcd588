"""Training: the loop, and how a run goes on where it was killed.

`transformers.Trainer` does the loop, under `accelerate launch` on whatever hardware there is; ours
are the items and the objective, whose loss is normalised by what the items of the whole batch
weigh, over all processes. Invariants: every item is learnt from once in a pass, and a step means
the same for any number of processes; a run that was killed and resumed ends in the same bytes. Does
not: know of skills or rounds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from alicebob.bob.checkpoints import agreed, complete, whole, writing
from alicebob.bob.objective import (
    CrossEntropy,
    Guard,
    Objective,
    logits_only_where_there_is_loss,
)
from alicebob.environment import processes, rank
from alicebob.errors import UsageError

__all__ = ["Fitted", "Schedule", "fit", "save_curve"]

Report = Callable[[Mapping[str, float], int], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to train: learning rate, passes over the packs, packs per step, when to look and stop.

    `batch` counts packs over all processes, `micro_batch` those that a process has at once, 0 for
    all of its share; with `checkpointing` what a layer computed is computed again in the backward
    pass, for less memory. `every` steps there is a checkpoint and, where there
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
    micro_batch: int = 0
    checkpointing: bool = False


@dataclass(slots=True)
class Fitted:
    """What came of a run: the curve (no times in it), and how fast it was.

    `tokens` counts what was read, over all passes, without padding; `collapsed` is the step at
    which the objective's guard ended it, 0 for none: `best` is then None where nothing was kept
    before.
    """

    curve: list[dict[str, float]]
    steps: int
    tokens: int
    best: float | None
    seconds: float = field(compare=False)
    collapsed: int = 0


def fit(
    model: Any,
    items: Sequence[Any],
    validation: Sequence[Any],
    schedule: Schedule,
    work: Path,
    report: Report = lambda values, step: None,
    objective: Objective | None = None,
) -> Fitted:
    """Train what needs gradients in `model`, in place; end with the best weights seen.

    What is minimised is the objective's, by default the cross entropy of packs. Checkpoints live
    in `work`; a run that finds some goes on from the last whole one. `report` gets each logged
    value with its step, in the main process only. Raises UsageError where processes cannot share a
    batch, OSError where a checkpoint cannot be written, and DamagedData where the best one was
    damaged while this ran.
    """
    torch.manual_seed(schedule.seed)
    objective = objective or CrossEntropy()
    looks = bool(validation) and schedule.patience > 0
    guard = _Guard(objective.guard)
    callbacks: list[Any] = [_Listener(report), guard]
    if looks:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=schedule.patience))
    trainer = _Trainer(
        model=model,
        args=_arguments(schedule, work, looks),
        train_dataset=_in_whole_batches(items, schedule.batch, objective),
        eval_dataset=list(validation) if looks else None,
        data_collator=objective.collate,
        callbacks=callbacks,
    )
    trainer.model_accepts_loss_kwargs = True  # a step's loss is divided by its tokens, here
    trainer.objective, trainer.noted = objective, {}
    begun = time.monotonic()
    with logits_only_where_there_is_loss(model) as chosen:
        trainer.chosen = chosen
        trainer.mean_weight = sum(map(objective.weight, validation)) / max(1, len(validation))
        trainer.train(resume_from_checkpoint=agreed(work))
    state = trainer.state
    return Fitted(
        curve=[_plain(entry) for entry in state.log_history if "train_runtime" not in entry],
        steps=int(state.global_step),
        tokens=int(state.num_input_tokens_seen),
        best=None if state.best_metric is None else round(float(state.best_metric), 6),
        seconds=time.monotonic() - begun,
        collapsed=guard.at,
    )


def _arguments(schedule: Schedule, work: Path, looks: bool) -> TrainingArguments:
    """Return what the Trainer is told; raises UsageError where processes cannot share a batch."""
    world = processes()
    if schedule.batch % world:
        raise UsageError(
            f"train.batch ({schedule.batch}) cannot be divided among {world} processes; choose a "
            "multiple of their number, so that a step means the same on every machine."
        )
    share = schedule.batch // world
    at_once = schedule.micro_batch or share
    if share % at_once:
        raise UsageError(
            f"train.micro_batch ({at_once}) does not divide the {share} packs of a step that each "
            f"of {world} processes has; choose a divisor of them."
        )
    return TrainingArguments(
        output_dir=str(work),
        learning_rate=schedule.learning_rate,
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=share // at_once,
        activation_checkpointing=schedule.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        per_device_eval_batch_size=4 * at_once,
        lr_scheduler_type="linear",
        warmup_steps=schedule.warmup,
        weight_decay=schedule.weight_decay,
        adam_beta2=0.99,
        max_grad_norm=1.0,
        logging_steps=_divisor(schedule.every, schedule.every // 5),
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
        disable_tqdm=rank() != 0,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        average_tokens_across_devices=True,
        save_only_model=False,
    )


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor that is not above `most`, or 1.

    What is logged is a mean since the last time, which a checkpoint in between would cut in two.
    """
    return next((n for n in range(most, 1, -1) if number % n == 0), 1)


class _Trainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is the sum over items, divided by what they weigh in the batch."""

    objective: Objective
    chosen: dict[str, Tensor]
    mean_weight: float  # of the validation items
    noted: dict[str, Tensor]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        total, noted = self.objective.summed(model, inputs, self.chosen)
        self._note("", noted)
        self.state.num_input_tokens_seen += int(self.accelerator.gather(inputs["tokens"]).sum())
        # Gradients are averaged over processes, while the count is of all of them.
        return total * self.accelerator.num_processes / num_items_in_batch

    def _note(self, prefix: str, noted: Mapping[str, Tensor]) -> None:
        """Add to what is logged next, a mean over all that was seen since."""
        for name, part in noted.items():
            self.noted[f"{prefix}{name}"] = self.noted.get(f"{prefix}{name}", 0) + part.detach()

    def log(self, logs: dict[str, float], *more: Any) -> None:
        """Log, and with a loss what was noted beside it."""
        looked = "eval_loss" in logs
        for name in sorted(self.noted) if looked or "loss" in logs else ():
            if name.startswith("eval_") == looked:
                total, weight = self.accelerator.reduce(self.noted.pop(name), "sum").tolist()
                logs[name] = total / max(weight, 1.0)
        super().log(logs, *more)

    def prediction_step(
        self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any
    ) -> tuple[Tensor, None, None]:
        """Return the batch's loss, scaled so that the mean over batches is that over all items."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            total, noted = self.objective.summed(model, inputs, self.chosen)
        self._note("eval_", noted)
        return total / (len(inputs["labels"]) * self.mean_weight), None, None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, then the marker that vouches for it.

        Raises OSError, naming the checkpoint, where it cannot be written.
        """
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with writing(folder):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            complete(folder)

    def _load_best_model(self) -> None:
        """Load the best weights seen; raises DamagedData where they are not what was written."""
        whole(Path(self.state.best_model_checkpoint))
        super()._load_best_model()


def _in_whole_batches(items: Sequence[Any], batch: int, objective: Objective) -> list[Any]:
    """Return the items, and blank ones up to a whole number of batches: none goes without a step.

    A blank item has no loss and counts for nothing.
    """
    return [*items, *[objective.blank(items)] * (-len(items) % batch)]


class _Listener(TrainerCallback):  # type: ignore[misc]
    """Hands every logged value on."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            self.report(_plain(logs), int(state.global_step))


class _Guard(TrainerCallback):  # type: ignore[misc]
    """Ends a run whose guarded value fell too low, and keeps nothing of that step."""

    def __init__(self, guard: Guard | None) -> None:
        self.guard, self.at = guard, 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        name, floor = self.guard or ("", 0.0)
        if (logs or {}).get(name, floor) < floor and not self.at:
            self.at = int(state.global_step)
            control.should_training_stop = True
            control.should_evaluate = control.should_save = False
            if state.is_world_process_zero:
                told = f"{name} fell to {logs[name]:.3g}, below {floor:.3g}"
                print(f"Training ends at step {self.at}: {told}.", file=sys.stderr)


def _plain(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a log entry that do not differ from run to run."""
    timed = ("runtime", "per_second")
    return {
        name: round(float(value), 6)
        for name, value in sorted(entry.items())  # a resumed run has them from a file, in order
        if not any(word in name for word in timed)
    }


def save_curve(fitted: Fitted, path: Path) -> None:
    """Write the curve of a run, without times, as JSON."""
    data = {"steps": fitted.steps, "tokens": fitted.tokens, "best": fitted.best}
    path.write_text(json.dumps(data | {"curve": fitted.curve}, indent=1) + "\n", encoding="utf-8")
