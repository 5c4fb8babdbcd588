"""Objectives: what is minimised, of which items, apart from the loop that minimises it.

An objective lays items side by side, sums their loss in one forward pass and says over how much of
each item the loss is a mean. Invariant: what is summed does not depend on which other items share
the batch. Does not: loop, or say what the items are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn

from alicebob.bob.rows import IGNORED, Pack

__all__ = [
    "CrossEntropy",
    "Guard",
    "Objective",
    "in_its_own_precision",
    "logits_only_where_there_is_loss",
]

#: The name of a value that is noted, and what ends a run that falls below it.
Guard = tuple[str, float]


class Objective(Protocol):
    """What is minimised: the sum over items, divided by the sum of their weights.

    Where `guard` is given, a run ends, without this step's checkpoint, as soon as the mean of a
    value that `summed` notes falls below it.
    """

    guard: Guard | None

    def collate(self, items: Sequence[Any]) -> dict[str, Tensor]:
        """Lay items side by side.

        Among the tensors are `labels` (items, n), in which as many are not IGNORED, the first
        column aside, as the items weigh together; and `tokens`, what is read without padding.
        """

    def summed(
        self, model: Any, inputs: Mapping[str, Tensor], chosen: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summed loss, and what is to be noted: by name a sum and what it is a mean of.

        `chosen` is that of `logits_only_where_there_is_loss`.
        """

    def weight(self, item: Any) -> int:
        """Return what an item weighs in the mean."""

    def blank(self, items: Sequence[Any]) -> Any:
        """Return an item that has no loss and weighs nothing, to fill a batch of these."""


class CrossEntropy:
    """The cross entropy of each token of a pack that is to be learnt."""

    guard: Guard | None = None

    def collate(self, items: Sequence[Pack]) -> dict[str, Tensor]:
        """See `Objective`."""
        found = {
            name: torch.tensor([getattr(p, name) for p in items])
            for name in ("input_ids", "labels", "position_ids")
        }
        return found | {"tokens": torch.tensor([_length(p) for p in items])}

    def summed(
        self, model: Any, inputs: Mapping[str, Tensor], chosen: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`."""
        labels = inputs["labels"][:, 1:]
        places = labels != IGNORED
        chosen["places"] = places
        with in_its_own_precision(model):
            logits = model(
                input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False
            ).logits
        return nn.functional.cross_entropy(logits.float(), labels[places], reduction="sum"), {}

    def weight(self, item: Pack) -> int:
        """See `Objective`: its tokens with loss."""
        return sum(label != IGNORED for label in item.labels[1:])

    def blank(self, items: Sequence[Pack]) -> Pack:
        """See `Objective`."""
        length = len(items[0].input_ids)
        return Pack([0] * length, [IGNORED] * length, list(range(length)))


def _length(pack: Pack) -> int:
    """Return the tokens of a pack's rows; what begins anew at its end without loss is padding."""
    last = len(pack.position_ids) - 1 - pack.position_ids[-1]
    return last if all(label == IGNORED for label in pack.labels[last:]) else len(pack.labels)


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
def in_its_own_precision(model: Any) -> Iterator[None]:
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
