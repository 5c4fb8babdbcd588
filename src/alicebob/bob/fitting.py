"""Fitting: whether Bob's prompts and replies have room, before anything is played or trained.

Prompts are those of a few steps of random play, each instruction before each observation; replies
those of each action that was seen, with a thought of two such names, as the embedded Alice writes
them. Invariant: what does not fit is one sentence with values that would do. Does not: know what
Alice will think.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from alicebob.draws import generator
from alicebob.envs.hooks import actions_of, has_goals, suite_of, tasks_of
from alicebob.errors import UsageError
from alicebob.policies.conversation import Conversation, write_reply
from alicebob.policies.models import load_tokenizer
from alicebob.policies.template import Template
from alicebob.settings import Bob

__all__ = ["check_bob", "check_room"]

EPISODES, STEPS = 3, 20
SPARE = 1.2  # of what was seen, for what was not
ROUND = 16  # tokens that values are multiples of


def check_bob(bob: Bob, env: Any, space: range, references: int = 0) -> str:
    """Do as `check_room` does, of Bob as the parameters have him."""
    tokenizer = load_tokenizer(bob.model, bob.revision)
    talk = Conversation(tokenizer, bob.preamble, actions_of(env), Template.of(bob))
    return check_room(talk, env, space, bob.context, bob.max_new_tokens, references)


def check_room(
    conversation: Conversation,
    env: Any,
    space: range,
    context: int,
    max_new_tokens: int,
    references: int = 0,
) -> str:
    """Return a warning where most replies would be cut, "" for none.

    So many tokens of `references` stand in every prompt beside what is tried. Raises UsageError
    where a prompt does not fit, or no action at all.
    """
    told, seen, actions = _tried(env, space)
    heads = max(conversation.head_length(text) for text in told)
    prompt = heads + max(len(conversation.next(text)) for text in seen)
    replies = [len(conversation.reply(write_reply(f"{name}, {name}", name))) for name in actions]
    bare = min(len(conversation.reply(write_reply("", name))) for name in actions)
    needed = prompt + references + max_new_tokens + len(conversation.end)
    cut = median(replies) > max_new_tokens
    new = max(max_new_tokens, _spare(max(replies))) if cut else max_new_tokens
    whole = max(context, _spare(prompt) + references + new + len(conversation.end))
    whole += -whole % ROUND
    found = []
    if needed > context:
        beside = f", {references} of references," if references else ""
        found.append(
            f"a prompt of {prompt} tokens{beside} and a reply of {max_new_tokens} do not fit"
        )
    if cut:
        found.append(f"most replies are cut, which take up to {max(replies)}")
    told_all = (
        f"With bob.context {context} and bob.max_new_tokens {max_new_tokens} {' and '.join(found)}."
        f" These would do: bob.context={whole} bob.max_new_tokens={new}, and train.pack_tokens of "
        f"at least {whole}."
    )
    if needed > context or bare > max_new_tokens:
        raise UsageError(told_all)
    return told_all if cut else ""


def _tried(env: Any, space: range) -> tuple[list[str], list[str], list[str]]:
    """Return the instructions, observations and actions of a little random play."""
    seeds = list(space[:EPISODES])
    goals = tasks_of(env, "train" if has_goals(env) else "validation", seeds)
    told = [text for text, _ in goals] + [trial.instruction for trial in suite_of(env)]
    seen: list[str] = []
    actions = dict.fromkeys(actions_of(env))
    draw = generator("fitting")
    for seed, (_, options) in zip(seeds, goals, strict=True):
        text, info = env.reset(seed=seed, options=options)
        for _ in range(STEPS):
            seen.append(text)
            choice = list(info.get("admissible_actions", ())) or list(actions)
            actions |= dict.fromkeys(choice)
            text, _, terminated, truncated, info = env.step(choice[draw.integers(len(choice))])
            if terminated or truncated:
                break
    return told, seen, list(actions)


def _spare(tokens: int) -> int:
    return -(-int(tokens * SPARE) // ROUND) * ROUND
