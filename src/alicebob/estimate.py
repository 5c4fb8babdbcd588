"""Estimate: what the rounds of params.yaml will take, before anything runs.

Counts are bounds: every episode to its last turn, every budget used up. Speeds are those that
earlier rounds on this machine left in `logs/`; without them there is no time. Does not: run a
model, or know a server's tokenizer (a token is taken for three characters).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alicebob.envs import make
from alicebob.envs.hooks import has_goals, suite_of
from alicebob.params import Params, load_params, read_yaml, tree

__all__ = ["Cost", "estimate", "table"]

CHARACTERS = 3  # of a token
SAMPLE = 40  # random steps by which an observation is measured
REPLY = 40  # tokens of a reply in play, by guess
ANSWER = 60  # tokens of an answer, by guess, and of a thought in it 15
FRAME = 350  # tokens of a prompt file
SHOWN = 40  # turns of a trial that a judge is shown


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

    Raises what `load_params` raises.
    """
    rounds = tree(read_yaml(folder / "params.yaml"))
    speeds = _speeds(folder / "logs")
    found: list[Cost] = []
    depth = {"r000": 0}
    for round_id in rounds:
        line, at = [], round_id
        while at not in depth:
            line.append(at)
            at = rounds[at]["prev"]
        for step, name in enumerate(reversed(line), start=1):
            depth[name] = depth[at] + step
        params = load_params(round_id, folder / "params.yaml")
        found += _round(round_id, depth[round_id], params, speeds)
    return found


def _round(name: str, depth: int, params: Params, speeds: Mapping[str, float]) -> list[Cost]:
    alice = params.alice
    env: Any = make(params.env.spec, **params.env.settings)
    suite = suite_of(env)
    seen = _observation(env)
    per_turn = seen + REPLY
    turns = params.explore.episodes * params.explore.max_turns
    explored = Cost(name, "explore", params.explore.episodes, turns)
    if alice.explorer == "model":
        # A prompt holds what fits of the turns before; a cache may make most of it cheap.
        history = alice.turns or params.explore.max_turns
        window = min(alice.context, history * per_turn // 2)
        tokens = turns * (window + per_turn)
        explored = Cost(
            name, "explore", params.explore.episodes, turns, turns, tokens, turns * REPLY
        )
    goals = has_goals(env)  # then every episode may be a skill, and every one is judged
    skills = min(alice.labels * max(1, len(suite)), turns)
    skills = params.explore.episodes if goals else skills
    shown = params.skills.max_turns * seen + FRAME
    asked = [part for part in (alice.labeller, alice.thoughts) if part == "model"]
    answer = ANSWER if alice.thoughts != "model" else ANSWER + 15 * params.skills.max_turns
    labelled = Cost(
        name,
        "skills",
        requests=len(asked) * skills,
        prompt_tokens=len(asked) * skills * shown,
        reply_tokens=len(asked) * skills * answer,
    )
    trained = Cost(name, "train", tokens=round(params.train.budget * depth * params.train.epochs))
    amount = params.evaluate
    trials = 2 * amount.worlds * len(suite)
    played = 2 * amount.open_play * amount.max_turns
    played += 2 * amount.worlds * sum(trial.max_turns for trial in suite)
    evaluated = Cost(name, "evaluate", trials + 2 * amount.open_play, played)
    tried = [trial.max_turns for trial in suite for _ in range(amount.worlds)]
    tried = [amount.max_turns] * amount.open_play if goals else tried
    judged = len(tried) if alice.judge == "model" else 0
    told = 1 if alice.feedback == "model" else 0
    length = sum(min(SHOWN, limit) for limit in tried) * per_turn
    feedback = Cost(
        name,
        "feedback",
        requests=judged + told,
        prompt_tokens=bool(judged) * (length + judged * FRAME) + told * (FRAME + 60 * len(suite)),
        reply_tokens=judged * ANSWER + told * 4 * ANSWER,
    )
    return [_timed(cost, speeds) for cost in (explored, labelled, trained, evaluated, feedback)]


def _timed(cost: Cost, speeds: Mapping[str, float]) -> Cost:
    from dataclasses import replace

    amount = cost.tokens or cost.turns
    speed = speeds.get(cost.stage)
    return replace(cost, seconds=amount / speed) if speed and amount else cost


def _observation(env: Any) -> int:
    """Return the tokens of an observation, measured on a few steps."""
    text, info = env.reset(seed=0)
    actions = list(info.get("admissible_actions", ())) or ["noop"]
    length = len(text)
    for step in range(SAMPLE):
        text, _, terminated, truncated, _ = env.step(actions[step % len(actions)])
        length += len(text)
        if terminated or truncated:
            text, _ = env.reset(seed=0)
    return length // (SAMPLE + 1) // CHARACTERS + 1


def _speeds(folder: Path) -> dict[str, float]:
    """Return by stage how many tokens or turns a second it made here, the mean over its rounds."""
    names = {"train": "tokens_per_second", "explore": "env_steps_per_second"}
    names["evaluate"] = names["explore"]
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*.json")):
        stage = path.stem.rsplit("-", 1)[-1]
        facts = json.loads(path.read_text(encoding="utf-8"))
        if stage in names and facts.get(names[stage]):
            found.setdefault(stage, []).append(facts[names[stage]])
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
