"""Playing: Bob as a policy, his base with a round's adapter merged in.

Does not: load anything before it is called, in the process that plays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alicebob.envs import TextEnv
from alicebob.envs.hooks import actions_of
from alicebob.policies import Policy

__all__ = ["build_bob"]


def build_bob(
    adapter: Path, settings: Mapping[str, Any], make_env: Callable[[], TextEnv]
) -> tuple[Callable[[], TextEnv], Policy]:
    """Return a maker of environments and Bob, on the GPU where there is one, else on one thread.

    `settings` are those of the block `bob` in params.yaml.
    """
    import torch

    from alicebob.bob.conversation import Conversation
    from alicebob.bob.sft import load_adapter, load_base
    from alicebob.policies.local import Local

    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # the other cores play other waves
    model, tokenizer = load_base(settings["model"], settings["dtype"])
    model = load_adapter(model, adapter).merge_and_unload()
    if torch.cuda.is_available():
        model = model.cuda()
    conversation = Conversation(tokenizer, settings["preamble"], actions_of(make_env()))
    policy = Local(
        model,
        conversation,
        context=settings["context"],
        turns=settings["turns"],
        max_new_tokens=settings["max_new_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        stop=settings["stop"],
        constrained=settings["constrained"],
    )
    return make_env, policy
