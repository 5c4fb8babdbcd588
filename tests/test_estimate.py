import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config

from alicebob.bob.memory import training_memory
from alicebob.bob.objective import in_its_own_precision
from alicebob.bob.sft import Lora, new_adapter
from alicebob.errors import UsageError
from alicebob.experiment import presets
from alicebob.experiment.edit import add
from alicebob.experiment.estimate import estimate, memory, table
from alicebob.experiment.params import load_params

TEXT = (Path(__file__).parent.parent / "params.yaml").read_text()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path


def by_stage(costs, round_id):
    return {cost.stage: cost for cost in costs if cost.round == round_id}


def test_the_embedded_rounds_ask_nobody_and_train_more_each_round(project):
    costs = estimate()
    assert [cost.round for cost in costs] == [f"r00{n}" for n in (1, 2, 3) for _ in range(5)]
    assert all(cost.requests == cost.prompt_tokens == 0 for cost in costs)
    budgets = [by_stage(costs, f"r00{n}")["train"].tokens for n in (1, 2, 3)]
    assert budgets == [budgets[0], 2 * budgets[0], 3 * budgets[0]]
    assert by_stage(costs, "r001")["explore"].turns == 50 * 1000
    assert by_stage(costs, "r001")["evaluate"].episodes == 2 * (22 * 6 + 32)
    assert all(cost.seconds is None for cost in costs)


def test_a_branch_counts_its_own_depth(project):
    add("side", "r001", {})
    costs = estimate()
    assert by_stage(costs, "side")["train"].tokens == by_stage(costs, "r002")["train"].tokens


def test_a_model_as_alice_is_counted_by_part_and_priced(project):
    presets.apply("qwen7b-crafter-gpu")
    costs = by_stage(estimate(), "r001")
    assert costs["explore"].requests == 50 * 300
    assert costs["skills"].requests == 2 * 40 * 22
    assert costs["feedback"].requests == 22 * 4 + 1
    assert costs["explore"].prompt_tokens > 10 * costs["explore"].reply_tokens
    lines = table(estimate(), (1.0, 2.0)).splitlines()
    total = float(lines[-1].split()[-1].replace(",", ""))
    each = sum(float(line.split()[-1].replace(",", "").replace("-", "0")) for line in lines[1:-1])
    assert total == pytest.approx(each, abs=0.1)
    assert total > 0


def test_time_is_told_from_what_ran_here(project):
    (project / "logs").mkdir()
    facts = {"tokens_per_second": 1000, "seconds": 9}
    (project / "logs/r001-train.json").write_text(json.dumps(facts))
    costs = by_stage(estimate(), "r002")
    assert costs["train"].seconds == costs["train"].tokens / 1000
    assert costs["explore"].seconds is None


#: The shapes of Qwen2.5-0.5B and -7B.
SMALL = Qwen2Config(
    vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
    num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
)  # fmt: skip
LARGE = Qwen2Config(
    vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
    num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False,
)  # fmt: skip


def shaped(project, preset, config):
    presets.apply(preset)
    config.save_pretrained(project / "shape")
    presets.apply(None, {"bob.model": "shape"})


@pytest.mark.parametrize(
    ("preset", "config", "gib"),
    [("small-gpu", SMALL, 16), ("qwen7b-self", LARGE, 80), ("qwen7b-crafter-gpu", LARGE, 80)],
)
def test_the_presets_fit_the_gpu_they_name(project, preset, config, gib):
    shaped(project, preset, config)
    assert f"one GPU of {gib} GiB" in presets.about(preset)
    assert memory(device=0.85 * gib).total > 0.2 * gib * 2**30


def test_what_does_not_fit_is_refused_with_what_would(project):
    shaped(project, "small-gpu", SMALL)
    presets.apply(None, {"train.micro_batch": 0})
    with pytest.raises(UsageError, match=r"more than the 16 GiB .* fits with train.micro_batch: 2"):
        memory(device=16)
    with pytest.raises(UsageError, match=r"micro_batch: \d, train.gradient_checkpointing: true"):
        memory(device=5)
    with pytest.raises(UsageError, match="choose another model or another device"):
        memory(device=1)


def test_a_model_that_is_not_here_has_no_shape(project):
    presets.apply("smollm2")
    with pytest.raises(UsageError, match="run 'dvc repro base' first"):
        memory()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_step_keeps_is_what_is_said(project, dtype):
    """The layers' part, against the storages that autograd saves."""
    config = LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    presets.apply(None, {"bob.dtype": dtype, "bob.lora_rank": 8, "train.batch": 2})
    params = load_params("r001")
    model = new_adapter(LlamaForCausalLM(config).to(getattr(torch, dtype)), Lora(8), 0).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.zeros(2, params.train.pack_tokens, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), in_its_own_precision(model):
        model(input_ids=ids, use_cache=False)
    found = sum(size for size, _ in kept.values())
    assert training_memory(config, params).layers == pytest.approx(found, rel=0.25)
