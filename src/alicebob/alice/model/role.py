"""Roles: which model speaks for Alice, and how it is reached.

Parameters say which model: Bob's own ("bob"), one behind an endpoint ("served:NAME"), or a Hugging
Face directory or id. Where the endpoint is, its key and its caps differ from machine to machine and
stand in the environment. Invariant: nothing of the environment enters an output. Does not: say what
Alice is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alicebob import environment
from alicebob.envs import World
from alicebob.envs.hooks import actions_of
from alicebob.errors import UsageError
from alicebob.policies import Policy
from alicebob.policies.address import address
from alicebob.policies.answer import Completion
from alicebob.policies.chat import Chat, Form, Question, ServedChat
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint, Limits
from alicebob.policies.server import Server
from alicebob.policies.template import Template
from alicebob.rollout import Actor
from alicebob.settings import Params

__all__ = ["Role"]

SERVED = "served:"
WHERE = "ALICEBOB_ALICE"
CAPS = f"{WHERE}_MAX_"  # and REQUESTS, TOKENS or COST: of a round
PRICES = f"{WHERE}_PRICES"  # of a million tokens read and written, "0.15 0.60"
#: Tokens of a reply in play, at most: one that is served may think before it; here it is a thought
#: of which 400 characters are kept, and an action.
SPOKEN, WRITTEN = 256, 96
FEW = 8  # episodes in which a served model is asked at each turn, at once


_one_by_one = threading.Lock()
_chats: dict[str, Chat] = {}


class _InTurn:
    """A chat that threads share: one here answers one thread after the other."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._lock = nullcontext() if isinstance(chat, ServedChat) else threading.Lock()

    def answers(
        self, questions: Sequence[Question], forms: Sequence[Form] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer all at once; see `Chat`."""
        with self._lock:
            return iter([*self._chat.answers(questions, forms)])


@dataclass(frozen=True, slots=True)
class Role:
    """The model that plays Alice; `adapter` is a folder or "" for none. It can be pickled.

    `name` is a directory or id, or "served:NAME"; `ledger` a file of what a served one has used,
    which counts towards its caps.
    """

    name: str
    adapter: str
    dtype: str
    context: int
    turns: int
    max_new_tokens: int
    temperature: float
    top_p: float
    ledger: Path | None = None
    template: Template = field(default_factory=Template)
    revision: str = ""
    attention: str = ""

    @classmethod
    def of(cls, params: Params, adapter: Path, ledger: Path) -> Role:
        """Return the role that the parameters ask for, as far as a stage reads them.

        `adapter` is that of the round before, used where they want it.
        """
        alice = params.alice
        bob = alice.model == "bob"
        return cls(
            params.bob.model if bob else alice.model,
            str(adapter) if bob and alice.adapter == "parent" else "",
            alice.dtype,
            alice.context,
            getattr(alice, "turns", 0),  # read by who explores
            alice.max_new_tokens,
            alice.temperature,
            alice.top_p,
            ledger,
            Template.of(params.bob) if bob else Template(),
            params.bob.revision if bob else "",
            params.bob.attention if bob else "",
        )

    @property
    def served(self) -> bool:
        """True where the model is behind an endpoint."""
        return self.name.startswith(SERVED)

    def endpoint(self) -> Endpoint:
        """Return the endpoint; raises UsageError where the environment does not say enough."""
        where = address(WHERE, f"alice.model is {self.name}")
        cost, prices = environment.number(f"{CAPS}COST", None), environment.text(PRICES)
        if cost is not None and not prices:
            raise UsageError(f"{CAPS}COST cannot be kept without {PRICES}, such as '0.15 0.60'.")
        read, written = environment.numbers(PRICES, (0.0, 0.0))
        return Endpoint(
            **where,
            model=self.name.removeprefix(SERVED),
            prices=(read, written),
            limits=Limits(
                environment.whole(f"{CAPS}REQUESTS", None),
                environment.whole(f"{CAPS}TOKENS", None),
                cost,
            ),
            ledger=self.ledger,
        )

    def shared(self) -> Chat:
        """Return what answers single questions, one for all threads of this process."""
        with _one_by_one:
            return _chats.setdefault(repr(self), _InTurn(self.chat()))

    def alongside(self, actor: Actor) -> Actor:
        """Return who plays as an actor does while this model is asked at each turn.

        A served one is asked from one process, since its caps and its ledger are one, and about few
        episodes at once, since what was answered is kept when an episode ends.
        """
        if not self.served:
            return actor
        return replace(
            actor, workers=actor.workers if actor.threads else 1, width=min(actor.width, FEW)
        )

    def chat(self) -> Chat:
        """Return what answers single questions."""
        sampling: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        if self.served:
            return ServedChat(self.endpoint(), **sampling)
        from alicebob.policies.answering import LocalChat

        return LocalChat(self.load, self.template, context=self.context, **sampling)

    def load(self) -> tuple[Any, Any]:
        """Return (model, tokenizer), the adapter merged in, on the GPU where there is one."""
        import torch

        from alicebob.policies.models import load_adapter, load_base

        model, tokenizer = load_base(self.name, self.dtype, self.revision, self.attention)
        if self.adapter:
            model = load_adapter(model, Path(self.adapter)).merge_and_unload()
        return (model.cuda() if torch.cuda.is_available() else model), tokenizer

    def player(self, world: World, endpoint: Endpoint | None = None) -> Policy:
        """Return the model as a policy that explores; here, by actions that the world lists if any.

        `endpoint` is shared by all players of a process; without one the model is loaded here.
        """
        env = world()
        actions, most = actions_of(env), WRITTEN if endpoint is None else SPOKEN
        sampling: dict[str, Any] = {
            "context": self.context,
            "turns": self.turns,
            "max_new_tokens": min(self.max_new_tokens, most),
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        if endpoint is not None:
            return Server(endpoint, actions, **sampling)
        from alicebob.policies.faithful import reader_of
        from alicebob.policies.local import Local
        from alicebob.policies.models import settle

        model, tokenizer = self.load()
        reader = reader_of(settle(model), self.context)
        talk = Conversation(tokenizer, "full", actions, self.template)
        listed = bool(env.reset(seed=0)[1].get("admissible_actions"))
        return Local(model, talk, reader=reader, constrained=listed, whose="alice", **sampling)
