"""Forms: the JSON schema of an answer, how long it can get, and a model held to it.

The grammar is llguidance's (github.com/guidance-ai/llguidance): after what is written only tokens
are left with which it can still become an object of the schema, written as `json.dumps` would.
Invariant: what is held to a form and has ended is an object of its schema. Does not: check what an
object says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from torch import Tensor

from alicebob.errors import AliceBobError
from alicebob.policies.chat import Form
from alicebob.policies.conversation import Conversation

__all__ = ["Grammar", "Matcher", "longest", "narrow"]

Matcher: TypeAlias = Any  # llguidance.LLMatcher

_PLAIN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammar:
    """What a conversation's tokens may write; ValueError where its tokenizer is no fast one."""

    def __init__(self, conversation: Conversation) -> None:
        self._words = from_tokenizer(conversation.tokenizer, eos_token=conversation.end[-1])

    def begin(self, form: Form) -> Matcher:
        """Return what follows an answer of this form, from its beginning."""
        matcher = LLMatcher(
            self._words, LLMatcher.grammar_from_json_schema(dict(form), overrides=_PLAIN)
        )
        if matcher.is_error():
            raise AliceBobError(
                f"No answer can be held to its schema ({' '.join(matcher.get_error().split())})."
            )
        return matcher


def narrow(logits: Tensor, matchers: Sequence[Matcher]) -> None:
    """Set to minus infinity, in place, what a row (rows, vocabulary) may not go on with."""
    bits = [np.frombuffer(matcher.compute_bitmask(), np.uint8) for matcher in matchers]
    allowed = np.unpackbits(np.stack(bits), axis=1, bitorder="little").astype(bool)
    kept = torch.zeros(logits.shape, dtype=torch.bool)
    width = min(kept.shape[1], allowed.shape[1])  # either may be padded
    kept[:, :width] = torch.from_numpy(allowed[:, :width])
    logits.masked_fill_(~kept.to(logits.device), float("-inf"))


def longest(form: Form) -> float:
    """Return how many characters an answer of a schema has at most, infinity for no bound.

    What has to be escaped in JSON counts as it is read.
    """
    if "const" in form:
        return len(json.dumps(form["const"]))
    if "enum" in form:
        return max(len(json.dumps(value)) for value in form["enum"])
    if "anyOf" in form:
        return max(map(longest, form["anyOf"]))
    kind = form.get("type")
    if kind == "object":
        return _object(form)
    if kind == "array":
        each = longest(form["items"]) + len(", ")
        return 2.0 + float(form.get("maxItems", math.inf)) * each
    if kind == "string":
        return float(2 + form.get("maxLength", math.inf))
    if kind == "integer":
        return max(len(str(form.get(end, math.inf))) for end in ("minimum", "maximum"))
    return {"null": 4.0, "boolean": 5.0}.get(str(kind), math.inf)


def _object(form: Form) -> float:
    named = [
        len(f"{json.dumps(n)}: , ") + longest(v) for n, v in form.get("properties", {}).items()
    ]
    free = form.get("patternProperties", {})
    each = max((len(f'"{name}": , ') + longest(value) for name, value in free.items()), default=0)
    return 2.0 + sum(named) + (float(form.get("maxProperties", math.inf)) * each if free else 0.0)
