"""Bob behind a server as policy: the same tokens as on this machine, computed elsewhere.

A request has the ids of the whole window, and its answer those of the reply, so that no template
and no tokenizer of the server's comes between. Invariants: a reply is what the server's model
wrote, drawn by Bob's parameters alone and by a seed of the episode's own; without an answer there
is no turn, and `ProviderError` leaves the episode owed. Does not: hold a reply to admissible
actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.policies import Live
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.speaking import Row, Speaker

__all__ = ["Served"]

#: A server would else draw by what the model's own `generation_config` says.
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class Served(Speaker):
    """Plays through an `Endpoint` that speaks of tokens by their ids, as vLLM and SGLang do.

    Many of these, in threads of their own, may share the endpoint. Raises ProviderError and Spent
    as the endpoint does; otherwise as `Speaker`.
    """

    def __init__(self, endpoint: Endpoint, conversation: Conversation, **settings: Any) -> None:
        super().__init__(conversation, **settings)
        self.endpoint = endpoint

    def start(self, wave: Sequence[Live]) -> None:
        """Begin each episode with nothing read; ProviderError where nobody is there."""
        self.endpoint.reach()
        super().start(wave)

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Forget the episode, and note which model played."""
        return {**super().finish(live), "model": self.endpoint.model}

    def _write(self, rows: Sequence[Row], prompts: Sequence[list[int]]) -> list[list[int]]:
        return [self._asked(row, prompt) for row, prompt in zip(rows, prompts, strict=True)]

    def _asked(self, row: Row, prompt: list[int]) -> list[int]:
        row.cached += prompt
        end = self.conversation.end[-1]
        found = self.endpoint.go_on(
            row.cached,
            max_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=int(row.live.draw.integers(2**31)),
            stop_token_ids=[end],
            **({"stop": list(self.stop)} if self.stop else {}),
            **PLAIN,
        )
        written = list(found.ids)
        short = len(written) < self.max_new_tokens
        if written[-1] != end and short and not self._stopped(written):
            written.append(end)  # some servers keep to themselves what ended a reply
        row.cached += written[:-1]
        return written
