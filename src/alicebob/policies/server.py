"""A served model as policy: one request a turn to an OpenAI-compatible endpoint.

The conversation grows turn by turn and is never rewritten, so that the server's prefix cache
holds; when it is too long the oldest turns go in one block. Invariants: a reply is what the server
wrote, and one without text is no action and loses its turn; without an answer there is no turn, and
`ProviderError` leaves the episode owed. Does not: tokenise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.policies.answer import tokens
from alicebob.policies.conversation import opening, parse_reply, window_start
from alicebob.policies.endpoint import Endpoint, Message
from alicebob.policies.template import Template

__all__ = ["Server"]

SILENT = "silent"  # tag of a turn whose reply had no text, as when all went on thinking
NOTHING = "(nothing)"  # what stands for such a reply: not every server takes an empty one


@dataclass(slots=True)
class _Talk:
    start: int = 0  # first turn of the window
    replies: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # of the turns that are over


class Server:
    """Plays through an `Endpoint`, which many policies in many threads may share.

    `context` bounds prompt and reply together, in tokens of three characters; `turns` the turns in
    it (0 is no bound). `actions` are named in the prompt, as with the preamble "full" of a local
    model. The chat template is the server's; `template` sends it a system text and options. Raises
    UsageError where an instruction and one observation do not fit, ProviderError and
    Spent as the endpoint does.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        actions: Sequence[str],
        *,
        context: int = 8192,
        turns: int = 0,
        max_new_tokens: int = 256,
        temperature: float = 0.7,
        top_p: float = 1.0,
        template: Template | None = None,
    ) -> None:
        if max_new_tokens >= context:
            raise UsageError(
                f"A reply of {max_new_tokens} tokens leaves no room for a prompt in a context of "
                f"{context}; raise the context, or lower what a reply may take."
            )
        self.endpoint, self.actions = endpoint, actions
        self.context, self.turns, self.max_new_tokens = context, turns, max_new_tokens
        self.temperature, self.top_p = temperature, top_p
        self.template = template or Template()

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with an empty conversation; ProviderError where nobody is there."""
        self.endpoint.reach()
        for live in wave:
            live.memory = _Talk()

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Ask for each episode's next reply, one after the other."""
        return [self._reply(live) for live in lives]

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Note which model played."""
        return {"model": self.endpoint.model}

    def _reply(self, live: Live) -> Reply:
        found = self.endpoint.complete(
            self._messages(live),
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_new_tokens,
            seed=int(live.draw.integers(2**31)),
            **self.template.asked,
        )
        talk: _Talk = live.memory
        talk.replies.append(found.text if found.text.strip() else NOTHING)
        talk.lengths.append(tokens(live.observation) + tokens(found.text))
        thought, action = parse_reply(found.text)
        return Reply(
            action=action[:200],
            thought=thought[:2000],
            tags=() if found.text.strip() else (SILENT,),
            prompt_tokens=found.prompt_tokens,
            reply_tokens=found.reply_tokens,
        )

    def _messages(self, live: Live) -> list[Message]:
        """Return the window of the conversation, the instruction in its first message."""
        talk: _Talk = live.memory
        seen = [turn.observation for turn in live.turns] + [live.observation]
        head = opening(live.task.instruction, self.actions)
        lengths = [*talk.lengths, tokens(seen[-1]) + self.max_new_tokens]
        talk.start = window_start(
            talk.start, lengths, tokens(self.template.text + head), self.context, self.turns
        )
        messages: list[Message] = [*self.template.messages]
        for number in range(talk.start, len(seen)):
            text = seen[number].strip()
            text = head + text if number == talk.start else text
            messages.append({"role": "user", "content": text})
            if number < len(talk.replies):
                messages.append({"role": "assistant", "content": talk.replies[number]})
        return messages
