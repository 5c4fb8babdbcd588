"""Writing: replies token by token, side by side, until each has ended; how tokens are drawn.

One number is drawn per token, from the row's own generator, so that what a row writes does not
depend on the rows beside it. Does not: know what is written, or how a model is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from numpy.random import Generator
from torch import Tensor

from alicebob.policies.reading import Held, Reader

__all__ = ["draw", "write"]

LIKELY = 64  # tokens that are put in order first


def write(
    reader: Reader,
    rows: Sequence[Held],
    prompts: Sequence[list[int]],
    choose: Callable[[Tensor, Sequence[int], Sequence[Sequence[int]]], Sequence[int]],
    over: Callable[[int, Sequence[int]], bool],
) -> list[list[int]]:
    """Read a prompt into each row and return what is written after it, token ids by row.

    `choose` gets logits (rows, vocabulary), which it may change, the numbers of these rows and what
    each has written, and returns a token for each; `over` tells whether a row has ended with this.
    """
    logits = reader.read(rows, prompts)
    written: list[list[int]] = [[] for _ in rows]
    going = list(range(len(rows)))
    while True:
        for i, token in zip(going, choose(logits, going, [written[i] for i in going]), strict=True):
            written[i].append(token)
        going = [i for i in going if not over(i, written[i])]
        if not going:
            return written
        # Rows that are done ride along unread: leaving them out would copy the cache.
        last = set(going)
        chunks = [written[i][-1:] if i in last else [] for i in range(len(rows))]
        logits = reader.step(rows, chunks)[going]


def draw(
    logits: Tensor, chances: Sequence[Generator], temperature: float, top_p: float
) -> list[int]:
    """Return a token for each row of logits (rows, vocabulary): the likeliest at temperature 0.

    Else it is drawn at the temperature, from the likeliest tokens that make up the share `top_p`.
    """
    if temperature == 0:
        return [int(i) for i in logits.argmax(-1)]
    scaled = logits.double() / temperature
    weights = torch.exp(scaled - scaled.amax(-1, keepdim=True))
    ids = None
    if top_p < 1:
        weights, ids = _nucleus(weights, top_p)
    weights = weights.cumsum(-1)
    drawn = torch.tensor([chance.random() for chance in chances], dtype=weights.dtype)
    places = drawn.to(weights.device)[:, None] * weights[:, -1:]
    found = torch.searchsorted(weights, places, right=True).clamp(max=weights.shape[-1] - 1)
    return [int(i) for i in (found if ids is None else ids.gather(-1, found))[:, 0]]


def _nucleus(weights: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the likeliest tokens that reach a share of each row's sum: their weights, their ids.

    Holtzman et al., 2020 (arXiv 1904.09751), section 3.1; the likeliest token always stays, and
    tokens as likely as the last one that is needed stay with it. In the order of the ids, others
    with a weight of zero among them. Few are needed as a rule, so that all are put in order only
    where these do not reach.
    """
    whole, size, words = top_p * weights.sum(-1, keepdim=True), LIKELY, weights.shape[-1]
    while True:
        falling, ids = weights.topk(min(size, words))
        needed = (falling.cumsum(-1) - falling < whole).sum(-1, keepdim=True)
        least = falling.gather(-1, needed - 1)
        if size >= words or bool((falling[:, -1:] < least).all()):
            ids, order = ids.sort(-1)
            return falling.where(falling >= least, 0.0).gather(-1, order), ids
        size *= 16
