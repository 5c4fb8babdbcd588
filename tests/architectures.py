"""Causal language models of every kind that transformers can make tiny, and how each is played."""

import inspect

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "decoder_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "num_experts_per_tok"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim"), 96),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 512),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("head_dim", "linear_key_head_dim", "linear_value_head_dim"), 16),
    **dict.fromkeys(("mamba_n_heads", "state_size", "mamba_d_state", "qk_rope_head_dim"), 8),
    **dict.fromkeys(("n_group", "topk_group", "n_groups"), 1),
    **dict.fromkeys(("sliding_window", "attention_chunk_size"), 12),
    "mamba_d_head": 16,
    "initializer_range": 0.3,  # so that what is misread shows
    "vocab_size": 500,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "is_decoder": True,
}
OTHERWISE = {  # what a kind needs to be of one piece
    "deepseek_v2": {"head_dim": 8, "num_key_value_heads": 4},
    "deepseek_v3": {"head_dim": 8, "num_key_value_heads": 4},
    "gptj": {"rotary_dim": 8},
    "mamba2": {"num_heads": 8, "head_dim": 16},
}
#: By kind: how it is read, and whether its rows may share a pack.
WAYS = {
    **dict.fromkeys(
        (
            *("apertus", "arcee", "bitnet", "cohere", "cohere2", "ctrl", "diffllama"),
            *("ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2"),
            *("deepseek_v2", "deepseek_v3", "gpt_bigcode", "gpt_neox", "gptj", "granite"),
            *("granitemoe", "helium", "hunyuan_v1_dense", "lfm2", "llama", "llama4_text"),
            *("ministral", "mistral", "mixtral", "nanochat", "nemotron", "olmo", "olmo2"),
            *("olmo3", "olmoe", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe"),
            *("qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2"),
        ),
        ("Kept", True),
    ),
    **dict.fromkeys(("biogpt", "falcon", "gpt_oss", "opt", "xglm"), ("Kept", False)),
    **dict.fromkeys(("bloom", "lfm3", "qwen3_5_text", "qwen3_next"), ("Anew", False)),
    **dict.fromkeys(("bamba", "jamba", "mamba", "mamba2", "recurrent_gemma"), ("Plain", False)),
    "hrm_text": ("refused", False),
}


def tiny(kind, **more):
    """Return a tiny model of a kind, with random weights."""
    config = CONFIG_MAPPING[kind]
    names = {*inspect.signature(config).parameters} | {
        name for each in config.__mro__ for name in getattr(each, "__dataclass_fields__", {})
    }
    wanted = SMALL | OTHERWISE.get(kind, {}) | more
    torch.manual_seed(0)
    made = config(**{name: value for name, value in wanted.items() if name in names})
    return AutoModelForCausalLM.from_config(made).eval()
