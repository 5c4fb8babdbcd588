"""Reading: the logits after each row's tokens, for rows of unequal length that grow side by side.

Three ways, each slower and asking less of a model than the one before: `Kept` keeps keys and values
from turn to turn, each row filled from its own beginning; `Anew` reads every row's window again at
each turn, and keeps the model's own cache while a reply is written; `Plain` runs the model over all
tokens for every new one. Invariant: masks and windows of each layer are made by transformers or by
the model, never here. Does not: say which way is right for a model (see
`alicebob.policies.faithful`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

__all__ = ["Anew", "Held", "Kept", "Plain", "Reader", "branching_masks"]

UNEVEN = 16  # tokens of padding that are worth a forward pass of their own


@dataclass(slots=True, kw_only=True)
class Held:
    """A row: its place among the rows, and the tokens that were read."""

    slot: int
    cached: list[int] = field(default_factory=list)


class Reader(Protocol):
    """How a model is read. A row's `cached` may be cut at its end between two readings."""

    told: ClassVar[str]  # what it does, for people

    def start(self, rows: int, room: int) -> None:
        """Begin with empty rows of at most `room` tokens."""

    def share(self, rows: Sequence[Held], ids: Sequence[int]) -> None:
        """Let all rows, empty as they are after `start`, begin with the same tokens."""

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all rows but these, which move to the front in this order."""

    def read(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """Append a chunk to each row; return the logits after its end, (rows, vocabulary)."""

    def step(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """Append a token or none to each row just read; for rows without one logits are void."""


class Kept:
    """Keys and values stay from turn to turn, so that a turn costs what it adds."""

    told: ClassVar[str] = "with its keys and values kept from turn to turn"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._cache = _Cache(0, 0)
        self._masks: dict[int, Any] = {}  # by room
        self._shared: dict[tuple[int, ...], Any] = {}  # keys and values of what rows began with

    def start(self, rows: int, room: int) -> None:
        """See `Reader`."""
        self._cache = _Cache(rows, room)
        if room not in self._masks:
            self._masks = {room: _masks(self.model, room)}

    def share(self, rows: Sequence[Held], ids: Sequence[int]) -> None:
        """See `Reader`; what is the same as the last time is not read again."""
        if not ids:
            return
        known = tuple(ids)
        if known not in self._shared:
            self.step(rows[:1], [list(ids)])
            self._shared = {known: self._cache.first(len(ids))}
        self._cache.begin(*self._shared[known])
        for row in rows:
            row.cached = list(ids)

    def keep(self, slots: Sequence[int]) -> None:
        """See `Reader`."""
        if len(slots) < self._cache.rows:
            self._cache.keep(slots)

    def read(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """See `Reader`; rows whose chunks differ much in length are read apart."""
        order = sorted(range(len(rows)), key=lambda i: -len(chunks[i]))
        groups: list[list[int]] = []
        for i in order:
            if not groups or len(chunks[groups[-1][0]]) - len(chunks[i]) > UNEVEN:
                groups.append([])
            groups[-1].append(i)
        found = [
            self.step([rows[i] for i in g], [chunks[i] for i in g]) for g in map(sorted, groups)
        ]
        places = torch.tensor([i for g in groups for i in sorted(g)]).argsort()
        return torch.cat(found)[places.to(found[0].device)]

    def step(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """See `Reader`.

        Chunks are padded at their right end; what padding leaves in the cache lies beyond the
        row's end, is seen by no later query, and is written over.
        """
        longest = max(len(chunk) for chunk in chunks)
        device = self.model.device
        ids = torch.tensor([[*c, *[0] * (longest - len(c))] for c in chunks], device=device)
        filled = torch.tensor([len(row.cached) for row in rows], device=device)
        places = filled[:, None] + torch.arange(longest, device=device)
        self._cache.select([row.slot for row in rows], places)
        seen = _rows_of(self._masks[self._cache.room], self._cache.places, self._cache.reach)
        last = torch.tensor([max(0, len(chunk) - 1) for chunk in chunks], device=device)
        with _logits_at(self.model, last):
            output = self.model(
                input_ids=ids,
                attention_mask=seen,
                position_ids=places,
                past_key_values=self._cache,
                use_cache=True,
            )
        for row, chunk in zip(rows, chunks, strict=True):
            row.cached += chunk
        return output.logits[:, -1] if output.logits.dim() == 3 else output.logits


class Anew:
    """Every turn a row's whole window is read again; the model's own cache serves its reply."""

    told: ClassVar[str] = "with each turn's window read anew"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._past: Any = None
        self._seen = torch.zeros(0)
        self._placed = "position_ids" in inspect.signature(model.forward).parameters

    def start(self, rows: int, room: int) -> None:
        """See `Reader`."""

    def share(self, rows: Sequence[Held], ids: Sequence[int]) -> None:
        """See `Reader`; it is read with what follows."""
        for row in rows:
            row.cached = list(ids)

    def keep(self, slots: Sequence[int]) -> None:
        """See `Reader`."""

    def read(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """See `Reader`; windows are padded at their left end."""
        for row, chunk in zip(rows, chunks, strict=True):
            row.cached += chunk
        longest = max(len(row.cached) for row in rows)
        padded = [[0] * (longest - len(row.cached)) + row.cached for row in rows]
        seen = [[0] * (longest - len(row.cached)) + [1] * len(row.cached) for row in rows]
        self._past, self._seen = None, torch.tensor(seen, device=self.model.device)
        return self._next(torch.tensor(padded, device=self.model.device))

    def step(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """See `Reader`."""
        for row, chunk in zip(rows, chunks, strict=True):
            row.cached += chunk
        ids = torch.tensor([chunk or [0] for chunk in chunks], device=self.model.device)
        self._seen = torch.cat([self._seen, torch.ones_like(ids)], dim=1)
        return self._next(ids)

    def _next(self, ids: Tensor) -> Tensor:
        places = (self._seen.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        more = {"position_ids": places} if self._placed else {}
        last = torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)
        with _logits_at(self.model, last):
            output = self.model(
                input_ids=ids,
                attention_mask=self._seen,
                past_key_values=self._past,
                use_cache=True,
                **more,
            )
        self._past = output.past_key_values
        return output.logits[:, -1] if output.logits.dim() == 3 else output.logits


class Plain:
    """The model is run over all tokens of one row after the other, for every new token."""

    told: ClassVar[str] = "with all tokens read anew for every new one, row by row"

    def __init__(self, model: Any) -> None:
        self.model = model

    def start(self, rows: int, room: int) -> None:
        """See `Reader`."""

    def share(self, rows: Sequence[Held], ids: Sequence[int]) -> None:
        """See `Reader`; it is read with what follows."""
        for row in rows:
            row.cached = list(ids)

    def keep(self, slots: Sequence[int]) -> None:
        """See `Reader`."""

    def read(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """See `Reader`."""
        found = []
        for row, chunk in zip(rows, chunks, strict=True):
            row.cached += chunk
            ids = torch.tensor([row.cached], device=self.model.device)
            found.append(self.model(input_ids=ids, use_cache=False).logits[0, -1])
        return torch.stack(found)

    def step(self, rows: Sequence[Held], chunks: Sequence[list[int]]) -> Tensor:
        """See `Reader`."""
        going = [i for i, chunk in enumerate(chunks) if chunk]
        found = self.read([rows[i] for i in going], [chunks[i] for i in going])
        logits = found.new_zeros(len(rows), found.shape[1])
        logits[going] = found
        return logits


def _everything(*_: Tensor) -> Tensor:
    """Leave a mask as it is; where a function is given, transformers makes all of the mask."""
    return torch.ones((), dtype=torch.bool, device=_[0].device)


def branching_masks(model: Any, trees: Tensor, branches: Tensor) -> Any:
    """Return the masks under which a token sees its own tree alone, and of it trunk and own branch.

    `trees` (rows, tokens) are numbers, -1 for padding; `branches` alike, 0 for a trunk, which must
    stand before its branches. By kind of layer if the model's layers differ.
    """

    def together(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        trunk = branches[row, key] == 0
        near = trunk | (branches[row, query] == branches[row, key])
        return near & (trees[row, query] == trees[row, key])

    return _masks(model, trees.shape[1], len(trees), together)


def _masks(model: Any, room: int, rows: int = 1, seen: Callable[..., Tensor] = _everything) -> Any:
    """Return the masks of rows of `room` tokens, (rows, 1, room, room), by kind of layer if mixed.

    As the model's attention takes it: true or false, or what is added. `seen` takes away from it.
    """
    from transformers.masking_utils import create_masks_for_generate

    return create_masks_for_generate(
        config=model.config,
        inputs_embeds=torch.empty(rows, room, 1, dtype=model.dtype, device=model.device),
        attention_mask=torch.ones(rows, room, dtype=torch.long, device=model.device),
        past_key_values=None,
        position_ids=torch.arange(room, device=model.device).expand(rows, -1),
        and_mask_function=seen,
    )


def _rows_of(masks: Any, places: Tensor, reach: int) -> Any:
    """Return the lines of masks for queries at `places` (rows, new) and the first `reach` keys."""
    if isinstance(masks, dict):
        return {kind: _rows_of(mask, places, reach) for kind, mask in masks.items()}
    return masks[0, 0, :, :reach][places][:, None]


@contextmanager
def _logits_at(model: Any, last: Tensor) -> Any:
    """Let the output layer see each row's hidden state at one place alone, (rows, width)."""

    def keep(_: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = arguments[0]
        return (hidden[torch.arange(len(last), device=last.device), last],)

    hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()


class _Cache:
    """Keys and values of all rows, each row filled from its own beginning.

    Stands in for `transformers.Cache`: a model only calls `update`, once per layer. Capacity is
    fixed, so that appending copies nothing.
    """

    is_compileable = False

    def __init__(self, rows: int, room: int) -> None:
        self.rows, self.room = rows, room
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.slots: Tensor | None = None  # None: all rows, in order
        self.reach = 0

    def select(self, slots: Sequence[int], places: Tensor) -> None:
        """Choose the rows and, for each, the places that the next forward pass fills."""
        whole = list(slots) == list(range(self.rows))
        self.slots = None if whole else torch.tensor(slots, device=places.device)
        self.index = torch.tensor(slots, device=places.device)[:, None]
        self.places = places.clamp(max=self.room - 1)
        self.reach = min(self.room, int(places.max()) + 1)

    def first(self, count: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return a copy of the keys and the values of the first row's first tokens, by layer."""
        keys, values = (
            [store[:1, :, :count].clone() for store in stores]
            for stores in (self.keys, self.values)
        )
        return keys, values

    def begin(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        """Let every row begin with these."""
        self.keys, self.values = [], []
        for stores, firsts in ((self.keys, keys), (self.values, values)):
            for first in firsts:
                _, heads, count, size = first.shape
                stores.append(first.new_zeros(self.rows, heads, self.room, size))
                stores[-1][:, :, :count] = first

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all rows but these, which move to the front in this order."""
        chosen = torch.tensor(slots)
        self.rows = len(slots)
        self.keys = [store[chosen.to(store.device)] for store in self.keys]
        self.values = [store[chosen.to(store.device)] for store in self.values]

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values (rows, heads, new, size); return all that may be seen."""
        if layer_idx == len(self.keys):
            self.keys.append(keys.new_zeros(self.rows, keys.shape[1], self.room, keys.shape[3]))
            self.values.append(
                values.new_zeros(self.rows, values.shape[1], self.room, values.shape[3])
            )
        found = []
        for store, new in ((self.keys[layer_idx], keys), (self.values[layer_idx], values)):
            store.transpose(1, 2)[self.index, self.places] = new.transpose(1, 2)
            seen = store if self.slots is None else store[self.slots]
            found.append(seen[:, :, : self.reach])
        return found[0], found[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how far the fullest row reaches before this pass."""
        return self.reach - int(self.places.shape[1])
