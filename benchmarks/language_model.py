"""What a language model's turns cost: prompts, episodes and training rows, beside the plain ways.

    python benchmarks/language_model.py prompts
    python benchmarks/language_model.py episodes
    python benchmarks/language_model.py rows

Nothing is fetched: a tokenizer of 16,000 words, the chat templates of the tests, a Qwen2 of
random weights. Observations have 127 tokens, replies 16, the instruction 400. Both sides run in
turn in one process on one thread; the ratio is of process-CPU time, median and range.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from numpy.random import default_rng
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers import decoders as token_decoders
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from templates import FAMILIES

from alicebob.bob.objective import logits_only_where_there_is_loss
from alicebob.bob.rows import rows_of
from alicebob.bob.sft import Lora, new_adapter
from alicebob.policies import Live, Task
from alicebob.policies.conversation import Conversation
from alicebob.policies.local import Local
from alicebob.trace import Skill, Turn

SEEN, SAID, TOLD = 127, 16, 400  # tokens of an observation, a reply, the instruction
ROUNDS = 5

TEMPLATES = {name: FAMILIES[name][0] for name in ("ChatML", "Qwen2.5", "Llama-3")}
CHATML = TEMPLATES["ChatML"]
SPECIAL = list(dict.fromkeys(word for _, words, _ in FAMILIES.values() for word in words))
DRAW = random.Random(0)
WORDS = [
    "".join(DRAW.choices("abcdefghijklmnopqrstuvwxyz", k=DRAW.randint(2, 8))) for _ in range(2500)
]


def text(tokens: int) -> str:
    """Return random words that make up about so many tokens."""
    return " ".join(DRAW.choices(WORDS, k=tokens))


def new_tokenizer(template: str) -> Any:
    """Return a byte-level tokenizer trained on random text, with a chat template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = token_decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000,
        initial_alphabet=alphabet,
        special_tokens=SPECIAL,
        show_progress=False,
    )
    inner.train_from_iterator([" " + " ".join(WORDS)] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template)


def new_model(vocabulary: int) -> Any:
    """Return a Qwen2 of random weights, 4 layers 256 wide, the same each time."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config).eval()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what some work gives and the CPU seconds of this process that it took."""
    begun = time.process_time()
    found = work()
    return found, time.process_time() - begun


def compare(
    name: str, peer: Callable[[], Any], ours: Callable[[], Any], same: Callable[[Any, Any], bool]
) -> float:
    """Run both in turn, end where they differ, print and return the median ratio."""
    ratios = []
    for _ in range(ROUNDS):
        theirs, slow = timed(peer)
        mine, quick = timed(ours)
        if not same(theirs, mine):
            sys.exit(f"{name}: the two sides differ")
        ratios.append(slow / quick)
    middle = statistics.median(ratios)
    click.echo(f"{name}: {middle:.1f} x ({min(ratios):.1f}-{max(ratios):.1f})")
    return middle


@click.group()
def main() -> None:
    """Measure one of the three."""
    torch.set_num_threads(1)


@main.command()
def prompts() -> None:
    """The prompts of an episode: each turn's alone, beside rendering all turns anew."""
    for family, template in TEMPLATES.items():
        tokenizer = new_tokenizer(template)
        for turns in (15, 50, 100):
            seen = [text(SEEN) for _ in range(turns)]
            said = [text(SAID) for _ in range(turns)]

            def peer(tokenizer: Any = tokenizer, seen: Any = seen, said: Any = said) -> Any:
                messages, found = [], []
                for observation, reply in zip(seen, said, strict=True):
                    told = observation if messages else f"Go.\n{observation}"
                    messages.append({"role": "user", "content": told})
                    found.append(
                        tokenizer.apply_chat_template(
                            messages, tokenize=True, add_generation_prompt=True, return_dict=False
                        )
                    )
                    messages.append({"role": "assistant", "content": reply})
                return found

            def ours(tokenizer: Any = tokenizer, seen: Any = seen, said: Any = said) -> Any:
                talk, found = Conversation(tokenizer), []
                for number, (observation, reply) in enumerate(zip(seen, said, strict=True)):
                    found.append(
                        talk.next(observation) if number else talk.first("Go.", observation)
                    )
                    found.append(talk.reply(reply))
                return found

            def same(theirs: Any, mine: Any) -> bool:
                ids: list[int] = []
                for prompt, read, reply in zip(theirs, mine[::2], mine[1::2], strict=True):
                    ids += read
                    if ids != prompt:
                        return False
                    ids += reply
                return True

            compare(f"prompts, {family}, {turns} turns", peer, ours, same)


@main.command()
def episodes() -> None:
    """An episode generated with the cache kept, beside `generate` on the whole prompt each turn."""
    tokenizer = new_tokenizer(CHATML)
    model = new_model(len(tokenizer))
    told = text(TOLD)
    for turns in (5, 15, 30):
        seen = [text(SEEN) for _ in range(turns)]

        def peer(seen: Any = seen) -> Any:
            talk, ids, found = Conversation(tokenizer), [], []
            for number, observation in enumerate(seen):
                ids += talk.next(observation) if number else talk.first(told, observation)
                with torch.inference_mode():
                    written = model.generate(
                        input_ids=torch.tensor([ids]),
                        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                        max_new_tokens=SAID,
                        do_sample=False,
                        eos_token_id=talk.end[-1],
                        pad_token_id=talk.end[-1],
                    )[0, len(ids) :].tolist()
                written += [] if written[-1] == talk.end[-1] else talk.end
                ids += written
                found.append(written)
            return found

        def ours(seen: Any = seen) -> Any:
            talk = Conversation(tokenizer)
            room = TOLD + len(seen) * (SEEN + SAID) * 5 // 4 + 64
            policy = Local(model, talk, context=room, max_new_tokens=SAID, temperature=0.0)
            live = Live(Task("e", 0, told), seen[0], {}, default_rng(0))
            policy.start([live])
            for observation in seen:
                live.observation = observation
                (reply,) = policy.act([live])
                live.turns.append(Turn(observation, reply.action, token_ids=reply.token_ids))
            return [list(turn.token_ids) for turn in live.turns]

        compare(f"episode of {turns} turns", peer, ours, lambda a, b: a == b)


@main.command()
def rows() -> None:
    """A trajectory as one row with a mask for each turn, beside a row for each turn."""
    tokenizer = new_tokenizer(CHATML)
    model = new_adapter(new_model(len(tokenizer)), Lora(8, 2.0), 0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    talk = Conversation(tokenizer)
    for turns in (8, 15):
        taken = tuple(Turn(text(SEEN), text(SAID - 4)) for _ in range(turns))
        skill = Skill("s", "walk", text(TOLD), "r", "e", "x", 0, 0, turns, taken)
        (whole,) = rows_of(skill, talk, 16_000)
        count = sum(whole.mask)
        ends = [i + 1 for i in range(len(whole.ids)) if whole.mask[i : i + 2] in ((1, 0), (1,))]
        parts = []
        for last, end in zip([0, *ends], ends, strict=False):
            mask = [0] * last + list(whole.mask[last:end])
            parts.append((whole.ids[:end], mask))

        def gradient(pieces: Any, count: int = count) -> Any:
            model.zero_grad()
            loss = 0.0
            with logits_only_where_there_is_loss(model) as chosen:
                for ids, mask in pieces:
                    chosen["places"] = torch.tensor([mask[1:]], dtype=torch.bool)
                    labels = torch.tensor(ids[1:])[chosen["places"][0]]
                    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
                    part = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
                    (part / count).backward()
                    loss += float(part.detach()) / count
            grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            return loss, torch.cat(grads)

        def same(theirs: Any, mine: Any) -> bool:
            (loss, one), (other, two) = theirs, mine
            error = float((one - two).norm() / one.norm())
            return abs(loss - other) <= 1e-5 * abs(loss) and error <= 1e-5

        limit = sum(len(ids) for ids, _ in parts) / len(whole.ids)
        ratio = compare(
            f"rows of {turns} turns",
            lambda parts=parts: gradient(parts),  # type: ignore[misc]
            lambda whole=whole: gradient([(whole.ids, whole.mask)]),  # type: ignore[misc]
            same,
        )
        click.echo(f"  {ratio / limit:.2f} of the {limit:.1f} that the counts of tokens allow")


if __name__ == "__main__":
    main()
