"""Playing: Bob as a policy, his base with a round's adapter merged in.

Does not: load anything before it is called, in the process that plays.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from alicebob.envs import World
from alicebob.envs.hooks import actions_of
from alicebob.rollout import Actor, model_workers

if TYPE_CHECKING:
    from alicebob.policies import Policy
    from alicebob.settings import Bob

__all__ = ["actor"]


def actor(adapter: Path, settings: Bob, world: World, width: int) -> Actor:
    """Return Bob as who plays: `width` episodes in lock step, in as many processes as may hold him.

    `settings` are those of the block `bob`; `adapter` is a folder.
    """
    return Actor(functools.partial(_build, adapter, settings, world), width, model_workers())


def _build(adapter: Path, settings: Bob, world: World) -> Policy:
    from alicebob.policies.conversation import Conversation
    from alicebob.policies.faithful import reader_of
    from alicebob.policies.local import Local
    from alicebob.policies.models import load_adapter, load_base, settle
    from alicebob.policies.template import Template

    model, tokenizer = load_base(
        settings.model, settings.dtype, settings.revision, settings.attention
    )
    model = settle(load_adapter(model, adapter).merge_and_unload())
    return Local(
        model,
        Conversation(tokenizer, settings.preamble, actions_of(world()), Template.of(settings)),
        context=settings.context,
        turns=settings.turns,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        stop=settings.stop,
        constrained=settings.constrained,
        reader=reader_of(model, settings.context + settings.max_new_tokens),
    )
