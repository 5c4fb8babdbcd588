"""Memory: what a step of training holds at its fullest, worked out before anything runs.

From the shape of the model alone: its weights, the adapter with gradient and two moments, what each
layer keeps for the backward pass, the logits where there is loss. Invariant: within a quarter of
what PyTorch keeps for a model of Llama's kind (a test measures it). Does not: know of experts or
recurrent layers, or count what a device's own library takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alicebob.errors import UsageError
from alicebob.settings import RANDOM_PLAY, TINY, Params

__all__ = ["Memory", "shape_of", "training_memory"]

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LEARNT = 0.25  # of the tokens, those with loss, at most


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a step of training, by what holds them."""

    weights: int
    adapter: int
    layers: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.layers + self.logits

    def told(self) -> str:
        """Return it in GiB, in a line."""
        parts = {name: getattr(self, name) for name in ("weights", "adapter", "layers", "logits")}
        each = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items())
        return f"{self.total / 2**30:.2f} GiB ({each})"


def shape_of(params: Params, online: bool = False) -> Any:
    """Return the configuration of Bob's base; a hub is only asked where `online`.

    Raises UsageError where it cannot be read.
    """
    from transformers import AutoConfig, LlamaConfig

    base, name = params.base, params.bob.model
    if name == TINY and base.source == RANDOM_PLAY:
        return LlamaConfig(
            vocab_size=base.vocabulary,
            hidden_size=base.width,
            intermediate_size=3 * base.width,
            num_hidden_layers=base.layers,
            num_attention_heads=base.width // 32,
            tie_word_embeddings=True,
        )
    try:
        return AutoConfig.from_pretrained(
            name, trust_remote_code=False, local_files_only=not online
        )
    except (OSError, ValueError) as error:
        lay = "run 'dvc repro base' first" if name == TINY else "with --memory GIB its hub is asked"
        raise UsageError(f"The shape of {name} cannot be read here; {lay}.") from error


def training_memory(config: Any, params: Params, processes: int = 1) -> Memory:
    """Return what a step takes on one device, `processes` of which share it."""
    bob, train = params.bob, params.train
    size, hidden, inner = BYTES[bob.dtype], config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or hidden // heads
    asked, kept = heads * head, (getattr(config, "num_key_value_heads", None) or heads) * head
    layers, vocabulary = config.num_hidden_layers, config.vocab_size
    linear = 2 * hidden * asked + 2 * hidden * kept + 3 * hidden * inner
    tables = 1 if config.tie_word_embeddings else 2
    lora = bob.lora_rank * (4 * hidden + 2 * asked + 2 * kept + 3 * (hidden + inner))
    # Norms in float32; what the adapters read; the gate, its activation and the other branch;
    # queries, keys and values as often as there are heads, and what attention gives.
    layer = 8 * hidden + size * (2 * hidden + asked + inner) + size * (3 * inner + 4 * asked)
    at_once = train.micro_batch or max(1, train.batch // processes)
    tokens = at_once * train.pack_tokens
    held = layers * hidden * size + layer if train.gradient_checkpointing else layers * layer
    return Memory(
        weights=size * (tables * vocabulary * hidden + layers * linear),
        adapter=16 * layers * lora,
        layers=tokens * held,
        logits=round(LEARNT * tokens) * vocabulary * (size + 8),
    )
