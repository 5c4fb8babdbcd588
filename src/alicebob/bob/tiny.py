"""Tiny Bob: a small Llama and its tokenizer, built on this machine from random play alone.

What random play teaches is the language of the environment: how observations read, how an action
changes them. Instructions and thoughts are put in at random, so that their words are known but tied
to nothing. The result is an ordinary Hugging Face directory. Invariant: the same settings and seed
give the same bytes. Does not: show the model a single act with a purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.random import Generator

from alicebob import words
from alicebob.bob.rows import Row
from alicebob.draws import generator
from alicebob.envs import TextEnv
from alicebob.envs.hooks import FREE, Marks, events_of, marks_of
from alicebob.envs.hooks import words_of as own_words
from alicebob.errors import UsageError
from alicebob.policies import Live, Reply
from alicebob.policies.conversation import Conversation, write_reply
from alicebob.sight import as_shown, run_of_words, sides
from alicebob.trace import Episode

__all__ = ["RandomPolicy", "aims_of", "build_tokenizer", "corpus", "new_model", "train_base"]

USER, BOB, END, PAD = "<|user|>", "<|bob|>", "<|end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{{ '<|bob|>' }}{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ '<|user|>' + message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bob|>' }}{% endif %}"
)
SPOKEN = 8  # words put there, at most
QUOTED = 40  # words of a page in a thought, at most
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# Tiny Bob, untaught

A Llama of {parameters:,} parameters, trained on {turns:,} turns of uniformly random play
({tokens:,} tokens). It knows how the environment reads and no skill: its instructions and thoughts
were drawn at random. It is the base that every round's LoRA adapter is trained on.

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("models/base")
tokenizer = AutoTokenizer.from_pretrained("models/base")
```
"""
#: Words with their leading space, a digit stuck to them; the first word of a line with its break.
PLAIN = (
    r"\n[A-Za-z_]+(?:[0-9]|:)?|[A-Za-z]+:| ?[A-Za-z_]+[0-9]?|\n",
    r" ?[0-9]| ?[^\sA-Za-z0-9_]|\s",
)


class RandomPolicy:
    """Uniform over the admissible actions: the only player the base learns from.

    Where an action is free to fill in, "search[...]", words of the page are put there.
    """

    def start(self, wave: Sequence[Live]) -> None:
        """Keep nothing; raises UsageError where an environment lists no actions."""
        if not all(live.info.get("admissible_actions") for live in wave):
            raise UsageError(
                "Random play draws from info['admissible_actions'], and the environment gives none."
            )

    def act(self, lives: Sequence[Live]) -> list[Reply]:
        """Draw an action for each episode."""
        return [Reply(self._drawn(live)) for live in lives]

    def _drawn(self, live: Live) -> str:
        action = str(live.draw.choice(live.info["admissible_actions"]))
        if FREE in action:
            return action.replace(FREE, run_of_words(live.observation, SPOKEN, live.draw))
        return as_shown(action, live.observation)

    def finish(self, live: Live) -> Mapping[str, Any]:
        """Nothing to report."""
        return {}


def words_of(env: TextEnv) -> list[str]:
    """Return the interface's own words: actions, names of what can be achieved, and rare ones."""
    names = (*_first_actions(env), *events_of(env))
    found = {word for name in names for word in (name, *name.split("_"))}
    return sorted(found | set(own_words(env)))


def aims_of(env: TextEnv, episodes: Sequence[Episode]) -> list[str]:
    """Return names of what may be aimed at: the base's meaningless thoughts.

    Those that the environment gives; else what happened in random play; else its actions. None
    where each episode has an instruction of its own.
    """
    unasked = [episode for episode in episodes if not episode.instruction]
    if not unasked:
        return []
    happened = {event for e in unasked for turn in e.turns for event in turn.events}
    return list(events_of(env)) or sorted(happened) or _first_actions(env)


def _first_actions(env: TextEnv) -> list[str]:
    _, info = env.reset(seed=0)
    return [str(action) for action in info["admissible_actions"]]


def corpus(
    episodes: Sequence[Episode],
    conversation: Conversation,
    aims: Sequence[str],
    length: int,
    draw: Generator,
) -> Iterator[Row]:
    """Yield rows of a few random turns each, with loss on every token, at most `length` long.

    An instruction is drawn without regard to what happens. A thought repeats the instruction, or
    names the random action about to be taken, or is drawn as well: so he learns that the words of
    instruction, thought and action are the same words, and never which act serves which end. Most
    thoughts before a move also quote something in sight on that side, anything at all: that teaches
    to quote, and what a side is. One row in eight has no thoughts.
    """
    for episode in episodes:
        if episode.instruction:
            yield from _asked(episode, conversation, length, draw)
            continue
        turn = 0
        while turn < len(episode.turns):
            ids: list[int] = []
            goal = aims[int(draw.integers(len(aims)))]
            silent = draw.random() < 1 / 8
            for _ in range(int(draw.integers(1, 7))):
                if turn == len(episode.turns):
                    break
                played = episode.turns[turn]
                read = (
                    conversation.next(played.observation)
                    if ids
                    else conversation.first(words.instruction(goal, draw), played.observation)
                )
                kind = draw.random()
                aim = goal if kind < 0.4 else aims[int(draw.integers(len(aims)))]
                if kind > 0.6:
                    aim = played.action
                way = played.action.rpartition("_")[2]
                seen = [thing for thing, side in sides(played.observation) if side == way]
                if seen and draw.random() < 0.7:
                    aim += f", {seen[int(draw.integers(len(seen)))]}_{way}"
                read += conversation.reply(write_reply("" if silent else aim, played.action))
                if ids and len(ids) + len(read) > length:
                    break
                ids += read[:length]
                turn += 1
            yield Row(tuple(ids), (1,) * len(ids))


def _asked(
    episode: Episode, conversation: Conversation, length: int, draw: Generator
) -> Iterator[Row]:
    """Yield a row for each turn of random play under an instruction that it does not heed.

    Most thoughts are a run of words of the page or the instruction, any run, so that he learns to
    quote, names of products and all; some name the random action about to be taken.
    """
    for turn in episode.turns:
        kind = draw.random()
        told = episode.instruction if kind < 0.5 else turn.observation
        thought = run_of_words(told, QUOTED, draw)
        if kind > 0.8:
            thought = turn.action.partition("[")[2][:-1] if kind < 0.9 else ""
        ids = conversation.first(episode.instruction, turn.observation)
        ids += conversation.reply(write_reply(thought, turn.action))
        yield Row(tuple(ids[:length]), (1,) * min(length, len(ids)))


def build_tokenizer(
    texts: Sequence[str], names: Sequence[str], vocabulary: int, marks: Marks | None = None
) -> Any:
    """Return a byte-level BPE tokenizer with a chat template, trained on texts.

    `names` are counted often, so that the interface's own words are single tokens even where random
    play hardly meets them; `marks` says how texts are cut that are more than words. Any text can be
    written: what is unknown goes by bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    marks = marks or Marks()
    # A word in brackets is the same word as elsewhere: it gets the space it has there, and loses it
    # again when it is spoken.
    mark = f"(?!{marks.bracketed})" if marks.bracketed else ""
    opened = rf"\[{mark}(?=[A-Za-z0-9])"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(Regex(opened), "[ ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join([*marks.pieces, *PLAIN])), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("[ ", "[")])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, USER, BOB, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    seeded = [f" {name} {name}" for name in names] * 200
    tokenizer.train_from_iterator([*texts, *seeded], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, BOB],
    )
    fast.chat_template = TEMPLATE
    return fast


def new_model(tokenizer: Any, layers: int, width: int, context: int, seed: int) -> Any:
    """Return a small Llama with random weights: heads of 32, embeddings tied."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=width * 3,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _texts(episodes: Sequence[Episode], aims: Sequence[str], action: str) -> list[str]:
    """Return what a tokenizer is trained on: pages, and what is asked, thought and answered."""
    shown = [turn.observation for episode in episodes for turn in episode.turns]
    asked = [way for aim in aims for way in words.ways(aim)]
    return shown + [*asked, *(write_reply(aim, action) for aim in aims)] * 50


def train_base(
    episodes: Sequence[Episode],
    env: TextEnv,
    out: Path,
    work: Path,
    *,
    vocabulary: int,
    layers: int,
    width: int,
    context: int,
    epochs: float,
    pack_tokens: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> Any:
    """Train tokenizer and model on random episodes into `out`; return the `Fitted` of the run.

    `pack_tokens` bounds what is read at once, `batch` the packs in a step. Goes on from its last
    checkpoint in `work`.
    """
    from alicebob.bob.rows import pack
    from alicebob.bob.training import Schedule, fit, save_curve

    aims = aims_of(env, episodes)
    texts = _texts(episodes, aims, _first_actions(env)[0])
    tokenizer = build_tokenizer(texts, words_of(env), vocabulary, marks_of(env))
    rows = corpus(episodes, Conversation(tokenizer), aims, pack_tokens, generator("corpus", seed))
    packs = pack(rows, pack_tokens, tokenizer.pad_token_id)
    model = new_model(tokenizer, layers, width, context, seed)
    schedule = Schedule(learning_rate, epochs, batch, every=200, seed=seed)
    fitted = fit(model, packs, [], schedule, work)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    save_curve(fitted, out / "training.json")
    turns = sum(len(episode.turns) for episode in episodes)
    (out / "README.md").write_text(
        CARD.format(parameters=model.num_parameters(), turns=turns, tokens=fitted.tokens),
        encoding="utf-8",
    )
    return fitted
