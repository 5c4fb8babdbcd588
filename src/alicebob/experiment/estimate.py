"""Estimate: what the rounds of params.yaml will take, before anything runs.

Counts are bounds: every episode to its last turn, every budget used up. Speeds are those that
earlier rounds on this machine left in `logs/`; without them there is no time. Does not: run
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alicebob.alice.costs import asked
from alicebob.bob.memory import Memory, shape_of, training_memory
from alicebob.envs import World
from alicebob.envs.hooks import suite_of
from alicebob.errors import UsageError
from alicebob.experiment.params import Experiment
from alicebob.experiment.results import read_json
from alicebob.experiment.stages import STAGES
from alicebob.experiment.tree import ancestors
from alicebob.methods import method
from alicebob.settings import Params

__all__ = ["Cost", "estimate", "memory", "table"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one stage of one round may take at most.

    `prompt_tokens` and `reply_tokens` are those of Alice's model; `tokens` those Bob is trained on.
    """

    round: str
    stage: str
    episodes: int = 0
    turns: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    tokens: int = 0
    seconds: float | None = None


def estimate(folder: Path = Path()) -> list[Cost]:
    """Return the cost of each stage of each round of `params.yaml`, in order.

    Raises what the parameters raise.
    """
    experiment = Experiment(folder / "params.yaml")
    speeds = _speeds(folder / "logs")
    found: list[Cost] = []
    for name in experiment.rounds:
        depth = len(ancestors(name, experiment.rounds)) - 1
        found += _round(name, depth, experiment.params(name), speeds)
    return found


def memory(folder: Path = Path(), device: float | None = None) -> Memory:
    """Return what the fullest step of training takes on a device.

    Where a `device` is named, in GiB, a hub is asked for the shape of its model.
    Raises UsageError where it is more than that, with what would fit, and where
    the shape of the model cannot be read.
    """
    experiment = Experiment(folder / "params.yaml")
    rounds = [experiment.params(name) for name in experiment.rounds]
    shapes = [shape_of(params, online=device is not None) for params in rounds]
    found = [training_memory(shape, params) for shape, params in zip(shapes, rounds, strict=True)]
    most = max(found, key=lambda each: each.total)
    if device is not None and most.total > device * 2**30:
        raise UsageError(
            f"A step of training takes {most.told()}, more than the {device:g} GiB of the device. "
            f"{_smaller(shapes[found.index(most)], rounds[found.index(most)], device)}"
        )
    return most


def _smaller(shape: Any, params: Params, device: float) -> str:
    """Say with which settings a step would fit."""
    train = params.train
    for checkpointing in (False, True):
        for size in range(train.batch, 0, -1):
            if train.batch % size == 0:
                changes = {"micro_batch": size, "gradient_checkpointing": checkpointing}
                less = params.model_copy(update={"train": train.model_copy(update=changes)})
                if training_memory(shape, less).total <= device * 2**30:
                    told = ", train.gradient_checkpointing: true" if checkpointing else ""
                    return f"It fits with train.micro_batch: {size}{told}."
    return "It does not fit with packs of this length; choose another model or another device."


def _round(name: str, depth: int, params: Params, speeds: Mapping[str, float]) -> list[Cost]:
    env: Any = World(params.env.spec, params.env.settings)()
    amount, suite, budget = params.evaluate, suite_of(env), params.train.budget
    episodes = 2 * (amount.worlds * len(suite) + amount.open_play)
    played = 2 * amount.open_play * amount.max_turns
    played += 2 * amount.worlds * sum(trial.max_turns for trial in suite)
    counts: dict[str, dict[str, int]] = {
        "explore": {
            "episodes": params.explore.episodes,
            "turns": params.explore.episodes * params.explore.max_turns,
        },
        "skills": {},
        "train": {"tokens": round(budget * depth * params.train.epochs)},
        "evaluate": {"episodes": episodes, "turns": played},
        "feedback": {},
    }
    costs = []
    for stage, count in counts.items():
        part = method(params.method).part(STAGES[stage].part)
        said = asked(part.reads(params), params, env)
        costs.append(_timed(Cost(name, stage, **count, **asdict(said)), speeds))
    return costs


def _timed(cost: Cost, speeds: Mapping[str, float]) -> Cost:
    amount = cost.tokens or cost.turns
    speed = speeds.get(cost.stage)
    return replace(cost, seconds=amount / speed) if speed and amount else cost


def _speeds(folder: Path) -> dict[str, float]:
    """Return by stage how many tokens or turns a second it made here, the mean over its rounds."""
    names = {"train": "tokens_per_second", "explore": "env_steps_per_second"}
    names["evaluate"] = names["explore"]
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*.json")):
        stage = path.stem.rsplit("-", 1)[-1]
        speed = read_json(path, "delete it, nothing rests on it").get(names.get(stage, ""))
        if isinstance(speed, int | float) and speed > 0:
            found.setdefault(stage, []).append(speed)
    return {stage: sum(values) / len(values) for stage, values in found.items()}


def table(costs: list[Cost], prices: tuple[float, float] = (0.0, 0.0)) -> str:
    """Return the costs as a table with a total; `prices` are for a million tokens in and out."""
    head = ["round", "stage", "episodes", "turns", "requests", "read", "written", "trained"]
    rows = [[*head, "time", "cost"]]
    for cost in [*costs, _total(costs)]:
        money = (cost.prompt_tokens * prices[0] + cost.reply_tokens * prices[1]) / 1e6
        counts = (cost.episodes, cost.turns, cost.requests)
        tokens = (cost.prompt_tokens, cost.reply_tokens, cost.tokens)
        cells = [f"{count:,}" if count else "-" for count in (*counts, *tokens)]
        time = "-" if cost.seconds is None else f"{cost.seconds / 60:,.1f} min"
        rows.append([cost.round, cost.stage, *cells, time, f"{money:,.2f}" if money else "-"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _total(costs: list[Cost]) -> Cost:
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    return Cost(
        "all",
        "",
        sum(cost.episodes for cost in costs),
        sum(cost.turns for cost in costs),
        sum(cost.requests for cost in costs),
        sum(cost.prompt_tokens for cost in costs),
        sum(cost.reply_tokens for cost in costs),
        sum(cost.tokens for cost in costs),
        sum(seconds) if seconds else None,
    )
