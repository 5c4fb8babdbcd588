"""A real language model: laid down, played, taught for twenty steps, and played again."""

from importlib.metadata import distribution

import pytest
import torch
from conftest import SMOLLM2

from alicebob.bob import playing
from alicebob.bob.sft import Lora, new_adapter, packs_of, save_adapter, train
from alicebob.bob.training import Schedule
from alicebob.envs import World
from alicebob.envs.hooks import actions_of
from alicebob.policies import Task
from alicebob.policies.conversation import Conversation
from alicebob.policies.local import Local
from alicebob.policies.models import load_base
from alicebob.rollout import play

WORLD = World("crafter", {"observation": "compact"})
TASKS = [Task(f"real-{n}", n, "Wander.", max_turns=3) for n in range(2)]
STEPS = 20


def played(policy):
    """Return the episodes of both tasks, played greedily in one wave."""
    envs = [WORLD() for _ in TASKS]
    return sorted(play(envs, policy, TASKS, WORLD.name), key=lambda episode: episode.id)


def local(model, tokenizer, bob):
    talk = Conversation(tokenizer, bob.preamble, actions_of(WORLD()))
    return Local(
        model, talk, context=512, turns=0, max_new_tokens=bob.max_new_tokens, temperature=0.0
    )


@torch.inference_mode()
def as_the_template_has_it(model, tokenizer, episode):
    """Say of each reply whether the model, shown the whole conversation anew, would write it."""
    messages, same = [], []
    for turn in episode.turns:
        told = f"{episode.instruction}\n" * (not messages) + turn.observation.strip()
        messages.append({"role": "user", "content": told})
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False).input_ids
        written = [i for i, m in zip(turn.token_ids, turn.loss_mask, strict=True) if m]
        logits = model(torch.tensor([prompt + written]), use_cache=False).logits[0]
        same.append(logits[len(prompt) - 1 : -1].argmax(-1).tolist() == written)
        said = tokenizer.decode(written, skip_special_tokens=True)
        messages.append({"role": "assistant", "content": said})
    return same


def in_form(tokenizer, episodes):
    """Say of each reply whether it has the form that was taught."""
    turns = [turn for episode in episodes for turn in episode.turns]
    return [tokenizer.decode(turn.token_ids).startswith("Action: ") for turn in turns]


def taught(model, tokenizer, bob, skills, work):
    """Return the model with an adapter that was trained for some steps, and how it went."""
    packs, *_ = packs_of(
        skills,
        Conversation(tokenizer),
        context=192,
        turns=1,
        pack_tokens=192,
        budget=192 * STEPS,
        repeat=9,
        shares={},
        asked={},
        validation_share=0.0,
        seed=1,
    )
    model = new_adapter(model, Lora(bob.lora_rank, bob.lora_alpha), 1)
    schedule = Schedule(1e-3, epochs=STEPS / len(packs), batch=1, every=5, seed=1)
    return model, train(model, packs, [], schedule, work)


@pytest.mark.slow
def test_a_real_model_is_laid_down_plays_learns_and_plays_the_same_when_loaded(
    smollm2, skills, tmp_path
):
    folder, bob = smollm2
    card = (folder / "base/README.md").read_text()
    assert "license: apache-2.0" in card
    assert distribution(SMOLLM2).version in card
    model, tokenizer = load_base(bob.model)
    assert model.num_parameters() == 134_515_008
    before = played(local(model, tokenizer, bob))
    assert all(all(as_the_template_has_it(model, tokenizer, episode)) for episode in before)
    assert {tag for e in before for turn in e.turns for tag in turn.tags} == {"invalid_action"}

    model, fitted = taught(model, tokenizer, bob, skills, tmp_path / "fit")
    losses = [entry["loss"] for entry in fitted.curve if "loss" in entry]
    assert fitted.steps == STEPS
    assert losses[-1] < losses[0] / 2

    after = played(local(model, tokenizer, bob))
    assert all(all(as_the_template_has_it(model, tokenizer, episode)) for episode in after)
    assert not any(in_form(tokenizer, before))
    assert all(in_form(tokenizer, after))
    save_adapter(model, bob.model, tmp_path / "adapter", "# card\n", fitted)
    loaded = playing.actor(tmp_path / "adapter", bob.model_copy(update={"context": 512}), WORLD, 2)
    assert played(loaded.build()) == after
