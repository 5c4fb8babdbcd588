"""Costs: what the verbs of Alice ask of a language model in a round, at most, before anything runs.

Counts are bounds, by what the parameters allow, where every first answer will do: one asked for
again counts once. A token is taken for three characters. Does not: run a model, or know a server's
tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alicebob.alice.propose import EACH, WORLDS
from alicebob.envs.hooks import documents_of, has_goals, suite_of
from alicebob.retrieval.documents import read_documents
from alicebob.settings import Params

__all__ = ["Asked", "asked"]

CHARACTERS = 3  # of a token
SAMPLE = 40  # steps by which an observation is measured
REPLY = 40  # tokens of a reply in play, by guess
ANSWER = 60  # tokens of an answer, by guess
THOUGHT = 15  # tokens of a thought in an answer
FRAME = 350  # tokens of a prompt file
SHOWN = 40  # turns of a trial that a judge is shown
QUERIED = 7  # observations in a question about a turn in play


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests, with the tokens read and written for them."""

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0

    def __add__(self, other: Asked) -> Asked:
        """Return the sum."""
        return Asked(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.reply_tokens + other.reply_tokens,
        )


def asked(reads: Collection[str], params: Params, env: Any) -> Asked:
    """Return what a part that reads these parameters asks in a round; what is embedded, nothing."""
    silent = ("embedded", "none")
    spoken = [name for name in ASKS if name in reads and _value(params, name) not in silent]
    return sum((ASKS[name](params, env) for name in spoken), Asked())


def _value(params: Params, name: str) -> Any:
    block, _, key = name.partition(".")
    return getattr(getattr(params, block), key)


def _explore(params: Params, env: Any) -> Asked:
    """Return a request a turn; a cache may make most of what is read cheap."""
    per_turn = _observation(env) + REPLY
    turns = params.explore.episodes * params.explore.max_turns
    history = params.alice.turns or params.explore.max_turns
    window = min(params.alice.context, history * per_turn // 2)
    return Asked(turns, turns * (window + per_turn), turns * REPLY)


def _label(params: Params, env: Any) -> Asked:
    skills = _skills(params, env)
    shown = params.skills.max_turns * _observation(env) + FRAME
    return Asked(skills, skills * shown, skills * ANSWER)


def _think(params: Params, env: Any) -> Asked:
    label = _label(params, env)
    return label + Asked(0, 0, label.requests * THOUGHT * params.skills.max_turns)


def _skills(params: Params, env: Any) -> int:
    if has_goals(env):  # then every episode may be a skill
        return params.explore.episodes
    turns = params.explore.episodes * params.explore.max_turns
    return min(params.alice.labels * max(1, len(suite_of(env))), turns)


def _judge(params: Params, env: Any) -> Asked:
    amount = params.evaluate
    tried = [trial.max_turns for trial in suite_of(env) for _ in range(amount.worlds)]
    tried = [amount.max_turns] * amount.open_play if has_goals(env) else tried
    length = sum(min(SHOWN, limit) for limit in tried) * (_observation(env) + REPLY)
    return Asked(len(tried), length + len(tried) * FRAME, len(tried) * ANSWER)


def _advise(params: Params, env: Any) -> Asked:
    return Asked(1, FRAME + 60 * len(suite_of(env)), 4 * ANSWER)


def _propose(params: Params, env: Any) -> Asked:
    """Return a question for each document, or else for each world whose beginning is read."""
    own: Any = getattr(params, params.method, None)
    if not hasattr(own, "documents"):
        return Asked(WORLDS, WORLDS * (_observation(env) + FRAME), WORLDS * EACH * ANSWER)
    folder = own.documents or documents_of(env)
    texts = [document.text for document in read_documents(Path(folder))] if folder else []
    read = sum(map(len, texts)) // CHARACTERS + FRAME * len(texts)
    return Asked(len(texts), read, len(texts) * ANSWER * own.per_document)


def _query(params: Params, env: Any) -> Asked:
    """Return a request a turn of both evaluations."""
    amount = params.evaluate
    turns = sum(trial.max_turns for trial in suite_of(env)) * amount.worlds
    turns = 2 * (turns + amount.open_play * amount.max_turns)
    return Asked(turns, turns * (QUERIED * _observation(env) + FRAME), turns * ANSWER)


def _correct(params: Params, env: Any) -> Asked:
    """Return a request a turn, as long as Bob's episodes may be."""
    turns = params.explore.episodes * params.explore.max_turns
    shown = QUERIED * (_observation(env) + REPLY) + FRAME
    return Asked(turns, turns * shown, turns * ANSWER)


def _committee(params: Params, env: Any) -> Asked:
    """Return a question of each judge on both instructions of what a model wrote words for."""
    own: Any = getattr(params, "learn_by_interact")  # noqa: B009 - a method's block
    count = 2 * params.alice.labels * own.judges
    shown = own.longest * (_observation(env) + REPLY) + FRAME
    return Asked(count, count * shown, count * ANSWER)


def _observation(env: Any) -> int:
    """Return the tokens of an observation, measured on a few steps."""
    text, info = env.reset(seed=0)
    actions = list(info.get("admissible_actions", ())) or ["wait"]
    length = len(text)
    for step in range(SAMPLE):
        text, _, terminated, truncated, _ = env.step(actions[step % len(actions)])
        length += len(text)
        if terminated or truncated:
            text, _ = env.reset(seed=0)
    return length // (SAMPLE + 1) // CHARACTERS + 1


#: By the parameter that a part reads who asks, in the order in which they are summed.
ASKS: Mapping[str, Callable[[Params, Any], Asked]] = {
    "alice.explore": _explore,
    "alice.label": _label,
    "alice.think": _think,
    "alice.judge": _judge,
    "alice.advise": _advise,
    "alice.correct": _correct,
    "alice.propose": _propose,
    "alice.query": _query,
    "learn_by_interact.judges": _committee,
}
