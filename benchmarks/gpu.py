"""A 7B-shaped model: LoRA training on trajectories of 4,000 tokens, and 64 episodes at once.

    python benchmarks/gpu.py train --size 7b      # one GPU of 80 GiB
    python benchmarks/gpu.py play --size 7b
    python benchmarks/gpu.py train --size tiny    # the same on a CPU, to see that it runs
    python benchmarks/gpu.py play --size tiny

Weights are random, of Qwen2.5's shape, in bfloat16 (tiny: float32). The peer is the plain way with
the same library: for training the model's own loss over all logits, a trajectory a row; for play
`generate` on the whole prompts, padded at the left, each turn. Both sides in one run, in turn.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from numpy.random import default_rng
from transformers import Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent))

from language_model import CHATML, SAID, SEEN, TOLD, new_tokenizer, text

from alicebob.bob.objective import logits_only_where_there_is_loss
from alicebob.bob.rows import pack, rows_of
from alicebob.bob.sft import Lora, new_adapter
from alicebob.policies import Live, Task
from alicebob.policies.conversation import Conversation
from alicebob.policies.local import Local
from alicebob.trace import Skill, Turn

ROUNDS = 5
SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    "tiny": {
        "vocab_size": 16_384,
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
TURNS = {"7b": 25, "tiny": 4}  # of a trajectory: 25 of them and the instruction are 4,000 tokens
EPISODES = {"7b": 64, "tiny": 4}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def new_model(size: str) -> Any:
    """Return a model of random weights on the device."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if size == "7b" else torch.float32
    config = Qwen2Config(**SHAPES[size], max_position_embeddings=32_768, rope_theta=1e6)
    with torch.device(DEVICE):
        torch.set_default_dtype(dtype)
        try:
            model = Qwen2ForCausalLM(config)
        finally:
            torch.set_default_dtype(torch.float32)
    return model.eval()


def wait() -> None:
    """Wait until the device has done all that it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds that some work takes on the device."""
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begun


def matrix_rate(dtype: torch.dtype, size: int) -> float:
    """Return the operations a second that the device makes in a product of square matrices."""
    a = torch.randn(size, size, device=DEVICE, dtype=dtype)
    for _ in range(3):
        a @ a
    best = min(seconds(lambda: a @ a) for _ in range(10))
    return 2 * size**3 / best


def peak(work: Callable[[], Any]) -> float:
    """Return the most GiB of device memory held during some work, 0 on a CPU."""
    if DEVICE != "cuda":
        work()
        return 0.0
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


@click.group()
def main() -> None:
    """Measure one of the two."""


SIZE = click.option("--size", type=click.Choice(list(SHAPES)), default="tiny", show_default=True)


@main.command()
@SIZE
def train(size: str) -> None:
    """LoRA training: tokens a second, share of the matrix rate, memory."""
    tokenizer, turns = new_tokenizer(CHATML), TURNS[size]
    talk = Conversation(tokenizer)
    skills = []
    for number in range(2):
        taken = tuple(Turn(text(SEEN), text(SAID - 4)) for _ in range(turns))
        skills.append(Skill(f"s{number}", "w", text(TOLD), "r", "e", "x", 0, 0, turns, taken))
    made = [row for skill in skills for row in rows_of(skill, talk, 16_000)]
    length = max(len(row.ids) for row in made)
    packs = pack(made, length, 0)
    model = new_adapter(new_model(size), Lora(16, 2.0), 0)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.train()
    ids = torch.tensor([p.input_ids for p in packs], device=DEVICE)
    labels = torch.tensor([p.labels for p in packs], device=DEVICE)
    places = torch.tensor([p.position_ids for p in packs], device=DEVICE)
    chosen = labels[:, 1:] != -100
    losses: dict[str, float] = {}

    def plain() -> None:
        """Take the model's own loss, over all logits."""
        model.zero_grad()
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        losses["plain"] = float(loss.detach())

    def ours() -> None:
        """Take logits only where there is loss."""
        model.zero_grad()
        with logits_only_where_there_is_loss(model) as hook:
            hook["places"] = chosen
            logits = model(input_ids=ids, position_ids=places, use_cache=False).logits
            total = torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][chosen])
            total.backward()
        losses["ours"] = float(total.detach())

    plain()
    ours()
    if abs(losses["plain"] - losses["ours"]) > (2e-2 if size == "7b" else 1e-4):
        sys.exit(f"the two losses differ: {losses}")
    taken_: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(ROUNDS):
        taken_["plain"].append(seconds(plain))
        taken_["ours"].append(seconds(ours))
    tokens = ids.numel()
    weights = sum(p.numel() for p in model.parameters())
    weights -= model.get_input_embeddings().weight.numel()
    # Forward, forward again under checkpointing, and the gradient of activations: 2 each a weight.
    rate = matrix_rate(next(model.parameters()).dtype, 8192 if size == "7b" else 512)
    for name, work in (("plain", plain), ("ours", ours)):
        speed = tokens / statistics.median(taken_[name])
        click.echo(
            f"{name}: {speed:,.0f} tokens/s, {6 * weights * speed / rate:.0%} of the matrix rate, "
            f"peak {peak(work):.1f} GiB"
        )
    ratios = [a / b for a, b in zip(taken_["plain"], taken_["ours"], strict=True)]
    click.echo(
        f"ours / plain: {statistics.median(ratios):.2f} x ({min(ratios):.2f}-{max(ratios):.2f}); "
        f"{len(made)} trajectories of {length} tokens, matrix rate {rate / 1e12:.1f} T/s"
    )


@main.command()
@SIZE
@click.option("--turns", type=int, help="Turns of an episode; by default 15, or 3 where tiny.")
def play(size: str, turns: int | None) -> None:
    """Play episodes at once with the local policy: decisions a second."""
    tokenizer = new_tokenizer(CHATML)
    talk = Conversation(tokenizer)
    turns = turns or (15 if size == "7b" else 3)
    model, count = new_model(size), EPISODES[size]
    told = [text(TOLD) for _ in range(count)]
    seen = [[text(SEEN) for _ in range(turns)] for _ in range(count)]
    stop = talk.end[-1]

    def plain() -> list[list[list[int]]]:
        """Let `generate` read every whole prompt anew."""
        ids: list[list[int]] = [[] for _ in range(count)]
        found: list[list[list[int]]] = [[] for _ in range(count)]
        for number in range(turns):
            for i in range(count):
                ids[i] += talk.next(seen[i][number]) if number else talk.first(told[i], seen[i][0])
            longest = max(len(row) for row in ids)
            with torch.inference_mode():
                written = model.generate(
                    input_ids=torch.tensor(
                        [[0] * (longest - len(row)) + row for row in ids], device=DEVICE
                    ),
                    attention_mask=torch.tensor(
                        [[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=DEVICE
                    ),
                    max_new_tokens=SAID,
                    do_sample=False,
                    eos_token_id=stop,
                    pad_token_id=stop,
                )[:, longest:].tolist()
            for i, row in enumerate(written):
                said = row[: row.index(stop) + 1] if stop in row else [*row, *talk.end]
                found[i].append(said)
                ids[i] += said
        return found

    def ours() -> list[list[list[int]]]:
        """Keep the cache from turn to turn."""
        room = TOLD + turns * (SEEN + SAID) * 5 // 4 + 64
        policy = Local(model, talk, context=room, max_new_tokens=SAID, temperature=0.0)
        lives = [
            Live(Task(f"e{i}", i, told[i]), seen[i][0], {}, default_rng(i)) for i in range(count)
        ]
        policy.start(lives)
        for number in range(turns):
            for i, live in enumerate(lives):
                live.observation = seen[i][number]
            for live, reply in zip(lives, policy.act(lives), strict=True):
                live.turns.append(Turn(live.observation, reply.action, token_ids=reply.token_ids))
        return [[list(turn.token_ids) for turn in live.turns] for live in lives]

    theirs, mine = plain(), ours()
    same = sum(a == b for a, b in zip(theirs, mine, strict=True))
    if size == "tiny" and same != count:
        sys.exit(f"only {same} of {count} episodes are the same")
    slow = [seconds(plain) for _ in range(2)]
    quick = [seconds(ours) for _ in range(2)]
    decisions = count * turns
    click.echo(
        f"generate: {decisions / min(slow):,.0f} decisions/s; ours: {decisions / min(quick):,.0f}; "
        f"{min(slow) / min(quick):.2f} x; {same} of {count} episodes word for word the same"
    )


if __name__ == "__main__":
    main()
