"""Training: what is minimised, and how a run goes on where it was killed.

`transformers.Trainer` does the loop, under `accelerate launch` on whatever hardware there is; ours
are the packs and the loss: logits only where there is loss, normalised by the number of loss tokens
of the whole batch, over all processes. Invariants: every pack is learnt from once in a pass, and a
step means the same for any number of processes; a run that was killed and resumed ends in the same
bytes. Does not: know of skills or rounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from alicebob.bob.checkpoints import agreed, complete, whole, writing
from alicebob.bob.rows import IGNORED, Pack
from alicebob.environment import processes, rank
from alicebob.errors import UsageError

__all__ = ["Fitted", "Schedule", "fit", "logits_only_where_there_is_loss"]

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

    `tokens` counts what was read, over all passes, without padding.
    """

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
    cannot share a batch, OSError where a checkpoint cannot be written, and DamagedData where the
    best one was damaged while this ran.
    """
    torch.manual_seed(schedule.seed)
    looks = bool(validation) and schedule.patience > 0
    callbacks: list[Any] = [_Listener(report)]
    if looks:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=schedule.patience))
    trainer = _Trainer(
        model=model,
        args=_arguments(schedule, work, looks),
        train_dataset=_in_whole_batches(packs, schedule.batch),
        eval_dataset=list(validation) if looks else None,
        data_collator=_collate,
        callbacks=callbacks,
    )
    trainer.model_accepts_loss_kwargs = True  # a step's loss is divided by its tokens, here
    begun = time.monotonic()
    with logits_only_where_there_is_loss(model) as chosen:
        trainer.chosen = chosen
        trainer.tokens_per_pack = _mean_tokens(validation)
        trainer.train(resume_from_checkpoint=agreed(work))
    state = trainer.state
    return Fitted(
        curve=[_plain(entry) for entry in state.log_history if "train_runtime" not in entry],
        steps=int(state.global_step),
        tokens=int(state.num_input_tokens_seen),
        best=None if state.best_metric is None else round(float(state.best_metric), 6),
        seconds=time.monotonic() - begun,
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
        disable_tqdm=rank() != 0,
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
        self.state.num_input_tokens_seen += int(self.accelerator.gather(inputs["tokens"]).sum())
        if num_items_in_batch is None:
            return total / count
        # Gradients are averaged over processes, while the count is of all of them.
        return total * self.accelerator.num_processes / num_items_in_batch

    def _summed(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed cross entropy of the places with loss, and how many there are."""
        labels = inputs["labels"][:, 1:]
        places = labels != IGNORED
        self.chosen["places"] = places
        with _in_its_own_precision(model):
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


@contextmanager
def _in_its_own_precision(model: Any) -> Iterator[None]:
    """Compute an adapter in the precision of its base, where that is a short one.

    Its weights stay in float32. Left alone, PEFT would copy what each layer reads into float32, and
    multiply it there: more than half of the memory of a step, and much of its time.
    """
    dtype = next(model.parameters()).dtype
    if dtype is torch.float32:
        yield
        return
    with disable_input_dtype_casting(model), torch.autocast(_device(model), dtype):
        yield


def _device(model: Any) -> str:
    return str(next(model.parameters()).device.type)


def _mean_tokens(packs: Sequence[Pack]) -> float:
    counts = [sum(label != IGNORED for label in p.labels[1:]) for p in packs]
    return sum(counts) / max(1, len(counts))


def _in_whole_batches(packs: Sequence[Pack], batch: int) -> list[Pack]:
    """Return the packs, and blank ones up to a whole number of batches: none goes without a step.

    A blank pack has no loss and counts for nothing.
    """
    length = len(packs[0].input_ids)
    blank = Pack([0] * length, [IGNORED] * length, list(range(length)))
    return [*packs, *[blank] * (-len(packs) % batch)]


def _collate(packs: Sequence[Pack]) -> dict[str, Tensor]:
    found = {
        name: torch.tensor([getattr(p, name) for p in packs])
        for name in ("input_ids", "labels", "position_ids")
    }
    return found | {"tokens": torch.tensor([_length(p) for p in packs])}


def _length(pack: Pack) -> int:
    """Return the tokens of a pack's rows; what begins anew at its end without loss is padding."""
    last = len(pack.position_ids) - 1 - pack.position_ids[-1]
    return last if all(label == IGNORED for label in pack.labels[last:]) else len(pack.labels)


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
        for name, value in sorted(entry.items())  # a resumed run has them from a file, in order
        if not any(word in name for word in timed)
    }


def save_curve(fitted: Fitted, path: Path) -> None:
    """Write the curve of a run, without times, as JSON."""
    data = {"steps": fitted.steps, "tokens": fitted.tokens, "best": fitted.best}
    path.write_text(json.dumps(data | {"curve": fitted.curve}, indent=1) + "\n", encoding="utf-8")
