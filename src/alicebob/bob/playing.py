"""Playing: Bob as a policy, here or behind a server.

Here his base has a round's adapter merged in; a server loads the adapter while he plays, and lets
go of it after. Does not: load anything before it is called, in the process that plays.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alicebob.envs import World
from alicebob.envs.hooks import actions_of
from alicebob.rollout import Actor, model_workers

if TYPE_CHECKING:
    from alicebob.policies import Policy, Refers
    from alicebob.policies.conversation import Conversation
    from alicebob.policies.endpoint import Endpoint
    from alicebob.settings import Bob

__all__ = ["Referring", "actor"]

WHERE = "ALICEBOB_BOB"
Referring = Callable[["Conversation"], "Refers"]  # can be pickled
_one_by_one = threading.Lock()  # transformers imports as it loads, which threads must not share


def actor(
    adapter: Path, settings: Bob, world: World, width: int, referring: Referring | None = None
) -> Actor:
    """Return Bob as who plays, as `bob.rollout` says: here, or behind a server.

    `settings` are those of the block `bob`; `adapter` is a folder. Here `width` episodes are played
    in lock step, in as many processes as may hold him; at a server as many as its address allows.
    `referring` makes, where he plays, what finds references for him.
    Raises UsageError where the environment does not say where the server is.
    """
    return ROLLOUTS[settings.rollout](adapter, settings, world, width, referring)


def _local(
    adapter: Path, settings: Bob, world: World, width: int, referring: Referring | None
) -> Actor:
    build = functools.partial(_build, adapter, settings, world, referring)
    return Actor(build, width, model_workers())


def _served(
    adapter: Path, settings: Bob, world: World, width: int, referring: Referring | None
) -> Actor:
    from alicebob.policies.adapters import loaded
    from alicebob.policies.address import address
    from alicebob.policies.endpoint import Endpoint

    endpoint = Endpoint(**address(WHERE, "bob.rollout is served"), model="")
    build = functools.partial(_connect, endpoint, settings, world, referring)
    during = functools.partial(loaded, endpoint, adapter)
    return Actor(build, 1, endpoint.concurrency, threads=True, during=during)


ROLLOUTS = {"local": _local, "served": _served}


def _build(adapter: Path, settings: Bob, world: World, referring: Referring | None) -> Policy:
    from alicebob.policies.faithful import reader_of
    from alicebob.policies.local import Local
    from alicebob.policies.models import load_adapter, load_base, settle

    model, tokenizer = load_base(
        settings.model, settings.dtype, settings.revision, settings.attention
    )
    model = settle(load_adapter(model, adapter).merge_and_unload())
    talk = _talk(tokenizer, settings, world)
    return Local(
        model,
        talk,
        refer=referring(talk) if referring else None,
        constrained=settings.constrained,
        reader=reader_of(model, settings.context + settings.max_new_tokens),
        **_spoken(settings),
    )


def _connect(
    endpoint: Endpoint, settings: Bob, world: World, referring: Referring | None
) -> Policy:
    """Return a policy for one thread; a tokenizer serves one at a time, so each has its own."""
    with _one_by_one:
        from alicebob.policies.models import load_tokenizer
        from alicebob.policies.served import Served

        tokenizer = load_tokenizer(settings.model, settings.revision)
        talk = _talk(tokenizer, settings, world)
        refer = referring(talk) if referring else None
        return Served(endpoint, talk, refer=refer, **_spoken(settings))


def _talk(tokenizer: Any, settings: Bob, world: World) -> Conversation:
    from alicebob.policies.conversation import Conversation
    from alicebob.policies.template import Template

    template = Template.of(settings)
    return Conversation(tokenizer, settings.preamble, actions_of(world()), template)


def _spoken(settings: Bob) -> dict[str, Any]:
    names = ("context", "turns", "max_new_tokens", "temperature", "top_p", "stop")
    return {name: getattr(settings, name) for name in names}
