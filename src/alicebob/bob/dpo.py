"""Direct preference optimisation (arXiv 2305.18290) of whole trajectories, by Bob's turns alone.

The loss of a pair is -log sigmoid(beta * (what the winner gained - what the loser gained)), where a
gain is the summed log-probability of Bob's own tokens less that under the adapter he began with:
observations are read and not counted, and no second model is in memory. With `nll` the winner's
own negative log-likelihood, of a token in the mean from where the two part, is added with that
weight, against its becoming unlikely too (iterative RPO, arXiv 2404.19733). Rows that both sides
have cancel out and are left out; where two rows begin alike they are a tree, whose trunk is read
once.
Invariant: loss and gradient are those of each row read alone. Does not: choose the pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn

from alicebob.bob.objective import (
    Guard,
    in_its_own_precision,
    logits_only_where_there_is_loss,
)
from alicebob.bob.pairs import Pair
from alicebob.bob.rows import IGNORED, Row, fill, held_out
from alicebob.bob.sft import train
from alicebob.bob.training import Fitted, Report, Schedule
from alicebob.environment import processes, rank
from alicebob.errors import UsageError
from alicebob.files import write_json
from alicebob.policies.reading import branching_masks
from alicebob.trace import Skill

__all__ = ["Preference", "Sides", "Tree", "learn", "referred", "sides_of"]

NEVER = 10**6  # looks without improvement
CHANGE = "winners_change"  # what the guard looks at


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens of a winner's and a loser's row: the trunk, and a branch of each, in this order.

    `branches` is 0 in the trunk, where there is no loss, 1 in the winner's branch and 2 in the
    loser's, each of which begins with a token without loss. A row alone is one branch.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    places: tuple[int, ...]
    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sides:
    """A pair as it is learnt from: its trees, and each side's log-probability at the beginning."""

    trees: tuple[Tree, ...]
    reference: tuple[float, float] = (0.0, 0.0)
    blank: bool = False


def sides_of(winner: Sequence[Row], loser: Sequence[Row], share: bool = True) -> Sides:
    """Lay the rows of a pair side by side; where they `share` no trunk each is read alone.

    What both begin with has no loss, whether it is read once or twice: it would cancel out.
    """
    trees: list[Tree] = []
    for won, lost in zip_longest(winner, loser):
        if won and lost and won.ids == lost.ids:
            continue
        same = _shared(won, lost) if won and lost else 0
        branches = [_branch(row, side, same) for side, row in ((1, won), (2, lost)) if row]
        # A branch begins with the last token that both have, so that its next one is predicted.
        trunk = max(0, same - 1) if share and len(branches) == 2 else 0
        if trunk:
            branches = [_cut(branches[0], 0, trunk, 0), *(_cut(b, trunk) for b in branches)]
            trees.append(_joined(branches))
        else:
            trees += [branch for branch in branches if {*branch.labels} != {IGNORED}]
    return Sides(tuple(trees))


def _shared(one: Row, other: Row) -> int:
    pairs = zip(one.ids, other.ids, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one.ids), len(other.ids)))


def _branch(row: Row, side: int, same: int) -> Tree:
    first = max(1, same)
    learnt = zip(row.ids[first:], row.mask[first:], strict=True)
    labels = [IGNORED] * first + [i if mask else IGNORED for i, mask in learnt]
    size = len(row.ids)
    return Tree(row.ids, tuple(labels), tuple(range(size)), (side,) * size)


def _cut(tree: Tree, start: int, end: int | None = None, branch: int | None = None) -> Tree:
    one = Tree(*(getattr(tree, name)[start:end] for name in Tree.__slots__))
    return one if branch is None else replace(one, branches=(branch,) * len(one.ids))


def _joined(trees: Sequence[Tree]) -> Tree:
    return Tree(*(sum((getattr(t, name) for t in trees), ()) for name in Tree.__slots__))


class Preference:
    """The objective: what a pair's winner gains over its loser; the mean is over pairs.

    `model` is what is trained, before it is wrapped for any device; `length` is what rows are
    packed to, and longer where one tree is. With `share` trees have trunks, which needs
    `faithful.branches`; else rows stand beside each other if they may be `together`. A run ends
    where a token of the winners' has become less likely by more than `collapse` nats in the mean.
    """

    def __init__(
        self,
        model: Any,
        beta: float,
        length: int,
        collapse: float = float("inf"),
        share: bool = True,
        together: bool = True,
        nll: float = 0.0,
    ) -> None:
        self.model, self.beta, self.length, self.nll = model, beta, length, nll
        self.share, self.together = share, together
        self.guard: Guard | None = (CHANGE, -collapse)

    def collate(self, items: Sequence[Sides]) -> dict[str, Tensor]:
        """See `Objective`."""
        trees = [(tree, 2 * n) for n, item in enumerate(items) for tree in item.trees]
        sizes = [len(tree.ids) for tree, _ in trees]
        bins = fill(sizes, max([self.length, *sizes]), self.together) or [[]]
        longest = max(2, *(sum(sizes[i] for i in members) for members in bins))
        lines: dict[str, list[list[int]]] = {}
        for members in bins:
            line: dict[str, list[int]] = {}
            for number, i in enumerate(members):
                tree, first = trees[i]
                for name, values in {
                    "input_ids": tree.ids,
                    "targets": tree.labels,
                    "position_ids": tree.places,
                    "trees": [number] * sizes[i],
                    "branches": tree.branches,
                    "sides": [first + max(0, branch - 1) for branch in tree.branches],
                }.items():
                    line.setdefault(name, []).extend(values)
            spare = longest - len(line.get("input_ids", ()))
            padding = {"position_ids": list(range(spare)), "targets": [IGNORED] * spare}
            padding |= {"trees": [-1] * spare}
            for name in ("input_ids", "targets", "position_ids", "trees", "branches", "sides"):
                filled = line.get(name, []) + padding.get(name, [0] * spare)
                lines.setdefault(name, []).append(filled)
        real = [[IGNORED, IGNORED if item.blank else 1] for item in items]
        found = {"labels": torch.tensor(real), "tokens": torch.tensor([sum(sizes)])}
        found["reference"] = torch.tensor([item.reference for item in items])
        return found | {name: torch.tensor(values) for name, values in lines.items()}

    def likelihoods(
        self, model: Any, inputs: Mapping[str, Tensor], chosen: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return each pair's log-probabilities (pairs, 2), and how many tokens each is a sum of."""
        targets = inputs["targets"][:, 1:]
        places = targets != IGNORED
        chosen["places"] = places
        more = {}
        if self.share:
            trees, branches = inputs["trees"], inputs["branches"]
            more["attention_mask"] = branching_masks(self.model, trees, branches)
        with in_its_own_precision(model):
            logits = model(
                input_ids=inputs["input_ids"],
                position_ids=inputs["position_ids"],
                use_cache=False,
                **more,
            ).logits.float()
        each = -nn.functional.cross_entropy(logits, targets[places], reduction="none")
        sides = inputs["sides"][:, 1:][places]
        sums = each.new_zeros(2 * len(inputs["labels"]))
        counts = sums.index_add(0, sides, torch.ones_like(each))
        return sums.index_add(0, sides, each).view(-1, 2), counts.view(-1, 2)

    def summed(
        self, model: Any, inputs: Mapping[str, Tensor], chosen: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`; noted are the winners' log-probabilities, and who is ahead."""
        found, counts = self.likelihoods(model, inputs, chosen)
        real = inputs["labels"][:, 1] != IGNORED
        gain = found - inputs["reference"]
        margin = (gain[:, 0] - gain[:, 1])[real]
        tokens, pairs = counts[:, 0].sum(), real.sum()
        noted = {
            "winners": torch.stack([found[:, 0].sum(), tokens]),
            CHANGE: torch.stack([gain[:, 0].sum(), tokens]),
            "ahead": torch.stack([(margin > 0).sum(), pairs]),
            "margin": torch.stack([margin.sum(), pairs]),
        }
        loss = -nn.functional.logsigmoid(self.beta * margin).sum()
        if self.nll:
            loss = loss - self.nll * (found[:, 0] / counts[:, 0].clamp(min=1))[real].sum()
        return loss, noted

    def weight(self, item: Sides) -> int:
        """See `Objective`: pairs count alike."""
        return int(not item.blank)

    def blank(self, items: Sequence[Sides]) -> Sides:
        """See `Objective`."""
        return Sides((), blank=True)


def learn(
    objective: Preference,
    pairs: Sequence[Pair],
    rows: Callable[[Skill], Iterable[Row]],
    validation_share: float,
    schedule: Schedule,
    work: Path,
    report: Report = lambda values, step: None,
) -> tuple[Fitted, dict[str, Any]]:
    """Train the objective's adapter in place on pairs; return the run, and facts for a card.

    `rows` are those of one side. Pairs of held-out episodes are looked at, where there are none all
    pairs. What is kept is the best that was seen before a collapse; where nothing was, the run's
    `best` is None. Raises UsageError where no pair differs in what Bob said.
    """
    learnt: list[Sides] = []
    looked: list[Sides] = []
    for pair in pairs:
        sides = sides_of([*rows(pair.winner)], [*rows(pair.loser)], objective.share)
        if sides.trees:
            (looked if held_out(pair.loser, validation_share) else learnt).append(sides)
    learnt, looked = learnt or looked, looked or learnt
    if not learnt:
        raise UsageError("No pair has anything to learn from; explore more tasks.")
    at_once = max(1, schedule.micro_batch)
    work.mkdir(parents=True, exist_ok=True)
    learnt, looked = (referred(objective, some, at_once, work) for some in (learnt, looked))
    schedule = replace(schedule, patience=schedule.patience or NEVER)  # without looks no best
    fitted = train(objective.model, learnt, looked, schedule, work / "fit", report, objective)
    tokens = sum(len(tree.ids) for sides in learnt for tree in sides.trees)
    facts: dict[str, Any] = {
        "pairs": len(pairs),
        "pairs learnt from": len(learnt),
        "tokens in these": tokens,
        "steps": fitted.steps,
        "tokens": fitted.tokens,
        "best validation loss": fitted.best,
    }
    if fitted.collapsed:
        facts["collapsed"] = f"at step {fitted.collapsed}; the best before is kept"
    return fitted, facts


@torch.no_grad()  # type: ignore[untyped-decorator]
def referred(
    objective: Preference, items: Sequence[Sides], at_once: int, folder: Path
) -> list[Sides]:
    """Return pairs with each side's log-probability under the adapter as it is now.

    Each process works out its share, `at_once` pairs at a time, once: what was found is kept in
    `folder`, under the hash of model, adapter and pairs.
    """
    device = PartialState(cpu=not torch.cuda.is_available()).device  # as the Trainer has it later
    mine = items[rank() :: processes()]
    path = folder / f"reference-{_mark(objective.model, mine)}.json"
    if not path.exists():
        write_json(path, [*_likelihoods(objective, mine, at_once, device)])
    known = json.loads(path.read_text(encoding="utf-8"))
    shares: list[list[Any]] = gather_object([known])
    spread = {
        n: tuple(pair)
        for at, share in enumerate(shares)
        for n, pair in zip(range(at, len(items), len(shares)), share, strict=True)
    }
    return [replace(item, reference=spread[n]) for n, item in enumerate(items)]


def _likelihoods(
    objective: Preference, items: Sequence[Sides], at_once: int, device: torch.device
) -> Iterator[list[float]]:
    model = objective.model.eval()
    model.to(device)
    with logits_only_where_there_is_loss(model) as chosen:
        for start in range(0, len(items), at_once):
            inputs = objective.collate(items[start : start + at_once])
            inputs = {name: value.to(device) for name, value in inputs.items()}
            found, _ = objective.likelihoods(model, inputs, chosen)
            yield from found.tolist()


def _mark(model: Any, items: Sequence[Sides]) -> str:
    """Return a hash of all that log-probabilities follow from."""
    digest = hashlib.sha256(f"{model.base_fingerprint} {model.dtype}".encode())
    for name, weight in sorted(model.named_parameters()):
        if "lora_" in name:
            digest.update(name.encode())
            digest.update(weight.detach().float().cpu().numpy().tobytes())
    digest.update(repr([item.trees for item in items]).encode())
    return digest.hexdigest()[:16]
