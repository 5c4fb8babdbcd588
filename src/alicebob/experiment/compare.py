"""Compare: what came of arms and seeds, side by side, at equal budgets.

An arm's figure is the mean over its seeds, with the least and the most of them; beside the first
arm the difference is taken seed by seed, as lineages of one seed begin alike, with Student's 95 %
interval over seeds. Invariant: where that interval has zero in it, or there is one seed, no
difference is said to be shown. Does not: run anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from alicebob.experiment.arms import Arm, revisions
from alicebob.experiment.diff import NOT_SHOWN
from alicebob.experiment.results import HEADLINE, means
from alicebob.experiment.tables import aligned
from alicebob.experiment.tree import ROOT_ROUND
from alicebob.files import write_text

__all__ = ["BUDGETS", "Compared", "compare"]

#: What a lineage spends on learning, by what budgets may be held equal in.
SPENT = {"steps": "budget.explore.env_steps", "tokens": "budget.train.tokens"}
BUDGETS = ("rounds", *SPENT)
SHOWN = ("skills", "progress", "success", "reward", "invalid")

Means = Mapping[str, Mapping[str, Any]]


def compare(arms: Sequence[Arm], seeds: Sequence[int], equal: str = "rounds") -> Compared:
    """Read what is finished of these arms with these seeds.

    `equal` is one of BUDGETS: with "steps" or "tokens" an arm counts at its last round that had
    spent no more, in total, than the one that spent least.
    """
    done = revisions()
    found = {
        (arm.label, seed): _rounds(done[name], arm)
        for arm in arms
        for seed in seeds
        if (name := arm.experiment(seed)) in done
    }
    return Compared(arms, seeds, found, equal)


def _rounds(revision: str, arm: Arm) -> list[Means]:
    """Return the figures of each round of an experiment, r000 first."""
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(rev=revision)
    rounds: list[Means] = []
    for round_id in (ROOT_ROUND, *arm.rounds):
        with files.open(f"metrics/{round_id}.json", mode="r") as file:
            rounds.append(means(json.load(file)))
    return rounds


@dataclass(frozen=True, slots=True)
class Compared:
    """The rounds of each arm and seed that is finished, and how they compare."""

    arms: Sequence[Arm]
    seeds: Sequence[int]
    found: Mapping[tuple[str, int], Sequence[Means]]
    equal: str

    def done(self, label: str) -> list[int]:
        """Return the seeds with which an arm is finished."""
        return [seed for seed in self.seeds if (label, seed) in self.found]

    def spent(self, label: str, seed: int, upto: int | None = None) -> dict[str, float]:
        """Return what a lineage had spent on learning up to a round, by default its last."""
        rounds = self.found[label, seed]
        last = len(rounds) - 1 if upto is None else upto
        return {
            short: sum(each[name]["mean"] for each in rounds[: last + 1] if name in each)
            for short, name in SPENT.items()
        }

    def at(self, label: str, seed: int) -> int:
        """Return the number of the round at which a lineage counts."""
        last = len(self.found[label, seed]) - 1
        if self.equal == "rounds":
            return last
        least = min(self.spent(*each)[self.equal] for each in self.found)
        within = [n for n in range(last + 1) if self.spent(label, seed, n)[self.equal] <= least]
        return within[-1]

    def values(self, label: str, short: str) -> dict[int, float]:
        """Return a headline figure of an arm by seed."""
        rounds = {
            seed: self.found[label, seed] for seed in self.seeds if (label, seed) in self.found
        }
        counted = {seed: each[self.at(label, seed)] for seed, each in rounds.items()}
        name = HEADLINE[short]
        return {seed: each[name]["mean"] for seed, each in counted.items() if name in each}

    def rows(self) -> list[list[str]]:
        """Return the table: arms below each other; the first row names the columns."""
        shown = [short for short in SHOWN if self._any(short)]
        judged = next((s for s in ("progress", "success", "reward") if s in shown), "skills")
        first = self.arms[0].label
        head = ["arm", "seeds", "rounds", "env steps", "tokens", *shown]
        rows = [
            [*head, *(f"{short} beside {first}" for short in dict.fromkeys(["skills", judged]))]
        ]
        for arm in self.arms:
            seeds = self.done(arm.label)
            if not seeds:
                rows.append([arm.label, f"0/{len(self.seeds)}", *"-" * (len(rows[0]) - 2)])
                continue
            ends = [self.at(arm.label, seed) for seed in seeds]
            spent = [self.spent(arm.label, *pair) for pair in zip(seeds, ends, strict=True)]
            cells = [_spread(list(self.values(arm.label, short).values())) for short in shown]
            beside = [self._beside(arm, short) for short in dict.fromkeys(["skills", judged])]
            budget = [f"{sum(s[name] for s in spent) / len(spent):,.0f}" for name in SPENT]
            count = f"{len(seeds)}/{len(self.seeds)}"
            rows.append([arm.label, count, _range(ends), *budget, *cells, *beside])
        return rows

    def _beside(self, arm: Arm, short: str) -> str:
        first = self.arms[0].label
        if arm.label == first:
            return ""
        ours, theirs = self.values(arm.label, short), self.values(first, short)
        return _judged([ours[seed] - theirs[seed] for seed in ours if seed in theirs])

    def text(self) -> str:
        """Return the table for a terminal."""
        return aligned(self.rows())

    def write(self, folder: Path) -> list[Path]:
        """Write the table as Markdown, all figures as JSON and the curves as a picture."""
        head, *rows = self.rows()
        lines = [head, ["---"] * len(head), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        note = f"Equal {self.equal}; means over seeds [least, most]. {_NOTE}\n"
        figures = [
            {"arm": label, "seed": seed, "rounds": [dict(each) for each in rounds]}
            for (label, seed), rounds in self.found.items()
        ]
        paths = [folder / name for name in ("compare.md", "compare.json", "compare.svg")]
        write_text(paths[0], f"{table}\n\n{note}")
        write_text(paths[1], json.dumps(figures, indent=1) + "\n")
        self._draw(paths[2])
        return paths

    def _draw(self, path: Path) -> None:
        """Draw each arm's skills and play round by round: the mean over seeds, and its range."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        shown = [s for s in ("skills", "progress", "success") if self._any(s)]
        picture = Figure(figsize=(6.4 * max(1, len(shown)), 4.0), layout="constrained")
        for number, short in enumerate(shown):
            axes = picture.add_subplot(1, len(shown), number + 1)
            for arm in self.arms:
                columns = self._columns(arm.label, HEADLINE[short])
                numbers = list(range(len(columns)))
                axes.plot(numbers, [*map(_mean, columns)], marker="o", label=arm.label)
                axes.fill_between(numbers, [*map(min, columns)], [*map(max, columns)], alpha=0.2)
            axes.set_xlabel("round")
            axes.set_xticks(range(1 + max(len(arm.rounds) for arm in self.arms)))
            axes.set_title(short)
            axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "alicebob"}):  # else its ids are drawn anew each time
            picture.savefig(path, metadata={"Date": None})

    def _columns(self, label: str, name: str) -> list[tuple[float, ...]]:
        """Return a figure by round, of each seed."""
        lines = (self.found[label, seed] for seed in self.done(label))
        nothing = {"mean": math.nan}
        return list(
            zip(*([e.get(name, nothing)["mean"] for e in line] for line in lines), strict=True)
        )

    def _any(self, short: str) -> bool:
        return any(self.values(arm.label, short) for arm in self.arms)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


_NOTE = "Differences are taken seed by seed, with Student's 95 % interval over seeds."


def _spread(values: Sequence[float]) -> str:
    """Return a mean over seeds with the least and the most: `0.74 [0.71, 0.78]`."""
    if not values:
        return "-"
    middle = f"{_mean(values):.3g}"
    return middle if len(values) == 1 else f"{middle} [{min(values):.3g}, {max(values):.3g}]"


def _range(values: Sequence[int]) -> str:
    return "-".join(map(str, sorted({min(values), max(values)})))


def _judged(steps: Sequence[float]) -> str:
    """Return what paired differences show: `+0.05 [+0.01, +0.09]`, or that they show none."""
    if not steps:
        return "-"
    middle = _mean(steps)
    if len(steps) == 1:
        return f"{middle:+.3g}, one seed: {NOT_SHOWN}"
    variance = math.fsum((step - middle) ** 2 for step in steps) / (len(steps) - 1)
    half = float(stdtrit(len(steps) - 1, 0.975)) * math.sqrt(variance / len(steps))
    told = f"{middle:+.3g} [{middle - half:+.3g}, {middle + half:+.3g}]"
    return told if abs(middle) > half else f"{told}: {NOT_SHOWN}"
