"""Faithful: whether a model plays as it was trained, tried on a few tokens when it is loaded.

Architectures differ in what they make of masks, of caches and of rows side by side, and most of
them say nothing when they are misled. So each way of reading is held against the model's plain
forward, and a packed row against the row alone. Invariant: what is played and trained with is equal
to the plain forward, or is refused. Does not: know of architectures.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from alicebob.errors import UsageError
from alicebob.policies.reading import Anew, Held, Kept, Plain, Reader, branching_masks

__all__ = ["apart", "branches", "reader_of"]

FEW = 40  # tokens of a row, where no window is longer
#: How far logits may be from the plain forward's, in standard deviations of these.
ROUNDING = 1e-3
PADDING = 3  # tokens after packed rows
COARSE = (4, 0.1)  # in half precision: so many times what one row alone is off, and at most


@torch.inference_mode()  # type: ignore[untyped-decorator]
def reader_of(model: Any, context: int) -> Reader:
    """Return the quickest way to read a model that gives what its plain forward gives.

    `context` are the tokens that will be read at most: a window of attention that is longer cannot
    matter. Raises UsageError where no way does.
    """
    model.eval()
    length, bound = _length(model, context), _bound(model)
    worst = float("inf")
    for way in (Kept, Anew, Plain):
        reader: Reader = way(model)
        worst = _tried(functools.partial(_differs, reader, model, length))
        if worst > bound:
            continue
        if way is not Kept:
            print(
                f"{_name(model)} is played {reader.told}, which is slower: read otherwise, it "
                "would give other answers than the ones it is trained for.",
                file=sys.stderr,
            )
        return reader
    raise UsageError(
        f"{_name(model)} cannot be played as it would be trained: what it answers to a text token "
        f"by token is not what it answers to the whole text ({_far(worst)}). Choose a causal "
        "language model of another kind."
    )


@torch.inference_mode()  # type: ignore[untyped-decorator]
def apart(model: Any) -> bool:
    """Return whether packed rows do not see each other, called as training calls the model.

    Raises UsageError where even a row alone, with padding after it, is not what it is without.
    """
    model.eval()
    rows, bound = [_text(model, FEW, 1), _text(model, FEW // 2, 2)], _bound(model)
    if _tried(functools.partial(_packed, model, rows)) <= bound:
        return True
    worst = _tried(functools.partial(_packed, model, rows[:1]))
    if worst <= bound:
        return False
    raise UsageError(
        f"{_name(model)} cannot be trained on rows of unequal length: padding after a row changes "
        f"what it makes of the row ({_far(worst)}). Choose a causal language model of another kind."
    )


@torch.inference_mode()  # type: ignore[untyped-decorator]
def branches(model: Any, context: int) -> bool:
    """Return whether two texts may share the tokens that they begin with, read once.

    `context` are the tokens that a text has at most; of the second the end is twice as far from the
    beginning, by the count that windows go by.
    """
    model.eval()
    length = _length(model, 2 * context)
    return _tried(functools.partial(_branching, model, length)) <= _bound(model)


def _branching(model: Any, length: int) -> float:
    """Return how far texts that share a trunk, beside another row, are from each alone."""
    trunk, other = _text(model, length // 2, 1), _text(model, FEW, 4)
    limbs = [_text(model, length - length // 2 - cut, seed) for cut, seed in ((0, 2), (3, 3))]
    ids = [*trunk, *limbs[0], *limbs[1], *other, *[0] * PADDING]
    places = [*range(len(trunk)), *(len(trunk) + n for limb in limbs for n in range(len(limb)))]
    places += [*range(FEW), *range(PADDING)]
    trees = [0] * (len(ids) - FEW - PADDING) + [1] * FEW + [-1] * PADDING
    limb = [0] * len(trunk) + [1] * len(limbs[0]) + [2] * len(limbs[1]) + [0] * (FEW + PADDING)
    logits = model(
        input_ids=torch.tensor([ids], device=model.device),
        position_ids=torch.tensor([places], device=model.device),
        attention_mask=branching_masks(
            model, *(torch.tensor([each], device=model.device) for each in (trees, limb))
        ),
        use_cache=False,
    ).logits[0, : len(ids) - PADDING]
    alone = [_whole(model, [*trunk, *limbs[0]])]
    alone += [_whole(model, [*trunk, *limbs[1]])[len(trunk) :], _whole(model, other)]
    return _far_from(logits, torch.cat(alone))


def _differs(reader: Reader, model: Any, length: int) -> float:
    """Return how far a reader is from the plain forward, over all that play does with it.

    Rows of unequal length, one that is done while others go on, one that is over, one whose window
    begins anew.
    """
    texts = [_text(model, length - cut, seed) for seed, cut in enumerate((0, 5, 9))]
    rows = [Held(slot=slot) for slot in range(len(texts))]
    reader.start(len(rows), length + 4)
    wholes = [_whole(model, text) for text in texts]
    worst: list[float] = []

    def on(some: Sequence[int], counts: Sequence[int], do: Callable[..., Tensor]) -> None:
        chosen = [rows[i] for i in some]
        chunks = [
            texts[i][len(rows[i].cached) :][:count] for i, count in zip(some, counts, strict=True)
        ]
        found = do(chosen, chunks)
        for i, count, logits in zip(some, counts, found, strict=True):
            if count:
                place = len(rows[i].cached) - 1
                worst.append(_far_from(logits[None], wholes[i][place][None]))

    on((0, 1, 2), (length // 2, 4, length // 3), reader.read)
    on((0, 1, 2), (1, 0, 1), reader.step)
    on((0, 1, 2), (1, 0, 0), reader.step)
    reader.keep([0, 2])
    rows[2].slot = 1
    del rows[2].cached[3:]
    texts[2] = [*texts[2][:3], *_text(model, length - 12, 7)]
    wholes[2] = _whole(model, texts[2])
    on((0, 2), (length - len(rows[0].cached) - 2, length // 2), reader.read)
    on((0, 2), (1, 1), reader.step)
    return max(worst)


def _packed(model: Any, rows: Sequence[list[int]]) -> float:
    """Return how far rows in one pack, with padding after them, are from each alone."""
    ids = [i for row in rows for i in row] + [0] * PADDING
    places = [place for row in rows for place in range(len(row))] + list(range(PADDING))
    logits = model(
        input_ids=torch.tensor([ids], device=model.device),
        position_ids=torch.tensor([places], device=model.device),
        use_cache=False,
    ).logits[0, : len(ids) - PADDING]
    return _far_from(logits, torch.cat([_whole(model, row) for row in rows]))


def _bound(model: Any) -> float:
    """Return how far off rounding may be in the precision of a model."""
    if model.dtype == torch.float32:
        return ROUNDING
    times, most = COARSE
    alone = _tried(functools.partial(_differs, Plain(model), model, FEW))
    return max(ROUNDING, min(most, times * alone))


def _length(model: Any, context: int) -> int:
    """Return how many tokens show what a model does beyond its windows, if those may matter."""
    windows = [n for n in _windows(model) if n < context]
    return max([FEW, *(n + FEW for n in windows)])


def _windows(model: Any) -> Iterator[int]:
    config = model.config.get_text_config()
    for name in ("sliding_window", "attention_chunk_size", "local_attention", "window_size"):
        size = getattr(config, name, None)
        if isinstance(size, int) and size > 0:
            yield size


def _text(model: Any, length: int, seed: int) -> list[int]:
    """Return token ids that look like no other text's; the first of a vocabulary are left out."""
    words = model.get_input_embeddings().weight.shape[0]
    first = min(256, words // 4)
    return [first + (7919 * (seed + 1) * (n + 3) + n * n) % (words - first) for n in range(length)]


def _whole(model: Any, text: Sequence[int]) -> Tensor:
    """Return the logits of the plain forward over a text, (tokens, vocabulary)."""
    ids = torch.tensor([text], device=model.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _far_from(found: Tensor, right: Tensor) -> float:
    """Return how far logits (places, vocabulary) are from the right ones, at the worst place."""
    found, right = found.float(), right.float()
    error = (found - right) - (found - right).mean(-1, keepdim=True)
    spread = right.std(-1) + 1e-9
    return float((error.square().mean(-1).sqrt() / spread).nan_to_num(float("inf")).max())


def _tried(measure: Callable[[], float]) -> float:
    try:
        return measure()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # noqa: BLE001 - models fail in any way where they meet the unforeseen
        return float("inf")


def _far(worst: float) -> str:
    if worst == float("inf"):
        return "it fails or gives no numbers"
    return f"off by {worst:.2g} standard deviations of its logits"


def _name(model: Any) -> str:
    return f"A model of the kind {model.config.model_type}"
